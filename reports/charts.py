"""What a rate-distortion chart shows, as plain data: measured curves and published ones.

Curves are means over the same images for every codec; pages and figures both draw from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.comparison import Comparison
from bench.quality import on_scale, pooled
from bench.results import CodecResult, Grid
from reports import literature
from reports.literature import Published
from reports.wording import MetricText, clean, metric_text

Mask = NDArray[np.bool_]
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
    absent: tuple[str, ...]
    """Labels of codecs without a curve."""
    pooling_gap: tuple[float, float] | None
    """Smallest and largest amount by which the mean lies above the pooled figure."""


def make_charts(comparison: Comparison, *, quick: bool) -> tuple[Chart, ...]:
    """One chart for each metric that has at least one curve."""
    results = comparison.results
    published = literature.is_full_kodak(results.digests) and not quick
    charts = (_chart(comparison, name, published=published) for name in results.metrics)
    return tuple(chart for chart in charts if chart.series)


def styles(comparison: Comparison) -> dict[str, int]:
    """Palette place of each codec: the anchor -1, the others in the order of the results."""
    names = [codec.name for codec in comparison.results.codecs]
    others = [name for name in names if name != comparison.anchor]
    return {comparison.anchor: -1} | {name: place for place, name in enumerate(others)}


def common_images(codecs: Sequence[CodecResult], metric: str) -> tuple[set[str], Mask]:
    """Names of the codecs that have a curve, and the images that count, bool[images].

    As for verdicts, a codec with a gap has no curve, and all images count.  Only where every
    codec has gaps (a picture too small for the metric, say) are images left out, for all alike.
    """
    finite = {codec.name: np.isfinite(_comparable(codec, metric)) for codec in codecs}
    everything = np.ones(len(codecs[0].images) if codecs else 0, dtype=np.bool_)
    whole = {name for name, grid in finite.items() if grid.all()}
    if whole:
        return whole, everything
    names, shared = set(), everything
    for name, grid in finite.items():
        measured = grid.any(axis=1)
        complete = grid[measured].all(axis=0)
        if measured.any() and complete.any():
            names.add(name)
            shared = shared & complete
    return (names, shared) if names and shared.any() else (set(), np.zeros_like(everything))


def _comparable(codec: CodecResult, metric: str) -> Grid:
    """The metric on its curve scale, NaN where the rate or the value is missing."""
    with np.errstate(invalid="ignore"):
        grid = on_scale(metric, codec.metric(metric))
    return np.where(np.isfinite(codec.bpp) & np.isfinite(grid), grid, np.nan)


def _chart(comparison: Comparison, name: str, *, published: bool) -> Chart:
    results = comparison.results
    places = styles(comparison)
    compared, images = common_images(results.codecs, name)
    series = tuple(
        Series(codec.name, clean(codec.label), places[codec.name], points)
        for codec in results.codecs
        if codec.name in compared and (points := _points(codec, name, images))
    )
    drawn = {one.codec for one in series}
    gaps = [p.value - p.pooled for one in series for p in one.points if np.isfinite(p.pooled)]
    return Chart(
        metric=metric_text(name),
        series=series,
        published=_published(name) if published and images.all() else (),
        images=int(images.sum()),
        left_out=tuple(i for i, ok in zip(results.images, images, strict=True) if not ok),
        absent=tuple(clean(c.label) for c in results.codecs if c.name not in drawn),
        pooling_gap=(min(gaps), max(gaps)) if gaps else None,
    )


def _points(codec: CodecResult, metric: str, images: Mask) -> tuple[ChartPoint, ...]:
    values = _comparable(codec, metric)[:, images]
    plain, bpp = codec.metric(metric)[:, images], codec.bpp[:, images]
    rows = np.flatnonzero(np.isfinite(values).all(axis=1))
    whole = pooled(metric, plain[rows])
    points = [
        ChartPoint(
            name=clean(codec.points[row]),
            bpp=float(bpp[row].mean()),
            value=float(values[row].mean()),
            plain=float(plain[row].mean()),
            pooled=float(figure),
        )
        for row, figure in zip(rows, whole, strict=True)
    ]
    return tuple(sorted(points, key=lambda point: point.bpp))


def _published(metric: str) -> tuple[PublishedSeries, ...]:
    return tuple(
        PublishedSeries(
            facts,
            tuple(
                zip(facts.bpp, map(float, on_scale(metric, np.array(facts.values))), strict=True)
            ),
        )
        for facts in literature.curves(literature.KODAK, metric)
    )
