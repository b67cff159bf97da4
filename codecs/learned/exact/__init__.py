"""Integer arithmetic whose results are equal on every machine: what decoding rests on."""
