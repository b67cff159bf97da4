"""Pictures as raw planes or Y4M, for tools that take no RGB.

Y', Cb and Cr one after the other, full range, by the conversion of `codecs.colour` with the matrix
of BT.709; 4:2:0 with chroma sited in the middle of 2x2 luma samples; 10 bit in two bytes each, low
byte first.  Y4M has a line of text before them: https://wiki.multimedia.cx/index.php/YUV4MPEG2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codecs import colour
from codecs.base import Image

MATRIX = colour.BT709
CONVERSION = (
    f"{MATRIX.name}, full range, float conversion; 4:2:0 by 2x2 mean, back by cubic convolution "
    "(a = -1/2); edge repeated to even sizes, cropped at the end"
)
_LONGEST_LINE = 1024
_LIMITED = "XCOLORRANGE=LIMITED"


@dataclass(frozen=True, slots=True)
class Format:
    """How samples are laid out."""

    halved: bool
    """4:2:0, else 4:4:4."""
    bits: int

    def size(self, height: int, width: int) -> int:
        """Bytes of a picture of even size."""
        return height * width * (3 if self.bits == 8 else 6) // (2 if self.halved else 1)


RAW = {
    "yuv420p": Format(halved=True, bits=8),
    "yuv420p10": Format(halved=True, bits=10),
    "yuv444p": Format(halved=False, bits=8),
    "yuv444p10": Format(halved=False, bits=10),
}
"""By FFmpeg's names, less the `le`."""
Y4M = {"y4m": RAW["yuv420p"], **{f"y4m-{name}": found for name, found in RAW.items()}}
_TAGS = {
    **dict.fromkeys(("420jpeg", "420mpeg2", "420paldv", "420"), RAW["yuv420p"]),
    "420p10": RAW["yuv420p10"],
    "444": RAW["yuv444p"],
    "444p10": RAW["yuv444p10"],
}
"""What Y4M calls them; in what is read, all 4:2:0 is taken to be sited in the middle."""


def even(height: int, width: int) -> tuple[int, int]:
    """The size that is handed over."""
    return height + height % 2, width + width % 2


def packed(image: Image, name: str) -> bytes:
    """A picture of any size, made even, in the format of a name in `RAW` or `Y4M`."""
    layout = RAW.get(name) or Y4M[name]
    rows, columns = even(*image.shape[:2])
    y, cb, cr = colour.to_ycbcr(colour.pad_edges(image, rows, columns), MATRIX)
    if layout.halved:
        cb, cr = colour.halve(cb), colour.halve(cr)
    planes = [colour.quantise_luma(y, layout.bits)]
    planes += [colour.quantise_chroma(plane, layout.bits) for plane in (cb, cr)]
    samples = b"".join(plane.astype(_stored(layout)).tobytes() for plane in planes)
    if name in RAW:
        return samples
    tag = next(tag for tag, known in _TAGS.items() if known == layout)
    line = f"YUV4MPEG2 W{columns} H{rows} F25:1 Ip A1:1 C{tag} XCOLORRANGE=FULL\nFRAME\n"
    return line.encode() + samples


def unpacked(data: bytes, name: str, height: int, width: int) -> Image:
    """The picture of true size height x width in what `packed` may have written, or another
    program: uint8[H, W, 3].  Raises `ValueError` that says how it is wrong."""
    rows, columns = even(height, width)
    layout = RAW.get(name)
    if layout is None:
        layout, data = _without_lines(data, rows, columns)
    if len(data) != layout.size(rows, columns):
        raise ValueError(
            f"holds {len(data)} bytes of samples, not the {layout.size(rows, columns)} of one "
            f"picture of {columns}x{rows}"
        )
    samples = np.frombuffer(data, _stored(layout))
    if layout.bits > 8 and samples.max() >> layout.bits:
        raise ValueError(f"holds samples that do not fit {layout.bits} bit")
    half = (rows // 2, columns // 2) if layout.halved else (rows, columns)
    y, cb, cr = np.split(samples, np.cumsum([rows * columns, half[0] * half[1]]))
    blue, red = (colour.chroma(plane.reshape(half), layout.bits) for plane in (cb, cr))
    if layout.halved:
        blue, red = colour.double(blue), colour.double(red)
    image = colour.to_rgb(colour.luma(y.reshape(rows, columns), layout.bits), blue, red, MATRIX)
    return image[:height, :width].copy()


def _without_lines(data: bytes, rows: int, columns: int) -> tuple[Format, bytes]:
    """Format and samples of Y4M."""
    line, end, rest = data[:_LONGEST_LINE].partition(b"\n")
    words = line.decode(errors="replace").split()
    if not end or words[:1] != ["YUV4MPEG2"]:
        raise ValueError("does not begin with the line YUV4MPEG2")
    told = {word[0]: word[1:] for word in reversed(words[1:])}
    if (told.get("W"), told.get("H")) != (str(columns), str(rows)):
        size = f"{told.get('W')}x{told.get('H')}"
        raise ValueError(f"is {size[:40]}, where {columns}x{rows} was handed to the encoder")
    if _LIMITED in words:
        raise ValueError(f"says {_LIMITED}: what the encoder was given has full range, keep it so")
    tag = told.get("C", "420jpeg")
    if tag not in _TAGS:
        raise ValueError(f"has the samples C{tag[:40]}; known are {', '.join(_TAGS)}")
    frame, end, _ = rest.partition(b"\n")
    if not end or frame.split(b" ")[0] != b"FRAME":
        raise ValueError("has no line FRAME before its samples")
    return _TAGS[tag], data[len(line) + len(frame) + 2 :]


def _stored(layout: Format) -> str:
    return "u1" if layout.bits == 8 else "<u2"
