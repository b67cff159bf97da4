"""Studies with people: which of two codecs' pictures is closer to the original, asked blind."""
