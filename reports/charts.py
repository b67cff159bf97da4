"""What a rate-distortion chart shows, as plain data: measured curves and published ones.

Curves are means over the same images for every codec; pages and figures both draw from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import literature
from bench.literature import Published
from bench.verdict import common
from bench.verdict.common import Part
from bench.verdict.comparison import Comparison
from bench.verdict.curve import on_scale, pooled
from bench.verdict.results import CodecResult, Results
from reports.wording import MetricText, clean, metric_text, short_labels

CLIC_BUDGETS = (0.075, 0.15, 0.3)
"""Bits per pixel of the CLIC 2022 image track."""


@dataclass(frozen=True)
class ChartPoint:
    """Mean over images at one operating point."""

    name: str
    bpp: float
    value: float
    """On the scale that curves are compared on (MS-SSIM in dB)."""
    plain: float
    """Mean of the metric's own values."""
    pooled: float
    """One figure from the whole set, on the same scale as `value`."""


@dataclass(frozen=True)
class Series:
    """A measured curve."""

    codec: str
    label: str
    short: str
    """The label as far as it tells the codec from the others."""
    style: int
    """Place in the palette; -1 for the anchor."""
    points: tuple[ChartPoint, ...]


@dataclass(frozen=True)
class PublishedSeries:
    """A published curve on the scale of its chart."""

    facts: Published
    points: tuple[tuple[float, float], ...]
    """(bits per pixel, value)."""


@dataclass(frozen=True)
class Chart:
    """All curves on one metric."""

    metric: MetricText
    series: tuple[Series, ...]
    published: tuple[PublishedSeries, ...]
    images: int
    left_out: tuple[str, ...]
    """Images without a value from some codec."""
    points_left_out: tuple[str, ...]
    """Points without a finite value on some images, as without loss: `webp quality 100`."""
    absent: tuple[str, ...]
    """Labels of codecs without a curve, though not all of their points are without loss."""
    pooling_gap: tuple[float, float] | None
    """Smallest and largest amount by which the mean lies above the pooled figure."""


def make_charts(comparison: Comparison, *, quick: bool) -> tuple[Chart, ...]:
    """One chart for each metric that has at least one curve."""
    results = comparison.results
    kodak = literature.is_full_kodak(results.digests) and not quick
    charts = (_chart(comparison, name, kodak=kodak) for name in results.metrics)
    return tuple(chart for chart in charts if chart.series)


def styles(comparison: Comparison) -> dict[str, int]:
    """Palette place of each codec: the anchor -1, the others in the order of the results."""
    names = [codec.name for codec in comparison.results.codecs]
    others = [name for name in names if name != comparison.anchor]
    return {comparison.anchor: -1} | {name: place for place, name in enumerate(others)}


def drawn_together(codecs: Sequence[CodecResult], metric: str) -> tuple[list[CodecResult], Part]:
    """The codecs that have a curve, and the points and pictures that count for all of them.

    A codec with values on less than half as many pictures as another would cost the others most
    of theirs: it has no curve here (it may have verdicts, pair by pair).
    """
    reached = {c.name: np.isfinite(common.comparable(c, metric)).any(axis=0).sum() for c in codecs}
    most = max(reached.values(), default=0)
    drawn = [
        codec for codec in codecs if reached[codec.name] > 0 and 2 * reached[codec.name] >= most
    ]
    part = common.shared(drawn, metric)
    return ([], part) if part.reason else (drawn, part)


def _chart(comparison: Comparison, name: str, *, kodak: bool) -> Chart:
    results = comparison.results
    places, short = styles(comparison), short_labels(results)
    lossy = [codec for codec in results.codecs if not codec.is_lossless]
    compared, part = drawn_together(lossy, name)
    images = part.images if compared else np.zeros(len(results.images), dtype=np.bool_)
    series = tuple(
        Series(codec.name, clean(codec.label), short[codec.name], places[codec.name], points)
        for place, codec in enumerate(compared)
        if (points := _points(codec, name, part, place))
    )
    drawn = {one.codec for one in series}
    without = {
        codec.name: [clean(codec.points[row]) for row in np.flatnonzero(~kept)]
        for codec, kept in zip(compared, part.points, strict=False)
    }
    gaps = [p.value - p.pooled for one in series for p in one.points if np.isfinite(p.pooled)]
    return Chart(
        metric=metric_text(name),
        series=series,
        published=_published(results, name, kodak=kodak) if images.all() else (),
        images=int(images.sum()),
        left_out=tuple(i for i, ok in zip(results.images, images, strict=True) if not ok),
        points_left_out=tuple(
            f"{clean(name)} {common.listed(points)}" for name, points in without.items() if points
        ),
        absent=tuple(clean(c.label) for c in lossy if c.name not in drawn),
        pooling_gap=(min(gaps), max(gaps)) if gaps else None,
    )


def _points(codec: CodecResult, metric: str, part: Part, place: int) -> tuple[ChartPoint, ...]:
    values = part.of(place, common.comparable(codec, metric))
    plain, bpp = part.of(place, codec.metric(metric)), part.of(place, codec.bpp)
    names = [codec.points[row] for row in np.flatnonzero(part.points[place])]
    whole = pooled(metric, plain)
    points = [
        ChartPoint(
            name=clean(names[row]),
            bpp=float(bpp[row].mean()),
            value=float(values[row].mean()),
            plain=float(plain[row].mean()),
            pooled=float(figure),
        )
        for row, figure in enumerate(whole)
    ]
    return tuple(sorted(points, key=lambda point: point.bpp))


def _published(results: Results, metric: str, *, kodak: bool) -> tuple[PublishedSeries, ...]:
    """The curves of quoted codecs, drawn from the start, then all others on Kodak."""
    quoted = [replace(c, shown=True) for one in results.quoted if (c := one.curve(metric))]
    asked = {curve.id for curve in quoted}
    known = literature.curves(literature.KODAK, metric) if kodak else ()
    listed = [curve for curve in known if curve.listed and curve.id not in asked]
    return tuple(
        PublishedSeries(
            facts,
            tuple(
                zip(facts.bpp, map(float, on_scale(metric, np.array(facts.values))), strict=True)
            ),
        )
        for facts in (*quoted, *listed)
    )
