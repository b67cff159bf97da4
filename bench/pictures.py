"""Kept streams back to pictures, for looking at: decoded as in a run, by processes that see
nothing but the stream, with a time limit, and compared with the digest that was measured."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.processes import CallFailed, CodecWorkers
from bench.store import Measurement, Store
from codecs.base import Image

Streams = Callable[[Measurement], Path | None]
"""Where the stream of a measurement lies; None where it was not kept as it was measured."""
LIMIT = 600.0
"""Seconds that decoding one stream may take."""


@dataclass(frozen=True)
class Decoded:
    """The picture of a measurement, or why it cannot be shown."""

    measurement: Measurement
    image: Image | None
    reason: str = ""


class Decoders:
    """Worker processes that turn kept streams into pictures; see `decoders`."""

    def __init__(self, streams: Streams, names: Mapping[str, str], lanes: list[_Lane]) -> None:
        self.streams = streams
        self.names = names
        self.free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for lane in lanes:
            self.free.put(lane)
        self.pool = ThreadPoolExecutor(len(lanes))

    def decode(self, measurements: Sequence[Measurement]) -> list[Decoded]:
        """All pictures of some measurements, side by side; bounded memory is up to the caller."""
        return list(self.pool.map(self._decode, measurements))

    def _decode(self, m: Measurement) -> Decoded:
        stream = self.streams(m)
        if stream is None:
            return Decoded(m, None, "the stream was not kept, or is not the one that was measured")
        lane = self.free.get()
        try:
            name = self.names.get(m.codec, m.codec)
            shape, digest, *_ = lane.worker.call((name, stream, lane.pixels), LIMIT)
            if shape != (m.height, m.width, 3) or digest != m.reconstruction_digest:
                return Decoded(m, None, "decodes to another picture than the one that was measured")
            return Decoded(m, np.load(lane.pixels, allow_pickle=False))
        except CallFailed as error:
            return Decoded(m, None, str(error))
        finally:
            self.free.put(lane)


@dataclass
class _Lane:
    worker: CodecWorkers
    pixels: Path


def kept(store: Store) -> Streams:
    """The streams of one run."""

    def find(m: Measurement) -> Path | None:
        return None if store.read_stream(m) is None else store.stream_path(m.key)

    return find


@contextmanager
def decoders(
    store: Store, names: Mapping[str, str], jobs: int, streams: Streams | None = None
) -> Iterator[Decoders]:
    """Processes that work in the run of `store`, on its streams unless others are given.

    `names` maps a codec's own name to what creates it here (a file, say); none: its own name.
    The processes start with the first picture and end with the context.  The caller holds the
    run's lock.
    """
    with store.scratch() as scratch:
        lanes = [
            _Lane(CodecWorkers("decode", scratch=scratch), scratch / f"{i}.npy")
            for i in range(jobs)
        ]
        pool = Decoders(streams or kept(store), names, lanes)
        try:
            yield pool
        finally:
            for lane in lanes:
                lane.worker.kill()
            pool.pool.shutdown(wait=True, cancel_futures=True)
