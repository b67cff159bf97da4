"""Whether a file holds all of its picture: Pillow fills what is missing with grey or black.

JPEG is decoded once more by libjpeg-turbo in its strict mode, which stops at the first warning.
Warnings differ: data that is missing or cannot be right is damage; stray bytes between header
segments, odd metadata, zeros as padding before the end, previews behind it are what cameras write.
What cameras write is taken out beforehand, for it would hide damage behind it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from codecs.base import PictureRefused

_DAMAGE = re.compile(r"Premature end|Corrupt JPEG data")
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_START, _START_OF_SCAN, _END = 0xD8, 0xDA, 0xD9
_METADATA = frozenset((*range(0xE0, 0xF0), 0xFE))
"""Application segments and comments: nothing of the coefficients depends on them."""
_SEQUENTIAL = frozenset((0xC0, 0xC1))
_SHORTEST_SCAN_HEADER = 8
_WHOLE_SPECTRUM = bytes((0, 63, 0))
"""The only selection that a sequential scan has (T.81, B.2.3); libjpeg warns of others."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Within a scan, or behind it: neither an escaped byte nor a restart marker."""
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)),
    *((1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and steps, of each pass (PNG, third edition, 8.1)."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_CHUNK = 1 << 18
_COMPRESSION, _JPEG_TABLES = 259, 347
_PARTS = ((273, 279), (324, 325))
"""Tags of the offsets and byte counts of strips, and of tiles."""
_JPEG, _DEFLATE = 7, frozenset((8, 32946))
_MOST_OF_A_PIXEL = 64
"""Bytes that a pixel may take with padding of tiles: a strip that inflates to more is not read on.
"""


def check_jpeg(data: bytes) -> None:
    """Raise `PictureRefused` for a JPEG whose picture is cut short or damaged."""
    import simplejpeg

    clean = _bare(data)
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
    try:
        got, _ = _inflate(compressed, wanted)
    except zlib.error as error:
        raise PictureRefused(f"is a damaged PNG: {error}") from error
    if got < wanted:
        raise PictureRefused(
            f"is a damaged PNG: {got:,} of {wanted:,} bytes of its picture are there"
        )


def check_tiff(data: bytes, tags: Mapping[int, Any], pixels: int) -> None:
    """Raise `PictureRefused` where a strip or tile is cut short or damaged (Deflate, JPEG).

    TIFF 6.0, and technical note 2 on JPEG: the tables that strips share stand in a tag.  Libtiff
    stops at the last row that it needs, and fills up what is missing of a JPEG.
    """
    kind, tables = tags.get(_COMPRESSION), bytes(tags.get(_JPEG_TABLES, b""))
    for starts, sizes in _PARTS:
        for start, size in zip(tags.get(starts, ()), tags.get(sizes, ()), strict=False):
            part = data[start : start + size]
            if kind == _JPEG:
                check_jpeg(tables[:-2] + part[2:] if tables else part)
            elif kind in _DEFLATE:
                _check_deflated(part, _MOST_OF_A_PIXEL * pixels)


def _check_deflated(part: bytes, most: int) -> None:
    why = "its data stops before its end"
    try:
        got, whole = _inflate([memoryview(part)], most)
    except zlib.error as error:
        got, whole, why = 0, False, str(error)
    if not whole and got < most:
        raise PictureRefused(f"is a damaged TIFF: {why}; copy or export it again")


def _inflate(compressed: Sequence[memoryview], most: int) -> tuple[int, bool]:
    """How many bytes come out, of about `most`, and whether the stream came to its end."""
    stream, got = zlib.decompressobj(), 0
    for chunk in compressed:
        rest: bytes | memoryview = chunk
        # Behind the stream's end zlib would copy all that follows, chunk by chunk.
        while rest and got < most and not stream.eof:
            got += len(stream.decompress(rest, _CHUNK))
            rest = stream.unconsumed_tail
    while got < most and (left := stream.decompress(b"", _CHUNK)):
        got += len(left)
    return got, stream.eof


def _bare(data: bytes) -> bytes:
    """The file from its start to its own end, without metadata and without what stands between
    header segments and belongs to none.

    Raises `PictureRefused` where it stops before its end, or is progressive and lacks its last
    scans, of which libjpeg says nothing.
    """
    parts, at, sequential = [data[:2]], 2, False
    while (start := data.find(b"\xff", at)) >= 0 and start + 4 <= len(data):
        kind = data[start + 1]
        if kind in (0x00, 0xFF):
            at = start + 1
            continue
        at = end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        sequential = sequential or kind in _SEQUENTIAL
        if kind == _START_OF_SCAN and end - start - 2 >= _SHORTEST_SCAN_HEADER:
            head, scans = data[start:end], [data[start:end]]
            behind = _end(data, end, scans)
            if not sequential and _is_unrefined(scans):
                raise PictureRefused("is a damaged JPEG: it lacks its last scans; export it again")
            parts.append(head[:-3] + _WHOLE_SPECTRUM if sequential else head)
            return b"".join((*parts, data[end:behind]))
        if kind not in _METADATA:
            parts.append(data[start:end])
    return data


def _end(data: bytes, at: int, scans: list[bytes]) -> int:
    """Behind the end marker that belongs to the scan whose data begins at `at`; the headers of
    scans on the way go to `scans`."""
    while found := _MARKER.search(data, at):
        kind = found[0][1]
        if kind == _END:
            return found.end()
        if kind == _START:  # of a preview
            break
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        if kind == _START_OF_SCAN and at - found.end() >= _SHORTEST_SCAN_HEADER:
            scans.append(data[found.start() : at])
    raise PictureRefused("is a damaged JPEG: it stops before its end; copy or export it again")


def _is_unrefined(scans: Sequence[bytes]) -> bool:
    """Whether a coefficient was sent without its last bits (T.81, G.1.1.1.2)."""
    bits_left: dict[tuple[int, int], int] = {}
    for head in scans:
        components = head[5 : 5 + 2 * head[4] : 2]
        first, last, approximation = head[-3:]
        for component in components:
            for coefficient in range(first, min(last, 63) + 1):
                bits_left[component, coefficient] = approximation & 15
    return any(bits_left.values())


def _is_padding(said: str, data: bytes) -> bool:
    """Whether the stray bytes before the end are zeros that a camera put there."""
    found = _PADDING.search(said)
    return found is not None and not data[-2 - int(found[1]) : -2].strip(b"\0\xff")
