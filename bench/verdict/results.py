"""Measurements arranged as curves: per codec, rates and metric values over points and images.

This is what verdicts are computed from and what reports draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.literature.quoting import Quoted
from bench.record.manifest import Ladder, RunImage
from bench.record.measurement import Measurement
from datasets.base import natural

Grid = NDArray[np.float64]
"""float64[points, images]; NaN where a value is missing."""


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
        """Its values, not to be written to: each is asked for once for every other codec."""
        if name not in self._metrics:
            self._metrics[name] = self.grid(lambda m: m.metric(name))
            self._metrics[name].setflags(write=False)
        return self._metrics[name]

    @cached_property
    def _metrics(self) -> dict[str, Grid]:
        return {}

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions by which a metric's finite values were computed."""
        if name not in self._versions:
            found = {
                m.metrics[name].version
                for m in self.measurements.values()
                if m.status == "ok" and math.isfinite(m.metric(name))
            }
            self._versions[name] = tuple(sorted(found))
        return self._versions[name]

    @cached_property
    def _versions(self) -> dict[str, tuple[str, ...]]:
        return {}

    def seconds(self, what: str, clock: str = "cpu") -> Grid:
        """Encode or decode time (`what`) of each measurement by `clock` (cpu or wall)."""
        return self.grid(lambda m: getattr(getattr(m, what), clock, math.nan))

    @cached_property
    def lossless(self) -> NDArray[np.bool_]:
        """Points that gave back every image measured to the last bit, bool[points]."""
        kept = self.grid(lambda m: float(m.is_lossless))
        return np.asarray((kept == 1).any(axis=1) & ~(kept == 0).any(axis=1))

    @property
    def is_lossless(self) -> bool:
        """Whether all points measured are: such a codec has a size and no quality to compare."""
        measured = np.isfinite(self.bpp).any(axis=1)
        return bool(measured.any() and self.lossless[measured].all())

    @property
    def failures(self) -> tuple[Measurement, ...]:
        return tuple(m for m in self.measurements.values() if m.status != "ok")


@dataclass(frozen=True)
class Results:
    """Codecs measured on the same images."""

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
    quoted: tuple[Quoted, ...] = ()
    """Codecs whose points were published for these pictures: not measured here."""
    packs: Mapping[str, str] = field(default_factory=dict)
    """Digest of a pack that measurements may come from -> what is known of it."""

    def codec(self, name: str) -> CodecResult:
        return next(codec for codec in self.codecs if codec.name == name)

    @property
    def entries(self) -> tuple[CodecResult | Quoted, ...]:
        """The codecs, then those that are quoted."""
        return self.codecs + self.quoted

    def entry(self, name: str) -> CodecResult | Quoted:
        """A codec, measured or quoted."""
        return next(one for one in self.entries if one.name == name)


def collect(
    measurements: Iterable[Measurement],
    ladders: Sequence[Ladder],
    pictures: Sequence[RunImage],
    *,
    metrics: Sequence[str],
    dataset: str,
    unavailable: Mapping[str, str] | None = None,
) -> Results:
    """Arrange measurements as curves.

    Those count that belong to one of `ladders` (codecs in their order, with version, settings and
    points) on one of `pictures`, identified by digest; an image's name is the one given here.
    Cells without a measurement stay empty.  A codec without any is `unavailable`.
    """
    rows = {m.key: m for m in measurements}
    ordered = sorted(pictures, key=lambda picture: natural(picture.name))
    reasons = dict(unavailable or {})
    codecs = []
    for ladder in ladders:
        cells = {
            (i, column): _called(rows[key], picture.name)
            for column, picture in enumerate(ordered)
            for i, key in enumerate(ladder.keys(picture))
            if key in rows
        }
        if cells:
            codecs.append(_codec_result(ladder, ordered, cells))
        else:
            reasons[ladder.codec] = "not measured yet: run the same command again"
    return Results(
        dataset=dataset,
        images=tuple(picture.name for picture in ordered),
        digests=tuple(picture.digest for picture in ordered),
        sizes=tuple((picture.width, picture.height) for picture in ordered),
        codecs=tuple(codecs),
        metrics=tuple(metrics),
        unavailable=reasons,
    )


def _called(m: Measurement, image: str) -> Measurement:
    return m if m.image == image else replace(m, image=image)


def _codec_result(
    ladder: Ladder, pictures: Sequence[RunImage], cells: Mapping[tuple[int, int], Measurement]
) -> CodecResult:
    newest = max(cells.values(), key=lambda m: m.time)
    return CodecResult(
        name=ladder.codec,
        label=newest.label,
        version=ladder.version,
        settings=ladder.settings,
        device=newest.device,
        tuned_for=newest.tuned_for,
        points=tuple(point.label for point in ladder.points),
        images=tuple(picture.name for picture in pictures),
        measurements=cells,
    )
