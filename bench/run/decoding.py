"""Kept streams back to images, for looking at: decoded as in a run, by processes that see
nothing but the stream, with a time limit, and compared with what was measured."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.metrics.base import MetricValue
from bench.record.measurement import Measurement
from bench.record.store import Store, Streams
from bench.run.lane import SCORE_LIMIT
from bench.run.processes import CallFailed, CodecWorkers, Worker
from bench.run.replay import is_reproduced, same_image
from bench.run.sandboxed import Walls, codec_workers
from codecs.base import Image, wrong_size
from datasets.base import ImageRef

LIMIT = 600.0
"""Seconds that decoding one stream may take."""


@dataclass(frozen=True)
class Decoded:
    """The image of a measurement, or why it cannot be shown."""

    measurement: Measurement
    image: Image | None
    reason: str = ""
    exact: bool = True
    """False for an image that differs a little from the measured one: see `bench.run.replay`."""
    unavailable: bool = False
    """Whether there is no image because the codec cannot run here."""
    size: int | None = None
    """Bytes of the stream."""
    scores: Mapping[str, MetricValue] = field(default_factory=dict)
    """Of the metrics that were asked for, where the image is the measured one."""


class Decoders:
    """Worker processes that turn kept streams into images; see `decoders`."""

    def __init__(self, streams: Streams, names: Mapping[str, str], lanes: list[_Place]) -> None:
        self.streams = streams
        self.names = names
        self.free: queue.SimpleQueue[_Place] = queue.SimpleQueue()
        for lane in lanes:
            self.free.put(lane)
        self.pool = ThreadPoolExecutor(len(lanes))

    def decode(
        self,
        measurements: Sequence[Measurement],
        originals: Mapping[str, ImageRef] | None = None,
        rescore: Mapping[str, tuple[str, ...]] | None = None,
    ) -> list[Decoded]:
        """All images of some measurements, side by side; bounded memory is up to the caller.

        `originals` by image digest: without one, only the very image that was measured counts.
        `rescore`: key of a measurement -> metrics to compute anew, which needs an original.
        """
        found, wanted = originals or {}, rescore or {}

        def one(m: Measurement) -> Decoded:
            return self._decode(m, found.get(m.image_digest), wanted.get(m.key, ()))

        return list(self.pool.map(one, measurements))

    def _decode(
        self, m: Measurement, original: ImageRef | None, metrics: tuple[str, ...]
    ) -> Decoded:
        stream = self.streams(m)
        if stream is None:
            return Decoded(m, None, "the stream was not kept, or is not the one that was measured")
        lane = self.free.get()
        try:
            name = self.names.get(m.codec, m.codec)
            shape, digest, *_ = lane.worker.call((name, stream, lane.pixels), LIMIT)
            if wrong := wrong_size(shape, m.width, m.height):
                return Decoded(m, None, wrong)
            exact = same_image(m, digest)
            if not (exact or _is_near(m, original, lane)):
                return Decoded(m, None, "decodes to another picture than the one that was measured")
            image = np.load(lane.pixels, allow_pickle=False)
            scores = _scores(lane, original, metrics) if exact and original and metrics else {}
            size = stream.stat().st_size
            return Decoded(m, image, exact=exact, size=size, scores=scores)
        except CallFailed as error:
            return Decoded(m, None, str(error), unavailable=error.status == "unavailable")
        finally:
            self.free.put(lane)


@dataclass
class _Place:
    worker: CodecWorkers
    scorer: Worker
    """Started with the first image that is not the measured one to the sample."""
    pixels: Path


def _is_near(m: Measurement, original: ImageRef | None, lane: _Place) -> bool:
    """Whether what lies in the lane has the scores of `m`.  Raises `CallFailed`."""
    return original is not None and is_reproduced(m, lambda names: _scores(lane, original, names))


def _scores(
    lane: _Place, original: ImageRef, metrics: tuple[str, ...]
) -> Mapping[str, MetricValue]:
    """Of what lies in the lane.  Raises `CallFailed`."""
    scores: Mapping[str, MetricValue]
    scores, _ = lane.scorer.call((original, lane.pixels, metrics), SCORE_LIMIT)
    return scores


@contextmanager
def decoders(
    store: Store,
    names: Mapping[str, str],
    jobs: int,
    streams: Streams | None = None,
    walls: Walls | None = None,
) -> Iterator[Decoders]:
    """Processes that work in the run of `store`, on its streams unless others are given.

    `names` maps a codec's own name to what creates it here (a file, say); none: its own name.
    With `walls` decoders work in sandboxes.  The processes start with the first image and end with
    the context.  The caller holds the run's lock.
    """
    with store.scratch() as scratch:
        lanes = [
            _Place(
                codec_workers("decode", walls, scratch),
                Worker("score", scratch=scratch),
                scratch / f"{i}.npy",
            )
            for i in range(jobs)
        ]
        pool = Decoders(streams or store.kept, names, lanes)
        try:
            yield pool
        finally:
            for lane in lanes:
                lane.worker.kill()
                lane.scorer.kill()
            pool.pool.shutdown(wait=True, cancel_futures=True)
