"""A run: plan, announce, execute, remember what was asked for."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path

from bench import metrics as metrics_package
from bench.record.manifest import Manifest, RunImage
from bench.record.measurement import Measurement, now
from bench.record.store import Store, StoreError
from bench.run import dispatch, local
from bench.run.cluster import opened, parse
from bench.run.lane import Done
from bench.run.packs import (
    Pack,
    Taken,
    bring_streams,
    creating,
    differences,
    open_pack,
    shipped,
    shortened,
    take,
    told,
)
from bench.run.plan import Plan, Task, make_plan
from bench.run.progress import Progress
from bench.run.sandbox import KINDS, best_kind
from bench.run.sandboxed import Walls
from bench.run.settings import RunSettings
from bench.terminal import program
from datasets.base import Dataset
from datasets.registry import open_dataset

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
class RunOutcome:
    """How a run ended."""

    manifest: Manifest
    plan: Plan
    failures: Mapping[str, Sequence[str]]
    """Codec -> where and why each of its measurements failed, in this run or earlier, or lacks a
    metric for no good reason."""
    refused: tuple[tuple[str, str], ...]
    """(file name, reason) of each picture of the data set that cannot be compared."""
    wall: float
    busy: float
    """Seconds that codecs and metrics took, over all lanes."""

    @property
    def failed(self) -> int:
        return sum(map(len, self.failures.values()))


def dataset_label(dataset: Dataset, settings: RunSettings) -> str:
    """`Kodak (24 images)`; says when it is a part of the set."""
    count = f"{len(dataset.images)} image{'s' if len(dataset.images) != 1 else ''}"
    tier = ", quick tier" if settings.quick else ""
    part = "first " if settings.limit is not None else ""
    return f"{dataset.label} ({part}{count}{tier})"


def execute(settings: RunSettings, progress: Progress) -> RunOutcome:
    """Measure what is missing.  One failed task never stops another."""
    started = now()
    clock = time.perf_counter()
    progress.say(f"opening {settings.dataset}")
    opened = open_dataset(settings.dataset, limit=settings.limit)
    dataset = _without_twins(opened)
    store = Store(settings.directory)
    progress.say("finding metrics, and their weights where they have some")
    versions = metrics_package.versions(settings.metrics, settings.own_metrics)
    with store.locked():
        progress.say(f"making {len(settings.codecs)} codecs")
        packs = _packs(settings, dataset, progress)
        walls = Walls.around(settings.directory, dataset.images) if settings.sandbox else None
        plan = make_plan(
            *(settings.codecs, dataset, store, versions),
            retry=settings.retry,
            retime=settings.retime,
            jobs=settings.jobs,
            time_limit=settings.time_limit,
            say=progress.say,
            create=creating(packs),
            walls=walls,
        )
        manifest = Manifest(
            dataset=dataset.name,
            label=dataset_label(dataset, settings),
            source=dataset.source,
            pictures=tuple(RunImage.of(image) for image in dataset.images),
            skipped=dataset.skipped,
            notes=(
                *dataset.notes,
                *(f"{image.name}: {note}" for image in dataset.images for note in image.notes),
            ),
            quick=settings.quick,
            names=dict(plan.names),
            ladders=dict(plan.ladders),
            unavailable=dict(plan.unavailable),
            metrics=versions,
            command=_command(),
            host=host_facts(),
            packages=package_versions(),
            started=started,
            argument=dataset.argument,
            own_metrics={n: metrics_package.info(n) for n in settings.own_metrics},
        )
        if earlier := Manifest.earlier(settings.directory):
            manifest = manifest.after(earlier)
        manifest.write(settings.directory)
        taken = take(plan, packs, settings.verify_pack, earlier.packs if earlier else ())
        shorter = shortened(plan, taken)
        with ExitStack() as stack:
            place = _place(settings, store, versions, progress, shorter, walls)
            carry_out, slots = stack.enter_context(place)
            progress.announce(shorter, manifest, replace(settings, jobs=slots))
            work = _Work(store, carry_out, progress, plan.failed)
            stack.enter_context(progress)
            sample = shorter.tasks[: sum(len(one.sample) for one in taken)]
            made = work.measure(sample)
            right = [one for one in taken if not _is_wrong(one, made, progress)]
            rest = shorter.tasks[len(sample) :]
            if len(right) < len(taken):
                done = {m.key for m in made}
                left = tuple(task for task in plan.tasks if task.blank.key not in done)
                used = [replace(one, sample=()) for one in right]
                rest = progress.changed(shortened(replace(plan, tasks=left), used)).tasks
            packs_told = {one.pack.digest: told(one, made) for one in right}
            manifest = replace(manifest, packs=packs_told | dict(manifest.packs))
            manifest.write(settings.directory)
            bring_streams(rest, [one.pack for one in right], store)
            work.measure(rest)
        manifest = replace(manifest, finished=now())
        manifest.write(settings.directory)
    wall = time.perf_counter() - clock
    return RunOutcome(manifest, plan, work.failures, opened.skipped, wall, work.busy)


CarryOut = Callable[[Sequence[Task]], Iterator[Done]]


@contextmanager
def _place(
    settings: RunSettings,
    store: Store,
    versions: Mapping[str, str],
    progress: Progress,
    plan: Plan,
    walls: Walls | None,
) -> Iterator[tuple[CarryOut, int]]:
    """Where tasks are carried out, and how many side by side: in lanes here, or on a cluster."""
    limit, own = settings.time_limit, settings.own_metrics
    if not (settings.cluster and plan.tasks):
        if walls:
            progress.say(f"codecs run in sandboxes: {KINDS[best_kind()]}")
        lanes = partial(local.run_tasks, jobs=settings.jobs, time_limit=limit, own_metrics=own)
        yield partial(lanes, store=store, walls=walls), settings.jobs
        return
    with store.scratch() as scratch, opened(parse(settings.cluster), scratch) as cluster:
        page = f"; its page: {cluster.dashboard}" if cluster.dashboard else ""
        progress.say(f"on the cluster at {cluster.address}{page}")
        workers = partial(dispatch.run_tasks, cluster=cluster, metrics=versions, say=progress.tell)
        yield partial(workers, store=store, time_limit=limit, own_metrics=own), cluster.slots


class _Work:
    """Tasks carried out, and what has become of them."""

    def __init__(
        self,
        store: Store,
        carry_out: CarryOut,
        progress: Progress,
        failed: Sequence[Measurement],
    ) -> None:
        """`failed`: measurements that failed earlier."""
        self.store, self.carry_out, self.progress = store, carry_out, progress
        self.failures: dict[str, list[str]] = {}
        self.busy = 0.0
        for measurement in failed:
            self._note(measurement, _fault(measurement, ()))

    def measure(self, tasks: Sequence[Task]) -> list[Measurement]:
        """Carry out tasks and store each measurement as soon as it is made."""
        made = []
        for done in self.carry_out(tasks):
            if not done.problem:
                self.store.append(done.measurement)
            problem = done.problem or _fault(done.measurement, done.task.metrics)
            if problem:
                self._note(done.measurement, problem)
            self.busy += done.busy
            self.progress.advance(done)
            made.append(done.measurement)
        return made

    def _note(self, m: Measurement, why: str) -> None:
        self.failures.setdefault(m.codec, []).append(f"{m.point.label} on {m.image}: {why}")


def _is_wrong(taken: Taken, made: Sequence[Measurement], progress: Progress) -> bool:
    wrong = differences(taken, made)
    if wrong:
        shown = ", ".join(wrong[:5])
        progress.say(
            f"  the pack {taken.pack.description} is not used: encoded here, {shown} "
            f"{'is another stream' if len(wrong) == 1 else 'are other streams'}"
        )
    return bool(wrong)


def _packs(settings: RunSettings, dataset: Dataset, progress: Progress) -> list[Pack]:
    """Those asked for, which must be right, and those that come with the harness."""
    found = [open_pack(path) for path in settings.packs]
    if settings.shipped_packs:
        try:
            found += shipped(dataset)
        except StoreError as error:
            progress.say(f"  {error}: left out")
    return found


def _command() -> str:
    """What was typed, ready to be typed again."""
    start = "python -m bench.compare" if Path(sys.argv[0]).stem == "compare" else program()
    return f"{start} {shlex.join(sys.argv[1:])}"


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
    """Leave out images that are the same file under another name: they would count twice."""
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


def _fault(measurement: Measurement, wanted: Sequence[str]) -> str:
    """What went wrong that another attempt may put right; empty where nothing did.

    A metric without a value but with a version is undefined for that image: no failure.
    """
    if measurement.status != "ok":
        return measurement.reason or measurement.status
    for name in wanted:
        score = measurement.metrics.get(name)
        if score is None or not score.version:
            return f"no {name}: {score.reason if score else 'it was not computed'}"
    return ""
