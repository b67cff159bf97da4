"""What a claim is, and how a BD-rate decides one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.verdict.bd import Status, Verdict
from bench.verdict.comparison import Cell, Comparison
from reports import wording
from reports.wording import metric_text

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "not decidable with these weights"
ABSENT = "not measured"
_DOUBTFUL = frozenset({Status.NARROW, Status.NOT_MONOTONE, Status.FEW_POINTS})
"""BD-rates over a small part of the curves, without all points or of few: they decide nothing, and
neither do those that leave out points or pictures."""
_WITHOUT_VALUES = frozenset({Status.UNAVAILABLE, Status.INVALID})
Compared = Mapping[str, Comparison]
"""Anchor's name -> comparison with it."""


@dataclass(frozen=True)
class Outcome:
    figure: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """One claim as it is put to the test."""

    text: str
    source: str
    codecs: tuple[str, ...]
    """What must have been measured; the anchor last.  None where no measurement decides it."""
    judge: Callable[[Compared, tuple[str, ...]], Outcome | None]
    coded_to: str = ""
    """What is put behind both names for streams that decide it before the curves do."""

    by_hand: str = ""
    """The command that shows it, where that is no comparison."""

    @property
    def command(self) -> str:
        if self.by_hand:
            return self.by_hand
        codecs = self.codecs if len(self.codecs) > 1 else (*self.codecs, "vvenc")
        coded = [name + self.coded_to for name in codecs if self.coded_to]
        return f"python -m bench.compare {' '.join((*coded, *codecs))} --dataset kodak"


def cell_of(compared: Compared, codecs: tuple[str, ...], metric: str) -> Cell | None:
    test, anchor = codecs[0], codecs[-1]
    comparison = compared.get(anchor)
    rows = comparison.rows if comparison else ()
    return next((row.cells.get(metric) for row in rows if row.codec == test), None)


def is_doubtful(verdict: Verdict) -> bool:
    return verdict.status in _DOUBTFUL or bool(verdict.left_out)


def _within(verdict: Verdict, low: float, high: float) -> str:
    """Whether the interval of a BD-rate lies between two limits, in percent.

    Where curves cross, a mean does not tell which is ahead, but may tell that neither is by much.
    """
    value, first, last = wording.figures(verdict)
    if not all(map(math.isfinite, (value, first, last))) or is_doubtful(verdict):
        return OPEN
    if verdict.status is Status.CROSSING and 0 in (low, high):
        return OPEN
    if low <= first and last <= high:
        return HOLDS
    return FAILS if last < low or first > high else OPEN


def bd_rate_within(
    metric: str, low: float = -math.inf, high: float = math.inf
) -> Callable[[Compared, tuple[str, ...]], Outcome | None]:
    """A claim about BD-rate: its interval lies within limits."""

    def judge(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
        cell = cell_of(compared, codecs, metric)
        if cell is None:
            return None
        if cell.verdict.status in _WITHOUT_VALUES:
            return Outcome(wording.shorten(wording.remark(cell.verdict), 90), ABSENT)
        figure = f"{wording.bd_rate(cell.verdict)} bits at equal {metric_text(metric).label}"
        remark = wording.shorten(wording.remark(cell.verdict), 90)
        if not wording.is_defined(cell.verdict):
            figure = remark
        elif remark:
            figure = f"{figure} ({remark})"
        return Outcome(figure, _within(cell.verdict, low, high))

    return judge
