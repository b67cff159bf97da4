"""The scale on which a metric is compared and drawn, and how it is pooled over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def on_scale(metric: str, value: Array) -> Array:
    """A metric's values on the scale used for curves: MS-SSIM in dB, all others as they are.

    -10 log10(1 - MS-SSIM) is the field's usual form (e.g. Ballé et al., ICLR 2018).
    """
    if metric != "ms-ssim":
        return np.asarray(value, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return -10 * np.log10(1 - np.asarray(value, dtype=np.float64))


def unit(metric: str, native: str) -> str:
    """Unit on that scale, given the metric's own."""
    return "dB" if metric == "ms-ssim" else native


def pooled(metric: str, grid: Array) -> Array:
    """One figure per point from the whole set: [points, images] -> [points].

    PSNR of the mean squared error and dB of the mean MS-SSIM; LPIPS has no pooled form other
    than its mean.  It weighs hard pictures more than the mean of per-image figures does.
    """
    if metric.startswith("psnr"):
        with np.errstate(divide="ignore"):  # a set coded without loss
            return -10 * np.log10(np.mean(10 ** (-grid / 10), axis=-1))
    return on_scale(metric, np.mean(grid, axis=-1))
