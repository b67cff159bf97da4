"""The container of all learned codecs: header, sections, checksum.

    magic        2 bytes   codec
    version      1 byte    format version
    model        4 bytes   first bytes of the SHA-256 of the weights file
    flags        1 byte    the codec's own; bit 7 says that a quality follows
    width        varint    pixels (LEB128, as are all varints)
    height       varint
    quality      varint    in 1/256, of models that serve many operating points (bit 7 of flags)
    lengths      varint    bytes of each section, in order; their number is fixed by the codec
    sections
    padding      zero bytes, see below
    checksum     4 bytes   CRC-32, little-endian, of everything before `lengths`, the decoded
                           latents and whatever else entropy decoding depends on

A decoder that disagrees with the encoder by one latent fails the checksum, and so does a damaged
header: the result is `BitstreamError`, never a wrong picture.

Hostile headers: a file holds at least one byte for every two blocks of 64x64 pixels (an encoder
pads with zeros where it would be shorter: below 0.001 bits per pixel), so time and memory of a
decoder are bounded by the length of the file and not by what its header claims.  There are at most
2^14 blocks, 67 megapixels: what a decoder keeps for each block before it has read any latent of it
then stays below 1 GiB.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from codecs.base import BitstreamError, EncodeError

M = TypeVar("M")

BLOCK = 64
BLOCKS_PER_BYTE = 2
MAX_BLOCKS = 1 << 14
MODEL_BYTES = 4
QUALITY_UNITS = 256
"""Steps of a quality of 1: it is stored in fixed point."""
MAX_QUALITY = 255
_CHECKSUM_BYTES = 4
_HAS_QUALITY = 0x80


def blocks(height: int, width: int) -> int:
    """Blocks of 64x64 that cover a picture: what networks of stride 64 pad it to."""
    return -(-height // BLOCK) * -(-width // BLOCK)


def write_varint(value: int) -> bytes:
    """LEB128: seven bits a byte, low first, high bit set on all but the last."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, offset: int, limit: int) -> tuple[int, int]:
    """(value, offset behind it).  Raises `BitstreamError` unless value <= `limit` < 2^35."""
    value = 0
    for i in range(5):
        if offset + i >= len(data):
            raise BitstreamError("the header is cut short")
        byte = data[offset + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value > limit:
                break
            return value, offset + i + 1
    raise BitstreamError(f"the header is damaged: a number exceeds its limit of {limit}")


def fixed_point(quality: float) -> float:
    """The nearest quality that a header can carry; raises `ValueError` outside 0...255."""
    if not 0 <= quality <= MAX_QUALITY:
        raise ValueError(f"a quality of {quality} is not within 0...{MAX_QUALITY}")
    return round(quality * QUALITY_UNITS) / QUALITY_UNITS


@dataclass(frozen=True, slots=True)
class Header:
    """What precedes the sections; sizes in pixels."""

    magic: bytes
    version: int
    model: bytes
    flags: int
    """The codec's own, below 128."""
    height: int
    width: int
    quality: float | None = None
    """Of 0...`MAX_QUALITY`, a multiple of 1/256; `None` where the model has one operating point."""

    def to_bytes(self) -> bytes:
        has = _HAS_QUALITY if self.quality is not None else 0
        fixed = self.magic + bytes([self.version]) + self.model + bytes([self.flags | has])
        size = write_varint(self.width) + write_varint(self.height)
        if self.quality is None:
            return fixed + size
        return fixed + size + write_varint(round(self.quality * QUALITY_UNITS))


@dataclass(frozen=True, slots=True)
class Stream:
    header: Header
    sections: tuple[bytes, ...]
    checksum: int

    def verify(self, latents: Iterable[NDArray[np.integer]]) -> None:
        """Raise `BitstreamError` unless the decoded latents are the encoder's."""
        if checksum(self.header, latents) != self.checksum:
            raise BitstreamError(
                "the checksum of the decoded latents differs: the file is damaged, or the decoder "
                "does not reproduce the encoder's arithmetic"
            )


def checksum(header: Header, latents: Iterable[NDArray[np.integer]]) -> int:
    """CRC-32 of the header and of all latents as little-endian int16 with their shapes."""
    crc = zlib.crc32(header.to_bytes())
    for latent in latents:
        crc = zlib.crc32(np.array(latent.shape, "<u4").tobytes(), crc)
        crc = zlib.crc32(latent.astype("<i2").tobytes(), crc)
    return crc


def pack(
    header: Header, sections: Sequence[bytes], latents: Iterable[NDArray[np.integer]]
) -> bytes:
    """The file; `latents` as the decoder will pass them to `Stream.verify`."""
    count = blocks(header.height, header.width)
    if count > MAX_BLOCKS:
        raise EncodeError(
            f"the picture has {count} blocks of 64x64 pixels; the format stops at {MAX_BLOCKS}"
        )
    head = header.to_bytes() + b"".join(write_varint(len(section)) for section in sections)
    body = head + b"".join(sections)
    shortest = -(-count // BLOCKS_PER_BYTE)
    body = body.ljust(shortest - _CHECKSUM_BYTES, b"\0")
    return body + checksum(header, latents).to_bytes(_CHECKSUM_BYTES, "little")


def frame_bytes(header: Header, sections: int) -> int:
    """What a file holds beside its sections, where these are of 128 to 16383 bytes."""
    return len(header.to_bytes()) + 2 * sections + _CHECKSUM_BYTES


def read_header(data: bytes, magic: bytes, version: int) -> tuple[Header, int]:
    """(header, offset behind it), with the checks that need no weights."""
    fixed = len(magic) + 1 + MODEL_BYTES + 1
    if data[: len(magic)] != magic:
        raise BitstreamError(f"not a stream of this codec: it does not start with {magic!r}")
    if len(data) < fixed + 2 + _CHECKSUM_BYTES:
        raise BitstreamError("the header is cut short")
    if data[len(magic)] != version:
        raise BitstreamError(
            f"the stream has format version {data[len(magic)]}; this decoder reads {version}"
        )
    width, offset = read_varint(data, fixed, MAX_BLOCKS * BLOCK)
    height, offset = read_varint(data, offset, MAX_BLOCKS * BLOCK)
    allowed = min(len(data) * BLOCKS_PER_BYTE, MAX_BLOCKS)
    if not 0 < blocks(height, width) <= allowed:
        raise BitstreamError(
            f"the header is damaged: {width}x{height} pixels cannot come from {len(data)} bytes"
        )
    quality = None
    if data[fixed - 1] & _HAS_QUALITY:
        units, offset = read_varint(data, offset, MAX_QUALITY * QUALITY_UNITS)
        quality = units / QUALITY_UNITS
    model, flags = data[len(magic) + 1 : fixed - 1], data[fixed - 1] & ~_HAS_QUALITY
    return Header(magic, version, model, flags, height, width, quality), offset


def unpack(data: bytes, magic: bytes, version: int, sections: int) -> Stream:
    """Parse a file of `sections` sections.  Raises `BitstreamError`."""
    header, offset = read_header(data, magic, version)
    lengths = []
    for _ in range(sections):
        length, offset = read_varint(data, offset, len(data))
        lengths.append(length)
    end = len(data) - _CHECKSUM_BYTES
    if offset + sum(lengths) > end:
        raise BitstreamError("the file is cut short: its sections are longer than what is there")
    parts = []
    for length in lengths:
        parts.append(data[offset : offset + length])
        offset += length
    if any(data[offset:end]):
        raise BitstreamError("the file has trailing data that belongs to no section")
    return Stream(header, tuple(parts), int.from_bytes(data[end:], "little"))


def model_of(data: bytes, magic: bytes, version: int, models: Mapping[bytes, M]) -> M:
    """Of `models`, by the first `MODEL_BYTES` of their digests, the one that made the stream.

    Raises `BitstreamError`, which names those at hand.
    """
    header, _ = read_header(data, magic, version)
    model = models.get(header.model)
    if model is None:
        known = ", ".join(digest.hex() for digest in models)
        raise BitstreamError(
            f"the stream was made with weights {header.model.hex()}; here are {known}"
        )
    return model


def check_model(header: Header, digest: bytes, name: str) -> None:
    """Raise `BitstreamError` unless the stream was made with the weights of SHA-256 `digest`."""
    if header.model != digest[:MODEL_BYTES]:
        raise BitstreamError(
            f"the stream was made with weights {header.model.hex()}, "
            f"but {name} has {digest[:MODEL_BYTES].hex()}"
        )


def serves(quality: float | None, anchors: int) -> bool:
    """Whether weights of so many `anchors` (0: of one point) have a quality: all from the first to
    the last, or none."""
    return quality is None if not anchors else quality is not None and quality <= anchors - 1


def check_quality(header: Header, anchors: int) -> None:
    """Raise `BitstreamError` unless weights of so many `anchors` have the stream's quality."""
    if not serves(header.quality, anchors):
        raise BitstreamError("the header is damaged: these weights have no such quality")
