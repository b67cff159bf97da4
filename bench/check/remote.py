"""Codecs at work in other processes: in plain ones for built-in codecs, in a sandbox for others.

Both kinds are asked the same: what a codec is, an image's stream, a stream's image.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import shlex
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from PIL import Image as PillowImage

import codecs.registry as registry
from bench.check.sandbox import Sandbox
from bench.run.processes import START_LIMIT, CallFailed, CodecWorkers
from codecs import fingerprint
from codecs.base import MAX_PIXELS, Image, Point
from datasets.base import ImageRef

REPLY_BYTES = 1 << 20
_START = "import sys; sys.path[:] = {path!r}; import bench.check.sandboxed_worker as w; w.serve()"


@dataclass(frozen=True)
class Description:
    """What a check has to know of a codec."""

    version: str
    points: tuple[Point, ...]
    tuned_for: tuple[str, ...] = ()


class RemoteCodec(Protocol):
    """A process that encodes or decodes; each call raises `CallFailed` after `limit` seconds."""

    def describe(self, name: str, limit: float) -> Description: ...
    def encode(self, name: str, image: Image, point: Point, limit: float) -> bytes: ...
    def decode(self, name: str, data: bytes, limit: float) -> Image: ...
    def left(self) -> list[str]:
        """Files left where a decoder could have found them, but for the sandbox."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class ProcessCodec:
    """A built-in codec in a worker process, which serves one codec after another."""

    def __init__(self, role: str) -> None:
        self.workers = CodecWorkers(role)
        self.folder = tempfile.TemporaryDirectory()
        self.place = Path(self.folder.name)

    def describe(self, name: str, limit: float) -> Description:
        codec = registry.create(name)
        return Description(codec.version, codec.points, codec.tuned_for)

    def encode(self, name: str, image: Image, point: Point, limit: float) -> bytes:
        picture, stream = _picture(self.place, image), self.place / "stream"
        self.workers.call((name, point, picture, stream), limit)
        return stream.read_bytes()

    def decode(self, name: str, data: bytes, limit: float) -> Image:
        stream, pixels = self.place / "stream", self.place / "pixels.npy"
        stream.write_bytes(data)
        self.workers.call((name, stream, pixels), limit)
        return _pixels(pixels)

    def left(self) -> list[str]:
        return []

    def close(self) -> None:
        self.workers.kill()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It stays for the next codec; see `close`."""


class SandboxCodec:
    """Somebody's codec in a sandbox: nothing that it writes is there for the next one."""

    def __init__(self, codec: str) -> None:
        self.sandbox = Sandbox(needed_files(codec))
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sandbox
        self.process: subprocess.Popen[bytes] | None = None

    def describe(self, name: str, limit: float) -> Description:
        raw = self._call(limit, "describe", registry.absolute(name))
        points = tuple(Point(parameter, value) for parameter, value in raw["points"])
        return Description(raw["version"], points, tuple(raw["tuned_for"]))

    def encode(self, name: str, image: Image, point: Point, limit: float) -> bytes:
        ref, stream = _picture(self.sandbox.exchange, image), self.sandbox.exchange / "stream"
        picture = [str(ref.path), ref.digest, ref.width, ref.height]
        arguments = (registry.absolute(name), point.parameter, point.value, picture, str(stream))
        self._call(limit, "encode", *arguments)
        return _regular(stream)

    def decode(self, name: str, data: bytes, limit: float) -> Image:
        stream, pixels = self.sandbox.exchange / "stream", self.sandbox.exchange / "pixels.npy"
        stream.write_bytes(data)
        pixels.unlink(missing_ok=True)
        self._call(limit, "decode", registry.absolute(name), str(stream), str(pixels))
        return _pixels(pixels)

    def left(self) -> list[str]:
        return self.sandbox.left()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.close()
        self.errors.close()

    def _call(self, limit: float, role: str, *arguments: Any) -> Any:
        if self.process is None:
            program = _START.format(path=[os.path.abspath(folder) for folder in sys.path])
            argv = [sys.executable, "-P", "-c", program]
            self.process = self.sandbox.start(argv, stderr=self.errors)
            limit += START_LIMIT if role == "describe" else 0
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps([role, *arguments]).encode() + b"\n")
            self.process.stdin.flush()
            line = self._line(limit)
        except (BrokenPipeError, EOFError):
            raise CallFailed("failed", f"the {role} process died ({self._died()})") from None
        except TimeoutError:
            self._end()
            raise CallFailed("failed", f"{role} took longer than {limit:.0f} s: stopped") from None
        try:
            status, value = json.loads(line)
        except ValueError as error:
            self._end()
            raise CallFailed("failed", f"the {role} process answered nonsense: {error}") from error
        if status != "ok":
            raise CallFailed(str(status), str(value))
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

    def _died(self) -> str:
        """How the process ended, and the last line that it printed."""
        assert self.process is not None
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        self._end()
        size = self.errors.seek(0, os.SEEK_END)
        self.errors.seek(max(0, size - 2000))
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        signal_number = -code if code < 0 else code - 128
        how = f"signal {signal_number}" if 0 < signal_number < 65 else f"exit status {code}"
        return f"{how}: {said[-1]}" if said else how

    def _end(self) -> None:
        self.sandbox.end()
        self.process = None


def needed_files(codec: str) -> list[Path]:
    """The files and folders that a codec named by its file may read: those beside it, and those
    that its command lines name."""
    path = registry.file_of(codec)
    if path is None:
        return []
    found = [path, path.parent]
    if path.suffix == ".toml":
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            commands = [table.get(key, "") for key in ("encode", "decode", "version")]
            words = [w for c in commands for w in (shlex.split(c) if isinstance(c, str) else c)]
            found += fingerprint.named_files(words)
        except (OSError, ValueError, TypeError):
            pass  # whoever makes the codec says what is wrong with it
    return found


def _picture(folder: Path, image: Image) -> ImageRef:
    path = folder / "picture.png"
    PillowImage.fromarray(image).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageRef(path.name, path, digest, image.shape[1], image.shape[0])


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


def _pixels(path: Path) -> Image:
    """uint8[H, W, 3]."""
    try:
        image: Image = np.load(io.BytesIO(_regular(path)), allow_pickle=False)
    except ValueError as error:
        raise CallFailed("failed", f"{path.name} holds no picture: {error}") from error
    if image.dtype != np.uint8 or image.ndim != 3:
        raise CallFailed("failed", f"{path.name} holds no 8-bit RGB picture")
    return image
