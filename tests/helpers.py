"""Measurements made up for tests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.metrics.base import MetricValue
from bench.record.manifest import Ladder, RunImage
from bench.record.measurement import Measurement, Timing, measurement_key
from bench.record.store import Store
from bench.run.execute import RunOutcome, execute
from bench.run.progress import Progress
from bench.run.settings import RunSettings
from bench.verdict.results import Results, collect
from codecs.base import Point


def measurement(
    codec: str = "jpeg",
    image: str = "a.png",
    value: int = 50,
    *,
    version: str = "1",
    size: int = 1000,
    status: str = "ok",
    reason: str = "",
    time: str = "2026-01-01T00:00:00Z",
    metrics: dict[str, float] | None = None,
) -> Measurement:
    """A measurement of a 100 x 80 picture whose digest is its name."""
    return Measurement(
        key=measurement_key(codec, version, {}, Point("quality", value), image),
        status=status,
        reason=reason,
        codec=codec,
        label=codec.upper(),
        version=version,
        settings={},
        parameter="quality",
        value=value,
        dataset="test",
        image=image,
        image_digest=image,
        width=100,
        height=80,
        bytes=size if status == "ok" else None,
        metrics={name: MetricValue(v, "1") for name, v in (metrics or {"psnr": 30.0}).items()},
        encode=Timing(0.1, 0.2),
        decode=Timing(0.3, 0.4),
        time=time,
    )


def collected(rows: Sequence[Measurement], **options: Any) -> Results:
    """Curves of all rows: codecs, points and pictures in order of appearance."""
    points: dict[tuple[str, str], dict[Point, None]] = {}
    settings = {}
    pictures: dict[str, RunImage] = {}
    for m in rows:
        points.setdefault((m.codec, m.version), {})[m.point] = None
        settings[m.codec, m.version] = m.settings
        pictures[m.image_digest] = RunImage(m.image, m.image_digest, m.width, m.height)
    ladders = [
        Ladder(codec, version, settings[codec, version], tuple(found))
        for (codec, version), found in points.items()
    ]
    return collect(rows, ladders, tuple(pictures.values()), **options)


def run_alone(folder: Path, directory: Path, *codecs: str, sandbox: bool = False) -> RunOutcome:
    """Measure codecs on a folder of pictures, PSNR alone, one thing at a time."""
    settings = RunSettings(
        codecs=codecs,
        dataset=str(folder),
        directory=directory,
        metrics=("psnr",),
        jobs=1,
        sandbox=sandbox,
    )
    return execute(settings, Progress(quiet=True))


def begin_with(run: Path, earlier: Path, *codecs: str) -> None:
    """Give a run directory what an earlier run of the same pictures has of these codecs: a run in
    it measures no more than what is missing."""
    shutil.copytree(earlier / "streams", run / "streams")
    store = Store(run)
    for measurement in Store(earlier):
        if measurement.codec in codecs:
            store.append(measurement)
