"""Verdicts: every codec against an anchor, on every metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import metrics
from bench.literature.quoting import Quoted
from bench.verdict import common
from bench.verdict.bd import Status, Verdict, bd_rate, identical, without
from bench.verdict.bootstrap import bootstrap_bd, bootstrap_quality
from bench.verdict.curve import Curve, on_scale, pooled, quality_at_rate, rate_at_quality
from bench.verdict.own_points import OwnPoint, compare_at_own_points
from bench.verdict.results import CodecResult, Results

RATES = (0.075, 0.15, 0.3, 0.6, 1.0)
"""Bits per pixel at which qualities are compared; the first three are the CLIC 2022 budgets."""
METHOD = "pchip"


@dataclass(frozen=True)
class EqualRate:
    """Anchor and codec at one rate; NaN where a curve does not reach it."""

    rate: float
    """Bits per pixel."""
    anchor_quality: float
    """On the scale of `bench.verdict.curve.on_scale`, as `quality`."""
    quality: float
    low: float
    """95 % interval of `quality - anchor_quality`."""
    high: float
    rate_at_anchor_quality: float
    """Bits per pixel that the codec needs for `anchor_quality`."""


@dataclass(frozen=True)
class Cell:
    """One codec against the anchor on one metric."""

    verdict: Verdict
    """BD-rate of the mean curves (per image, then over images)."""
    pooled: Verdict
    """The same from pooled figures: PSNR of the mean MSE, dB of the mean MS-SSIM, and so on."""
    equal_rate: tuple[EqualRate, ...]
    own_points: tuple[OwnPoint, ...] = ()
    """Where BD-rate is undefined: the comparison at the operating points themselves."""


@dataclass(frozen=True)
class Row:
    """One codec against the anchor."""

    codec: str
    label: str
    cells: Mapping[str, Cell]
    """Metric name -> cell; none for a metric that a quoted curve has not."""
    against: str
    """Name of the codec that it is compared with."""


@dataclass(frozen=True)
class Comparison:
    """All codecs against one anchor."""

    results: Results
    anchor: str
    """A codec's name; for two runs, a phrase: each codec is compared with its own earlier run."""
    rows: tuple[Row, ...]
    """In the order of `results.codecs`, then `results.quoted`, without the anchor and without
    codecs that lose nothing, which `bench.verdict.lossless` compares by size."""


def compare(results: Results, anchor: str) -> Comparison:
    """Every other codec against the codec named `anchor`."""
    pairs = [(codec.name, anchor) for codec in results.entries if codec.name != anchor]
    return compare_pairs(results, anchor, pairs)


def compare_pairs(results: Results, anchor: str, pairs: Sequence[tuple[str, str]]) -> Comparison:
    """Each (codec, its anchor) of `pairs`; `anchor` is what a reader is told of the anchors."""
    rows = []
    for name, against in pairs:
        codec, reference = results.entry(name), results.entry(against)
        if codec.is_lossless or reference.is_lossless:
            continue
        found = {metric: _cell(reference, codec, metric) for metric in results.metrics}
        cells = {metric: cell for metric, cell in found.items() if cell is not None}
        rows.append(Row(codec.name, codec.label, cells, reference.name))
    return Comparison(results, anchor, tuple(rows))


def _cell(anchor: CodecResult | Quoted, codec: CodecResult | Quoted, metric: str) -> Cell | None:
    if isinstance(anchor, Quoted) or isinstance(codec, Quoted):
        return _cell_of_means(anchor, codec, metric)
    if reason := _unavailable(anchor, metric) or _unavailable(codec, metric):
        verdict = Verdict(None, Status.UNAVAILABLE, reason, METHOD)
        return Cell(verdict, verdict, ())
    part = common.shared((anchor, codec), metric)
    if reason := part.reason or _versions(anchor, codec, metric):
        verdict = Verdict(None, Status.INVALID, reason, METHOD)
        return Cell(verdict, verdict, ())
    rising = metrics.info(metric).higher_is_better
    names = anchor.name, codec.name
    both = list(enumerate((anchor, codec)))
    plain = [(part.of(i, c.bpp), part.of(i, c.metric(metric))) for i, c in both]
    grids = [(bpp, on_scale(metric, values)) for bpp, values in plain]
    curves = [Curve(bpp.mean(axis=1), quality.mean(axis=1)) for bpp, quality in grids]
    whole = [Curve(bpp.mean(axis=1), pooled(metric, values)) for bpp, values in plain]
    (a_bpp, a_quality), (t_bpp, t_quality) = grids
    verdict = bd_rate(*curves, higher_is_better=rising, method=METHOD, names=names)
    if verdict.value is not None:
        interval = bootstrap_bd(a_bpp, a_quality, t_bpp, t_quality, rising)
        message = "; ".join(filter(None, (verdict.message, interval.reason)))
        verdict = replace(verdict, low=interval.low, high=interval.high, message=message)
    spread = bootstrap_quality(a_bpp, a_quality, t_bpp, t_quality, rising, RATES)
    equal_rate = []
    for rate, low, high in zip(RATES, *spread.tolist(), strict=True):
        at_anchor, at_codec = (quality_at_rate(c, rate, higher_is_better=rising) for c in curves)
        needed = rate_at_quality(curves[1], at_anchor, higher_is_better=rising)
        equal_rate.append(EqualRate(rate, at_anchor, at_codec, low, high, needed))
    from_pooled = bd_rate(*whole, higher_is_better=rising, method=METHOD, names=names)
    if all(np.array_equal(*both) for both in zip(*plain, strict=True)):
        verdict, from_pooled = identical(verdict), identical(from_pooled)
    verdict, from_pooled = (without(one, part.left_out) for one in (verdict, from_pooled))
    own = () if verdict.value is not None else compare_at_own_points(grids[0], grids[1], rising)
    return Cell(verdict, from_pooled, tuple(equal_rate), own)


def _cell_of_means(
    anchor: CodecResult | Quoted, codec: CodecResult | Quoted, metric: str
) -> Cell | None:
    """A comparison in which at least one codec is known by means alone; None without the metric.

    What was measured here is averaged as published figures are: the metric's own values over all
    pictures, decibels of MS-SSIM made of the mean index.
    """
    means = [found for one in (anchor, codec) if (found := _means(one, metric))]
    if len(means) < 2:
        return None
    curves = [curve for curve, _ in means if curve is not None]
    said = ", ".join(text for _, text in means if text)
    if len(curves) < 2:
        verdict = Verdict(None, Status.INVALID, said, METHOD, published=True)
        return Cell(verdict, verdict, ())
    rising = metrics.info(metric).higher_is_better
    names = anchor.name, codec.name
    verdict = bd_rate(*curves, higher_is_better=rising, method=METHOD, names=names)
    verdict = replace(without(verdict, said), published=True)
    equal_rate = []
    for rate in RATES:
        at_anchor, at_codec = (quality_at_rate(c, rate, higher_is_better=rising) for c in curves)
        needed = rate_at_quality(curves[1], at_anchor, higher_is_better=rising)
        equal_rate.append(EqualRate(rate, at_anchor, at_codec, math.nan, math.nan, needed))
    own: tuple[OwnPoint, ...] = ()
    if verdict.value is None:
        a, t = ((c.rate[:, None], c.quality[:, None]) for c in curves)
        own = compare_at_own_points(a, t, rising)
    pooled = Verdict(None, Status.UNAVAILABLE, "only means are published", METHOD, published=True)
    return Cell(verdict, pooled, tuple(equal_rate), own)


def _means(codec: CodecResult | Quoted, metric: str) -> tuple[Curve | None, str] | None:
    """The curve of a codec's means and what was left out of it, or no curve and why; None where
    the metric was not scored."""
    if isinstance(codec, Quoted):
        found = codec.curve(metric)
        if found is None:
            return None
        return Curve(found.bpp, on_scale(metric, np.array(found.values))), ""
    if _unavailable(codec, metric):
        return None
    part = common.shared((codec,), metric)
    if part.reason:
        return None, part.reason
    if not part.images.all():
        return None, f"published means are of all pictures, and these lack {part.left_out}"
    values = part.of(0, codec.metric(metric)).mean(axis=1)
    return Curve(part.of(0, codec.bpp).mean(axis=1), on_scale(metric, values)), part.left_out


def _unavailable(codec: CodecResult, metric: str) -> str:
    """Why a metric has no value at all; empty where it has one, or where the codec failed."""
    good = [m for m in codec.measurements.values() if m.status == "ok"]
    if not good or not all(math.isnan(m.metric(metric)) for m in good):
        return ""
    score = good[0].metrics.get(metric)
    reason = score.reason if score else "not measured"
    # Any other reason is a fault or the images' nature: no reason to drop the metric quietly.
    return reason.removeprefix("unavailable: ") if reason.startswith("unavailable") else ""


def _versions(anchor: CodecResult, codec: CodecResult, metric: str) -> str:
    """Why two codecs' values of a metric cannot be compared; empty where they can."""
    found = {
        version: result.name for result in (anchor, codec) for version in result.versions(metric)
    }
    if len(found) <= 1:
        return ""
    said = " and ".join(f"{version} ({name})" for version, name in found.items())
    return f"computed by different versions of the metric: {said}; run again to score both alike"
