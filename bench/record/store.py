"""Measurements on disk: one JSON line each, append-only, keyed by what determines the result.

A run directory holds `measurements.jsonl` and `streams/`.  A line is written in one piece after
its stream is safely on disk, so a run may be killed at any moment: at worst the last line is cut
short, and such a line is passed over.  The newest line of a key counts, which is how an old
stream gets a new metric without being encoded again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.metrics.base import INFINITE
from codecs.base import Codec, Point
from datasets.base import ImageRef

SCHEMA = 1
INTERRUPTED = "interrupted"
SCRATCH = ".bench-scratch-"
"""How the names of folders for temporary files begin."""


class StoreError(Exception):
    """The run directory cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: wall clock, and CPU of the process and the programs it started."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class MetricValue:
    """A metric's value, or why there is none; stale when the metric's version changes."""

    value: float | None
    version: str
    reason: str = ""

    @property
    def is_infinite(self) -> bool:
        """Whether it is infinite, which JSON cannot hold."""
        return self.value is None and self.reason.startswith(INFINITE)


@dataclass(frozen=True)
class Measurement:
    """One codec at one operating point on one picture."""

    key: str
    status: str
    """`ok`, `failed`, `unavailable`, or `interrupted`: failed for a reason that passes, such as a
    full disk, and tried again by the next run."""
    codec: str
    label: str
    version: str
    settings: Mapping[str, str]
    parameter: str
    value: int | float | str
    dataset: str
    image: str
    image_digest: str
    width: int
    height: int
    reason: str = ""
    device: str = "cpu"
    command: str | None = None
    tuned_for: tuple[str, ...] = ()
    bytes: int | None = None
    stream_digest: str | None = None
    reconstruction_digest: str | None = None
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    rescored: Mapping[str, str] = field(default_factory=dict)
    """Metric -> digest of the reconstruction it was computed on later, where that differs a little
    from `reconstruction_digest`: see `bench.run.replay`."""
    encode: Timing | None = None
    decode: Timing | None = None
    jobs: int = 1
    """Measurements that ran side by side: timings are `alone` only when this is 1."""
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What had to be converted to make of what the decoder wrote a picture of 8-bit RGB."""
    host: str = ""
    time: str = ""
    schema: int = SCHEMA

    @property
    def bpp(self) -> float:
        """Bits per pixel of the complete file; NaN where there is none."""
        return math.nan if self.bytes is None else 8 * self.bytes / (self.width * self.height)

    @property
    def point(self) -> Point:
        return Point(self.parameter, self.value)

    @property
    def is_lossless(self) -> bool:
        """Whether the picture came back to the last bit: PSNR over R, G and B is infinite.

        False where PSNR was not measured.
        """
        return self.status == "ok" and "psnr" in self.metrics and self.metrics["psnr"].is_infinite

    def metric(self, name: str) -> float:
        """Value of a metric; NaN where it was not measured."""
        score = self.metrics.get(name)
        return math.nan if score is None or score.value is None else score.value

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Measurement:
        """Raises `ValueError` when the line is no measurement of this schema."""
        try:
            raw = json.loads(line)
            if raw["schema"] != SCHEMA:
                raise ValueError(f"schema {raw['schema']} is not {SCHEMA}")
            known = {f.name for f in fields(cls)}
            values = {name: value for name, value in raw.items() if name in known}
            values["metrics"] = {k: MetricValue(**v) for k, v in raw["metrics"].items()}
            for name in ("encode", "decode"):
                values[name] = raw[name] and Timing(**raw[name])
            values["tuned_for"] = tuple(raw["tuned_for"])
            values["notes"] = tuple(raw.get("notes", ()))
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a measurement: {error}") from error


def measurement_key(
    codec: str, version: str, settings: Mapping[str, str], point: Point, image_digest: str
) -> str:
    """Digest of everything that determines a stream and its reconstruction."""
    identity = [SCHEMA, codec, version, dict(settings), point.parameter, point.value, image_digest]
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def key_of(codec: Codec, point: Point, image: ImageRef) -> str:
    """The key under which a codec's result on an image is stored."""
    return measurement_key(codec.name, codec.version, codec.settings, point, image.digest)


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
        self.damaged = 0
        newest: dict[str, Measurement] = {}
        if self.path.exists():
            with open(self.path, encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        measurement = Measurement.from_json(line)
                    except ValueError:
                        self.damaged += bool(line.strip())
                    else:
                        newest[measurement.key] = measurement
        return iter(newest.values())

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

    def read_stream(self, measurement: Measurement) -> bytes | None:
        """The kept stream, or None when it is missing or not the one that was measured."""
        try:
            data = self.stream_path(measurement.key).read_bytes()
        except OSError:
            return None
        return data if digest(data) == measurement.stream_digest else None

    def kept(self, measurement: Measurement) -> Path | None:
        """Where the stream lies; None when it is missing or not the one that was measured."""
        whole = self.read_stream(measurement) is not None
        return self.stream_path(measurement.key) if whole else None

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


def digest(data: bytes | memoryview) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()
