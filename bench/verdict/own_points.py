"""Figures where curves give no BD-rate: one curve read off at the other's own operating points.

A codec with a single point, or curves that share no quality, have no mean difference.  Between the
points of the anchor the rate that it needs for the codec's quality is known all the same, and the
quality that it reaches at the codec's rate.  Two codecs coded to one rate, which have no curve, are
compared in quality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.verdict import bundle
from bench.verdict.bootstrap import limits, mean_curves, resamples
from bench.verdict.curve import Array


@dataclass(frozen=True)
class OwnPoint:
    """Anchor and codec compared at one point of one of them; NaN where the other does not reach."""

    rate: float
    """Bits per pixel of the point."""
    anchor_quality: float
    """At this rate, on the scale of `bench.verdict.curve.on_scale`, as `quality`."""
    quality: float
    low: float
    """95 % interval of `quality - anchor_quality`."""
    high: float
    rate_change: float
    """Percent more bits (below 0: fewer) than the anchor needs for the same quality."""
    rate_low: float
    """Its 95 % interval."""
    rate_high: float


SAME_RATE = 0.02
"""How much the rates of two codecs may differ, relatively, for their qualities to be compared: each
comes within 1 % of a rate that it is coded to."""
Grids = tuple[Array, Array]
"""Rates and qualities, [points, images] each."""


def compare_at_own_points(
    anchor: Grids, codec: Grids, higher_is_better: bool, n: int = 1000, seed: int = 0
) -> tuple[OwnPoint, ...]:
    """At each point of the codec, read off the anchor's curve; where the anchor has no curve, at
    each of its points, read off the codec's.  Where neither has one, at points of the same rate.

    Images are in the same order.  Intervals are of a paired bootstrap over them, as in
    `bootstrap`; NaN for a single image.  Points at which nothing can be read are left out.
    """
    images = anchor[0].shape[1]
    whole = np.full((1, images), 1 / images)
    swapped = not mean_curves(*anchor, whole, higher_is_better).usable[0]
    curve, points = (codec, anchor) if swapped else (anchor, codec)
    if swapped and not mean_curves(*curve, whole, higher_is_better).usable[0]:
        return tuple(_at_the_same_rate(anchor, codec, resamples(images, n, seed)))
    sign = (-1 if swapped else 1) * (1 if higher_is_better else -1)
    central = _read(curve, points, whole, higher_is_better)
    better, log_ratios = _read(curve, points, resamples(images, n, seed), higher_is_better)
    low, high = limits(sign * better)
    rate_low, rate_high = limits(100 * (10 ** (-log_ratios if swapped else log_ratios) - 1))
    found = []
    for place in range(len(points[0])):
        more, log_ratio = (float(part[0, place]) for part in central)
        if math.isnan(more) and math.isnan(log_ratio):
            continue
        own = float(points[1][place].mean())
        other = own - more * (1 if higher_is_better else -1)
        ratio = 10 ** (-log_ratio if swapped else log_ratio)
        found.append(
            OwnPoint(
                rate=float(points[0][place].mean()),
                anchor_quality=own if swapped else other,
                quality=other if swapped else own,
                low=float(low[place]),
                high=float(high[place]),
                rate_change=100 * (ratio - 1),
                rate_low=float(rate_low[place]),
                rate_high=float(rate_high[place]),
            )
        )
    return tuple(sorted(found, key=lambda point: point.rate))


def _at_the_same_rate(anchor: Grids, codec: Grids, weights: Array) -> Iterator[OwnPoint]:
    for rates, qualities in zip(*codec, strict=True):
        for anchor_rates, anchor_qualities in zip(*anchor, strict=True):
            rate, anchor_rate = rates.mean(), anchor_rates.mean()
            if abs(math.log(rate / anchor_rate)) > math.log1p(SAME_RATE):
                continue
            low, high = limits(weights @ (qualities - anchor_qualities)[:, None])
            yield OwnPoint(
                rate=float(rate),
                anchor_quality=float(anchor_qualities.mean()),
                quality=float(qualities.mean()),
                low=float(low[0]),
                high=float(high[0]),
                rate_change=math.nan,
                rate_low=math.nan,
                rate_high=math.nan,
            )


def _read(
    curve: Grids, points: Grids, weights: Array, higher_is_better: bool
) -> tuple[Array, Array]:
    """Of every resample, [n, points] each: the points' quality above the curve (falling metrics
    negated), and log10 of their rate over the curve's."""
    curves = mean_curves(*curve, weights, higher_is_better)
    log_rate = np.log10(weights @ points[0].T)
    quality = (weights @ points[1].T) * (1 if higher_is_better else -1)
    return (
        quality - bundle.qualities(curves, log_rate),
        log_rate - bundle.log_rates(curves, quality),
    )
