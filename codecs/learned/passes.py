"""The container of streams that may be cut: a header, then passes, each with its checksum.

    header                 as that of `codecs.learned.bitstream`, without a quality
    passes                 one after the other, each
      length     varint    bytes of the payload
      payload              whole 32-bit words; zeros behind the first pass, see below
      checksum   4 bytes   CRC-32, little-endian, of the header and the symbols of all passes so far

Where a file ends is said nowhere: what is left of a stream that was cut behind its first pass is
the stream of the passes that are complete.  A complete pass that does not have its checksum is
damage, and `BitstreamError`: never a wrong picture.

Hostile headers: as in `codecs.learned.bitstream`, a file holds at least one byte for every two
blocks of 64x64 pixels, its first pass alone does, and an encoder pads that with zeros.  A decoder
of passes keeps its states for the whole picture, some 600 bytes a pixel, so there are fewer blocks:
at most 2^10, 4.2 megapixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from codecs.base import BitstreamError, EncodeError
from codecs.learned import bitstream
from codecs.learned.bitstream import BLOCKS_PER_BYTE, Header, read_varint, write_varint

MAX_BLOCKS = 1 << 10
WORD = 4
_CHECKSUM_BYTES = 4
Symbols = Sequence[NDArray[np.integer]]
"""Those of each pass."""


def check_size(height: int, width: int) -> None:
    """Raise `EncodeError` for a picture that is too large."""
    if (blocks := bitstream.blocks(height, width)) > MAX_BLOCKS:
        raise EncodeError(
            f"the picture has {blocks} blocks of 64x64 pixels; streams of passes stop at "
            f"{MAX_BLOCKS}: cut it into parts"
        )


def pack(header: Header, payload: bytes, symbols: Symbols) -> bytes:
    """The last of the passes whose `symbols` are given, as it stands in the file."""
    if len(symbols) == 1:
        shortest = -(-bitstream.blocks(header.height, header.width) // BLOCKS_PER_BYTE)
        payload = payload.ljust(-(-shortest // WORD) * WORD, b"\0")
    checksum = bitstream.checksum(header, symbols).to_bytes(_CHECKSUM_BYTES, "little")
    return write_varint(len(payload)) + payload + checksum


def verify(header: Header, checksum: int, symbols: Symbols) -> None:
    """Raise `BitstreamError` unless the decoded passes are the encoder's."""
    if bitstream.checksum(header, symbols) != checksum:
        raise BitstreamError(
            f"the checksum of pass {len(symbols)} differs: the file is damaged, or the decoder "
            "does not reproduce the encoder's arithmetic"
        )


def unpack(
    data: bytes, magic: bytes, version: int, most: int
) -> tuple[Header, list[tuple[bytes, int]]]:
    """(header, (payload, checksum) of each complete pass) of a file of `most` passes or fewer.

    Raises `BitstreamError`, also where not one pass is complete.
    """
    header, offset = bitstream.read_header(data, magic, version)
    if header.flags:
        raise BitstreamError("the header is damaged: unknown flags")
    if bitstream.blocks(header.height, header.width) > MAX_BLOCKS:
        raise BitstreamError("the header is damaged: no such picture is coded in passes")
    found: list[tuple[bytes, int]] = []
    for number in count(1):
        if offset == len(data):
            break
        if number > most:
            raise BitstreamError("the file has trailing data that belongs to no pass")
        try:
            length, start = read_varint(data, offset, 1 << 28)
        except BitstreamError:
            if any(byte < 0x80 for byte in data[offset:]):
                raise
            break  # cut within the length
        if length % WORD:
            raise BitstreamError(f"the length of pass {number} is damaged")
        offset = start + length + _CHECKSUM_BYTES
        if offset > len(data):
            break
        end = start + length
        found.append((data[start:end], int.from_bytes(data[end:offset], "little")))
    if not found:
        raise BitstreamError("the file is cut short: not one pass is complete")
    return header, found
