"""One task at a time through encode, decode and score, each in a process of its own.

A lane is a process to encode, one to decode and one to score (see `worker`), two more for each
codec in Python from outside (see `processes`), and one for each metric from outside.  One of them
works at a time, on one thread.
A call that outlasts its limit ends with its whole process tree; a process that dies is replaced.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.metrics.base import MetricValue
from bench.record.measurement import Measurement, Timing, now
from bench.record.store import Store
from bench.run.plan import Task
from bench.run.processes import CallFailed, Worker, prepare
from bench.run.replay import is_reproduced, same_image
from bench.run.sandbox import best_kind
from bench.run.sandboxed import SandboxedCodecs, Walls, codec_workers, stream_alone
from codecs.base import wrong_size

SCORE_LIMIT = 1800.0
"""Seconds after which computing metrics is given up."""
OWN_SCORE_LIMIT = 600.0
"""The same for a metric from outside, where no other limit was asked for."""


@dataclass(frozen=True)
class Done:
    """A finished task: the measurement to store, and the seconds codecs and metrics took."""

    task: Task
    measurement: Measurement
    busy: float
    problem: str = ""
    """Why an older measurement stays as it was, where it should have been timed again."""


class Lane:
    """Workers that take one task at a time through encode, decode and score."""

    def __init__(
        self,
        store: Store,
        pixels: Path,
        jobs: int,
        time_limit: float | None,
        first: Task,
        own_metrics: Mapping[str, str],
        walls: Walls | None = None,
    ) -> None:
        """`pixels`: the file for its reconstructions, in the folder for temporary files; `walls`:
        what codecs may not see, in sandboxes, or None for none."""
        scratch = pixels.parent
        self.store = store
        self.pixels = pixels
        self.jobs = jobs
        self.time_limit = time_limit
        self.sandbox = best_kind() if walls else ""
        self.first = first
        self.encoders = codec_workers("encode", walls, scratch)
        self.decoders = codec_workers("decode", walls, scratch)
        self.ours = tuple(name for name in first.metrics if name not in own_metrics)
        self.scorer = Worker("score", self.ours, scratch=scratch)
        self.own_metrics = own_metrics
        self.own_scorers = {
            name: Worker("score", scratch=scratch, forked=False) for name in own_metrics
        }

    def start(self) -> None:
        """Start them side by side: the scorer takes longest, and is needed last."""
        with suppress(OSError):  # which shows when they start
            prepare(self.ours)
        threading.Thread(target=self._start_scorer, daemon=True).start()
        self.encoders.start(self.first.codec)
        self.decoders.start(self.first.codec)

    def _start_scorer(self) -> None:
        # A failure shows when the scorer is called, which tries again.
        with suppress(CallFailed, OSError, EOFError):
            self.scorer.start()

    def measure(self, task: Task) -> Done:
        """Encode, decode, score; or score a kept stream, or only time again."""
        if not task.encode:
            done = self._score_kept(task)
            # What was coded anew on the way has its timings; scores outlive a failure to time.
            conditions = done.measurement.jobs, done.measurement.device
            if task.timed is None or conditions == (self.jobs, task.device):
                return done
            timed = self._time(task, done.measurement)
            return replace(done if timed.problem else timed, busy=done.busy + timed.busy)
        if task.timed is not None:
            return self._time(task, task.timed)
        m = self._here(task.blank, task)
        busy = 0.0
        try:
            size, stream_digest, encode, told = self._encode(task, self.store.stream_path(m.key))
            busy += encode.wall
            m = replace(m, bytes=size, stream_digest=stream_digest, encode=encode, diagnostics=told)
            pixel_digest, decode, notes = self._decode(task)
            busy += decode.wall
            m = replace(m, decode=decode, reconstruction_digest=pixel_digest, notes=notes)
        except CallFailed as error:
            m = replace(m, status=error.status, reason=str(error), metrics={})
            return Done(task, m, busy)
        scores, seconds = self._score(task, task.metrics)
        return Done(task, replace(m, metrics={**m.metrics, **scores}), busy + seconds)

    def _time(self, task: Task, old: Measurement) -> Done:
        """Only the timings anew; whatever happens, what was measured and its stream stay."""
        busy = 0.0
        try:
            _, stream_digest, encode, _ = self._encode(task, self.pixels.with_suffix(".bin"))
            busy += encode.wall
            if stream_digest != old.stream_digest:
                raise CallFailed("failed", "the encoder writes another stream than before")
            _, decode, _ = self._decode(task)
        except CallFailed as error:
            return Done(task, old, busy, f"not timed again: {error}")
        timed = replace(self._here(old, task), encode=encode, decode=decode)
        return Done(task, timed, busy + decode.wall)

    def _here(self, m: Measurement, task: Task) -> Measurement:
        """With the conditions under which this lane takes times."""
        host = os.uname().nodename
        m = replace(m, jobs=self.jobs, device=task.device, host=host, time=now())
        return replace(m, sandbox=self.sandbox)

    def _score_kept(self, task: Task) -> Done:
        """New metrics for a stream measured earlier; coded anew only where it decodes to something
        that was not measured.  Whatever happens, what could be had stays."""
        m = task.blank
        try:
            pixel_digest, decode, _ = self._decode(task)
        except CallFailed as error:
            why = f"the kept stream cannot be decoded: {error}"
            if error.answered:
                return self._measure_afresh(task, why, 0.0)
            return _unscored(task, why, 0.0)
        same = same_image(m, pixel_digest)
        if not same and not is_reproduced(m, lambda metrics: self._score(task, metrics)[0]):
            # The decoder has changed without saying so: what was measured is out of date.
            why = "the kept stream decodes to another picture than the one that was measured"
            return self._measure_afresh(task, why, decode.wall)
        scores, seconds = self._score(task, task.metrics)
        rescored = {name: digest for name, digest in m.rescored.items() if name not in scores}
        if not same:
            rescored |= dict.fromkeys(scores, pixel_digest)
        m = replace(m, metrics={**m.metrics, **scores}, rescored=rescored)
        return Done(task, m, decode.wall + seconds)

    def _measure_afresh(self, task: Task, why: str, busy: float) -> Done:
        """Encode again what was measured; where that fails too, the old figures stay."""
        if task.afresh is None:
            return _unscored(task, why, busy)
        done = self.measure(task.afresh)
        if done.measurement.status != "ok":
            return _unscored(task, f"{why}; again: {done.measurement.reason}", busy + done.busy)
        return replace(done, busy=done.busy + busy)

    def _encode(self, task: Task, stream: Path) -> tuple[int, str, Timing, dict[str, Any]]:
        """Size and digest of the stream, the time it took, and diagnostics."""
        request = (task.codec, task.point, task.image, stream, task.blank.key)
        return self.encoders.call(request, self._limit(task))

    def _decode(self, task: Task) -> tuple[str, Timing, tuple[str, ...]]:
        """Digest of the reconstruction, which then lies in `self.pixels`, the time it took, and
        what had to be converted: see `Codec.decoded_notes`."""
        m = task.blank
        try:
            shape, pixel_digest, timing, notes = self.decoders.call(
                (task.codec, self.store.stream_path(m.key), self.pixels), self._limit(task)
            )
        except CallFailed as error:
            if not isinstance(self.encoders, SandboxedCodecs):
                raise
            why = f"{error}{stream_alone(self.encoders.left(task.codec))}"
            raise CallFailed(error.status, why, answered=error.answered) from error
        if wrong := wrong_size(shape, m.width, m.height):
            raise CallFailed("failed", wrong, answered=True)
        return pixel_digest, timing, notes

    def _limit(self, task: Task) -> float:
        return self.time_limit or 600 + 30 * task.estimate

    def _score(self, task: Task, metrics: tuple[str, ...]) -> tuple[dict[str, MetricValue], float]:
        """The metrics and the seconds they took; reasons where a scorer itself fails."""
        ours = tuple(name for name in metrics if name not in self.own_metrics)
        scores, busy = _called(self.scorer, task, self.pixels, ours, SCORE_LIMIT)
        limit = self.time_limit or OWN_SCORE_LIMIT
        for name in metrics:
            if name in self.own_metrics:
                source, scorer = self.own_metrics[name], self.own_scorers[name]
                found, seconds = _called(scorer, task, self.pixels, (source,), limit)
                scores[name] = found[source]
                busy += seconds
        return scores, busy

    def kill(self) -> None:
        for each in (self.encoders, self.decoders):
            each.kill()
        for scorer in (self.scorer, *self.own_scorers.values()):
            scorer.kill()


def _called(
    scorer: Worker, task: Task, pixels: Path, metrics: tuple[str, ...], limit: float
) -> tuple[dict[str, MetricValue], float]:
    if not metrics:
        return {}, 0.0
    try:
        scores, seconds = scorer.call((task.image, pixels, metrics), limit)
        return scores, seconds
    except CallFailed as error:
        return _without_value(metrics, str(error)), 0.0


def _without_value(metrics: Sequence[str], reason: str) -> dict[str, MetricValue]:
    """Metrics that could not be computed; without a version, so that the next run tries again."""
    return {name: MetricValue(None, "", reason) for name in metrics}


def _unscored(task: Task, reason: str, busy: float) -> Done:
    """A kept measurement as it was, without the metrics that were asked for."""
    m, scores = task.blank, _without_value(task.metrics, reason)
    return Done(task, replace(m, metrics={**m.metrics, **scores}), busy)
