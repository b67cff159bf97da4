"""PCHIP (Fritsch and Butland, 1984) of many curves at once: slopes, integrals, values.

The same interpolant as `scipy.interpolate.PchipInterpolator`, which takes the curves of a
bootstrap one by one and so spends all its time on overhead.
"""

from __future__ import annotations

import numpy as np

from bench.verdict.curve import Array


def slopes(x: Array, y: Array) -> Array:
    """Derivatives at the points.  x, y: [curves, P], P >= 2, x rising strictly -> [curves, P]."""
    h = np.diff(x)
    m = np.diff(y) / h
    if x.shape[1] == 2:
        return np.repeat(m, 2, axis=1)
    before, after = m[:, :-1], m[:, 1:]
    w1 = 2 * h[:, 1:] + h[:, :-1]
    w2 = h[:, 1:] + 2 * h[:, :-1]
    same = before * after > 0  # otherwise a local extremum: slope 0
    d = np.zeros_like(x)
    d[:, 1:-1][same] = (w1 + w2)[same] / (w1[same] / before[same] + w2[same] / after[same])
    d[:, 0] = _end_slope(h[:, 0], h[:, 1], m[:, 0], m[:, 1])
    d[:, -1] = _end_slope(h[:, -1], h[:, -2], m[:, -1], m[:, -2])
    return d


def _end_slope(h0: Array, h1: Array, m0: Array, m1: Array) -> Array:
    """One-sided three-point estimate, limited so that the shape is kept."""
    d = ((2 * h0 + h1) * m0 - h0 * m1) / (h0 + h1)
    steep = (np.sign(m0) != np.sign(m1)) & (np.abs(d) > 3 * np.abs(m0))
    return np.where(np.sign(d) != np.sign(m0), 0.0, np.where(steep, 3 * m0, d))


def integral(x: Array, y: Array, low: Array, high: Array) -> Array:
    """Integral of each curve from low to high: [curves, P] x 2, [curves] x 2 -> [curves].

    `low` and `high` must lie within the curve.
    """
    d = slopes(x, y)
    h = np.diff(x)
    y0, y1, d0, d1 = y[:, :-1], y[:, 1:], h * d[:, :-1], h * d[:, 1:]

    def up_to(end: Array) -> Array:
        """Of each segment, the integral from its start to `end`, in units of its length."""
        s = np.clip((end[:, None] - x[:, :-1]) / h, 0, 1)
        s2 = s * s
        s3, s4 = s2 * s, s2 * s2
        rising = s3 - s4 / 2
        return (
            y0 * (s - rising)
            + y1 * rising
            + d0 * (s2 / 2 - 2 * s3 / 3 + s4 / 4)
            + d1 * (s4 / 4 - s3 / 3)
        )

    return ((up_to(high) - up_to(low)) * h).sum(axis=1)


def values(x: Array, y: Array, at: Array) -> Array:
    """Each curve at the places `at`: [curves, P] x 2, [K] (or [curves, K]: places of its own) ->
    [curves, K]; NaN outside."""
    d = slopes(x, y)
    at = np.broadcast_to(at, (len(x), at.shape[-1]))
    rows = np.arange(len(x))[:, None]
    # The segment that holds each place; the last point belongs to the last segment.
    k = np.clip((x[:, None, :] <= at[:, :, None]).sum(axis=2) - 1, 0, x.shape[1] - 2)
    h = x[rows, k + 1] - x[rows, k]
    s = (at - x[rows, k]) / h
    rising = s * s * (3 - 2 * s)
    found = (
        y[rows, k] * (1 - rising)
        + y[rows, k + 1] * rising
        + h * d[rows, k] * s * (1 - s) ** 2
        - h * d[rows, k + 1] * s * s * (1 - s)
    )
    inside = (at >= x[:, :1]) & (at <= x[:, -1:])
    return np.where(inside, found, np.nan)
