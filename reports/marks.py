"""Marks beside the figures of a table, for what must be known of them, and what the marks mean.

The same in every format.  A table explains only the marks that stand in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.verdict.bd import Status, Verdict
from reports import wording


@dataclass(frozen=True)
class Mark:
    """A sign behind a figure, or behind the word that there is none."""

    symbol: str
    latex: str
    """The same in TeX's mathematics."""
    meaning: str


_PARTIAL = Mark("¶", r"\P", "computed without some points or pictures, which have no value")
_NO_INTERVAL = Mark(
    "∥",
    r"\|",
    "no interval: one picture only, or undefined in more than 5 % of the resamples",
)
_PUBLISHED = Mark("ᵖ", "p", "published points, not measured here: no interval can be had")
OF_STATUS = {
    Status.NARROW: Mark("◊", r"\diamond", "less than half of the narrower quality range is shared"),
    Status.CROSSING: Mark("†", r"\dagger", "the curves cross: which is ahead depends on quality"),
    Status.IDENTICAL: Mark("≡", r"\equiv", "identical: the same rate and score at every point"),
    Status.NOT_MONOTONE: Mark("‡", r"\ddagger", "points where more bits buy no quality"),
    Status.FEW_POINTS: Mark("§", r"\S", "few points: the curve between them is a guess"),
    Status.PARTIAL: _PARTIAL,
    Status.NO_OVERLAP: Mark("ᵃ", "a", "the curves share no quality"),
    Status.TOUCHING: Mark("ᵇ", "b", "the curves share a single quality"),
    Status.TOO_FEW: Mark("ᶜ", "c", "not enough points for a curve"),
    Status.INVALID: Mark("ᵈ", "d", "values are missing or not finite"),
    Status.UNAVAILABLE: Mark("ᵉ", "e", "the metric could not be computed"),
}
"""Every status but `ok` has one."""


def marks(verdict: Verdict) -> tuple[Mark, ...]:
    """What stands behind the figure of a verdict; nothing where all is well."""
    found = {OF_STATUS[verdict.status]: None} if verdict.status is not Status.OK else {}
    if verdict.left_out:
        found[_PARTIAL] = None
    if wording.is_defined(verdict) and not wording.interval(verdict):
        found[_PUBLISHED if verdict.published else _NO_INTERVAL] = None
    return tuple(found)


def legend(found: Iterable[Mark]) -> str:
    """`† the curves cross ...; ¶ computed without ...`, or nothing."""
    return "; ".join(f"{mark.symbol} {mark.meaning}" for mark in used(found))


def used(found: Iterable[Mark]) -> list[Mark]:
    """Each mark once, in the order of the statuses: what a table explains."""
    order = [*OF_STATUS.values(), _NO_INTERVAL, _PUBLISHED]
    return sorted(set(found), key=order.index)
