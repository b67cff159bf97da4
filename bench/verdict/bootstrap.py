"""How sure a comparison is: paired bootstrap over images.

Two codecs are compared on a sample of photographs; another sample would give another figure.
Each resample draws as many images with replacement, the same for both codecs (what they have in
common, the difficulty of the images, cancels), averages rate and quality over them and computes
the delta of the mean curves.  The middle 95 % of the deltas are the interval (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

A thousand resamples are computed at once (`bench.verdict.bundle`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from bench.verdict import bundle
from bench.verdict.bundle import Bundle
from bench.verdict.curve import Array

LEVEL = 0.95
TOLERATED = 0.05
"""Part of the resamples that may be undefined before no interval is given."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval, or why there is none."""

    low: float | None
    high: float | None
    n: int
    """Resamples drawn."""
    undefined: int = 0
    """Resamples whose delta was undefined: no overlap, too few points in order."""
    reason: str = ""


def bootstrap_bd(
    anchor_rates: ArrayLike,
    anchor_quality: ArrayLike,
    test_rates: ArrayLike,
    test_quality: ArrayLike,
    higher_is_better: bool,
    n: int = 1000,
    seed: int = 0,
) -> Interval:
    """95 % interval of the BD-rate (percent, PCHIP) of the mean curves.

    All four are [points, images] with the images in the same order; rates in bits per pixel.
    Raises `ValueError` where the shapes do not fit together.
    """
    pair = _pair(anchor_rates, anchor_quality, test_rates, test_quality)
    if reason := _unfit(pair):
        return Interval(None, None, n, reason=reason)
    weights = resamples(pair[0].shape[1], n, seed)
    anchor = mean_curves(pair[0], pair[1], weights, higher_is_better)
    test = mean_curves(pair[2], pair[3], weights, higher_is_better)
    deltas = 100 * (10 ** bundle.relative_rate(anchor, test) - 1)
    undefined = int(np.isnan(deltas).sum())
    low, high = (float(end[0]) for end in limits(deltas[:, None]))
    if math.isnan(low):
        reason = f"undefined in {undefined} of {n} resamples"
        return Interval(None, None, n, undefined, reason)
    return Interval(low, high, n, undefined)


def bootstrap_quality(
    anchor_rates: ArrayLike,
    anchor_quality: ArrayLike,
    test_rates: ArrayLike,
    test_quality: ArrayLike,
    higher_is_better: bool,
    rates: Sequence[float],
    n: int = 1000,
    seed: int = 0,
) -> Array:
    """95 % intervals of the difference in quality, test - anchor, at each of `rates`: [2, rates].

    Arguments as for `bootstrap_bd`; NaN where there is no interval.  The difference is in the
    metric's own unit and direction, read off the mean curves by PCHIP over log10(rate).
    """
    pair = _pair(anchor_rates, anchor_quality, test_rates, test_quality)
    if _unfit(pair):
        return np.full((2, len(rates)), np.nan)
    weights = resamples(pair[0].shape[1], n, seed)
    sign = 1 if higher_is_better else -1
    at = np.log10(np.asarray(rates, dtype=np.float64))
    anchor, test = (
        bundle.qualities(mean_curves(rate, quality, weights, higher_is_better), at)
        for rate, quality in (pair[:2], pair[2:])
    )
    return limits(sign * (test - anchor))


def _pair(*tables: ArrayLike) -> tuple[Array, Array, Array, Array]:
    """The four tables as float64[points, images]."""
    a_rate, a_quality, t_rate, t_quality = (np.asarray(t, dtype=np.float64) for t in tables)
    fits = a_rate.ndim == 2 and a_rate.shape == a_quality.shape and t_rate.shape == t_quality.shape
    if not (fits and t_rate.ndim == 2 and a_rate.shape[1] == t_rate.shape[1]):
        raise ValueError(
            "rates and qualities must be [points, images] with the same images for both codecs, "
            f"got {a_rate.shape}, {a_quality.shape}, {t_rate.shape} and {t_quality.shape}"
        )
    return a_rate, a_quality, t_rate, t_quality


def _unfit(pair: Sequence[Array]) -> str:
    """Why there can be no interval; empty where there can."""
    if pair[0].shape[1] < 2:
        return "one image says nothing about the spread over images"
    if not all(np.isfinite(table).all() for table in pair):
        return "a rate or quality is missing or not finite"
    if min(pair[0].min(initial=np.inf), pair[2].min(initial=np.inf)) <= 0:
        return "a picture was coded without bits"
    if min(len(pair[0]), len(pair[2])) < 2:
        return "a curve needs two points at least"
    return ""


@lru_cache(maxsize=8)
def resamples(images: int, n: int = 1000, seed: int = 0) -> Array:
    """How often each image is drawn in each resample, as weights that sum to 1: [n, images].

    Of a single image there are none: [0, 1].  Not to be written to: the same for all codecs.
    """
    if images < 2:
        return np.empty((0, images))
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)
    weights = draws / images
    weights.setflags(write=False)
    return weights


def mean_curves(rates: Array, quality: Array, weights: Array, higher_is_better: bool) -> Bundle:
    """The mean curve of [points, images] in every resample of `weights`."""
    return Bundle.of(weights @ rates.T, weights @ quality.T, higher_is_better=higher_is_better)


def limits(deltas: Array) -> Array:
    """The middle 95 % of the resamples' deltas: [n, places] -> [2, places].

    NaN stands for an undefined delta, and for a place where too many are undefined.
    """
    spread = np.full((2, deltas.shape[1]), np.nan)
    enough = np.isnan(deltas).sum(axis=0) <= TOLERATED * len(deltas)
    if len(deltas) and enough.any():
        tail = 50 * (1 - LEVEL)
        spread[:, enough] = np.nanpercentile(deltas[:, enough], (tail, 100 - tail), axis=0)
    return spread
