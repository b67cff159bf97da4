"""Peak signal-to-noise ratio of 8-bit images: over RGB, and over luma."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.base import Metric
from codecs.base import Image

PEAK = 255.0
LUMA_BT709 = np.array([0.2126, 0.7152, 0.0722])
"""Y = 0.2126 R + 0.7152 G + 0.0722 B (Recommendation ITU-R BT.709-6, item 3.2)."""
_ROWS = 64  # rows worked on at a time: the temporaries stay in the processor's cache


def psnr_of(mean_square_error: float) -> float:
    """PSNR in dB of an error measured on the scale 0..255; infinite where the error is zero."""
    if mean_square_error == 0:
        return math.inf
    return 10 * math.log10(PEAK**2 / mean_square_error)


class Psnr(Metric):
    """PSNR over all samples of R, G and B together: 10 log10(255^2 / MSE).

    Identical images have `math.inf`: no finite figure would be true of them.
    """

    name = "psnr"
    label = "PSNR"
    unit = "dB"
    higher_is_better = True
    version = "1 (RGB, 8 bit)"

    def score(self, prepared: Image, decoded: Image) -> float:
        total = 0
        for top in range(0, len(prepared), _ROWS):
            rows = slice(top, top + _ROWS)
            error = prepared[rows].astype(np.int32)
            error -= decoded[rows]
            error *= error
            total += int(error.sum(dtype=np.int64))
        return psnr_of(total / prepared.size)


@dataclass(frozen=True)
class Luma:
    """The original's luma, float64[H, W]."""

    plane: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        return self.plane.nbytes


class PsnrLuma(Metric):
    """PSNR of BT.709 luma, computed from R'G'B' without rounding.  Identical luma: `math.inf`."""

    name = "psnr-y"
    label = "PSNR-Y"
    unit = "dB"
    higher_is_better = True
    version = "1 (BT.709 luma, not rounded)"

    def prepare(self, reference: Image) -> Luma:
        return Luma(reference @ LUMA_BT709)

    def score(self, prepared: Luma, decoded: Image) -> float:
        total = 0.0
        for top in range(0, len(decoded), _ROWS):
            rows = slice(top, top + _ROWS)
            error = (prepared.plane[rows] - decoded[rows] @ LUMA_BT709).ravel()
            total += float(error @ error)
        return psnr_of(total / prepared.plane.size)
