"""Which (codec, operating point, image) a run needs, and what of it is already done."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.store import Measurement, MetricValue, Store, key_of
from codecs import registry
from codecs.base import CodecUnavailable, Point
from datasets.base import Dataset, ImageRef

SECONDS_PER_SCORED_PIXEL = 6e-7
"""All metrics together, one core: for the estimate of a run's length only."""


@dataclass(frozen=True)
class Task:
    """One measurement to make: encode, decode and score; or score a kept stream anew."""

    blank: Measurement
    """What is known beforehand; the run fills in the rest."""
    image: ImageRef
    metrics: tuple[str, ...]
    """The metrics to compute."""
    estimate: float
    """Seconds on one core."""
    encode: bool = True
    """False when the stream is kept and only metrics are missing."""

    @property
    def point(self) -> Point:
        return self.blank.point


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    tasks: tuple[Task, ...]
    done: int
    """Measurements that the store already has."""
    failed: int
    """Of these, the ones that failed earlier; `--retry` plans them again."""
    unavailable: Mapping[str, str]
    """Codecs that cannot run here -> why."""
    keys: frozenset[str]
    """Keys of every measurement asked for, done or not."""

    @property
    def seconds(self) -> float:
        """Estimated time of all tasks on one core."""
        return sum(task.estimate for task in self.tasks)

    def seconds_by_codec(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for task in self.tasks:
            name = task.blank.codec
            totals[name] = totals.get(name, 0.0) + task.estimate
        return totals


def make_plan(
    codecs: Sequence[str],
    dataset: Dataset,
    store: Store,
    metrics: Mapping[str, str],
    *,
    retry: bool = False,
    seed: int = 0,
) -> Plan:
    """Plan the measurements that are missing.

    `metrics` maps the names of the wanted metrics to their versions here (`unavailable: why`
    counts as a version, so that a metric is computed as soon as its weights turn up).  Tasks
    come image by image, so that reference-side work is done once; images and the tasks of each
    image are shuffled, so that slow and fast work is spread evenly and a drift of the machine
    does not follow the rate ladder.  Unknown codec names raise `registry.UnknownCodec`.
    """
    stored = {m.key: m for m in store}
    unavailable: dict[str, str] = {}
    per_image: dict[str, list[Task]] = {image.name: [] for image in dataset.images}
    keys: set[str] = set()
    done = failed = 0
    for name in dict.fromkeys(codecs):
        try:
            codec = registry.create(name)
        except CodecUnavailable as error:
            unavailable[name] = str(error)
            continue
        for order, point in enumerate(codec.points):
            for image in dataset.images:
                key = key_of(codec, point, image)
                keys.add(key)
                old = stored.get(key)
                if old and old.status != "ok" and not retry:
                    done, failed = done + 1, failed + 1
                    continue
                stale = tuple(n for n, v in metrics.items() if not _fresh(old, n, v))
                reusable = old is not None and old.status == "ok"
                if reusable and not stale:
                    done += 1
                    continue
                scoring = image.width * image.height * SECONDS_PER_SCORED_PIXEL
                blank = Measurement(
                    key=key,
                    status="ok",
                    codec=codec.name,
                    label=codec.label,
                    version=codec.version,
                    settings=dict(codec.settings),
                    parameter=point.parameter,
                    value=point.value,
                    order=order,
                    dataset=dataset.name,
                    image=image.name,
                    image_digest=image.digest,
                    width=image.width,
                    height=image.height,
                    device=codec.device,
                    command=codec.command(point),
                    tuned_for=codec.tuned_for,
                )
                task = Task(
                    blank=blank,
                    image=image,
                    metrics=tuple(metrics),
                    estimate=codec.seconds(image.width * image.height, point) + scoring,
                )
                if reusable and old and store.read_stream(old) is not None:
                    task = replace(task, blank=old, metrics=stale, encode=False, estimate=scoring)
                per_image[image.name].append(task)
    shuffle = random.Random(seed)
    groups = [group for group in per_image.values() if group]
    shuffle.shuffle(groups)
    for group in groups:
        shuffle.shuffle(group)
    return Plan(
        tasks=tuple(task for group in groups for task in group),
        done=done,
        failed=failed,
        unavailable=unavailable,
        keys=frozenset(keys),
    )


def _fresh(measurement: Measurement | None, metric: str, version: str) -> bool:
    score: MetricValue | None = measurement.metrics.get(metric) if measurement else None
    return score is not None and score.version == version
