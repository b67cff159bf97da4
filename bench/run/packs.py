"""Measurements that others have made: from packs, those that come with the harness and others.

A pack gives streams, and what encoding them took; they are decoded and scored here.  It counts only
where codec, version, settings, operating point and picture are the same to the letter, and only as
long as the streams of a random sample, encoded here, are the same to the byte.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.record.manifest import Manifest
from bench.record.measurement import Measurement
from bench.record.pack import SUFFIX, unpack
from bench.record.store import Store
from bench.run.plan import Plan, Task, scoring_seconds
from bench.run.replay import WITNESSES
from codecs import registry
from codecs.base import Codec, CodecUnavailable, EncodeError, Image, Point
from codecs.selection import split
from codecs.target import select
from datasets.base import Dataset
from datasets.cache import cache_folder, file_digest, locked, write_atomically

SHIPPED = Path(__file__).parents[1] / "packs"
"""Packs that come with the harness: `SET-CODEC.tar.zst`, for pictures of the set SET."""


@dataclass(frozen=True)
class Pack:
    """A pack, checked and unpacked."""

    name: str
    digest: str
    """SHA-256 of the file."""
    manifest: Manifest
    store: Store
    measurements: dict[str, Measurement]
    """By key; those whose stream is there."""

    @property
    def description(self) -> str:
        """`kodak-vvenc of 2026-11-29, AMD EPYC, SHA-256 0123456789abcdef`"""
        made = (self.manifest.finished or self.manifest.started)[:10]
        where = self.manifest.host.get("processor", "an unknown machine")
        return f"{self.name} of {made}, {where}, SHA-256 {self.digest[:16]}"


def open_pack(path: Path) -> Pack:
    """A pack, unpacked into the cache at its first use.  Raises `PackError`, `StoreError`."""
    digest = file_digest(path)
    cache = cache_folder("packs")
    folder = cache / digest
    with locked(cache):
        if not folder.exists():
            for stale in cache.glob("unpack-*"):  # left by a killed run; we hold the lock
                shutil.rmtree(stale)
            work = Path(tempfile.mkdtemp(prefix="unpack-", dir=cache))
            try:
                unpack(path, work)
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    store = Store(folder)
    kept = {m.key: m for m in store if m.status == "ok" and store.kept(m)}
    name = path.name.removesuffix(SUFFIX)
    return Pack(name, digest, Manifest.read(folder), store, kept)


def shipped(dataset: Dataset) -> list[Pack]:
    """The packs for a data set that come with the harness."""
    return [open_pack(path) for path in sorted(SHIPPED.glob(f"{dataset.name}-*{SUFFIX}"))]


class PackedCodec(Codec):
    """A codec that cannot run here: what a pack tells of it, for planning."""

    def __init__(self, name: str, pack: Pack, reason: str) -> None:
        ladder = pack.manifest.ladders[name]
        first = next(m for m in pack.measurements.values() if m.codec == name)
        self.name, self.label, self.version = name, first.label, ladder.version
        self.settings, self.points, self.choices = ladder.settings, ladder.points, ladder.points
        self.tuned_for = first.tuned_for
        self.reason = reason

    def encode(self, image: Image, point: Point) -> bytes:
        raise EncodeError(self.reason)

    def decode(self, data: bytes) -> Image:
        raise CodecUnavailable(self.reason)


def creating(packs: Sequence[Pack]) -> Callable[[str], Codec]:
    """As `registry.create`, and codecs that cannot run here but are in a pack."""

    def create(typed: str) -> Codec:
        try:
            return registry.create(typed)
        except registry.UnknownCodec:
            raise
        except CodecUnavailable as error:
            base, selection = split(typed)
            name = registry.unaliased(base)
            for pack in packs:
                if any(m.codec == name for m in pack.measurements.values()):
                    packed = PackedCodec(name, pack, str(error))
                    return select(packed, selection) if selection else packed
            raise

    return create


@dataclass(frozen=True)
class Taken:
    """What a pack gives to a run."""

    pack: Pack
    tasks: tuple[Task, ...]
    """Those of the plan that it answers."""
    sample: tuple[Task, ...]
    """Of these, the ones that are made here as well."""


def take(plan: Plan, packs: Sequence[Pack], count: int, trusted: Iterable[str]) -> list[Taken]:
    """Which tasks each pack answers, and which `count` of them to make here.

    A pack of `trusted` digests was found right by an earlier run in this directory.
    """
    found, left = [], [task for task in plan.tasks if task.encode and task.timed is None]
    for pack in packs:
        mine = [task for task in left if task.blank.key in pack.measurements]
        left = [task for task in left if task.blank.key not in pack.measurements]
        makeable = [task for task in mine if _can_encode(task.codec)]
        few = 0 if pack.digest in trusted else min(count, len(makeable))
        if mine:
            found.append(Taken(pack, tuple(mine), tuple(random.sample(makeable, few))))
    return found


@cache
def _can_encode(codec: str) -> bool:
    try:
        registry.create(codec)
    except CodecUnavailable:
        return False
    return True


def shortened(plan: Plan, taken: Sequence[Taken]) -> Plan:
    """The plan with no more than decoding and scoring where a pack has the stream."""
    answers = {task.blank.key: one.pack for one in taken for task in one.tasks}
    here = {task.blank.key for one in taken for task in one.sample}
    tasks = [
        _decoding(task, answers[task.blank.key])
        if task.blank.key in answers and task.blank.key not in here
        else task
        for task in plan.tasks
    ]
    first = [task for task in tasks if task.blank.key in here]
    return replace(plan, tasks=(*first, *(t for t in tasks if t.blank.key not in here)))


def _decoding(task: Task, pack: Pack) -> Task:
    packed = pack.measurements[task.blank.key]
    # Its scores are made anew here; one tells whether the picture is still the same.
    witness = next(((n, packed.metrics[n]) for n in WITNESSES if n in packed.metrics), None)
    known = replace(
        packed,
        label=task.blank.label,
        dataset=task.blank.dataset,
        image=task.blank.image,
        metrics={**task.blank.metrics, **dict([witness] if witness else [])},
        rescored={},
        pack=pack.digest,
    )
    seconds = known.width * known.height * scoring_seconds(task.metrics)
    return replace(task, blank=known, encode=False, afresh=task, estimate=seconds)


def bring_streams(tasks: Iterable[Task], packs: Iterable[Pack], store: Store) -> None:
    """Put the streams of tasks that are only decoded where they are looked for."""
    by_digest = {pack.digest: pack for pack in packs}
    for task in tasks:
        if pack := by_digest.get(task.blank.pack):
            stream = pack.store.stream_path(task.blank.key).read_bytes()
            write_atomically(store.stream_path(task.blank.key), stream, sync=False)


def differences(taken: Taken, made: Iterable[Measurement]) -> list[str]:
    """What of the sample came out otherwise here than the pack has it."""
    packed = taken.pack.measurements
    return [
        f"{m.codec} {m.point.label} of {m.image}"
        for m in made
        if m.key in packed and m.status == "ok" and m.stream_digest != packed[m.key].stream_digest
    ]


def told(taken: Taken, made: Sequence[Measurement]) -> str:
    """What a report says of a pack that was used."""
    mine = {task.blank.key for task in taken.sample}
    again = sum(m.status == "ok" for m in made if m.key in mine)
    count = f"{len(taken.tasks)} measurements"
    if again == 0:
        return f"{taken.pack.description}; none of {count} made again here"
    return f"{taken.pack.description}; {again} of {count} made again here, to the same byte"
