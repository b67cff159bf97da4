"""Entropy models as bricks: estimated bits for training, integer tables, encoding, decoding."""
