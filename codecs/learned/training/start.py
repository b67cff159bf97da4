"""Where a run begins that does not begin anew: another run's checkpoint, or a finished model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from codecs.base import CodecUnavailable
from codecs.learned import weights
from codecs.learned.training import checkpoint
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.losses import LossWeights
from codecs.learned.training.ratecontrol import RateController
from codecs.learned.training.state import Learner, TrainingProgress


def start_from(learner: Learner, path: Path) -> TrainingProgress:
    """Give the learner's networks the weights of `path`, and return the progress behind them.

    `path` is a training checkpoint or a weights file; of the latter, the averaged weights stand
    for both networks.  Raises `TrainingError`.
    """
    try:
        current, average, progress = _from_model(path) if _is_model(path) else _from_run(path)
        learner.network.begin_with(current)
        learner.ema.begin_with(average)
    except (CodecUnavailable, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"--from {path} does not fit this network ({error}): give a checkpoint or a model of "
            "the same network, --width and --latents, or minnen's for rdonet with --backbone gdn"
        ) from error
    return progress


def _is_model(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return "card" in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False  # the reader of checkpoints says what is wrong


def _from_run(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], TrainingProgress]:
    tensors, state = checkpoint.load(path)
    current, average = (checkpoint.part(tensors, name) for name in ("network", "ema"))
    return current, average, TrainingProgress.from_json(state)


def _from_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], TrainingProgress]:
    """Λ, loss, thresholds and steps as the card tells them."""
    loaded = weights.load(path)
    training: dict[str, Any] = loaded.card["training"]
    lambda_eff = training["lambda_eff"]
    progress = TrainingProgress(
        RateController.start(training["target_bpp"], lambda_eff),
        LossWeights.of_card(training),
        thresholds_lambda=lambda_eff,
        step=training["steps"],
        cpu=training["cpu_seconds_of_run"],
    )
    if thresholds := loaded.card["config"].get("thresholds"):
        progress.thresholds = dict(thresholds)
    if earlier := training["started_from"]:
        progress.earlier_steps = earlier["steps"]
        progress.earlier_cpu = earlier["cpu_seconds"]
    return loaded.parameters, loaded.parameters, progress
