"""Where tasks run: lanes of worker processes on this machine.

A lane is three processes (encode, decode, score; see `bench.worker`) of which one works at a
time, on one thread; there are as many lanes as cores.  A call that outlasts its limit ends with
its whole process tree; a process that dies is replaced.  Neither stops the other tasks.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import (
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from pathlib import Path
from typing import Any

from bench import worker
from bench.plan import Task
from bench.store import Measurement, MetricValue, Store, Timing

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Process = ForkServerProcess | SpawnProcess
Context = ForkServerContext | SpawnContext
START_LIMIT = 300.0
"""Seconds that a worker process may take to start."""
SCORE_LIMIT = 1800.0
"""Seconds after which computing metrics is given up."""


@dataclass(frozen=True)
class Done:
    """A finished task: the measurement to store, and the seconds codecs and metrics took."""

    task: Task
    measurement: Measurement
    busy: float


class CallFailed(Exception):
    """A worker's call did not succeed: `status` is `failed` or `unavailable`."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


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
        _Lane(store, scratch, i, jobs, time_limit, tasks[0].metrics)
        for i in range(min(jobs, len(tasks)))
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
    """Three workers that take one task at a time through encode, decode and score."""

    def __init__(
        self,
        store: Store,
        scratch: Path,
        number: int,
        jobs: int,
        time_limit: float | None,
        metrics: tuple[str, ...],
    ) -> None:
        self.store = store
        self.pixels = scratch / f"{number}.npy"
        self.jobs = jobs
        self.time_limit = time_limit
        self.workers = {
            "encode": Worker("encode", scratch=scratch),
            "decode": Worker("decode", scratch=scratch),
            "score": Worker("score", metrics, scratch=scratch),
        }

    def start(self) -> None:
        """Start all three side by side: the scorer takes longest, and is needed last."""
        threading.Thread(target=self._start_scorer, daemon=True).start()
        self.workers["encode"].start()
        self.workers["decode"].start()

    def _start_scorer(self) -> None:
        # A failure shows when the scorer is called, which tries again.
        with suppress(CallFailed, OSError, EOFError):
            self.workers["score"].start()

    def measure(self, task: Task) -> Done:
        """Encode, decode, score; or score a kept stream."""
        if not task.encode:
            return self._score_kept(task)
        m = replace(task.blank, jobs=self.jobs, host=os.uname().nodename, time=_now())
        stream = self.store.stream_path(m.key)
        busy = 0.0
        try:
            size, stream_digest, encode, diagnostics = self.workers["encode"].call(
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
            pixel_digest, decode = self._decode(task)
            busy += decode.wall
            m = replace(m, decode=decode, reconstruction_digest=pixel_digest)
        except CallFailed as error:
            m = replace(m, status=error.status, reason=str(error), metrics={})
            return Done(task, m, busy)
        scores, seconds = self._score(task)
        return Done(task, replace(m, metrics={**m.metrics, **scores}), busy + seconds)

    def _score_kept(self, task: Task) -> Done:
        """New metrics for a stream measured earlier; whatever happens, the old ones stay."""
        m = task.blank
        try:
            pixel_digest, decode = self._decode(task)
        except CallFailed as error:
            scores = _without_value(task.metrics, f"the kept stream cannot be decoded: {error}")
            return Done(task, replace(m, metrics={**m.metrics, **scores}), 0.0)
        if pixel_digest != m.reconstruction_digest and task.afresh is not None:
            # The decoder has changed without saying so: what was measured is out of date.
            done = self.measure(task.afresh)
            return replace(done, busy=done.busy + decode.wall)
        scores, seconds = self._score(task)
        return Done(task, replace(m, metrics={**m.metrics, **scores}), decode.wall + seconds)

    def _decode(self, task: Task) -> tuple[str, Timing]:
        """Digest of the reconstruction, which then lies in `self.pixels`, and the time it took."""
        m = task.blank
        shape, pixel_digest, timing = self.workers["decode"].call(
            (task.codec, self.store.stream_path(m.key), self.pixels), self._limit(task)
        )
        if shape != (m.height, m.width, 3):
            raise CallFailed("failed", f"decoded to {shape}, not {(m.height, m.width, 3)}")
        return pixel_digest, timing

    def _limit(self, task: Task) -> float:
        return self.time_limit or 600 + 30 * task.estimate

    def _score(self, task: Task) -> tuple[dict[str, MetricValue], float]:
        """The metrics and the seconds they took; reasons where the scorer itself fails."""
        try:
            return self.workers["score"].call((task.image, self.pixels, task.metrics), SCORE_LIMIT)
        except CallFailed as error:
            return _without_value(task.metrics, str(error)), 0.0

    def kill(self) -> None:
        for each in self.workers.values():
            each.kill()


def _without_value(metrics: Sequence[str], reason: str) -> dict[str, MetricValue]:
    """Metrics that could not be computed; without a version, so that the next run tries again."""
    return {name: MetricValue(None, "", reason) for name in metrics}


class Worker:
    """A process that answers one request at a time; replaced when lost.

    `arguments` are those of the role's class in `bench.worker`.  Temporary files go to `scratch`:
    nothing that a worker leaves behind outlives the next run.
    """

    def __init__(self, role: str, *arguments: Any, scratch: Path | None = None) -> None:
        self.role = role
        self.arguments = arguments
        self.scratch = scratch
        self.ready = False
        self.lock = threading.Lock()
        self.process: Process | None = None
        self.connection: Connection | None = None
        self.closed = False

    def call(self, request: tuple[Any, ...], limit: float) -> Any:
        """The answer.  Raises `CallFailed`, after `limit` seconds at the latest."""
        try:
            connection = self._await_ready()
            connection.send(request)
            if not connection.poll(limit):
                self._end()
                raise CallFailed("failed", f"{self.role} took longer than {limit:.0f} s: stopped")
            status, value = connection.recv()
        except (EOFError, OSError) as error:
            exit_code = self._end()
            raise CallFailed(
                "failed", f"the {self.role} process died ({_exit_reason(exit_code)})"
            ) from error
        if status != "ok":
            raise CallFailed(status, value)
        return value

    def kill(self) -> None:
        """End the process for good, whatever it is doing."""
        self.closed = True
        self._end()

    def start(self) -> Connection:
        """Start the process unless it runs.  Raises `CallFailed`, and may be called again."""
        with self.lock:
            if self.closed:
                raise CallFailed("failed", "the run was stopped")
            if self.connection is None:
                os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
                try:
                    self.process, self.connection = self._started(_context(self.arguments))
                except (OSError, EOFError):
                    # The fork server is a matter of speed; its socket, say, may not get a path.
                    spawn = multiprocessing.get_context("spawn")
                    self.process, self.connection = self._started(spawn)
                self.ready = False
            return self.connection

    def _started(self, context: Context) -> tuple[Process, Connection]:
        environment = dict(os.environ)
        if self.scratch is not None:
            environment["TMPDIR"] = str(self.scratch)
        ours, theirs = context.Pipe()
        try:
            arguments = (theirs, environment, self.role, self.arguments)
            process = context.Process(target=worker.serve, args=arguments)
            # Ctrl-C is for us: a fork server that is just loading would die of it, and complain.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours

    def _await_ready(self) -> Connection:
        connection = self.start()
        if not self.ready:
            if not connection.poll(START_LIMIT):
                raise OSError(f"no answer within {START_LIMIT:.0f} s of its start")
            connection.recv()
            self.ready = True
        return connection

    def _end(self) -> int | None:
        with self.lock:
            process, self.process = self.process, None
            connection, self.connection = self.connection, None
        if process is None or process.pid is None:
            return None
        for pid in (*_session_members(process.pid), process.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.join()
        if connection:
            connection.close()
        return process.exitcode


def _context(arguments: tuple[Any, ...]) -> Context:
    """How a worker is made.  Scorers that need PyTorch are forked from a process that has it loaded
    and has seen no picture, since each by itself would take seconds to load it."""
    metrics = arguments[0] if arguments else ()
    if not any(name.startswith("lpips") for name in metrics):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.worker", "bench.metrics", "torch"])
    return context


def _session_members(session: int) -> list[int]:
    """Processes of the session that a worker leads (Linux)."""
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            # pid (name) state ppid pgrp session ...: the name may hold spaces and brackets.
            if int(entry.read_text().rsplit(")", 1)[1].split()[3]) == session:
                members.append(int(entry.parent.name))
    return members


def _exit_reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}, out of memory?" if name == "SIGKILL" else name
    return f"exit status {exit_code}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
