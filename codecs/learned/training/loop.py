"""The training loop: segments, validation, checkpoints, export, and stopping well."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from codecs.learned.network import PartitionedNetwork
from codecs.learned.training.card import export_model
from codecs.learned.training.data import (
    STREAM_CALIBRATION,
    STREAM_CROPS,
    STREAM_INITIAL,
    Prefetcher,
    crops,
    generator,
    to_float,
    torch_seed,
)
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.losses import Critics, LossWeights, distortion
from codecs.learned.training.monitor import Monitor
from codecs.learned.training.ratecontrol import RateController, first_lambda, search_objective
from codecs.learned.training.run import Run
from codecs.learned.training.schedule import Segment, plan, segment_at
from codecs.learned.training.settings import CHECKPOINT
from codecs.learned.training.start import start_from
from codecs.learned.training.state import Learner, TrainingProgress
from codecs.learned.training.stopping import Ending, Stopwatch

_CALIBRATION_CROPS = 8
_DEEPENING_CROPS = 192
"""Of up to 256 pixels: 3,072 blocks of 64 x 64."""


class Trainer:
    """Runs the segments of a plan from wherever the checkpoint in `run.out` stands."""

    def __init__(self, run: Run) -> None:
        self.run = run
        settings = run.settings
        self.segments = plan(run.phases, settings.steps, settings.rates)
        critics = Critics.load((p.weights for p in run.phases), settings.lpips)
        trunk_rate = math.exp(sum(map(math.log, settings.rates)) / len(settings.rates))
        start = self._target(self.segments[0], trunk_rate)
        if not self.partitioned and any(phase.deepen for phase in run.phases):
            raise TrainingError(
                "deepen = true is for networks of several levels, as rdonet's alone"
            )
        weights = self.segments[0].phase.weights
        progress = TrainingProgress(
            RateController.start(start, first_lambda(start, weights)),
            thresholds_lambda=first_lambda(0.15, weights),
            weights=weights,
        )
        if settings.qualities:
            # Λ is the sample's; what is kept of it, such as thresholds, is for the middle.
            middle = math.sqrt(math.prod(settings.lambdas))
            progress.controller = RateController.start(start, middle)
            progress.thresholds_lambda = middle
        self.trunk_rate = trunk_rate
        self.learner = Learner(
            run.network, settings, run.device, progress, critics, any(p.gan for p in run.phases)
        )
        self.checkpoint_path = run.out / CHECKPOINT
        self.trunk_path = run.out / "trunk.safetensors"

    def _target(self, segment: Segment, trunk_rate: float) -> float:
        return trunk_rate if segment.branch is None else self.run.settings.rates[segment.branch]

    @property
    def partitioned(self) -> bool:
        return issubclass(self.run.network, PartitionedNetwork)

    @property
    def progress(self) -> TrainingProgress:
        return self.learner.progress

    def train(self) -> Ending:
        """Train until the plan is done or the session has to stop."""
        run, limits = self.run, self.run.limits
        if run.settings.bf16 and not self.learner.bf16:
            run.say("no instructions for bfloat16 here: transforms are computed in float32")
        if self.checkpoint_path.exists():
            self.learner.progress = self.learner.load(self.checkpoint_path)
            run.say(f"resuming at step {self.progress.step:,} of {self.segments[-1].stop:,}")
        elif run.start is not None:
            self._start_from(run.start)
        self._monitor = Monitor(run, self.progress)
        self._batches = Prefetcher(self._make_batch)
        self._saved = self._exported = time.monotonic()
        watch = Stopwatch(limits.minutes)
        with watch.listening():
            try:
                while not self._finish_models():
                    self._one_step()
                    if reason := watch.reason():
                        self._interrupted(reason)
                        return watch.ending
            finally:
                self._batches.close()
                self._monitor.close()
        return Ending.FINISHED

    def _start_from(self, path: Path) -> None:
        """Networks from another run, with Λ and thresholds where they are of one operating point;
        steps and optimisers begin anew."""
        stored = start_from(self.learner, path)
        progress = self.progress
        if not self.run.settings.qualities:
            progress.controller, progress.weights = stored.controller, stored.weights
            progress.thresholds = stored.thresholds
            progress.thresholds_lambda = stored.thresholds_lambda
        progress.earlier_steps = stored.earlier_steps + stored.step
        progress.earlier_cpu = stored.earlier_cpu + stored.cpu
        self.run.say(f"starting from {path}, {stored.step:,} steps into its run")

    def _make_batch(self, step: int) -> Tensor:
        settings = self.run.settings
        rng = generator(settings.seed, step, STREAM_CROPS)
        # The batch after the last is begun too, and never used.
        phase = segment_at(self.segments, min(step, self.segments[-1].stop - 1)).phase
        return crops(self.run.data, rng, settings.batch, settings.crop, phase.grain, phase.shrink)

    def _one_step(self) -> None:
        segment = segment_at(self.segments, self.progress.step)
        if self.progress.step == segment.start:
            self._enter(segment)
        x = to_float(self._batches(self.progress.step), self.run.device)
        shown = self.learner.step(segment, x)
        self._monitor.step(segment, self.progress, shown)
        step, limits = self.progress.step, self.run.limits
        if step % self.run.settings.valid_every == 0:
            self._validate(segment, final=False)
        elapsed = time.monotonic() - self._saved
        due = elapsed >= 60 * limits.checkpoint_minutes
        if due or (limits.checkpoint_steps and step % limits.checkpoint_steps == 0):
            self._save()
        minutes = limits.export_minutes
        if minutes is not None and time.monotonic() - self._exported >= 60 * minutes:
            name = f"{self.run.settings.network}-latest.safetensors"
            self._export(segment, limits.export_to / name, finished=False, small=True)
            self._exported = time.monotonic()

    def _enter(self, segment: Segment) -> None:
        """Everything that happens between two phases; repeatable from the same checkpoint."""
        progress, phase = self.progress, segment.phase
        if segment.branch is not None and segment.first:
            if segment.branch == 0:
                self.learner.save(self.trunk_path)
            else:
                stored = self.learner.load(self.trunk_path)
                progress.controller = stored.controller
                progress.thresholds = stored.thresholds
                progress.thresholds_lambda = stored.thresholds_lambda
                progress.weights = stored.weights
        before, progress.weights = progress.weights, phase.weights
        target = self._target(segment, self.trunk_rate)
        controller = progress.controller
        if not self.run.settings.qualities:
            self._move_lambda(before, phase.weights, target)
        if phase.deepen:
            self._deepen()
        if phase.reset:
            self.learner.reset_optimisers()
        if phase.deepen or phase.frozen or phase.rounded:
            self.learner.go_on_from_average()
        if isinstance(phase.thresholds, tuple):
            progress.thresholds = dict(zip(("t64", "t32"), phase.thresholds, strict=True))
            progress.thresholds_lambda = controller.lambda_eff
        elif phase.thresholds and self.partitioned:
            self._calibrate(phase.weights)
        rate = "trunk" if segment.branch is None else f"{target:g} bpp"
        masks = f", {phase.mask} masks" if self.partitioned else ""
        self.run.say(
            f"phase {segment.number} ({rate}), steps {segment.start:,} to {segment.stop:,}: "
            f"lr {phase.lr:g}, Λ {controller.lambda_eff:.4g}, {phase.weights}{masks}"
        )

    def _move_lambda(self, before: LossWeights, after: LossWeights, target: float) -> None:
        """Λ's unit is that of 1/D: a change of loss or target moves it as the prior expects."""
        progress, controller = self.progress, self.progress.controller
        unit = first_lambda(controller.target, after) / first_lambda(controller.target, before)
        move = first_lambda(target, after) / first_lambda(controller.target, after)
        progress.thresholds_lambda *= unit
        controller.log_lambda += math.log(unit * move)
        if target != controller.target:
            controller.log_bpp = None
        controller.target, controller.centre = target, controller.log_lambda

    def _pictures(self, count: int) -> Tensor:
        """The same training crops whenever a run comes to this step."""
        settings, progress = self.run.settings, self.progress
        smallest = min(min(shape) for shape in self.run.data.shapes)
        size = min(256, smallest - smallest % 64)
        rng = generator(settings.seed, progress.step, STREAM_CALIBRATION)
        return to_float(crops(self.run.data, rng, count, size), self.run.device)

    def _deepen(self) -> None:
        """Deeper levels of the averaged network anew, which training goes on from."""
        network, settings = self.learner.ema, self.run.settings
        assert isinstance(network, PartitionedNetwork)
        with torch.random.fork_rng():
            torch.manual_seed(torch_seed(settings.seed, self.progress.step, STREAM_INITIAL))
            try:
                network.deepen(self._pictures(_DEEPENING_CROPS).split(_CALIBRATION_CROPS))
            except ValueError as error:
                raise TrainingError(str(error)) from error

    def _calibrate(self, weights: LossWeights) -> None:
        """Variance thresholds of least J on fixed training crops."""
        progress, pictures = self.progress, self._pictures(_CALIBRATION_CROPS)
        network, critics = self.learner.ema, self.learner.critics
        assert isinstance(network, PartitionedNetwork)
        network.set_medians()
        lambda_eff = progress.controller.lambda_eff
        progress.thresholds, _ = network.calibrate(
            pictures.split(4), lambda_eff, lambda x, y: distortion(x, y, weights, critics)[0].mean()
        )
        progress.thresholds_lambda = lambda_eff
        found = ", ".join(f"{name} {value:g}" for name, value in progress.thresholds.items())
        self.run.say(f"variance thresholds: {found}")

    def _validate(self, segment: Segment, final: bool) -> None:
        """One row of `valid.csv` by the averaged weights."""
        progress = self.progress
        self._prepare_average(segment)
        bpp = self._monitor.validate(segment, progress, self.learner.ema, final)
        if not self.run.settings.qualities:
            progress.controller.validated(bpp)

    def _prepare_average(self, segment: Segment) -> None:
        """Make the averaged network complete: medians, and what it was trained for."""
        self.learner.ema.set_medians()
        weights, progress = segment.phase.weights, self.progress
        controller = progress.controller
        self.learner.ema.config["objective"] = search_objective(
            controller.lambda_eff, controller.target, weights
        )
        if self.partitioned:
            self.learner.ema.config["thresholds"] = {
                k: v * progress.threshold_scale for k, v in progress.thresholds.items()
            }

    def _finish_models(self) -> bool:
        """Export a model whose last step is done; whether that was the last model."""
        done = [s for s in self.segments if s.last and s.stop <= self.progress.step]
        if len(done) > self.progress.models:
            segment = done[-1]
            self._validate(segment, final=True)
            rate = self._target(segment, self.trunk_rate)
            label = "all" if self.run.settings.qualities else f"{rate:g}"
            name = f"{self.run.settings.network}-{label}.safetensors"
            self._export(segment, self.run.out / name, finished=True)
            for interrupted in self.run.out.glob(f"{self.run.settings.network}-latest.*"):
                interrupted.unlink()
            self.progress.models = len(done)
            self._save()
        return self.progress.models == len(self.run.settings.rates)

    def _export(self, segment: Segment, path: Path, finished: bool, small: bool = False) -> None:
        self._prepare_average(segment)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = export_model(self.run, self.learner, segment, self.segments, path, finished, small)
        self.run.say(f"exported {path} (SHA-256 {digest[:16]}...)")

    def _interrupted(self, reason: str) -> None:
        """Leave a checkpoint, and the averaged weights as they are."""
        self._save()
        step = self.progress.step
        segment = segment_at(self.segments, max(0, step - 1))
        name = f"{self.run.settings.network}-latest.safetensors"
        self._export(segment, self.run.out / name, finished=False)
        self.run.say(
            f"stopped at step {step:,} of {self.segments[-1].stop:,}: {reason}; "
            "the same command resumes"
        )

    def _save(self) -> None:
        self._monitor.clock(self.progress)
        self.learner.save(self.checkpoint_path)
        self._saved = time.monotonic()


def seconds_per_step(run: Run, repeats: int = 4) -> float:
    """Mean duration of a step over the phases of a model, by trying out each of them."""
    trainer = Trainer(run)
    total = 0.0
    for segment in trainer.segments:
        if segment.branch not in (None, 0):
            continue
        durations = []
        for _ in range(repeats):
            trainer.progress.step = segment.start
            began = time.monotonic()
            x = to_float(trainer._make_batch(segment.start), run.device)
            trainer.learner.step(segment, x)
            durations.append(time.monotonic() - began)
        total += segment.phase.share * sorted(durations)[len(durations) // 2]
    return total
