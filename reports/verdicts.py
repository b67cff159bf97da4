"""The verdicts of one comparison as text: what the page, its copies and every table write down."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.verdict.bd import Status
from bench.verdict.comparison import Cell, Comparison
from bench.verdict.plausible import unlikely_rates
from reports import wording
from reports.lossless import lossless_caution
from reports.marks import Mark, legend, marks, used
from reports.packs import pack_notes
from reports.wording import MetricText, clean, metric_text

BRIEF = 90
"""Characters of a remark in a cell; `Verdicts.notes` has the whole text of longer ones."""


@dataclass(frozen=True)
class VerdictCell:
    """One codec on one metric."""

    value: str
    """`+12.3 %`, or the word that there is none: `undefined`, `unavailable`, `not compared`."""
    interval: str = ""
    overlap: str = ""
    remark: str = ""
    brief: str = ""
    """`needs 12 % fewer bits than VVenC (15 to 9)`: what is said of the codec on this metric."""
    tone: str = "undefined"
    """`better`, `worse`, `level` or `undefined`."""
    status: str = "not compared"
    """In words: `ok`, `no overlap`, `unavailable` ..."""
    figures: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    """BD-rate and the ends of its interval in percent; NaN for what is undefined."""
    marks: tuple[Mark, ...] = ()
    whole: bool = True
    """Whether no point and no picture is left out of the figures."""

    @property
    def has_figure(self) -> bool:
        return math.isfinite(self.figures[0])

    @property
    def lines(self) -> list[str]:
        """Figure with its marks and interval, then what must be known beside it."""
        signs = "".join(mark.symbol for mark in self.marks)
        figure = f"{self.value}{signs} {self.interval}".rstrip()
        return [figure, *filter(None, (self.overlap, self.remark))]


@dataclass(frozen=True)
class VerdictRow:
    """One codec against the anchor."""

    codec: str
    label: str
    against: str
    sentence: str
    """All metrics in plain words, without the subject."""
    tuned_for: str
    cells: tuple[VerdictCell, ...]
    """In the order of the metrics."""


@dataclass(frozen=True)
class Verdicts:
    """All codecs against one anchor."""

    anchor: str
    label: str
    """Of the anchor; for two runs, a phrase."""
    title: str
    """`BD-rate against VVenC ... on Kodak, 24 images`: the title of every table."""
    metrics: tuple[MetricText, ...]
    rows: tuple[VerdictRow, ...]
    marks: tuple[Mark, ...]
    """Those in the rows."""
    notes: tuple[str, ...]
    """The remarks that no cell holds whole, each once, with the metrics they are about; codecs that
    are compared elsewhere; rates that cannot be true."""
    cautions: tuple[str, ...] = ()
    """Of the notes, those on rates that cannot be true: no table goes without them."""

    @property
    def legend(self) -> str:
        """`† the curves cross ...; ¶ computed without ...`, or nothing."""
        return legend(self.marks)


@dataclass(frozen=True)
class Written:
    """A table in some format, in parts: a reader of the page may want some of its rows only."""

    head: str
    rows: tuple[str, ...]
    """One for each codec; may be of several lines."""
    tail: str = ""

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.head, *self.rows, self.tail)))


def verdicts(comparison: Comparison) -> Verdicts:
    results = comparison.results
    anchor = wording.anchor_label(comparison)
    short = wording.short_labels(results).get(comparison.anchor, anchor)
    tuned = {codec.name: codec.tuned_for for codec in results.codecs}
    rows = []
    for row in comparison.rows:
        compared = [(metric_text(n), c.verdict) for n in results.metrics if (c := row.cells.get(n))]
        rows.append(
            VerdictRow(
                row.codec,
                clean(row.label),
                row.against,
                wording.sentence(compared, anchor),
                ", ".join(metric_text(n).label for n in tuned.get(row.codec, ())),
                tuple(_cell(row.cells.get(n), short) for n in results.metrics),
            )
        )
    count = len(results.images)
    over = f" over {count} image{'s' if count != 1 else ''}" if count else ""
    if comparison.anchor not in {one.name for one in results.quoted}:
        over += ", 95 % interval"
    return Verdicts(
        comparison.anchor,
        anchor,
        f"BD-rate against {anchor} on {clean(results.dataset)}: change in bits at equal quality"
        f"{over}; less is better",
        tuple(metric_text(name) for name in results.metrics),
        tuple(rows),
        tuple(used(mark for row in rows for cell in row.cells for mark in cell.marks)),
        tuple(_notes(comparison)),
        tuple(map(wording.unlikely_rate, unlikely_rates(results))),
    )


def _cell(cell: Cell | None, anchor: str) -> VerdictCell:
    if cell is None:
        return VerdictCell("not compared", brief="was not compared on this metric")
    verdict = cell.verdict
    status, found = wording.status(verdict), marks(verdict)
    brief = wording.brief(verdict, anchor)
    if verdict.status is Status.UNAVAILABLE:  # why: among the notes and cautions
        return VerdictCell("unavailable", brief=brief, status=status, marks=found)
    remark = wording.shorten(wording.remark(verdict), BRIEF)
    if not wording.is_defined(verdict):
        return VerdictCell("undefined", remark=remark, brief=brief, status=status, marks=found)
    figures = wording.figures(verdict)
    tone = "better" if figures[0] < 0 else "worse"
    return VerdictCell(
        f"{wording.percent(figures[0])} %",
        wording.interval(verdict),
        wording.overlap(verdict),
        remark,
        brief,
        "level" if wording.is_level(verdict) else tone,
        status,
        figures,
        found,
        whole=not verdict.left_out,
    )


def _notes(comparison: Comparison) -> list[str]:
    long: dict[str, dict[str, None]] = {}
    for row in comparison.rows:
        for name, cell in row.cells.items():
            text = wording.remark(cell.verdict)
            if len(text) > BRIEF or cell.verdict.status is Status.UNAVAILABLE:
                long.setdefault(text, {})[metric_text(name).label] = None
    remarks = [f"{', '.join(labels)}: {text}" for text, labels in long.items()]
    if lossless := lossless_caution(comparison):
        remarks.append(f"{lossless.message} {lossless.remedy}")
    remarks += [wording.unlikely_rate(found) for found in unlikely_rates(comparison.results)]
    return remarks + pack_notes(comparison.results)
