"""A report's first picture: codecs in the order of their BD-rate, dots and whiskers on one axis.

Each codec has a place on each metric; the page shows one metric at a time.  Positions are percent
of the axis' width, on which ratios of rates count: +100 % and -50 % lie equally far from zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.verdict.results import Results
from reports import wording
from reports.marks import Mark, used
from reports.palette import marker, style_class
from reports.verdicts import VerdictCell, Verdicts
from reports.wording import clean

TICKS = (0, 100, -50, 50, 25, -25, 200, 400, -75, 10, -10, 900, 5, -5, 2, -2)
"""Percent; those come first that are wanted most."""
GAP = 17.0
"""Percent of the axis between the texts of two ticks, at least: they fit a narrow window."""
MARGIN = 4.0
LEAST = math.log(1.06)
"""Half of the shortest axis, as log of a ratio of rates."""
RULE, APART = 1000, 2000
"""Ranks: of the line below the axis' codecs, and of those that have no figure."""


@dataclass(frozen=True)
class Axis:
    """Of one metric."""

    ticks: tuple[tuple[float, str], ...]
    """(position, text)."""
    zero: float
    """Position of the anchor."""
    marks: tuple[Mark, ...]
    """Those beside the axis' figures."""

    @property
    def side(self) -> str:
        """Where the anchor's name stands beside its line, so that it stays inside."""
        return "start" if self.zero < 35 else "end" if self.zero > 65 else "middle"


@dataclass(frozen=True)
class Place:
    """One codec on one metric."""

    cell: VerdictCell
    rank: int
    at: float
    """Position of the dot, NaN without a figure; of the whisker's ends in `low` and `high`."""
    low: float
    high: float


@dataclass(frozen=True)
class RankedCodec:
    """One codec."""

    codec: int
    """Place in the results; -1 for one that could not run, or whose points are published."""
    label: str
    """As short as it can be told from the others."""
    style: int
    places: tuple[Place, ...]
    sentence: str

    @property
    def look(self) -> str:
        return "published" if self.codec < 0 else style_class(self.style)

    @property
    def marker(self) -> str:
        return marker(self.style)

    @property
    def ranks(self) -> str:
        return " ".join(str(place.rank) for place in self.places)


@dataclass(frozen=True)
class Ranking:
    """All codecs against one anchor, in the order of the metric that is shown first."""

    anchor: str
    """As short as it can be told from the codecs."""
    axes: tuple[Axis, ...]
    entries: tuple[RankedCodec, ...]
    """Those of which some figure is known come first."""
    first: int
    """Place of the metric that is shown first."""

    @property
    def ranked(self) -> list[RankedCodec]:
        return [entry for entry in self.entries if entry.places[self.first].rank < RULE]

    @property
    def apart(self) -> list[RankedCodec]:
        return list(self.entries[len(self.ranked) :])


def make_ranking(found: Verdicts, results: Results, first: int, look: Mapping[str, int]) -> Ranking:
    """`first` is the place of the metric to begin with, `look` each codec's style."""
    columns = [[row.cells[i] for row in found.rows] for i in range(len(found.metrics))]
    scales = [_Scale.of(column) for column in columns]
    places = [_places(column, scale) for column, scale in zip(columns, scales, strict=True)]
    short = wording.short_labels(results)
    order = {codec.name: place for place, codec in enumerate(results.codecs)}
    entries = [
        RankedCodec(
            order.get(row.codec, -1),
            short.get(row.codec, row.label),
            look.get(row.codec, -1),
            tuple(column[i] for column in places),
            row.sentence,
        )
        for i, row in enumerate(found.rows)
    ]

    def apart(codec: int, label: str, word: str, brief: str, why: str) -> RankedCodec:
        style = look[results.codecs[codec].name] if codec >= 0 else -1
        cell = VerdictCell(word, brief=brief)
        nowhere = Place(cell, APART + len(entries), math.nan, math.nan, math.nan)
        shown = (nowhere,) * len(found.metrics)
        return RankedCodec(codec, label, style, shown, why)

    for codec in results.codecs:
        if codec.is_lossless and codec.name != found.anchor:
            brief = "loses nothing: compared by size, under Lossless codecs"
            entries.append(apart(order[codec.name], short[codec.name], "lossless", brief, ""))
    for name, why in results.unavailable.items():
        entries.append(apart(-1, clean(name), "not run", "could not run", f"{clean(why)}."))
    return Ranking(
        short.get(found.anchor, found.label),
        tuple(scale.axis(column) for scale, column in zip(scales, columns, strict=True)),
        tuple(sorted(entries, key=lambda entry: entry.places[first].rank)),
        first,
    )


def _places(column: Sequence[VerdictCell], scale: _Scale) -> list[Place]:
    """Whole figures from the fewest bits on, then those that leave something out, then words."""

    def key(i: int) -> tuple[float, float]:
        value = column[i].figures[0]
        if math.isnan(value):
            return APART, i
        return (0 if column[i].whole else RULE + 1), value

    ranks = {i: rank for rank, i in enumerate(sorted(range(len(column)), key=key))}
    return [
        Place(cell, int(key(i)[0]) + ranks[i], *map(scale, cell.figures))
        for i, cell in enumerate(column)
    ]


@dataclass(frozen=True)
class _Scale:
    """From percent of bits to a position; both ends as log of a ratio of rates."""

    low: float
    high: float

    @classmethod
    def of(cls, column: Sequence[VerdictCell]) -> _Scale:
        ends = [math.log1p(f / 100) for cell in column for f in cell.figures if f > -100]
        low, high = min([-LEAST, *ends]), max([LEAST, *ends])
        return cls(low, high)

    def __call__(self, percent: float) -> float:
        value = math.log1p(percent / 100) if percent > -100 else self.low
        if math.isnan(percent):
            return math.nan
        share = (value - self.low) / (self.high - self.low)
        return round(MARGIN + (100 - 2 * MARGIN) * share, 2)

    def axis(self, column: Sequence[VerdictCell]) -> Axis:
        taken: list[tuple[float, str]] = []
        for tick in TICKS:
            at = self(tick)
            inside = MARGIN <= at <= 100 - MARGIN
            if inside and all(abs(at - other) >= GAP for other, _ in taken):
                taken.append((at, f"{tick:+d} %" if tick else "0"))
        known = used(m for c in column if not math.isnan(c.figures[0]) for m in c.marks)
        return Axis(tuple(sorted(taken)), self(0), tuple(known))
