"""Which (codec, operating point, image) a run needs, and what of it is already done."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import codecs.registry as registry
from bench.store import Measurement, MetricValue, Store, key_of
from codecs.base import Codec, CodecError, CodecUnavailable, Point
from datasets.base import Dataset, ImageRef

SECONDS_PER_SCORED_PIXEL = 6e-7
"""All metrics together, one core: for the estimate of a run's length only."""


@dataclass(frozen=True)
class Task:
    """One measurement to make: encode, decode and score; or score a kept stream anew."""

    codec: str
    """What the user typed: the name, or the file, that a worker creates the codec from."""
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
    names: Mapping[str, str]
    """What the user typed -> the codec's own name, for the codecs that can run here."""
    unavailable: Mapping[str, str]
    """What the user typed -> why it cannot run here."""

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
    created, unavailable = _create(codecs)
    per_image: dict[str, list[Task]] = {image.name: [] for image in dataset.images}
    done = failed = 0
    for typed, codec in created.items():
        for order, point in enumerate(codec.points):
            for image in dataset.images:
                old = stored.get(key_of(codec, point, image))
                if old and old.status != "ok" and not retry:
                    done, failed = done + 1, failed + 1
                    continue
                stale = tuple(n for n, v in metrics.items() if not _fresh(old, n, v))
                reusable = old is not None and old.status == "ok"
                if reusable and not stale:
                    done += 1
                    continue
                pixels = image.width * image.height
                scoring = pixels * SECONDS_PER_SCORED_PIXEL
                if reusable and old and store.read_stream(old) is not None:
                    task = Task(typed, old, image, stale, scoring, encode=False)
                else:
                    blank = _blank(codec, point, order, image, dataset.name, metrics)
                    wanted = tuple(n for n, v in metrics.items() if not _is_unavailable(v))
                    seconds = codec.seconds(pixels, point) + scoring
                    task = Task(typed, blank, image, wanted, seconds)
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
        names={typed: codec.name for typed, codec in created.items()},
        unavailable=unavailable,
    )


def _create(codecs: Sequence[str]) -> tuple[dict[str, Codec], dict[str, str]]:
    """The codecs that can run here, and why the others cannot; each codec once."""
    created: dict[str, Codec] = {}
    unavailable: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for typed in dict.fromkeys(codecs):
        try:
            codec = registry.create(typed)
        except CodecUnavailable as error:
            unavailable[typed] = str(error)
            continue
        twin = by_name.setdefault(codec.name, typed)
        if twin != typed:
            if (codec.version, codec.settings) == (created[twin].version, created[twin].settings):
                continue  # an alias
            raise CodecError(
                f"{twin} and {typed} are both named {codec.name!r}: give one another name"
            )
        created[typed] = codec
    return created, unavailable


def _blank(
    codec: Codec,
    point: Point,
    order: int,
    image: ImageRef,
    dataset: str,
    metrics: Mapping[str, str],
) -> Measurement:
    missing = {n: MetricValue(None, v, v) for n, v in metrics.items() if _is_unavailable(v)}
    return Measurement(
        key=key_of(codec, point, image),
        status="ok",
        codec=codec.name,
        label=codec.label,
        version=codec.version,
        settings=dict(codec.settings),
        parameter=point.parameter,
        value=point.value,
        order=order,
        dataset=dataset,
        image=image.name,
        image_digest=image.digest,
        width=image.width,
        height=image.height,
        device=codec.device,
        command=codec.command(point),
        tuned_for=codec.tuned_for,
        metrics=missing,
    )


def _fresh(measurement: Measurement | None, metric: str, version: str) -> bool:
    """Whether nothing is to be gained by computing a metric (again)."""
    score = measurement.metrics.get(metric) if measurement else None
    return score is not None and (score.version == version or _is_unavailable(version))


def _is_unavailable(version: str) -> bool:
    return version.startswith("unavailable")
