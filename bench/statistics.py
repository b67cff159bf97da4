"""How sure a comparison is: paired bootstrap over images.

Two codecs are compared on a sample of photographs; another sample would give another figure.
Each resample draws as many images with replacement, the same for both codecs (what they have in
common, the difficulty of the images, cancels), averages rate and quality over them and computes
the delta of the mean curves.  The middle 95 % of the deltas are the interval (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

A thousand resamples are computed at once, with PCHIP written for many curves side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench import pchip
from bench.curve import Array, Curve, front

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


@dataclass(frozen=True)
class _Means:
    """Mean curves of every resample, sorted by rate; falling metrics are negated."""

    log_rate: Array
    """float64[n, P]"""
    quality: Array
    """float64[n, P]"""


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
    weights = _resamples(pair[0].shape[1], n, seed)
    anchor = _means(pair[0], pair[1], weights, higher_is_better)
    test = _means(pair[2], pair[3], weights, higher_is_better)
    rising = _rise(anchor) & _rise(test)
    deltas = np.full(n, np.nan)
    deltas[rising] = _bd(
        *(anchor.quality[rising], anchor.log_rate[rising]),
        *(test.quality[rising], test.log_rate[rising]),
    )
    for index in np.flatnonzero(~rising).tolist():
        deltas[index] = _bd_of_fronts(anchor, test, index)
    return _interval(deltas)


def bootstrap_quality(
    anchor_rates: ArrayLike,
    anchor_quality: ArrayLike,
    test_rates: ArrayLike,
    test_quality: ArrayLike,
    higher_is_better: bool,
    rates: Sequence[float],
    n: int = 1000,
    seed: int = 0,
) -> list[Interval]:
    """95 % intervals of the difference in quality, test - anchor, at each of `rates`.

    Arguments as for `bootstrap_bd`.  The difference is in the metric's own unit and direction,
    read off the mean curves by PCHIP over log10(rate).
    """
    pair = _pair(anchor_rates, anchor_quality, test_rates, test_quality)
    if reason := _unfit(pair):
        return [Interval(None, None, n, reason=reason) for _ in rates]
    weights = _resamples(pair[0].shape[1], n, seed)
    sign = 1 if higher_is_better else -1
    at = np.log10(np.asarray(rates, dtype=np.float64))
    anchor = _qualities(_means(pair[0], pair[1], weights, higher_is_better), at)
    test = _qualities(_means(pair[2], pair[3], weights, higher_is_better), at)
    difference = sign * (test - anchor)
    return [_interval(difference[:, index]) for index in range(len(at))]


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


def _resamples(images: int, n: int, seed: int) -> Array:
    """How often each image is drawn in each resample, as weights that sum to 1: [n, images]."""
    draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=n)
    return draws / images


def _means(rates: Array, quality: Array, weights: Array, higher_is_better: bool) -> _Means:
    """Mean rate and quality of every point in every resample."""
    rate, mean = weights @ rates.T, weights @ quality.T
    order = np.argsort(rate, axis=1, kind="stable")
    mean = np.take_along_axis(mean, order, axis=1)
    log_rate = np.log10(np.take_along_axis(rate, order, axis=1))
    return _Means(log_rate, mean if higher_is_better else -mean)


def _rise(means: _Means) -> NDArray[np.bool_]:
    """In which resamples each point buys quality with its rate."""
    rises = (np.diff(means.log_rate) > 0) & (np.diff(means.quality) > 0)
    return np.all(rises, axis=1)


def _bd(x_anchor: Array, y_anchor: Array, x_test: Array, y_test: Array) -> Array:
    """BD-rate in percent of many pairs of rising curves, [n, P] each; NaN without overlap."""
    low = np.maximum(x_anchor[:, 0], x_test[:, 0])
    high = np.minimum(x_anchor[:, -1], x_test[:, -1])
    shared = high > low
    deltas = np.full(len(low), np.nan)
    low, high = low[shared], high[shared]
    area = pchip.integral(x_test[shared], y_test[shared], low, high)
    area -= pchip.integral(x_anchor[shared], y_anchor[shared], low, high)
    deltas[shared] = 100 * (10 ** (area / (high - low)) - 1)
    return deltas


def _usable(means: _Means, index: int) -> tuple[Array, Array] | None:
    """(log rate, quality), [1, P] each, of the points worth using, by the rule of `bench.bd`."""
    points = front(Curve(10 ** means.log_rate[index], means.quality[index]), higher_is_better=True)
    if not points.usable or len(points.quality) < 2:
        return None
    return points.log_rate[None], points.quality[None]


def _bd_of_fronts(anchor: _Means, test: _Means, index: int) -> float:
    """The delta of one resample in which a curve does not rise."""
    a, t = _usable(anchor, index), _usable(test, index)
    if a is None or t is None:
        return float("nan")
    return float(_bd(a[1], a[0], t[1], t[0])[0])


def _qualities(means: _Means, at: Array) -> Array:
    """Quality of every resample's curve at log rates: [n, K]; NaN where it does not reach."""
    found = np.full((len(means.quality), len(at)), np.nan)
    rising = _rise(means)
    found[rising] = pchip.values(means.log_rate[rising], means.quality[rising], at)
    for index in np.flatnonzero(~rising).tolist():
        points = _usable(means, index)
        if points is not None:
            found[index] = pchip.values(*points, at)[0]
    return found


def _interval(deltas: Array) -> Interval:
    """The middle 95 % of the resamples' deltas; NaN stands for an undefined one."""
    n, undefined = len(deltas), int(np.isnan(deltas).sum())
    if undefined > TOLERATED * n:
        reason = f"undefined in {undefined} of {n} resamples"
        return Interval(None, None, n, undefined, reason)
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(deltas, (tail, 100 - tail))
    return Interval(float(low), float(high), n, undefined)
