"""Whether a file holds all of its picture: Pillow fills what is missing with grey or black.

JPEG is decoded once more by libjpeg-turbo in its strict mode, which stops at the first warning.
Warnings differ: data that is missing or cannot be right is damage; stray bytes between header
segments, zeros as padding before the end, previews behind it are what cameras write.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from codecs.base import PictureRefused

_DAMAGE = re.compile(r"Premature end|Corrupt JPEG data")
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_START_OF_SCAN, _END = 0xDA, b"\xff\xd9"
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)),
    *((1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and steps, of each pass (PNG, third edition, 8.1)."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_CHUNK = 1 << 18


def check_jpeg(data: bytes) -> None:
    """Raise `PictureRefused` for a JPEG whose picture is cut short or damaged."""
    import simplejpeg

    clean = _without_stray_bytes(data)
    try:
        simplejpeg.decode_jpeg(clean, colorspace="RGB", strict=True)
    except ValueError as error:
        said = str(error)
        if _DAMAGE.search(said) and not _is_padding(said, clean):
            raise PictureRefused(f"is a damaged JPEG: {said}; copy or export it again") from error
        # Anything else is Pillow's to judge.


def check_png_data(
    width: int, height: int, header: bytes, compressed: Sequence[memoryview]
) -> None:
    """Raise `PictureRefused` unless IDAT inflates to as many bytes as the header promises.

    `header` is the content of IHDR, `compressed` the contents of the IDAT chunks in order.
    PNG (third edition), 7.2 and 8.1: each row has a filter byte; empty passes have no rows.
    """
    depth, kind, interlaced = header[8], header[9], header[12]
    bits = depth * _CHANNELS.get(kind, 0)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    wanted = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-(width - x) // step_x), -(-(height - y) // step_y)
        if columns > 0 and rows > 0:
            wanted += rows * (1 + -(-columns * bits // 8))
    stream, got = zlib.decompressobj(), 0
    try:
        for chunk in compressed:
            rest: bytes | memoryview = chunk
            # Behind the stream's end zlib would copy all that follows, chunk by chunk.
            while rest and got < wanted and not stream.eof:
                got += len(stream.decompress(rest, _CHUNK))
                rest = stream.unconsumed_tail
    except zlib.error as error:
        raise PictureRefused(f"is a damaged PNG: {error}") from error
    while got < wanted and (left := stream.decompress(b"", _CHUNK)):
        got += len(left)
    if got < wanted:
        raise PictureRefused(
            f"is a damaged PNG: {got:,} of {wanted:,} bytes of its picture are there"
        )


def _without_stray_bytes(data: bytes) -> bytes:
    """The file without what stands between header segments and belongs to none."""
    parts, at = [data[:2]], 2
    while (start := data.find(b"\xff", at)) >= 0 and start + 4 <= len(data):
        kind = data[start + 1]
        if kind in (0x00, 0xFF):
            at = start + 1
        elif kind == _START_OF_SCAN:
            return b"".join((*parts, data[start:]))
        else:
            end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
            parts.append(data[start:end])
            at = end
    return data


def _is_padding(said: str, data: bytes) -> bool:
    """Whether the stray bytes before the end are zeros that a camera put there."""
    found = _PADDING.search(said)
    if not found:
        return False
    end = data.rfind(_END)
    return not data[max(0, end - int(found[1])) : end].strip(b"\0\xff")
