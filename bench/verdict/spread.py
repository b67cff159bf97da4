"""Where along a curve, and on which images, one codec saves rate against another.

The same interpolant, resamples and rules as BD-rate: see `bootstrap`.  Ratios of rates are
given as log10, so that swapping the codecs changes nothing but the sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.verdict import bundle, common, pchip
from bench.verdict.bootstrap import limits, mean_curves, resamples
from bench.verdict.bundle import Bundle
from bench.verdict.common import Mask, Part
from bench.verdict.curve import Array, Curve, front
from bench.verdict.results import CodecResult

PLACES = 13
"""Qualities or rates at which curves are read off."""


@dataclass(frozen=True)
class Band:
    """Values with their 95 % interval along an axis; NaN where an interval is undefined."""

    at: Array
    value: Array
    low: Array
    high: Array


def relative_rate(anchor: CodecResult, test: CodecResult, metric: str, rising: bool) -> Band | None:
    """log10(rate of test / rate of anchor) over the qualities that both mean curves reach.

    The band is from a paired bootstrap over images; points and images without a value from both
    are left out, as in a verdict (`bench.verdict.common`).  None where the curves share no quality.
    """
    part = common.shared((anchor, test), metric)
    if part.reason:
        return None
    grids = [_grids(codec, metric, part, place) for place, codec in enumerate((anchor, test))]
    curves = [_front(rates.mean(axis=1), values.mean(axis=1), rising) for rates, values in grids]
    if any(curve is None for curve in curves):
        return None
    (x_a, y_a), (x_t, y_t) = (curve for curve in curves if curve is not None)
    low, high = max(x_a[0], x_t[0]), min(x_a[-1], x_t[-1])
    if not high > low:
        return None
    at = np.linspace(low, high, PLACES)
    value = _read(x_t, y_t, at) - _read(x_a, y_a, at)
    weights = resamples(int(part.images.sum()))
    a, t = (bundle.log_rates(mean_curves(*grid, weights, rising), at) for grid in grids)
    return Band(at if rising else -at, value, *limits(t - a))


def quality_band(
    codec: CodecResult, metric: str, rising: bool, images: Mask | None = None
) -> Band | None:
    """The mean curve's quality over log10(rate), with the interval of the mean over images.

    `images` are those of the chart, bool[images] (default: those on which the codec has values).
    Images differ far more than codecs, so this is much wider than the interval of a paired
    difference.  None where the curve does not rise, or there is one image.
    """
    grid = _alone(codec, metric, images)
    if grid is None or grid[0].shape[1] < 2:
        return None
    curve = _front(grid[0].mean(axis=1), grid[1].mean(axis=1), rising)
    if curve is None:
        return None
    quality, log_rate = curve
    at = np.linspace(log_rate[0], log_rate[-1], PLACES)
    means = mean_curves(*grid, resamples(grid[0].shape[1]), rising)
    # Each resample's curve ends at rates of its own: within the ends all reach, values exist.
    found = bundle.qualities(means, at)
    sign = 1 if rising else -1
    low, high = np.sort(sign * limits(found), axis=0)
    return Band(at, sign * _read(log_rate, quality, at), low, high)


def rate_by_image(anchor: CodecResult, test: CodecResult, metric: str, rising: bool) -> Array:
    """BD-rate of each image as log10 of the mean ratio of rates, [images]; NaN if undefined."""
    points = common.shared((anchor, test), metric).points
    curves = [
        Bundle.of(
            codec.bpp[kept].T, common.comparable(codec, metric)[kept].T, higher_is_better=rising
        )
        for codec, kept in zip((anchor, test), points, strict=True)
    ]
    return bundle.relative_rate(*curves)


def _grids(codec: CodecResult, metric: str, part: Part, place: int) -> tuple[Array, Array]:
    """Rates and qualities of what is compared, [points, images] each."""
    return part.of(place, codec.bpp), part.of(place, common.comparable(codec, metric))


def _alone(codec: CodecResult, metric: str, images: Mask | None) -> tuple[Array, Array] | None:
    """Rates and qualities of one codec on some images; None where nothing is left."""
    if images is None:
        part = common.shared((codec,), metric)
        return None if part.reason else _grids(codec, metric, part, 0)
    rates, quality = codec.bpp[:, images], common.comparable(codec, metric)[:, images]
    whole = np.isfinite(quality).all(axis=1)
    return (rates[whole], quality[whole]) if images.any() and whole.any() else None


def _front(rate: Array, quality: Array, rising: bool) -> tuple[Array, Array] | None:
    """(quality, log10 rate), both rising, of the points worth using."""
    curve = Curve(rate, quality)
    if curve.problem:
        return None
    points = front(curve, higher_is_better=rising)
    if not points.usable or len(points.quality) < 2:
        return None
    return points.quality, points.log_rate


def _read(x: Array, y: Array, at: Array) -> Array:
    """One curve at places within it; the ends survive rounding."""
    inside = np.clip(at, x[0], x[-1])
    return pchip.values(x[None], y[None], inside)[0]
