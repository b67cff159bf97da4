"""For learned codecs in a Python file of one's own: padding, and a small header in front of what
the entropy coder gives.

    from codecs.helpers import crop, frame, pad, to_image, to_tensor, unframe

`docs/own-codecs.md` has a codec that is made of them.
"""

from __future__ import annotations

from codecs import framing
from codecs.base import BitstreamError, EncodeError
from codecs.learned.pixels import MODES, crop, pad, to_image, to_tensor

__all__ = ["MODES", "crop", "frame", "pad", "to_image", "to_tensor", "unframe"]


def frame(height: int, width: int, *strings: bytes) -> bytes:
    """A complete file: the picture's true size in pixels, a check sum, and byte strings in order.

    7 bytes on a picture of 768x512, and one or two more for each string but the last.  Raises
    `EncodeError` where there is nothing to frame.
    """
    payload = b"".join(framing.varint(len(string)) for string in strings[:-1]) + b"".join(strings)
    if not payload:
        raise EncodeError("there is no string, or an only one that is empty")
    return framing.pack(framing.OWN, height, width, payload)


def unframe(data: bytes, count: int = 1) -> tuple[int, int, list[bytes]]:
    """(height, width, strings) of a file that `frame` made of `count` strings.

    Raises `BitstreamError` for anything else: bytes that are damaged, cut short or of another
    codec, and sizes above `codecs.base.MAX_PIXELS`.
    """
    height, width, payload = framing.unpack(framing.OWN, data)
    lengths, at = [], 0
    for _ in range(count - 1):
        length, at = framing.read_varint(payload, at)
        lengths.append(length)
    if at + sum(lengths) > len(payload):
        raise BitstreamError("the header is damaged: its strings are longer than what is there")
    strings = []
    for length in lengths:
        strings.append(payload[at : at + length])
        at += length
    return height, width, [*strings, payload[at:]]
