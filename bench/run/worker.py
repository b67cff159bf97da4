"""What runs inside the processes of a lane: encoding, decoding, scoring; and sizing, before.

Each role is a process of its own.  The encoder sees the photograph and writes the stream; the
decoder sees nothing but the stream; the scorer sees both images.  A reply is plain data.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

import codecs.registry as registry
from bench.metrics.base import MetricValue
from bench.record.measurement import INTERRUPTED, Timing, digest, key_of
from codecs.base import (
    Codec,
    CodecError,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    Trials,
    check_image,
)
from datasets.base import DatasetError, ImageRef
from datasets.cache import write_atomically

T = TypeVar("T")

PREPARED_BYTES = 1 << 30
"""Reference features that a scorer keeps (always those of the newest image)."""
KEPT_PIXELS = 1 << 25
"""Of pictures that a sizer keeps with what was found out about them, about 1 GiB at most."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
DIAGNOSTICS_LIMIT = 1 << 20
"""Characters of JSON that a codec may tell about one stream."""


def serve(
    connection: Connection, environment: dict[str, str], role: str, arguments: tuple[Any, ...]
) -> None:
    """Answer requests until the harness goes away.

    The environment is the harness's: the process that this one was forked from has an older one.
    The process leads a session of its own, so that a time limit can end it together with every
    program it has started.  It says `ready` once it is.  A reply is ("ok", value),
    ("failed", why) or ("unavailable", why).
    """
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    np.random.seed()  # numpy's own generator is at the same place in all that are forked
    threading.Thread(target=_die_with_parent, daemon=True).start()
    roles: dict[str, Callable[..., Callable[..., Any]]] = {
        "encode": Encoder,
        "decode": Decoder,
        "size": Sizer,
        "score": Scorer,
    }
    handle = roles[role](*arguments)
    # When the harness is gone, nobody is there to answer, nor to be told.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send("ready")
        while True:
            connection.send(reply(handle, connection.recv(), role))


def reply(handle: Callable[..., Any], request: tuple[Any, ...], role: str) -> tuple[str, Any]:
    """What `handle` makes of a request, or why it could not: see `serve`."""
    try:
        return "ok", handle(*request)
    except CodecUnavailable as error:
        return "unavailable", str(error)
    except (CodecError, DatasetError) as error:
        return status_of(error), str(error)
    except MemoryError:
        return INTERRUPTED, f"out of memory in {role}"
    except Exception as error:
        # Anything may come out of other people's codecs; the run goes on.
        return status_of(error), f"{role} raised {type(error).__name__}: {error}"[:2000]


def status_of(error: BaseException) -> str:
    """Whether a failure is of the codec, or of a machine that had no room just then."""
    cause: BaseException | None = error
    while cause is not None:
        full = isinstance(cause, OSError) and cause.errno in _NO_ROOM
        # Programs tell in words.
        if full or isinstance(cause, MemoryError) or os.strerror(errno.ENOSPC) in str(cause):
            return INTERRUPTED
        cause = cause.__cause__
    return "failed"


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


class Encoder:
    """Photograph -> stream on disk."""

    def __init__(self) -> None:
        self.codecs = _CodecCache()
        self.warm: set[str] = set()
        self.loaded: tuple[ImageRef, Image] | None = None

    def __call__(
        self,
        name: str,
        point: Point,
        original: ImageRef,
        stream_path: Path,
        key: str | None = None,
    ) -> tuple[int, str, Timing, dict[str, Any]]:
        """Returns the stream's size and digest, the time it took, and diagnostics.

        `key` is what the result will be filed under, refused if the codec has changed since.
        """
        from datasets.loading import load_ref

        codec = self.codecs[name]
        if key is not None and key_of(codec, point, original) != key:
            raise CodecUnavailable(
                f"{name} is another version here than the run was planned with: run again"
            )
        if self.loaded is None or self.loaded[0] != original:
            self.loaded = (original, load_ref(original))
        image = self.loaded[1]
        # Codecs may work in place, so each call gets an image of its own: this one stays.
        image.setflags(write=False)
        if codec.warm_up and name not in self.warm:
            # So small a picture may be none that can be coded, to a rate above all.
            with suppress(EncodeError):
                codec.encode(image[:64, :64].copy(), point)
            self.warm.add(name)
        own = image.copy()
        data, timing = _timed(lambda: codec.encode(own, point))
        if not isinstance(data, bytes) or not data:
            raise CodecError(f"{name} returned no bytes")
        # A stream that a power cut has damaged is found by its digest and coded again.
        write_atomically(stream_path, data, sync=False)
        return len(data), digest(data), timing, _diagnostics(codec, image.copy(), data)


class Sizer:
    """Photograph -> bytes of its file, at one point after another."""

    def __init__(self) -> None:
        self.codecs = _CodecCache()
        self.trials: dict[tuple[str, ImageRef], Trials] = {}
        self.pixels = 0

    def __call__(self, name: str, point: Point, original: ImageRef, coded: bool) -> float:
        """Bytes, of the file where `coded`, otherwise as a codec that `estimates` tells them."""
        trials = self.trials.get((name, original)) or self._begin(name, original)
        return float(len(trials.encode(point)) if coded else trials.size(point))

    def _begin(self, name: str, original: ImageRef) -> Trials:
        """Kept while there is room: whoever asks goes through all pictures time and again."""
        from datasets.loading import load_ref

        trials = self.codecs[name].trials(load_ref(original))
        pixels = original.width * original.height
        if self.pixels + pixels <= KEPT_PIXELS:
            self.pixels += pixels
            self.trials[name, original] = trials
        return trials


class Decoder:
    """Stream on disk -> pixels on disk, in a process that never sees the photograph."""

    def __init__(self) -> None:
        self.codecs = _CodecCache(encoding=False)
        self.warm: set[str] = set()

    def __call__(
        self, name: str, stream_path: Path, pixel_path: Path
    ) -> tuple[tuple[int, ...], str, Timing, tuple[str, ...]]:
        """Returns shape and digest of the reconstruction, the time it took, and what had to be
        converted to make it an 8-bit RGB image."""
        codec = self.codecs[name]
        data = stream_path.read_bytes()
        if codec.warm_up and name not in self.warm:
            codec.decode(data)
            self.warm.add(name)
        image, timing = _timed(lambda: codec.decode(data))
        check_image(image)
        image = np.array(image, order="C")  # what is saved and digested is no buffer of the codec's
        save(pixel_path, image)
        return image.shape, digest(image.data), timing, codec.decoded_notes


class Scorer:
    """Original and reconstruction -> metric values."""

    def __init__(self, metrics: tuple[str, ...] = ()) -> None:
        self.engines: dict[tuple[str, ...], Any] = {}
        self._warm_up(metrics)
        self.prepared: OrderedDict[tuple[ImageRef, tuple[str, ...]], Any] = OrderedDict()

    def __call__(
        self, original: ImageRef, pixel_path: Path, metrics: tuple[str, ...]
    ) -> tuple[dict[str, MetricValue], float]:
        """Returns the scores and the seconds they took."""
        from bench.metrics import MetricsEngine
        from datasets.loading import load_ref

        if metrics not in self.engines:
            self.engines[metrics] = MetricsEngine(metrics)
        engine = self.engines[metrics]
        start = time.perf_counter()
        key = (original, metrics)
        if key not in self.prepared:
            self.prepared[key] = engine.prepare(load_ref(original))
            while len(self.prepared) > 1 and self._bytes() > PREPARED_BYTES:
                self.prepared.popitem(last=False)
        self.prepared.move_to_end(key)
        scores = engine.score(self.prepared[key], np.load(pixel_path, allow_pickle=False))
        return scores, time.perf_counter() - start

    def _warm_up(self, metrics: tuple[str, ...]) -> None:
        """Load libraries and weights before there is anything to score."""
        from bench.metrics import MetricsEngine

        engine = self.engines[metrics] = MetricsEngine(metrics)
        grey = np.full((192, 192, 3), 128, np.uint8)
        engine.score(engine.prepare(grey), grey)

    def _bytes(self) -> int:
        return sum(prepared.nbytes for prepared in self.prepared.values())


def save(path: Path, image: Image) -> None:
    """Write into the file of the image before: 20 times as fast as into a new one."""
    path.touch()
    with open(path, "r+b") as file:
        np.save(file, image)
        file.truncate()


def _diagnostics(codec: Codec, image: Image, data: bytes) -> dict[str, Any]:
    """What the codec tells of a stream, as plain JSON; an `error` where that cannot be had."""
    try:
        text = json.dumps(dict(codec.diagnostics(image, data)), allow_nan=False)
        if len(text) > DIAGNOSTICS_LIMIT:
            raise ValueError(f"{len(text)} characters are more than {DIAGNOSTICS_LIMIT}")
    except Exception as error:  # a report's extra must not cost a measurement
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    plain: dict[str, Any] = json.loads(text)
    return plain


class _CodecCache(dict[str, Codec]):
    def __init__(self, *, encoding: bool = True) -> None:
        self.encoding = encoding

    def __missing__(self, name: str) -> Codec:
        self[name] = codec = registry.create(name, encoding=self.encoding)
        return codec


def _timed(call: Callable[[], T]) -> tuple[T, Timing]:
    cpu, wall = _cpu_seconds(), time.perf_counter()
    result = call()
    return result, Timing(time.perf_counter() - wall, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """CPU time of this process and of the finished programs it started."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
