"""Checkpoints: one safetensors file with everything, replaced atomically; no pickles.

Tensors carry prefixes (`network.`, `ema.`, `optimiser.`, `gan.`, `gan_adam.`); the rest of the
state is JSON in the header, where Python writes floats so that they read back the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from codecs.learned.training.errors import TrainingError
from codecs.learned.training.muon import Muon

FORMAT = "codec-training-checkpoint/1"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` so that a reader, or a crash, sees the old file or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; `path` is replaced only when the new one is complete on disk."""
    temporary = path.with_name(path.name + ".tmp")
    ready = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    save_file(ready, temporary, {"format": FORMAT, "state": json.dumps(state)})
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint; raises `TrainingError`."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise TrainingError(f"{path} is not a training checkpoint of this version")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(  # noqa: SIM118
                metadata["state"]
            )
    except (OSError, SafetensorError, ValueError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}): restore it, or start anew in another folder"
        ) from error


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix.`, without it."""
    start = prefix + "."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": t for name, t in tensors.items()}


def moments(optimiser: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: `<parameter>|exp_avg` and so on."""
    return {
        f"{name}|{key}": value
        for name, parameter in module.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_moments(
    optimiser: torch.optim.Optimizer, module: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Undo `moments`; parameters without state keep none.  Raises `TrainingError`."""
    own = {parameter for group in optimiser.param_groups for parameter in group["params"]}
    for name, parameter in module.named_parameters():
        state = {
            key: tensors[f"{name}|{key}"]
            for key in ("step", "exp_avg", "exp_avg_sq", "momentum", "square")
            if f"{name}|{key}" in tensors
        }
        if not state or parameter not in own:
            continue
        shape, scalar = parameter.shape, torch.Size()
        wanted = {"exp_avg": shape, "exp_avg_sq": shape, "step": scalar}
        if isinstance(optimiser, Muon):
            wanted = {"momentum": shape, "square": scalar}
        if {key: value.shape for key, value in state.items()} != wanted:
            raise TrainingError(f"the moments of {name} in the checkpoint are not its own")
        # Fused Adam on GPUs wants its step counter there; on CPUs all is on one device anyway.
        optimiser.state[parameter] = {
            key: value.to(parameter.device).clone() for key, value in state.items()
        }
