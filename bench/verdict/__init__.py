"""From measurements to verdicts: curves, Bjøntegaard deltas, how sure they are."""
