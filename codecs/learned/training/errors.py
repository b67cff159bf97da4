"""What goes wrong before or during training, in words for the person who started it."""

from codecs.base import CodecError


class TrainingError(CodecError):
    """Training cannot start or go on; the message says why and what to do about it."""
