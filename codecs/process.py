"""Runs other programs within bounds of time, memory and output.

The program gets a process group of its own, which is killed as a whole when its time is up, when
it has ended (programs that it left behind) and when this process dies (see `_guard`).

Limits on memory and file size are set by a shell that then becomes the program: code between
fork and exec (`preexec_fn`) can deadlock in a process with threads, and limits set from outside
come too late on a busy machine.  The program's arguments are the shell's own, never its script.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from codecs.base import CodecUnavailable

TAIL_BYTES = 8192
"""How much of a program's output is kept: the end, where the reason for a failure is."""
FILE_BYTES = 1 << 28
"""The largest file (256 MiB) that a program may write, if nothing else is said."""


class ProcessError(Exception):
    """The program did not end well; the message names it and says how it ended."""


@dataclass(frozen=True, slots=True)
class Output:
    """The ends of what a program printed, without control characters."""

    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    seconds: float,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    memory: int | None = None,
    file_bytes: int = FILE_BYTES,
) -> Output:
    """Run `argv` to its end.

    `seconds` limits its wall time, `memory` its address space in bytes and `file_bytes` each file
    that it writes, printed output included.  Raises `ProcessError` for a limit passed or an exit
    status other than 0, `CodecUnavailable` where the program cannot be started.
    """
    name = os.path.basename(argv[0])
    _require_program(argv[0], directory, environment)
    # Files, not pipes: nothing blocks when a program prints more than anyone reads, and output
    # is bounded by the same limit as every other file.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        try:
            process = subprocess.Popen(
                [*_limited(memory, file_bytes), *argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise CodecUnavailable(f"cannot run {argv[0]}: {error.strerror or error}") from error
        with _guard(process.pid):
            timed_out = _finish(process, seconds)
        output = Output(_tail(stdout), _tail(stderr))
    if timed_out:
        raise ProcessError(f"{name} did not finish within {seconds:g} s and was killed")
    if process.returncode != 0:
        reason = _describe(process.returncode, file_bytes)
        said = "\n".join((output.stderr.strip() or output.stdout.strip()).splitlines()[-5:])
        raise ProcessError(f"{name} {reason}" + (f": {said}" if said else ""))
    return output


def _require_program(
    program: str, directory: Path | None, environment: Mapping[str, str] | None
) -> None:
    """Raise `CodecUnavailable` unless `program` can be started: a shell would only print it."""
    path = os.path.join(directory or "", program) if os.sep in program else program
    search = None if environment is None else environment.get("PATH", os.defpath)
    if shutil.which(path, path=search) is None:
        why = "is not executable" if os.path.exists(path) else "is not there"
        raise CodecUnavailable(f"cannot run {program}: it {why}")


def _limited(memory: int | None, file_bytes: int) -> list[str]:
    """The command that limits itself and becomes what follows it (POSIX units)."""
    script = f"ulimit -f {file_bytes // 512}"
    if memory is not None:
        script += f"; ulimit -v {memory // 1024}"
    return ["/bin/sh", "-c", script + '; exec "$@"', "sh"]


def _finish(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of the process and of its group.  Returns whether time ran out."""
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        _kill_group(process.pid)

    # A timer: `Popen.wait(timeout)` polls in steps of up to 50 ms, longer than a decoder runs.
    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    try:
        timer.start()
        # The leader is reaped only after its group was killed, so that no stranger can have got
        # the number of the group in between.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    finally:
        timer.cancel()
        _kill_group(process.pid)
        process.wait()
    return timed_out.is_set()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


@contextlib.contextmanager
def _guard(group: int) -> Iterator[None]:
    """Kill process group `group` should this process die first, by `kill -9` for example.

    The guard waits for the end of a pipe that only this process holds open; the kernel closes it
    however this process ends.
    """
    script = 'read -r _; kill -s KILL -- "-$1"'
    guard = subprocess.Popen(
        ["/bin/sh", "-c", script, "guard", str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.kill()
        guard.wait()
        assert guard.stdin is not None
        guard.stdin.close()


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    text = file.read(TAIL_BYTES).decode(errors="replace").replace("\r", "\n")
    return "".join(c for c in text if c.isprintable() or c == "\n")


def _describe(returncode: int, file_bytes: int) -> str:
    if returncode > 0:
        return f"ended with exit status {returncode}"
    if -returncode == signal.SIGXFSZ:
        return f"wrote more than {file_bytes >> 20} MiB and was killed"
    return f"was ended by signal {-returncode} ({signal.Signals(-returncode).name})"
