"""Codecs at work in other processes: in plain ones for built-in codecs, in a sandbox for others.

Both kinds are asked the same: what a codec is, an image's stream, a stream's image.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from PIL import Image as PillowImage

import codecs.registry as registry
from bench.run.processes import CodecWorkers
from bench.run.sandboxed import SandboxedCodecs, Walls
from codecs.base import Image, Point
from datasets.base import ImageRef


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
    def left(self, name: str) -> list[str]:
        """Files left where a decoder could have found them, but for the sandbox."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class ProcessCodec:
    """A built-in codec in a worker process, which serves one codec after another."""

    def __init__(self, role: str, workers: CodecWorkers | None = None) -> None:
        # Not forked: what encodes and what decodes have nothing in common, not the seed of hashes.
        self.workers = workers or CodecWorkers(role, forked=False)
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
        image: Image = np.load(pixels, allow_pickle=False)
        return image

    def left(self, name: str) -> list[str]:
        return []

    def close(self) -> None:
        self.workers.kill()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It stays for the next codec; see `close`."""


class SandboxCodec(ProcessCodec):
    """Somebody's codec in a sandbox: nothing that it writes is there for the next one."""

    def __init__(self, role: str) -> None:
        self.boxed = SandboxedCodecs(role, Walls())
        super().__init__(role, self.boxed)

    def describe(self, name: str, limit: float) -> Description:
        raw = self.boxed.describe(name, limit)
        points = tuple(Point(parameter, value) for parameter, value in raw["points"])
        return Description(raw["version"], points, tuple(raw["tuned_for"]))

    def left(self, name: str) -> list[str]:
        return self.boxed.left(name)

    def __exit__(self, *_: object) -> None:
        self.close()


def _picture(folder: Path, image: Image) -> ImageRef:
    path = folder / "picture.png"
    PillowImage.fromarray(image).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageRef(path.name, path, digest, image.shape[1], image.shape[0])
