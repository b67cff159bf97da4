"""Where tasks run: in lanes on this machine, as many as asked for.

Neither a call that is stopped nor a process that dies stops the other tasks.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.record.store import Store
from bench.run.lane import Done, Lane
from bench.run.plan import Task
from bench.run.sandboxed import Walls


def run_tasks(
    tasks: Sequence[Task],
    store: Store,
    *,
    jobs: int,
    time_limit: float | None = None,
    own_metrics: Mapping[str, str] | None = None,
    walls: Walls | None = None,
) -> Iterator[Done]:
    """Execute tasks in `jobs` lanes and yield each as it is done.

    `time_limit` bounds one encode or decode call in seconds; by default it grows with the
    codec's own estimate.  `own_metrics`: those from outside -> what creates each.  `walls`: what
    codecs may not see, in sandboxes; None for none.  Closing the iterator stops all work at once.
    """
    pending = _Pending(tasks)
    finished: queue.SimpleQueue[Done | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    with store.scratch() as scratch:
        lanes = [
            Lane(store, scratch / f"{i}.npy", jobs, time_limit, tasks[0], own_metrics or {}, walls)
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
    lane: Lane,
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
