"""What people preferred, as text and places: for the page and for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bench.study.design import Study
from bench.study.outcome import Outcome
from bench.verdict.preference import ELO, Preferences, probability
from reports.palette import marker, style_class
from reports.text_tables import cells, columns
from reports.wording import clean

TICKS = (0, 100, -100, 200, -200, 50, -50, 400, -400, 800, -800, 25, -25)
"""Points of Elo's scale; those come first that are wanted most."""
GAP, MARGIN, LEAST = 20.0, 5.0, 30.0
"""Percent of the axis between ticks and beside them; half of the shortest axis, in points."""
HEADINGS = ("codec", "preferred to anchor", "Elo", "votes won", "mean bpp")


@dataclass(frozen=True)
class PreferredCodec:
    """One codec of a study."""

    codec: str
    label: str
    style: int | None
    """Place in the palette; None for one that the report does not show."""
    share: str
    """Of votes for it against the anchor, by the model."""
    share_interval: str
    points: str
    points_interval: str
    won: str
    rate: str
    ratio: str
    """Of its mean rate to the anchor's."""
    remark: str
    at: float
    """Position on the axis in percent, and of the interval's ends; NaN where there is none."""
    low: float
    high: float

    @property
    def look(self) -> str:
        return "published" if self.style is None else style_class(self.style)

    @property
    def marker(self) -> str:
        return marker(-1 if self.style is None else self.style)

    @property
    def cells(self) -> tuple[str, ...]:
        shown = (f"{value} {interval}".strip() for value, interval in self._figures)
        return (self.codec, *shown, self.won, self.rate)

    @property
    def _figures(self) -> tuple[tuple[str, str], ...]:
        return (self.share, self.share_interval or self.remark), (self.points, self.points_interval)


@dataclass(frozen=True)
class Pair:
    """What the row's codec has against the column's."""

    share: str
    interval: str
    votes: str


@dataclass(frozen=True)
class Preferred:
    """One study."""

    title: str
    anchor: str
    asked: str
    """Who was asked what, in a sentence."""
    sure: str
    """What the intervals mean."""
    codecs: tuple[PreferredCodec, ...]
    """The most preferred first."""
    pairs: tuple[tuple[Pair | None, ...], ...]
    """[row, column] in the order of `codecs`; None against itself."""
    ticks: tuple[tuple[float, str], ...]
    zero: float
    facts: tuple[tuple[str, str], ...]


def preferred(outcome: Outcome, look: Mapping[str, int] | None = None) -> Preferred:
    """`look` is the style of each codec that the report shows."""
    study, found = outcome.study, outcome.preferences
    anchor = clean(study.labels[study.anchor])
    places = list(range(len(study.codecs)))
    order = sorted(places, key=lambda i: -found.scores[i]) if found else []
    scale = _Scale.of(found, study.codecs.index(study.anchor))
    return Preferred(
        title=f"At {study.rate:g} bpp",
        anchor=anchor,
        asked=_asked(outcome),
        sure=_sure(outcome),
        codecs=tuple(_codec(i, outcome, found, scale, look or {}) for i in order if found),
        pairs=tuple(tuple(_pair(found, i, j) for j in order) for i in order if found),
        ticks=scale.ticks(),
        zero=scale(0),
        facts=tuple(_facts(outcome)),
    )


def as_text(found: Preferred) -> str:
    """For a terminal."""
    table = columns(HEADINGS, cells(one.cells for one in found.codecs))
    facts = [f"{name}: {value}" for name, value in found.facts if name != "Files"]
    return "\n".join([f"{found.asked} {found.sure}", "", table, "", *facts])


def _asked(outcome: Outcome) -> str:
    study, people = outcome.study, _count(outcome.participants, "participant")
    if outcome.preferences is None:
        return f"At {study.rate:g} bpp: no vote counts."
    return (
        f"At {study.rate:g} bpp, {people} said {_count(outcome.votes, 'time')} which of "
        "the pictures of two codecs is closer to the original, blind and without ties, on parts of "
        f"{_count(len(study.pictures), 'picture')}."
    )


def _sure(outcome: Outcome) -> str:
    if outcome.preferences is None:
        return ""
    people, pictures = outcome.participants > 1, len(outcome.study.pictures) > 1
    of = " and ".join(
        name for name, several in (("participants", people), ("pictures", pictures)) if several
    )
    if not of:
        return "One participant and one picture say nothing of others: there are no intervals."
    one = "" if people and pictures else f", of one {'picture' if people else 'participant'} only"
    return f"95 % intervals are for other {of} (bootstrap){one}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _codec(
    place: int, outcome: Outcome, found: Preferences, scale: _Scale, look: Mapping[str, int]
) -> PreferredCodec:
    study = outcome.study
    name, anchor = study.codecs[place], study.codecs.index(study.anchor)
    is_anchor, bounded = place == anchor, found.group[place] == found.group[anchor]
    difference = found.differences[place, anchor]
    low, high = (ends[place, anchor] if bounded else math.nan for ends in (found.low, found.high))
    if is_anchor:
        low = high = math.nan
    won, lost = found.wins[place].sum(), found.wins[:, place].sum()
    return PreferredCodec(
        codec=clean(name),
        label=clean(study.labels[name]),
        style=look.get(name),
        share="anchor" if is_anchor else _percent(difference) if bounded else "no bound",
        share_interval=_limits(_percent_figure(low), _percent_figure(high)),
        points="0" if is_anchor else f"{ELO * difference:+.0f}" if bounded else "no bound",
        points_interval=_limits(f"{ELO * low:+.0f}", f"{ELO * high:+.0f}") if low == low else "",
        won=f"{won:.0f} of {won + lost:.0f}",
        rate=f"{_rates(study, name).mean():.4f}",
        ratio=f"{_rates(study, name).mean() / _rates(study, study.anchor).mean():.3f}",
        remark="" if bounded else _unbounded(won, lost),
        at=scale(difference),
        low=scale(low),
        high=scale(high),
    )


def _unbounded(won: float, lost: float) -> str:
    if not won + lost:
        return "no votes"
    if not lost or not won:
        return f"{'won' if won else 'lost'} every vote"
    return "the votes do not bound how far it is from the anchor"


def _pair(found: Preferences, i: int, j: int) -> Pair | None:
    if i == j:
        return None
    votes = f"{found.wins[i, j]:.0f} of {found.wins[i, j] + found.wins[j, i]:.0f}"
    if found.group[i] != found.group[j]:
        return Pair("no bound", "", votes)
    ends = (_percent_figure(found.low[i, j]), _percent_figure(found.high[i, j]))
    return Pair(_percent(found.differences[i, j]), _limits(*ends), votes)


def _percent(difference: float) -> str:
    return f"{_percent_figure(difference)} %"


def _percent_figure(difference: float) -> str:
    return "" if math.isnan(difference) else f"{100 * probability(difference):.0f}"


def _limits(low: str, high: str) -> str:
    return f"[{low}, {high}]" if low else ""


def _rates(study: Study, codec: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([item.bpp for item in study.items.values() if item.codec == codec])


def _facts(outcome: Outcome) -> Iterator[tuple[str, str]]:
    study = outcome.study
    for code, why in outcome.left_out:
        yield "Left out", f"participant {code}: {why}"
    rates = np.concatenate([_rates(study, codec) for codec in study.codecs])
    yield (
        "Rates",
        f"{rates.min():.4f} to {rates.max():.4f} bpp; asked: {study.rate:g} within "
        f"{100 * study.tolerance:g} %",
    )
    if outcome.votes:
        reduced = f"; {outcome.reduced} on pictures shown smaller than they are"
        yield (
            "Votes",
            f"{outcome.votes}, {outcome.seconds:.1f} s each (median), "
            f"{100 * outcome.left / outcome.votes:.0f} % of them for the picture on the left"
            f"{reduced if outcome.reduced else ''}",
        )
    checks = _count(len(study.checks), "attention check")
    yield "Checks", f"{checks} for each participant; one wrong answer leaves a participant out"
    yield "Study", f"{study.id}, seed {study.seed}; votes read in {clean(outcome.read)}"
    yield "Files", ", ".join(f"{clean(name)} ({digest[:12]})" for name, digest in outcome.files)


@dataclass(frozen=True)
class _Scale:
    """From a difference of scores to a position."""

    low: float
    high: float

    @classmethod
    def of(cls, found: Preferences | None, anchor: int) -> _Scale:
        shown = (found.differences, found.low, found.high) if found else ()
        ends = [float(value) for table in shown for value in table[:, anchor] if value == value]
        return cls(min([-LEAST / ELO, *ends]), max([LEAST / ELO, *ends]))

    def __call__(self, difference: float) -> float:
        share = (difference - self.low) / (self.high - self.low)
        return round(MARGIN + (100 - 2 * MARGIN) * share, 2)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        taken: list[tuple[float, str]] = []
        for tick in TICKS:
            at = self(tick / ELO)
            if MARGIN <= at <= 100 - MARGIN and all(abs(at - other) >= GAP for other, _ in taken):
                taken.append((at, f"{tick:+d}" if tick else "0"))
        return tuple(sorted(taken))
