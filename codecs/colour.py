"""RGB <-> full-range Y'CbCr and chroma resampling, in float, rounded once.

Doing this here and handing raw planes to the encoders keeps a scaler's defaults (limited range,
BT.601, truncation) out of the comparison.  Formulas: Rec. ITU-T H.273 (07/2021), equations 4 to
6 with VideoFullRangeFlag 1 and MatrixCoefficients 1 (BT.709) or 5 (BT.601).

Chroma of 4:2:0 is sited in the middle of each 2x2 block of luma (H.273 Chroma420SampleLocType 1):
the mean of the block on the way down, cubic convolution on the way up.

All arithmetic is element by element in float32: sums have the same order on every machine,
which a matrix product does not promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecs.base import Image

Plane = NDArray[np.float32]
"""Y' in [0, 1], or Cb, Cr in [-0.5, 0.5]: float32[H, W]."""
Samples = NDArray[np.unsignedinteger[Any]]
"""A quantised plane: uint8[H, W] at 8 bit, uint16[H, W] above."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The weights of red and blue in luma."""

    name: str
    kr: float
    kb: float

    @property
    def kg(self) -> float:
        return 1 - self.kr - self.kb


BT709 = Matrix("BT.709", 0.2126, 0.0722)
BT601 = Matrix("BT.601", 0.299, 0.114)


def to_ycbcr(image: Image, matrix: Matrix) -> tuple[Plane, Plane, Plane]:
    """uint8[H, W, 3] -> Y', Cb, Cr, each float32[H, W]."""
    red, green, blue = (image[..., c].astype(np.float32) / np.float32(255) for c in range(3))
    y = _scaled(red, matrix.kr) + _scaled(green, matrix.kg) + _scaled(blue, matrix.kb)
    cb = _scaled(blue - y, 0.5 / (1 - matrix.kb))
    cr = _scaled(red - y, 0.5 / (1 - matrix.kr))
    return y, cb, cr


def to_rgb(y: Plane, cb: Plane, cr: Plane, matrix: Matrix) -> Image:
    """The inverse of `to_ycbcr`, rounded and clipped: -> uint8[H, W, 3]."""
    red = y + _scaled(cr, 2 * (1 - matrix.kr))
    blue = y + _scaled(cb, 2 * (1 - matrix.kb))
    rest = y - _scaled(red, matrix.kr) - _scaled(blue, matrix.kb)
    green = _scaled(rest, 1 / matrix.kg)
    image = np.empty((*y.shape, 3), np.uint8)
    for channel, plane in enumerate((red, green, blue)):
        image[..., channel] = _rounded(_scaled(plane, 255), 255)
    return image


def quantise_luma(y: Plane, bits: int) -> Samples:
    """Y' in [0, 1] -> integers in [0, 2^bits - 1]."""
    peak = (1 << bits) - 1
    return _rounded(_scaled(y, peak), peak).astype(_sample_type(bits))


def quantise_chroma(c: Plane, bits: int) -> Samples:
    """Cb or Cr in [-0.5, 0.5] -> integers in [0, 2^bits - 1], grey at 2^(bits - 1)."""
    peak = (1 << bits) - 1
    return _rounded(_scaled(c, peak) + np.float32(1 << (bits - 1)), peak).astype(_sample_type(bits))


def luma(samples: Samples, bits: int) -> Plane:
    """The inverse of `quantise_luma`."""
    return _scaled(samples.astype(np.float32), 1 / ((1 << bits) - 1))


def chroma(samples: Samples, bits: int) -> Plane:
    """The inverse of `quantise_chroma`."""
    centred = samples.astype(np.float32) - np.float32(1 << (bits - 1))
    return _scaled(centred, 1 / ((1 << bits) - 1))


def halve(plane: Plane) -> Plane:
    """Means of 2x2 blocks: float32[2H, 2W] -> float32[H, W]."""
    upper = plane[0::2, 0::2] + plane[0::2, 1::2]
    lower = plane[1::2, 0::2] + plane[1::2, 1::2]
    return _scaled(upper + lower, 0.25)


def double(plane: Plane) -> Plane:
    """Cubic convolution (Keys, 1981, a = -1/2; edges repeated) at the sites that `halve` left:
    float32[H, W] -> float32[2H, 2W]."""
    return _double_rows(_double_rows(plane).T).T


# The kernel at distances 1.25, 0.25, 0.75 and 1.75: the four samples around a luma site, which
# lies a quarter of a chroma step away from the nearest.
_TAPS = (-0.0703125, 0.8671875, 0.2265625, -0.0234375)


def _double_rows(plane: Plane) -> Plane:
    rows = len(plane)
    padded = np.pad(plane, ((2, 2), (0, 0)), mode="edge")
    shifted = [padded[k : k + rows] for k in range(5)]
    out = np.empty((2 * rows, plane.shape[1]), np.float32)
    for phase, (far, near, next_, last) in enumerate(((3, 2, 1, 0), (1, 2, 3, 4))):
        out[phase::2] = (
            _scaled(shifted[far], _TAPS[0])
            + _scaled(shifted[near], _TAPS[1])
            + _scaled(shifted[next_], _TAPS[2])
            + _scaled(shifted[last], _TAPS[3])
        )
    return out


def pad_edges(image: Image, height: int, width: int) -> Image:
    """`image` with its last row and column repeated up to the given size."""
    rows, columns = image.shape[:2]
    return np.pad(image, ((0, height - rows), (0, width - columns), (0, 0)), mode="edge")


def round_trip_444(image: Image, matrix: Matrix = BT709, bits: int = 8) -> Image:
    """RGB -> quantised Y'CbCr 4:4:4 -> RGB: what the colour conversion alone costs."""
    y, cb, cr = to_ycbcr(image, matrix)
    return to_rgb(
        luma(quantise_luma(y, bits), bits),
        chroma(quantise_chroma(cb, bits), bits),
        chroma(quantise_chroma(cr, bits), bits),
        matrix,
    )


def _sample_type(bits: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if bits == 8 else np.uint16


def _scaled(plane: Plane, factor: float) -> Plane:
    return plane * np.float32(factor)


def _rounded(plane: Plane, peak: int) -> Plane:
    return np.clip(np.rint(plane), 0, peak)
