"""What was measured of a codec at one operating point on one image, and its key."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

from bench.metrics.base import MetricValue
from codecs.base import Codec, Point
from datasets.base import ImageRef

SCHEMA = 1
INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: wall clock, and CPU of the process and the programs it started."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Measurement:
    """One codec at one operating point on one image."""

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
    """What had to be converted to make of what the decoder wrote an image of 8-bit RGB."""
    host: str = ""
    time: str = ""
    sandbox: str = ""
    """What kept the codec from all but picture and stream (`bench.run.sandbox.KINDS`); empty where
    nothing did."""
    pack: str = ""
    """Digest of the pack that the stream and its encoding time come from; empty where it was
    encoded in this run."""
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
        """Whether the image came back to the last bit: PSNR over R, G and B is infinite.

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
            values = {name: value for name, value in raw.items() if name in _names()}
            values["metrics"] = {k: MetricValue(**v) for k, v in raw["metrics"].items()}
            for name in ("encode", "decode"):
                values[name] = raw[name] and Timing(**raw[name])
            values["tuned_for"] = tuple(raw["tuned_for"])
            values["notes"] = tuple(raw.get("notes", ()))
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a measurement: {error}") from error


@cache
def _names() -> frozenset[str]:
    return frozenset(f.name for f in fields(Measurement))


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


def digest(data: bytes | memoryview) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def now() -> str:
    """`2026-01-31T12:00:00Z`"""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
