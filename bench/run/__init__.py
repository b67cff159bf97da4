"""From images to measurements: plan, encode, decode, score."""
