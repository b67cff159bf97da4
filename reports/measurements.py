"""Every measurement as text, and what failed or is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.metrics.base import INFINITE
from bench.record.measurement import Measurement, Timing
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult, Results
from reports import wording
from reports.wording import MetricText, metric_text, number


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


@dataclass(frozen=True)
class Measured:
    """All measurements of one codec."""

    codec: CodecResult
    metrics: tuple[MetricText, ...]
    """Those of which it has at least one value."""
    by_image: tuple[tuple[str, list[ImageRow]], ...]


MAX_ROWS = 10_000
"""Measurements that a page lists, a megabyte."""


def measured(results: Results) -> Iterator[Measured]:
    """A table for each codec; none where there would be more than `MAX_ROWS` rows."""
    if sum(len(codec.measurements) for codec in results.codecs) > MAX_ROWS:
        return
    for codec in results.codecs:
        metrics = measured_metrics(codec, results.metrics)
        yield Measured(codec, tuple(metrics), tuple(by_image(codec, metrics)))


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
