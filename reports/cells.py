"""What a cell of a comparison table says, before any format writes it down."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from bench.verdict.bd import Status
from bench.verdict.comparison import Cell, Comparison, EqualRate
from bench.verdict.own_points import OwnPoint
from bench.verdict.plausible import unlikely_rates
from reports import wording
from reports.lossless import lossless_caution
from reports.marks import symbols
from reports.wording import MetricText, clean, digits_of, metric_text

BRIEF = 75
"""Characters of a remark in a cell; `notes` has the whole text of longer ones."""


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


def anchor_line(comparison: Comparison) -> str:
    """`BD-rate against VVenC ... on Kodak, 24 images`: the title of every table."""
    count = len(comparison.results.images)
    return (
        f"BD-rate against {wording.anchor_label(comparison)} on "
        f"{clean(comparison.results.dataset)}: change in bits at equal quality over {count} "
        f"image{'s' if count != 1 else ''}, 95 % interval; less is better"
    )


def metric_texts(comparison: Comparison) -> list[MetricText]:
    return [metric_text(name) for name in comparison.results.metrics]


def cell_lines(cell: Cell | None) -> list[str]:
    """Figure, interval, then what must be known beside it."""
    if cell is None:
        return ["not compared"]
    verdict = cell.verdict
    if verdict.status is Status.UNAVAILABLE:
        return [wording.bd_rate(verdict, symbols(verdict))]  # why: see `notes`
    remark = wording.shorten(wording.remark(verdict), BRIEF)
    figure = wording.bd_rate(verdict, symbols(verdict))
    if not wording.is_defined(verdict):
        return [figure, remark]
    lines = [figure]
    if overlap := wording.overlap(verdict):
        lines.append(overlap)
    return [*lines, remark] if remark else lines


def notes(comparison: Comparison) -> list[str]:
    """The remarks that no cell holds whole, each once, with the metrics they are about; codecs that
    are compared elsewhere; rates that cannot be true."""
    long: dict[str, dict[str, None]] = {}
    for row in comparison.rows:
        for name, cell in row.cells.items():
            text = wording.remark(cell.verdict)
            if len(text) > BRIEF or cell.verdict.status is Status.UNAVAILABLE:
                long.setdefault(text, {})[metric_text(name).label] = None
    remarks = [f"{', '.join(labels)}: {text}" for text, labels in long.items()]
    if lossless := lossless_caution(comparison):
        remarks.append(f"{lossless.message} {lossless.remedy}")
    return remarks + [wording.unlikely_rate(found) for found in unlikely_rates(comparison.results)]


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


OUT = "out of range"


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


RATE_HEADINGS = (
    "codec",
    "metric",
    "at bpp",
    "anchor",
    "codec's value",
    "difference [95 %]",
    "at equal quality",
)
