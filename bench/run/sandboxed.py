"""Codecs at work in sandboxes, asked as those of `bench.run.processes` are.

Each sandbox has one process, which encodes or decodes as long as there is work.  It is handed
pictures and streams one at a time, and what comes out of it is read as nobody's: sizes, digests and
pictures are taken from the files outside.
"""

from __future__ import annotations

import errno
import io
import json
import os
import select
import shlex
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

import codecs.registry as registry
from bench.record.measurement import INTERRUPTED, Timing, digest
from bench.run.processes import START_LIMIT, CallFailed, CodecWorkers, Serving
from bench.run.sandbox import Sandbox
from bench.run.worker import DIAGNOSTICS_LIMIT, save, status_of
from codecs import fingerprint
from codecs.base import MAX_PIXELS, CodecError, Image, check_image
from datasets.base import DatasetError, ImageRef
from datasets.cache import write_atomically

REPLY_BYTES = 4 * DIAGNOSTICS_LIMIT
SHOWN = 3
"""Files that a sentence names."""
MOST_FILES = 200_000
"""Beside a codec's file; where there are more, none of them can be compared with a time."""
_START = "import sys; sys.path[:] = {path!r}; import bench.run.sandbox_worker as w; w.serve()"
_WRITABLE = (
    "in a sandbox it can write to its working directory, HOME and TMPDIR alone, which its decoder "
    "does not share"
)
_KILLED = (-9, -15, 128 + 9, 128 + 15)


@dataclass(frozen=True)
class Walls:
    """What the codecs of a run may not see, beside what no sandbox shows."""

    hidden: tuple[Path, ...] = ()
    """Files and folders: the pictures, and the run itself."""
    since: Mapping[str, float] = field(default_factory=dict)
    """What the user typed -> seconds since the epoch: files in the codec's folder that have changed
    since then are hidden, too."""

    @classmethod
    def around(
        cls, run: Path, images: Iterable[ImageRef], since: Mapping[str, float] | None = None
    ) -> Walls:
        """Those between the codecs of a run directory and its pictures."""
        return cls((run, *(image.path for image in images)), since or {})

    def hiding(self, codec: str) -> list[Path]:
        """What a codec may not see.  Raises `CodecError` where that cannot be told."""
        path, since = registry.file_of(codec), self.since.get(codec)
        if path is None or since is None:
            return list(self.hidden)
        return [*self.hidden, *newer(path.parent, since, {*self.hidden, *_named_by(path)})]


def newer(folder: Path, since: float, but: set[Path]) -> list[Path]:
    """Files in a folder, and folders of nothing else, that have changed since a time.

    The time that counts is the one that no program can set (`st_ctime`).  `but` are left out, and
    so is what Python and the harness consist of.  Raises `CodecError` for more than `MOST_FILES`.
    """
    root = Path(__file__).resolve().parents[2]
    own = {root / name for name in ("bench", "codecs", "datasets", "reports")}
    left = but | own | {Path(sys.prefix), Path(sys.base_prefix)}
    budget = [MOST_FILES]
    found, _ = _newer(folder, since, left, budget)
    return found


def _newer(
    folder: Path, since: float, but: set[Path], budget: list[int]
) -> tuple[list[Path], bool]:
    """What is newer in a folder, and whether that is all there is."""
    found, whole = [], True
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return [], False
    budget[0] -= len(entries)
    if budget[0] < 0:
        raise CodecError(
            "its folder has too many files to tell old from new: give it one of its own"
        )
    for entry in entries:
        path = Path(entry.path)
        if path in but:
            whole = False
        elif entry.is_dir(follow_symlinks=False):
            inside, all_of_it = _newer(path, since, but, budget)
            found += [path] if all_of_it and inside else inside
            whole = whole and all_of_it
        elif entry.stat(follow_symlinks=False).st_ctime >= since:
            found.append(path)
        else:
            whole = False
    return found, whole


class SandboxedCodecs(CodecWorkers):
    """The workers of one role: one sandbox for the built-in codecs, one for each codec that is
    somebody's file or package."""

    def __init__(self, role: str, walls: Walls, *, scratch: Path | None = None) -> None:
        self.walls = walls
        super().__init__(role, scratch=scratch)

    def describe(self, name: str, limit: float) -> dict[str, Any]:
        """What the process itself says of a codec: see `sandbox_worker.describe`."""
        worker = self._serving(name)
        assert isinstance(worker, SandboxedWorker)
        return worker.describe(name, limit)

    def left(self, codec: str) -> list[str]:
        """The files that a codec has left in its sandbox."""
        worker = self._serving(codec)
        assert isinstance(worker, SandboxedWorker)
        return worker.sandbox.left() if worker.sandbox else []

    def _made(self, codec: str | None) -> Serving:
        return SandboxedWorker(self.role, codec, self.walls, self.scratch)

    def _is_apart(self, codec: str) -> bool:
        return registry.file_of(codec) is not None or super()._is_apart(codec)


def codec_workers(role: str, walls: Walls | None, scratch: Path) -> CodecWorkers:
    """Workers of one role: in sandboxes where there are walls."""
    if walls is None:
        return CodecWorkers(role, scratch=scratch)
    return SandboxedCodecs(role, walls, scratch=scratch)


class SandboxedWorker:
    """A process that encodes or decodes in a sandbox; replaced when lost, as its sandbox is.

    `codec` is the one that it is for; None for those that come with the harness.
    """

    def __init__(self, role: str, codec: str | None, walls: Walls, scratch: Path | None) -> None:
        self.role, self.codec, self.walls, self.scratch = role, codec, walls, scratch
        self.sandbox: Sandbox | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.errors: IO[bytes] | None = None
        self.ready = self.closed = False
        self.starting = threading.Lock()
        self.busy = threading.Lock()
        self.picture: ImageRef | None = None

    def call(self, request: tuple[Any, ...], limit: float) -> Any:
        """As the role's class in `bench.run.worker` answers.  Raises `CallFailed`, after `limit`
        seconds at the latest."""
        answer = self._encode if self.role == "encode" else self._decode
        try:
            with self.busy:
                return answer(limit, *request)
        except (OSError, DatasetError, ValueError, TypeError) as error:
            raise CallFailed(status_of(error), f"{self.role}: {error}") from error

    def describe(self, name: str, limit: float) -> dict[str, Any]:
        with self.busy:
            found: dict[str, Any] = self._ask(limit, "describe", registry.absolute(name))
            return found

    def start(self) -> None:
        """Start the process unless it runs.  Raises `CallFailed`, and may be called again."""
        with self.starting:
            if self.closed:
                raise CallFailed("failed", "the run was stopped")
            if self.process is not None:
                return
            needed = needed_files(self.codec) if self.codec else []
            try:
                hidden = self.walls.hiding(self.codec or "")
            except CodecError as error:
                raise CallFailed("failed", str(error)) from error
            self.sandbox = Sandbox(needed, hidden=hidden, directory=self.scratch)
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sandbox
            program = _START.format(path=[os.path.abspath(folder) for folder in sys.path])
            argv = [sys.executable, "-P", "-c", program]
            self.process = self.sandbox.start(argv, stderr=self.errors)
            self.ready = False

    def kill(self) -> None:
        """End the process for good, whatever it is doing, and remove its sandbox."""
        self.closed = True
        with self.starting:
            if self.sandbox is not None:
                self.sandbox.kill()
        with self.busy:  # a call that waits has seen its end by now
            self._end()

    def _encode(
        self, limit: float, name: str, point: Any, original: ImageRef, to: Path, key: Any = None
    ) -> tuple[int, str, Timing, dict[str, Any]]:
        self.start()
        assert self.sandbox is not None
        picture, stream = self.sandbox.exchange / "picture", self.sandbox.exchange / "stream"
        if self.picture != original:
            _hand_in(picture, original.path.read_bytes())
            self.picture = original
        stream.unlink(missing_ok=True)
        facts = [str(picture), original.digest, original.width, original.height]
        arguments = registry.absolute(name), point.parameter, point.value, facts, str(stream), key
        *seconds, told = self._ask(limit, "encode", *arguments)
        data = _regular(stream)
        write_atomically(to, data, sync=False)
        return len(data), digest(data), _timing(seconds), dict(told)

    def _decode(
        self, limit: float, name: str, stream: Path, to: Path
    ) -> tuple[tuple[int, ...], str, Timing, tuple[str, ...]]:
        self.start()
        assert self.sandbox is not None
        handed, pixels = self.sandbox.exchange / "stream", self.sandbox.exchange / "pixels.npy"
        _hand_in(handed, stream.read_bytes())
        pixels.unlink(missing_ok=True)
        *seconds, notes = self._ask(
            limit, "decode", registry.absolute(name), str(handed), str(pixels)
        )
        image = _image(pixels)
        save(to, image)
        return image.shape, digest(image.data), _timing(seconds), tuple(map(str, notes))

    def _ask(self, limit: float, role: str, *arguments: Any) -> Any:
        self.start()
        try:
            if not self.ready:
                self._line(START_LIMIT)
                self.ready = True
            assert self.process is not None
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps([role, *arguments]).encode() + b"\n")
            self.process.stdin.flush()
            line = self._line(limit)
        except TimeoutError:
            self._end()
            raise CallFailed("failed", f"{role} took longer than {limit:.0f} s: stopped") from None
        except (OSError, EOFError):
            raise self._died(role) from None
        try:
            status, value = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            self._end()
            raise CallFailed("failed", f"the {role} process answered nonsense: {error}") from error
        if status != "ok":
            if os.strerror(errno.EROFS) in str(value):
                value = f"{value}; {_WRITABLE}"
            known = status if status in (INTERRUPTED, "unavailable") else "failed"
            raise CallFailed(known, str(value), answered=status == "failed")
        return value

    def _line(self, limit: float) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        descriptor, line, end = self.process.stdout.fileno(), b"", time.monotonic() + limit
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([descriptor], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            part = os.read(descriptor, 65536)
            if not part or len(line) > REPLY_BYTES:
                raise EOFError
            line += part
        return line

    def _died(self, role: str) -> CallFailed:
        """How the process ended, and the last line that it printed."""
        assert self.process is not None
        assert self.errors is not None
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - 2000))
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        self._end()
        number = -code if code < 0 else code - 128
        how = f"signal {number}" if 0 < number < 65 else f"exit status {code}"
        how = f"{how}: {said[-1]}" if said else how
        status = INTERRUPTED if code in _KILLED else "failed"
        return CallFailed(status, f"the {role} process died ({how})")

    def _end(self) -> None:
        with self.starting:
            if self.sandbox is not None:
                self.sandbox.close()
            if self.errors is not None:
                self.errors.close()
            self.sandbox = self.process = self.errors = self.picture = None


def needed_files(codec: str) -> list[Path]:
    """The files and folders that a codec named by its file may read: those beside it, and those
    that its command lines name."""
    path = registry.file_of(codec)
    return [] if path is None else [path.parent, *_named_by(path)]


def _named_by(path: Path) -> Iterator[Path]:
    """A codec's file, and the files that its command lines name."""
    yield path
    if path.suffix == ".toml":
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            for keys in (table, *table.get("variants", {}).values()):
                commands = [keys.get(key, "") for key in ("encode", "decode", "version")]
                words = [w for c in commands for w in (shlex.split(c) if isinstance(c, str) else c)]
                spelled = [word.replace("{here}", str(path.parent)) for word in words]
                yield from fingerprint.named_files(spelled)
                yield from fingerprint.named_files(str(path.parent / word) for word in spelled)
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # whoever makes the codec says what is wrong with it


def stream_alone(left: list[str]) -> str:
    """What a decoder had to do without, as the end of a sentence; `left` by the encoder."""
    text = "; it was given the stream and nothing else"
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        return f"{text}: what the encoder had left in {', '.join(left[:SHOWN])}{more} was not there"
    return f"{text}: no file, socket or memory of the encoder's, and no program that it had started"


def _hand_in(path: Path, data: bytes) -> None:
    """Write a file into a folder where a codec may have left a link."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(data)


def _regular(path: Path) -> bytes:
    """A file that a codec may have replaced: no link out of its sandbox is followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CallFailed("failed", f"{path.name} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > 4 * MAX_PIXELS:
            raise CallFailed("failed", f"{path.name} is no file, or is too large")
        return file.read()


def _image(path: Path) -> Image:
    """uint8[H, W, 3]."""
    try:
        image: Image = np.load(io.BytesIO(_regular(path)), allow_pickle=False)
        check_image(image)
    except (ValueError, EOFError, CodecError) as error:
        raise CallFailed("failed", f"{path.name} holds no picture: {error}") from error
    return np.ascontiguousarray(image)


def _timing(seconds: list[Any]) -> Timing:
    wall, cpu = (float(each) for each in seconds)
    return Timing(wall, cpu)


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
