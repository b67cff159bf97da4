"""Which (codec, operating point, image) a run needs, and what of it is already done."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import codecs.registry as registry
from bench.metrics import seconds_per_pixel
from bench.metrics.base import MetricValue
from bench.record.manifest import Ladder, RunImage
from bench.record.measurement import INTERRUPTED, Measurement, key_of
from bench.record.store import Store
from bench.run.corpus import find_points
from bench.run.sandboxed import Walls
from codecs import declared
from codecs.base import Codec, CodecError, Point
from codecs.target import Corpus
from datasets.base import Dataset, ImageRef

SECONDS_PER_SCORED_PIXEL = 6e-7
"""The quick metrics together, on one core: for estimates of a run's length only."""


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
    afresh: Task | None = None
    """What to do instead when the kept stream turns out to be no good."""
    timed: Measurement | None = None
    """What was measured before, where its timings are to be taken again."""

    @property
    def point(self) -> Point:
        return self.blank.point

    @property
    def device(self) -> str:
        """What the codec runs on now; a measurement kept from earlier may name another."""
        return (self.afresh or self).blank.device


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    tasks: tuple[Task, ...]
    done: int
    """Measurements that the store already has."""
    failed: tuple[Measurement, ...]
    """Of these, the ones that failed earlier; `--retry` plans them again."""
    crowded: int
    """Of these, the ones whose timings were taken beside another number of measurements."""
    names: Mapping[str, str]
    """What the user typed -> the codec's own name, for the codecs that can run here."""
    ladders: Mapping[str, Ladder]
    """Codec's own name -> what its measurements are filed under, in the order asked for."""
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
    retime: bool = False,
    jobs: int = 1,
    seed: int = 0,
    time_limit: float | None = None,
    say: Callable[[str], object] = lambda line: None,
    create: Callable[[str], Codec] = registry.create,
    walls: Walls | None = None,
) -> Plan:
    """Plan the measurements that are missing.

    `metrics` maps the names of the wanted metrics to their versions here (`unavailable: why`
    counts as a version, so that a metric is computed as soon as its weights turn up).  Tasks
    come image by image, so that reference-side work is done once; images and the tasks of each
    image are shuffled, so that slow and fast work is spread evenly and a drift of the machine
    does not follow the rate ladder.  What failed for a reason that passes is planned again, with
    `retry` all that failed; with `retime` also what was timed beside another number of
    measurements than `jobs`, or on another device.  Points that are to meet a rate over all images
    are looked for first, which `say` is told of, with `time_limit` seconds for one call, in
    sandboxes where there are `walls`.  Unknown codec names raise `registry.UnknownCodec`.
    """
    stored = {m.key: m for m in store}

    def created(typed: str) -> Codec:
        codec = create(typed)
        if isinstance(codec, Corpus):
            codec.points = find_points(typed, codec, dataset, store, jobs, time_limit, say, walls)
        return codec

    asked, names, unavailable = _create(codecs, dataset, created)
    per_image: dict[str, list[Task]] = {image.name: [] for image in dataset.images}
    done = crowded = 0
    failed: list[Measurement] = []
    for typed, answers in asked.items():
        codec = answers.codec
        for point in codec.points:
            for image in dataset.images:
                old = stored.get(key_of(codec, point, image))
                if old and old.status not in ("ok", INTERRUPTED) and not retry:
                    done += 1
                    failed.append(old)
                    continue
                stale = tuple(n for n, v in metrics.items() if not _fresh(old, n, v))
                reusable = old is not None and old.status == "ok"
                again = old is not None and reusable and _timed_otherwise(old, codec, jobs)
                if reusable and not stale and not (again and retime):
                    done, crowded = done + 1, crowded + again
                    continue
                pixels = image.width * image.height
                blank = _blank(answers, point, image, dataset.name, metrics)
                wanted = tuple(n for n, v in metrics.items() if not _is_unavailable(v))
                seconds = answers.seconds[pixels, point] + pixels * scoring_seconds(wanted)
                timed = old if again and retime else None
                # With a score missing and its stream too, all is measured: timings come with it.
                task = Task(typed, blank, image, wanted, seconds, timed=None if stale else timed)
                if reusable and stale and old and store.kept(old):
                    seconds = pixels * scoring_seconds(stale) + (seconds if timed else 0)
                    task = Task(typed, old, image, stale, seconds, False, task, timed)
                per_image[image.name].append(task)
    shuffle = random.Random(seed)
    groups = [group for group in per_image.values() if group]
    shuffle.shuffle(groups)
    for group in groups:
        shuffle.shuffle(group)
    return Plan(
        tasks=tuple(task for group in groups for task in group),
        done=done,
        failed=tuple(failed),
        crowded=crowded,
        names=names,
        ladders={each.codec.name: Ladder.of(each.codec) for each in asked.values()},
        unavailable=unavailable,
    )


def _timed_otherwise(old: Measurement, codec: Codec, jobs: int) -> bool:
    """Whether its times are of another number of measurements side by side, or another device."""
    return old.jobs != jobs or old.device != codec.device


def scoring_seconds(metrics: Sequence[str]) -> float:
    """Seconds for each pixel, about."""
    return SECONDS_PER_SCORED_PIXEL + seconds_per_pixel(metrics)


@dataclass(frozen=True)
class _Answers:
    """A codec, and what planning asks of it: once, so that what was checked is what counts."""

    codec: Codec
    commands: Mapping[Point, str | None]
    seconds: Mapping[tuple[int, Point], float]
    """(pixels, point) -> estimate."""


def _create(
    codecs: Sequence[str], dataset: Dataset, create: Callable[[str], Codec]
) -> tuple[dict[str, _Answers], dict[str, str], dict[str, str]]:
    """The codecs that can run here, each once; the names of all that was typed; and why the
    others cannot run."""
    asked: dict[str, _Answers] = {}
    names: dict[str, str] = {}
    unavailable: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for typed in dict.fromkeys(codecs):
        try:
            answers = _ask(create(typed), dataset)
        except registry.UnknownCodec:
            raise
        except CodecError as error:
            unavailable[typed] = str(error)
            continue
        codec = answers.codec
        names[typed] = codec.name
        twin = by_name.setdefault(codec.name, typed)
        if twin == typed:
            asked[typed] = answers
        elif Ladder.of(codec) != Ladder.of(asked[twin].codec) or (
            registry.file_of(typed) != registry.file_of(twin)
        ):
            one = registry.unaliased(twin) == registry.unaliased(typed)
            how = "name all its points at once" if one else "give one another name"
            raise CodecError(f"{twin} and {typed} are both named {codec.name!r}: {how}")
    return asked, names, unavailable


def _ask(codec: Codec, dataset: Dataset) -> _Answers:
    """Ask a codec everything that planning needs, so that a broken one costs only itself."""
    sizes = {image.width * image.height for image in dataset.images}
    try:
        for _ in Ladder.of(codec).keys(RunImage("", "", 768, 512)):
            pass
        commands = {p: declared.command(codec.command(p), p) for p in codec.points}
        seconds = {
            (pixels, point): declared.seconds(codec.seconds(pixels, point), point)
            for pixels in sizes
            for point in codec.points
        }
    except CodecError as error:
        raise CodecError(f"{codec.name} cannot be planned: {error}") from error
    except Exception as error:  # other people's code
        raise CodecError(
            f"{codec.name} cannot be planned: {type(error).__name__}: {error}"
        ) from error
    return _Answers(codec, commands, seconds)


def _blank(
    answers: _Answers,
    point: Point,
    image: ImageRef,
    dataset: str,
    metrics: Mapping[str, str],
) -> Measurement:
    codec = answers.codec
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
        dataset=dataset,
        image=image.name,
        image_digest=image.digest,
        width=image.width,
        height=image.height,
        device=codec.device,
        command=answers.commands[point],
        tuned_for=codec.tuned_for,
        metrics=missing,
    )


def _fresh(measurement: Measurement | None, metric: str, version: str) -> bool:
    """Whether nothing is to be gained by computing a metric (again)."""
    score = measurement.metrics.get(metric) if measurement else None
    return score is not None and (score.version == version or _is_unavailable(version))


def _is_unavailable(version: str) -> bool:
    return version.startswith("unavailable")
