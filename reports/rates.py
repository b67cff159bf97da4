"""Quality at equal rate and rate at equal quality as text, and what averaging does to a BD-rate."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from bench.verdict.comparison import Cell, Comparison, EqualRate
from bench.verdict.own_points import OwnPoint
from reports import wording
from reports.wording import MetricText, clean, digits_of, metric_text

POOLING_MATTERS = 0.5
"""Points of BD-rate between mean and pooled figures that are worth a row."""
OUT = "out of range"
RATE_HEADINGS = (
    "codec",
    "metric",
    "at bpp",
    "anchor",
    "codec's value",
    "difference [95 %]",
    "at equal quality",
)


@dataclass(frozen=True)
class RateLine:
    """One codec at one rate beside the anchor, as text."""

    codec: str
    metric: str
    rate: str
    anchor: str
    codec_value: str
    difference: str
    """Codec minus anchor with its 95 % interval."""
    rate_needed: str
    """For the same quality: bits per pixel that the codec needs for the anchor's, or how many more
    bits than the anchor it takes, with its 95 % interval."""

    def values(self) -> list[str]:
        """In the order of `RATE_HEADINGS`."""
        return list(astuple(self))


def rate_lines(comparison: Comparison) -> list[RateLine]:
    """Rate at equal quality and quality at equal rate, where BD-rate is undefined."""
    return [
        own_point_line(clean(row.codec), metric_text(name), point)
        for row in comparison.rows
        for name, cell in row.cells.items()
        for point in cell.own_points
    ]


def rate_line(codec: str, metric: MetricText, point: EqualRate) -> RateLine | None:
    """None where anchor and codec cannot be compared at the rate."""
    needed = point.rate_at_anchor_quality
    if math.isnan(point.quality - point.anchor_quality) and math.isnan(needed):
        return None
    shown = f"{needed:.3f} bpp" if math.isfinite(needed) else OUT
    return _line(codec, metric, point, f"{point.rate:g}", shown)


def own_point_line(codec: str, metric: MetricText, point: OwnPoint) -> RateLine:
    change = OUT
    if math.isfinite(point.rate_change):
        interval = wording.limits(point.rate_low, point.rate_high)
        change = f"{wording.percent(point.rate_change)} % {interval}".rstrip()
    return _line(codec, metric, point, f"{point.rate:.3g}", change)


def _line(
    codec: str, metric: MetricText, point: EqualRate | OwnPoint, rate: str, rate_needed: str
) -> RateLine:
    return RateLine(
        codec=codec,
        metric=metric.heading,
        rate=rate,
        anchor=_quality(metric, point.anchor_quality),
        codec_value=_quality(metric, point.quality),
        difference=_difference(metric, point),
        rate_needed=rate_needed,
    )


def _quality(metric: MetricText, value: float) -> str:
    return OUT if math.isnan(value) else wording.number(value, digits_of(metric.name))


def _difference(metric: MetricText, point: EqualRate | OwnPoint) -> str:
    digits = digits_of(metric.name)
    difference = point.quality - point.anchor_quality
    if not math.isfinite(difference):
        return OUT
    text = f"{difference:+.{digits}f}"
    if math.isfinite(point.low) and math.isfinite(point.high):
        text += f" [{point.low:+.{digits}f}, {point.high:+.{digits}f}]"
    return text


@dataclass(frozen=True)
class RateTable:
    """Codecs and anchor at given rates, on one metric."""

    metric: MetricText
    lines: tuple[RateLine, ...]
    needed: bool
    """Whether some BD-rate on this metric is undefined, so that this table takes its place."""


def rate_tables(comparison: Comparison) -> list[RateTable]:
    tables = []
    for text in map(metric_text, comparison.results.metrics):
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
