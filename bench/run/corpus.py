"""The one point at which all pictures of a data set together meet a rate, looked for before they
are measured.

Each lane keeps its share of the pictures, so that what no point changes is done once.  Sizes are
kept in the run directory: a search that was interrupted, or is asked for again, goes on from there.
Behind walls somebody's codec is asked for whole files, in sandboxes as when it is measured.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import codecs.registry as registry
from bench.record.measurement import key_of
from bench.record.store import Store, StoreError
from bench.run.processes import CallFailed, Serving, Worker
from bench.run.sandboxed import SandboxedCodecs, Walls
from codecs.base import CodecError, Point
from codecs.target import Corpus
from datasets.base import Dataset, ImageRef

SIZES = "sizes.jsonl"
SIZE_LIMIT = 7200.0
"""Seconds after which one size is given up, where nothing else was said."""
LINE_EVERY = 20.0
"""Seconds between lines on one point."""


def find_points(
    typed: str,
    codec: Corpus,
    dataset: Dataset,
    store: Store,
    jobs: int,
    time_limit: float | None,
    say: Callable[[str], object],
    walls: Walls | None = None,
) -> tuple[Point, ...]:
    """A point for each of the codec's rates.  With `walls` somebody's codec works in sandboxes.

    Raises `CodecError` where a picture cannot be coded, a rate is out of reach, or two rates have
    one point.
    """
    pixels = sum(image.width * image.height for image in dataset.images)
    found: dict[Point, float] = {}
    boxed = walls if registry.is_foreign_code(typed) or registry.file_of(typed) else None
    with _workers(typed, store, min(jobs, len(dataset.images)), boxed) as workers:
        limit = time_limit or SIZE_LIMIT
        searcher = _Searcher(typed, codec, dataset.images, Sizes(store), workers, limit, say)
        searcher.estimates &= boxed is None
        for rate in codec.rates:
            best = codec.find(rate, pixels, searcher.estimate, searcher.coded)
            point, bits = best.point, best.bits
            say(
                f"  {codec.name}: {point.label} for {rate:g} bpp gives {bits:.4f} "
                f"({100 * (bits / rate - 1):+.2f} %)"
            )
            if point in found:
                raise CodecError(f"{codec.name}: {found[point]:g} and {rate:g} bpp are one point")
            found[point] = rate
    return tuple(found)


class Sizes:
    """Bytes of pictures at points, by the codec's measurements and by earlier searches."""

    def __init__(self, store: Store) -> None:
        self.path = store.directory / SIZES
        self.lock = threading.Lock()
        self.begun = math.inf
        """When the first of these searches had its first size, in seconds since the epoch."""
        self.known: dict[tuple[str, bool], float] = {}
        for m in store:
            if m.status == "ok" and m.bytes:
                self.known[m.key, True] = m.bytes
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    key, coded, size, *begun = json.loads(line)
                    if 0 < float(size) < math.inf:
                        self.known[str(key), bool(coded)] = float(size)
                    self.begun = min([self.begun, *map(float, begun)])
                except (ValueError, TypeError, OverflowError, RecursionError):
                    continue  # cut short by the end of an earlier run

    def get(self, key: str, coded: bool) -> float | None:
        """The size of a file (`coded`), or an estimate: never one for the other, so that the same
        search ends at the same point."""
        return self.known.get((key, coded))

    def put(self, key: str, coded: bool, size: float, begun: float) -> None:
        """Keep a size, and when its codec began, in seconds since the epoch."""
        with self.lock:
            self.known[key, coded] = size
            self.begun = min(self.begun, begun)
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(f"\n{json.dumps([key, coded, size, begun])}")
            except OSError as error:
                raise StoreError(f"{self.path} cannot be written: {error.strerror}") from error


class _Searcher:
    """Sizes of all pictures together."""

    def __init__(
        self,
        typed: str,
        codec: Corpus,
        images: tuple[ImageRef, ...],
        sizes: Sizes,
        workers: Sequence[Serving],
        time_limit: float,
        say: Callable[[str], object],
    ) -> None:
        self.typed, self.codec, self.images, self.sizes = typed, codec, images, sizes
        self.workers, self.time_limit, self.say = workers, time_limit, say
        self.estimates = codec.estimates
        self.done = self.new = 0
        """Pictures of the current point, and those of them whose size was not known."""
        self.totals: dict[tuple[Point, bool], float] = {}

    def estimate(self, point: Point) -> float:
        return self.total(point, False)

    def coded(self, point: Point) -> float:
        return self.total(point, True)

    def total(self, point: Point, coded: bool) -> float:
        """Bytes of all files, or of those and estimates."""
        if (point, coded) not in self.totals:
            self.totals[point, coded] = self._total(point, coded)
        return self.totals[point, coded]

    def _total(self, point: Point, coded: bool) -> float:
        self.done = self.new = 0
        count = len(self.workers)
        what = f"  {self.codec.name}: {'coding' if coded else 'trying'} {point.label}"
        with ThreadPoolExecutor(count) as pool:
            lanes = [
                pool.submit(self._lane, worker, self.images[i::count], point, coded)
                for i, worker in enumerate(self.workers)
            ]
            try:
                while (lately := wait(lanes, LINE_EVERY, FIRST_EXCEPTION)).not_done:
                    for lane in lately.done:
                        lane.result()
                    self.say(f"{what}: {self.done} of {len(self.images)} pictures")
                total = sum(lane.result() for lane in lanes)
            except BaseException:
                for worker in self.workers:
                    worker.kill()
                raise
        pixels = sum(image.width * image.height for image in self.images)
        if self.new:
            self.say(f"{what}: {8 * total / pixels:.4f} bpp")
        return total

    def _lane(
        self, worker: Serving, images: tuple[ImageRef, ...], point: Point, coded: bool
    ) -> float:
        total = 0.0
        for image in images:
            total += self._size(worker, image, point, coded)
            self.done += 1
        return total

    def _size(self, worker: Serving, image: ImageRef, point: Point, coded: bool) -> float:
        key = key_of(self.codec.inner, point, image)
        coded = coded or not self.estimates
        known = self.sizes.get(key, coded)
        if known is not None:
            return known
        begun = time.time()
        try:
            size = worker.call((self.typed, point, image, coded), self.time_limit)
        except CallFailed as error:
            raise CodecError(f"{self.codec.name} on {image.name}: {error}") from error
        self.new += 1
        self.sizes.put(key, coded, size, begun)
        return float(size)


class _Boxed:
    """Sizes of files that a sandbox encodes."""

    def __init__(self, walls: Walls, scratch: Path) -> None:
        self.encoders = SandboxedCodecs("encode", walls, scratch=scratch)
        self.stream = scratch / "stream"

    def call(self, request: tuple[Any, ...], limit: float) -> float:
        typed, point, image, coded = request
        if not coded:
            raise ValueError("a sandbox estimates nothing")
        size, *_ = self.encoders.call((typed, point, image, self.stream), limit)
        return float(size)

    def start(self) -> None:
        """With the first call."""

    def kill(self) -> None:
        self.encoders.kill()


@contextmanager
def _workers(typed: str, store: Store, count: int, walls: Walls | None) -> Iterator[list[Serving]]:
    """One for each lane, until the end."""
    with store.scratch() as scratch:
        folders = [_folder(scratch, i) for i in range(count)]
        forked = not registry.is_foreign_code(typed)
        workers: list[Serving] = [
            _Boxed(walls, each) if walls else Worker("size", scratch=each, forked=forked)
            for each in folders
        ]
        try:
            yield workers
        finally:
            for worker in workers:
                worker.kill()


def _folder(scratch: Path, number: int) -> Path:
    folder = scratch / str(number)
    folder.mkdir()
    return folder
