"""The rows of the report's tables: results turned into text, nothing drawn yet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.base import INFINITE
from bench.record.measurement import Measurement, Timing
from bench.verdict.bd import Status
from bench.verdict.comparison import Cell, Comparison
from bench.verdict.results import CodecResult
from reports import svg, wording
from reports.cells import RateLine, metric_texts, own_point_line, rate_line
from reports.wording import MetricText, clean, metric_text, number

POOLING_MATTERS = 0.5
"""Points of BD-rate between mean and pooled figures that are worth a row."""
REMARK = 90
"""Characters of a remark in a cell of the page; the table of failures has the whole text."""


@dataclass(frozen=True)
class VerdictCell:
    """One codec on one metric; `tone` is better, worse, level or undefined."""

    value: str
    interval: str
    overlap: str
    remark: str
    tone: str
    whisker: str
    status: str
    """In words: `ok`, `no overlap`, `unavailable` ..."""
    figures: tuple[float, float, float]
    """BD-rate and the ends of its interval in percent; NaN for what is undefined."""


@dataclass(frozen=True)
class VerdictRow:
    codec: str
    label: str
    sentence: str
    tuned_for: str
    cells: tuple[VerdictCell, ...]


def verdict_rows(comparison: Comparison) -> list[VerdictRow]:
    tuned = {codec.name: codec.tuned_for for codec in comparison.results.codecs}
    names = comparison.results.metrics
    limits = {name: _limit(comparison, name) for name in names}
    anchor = wording.anchor_label(comparison)
    rows = []
    for row in comparison.rows:
        compared = [(metric_text(n), row.cells[n].verdict) for n in names if n in row.cells]
        rows.append(
            VerdictRow(
                codec=row.codec,
                label=row.label,
                sentence=wording.sentence(compared, anchor),
                tuned_for=", ".join(metric_text(n).label for n in tuned.get(row.codec, ())),
                cells=tuple(_verdict_cell(row.cells.get(n), limits[n]) for n in names),
            )
        )
    return rows


def _limit(comparison: Comparison, metric: str) -> float:
    """Half-width of a column's scale: the largest |log| of a ratio of rates, 10 % at least."""
    ends = [math.log(1.1)]
    for row in comparison.rows:
        if metric in row.cells:
            ends += map(svg.log_ratio, wording.figures(row.cells[metric].verdict))
    return max(abs(end) for end in ends if math.isfinite(end))


def _verdict_cell(cell: Cell | None, limit: float) -> VerdictCell:
    nothing = (math.nan, math.nan, math.nan)
    if cell is None:
        return VerdictCell("not compared", "", "", "", "undefined", "", "not compared", nothing)
    verdict = cell.verdict
    status = wording.status(verdict)
    if verdict.status is Status.UNAVAILABLE:  # why: among the cautions
        return VerdictCell(wording.bd_rate(verdict), "", "", "", "undefined", "", status, nothing)
    remark = wording.shorten(wording.remark(verdict), REMARK)
    overlap = wording.overlap(verdict)
    if not wording.is_defined(verdict):
        return VerdictCell(
            wording.bd_rate(verdict), "", overlap, remark, "undefined", "", status, nothing
        )
    limits = wording.interval(verdict)
    figures = wording.figures(verdict)
    tone = "better" if figures[0] < 0 else "worse"
    if wording.is_level(verdict):
        tone = "level"
    drawing = svg.whisker(*figures, limit)
    value = f"{wording.percent(figures[0])} %"
    return VerdictCell(value, limits, overlap, remark, tone, drawing, status, figures)


@dataclass(frozen=True)
class RateTable:
    """Codecs and anchor at given rates, on one metric."""

    metric: MetricText
    lines: tuple[RateLine, ...]
    needed: bool
    """Whether some BD-rate on this metric is undefined, so that this table takes its place."""


def rate_tables(comparison: Comparison) -> list[RateTable]:
    tables = []
    for text in metric_texts(comparison):
        cells = [(row, row.cells[text.name]) for row in comparison.rows if text.name in row.cells]
        kept = tuple(line for row, cell in cells for line in _rate_lines(row.label, text, cell))
        if kept:
            undefined = any(not wording.is_defined(cell.verdict) for _, cell in cells)
            tables.append(RateTable(text, kept, undefined))
    return tables


def _rate_lines(label: str, metric: MetricText, cell: Cell) -> list[RateLine]:
    """At operating points where BD-rate is undefined, else at given rates."""
    if cell.own_points:
        return [own_point_line(label, metric, point) for point in cell.own_points]
    lines = [rate_line(label, metric, point) for point in cell.equal_rate]
    return [line for line in lines if line is not None]


@dataclass(frozen=True)
class PoolingRow:
    label: str
    metric: str
    mean: str
    pooled: str
    difference: str


def pooling_rows(comparison: Comparison) -> list[PoolingRow]:
    """Where the BD-rate of pooled figures is another than that of per-image means."""
    rows = []
    for row in comparison.rows:
        for name, cell in row.cells.items():
            mean, pooled = cell.verdict, cell.pooled
            difference = wording.figures(pooled)[0] - wording.figures(mean)[0]
            if abs(difference) > POOLING_MATTERS:  # False where either is undefined
                rows.append(
                    PoolingRow(
                        row.label,
                        metric_text(name).label,
                        wording.bd_rate(mean),
                        wording.bd_rate(pooled),
                        f"{difference:+.1f}",
                    )
                )
    return rows


@dataclass(frozen=True)
class ImageRow:
    """One measurement as text."""

    point: str
    status: str
    reason: str
    bytes: str
    bpp: str
    values: tuple[str, ...]
    encode: str
    decode: str
    jobs: int
    """How many measurements ran side by side while it was timed."""


def measured_metrics(codec: CodecResult, metrics: Sequence[str]) -> list[MetricText]:
    """The metrics of which a codec has at least one value."""
    return [metric_text(name) for name in metrics if np.isfinite(codec.metric(name)).any()]


def by_image(codec: CodecResult, metrics: Sequence[MetricText]) -> list[tuple[str, list[ImageRow]]]:
    """All measurements of a codec, image by image, low rate to high."""
    names = [text.name for text in metrics]
    rows: dict[str, list[ImageRow]] = {}
    for (_, image), m in sorted(codec.measurements.items(), key=lambda item: item[0][::-1]):
        rows.setdefault(codec.images[image], []).append(_image_row(m, names))
    return list(rows.items())


def _image_row(m: Measurement, metrics: Sequence[str]) -> ImageRow:
    return ImageRow(
        point=m.point.label,
        status=m.status,
        reason=m.reason,
        bytes="" if m.bytes is None else str(m.bytes),
        bpp=number(m.bpp, 4),
        values=tuple(_value(m, name) for name in metrics),
        encode=_seconds(m.encode),
        decode=_seconds(m.decode),
        jobs=m.jobs,
    )


def _value(m: Measurement, metric: str) -> str:
    score = m.metrics.get(metric)
    if score is None or score.value is None:
        if score is None or not score.reason:
            return wording.NOT_MEASURED
        return INFINITE if score.is_infinite else "unavailable"
    return number(score.value, 3 if metric.startswith("psnr") else 4)


def _seconds(timing: Timing | None) -> str:
    return wording.NOT_MEASURED if timing is None else f"{timing.wall:.3f}"


@dataclass(frozen=True)
class Failure:
    what: str
    where: str
    status: str
    reason: str


def failures(comparison: Comparison) -> list[Failure]:
    """Codecs that could not run, measurements that failed or were not made, metrics that could not
    be had."""
    results = comparison.results
    rows = [
        Failure(name, "every image", "unavailable", why)
        for name, why in results.unavailable.items()
    ]
    for codec in results.codecs:
        rows += [
            Failure(codec.label, f"{m.image}, {m.point.label}", m.status, m.reason)
            for m in codec.failures
        ]
        due = len(codec.points) * len(codec.images)
        if missing := due - len(codec.measurements):
            where = f"{missing} of {due} measurements"
            rows.append(Failure(codec.label, where, "missing", "run the same command again"))
    return [*rows, *_metric_failures(comparison)]


def _metric_failures(comparison: Comparison) -> Iterator[Failure]:
    reasons: Counter[tuple[str, str]] = Counter()
    for codec in comparison.results.codecs:
        for m in codec.measurements.values():
            for name, score in m.metrics.items():
                if score.value is None and not score.is_infinite:
                    reasons[name, score.reason] += 1
    for (name, reason), count in reasons.items():
        where = f"{count} measurement{'s' if count > 1 else ''}"
        yield Failure(metric_text(name).label, where, "unavailable", reason or "no reason given")


@dataclass(frozen=True)
class CodecFacts:
    """What a codec was, to the letter."""

    name: str
    label: str
    is_anchor: bool
    facts: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
    """(operating point, command line)."""


def codec_facts(comparison: Comparison) -> list[CodecFacts]:
    return [_facts(codec, comparison.anchor) for codec in comparison.results.codecs]


def _facts(codec: CodecResult, anchor: str) -> CodecFacts:
    commands: dict[str, str] = {}
    for (point, _), m in sorted(codec.measurements.items()):
        if m.command:
            commands.setdefault(codec.points[point], m.command)
    facts = [
        ("version", codec.version),
        ("device", codec.device),
        ("operating points", ", ".join(codec.points)),
        *codec.settings.items(),
    ]
    if codec.tuned_for:
        facts.append(("trained for", ", ".join(codec.tuned_for)))
    return CodecFacts(
        codec.name, codec.label, codec.name == anchor, tuple(facts), tuple(commands.items())
    )


def measured_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """When, where and in what company the measurements were made: by themselves, since one
    directory may hold the work of several commands."""
    rows = [m for c in comparison.results.codecs for m in c.measurements.values()]
    times = sorted(m.time for m in rows if m.time)
    jobs = sorted({m.jobs for m in rows})
    hosts = sorted({clean(m.host) for m in rows if m.host})
    facts = []
    if times:
        facts.append(("Measured", times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"))
    if hosts:
        facts.append(("Host" if len(hosts) == 1 else "Hosts", ", ".join(hosts)))
    if jobs:
        facts.append(("Side by side", " or ".join(map(str, jobs))))
    return facts


def metric_versions(comparison: Comparison) -> list[tuple[str, str]]:
    """(metric, version) as recorded in the measurements; several when they were mixed."""
    seen: dict[str, dict[str, None]] = {name: {} for name in comparison.results.metrics}
    for codec in comparison.results.codecs:
        for m in codec.measurements.values():
            for name in seen.keys() & m.metrics.keys():
                seen[name][clean(m.metrics[name].version)] = None
    return [(metric_text(name).label, version) for name, found in seen.items() for version in found]
