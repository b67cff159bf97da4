"""Training an entropy model for latents that are made once.

Steps of entropy models take 0.02 to 0.2 s of a core, the analysis of their crops another 0.04 s; so
latents of a few thousand crops are made once, and each model sees all of them several times, with
other noise and at other qualities.  The budget is of CPU seconds, which the learning rate follows,
not of steps: models of few parameters take more of these.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.entropy.models import Trunk, set_medians
from codecs.learned import weights
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.training import checkpoint
from codecs.learned.training.data import (
    STREAM_CROPS,
    STREAM_NOISE,
    STREAM_QUALITY,
    Pictures,
    crops,
    generator,
    to_float,
    torch_seed,
)
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.muon import Muon, is_kernel
from codecs.learned.training.state import CLIP_NORM, EMA_DECAY
from codecs.learned.transform import TransformNetwork

CROP = 256
BATCH = 2
LEARNING_RATE, LAST_LEARNING_RATE = 1e-3, 1e-5
COOL_DOWN = 0.5
"""Part of the budget in which the learning rate falls, geometrically."""
_WARM_UP = 50
_SAVE_EVERY = 60.0
_SAY_EVERY = 200


@torch.inference_mode()
def latents_of_crops(
    trunk: Trunk, pictures: Pictures, count: int, path: Path, say: Callable[[str], None]
) -> NDArray[np.float16]:
    """y of `count` random crops before gains, [count, M, 16, 16]; of the file at `path` if it was
    made of the same."""
    told = {"data": pictures.digest, "count": count, "trunk": trunk.digest}
    note = path.with_suffix(".json")
    if not (note.is_file() and path.is_file() and json.loads(note.read_text()) == told):
        path.parent.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        network, side = trunk.network, CROP // trunk.network.latent_stride
        shape = (count, network.config["M"], side, side)
        start, cpu = time.process_time(), torch.device("cpu")
        out = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        for index in range(count):
            x = to_float(crops(pictures, generator(0, index, STREAM_CROPS), 1, CROP), cpu)
            out[index] = network.g_a(x)[0].numpy()
        out.flush()
        checkpoint.write_atomically(note, json.dumps(told).encode())
        say(f"latents of {count:,} crops in {time.process_time() - start:.0f} CPU seconds")
    kept: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return kept


@dataclass
class Progress:
    """How far a model is."""

    steps: int = 0
    cpu: float = 0.0
    """Seconds of training, over all sessions."""


def train(
    network: TransformNetwork,
    latents: NDArray[np.float16],
    seconds: float,
    folder: Path,
    say: Callable[[str], None],
) -> Progress:
    """Train what is not frozen for `seconds` of CPU, from the checkpoint in `folder` if there is
    one, and leave `model.safetensors` there."""
    done = folder / "model.safetensors"
    path = folder / "checkpoint.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    average = type(network).from_config(network.config)
    average.load_state_dict(network.state_dict())
    average.requires_grad_(False).eval()
    optimisers = _optimisers(network)
    progress = _resumed(path, network, average, optimisers)
    saved, spent, start = progress.cpu, progress.cpu, time.process_time()
    shown: list[float] = []
    while progress.cpu < seconds:
        bpp = _step(network, average, optimisers, latents, progress, seconds)
        progress.steps += 1
        progress.cpu = spent + time.process_time() - start
        shown.append(bpp)
        if progress.steps % _SAY_EVERY == 0:
            mean = sum(shown) / len(shown)
            say(f"  {progress.cpu:.0f} s, step {progress.steps:,}: {mean:.4f} bpp of crops")
            shown = []
        if progress.cpu - saved >= _SAVE_EVERY or progress.cpu >= seconds:
            _save(path, network, average, optimisers, progress)
            saved = progress.cpu
    if not done.is_file() or done.stat().st_mtime < path.stat().st_mtime:
        set_medians(average)
        points = [{"parameter": "quality", "value": q} for q in range(network.qualities)]
        weights.export(average, done, {"points": points, "training": asdict(progress)})
    return progress


def _optimisers(network: nn.Module) -> list[torch.optim.Optimizer]:
    trained = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in trained if is_kernel(p)]
    others = [p for p in trained if not is_kernel(p)]
    adam = torch.optim.Adam(others, betas=(0.9, 0.999), fused=True)
    return [adam, Muon(kernels)] if kernels else [adam]


def learning_rate(progress: Progress, seconds: float) -> float:
    """Constant, then falling with the seconds that are left."""
    position = max(0.0, progress.cpu / seconds - (1 - COOL_DOWN)) / COOL_DOWN
    falling = LEARNING_RATE * (LAST_LEARNING_RATE / LEARNING_RATE) ** min(position, 1.0)
    return falling * min(1.0, (progress.steps + 1) / _WARM_UP)


def _step(
    network: TransformNetwork,
    average: TransformNetwork,
    optimisers: list[torch.optim.Optimizer],
    latents: NDArray[np.float16],
    progress: Progress,
    seconds: float,
) -> float:
    """One update; bits per pixel of its crops."""
    step = progress.steps
    rng = generator(0, step, STREAM_QUALITY)
    chosen = np.sort(rng.choice(len(latents), BATCH, replace=False))
    quality = torch.from_numpy(rng.random(BATCH)).float() * (network.qualities - 1)
    y = network.scale(torch.from_numpy(latents[chosen].astype(np.float32)), quality)
    torch.manual_seed(torch_seed(0, step, STREAM_NOISE))
    _, bits = network.latent_model().quantise(y, Rounding.SETTLED)
    bpp = torch.stack(list(bits.values())).sum(0) / CROP**2
    # As where transforms are trained: the highest rates must not own the gradient.
    relative = torch.as_tensor(network.relative_lambda(quality)).sqrt().flatten()
    network.zero_grad(set_to_none=True)
    (bpp / relative).mean().backward()
    trained = [p for p in network.parameters() if p.requires_grad]
    norm = float(nn.utils.clip_grad_norm_(trained, CLIP_NORM))
    if np.isfinite(norm):
        rate = learning_rate(progress, seconds)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
        _follow(average, network, min(EMA_DECAY, (1 + step) / (10 + step)))
    return bpp.mean().item()


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    averages: list[Tensor] = list(average.parameters())
    currents: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(averages, currents, 1 - decay)


def _save(
    path: Path,
    network: TransformNetwork,
    average: TransformNetwork,
    optimisers: list[torch.optim.Optimizer],
    progress: Progress,
) -> None:
    tensors = checkpoint.prefixed("network", network.state_dict())
    tensors |= checkpoint.prefixed("ema", average.state_dict())
    for optimiser in optimisers:
        tensors |= checkpoint.prefixed("optimiser", checkpoint.moments(optimiser, network))
    checkpoint.save(path, tensors, asdict(progress))


def _resumed(
    path: Path,
    network: TransformNetwork,
    average: TransformNetwork,
    optimisers: list[torch.optim.Optimizer],
) -> Progress:
    if not path.is_file():
        return Progress()
    tensors, state = checkpoint.load(path)
    try:
        network.load_state_dict(checkpoint.part(tensors, "network"))
        average.load_state_dict(checkpoint.part(tensors, "ema"))
        for optimiser in optimisers:
            checkpoint.restore_moments(optimiser, network, checkpoint.part(tensors, "optimiser"))
        return Progress(**state)
    except (RuntimeError, TypeError) as error:
        raise TrainingError(
            f"{path} is of another network ({error}): give another --out"
        ) from error
