"""Measurements arranged as curves: per codec, rates and metric values over points and images.

This is what verdicts are computed from and what reports draw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.store import Measurement

Grid = NDArray[np.float64]
"""float64[points, images]; NaN where a value is missing."""


class UnequalImages(Exception):
    """Codecs were measured on different pictures; the message names them."""


@dataclass(frozen=True)
class CodecResult:
    """All measurements of one codec (one version and settings) on the images of a run."""

    name: str
    label: str
    version: str
    settings: Mapping[str, str]
    device: str
    tuned_for: tuple[str, ...]
    points: tuple[str, ...]
    """Labels of the operating points, low rate to high: `qp 37`."""
    images: tuple[str, ...]
    measurements: Mapping[tuple[int, int], Measurement]
    """(point, image) -> measurement."""

    def grid(self, value: Callable[[Measurement], float]) -> Grid:
        """A table of one number of each successful measurement."""
        table = np.full((len(self.points), len(self.images)), np.nan)
        for cell, measurement in self.measurements.items():
            if measurement.status == "ok":
                table[cell] = value(measurement)
        return table

    @cached_property
    def bpp(self) -> Grid:
        return self.grid(lambda m: m.bpp)

    def metric(self, name: str) -> Grid:
        return self.grid(lambda m: m.metric(name))

    def seconds(self, what: str, clock: str = "cpu") -> Grid:
        """Encode or decode time (`what`) of each measurement by `clock` (cpu or wall)."""
        return self.grid(lambda m: getattr(getattr(m, what), clock, math.nan))

    @property
    def failures(self) -> tuple[Measurement, ...]:
        return tuple(m for m in self.measurements.values() if m.status != "ok")

    @cached_property
    def incomplete_images(self) -> tuple[str, ...]:
        """Images on which at least one operating point has no stream."""
        missing = np.flatnonzero(np.isnan(self.bpp).any(axis=0))
        return tuple(self.images[column] for column in missing)


@dataclass(frozen=True)
class Results:
    """Codecs measured on the same pictures."""

    dataset: str
    """Label of the data set, with what was left out of it: `Kodak, 6 of 24 images (quick)`."""
    images: tuple[str, ...]
    digests: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    """(width, height) of each image."""
    codecs: tuple[CodecResult, ...]
    """In the order asked for."""
    metrics: tuple[str, ...]
    """Names of the metrics, in table order."""
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Codecs that were asked for and cannot run here -> why."""

    def codec(self, name: str) -> CodecResult:
        return next(codec for codec in self.codecs if codec.name == name)


def collect(
    measurements: Iterable[Measurement],
    *,
    codecs: Sequence[str] | None = None,
    metrics: Sequence[str],
    dataset: str,
    unavailable: Mapping[str, str] | None = None,
) -> Results:
    """Arrange measurements as curves.

    `codecs` names the codecs wanted, in order (default: all, in order of appearance).  When a
    run holds several versions of a codec, the one measured last counts.  Raises `UnequalImages`
    unless all were measured on the same pictures: a figure over different sets means nothing.
    """
    by_codec: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        by_codec.setdefault(measurement.codec, []).append(measurement)
    wanted = list(by_codec) if codecs is None else list(codecs)
    missing = [name for name in wanted if name not in by_codec]
    if missing:
        raise KeyError(f"no measurements of {', '.join(missing)}; there are {', '.join(by_codec)}")
    chosen = {name: _current(by_codec[name]) for name in wanted}
    pictures = {name: {m.image: m for m in rows} for name, rows in chosen.items()}
    _require_equal_images(pictures)
    reference = next(iter(pictures.values()), {})
    images = tuple(sorted(reference, key=_natural))
    return Results(
        dataset=dataset,
        images=images,
        digests=tuple(reference[name].image_digest for name in images),
        sizes=tuple((reference[name].width, reference[name].height) for name in images),
        codecs=tuple(_codec_result(rows, images) for rows in chosen.values()),
        metrics=tuple(metrics),
        unavailable=dict(unavailable or {}),
    )


def _current(rows: list[Measurement]) -> list[Measurement]:
    """The measurements made with the version and settings that were used last."""
    last = max(rows, key=lambda m: m.time)
    return [m for m in rows if (m.version, m.settings) == (last.version, last.settings)]


def _require_equal_images(pictures: Mapping[str, Mapping[str, Measurement]]) -> None:
    names = list(pictures)
    for other in names[1:]:
        first = {(m.image, m.image_digest) for m in pictures[names[0]].values()}
        second = {(m.image, m.image_digest) for m in pictures[other].values()}
        if first != second:
            different = sorted({name for name, _ in first ^ second}, key=_natural)
            raise UnequalImages(
                f"{names[0]} and {other} were not measured on the same pictures: "
                f"{', '.join(different)} differ; run `python -m bench run {names[0]} {other}` "
                "to measure what is missing"
            )


def _codec_result(rows: list[Measurement], images: tuple[str, ...]) -> CodecResult:
    ladder = {m.order: m.point.label for m in rows}
    orders = sorted(ladder)
    place = {order: i for i, order in enumerate(orders)}
    column = {name: i for i, name in enumerate(images)}
    newest = max(rows, key=lambda m: m.time)
    return CodecResult(
        name=newest.codec,
        label=newest.label,
        version=newest.version,
        settings=newest.settings,
        device=newest.device,
        tuned_for=newest.tuned_for,
        points=tuple(ladder[order] for order in orders),
        images=images,
        measurements={(place[m.order], column[m.image]): m for m in rows},
    )


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `kodim9` before `kodim10`."""
    return [(0, int(t), "") if t.isdigit() else (1, 0, t) for t in re.split(r"(\d+)", name)]
