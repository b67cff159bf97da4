"""Kept streams back to pictures, for looking at: decoded as in a run, by processes that see
nothing but the stream, with a time limit, and compared with the digest that was measured."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.executors import CallFailed, Worker
from bench.store import Measurement, Store
from codecs.base import Image

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

    def __init__(self, store: Store, names: Mapping[str, str], lanes: list[_Lane]) -> None:
        self.store = store
        self.names = names
        self.free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for lane in lanes:
            self.free.put(lane)
        self.pool = ThreadPoolExecutor(len(lanes))

    def decode(self, measurements: Sequence[Measurement]) -> list[Decoded]:
        """All pictures of some measurements, side by side; bounded memory is up to the caller."""
        return list(self.pool.map(self._decode, measurements))

    def _decode(self, m: Measurement) -> Decoded:
        if self.store.read_stream(m) is None:
            return Decoded(m, None, "the stream was not kept, or is not the one that was measured")
        lane = self.free.get()
        try:
            name = self.names.get(m.codec, m.codec)
            request = (name, self.store.stream_path(m.key), lane.pixels)
            shape, digest, _ = lane.worker.call(request, LIMIT)
            if shape != (m.height, m.width, 3) or digest != m.reconstruction_digest:
                return Decoded(m, None, "decodes to another picture than the one that was measured")
            return Decoded(m, np.load(lane.pixels, allow_pickle=False))
        except CallFailed as error:
            return Decoded(m, None, str(error))
        finally:
            self.free.put(lane)


@dataclass
class _Lane:
    worker: Worker
    pixels: Path


@contextmanager
def decoders(store: Store, names: Mapping[str, str], jobs: int) -> Iterator[Decoders]:
    """`names` maps a codec's own name to what creates it here (a file, say); none: its own name.

    The processes start with the first picture and end with the context.  The caller holds the
    run's lock.
    """
    with store.scratch() as scratch:
        lanes = [
            _Lane(Worker("decode", scratch=scratch), scratch / f"{i}.npy") for i in range(jobs)
        ]
        pool = Decoders(store, names, lanes)
        try:
            yield pool
        finally:
            for lane in lanes:
                lane.worker.kill()
            pool.pool.shutdown(wait=True, cancel_futures=True)
