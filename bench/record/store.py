"""Measurements and streams on disk: one JSON line each, append-only.

A run directory holds `measurements.jsonl` and `streams/`.  A line is written in one piece after
its stream is safely on disk, so a run may be killed at any moment: at worst the last line is cut
short, and such a line is passed over.  The newest line of a key counts, which is how an old
stream gets a new metric without being encoded again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.record.measurement import Measurement, digest

SCRATCH = ".bench-scratch-"
"""How the names of folders for temporary files begin."""


class StoreError(Exception):
    """The run directory cannot be used; the message says why and what to do."""


Streams = Callable[[Measurement], Path | None]
"""Where the stream of a measurement lies; None where it was not kept as it was measured."""


class Store:
    """The measurements and streams of one run directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "measurements.jsonl"
        self.damaged = 0
        """Lines that could not be read: a cut-off last line, or a file edited by hand."""

    def __iter__(self) -> Iterator[Measurement]:
        """The newest measurement of each key, in order of first appearance."""
        return iter({measurement.key: measurement for measurement in self.history()}.values())

    def history(self) -> Iterator[Measurement]:
        """All measurements ever stored, the oldest first."""
        self.damaged = 0
        if self.path.exists():
            with open(self.path, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        measurement = Measurement.from_json(line)
                    except ValueError:
                        self.damaged += bool(line.strip())
                    else:
                        yield measurement

    def append(self, measurement: Measurement) -> None:
        """Add a line, in one write, starting afresh after a line that was cut short."""
        # A reason may name a file whose name is no UTF-8: JSON has escapes for such bytes.
        line = measurement.to_json().encode(errors="backslashreplace") + b"\n"
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line
                whole = os.write(descriptor, line) == len(line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written ({error.strerror}): free some space, then run the "
                "same command again: it goes on where it stopped"
            ) from error
        if not whole:
            raise StoreError(f"{self.path}: disk full? a line was cut short; free some space")

    def stream_path(self, key: str) -> Path:
        return self.directory / "streams" / f"{key}.bin"

    def kept(self, measurement: Measurement) -> Path | None:
        """Where the stream lies; None when it is missing or not the one that was measured."""
        path = self.stream_path(measurement.key)
        try:
            whole = digest(path.read_bytes()) == measurement.stream_digest
        except OSError:
            return None
        return path if whole else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory; a second run in it is refused.  The lock dies with us."""
        try:
            (self.directory / "streams").mkdir(parents=True, exist_ok=True)
            handle = open(self.directory / ".lock", "w")  # noqa: SIM115 - held until the end
        except OSError as error:
            raise StoreError(
                f"cannot write to the run directory {self.directory}: {error.strerror}; "
                "choose another with --run DIR"
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"another run is using {self.directory}; wait for it or choose --run DIR"
                ) from error
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder for temporary files; those that killed runs left are removed."""
        for left in self.directory.glob(f"{SCRATCH}*"):
            if not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.directory)).resolve()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
