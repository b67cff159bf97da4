"""Rate-distortion curves: the scale of their qualities, the points worth using, and reading values
off between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FEWEST = 4
"""Points that a curve should have (VCEG-M33)."""
IN_DECIBELS = ("ms-ssim", "ms-ssim-y")


def on_scale(metric: str, value: Array) -> Array:
    """A metric's values on the scale used for curves: MS-SSIM in dB, all others as they are.

    -10 log10(1 - MS-SSIM) is the field's usual form (e.g. Ballé et al., ICLR 2018).
    """
    if metric not in IN_DECIBELS:
        return np.asarray(value, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return -10 * np.log10(1 - np.asarray(value, dtype=np.float64))


def unit(metric: str, native: str) -> str:
    """Unit on that scale, given the metric's own."""
    return "dB" if metric in IN_DECIBELS else native


def pooled(metric: str, grid: Array) -> Array:
    """One figure per point from the whole set: [points, images] -> [points].

    PSNR of the mean squared error and dB of the mean MS-SSIM; LPIPS has no pooled form other
    than its mean.  It weighs hard images more than the mean of per-image figures does.
    """
    if metric in ("psnr", "psnr-y", "psnr-hvs-m"):
        with np.errstate(divide="ignore"):  # a set coded without loss
            return -10 * np.log10(np.mean(10 ** (-grid / 10), axis=-1))
    return on_scale(metric, np.mean(grid, axis=-1))


@dataclass(frozen=True, eq=False, init=False)
class Curve:
    """Operating points in any order: rates (bits per pixel, above 0) and values of one metric.

    Raises `ValueError` unless both are flat and equally long.
    """

    rate: Array
    quality: Array

    def __init__(self, rate: ArrayLike, quality: ArrayLike) -> None:
        object.__setattr__(self, "rate", np.array(rate, dtype=np.float64))
        object.__setattr__(self, "quality", np.array(quality, dtype=np.float64))
        if self.rate.ndim != 1 or self.rate.shape != self.quality.shape:
            raise ValueError(
                "a curve needs one rate and one quality per point, "
                f"got shapes {self.rate.shape} and {self.quality.shape}"
            )

    @property
    def problem(self) -> str:
        """What makes a number unusable, in words; empty where nothing does."""
        if not (np.isfinite(self.rate).all() and np.isfinite(self.quality).all()):
            return "a rate or quality that is not a finite number"
        if (self.rate <= 0).any():
            return "a point without bits"
        return ""


@dataclass(frozen=True, eq=False)
class Front:
    """The points of a curve that are worth using: rate and quality both rise strictly."""

    log_rate: Array
    """log10 of the rate."""
    quality: Array
    """Falling metrics are negated."""
    dropped: int
    """Points left out because another gives as much quality for no more rate."""

    @property
    def usable(self) -> bool:
        """Whether what is left may stand for the curve."""
        n = len(self.quality)
        return self.dropped == 0 or (n >= FEWEST and n >= 2 * self.dropped)


def front(curve: Curve, *, higher_is_better: bool) -> Front:
    """The Pareto front of a curve without `problem`.

    A codec whose quality dips at one operating point would not be used there, so the others are
    its curve.  Where more than a third of the points are such, the curve (or the direction that
    was given for the metric) is wrong.  A point that was given twice counts once.
    """
    quality = curve.quality if higher_is_better else -curve.quality
    points = np.unique(np.column_stack([curve.rate, -quality]), axis=0)  # best first at equal rate
    quality = -points[:, 1]
    before = np.maximum.accumulate(np.concatenate([[-np.inf], quality]))[:-1]
    kept = quality > before
    return Front(np.log10(points[kept, 0]), quality[kept], int(np.count_nonzero(~kept)))


def rate_at_quality(curve: Curve, quality: float, *, higher_is_better: bool = True) -> float:
    """The rate that gives a quality; NaN where the curve does not reach it or is unusable.

    Interpolated as BD-rate does it: PCHIP of log10(rate) over quality.
    """
    if curve.problem:
        return math.nan
    points = front(curve, higher_is_better=higher_is_better)
    at = quality if higher_is_better else -quality
    return 10 ** _interpolated(points, points.quality, points.log_rate, at)


def quality_at_rate(curve: Curve, rate: float, *, higher_is_better: bool = True) -> float:
    """The quality at a rate; NaN where the curve does not reach it or is unusable.

    Interpolated as BD-PSNR does it: PCHIP of quality over log10(rate).
    """
    if curve.problem or not rate > 0:
        return math.nan
    points = front(curve, higher_is_better=higher_is_better)
    found = _interpolated(points, points.log_rate, points.quality, math.log10(rate))
    return found if higher_is_better else -found


def _interpolated(points: Front, x: Array, y: Array, at: float) -> float:
    from scipy.interpolate import PchipInterpolator

    if not points.usable or len(x) < 2:
        return math.nan
    inside = min(max(at, x[0]), x[-1])
    if not abs(at - inside) <= 1e-9 * (x[-1] - x[0]):  # an end point survives rounding
        return math.nan
    return float(PchipInterpolator(x, y)(inside))
