"""Whether this installation, and a codec, do what they say."""
