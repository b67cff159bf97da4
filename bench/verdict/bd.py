"""Bjøntegaard deltas as verdicts: a figure, and whether it may be believed.

BD-rate (VCEG-M33, 2001) is the mean difference of two rate-distortion curves over the qualities
that both reach: x = quality, y = log10(rate), percent = (10^mean(test - anchor) - 1) * 100.
The figure comes from the `bjontegaard` package.  What the package leaves to its callers is done
here: points are sorted, falling metrics (LPIPS) negated, and whatever makes a figure undefined
or doubtful becomes a typed status with a sentence; never an exception, never a magic number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from bench.verdict.curve import FEWEST, Array, Curve, Front, front

METHODS = ("pchip", "akima", "cubic")
NAMES = ("the anchor", "the test")
NARROW = 0.5
"""Share of the narrower curve's range below which a figure says little about the codecs."""
_TOUCH = 1e-9
"""Ranges that share (or miss) no more than this part of the whole span touch."""
_AHEAD, _CLEARLY_AHEAD = 0.005, 0.03
"""Curves cross where each is ahead of the other somewhere, and one of them clearly: by more than
these shares of the rate, or of the span of qualities.

One encoder, measured at two sets of operating points, gives curves that differ by up to 2.6 % of
the rate in both directions, for what lies between points is interpolated (WebP on six photographs,
sets of six or seven points).  Who is ahead by less means nothing.
"""


class Status(StrEnum):
    """Whether there is a figure and whether to believe it: the first that holds, in this order."""

    UNAVAILABLE = "unavailable"
    """The metric could not be computed at all."""
    INVALID = "invalid values"
    TOO_FEW = "too few points"
    NOT_MONOTONE = "not monotone"
    NO_OVERLAP = "no overlap"
    TOUCHING = "touching"
    NARROW = "narrow overlap"
    FEW_POINTS = "few points"
    CROSSING = "crossing"
    IDENTICAL = "identical"
    """All that was measured is the same, whatever else there is to say of the curves."""
    PARTIAL = "partial"
    """All is well but that points or images had to be left out: `Verdict.left_out`."""
    OK = "ok"


_Named = tuple[tuple[str, Front], ...]
"""The anchor and the test, by what messages call them."""


@dataclass(frozen=True)
class Verdict:
    """A Bjøntegaard delta of a test curve against an anchor."""

    value: float | None
    """BD-rate in percent (below 0: test needs fewer bits) or BD-quality in the metric's unit.

    None where it is undefined.  It may be given with a status that is not `ok`: not monotone
    (computed without the points that nobody would use), narrow overlap, few points, crossing.
    """
    status: Status
    message: str
    """What a reader must know beside the figure; empty where all is well."""
    method: str
    low: float | None = None
    """95 % interval, where one was computed: see `bench.verdict.bootstrap`."""
    high: float | None = None
    overlap: float = math.nan
    """Common range over the range of the narrower curve, 0 to 1; NaN where there is no range."""
    common: tuple[float, float] | None = None
    """Qualities (BD-rate) or rates (BD-quality) over which the mean is taken."""
    n_anchor: int = 0
    """Points used of each curve."""
    n_test: int = 0
    anchor_monotone: bool = True
    """Whether every point of the curve buys quality with its rate."""
    test_monotone: bool = True
    left_out: str = ""
    """Points and images that had no value: see `bench.verdict.common`.  Part of `message` too."""
    published: bool = False
    """Whether one of the curves is quoted: means alone, for which there is no interval."""


def without(verdict: Verdict, left_out: str) -> Verdict:
    """The verdict with what was left out of its curves (nothing: the verdict as it is)."""
    if not left_out:
        return verdict
    status = Status.PARTIAL if verdict.status is Status.OK else verdict.status
    message = "; ".join(filter(None, (verdict.message, f"left out: {left_out}")))
    return replace(verdict, status=status, message=message, left_out=left_out)


def identical(verdict: Verdict) -> Verdict:
    """The verdict on two codecs with the same measurements (undefined: the verdict as it is)."""
    if verdict.value is None:
        return verdict
    same = "the same rate and score at every point and picture"
    message = "; ".join(filter(None, (same, verdict.message)))
    return replace(verdict, status=Status.IDENTICAL, message=message)


def bd_rate(
    anchor: Curve,
    test: Curve,
    *,
    higher_is_better: bool = True,
    method: str = "pchip",
    names: tuple[str, str] = NAMES,
) -> Verdict:
    """Mean difference in rate at equal quality, in percent; a message calls the curves by `names`.

    Raises `ValueError` for a method that is not in `METHODS`.
    """
    verdict, mean = _compare(anchor, test, higher_is_better, method, "quality", names)
    if mean is None:
        return verdict
    with np.errstate(over="ignore"):
        percent = float(100 * (np.float64(10) ** mean - 1))
    if math.isfinite(percent):
        return replace(verdict, value=percent)
    return replace(verdict, status=Status.INVALID, message="the rates lie too far apart")


def bd_quality(
    anchor: Curve,
    test: Curve,
    *,
    higher_is_better: bool = True,
    method: str = "pchip",
    names: tuple[str, str] = NAMES,
) -> Verdict:
    """Mean difference in quality at equal rate, in the metric's own unit and direction.

    Raises `ValueError` for a method that is not in `METHODS`.
    """
    verdict, mean = _compare(anchor, test, higher_is_better, method, "rate", names)
    return verdict if mean is None else replace(verdict, value=mean if higher_is_better else -mean)


def _compare(
    anchor: Curve,
    test: Curve,
    higher_is_better: bool,
    method: str,
    at_equal: str,
    names: tuple[str, str],
) -> tuple[Verdict, float | None]:
    """The verdict without its value, and the mean difference of test - anchor (None: undefined).

    Inside, both axes rise: log10(rate), and quality or for falling metrics its negative.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: there are {', '.join(METHODS)}")
    for name, curve in zip(names, (anchor, test), strict=True):
        if curve.problem:
            message = f"the curve of {name} has {curve.problem}"
            return Verdict(None, Status.INVALID, message, method), None
    a = front(anchor, higher_is_better=higher_is_better)
    t = front(test, higher_is_better=higher_is_better)
    named = tuple(zip(names, (a, t), strict=True))
    facts = Verdict(
        None,
        Status.OK,
        "",
        method,
        n_anchor=len(a.quality),
        n_test=len(t.quality),
        anchor_monotone=a.dropped == 0,
        test_monotone=t.dropped == 0,
    )
    if unusable := _unusable(named, method):
        return replace(facts, status=unusable[0], message=unusable[1]), None

    x_a, x_t = (f.quality if at_equal == "quality" else f.log_rate for f in (a, t))
    y_a, y_t = (f.log_rate if at_equal == "quality" else f.quality for f in (a, t))
    low, high = max(x_a[0], x_t[0]), min(x_a[-1], x_t[-1])

    def shown(x: float) -> float:
        if at_equal == "rate":
            return float(10**x)
        return float(x if higher_is_better else -x)

    span = max(x_a[-1], x_t[-1]) - min(x_a[0], x_t[0])
    if high - low <= _TOUCH * span:
        status = Status.TOUCHING if low - high <= _TOUCH * span else Status.NO_OVERLAP
        ranges = [sorted((shown(x[0]), shown(x[-1]))) for x in (x_a, x_t)]
        message = _apart(status, at_equal, zip(names, ranges, strict=True))
        return replace(facts, status=status, message=message, overlap=0.0), None

    mean, crossing = _mean_difference(x_a, y_a, x_t, y_t, method, at_equal)
    overlap = float((high - low) / min(np.ptp(x_a), np.ptp(x_t)))
    status, message = _doubts(named, overlap, crossing, at_equal)
    first, last = sorted((shown(low), shown(high)))
    verdict = replace(facts, status=status, message=message, overlap=overlap, common=(first, last))
    return verdict, mean


def _unusable(named: _Named, method: str) -> tuple[Status, str] | None:
    """Why no figure can be made of the curves, whatever their ranges."""
    fewest = FEWEST if method == "cubic" else 2
    for name, points in named:
        if not points.usable:
            total = points.dropped + len(points.quality)
            return Status.NOT_MONOTONE, (
                f"{points.dropped} of the {total} points of {name} cost bits and give no quality: "
                "check the metric's direction and the operating points"
            )
        if len(points.quality) < fewest:
            return Status.TOO_FEW, _too_short(name, points)
    return None


def _too_short(name: str, points: Front) -> str:
    count = len(points.quality)
    return f"{name} has {count} point{'s'[: count != 1]}, a curve needs {FEWEST}: add some"


def _apart(status: Status, at_equal: str, ranges: Iterable[tuple[str, list[float]]]) -> str:
    """`the ranges of quality share nothing: vvenc 28.1 to 33.2, jpeg 35.9 to 40.3`"""
    each = ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in ranges)
    what = "one point" if status is Status.TOUCHING else "nothing"
    return f"the ranges of {at_equal} share {what}: {each}"


def _mean_difference(
    x_a: Array, y_a: Array, x_t: Array, y_t: Array, method: str, at_equal: str
) -> tuple[float, bool]:
    """Mean of test - anchor over the common range, and whether the curves cross in it."""
    import bjontegaard  # it imports matplotlib

    mean, f_a, f_t = bjontegaard.bd_linear(
        *(x_a, y_a, x_t, y_t, method),
        require_matching_points=False,
        interpolators=True,
        min_overlap=0,
    )
    x = np.linspace(max(x_a[0], x_t[0]), min(x_a[-1], x_t[-1]), 101)
    difference = f_t(x) - f_a(x)
    lead, lag = (float(np.max(sign * difference)) for sign in (1, -1))
    some, clear = (math.log10(1 + share) for share in (_AHEAD, _CLEARLY_AHEAD))
    if at_equal == "rate":
        span = max(y_a[-1], y_t[-1]) - min(y_a[0], y_t[0])
        some, clear = _AHEAD * span, _CLEARLY_AHEAD * span
    return float(mean), min(lead, lag) > some and max(lead, lag) > clear


def _doubts(named: _Named, overlap: float, crossing: bool, at_equal: str) -> tuple[Status, str]:
    """The status of a figure, and all that a reader must know beside it."""
    doubts: list[tuple[Status, str]] = []
    for name, points in named:
        if points.dropped:
            doubts.append(
                (
                    Status.NOT_MONOTONE,
                    f"left out of the curve of {name}: {points.dropped} of "
                    f"{points.dropped + len(points.quality)} points, which cost bits and give no "
                    "quality",
                )
            )
    if overlap < NARROW:
        doubts.append((Status.NARROW, f"only {100 * overlap:.0f} % of the narrower curve compared"))
    for name, points in named:
        if len(points.quality) < FEWEST:
            doubts.append((Status.FEW_POINTS, _too_short(name, points)))
    if crossing:
        doubts.append((Status.CROSSING, f"which is ahead depends on {at_equal}"))
    if not doubts:
        return Status.OK, ""
    return doubts[0][0], "; ".join(text for _, text in doubts)
