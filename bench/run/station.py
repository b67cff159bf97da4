"""What a worker of a Dask cluster does: it takes tasks through lanes as a run on one machine does.

Encoding, decoding and scoring have processes of their own here too (see `lane`); the process of
Dask's only waits for them.  All that a worker has of a run it got with the task: the picture,
unless it lies here, and the stream where that is only scored.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path

import codecs.registry as registry
from bench import metrics as metrics_package
from bench.metrics.base import MetricValue
from bench.record.measurement import INTERRUPTED, Measurement
from bench.record.store import Store
from bench.run.lane import Lane
from bench.run.plan import Task
from bench.run.worker import reply
from codecs import device
from codecs.base import CodecError
from datasets.base import DatasetError, ImageRef
from datasets.cache import cache_folder, file_digest, write_atomically

IDLE = 600.0
"""Seconds after which a worker without a task ends its lanes: the client may be gone."""


@dataclass(frozen=True)
class Conditions:
    """What all tasks of a run have in common."""

    run: str
    """Like no other."""
    metrics: tuple[str, ...]
    own_metrics: tuple[tuple[str, str], ...]
    time_limit: float | None
    device: str
    """`BENCH_DEVICE` of the client."""


@dataclass(frozen=True)
class Parcel:
    """Tasks on one picture with one codec, and what is needed for them."""

    tasks: tuple[Task, ...]
    conditions: Conditions
    jobs: int
    """Measurements that run side by side on this machine."""
    picture: bytes | None = field(default=None, repr=False)
    """The file; None as long as the worker has not asked for it."""
    streams: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """By key, those that were kept."""


@dataclass(frozen=True)
class Answer:
    """What became of a task: as `lane.Done`, with the stream where it is a new one."""

    measurement: Measurement
    busy: float = 0.0
    problem: str = ""
    stream: bytes | None = field(default=None, repr=False)
    refusal: str = ""
    """Why nothing was done, as a status of a measurement."""


@dataclass(frozen=True)
class Facts:
    """What a client must know of a worker before it gives it tasks."""

    host: str
    machine: str
    """The same for all workers of one machine, whatever their addresses are."""
    harness: str
    """Digest of the sources that measure."""
    metrics: Mapping[str, str]
    """Their versions here."""


def facts(conditions: Conditions) -> Facts:
    """About the worker that this is called on."""
    os.environ[device.VARIABLE] = conditions.device
    versions = metrics_package.versions(conditions.metrics, dict(conditions.own_metrics))
    host = os.uname().nodename
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        machine = host
    return Facts(host, machine, harness(), versions)


@cache
def harness() -> str:
    """Digest of the sources that measure and record."""
    whole = hashlib.sha256()
    for folder in ("run", "record"):
        for path in sorted((Path(__file__).parents[1] / folder).glob("*.py")):
            whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def measure(parcel: Parcel) -> tuple[Answer, ...] | None:
    """Carry out tasks, in order; None where the picture is needed first."""
    with _ONE:  # a worker may have several threads
        if not _STATION:
            _STATION.append(Station())
    return _STATION[0].measure(parcel)


def close(run: str) -> None:
    """End what is done on this worker for a run."""
    for station in _STATION:
        station.close(run)


_ONE = threading.Lock()
_STATION: list[Station] = []
"""That of this process, once it has had a task."""


class Station:
    """Lanes of one worker, as many as it has threads, each with the run and picture it is for."""

    def __init__(self) -> None:
        from distributed import get_worker

        # Dask's workers are daemons, which may start no processes, unless its configuration says
        # otherwise.  A lane's processes end by themselves when this one is gone.
        multiprocessing.current_process().daemon = False
        # Dask's nanny has its worker give memory back at once.  Processes that score would ask the
        # system for it anew, tensor after tensor: half of their time.
        os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
        folder = Path(tempfile.mkdtemp(prefix="codec-bench-", dir=get_worker().local_directory))
        self.store = Store(folder)
        (folder / "streams").mkdir()
        self.free: list[_Taken] = []
        self.busy: list[_Taken] = []
        self.lock = threading.Lock()
        self.made = 0
        self.idle = threading.Timer(IDLE, self.close)
        # Dask's process would wait for those of the lanes when it is told to end.
        Finalize(self, self.end, exitpriority=100)

    def measure(self, parcel: Parcel) -> tuple[Answer, ...] | None:
        """See the function."""
        first = parcel.tasks[0]
        status, image = reply(_placed, (first.image, parcel.picture), "picture")
        if status == "ok" and image is None:
            return None
        try:
            registry.check_name(first.codec)
        except CodecError as error:
            status, image = "unavailable", str(error)
        if status != "ok":
            return tuple(refused(task, status, image) for task in parcel.tasks)
        taken = self._take(parcel, image)
        try:
            return tuple(
                self._measured(taken.lane, task, image, parcel.streams) for task in parcel.tasks
            )
        finally:
            self._put_back(taken)

    def _measured(
        self, lane: Lane, task: Task, image: ImageRef, streams: Mapping[str, bytes]
    ) -> Answer:
        path = self.store.stream_path(task.blank.key)
        try:
            kept = streams.get(task.blank.key)
            if kept is not None:
                write_atomically(path, kept, sync=False)
            done = lane.measure(_on(task, image))
            stream = path.read_bytes() if path.exists() else None
        except (DatasetError, OSError) as error:  # no room, which passes
            return refused(task, INTERRUPTED, str(error))
        finally:
            path.unlink(missing_ok=True)
        new = stream if stream != kept else None
        return Answer(done.measurement, done.busy, done.problem, new)

    def _take(self, parcel: Parcel, image: ImageRef) -> _Taken:
        """A lane that is free, at best the one that had this picture; those of other runs end."""
        run = parcel.conditions.run
        with self.lock:
            self.idle.cancel()
            others = [one for one in self.free if one.run != run]
            fit = sorted(
                (one for one in self.free if one.run == run), key=lambda one: one.image != image
            )
            self.made += 1
            lane = fit[0].lane if fit else self._made(parcel)
            lane.jobs = parcel.jobs
            taken = _Taken(run, image, lane)
            self.free = fit[1:]
            self.busy.append(taken)
        for one in others:
            one.lane.kill()
        if not fit:
            lane.start()
        return taken

    def _made(self, parcel: Parcel) -> Lane:
        conditions = parcel.conditions
        os.environ[device.VARIABLE] = conditions.device
        return Lane(
            self.store,
            self.store.directory / f"{self.made}.npy",
            parcel.jobs,
            conditions.time_limit,
            replace(parcel.tasks[0], metrics=conditions.metrics),
            dict(conditions.own_metrics),
        )

    def _put_back(self, taken: _Taken) -> None:
        with self.lock:
            if taken in self.busy:  # otherwise its run was ended
                self.busy.remove(taken)
                self.free.append(taken)
            self.idle.cancel()
            self.idle = threading.Timer(IDLE, self.close)
            self.idle.daemon = True
            self.idle.start()

    def close(self, run: str | None = None) -> None:
        """End the lanes of a run, whatever they do; or those that do nothing."""
        with self.lock:
            ended = [one for one in (*self.free, *self.busy) if one.run == run]
            if run is None:
                ended = self.free
            self.free = [one for one in self.free if one not in ended]
            self.busy = [one for one in self.busy if one not in ended]
        for one in ended:
            one.lane.kill()

    def end(self) -> None:
        """End all lanes."""
        for one in (*self.free, *self.busy):
            one.lane.kill()


@dataclass(frozen=True, eq=False)
class _Taken:
    run: str
    image: ImageRef
    lane: Lane


def refused(task: Task, status: str, reason: str) -> Answer:
    """A task that was not carried out: what was kept stays, without the metrics asked for."""
    m = task.blank
    if task.encode:
        m = replace(m, status=status, reason=reason, metrics={})
    else:
        missing = {name: MetricValue(None, "", reason) for name in task.metrics}
        m = replace(m, metrics={**m.metrics, **missing})
    return Answer(m, refusal=status)


def _placed(ref: ImageRef, data: bytes | None) -> ImageRef | None:
    """The picture where it lies on this machine; None where it does not and `data` is None.

    It may lie where the client has it, on a disk that both see, or in this machine's cache.
    """
    cached = cache_folder("pictures") / ref.digest
    for path in (ref.path, cached):
        if path.is_file() and file_digest(path) == ref.digest:
            return replace(ref, path=path)
    if data is None:
        return None
    write_atomically(cached, data, sync=False)
    return replace(ref, path=cached)


def _on(task: Task, image: ImageRef) -> Task:
    afresh = task.afresh and replace(task.afresh, image=image)
    return replace(task, image=image, afresh=afresh)
