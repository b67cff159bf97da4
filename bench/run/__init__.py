"""From pictures to measurements: plan, encode, decode, score."""
