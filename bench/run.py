"""A run: plan, announce, execute, remember what was asked for."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from bench import metrics as metrics_package
from bench.executors import run_tasks
from bench.manifest import Manifest, Picture
from bench.plan import Plan, make_plan
from bench.progress import Progress
from bench.store import Measurement, Store
from datasets.base import Dataset
from datasets.registry import open_dataset

QUICK_IMAGES = 4
QUICK_CODECS = {"vvenc": "vvenc:medium"}
"""What `--quick` codes instead: a preset 7 times faster, 3 % worse in rate (one Kodak image)."""
PACKAGES = (
    "bjontegaard",
    "imageio-ffmpeg",
    "lpips",
    "numpy",
    "pillow",
    "pytorch-msssim",
    "scikit-image",
    "torch",
)


@dataclass(frozen=True)
class Settings:
    """What a run was asked for."""

    codecs: tuple[str, ...]
    dataset: str
    directory: Path
    metrics: tuple[str, ...]
    jobs: int
    quick: bool = False
    limit: int | None = None
    retry: bool = False
    time_limit: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    manifest: Manifest
    plan: Plan
    failed: int
    """Measurements that failed, in this run or earlier, or lack a metric for no good reason."""
    wall: float
    busy: float
    """Seconds that codecs and metrics took, over all lanes."""


def apply_quick(settings: Settings) -> Settings:
    """The small tier: fewer images, a faster VVC preset.  Labelled as such everywhere."""
    return replace(
        settings,
        codecs=tuple(dict.fromkeys(QUICK_CODECS.get(name, name) for name in settings.codecs)),
        limit=min(settings.limit or QUICK_IMAGES, QUICK_IMAGES),
    )


def dataset_label(dataset: Dataset, settings: Settings) -> str:
    """`Kodak (24 images)`; says when it is a part of the set."""
    count = f"{len(dataset.images)} image{'s' if len(dataset.images) != 1 else ''}"
    tier = ", quick tier" if settings.quick else ""
    part = "first " if settings.limit is not None else ""
    return f"{dataset.label} ({part}{count}{tier})"


def execute(settings: Settings, progress: Progress) -> Outcome:
    """Measure what is missing.  One failed task never stops another."""
    started = _now()
    clock = time.perf_counter()
    dataset = _without_twins(open_dataset(settings.dataset, limit=settings.limit))
    store = Store(settings.directory)
    versions = metrics_package.versions(settings.metrics)
    with store.locked():
        plan = make_plan(settings.codecs, dataset, store, versions, retry=settings.retry)
        manifest = Manifest(
            dataset=dataset.name,
            label=dataset_label(dataset, settings),
            source=dataset.source,
            pictures=tuple(Picture.of(image) for image in dataset.images),
            skipped=dataset.skipped,
            notes=(
                *dataset.notes,
                *(f"{image.name}: {note}" for image in dataset.images for note in image.notes),
            ),
            quick=settings.quick,
            names=dict(plan.names),
            ladders={**Manifest.earlier_ladders(settings.directory), **plan.ladders},
            unavailable=dict(plan.unavailable),
            metrics=versions,
            command="python -m bench " + " ".join(sys.argv[1:]),
            host=host_facts(),
            packages=package_versions(),
            started=started,
        )
        manifest.write(settings.directory)
        progress.announce(plan, manifest, settings)
        failed, busy = plan.failed, 0.0
        measurements = run_tasks(
            plan.tasks, store, jobs=settings.jobs, time_limit=settings.time_limit
        )
        with progress:
            for done in measurements:
                store.append(done.measurement)
                failed += _failed(done.measurement, done.task.metrics)
                busy += done.busy
                progress.advance(done)
        manifest = replace(manifest, finished=_now())
        manifest.write(settings.directory)
    return Outcome(manifest, plan, failed, time.perf_counter() - clock, busy)


def host_facts() -> dict[str, str]:
    """The machine, as far as it explains a timing."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model n")]
        model = names[0] if names else model
    except OSError:
        pass
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def package_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def _without_twins(dataset: Dataset) -> Dataset:
    """Leave out pictures that are the same file under another name: they would count twice."""
    seen: dict[str, str] = {}
    skipped = list(dataset.skipped)
    images = []
    for image in dataset.images:
        if image.digest in seen:
            skipped.append((image.name, f"the same file as {seen[image.digest]}"))
        else:
            seen[image.digest] = image.name
            images.append(image)
    return replace(dataset, images=tuple(images), skipped=tuple(skipped))


def default_directory(dataset: str, quick: bool) -> Path:
    """`runs/kodak`; for a folder of images its own name and a digest of where it is."""
    name = dataset
    if os.sep in dataset or dataset == ".":
        path = Path(dataset).resolve()
        name = f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".") or "images"
    return Path("runs") / (safe + ("-quick" if quick else ""))


def _failed(measurement: Measurement, wanted: Sequence[str]) -> bool:
    """Whether something went wrong that another attempt may put right.

    A metric without a value but with a version is undefined for that picture: no failure.
    """
    scores = [measurement.metrics.get(name) for name in wanted]
    return measurement.status != "ok" or any(s is None or not s.version for s in scores)


def wanted_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """All metrics, or those asked for.  Raises `ValueError` for an unknown name."""
    known = metrics_package.names()
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"unknown metric {unknown[0]!r}; there are {', '.join(known)}")
    return tuple(name for name in known if names is None or name in names)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
