"""What Pillow does not say about a file: how many bits a channel has, whether a PNG is whole.

Pillow opens 16-bit RGB in PNG and PPM, and 10- and 12-bit AVIF, as 8-bit pictures, and damaged
PNGs as other pictures, without a word.  A comparison must not begin with such an original,
nor end with such a reconstruction.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from PIL import Image as PillowImage

from codecs.base import PictureRefused
from codecs.wholeness import check_png_data

_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # TIFF 6.0, sections 8 and 19
_PPM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PPM_HEADER = re.compile(rb"P[2356]" + (_PPM_GAP + rb"(\d{1,9})") * 3 + rb"\s")
_PPM_HEADER_LIMIT = 1 << 16


def bits_per_channel(data: bytes, image: PillowImage.Image) -> int:
    """Bits of the deepest channel of a file that Pillow has opened but not yet decoded.

    Raises `PictureRefused` for a header that cannot be right.
    """
    match image.format:
        case "PNG":
            return _png_bits(data)
        case "TIFF":
            return _tiff_bits(image)
        case "PPM":
            return _ppm_bits(data)
        case "AVIF":
            return _avif_bits(data)
        case _:  # WebP and BMP have no more; Pillow's JPEG reader accepts 8 bits only
            return 8


def check_png(data: bytes) -> None:
    """Raise `PictureRefused` unless all critical chunks are there, match their checksums and hold
    the whole picture.

    PNG (third edition), 5.3: length, type, content, CRC-32 of type and content.  A capital
    first letter marks a critical chunk; a damaged comment harms nobody.
    """
    at = 8
    view = memoryview(data)
    picture: list[memoryview] = []
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if end + 4 > len(data):
            break
        stated = int.from_bytes(data[end : end + 4], "big")
        if kind[:1].isupper() and zlib.crc32(view[at + 4 : end]) != stated:
            name = kind.decode("ascii", "backslashreplace")
            raise PictureRefused(f"is a damaged PNG: checksum error in its {name} chunk")
        if kind == b"IDAT":
            picture.append(view[at + 8 : end])
        if kind == b"IEND":
            width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
            check_png_data(width, height, data[16:29], picture)
            return
        at = end + 4
    raise PictureRefused("is a truncated PNG: it has no end")


def _png_bits(data: bytes) -> int:
    """PNG (third edition), 11.2.1: IHDR comes first; its ninth byte is the bit depth."""
    if data[12:16] != b"IHDR" or len(data) < 25:
        raise PictureRefused("is a damaged PNG: it does not begin with IHDR")
    return data[24]


def _tiff_bits(image: PillowImage.Image) -> int:
    tags = getattr(image, "tag_v2", {})
    if any(kind != 1 for kind in tags.get(_SAMPLE_FORMAT, (1,))):
        raise PictureRefused(
            "has signed or floating-point samples; convert it: magick INPUT -depth 8 OUTPUT.png"
        )
    return max(tags.get(_BITS_PER_SAMPLE, (1,)))


def _ppm_bits(data: bytes) -> int:
    """Netpbm: P1 and P4 are bitmaps; the others state the largest sample value."""
    if data[:2] in (b"P1", b"P4"):
        return 1
    _, (_, _, largest), _ = ppm_header(data)
    return largest.bit_length()


def ppm_header(data: bytes) -> tuple[bytes, tuple[int, int, int], int]:
    """`P6`, say; width, height and largest sample; where the samples begin."""
    header = _PPM_HEADER.match(data[:_PPM_HEADER_LIMIT])
    if header is None:
        raise PictureRefused("has a Netpbm header that is not understood")
    width, height, largest = (int(number) for number in header.groups())
    return data[:2], (width, height, largest), header.end()


def _avif_bits(data: bytes) -> int:
    """AV1 in ISO BMFF, 2.3.3: high_bitdepth and twelve_bit follow seq_tier_0 in `av1C`."""
    bits = 8
    for kind, start, end in _boxes(data):
        at = data.find(b"av1C", start, end) if kind == b"meta" else -1
        while at >= 0:
            flags = data[at + 6] if at + 6 < end else 0
            if flags & 0x40:
                bits = max(bits, 12 if flags & 0x20 else 10)
            at = data.find(b"av1C", at + 4, end)
    return bits


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each top-level box (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = len(data) - at
        if size < header:
            return
        yield data[at + 4 : at + 8], at + header, min(at + size, len(data))
        at += size
