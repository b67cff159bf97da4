"""Worker processes as the harness sees them: started, asked one thing at a time, ended.

Python code of other people's gets processes of its own: whatever it changes in them (settings of
numpy and torch, random generators, the environment, modules it patches) reaches no other codec.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import (
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from pathlib import Path
from typing import Any, Protocol

import codecs.registry as registry
from bench.metrics import uses_torch
from bench.record.measurement import INTERRUPTED
from bench.run import worker

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Process = ForkServerProcess | SpawnProcess
Context = ForkServerContext | SpawnContext
START_LIMIT = 300.0
"""Seconds that a worker process may take to start."""
_ENVIRONMENT = threading.Lock()
"""Held while the environment is what only the fork server is to see."""
FOREIGN_PROCESSES = 4
"""Processes of other people's codecs that are kept for one role of a lane: a bound on memory."""


class CallFailed(Exception):
    """A worker's call did not succeed; `status` as in `bench.record.measurement.Measurement`.

    `answered`: the codec itself has failed, rather than its process been lost or stopped.
    """

    def __init__(self, status: str, reason: str, *, answered: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.answered = answered


class Serving(Protocol):
    """A process that answers one request at a time."""

    def call(self, request: tuple[Any, ...], limit: float) -> Any: ...
    def start(self) -> object: ...
    def kill(self) -> None: ...


class CodecWorkers:
    """The workers of one role (`encode` or `decode`): which of them serves which codec.

    One process serves the built-in codecs and command lines, which run in processes anyway; each
    codec in Python from outside has its own.  All of them start when they are first needed.
    `bench.run.sandboxed` has those that work in sandboxes.
    """

    def __init__(self, role: str, *, scratch: Path | None = None, forked: bool = True) -> None:
        self.role = role
        self.scratch = scratch
        self.forked = forked
        self.shared = self._made(None)
        self.foreign: OrderedDict[str, Serving] = OrderedDict()
        self.lock = threading.Lock()
        self.closed = False

    def call(self, request: tuple[Any, ...], limit: float) -> Any:
        """The answer to a request that begins with a codec's name.  Raises `CallFailed`."""
        return self._serving(request[0]).call(request, limit)

    def start(self, codec: str) -> None:
        """Start the process that serves a codec, ahead of its first request."""
        self._serving(codec).start()

    def kill(self) -> None:
        """End all processes for good, whatever they are doing."""
        with self.lock:
            self.closed = True
            workers = [self.shared, *self.foreign.values()]
        for each in workers:
            each.kill()

    def _made(self, codec: str | None) -> Serving:
        """A worker for one codec from outside, or for all that share one."""
        return Worker(self.role, scratch=self.scratch, forked=self.forked and codec is None)

    def _is_apart(self, codec: str) -> bool:
        return registry.is_foreign_code(codec)

    def _serving(self, codec: str) -> Serving:
        if not self._is_apart(codec):
            return self.shared
        retired = None
        with self.lock:
            if self.closed:
                raise CallFailed("failed", "the run was stopped")
            if codec not in self.foreign:
                if len(self.foreign) == FOREIGN_PROCESSES:
                    _, retired = self.foreign.popitem(last=False)
                self.foreign[codec] = self._made(codec)
            self.foreign.move_to_end(codec)
            serving = self.foreign[codec]
        if retired is not None:
            retired.kill()
        return serving


class Worker:
    """A process that answers one request at a time; replaced when lost.

    `arguments` are those of the role's class in `worker`.  Temporary files go to `scratch`:
    nothing that a worker leaves behind outlives the next run.  Other people's code is not to be
    `forked`: with the seed of hashes, say, in common with its encoder, a decoder could read here
    what it can read nowhere else.
    """

    def __init__(
        self, role: str, *arguments: Any, scratch: Path | None = None, forked: bool = True
    ) -> None:
        self.role = role
        self.arguments = arguments
        self.scratch = scratch
        self.forked = forked
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
            if self.process is not None:
                self.process.join(1)  # it may be about to end by itself, and then says how
            exit_code = self._end()
            # Nothing in a worker kills itself so: the system, or somebody, did.
            killed = exit_code in (-signal.SIGKILL, -signal.SIGTERM)
            raise CallFailed(
                INTERRUPTED if killed else "failed",
                f"the {self.role} process died ({_exit_reason(exit_code)})",
            ) from error
        if status != "ok":
            raise CallFailed(status, value, answered=status == "failed")
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
                self.process, self.connection = self._forked() or self._started(
                    multiprocessing.get_context("spawn")
                )
                self.ready = False
            return self.connection

    def _forked(self) -> tuple[Process, Connection] | None:
        """None where it is not to be, or cannot: a fork server is a matter of speed, and its
        socket, say, may not get a path."""
        if not self.forked:
            return None
        try:
            prepare(self.arguments[0] if self.arguments else ())
            return self._started(multiprocessing.get_context("forkserver"))
        except (OSError, EOFError):
            return None

    def _started(self, context: Context) -> tuple[Process, Connection]:
        with _ENVIRONMENT:
            environment = dict(os.environ)
        if self.scratch is not None:
            environment["TMPDIR"] = str(self.scratch)
        ours, theirs = context.Pipe()
        try:
            arguments = (theirs, environment, self.role, self.arguments)
            process = context.Process(target=worker.serve, args=arguments)
            with _ctrl_c_is_for_us():
                process.start()
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
                self._end()
                reason = f"{self.role}: no answer within {START_LIMIT:.0f} s of its start"
                raise CallFailed("failed", reason)
            connection.recv()
            self.ready = True
        return connection

    def _end(self) -> int | None:
        with self.lock:
            process, self.process = self.process, None
            connection, self.connection = self.connection, None
        if process is None or process.pid is None:
            return None
        for pid in (*session_members(process.pid), process.pid):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.join()
        if connection:
            connection.close()
        return process.exitcode


def prepare(metrics: Iterable[str]) -> None:
    """Start the process that workers are forked from, unless it runs.  Raises `OSError`.

    It has seen no image.  It has PyTorch loaded where `metrics` need that, or codecs, which have
    loaded it here: each worker by itself would take seconds to.  So whoever starts workers of
    several kinds side by side calls this first.
    """
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    torch = ["torch"] if uses_torch(metrics) or "torch" in sys.modules else []
    forkserver.set_forkserver_preload(["bench.run.worker", "bench.metrics", *torch])
    with _ctrl_c_is_for_us(), _our_search_path():
        forkserver.ensure_running()


@contextmanager
def _our_search_path() -> Iterator[None]:
    """For the fork server, which would look for modules in the working directory first."""
    folders = os.pathsep.join(map(os.path.abspath, sys.path))
    ours = {"PYTHONPATH": folders, "PYTHONSAFEPATH": "1"}
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                del os.environ[name]
                if value is not None:
                    os.environ[name] = value


@contextmanager
def _ctrl_c_is_for_us() -> Iterator[None]:
    """A fork server that is just loading would die of it, and complain."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def session_members(session: int) -> list[int]:
    """Processes of the session that a worker leads (Linux), without those that have ended."""
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            # pid (name) state ppid pgrp session ...: the name may hold spaces and brackets.
            state, _, _, leader = entry.read_text().rsplit(")", 1)[1].split()[:4]
            if int(leader) == session and state != "Z":
                members.append(int(entry.parent.name))
    return members


def _exit_reason(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}, out of memory?" if name == "SIGKILL" else name
    return f"exit status {exit_code}"
