"""Where tasks run: lanes of worker processes on this machine.

A lane is a process to encode, one to decode and one to score (see `worker`), and two more for
each codec in Python from outside (see `processes`).  One of them works at a time, on one
thread; there are as many lanes as cores.  A call that outlasts its limit ends with its whole
process tree; a process that dies is replaced.  Neither stops the other tasks.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from bench.record.store import Measurement, MetricValue, Store, Timing
from bench.run.plan import Task
from bench.run.processes import CallFailed, CodecWorkers, Worker
from bench.run.replay import is_reproduced, same_picture
from codecs.base import wrong_size

SCORE_LIMIT = 1800.0
"""Seconds after which computing metrics is given up."""


@dataclass(frozen=True)
class Done:
    """A finished task: the measurement to store, and the seconds codecs and metrics took."""

    task: Task
    measurement: Measurement
    busy: float
    problem: str = ""
    """Why an older measurement stays as it was, where it should have been timed again."""


def run_tasks(
    tasks: Sequence[Task], store: Store, *, jobs: int, time_limit: float | None = None
) -> Iterator[Done]:
    """Execute tasks in `jobs` lanes and yield each as it is done.

    `time_limit` bounds one encode or decode call in seconds; by default it grows with the
    codec's own estimate.  Closing the iterator stops all work at once.
    """
    with store.scratch() as scratch:
        yield from _run_lanes(tasks, store, scratch, jobs, time_limit)


def _run_lanes(
    tasks: Sequence[Task], store: Store, scratch: Path, jobs: int, time_limit: float | None
) -> Iterator[Done]:
    pending = _Pending(tasks)
    finished: queue.SimpleQueue[Done | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    lanes = [
        _Lane(store, scratch, i, jobs, time_limit, tasks[0]) for i in range(min(jobs, len(tasks)))
    ]
    threads = [
        threading.Thread(target=_drive, args=(lane, pending, finished, stop), daemon=True)
        for lane in lanes
    ]
    try:
        for thread in threads:
            thread.start()
        for _ in tasks:
            done = finished.get()
            if isinstance(done, BaseException):
                raise done
            yield done
    finally:
        stop.set()
        for lane in lanes:
            lane.kill()
        for thread in threads:
            thread.join()


class _Pending:
    """Tasks by image: a lane stays with its image, then takes the fullest one left."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.lock = threading.Lock()
        self.groups: dict[Path, deque[Task]] = {}
        for task in tasks:
            self.groups.setdefault(task.image.path, deque()).append(task)
        self.fresh = deque(self.groups)

    def take(self, current: Path | None) -> Task | None:
        with self.lock:
            if current is None or not self.groups.get(current):
                current = self._next_image()
            return self.groups[current].popleft() if current else None

    def _next_image(self) -> Path | None:
        if self.fresh:
            return self.fresh.popleft()
        left = max(self.groups, key=lambda path: len(self.groups[path]), default=None)
        return left if left and self.groups[left] else None


def _drive(
    lane: _Lane,
    pending: _Pending,
    finished: queue.SimpleQueue[Done | BaseException],
    stop: threading.Event,
) -> None:
    current: Path | None = None
    try:
        lane.start()
        while not stop.is_set() and (task := pending.take(current)):
            current = task.image.path
            done = lane.measure(task)
            if not stop.is_set():
                finished.put(done)
    except BaseException as error:  # a fault of ours: hand it to the caller
        if not stop.is_set():
            finished.put(error)
    finally:
        lane.kill()


class _Lane:
    """Workers that take one task at a time through encode, decode and score."""

    def __init__(
        self,
        store: Store,
        scratch: Path,
        number: int,
        jobs: int,
        time_limit: float | None,
        first: Task,
    ) -> None:
        self.store = store
        self.pixels = scratch / f"{number}.npy"
        self.jobs = jobs
        self.time_limit = time_limit
        self.first = first
        self.encoders = CodecWorkers("encode", scratch=scratch)
        self.decoders = CodecWorkers("decode", scratch=scratch)
        self.scorer = Worker("score", first.metrics, scratch=scratch)

    def start(self) -> None:
        """Start them side by side: the scorer takes longest, and is needed last."""
        threading.Thread(target=self._start_scorer, daemon=True).start()
        self.encoders.start(self.first.codec)
        self.decoders.start(self.first.codec)

    def _start_scorer(self) -> None:
        # A failure shows when the scorer is called, which tries again.
        with suppress(CallFailed, OSError, EOFError):
            self.scorer.start()

    def measure(self, task: Task) -> Done:
        """Encode, decode, score; or score a kept stream, or only time again."""
        if not task.encode:
            done = self._score_kept(task)
            # What was coded anew on the way has its timings; scores outlive a failure to time.
            conditions = done.measurement.jobs, done.measurement.device
            if task.timed is None or conditions == (self.jobs, task.device):
                return done
            timed = self._time(task, done.measurement)
            return replace(done if timed.problem else timed, busy=done.busy + timed.busy)
        if task.timed is not None:
            return self._time(task, task.timed)
        m = replace(task.blank, jobs=self.jobs, host=os.uname().nodename, time=_now())
        stream = self.store.stream_path(m.key)
        busy = 0.0
        try:
            size, stream_digest, encode, diagnostics = self.encoders.call(
                (task.codec, task.point, task.image, stream, m.key), self._limit(task)
            )
            busy += encode.wall
            m = replace(
                m,
                bytes=size,
                stream_digest=stream_digest,
                encode=encode,
                diagnostics=diagnostics,
            )
            pixel_digest, decode, notes = self._decode(task)
            busy += decode.wall
            m = replace(m, decode=decode, reconstruction_digest=pixel_digest, notes=notes)
        except CallFailed as error:
            m = replace(m, status=error.status, reason=str(error), metrics={})
            return Done(task, m, busy)
        scores, seconds = self._score(task, task.metrics)
        return Done(task, replace(m, metrics={**m.metrics, **scores}), busy + seconds)

    def _time(self, task: Task, old: Measurement) -> Done:
        """Only the timings anew; whatever happens, what was measured and its stream stay."""
        stream = self.pixels.with_suffix(".bin")
        busy = 0.0
        try:
            _, stream_digest, encode, _ = self.encoders.call(
                (task.codec, task.point, task.image, stream, old.key), self._limit(task)
            )
            busy += encode.wall
            if stream_digest != old.stream_digest:
                raise CallFailed("failed", "the encoder writes another stream than before")
            _, decode, _ = self._decode(task)
        except CallFailed as error:
            return Done(task, old, busy, f"not timed again: {error}")
        timed = replace(
            old,
            encode=encode,
            decode=decode,
            jobs=self.jobs,
            device=task.device,
            host=os.uname().nodename,
            time=_now(),
        )
        return Done(task, timed, busy + decode.wall)

    def _score_kept(self, task: Task) -> Done:
        """New metrics for a stream measured earlier; coded anew only where it decodes to something
        that was not measured.  Whatever happens, what could be had stays."""
        m = task.blank
        try:
            pixel_digest, decode, _ = self._decode(task)
        except CallFailed as error:
            why = f"the kept stream cannot be decoded: {error}"
            if error.answered:
                return self._measure_afresh(task, why, 0.0)
            return _unscored(task, why, 0.0)
        same = same_picture(m, pixel_digest)
        if not same and not is_reproduced(m, lambda metrics: self._score(task, metrics)[0]):
            # The decoder has changed without saying so: what was measured is out of date.
            why = "the kept stream decodes to another picture than the one that was measured"
            return self._measure_afresh(task, why, decode.wall)
        scores, seconds = self._score(task, task.metrics)
        rescored = {name: digest for name, digest in m.rescored.items() if name not in scores}
        if not same:
            rescored |= dict.fromkeys(scores, pixel_digest)
        m = replace(m, metrics={**m.metrics, **scores}, rescored=rescored)
        return Done(task, m, decode.wall + seconds)

    def _measure_afresh(self, task: Task, why: str, busy: float) -> Done:
        """Encode again what was measured; where that fails too, the old figures stay."""
        if task.afresh is None:
            return _unscored(task, why, busy)
        done = self.measure(task.afresh)
        if done.measurement.status != "ok":
            return _unscored(task, f"{why}; again: {done.measurement.reason}", busy + done.busy)
        return replace(done, busy=done.busy + busy)

    def _decode(self, task: Task) -> tuple[str, Timing, tuple[str, ...]]:
        """Digest of the reconstruction, which then lies in `self.pixels`, the time it took, and
        what had to be converted: see `Codec.decoded_notes`."""
        m = task.blank
        shape, pixel_digest, timing, notes = self.decoders.call(
            (task.codec, self.store.stream_path(m.key), self.pixels), self._limit(task)
        )
        if wrong := wrong_size(shape, m.width, m.height):
            raise CallFailed("failed", wrong, answered=True)
        return pixel_digest, timing, notes

    def _limit(self, task: Task) -> float:
        return self.time_limit or 600 + 30 * task.estimate

    def _score(self, task: Task, metrics: tuple[str, ...]) -> tuple[dict[str, MetricValue], float]:
        """The metrics and the seconds they took; reasons where the scorer itself fails."""
        try:
            return self.scorer.call((task.image, self.pixels, metrics), SCORE_LIMIT)
        except CallFailed as error:
            return _without_value(metrics, str(error)), 0.0

    def kill(self) -> None:
        for each in (self.encoders, self.decoders, self.scorer):
            each.kill()


def _without_value(metrics: Sequence[str], reason: str) -> dict[str, MetricValue]:
    """Metrics that could not be computed; without a version, so that the next run tries again."""
    return {name: MetricValue(None, "", reason) for name in metrics}


def _unscored(task: Task, reason: str, busy: float) -> Done:
    """A kept measurement as it was, without the metrics that were asked for."""
    m, scores = task.blank, _without_value(task.metrics, reason)
    return Done(task, replace(m, metrics={**m.metrics, **scores}), busy)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
