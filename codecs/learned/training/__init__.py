"""Training of learned codecs: data, losses, phases, rate control, checkpoints, export.

`python -m codecs.train` is the command; `codecs.learned.training.loop` runs it.
"""
