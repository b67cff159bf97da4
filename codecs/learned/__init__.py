"""What learned codecs share: layers, entropy models, exact arithmetic, range coding, streams."""
