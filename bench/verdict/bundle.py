"""Many rate-distortion curves side by side: of every resample of a bootstrap, or of every image.

The same rules as for one curve (`curve.front`) and the same interpolant, in a few array
operations for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.verdict import pchip
from bench.verdict.curve import FEWEST, Array

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Bundle:
    """n curves of P points each, sorted by rate; falling metrics are negated."""

    log_rate: Array
    """log10 of the rate, float64[n, P]."""
    quality: Array
    """float64[n, P]"""
    kept: Bools
    """Points worth using, bool[n, P]: both rate and quality rise strictly over them."""
    usable: Bools
    """Whether what is kept may stand for the curve, bool[n]; False where a number is missing."""

    @classmethod
    def of(cls, rate: Array, quality: Array, *, higher_is_better: bool) -> Bundle:
        """Rates in bits per pixel and qualities, [n, P], points in any order."""
        finite = np.isfinite(rate) & np.isfinite(quality) & (rate > 0)
        rate = np.where(finite, rate, np.inf)
        rising = np.where(finite, quality if higher_is_better else -quality, -np.inf)
        order = np.lexsort((-rising, rate), axis=1)  # best first at equal rate
        rate = np.take_along_axis(rate, order, axis=1)
        rising = np.take_along_axis(rising, order, axis=1)
        best = np.maximum.accumulate(rising, axis=1)
        kept = np.ones_like(finite)
        kept[:, 1:] = rising[:, 1:] > best[:, :-1]
        twin = np.zeros_like(finite)  # a point that was given twice counts once
        twin[:, 1:] = (rate[:, 1:] == rate[:, :-1]) & (rising[:, 1:] == rising[:, :-1])
        dropped = (~kept & ~twin).sum(axis=1)
        n = kept.sum(axis=1)
        enough = (dropped == 0) | ((n >= FEWEST) & (n >= 2 * dropped))
        usable = finite.all(axis=1) & enough & (n >= 2)
        return cls(np.log10(rate), rising, kept, usable)


def relative_rate(anchor: Bundle, test: Bundle) -> Array:
    """Mean of log10(rate of test / rate of anchor) over shared qualities, [n]: what BD-rate
    expresses in percent.  NaN where curves share no quality or cannot be used."""
    found = np.full(len(anchor.usable), np.nan)
    points = anchor.kept.shape[1]
    for rows, kept in _alike(np.hstack([anchor.kept, test.kept]), anchor.usable & test.usable):
        a, t = np.ix_(rows, kept[:points]), np.ix_(rows, kept[points:])
        x_a, y_a = anchor.quality[a], anchor.log_rate[a]
        x_t, y_t = test.quality[t], test.log_rate[t]
        low, high = np.maximum(x_a[:, 0], x_t[:, 0]), np.minimum(x_a[:, -1], x_t[:, -1])
        shared = high > low
        low, high = low[shared], high[shared]
        area = pchip.integral(x_t[shared], y_t[shared], low, high)
        area -= pchip.integral(x_a[shared], y_a[shared], low, high)
        found[rows[shared]] = area / (high - low)
    return found


def qualities(curves: Bundle, at: Array) -> Array:
    """Quality of every curve at the log rates `at`, [K] or [n, K]: [n, K]; NaN where it does not
    reach."""
    return _read(curves, curves.log_rate, curves.quality, at)


def log_rates(curves: Bundle, at: Array) -> Array:
    """log10(rate) of every curve at the qualities `at`, [K] or [n, K]: [n, K]; NaN where it does
    not reach."""
    return _read(curves, curves.quality, curves.log_rate, at)


def _read(curves: Bundle, x: Array, y: Array, at: Array) -> Array:
    at = np.broadcast_to(at, (len(curves.usable), at.shape[-1]))
    found = np.full(at.shape, np.nan)
    for rows, kept in _alike(curves.kept, curves.usable):
        points = np.ix_(rows, kept)
        found[rows] = pchip.values(x[points], y[points], at[rows])
    return found


def _alike(kept: Bools, usable: Bools) -> Iterator[tuple[NDArray[np.intp], Bools]]:
    """Usable curves that keep the same points: (their indices, those points)."""
    rows = np.flatnonzero(usable)
    while len(rows):
        pattern = kept[rows[0]]
        same = (kept[rows] == pattern).all(axis=1)
        yield rows[same], pattern
        rows = rows[~same]
