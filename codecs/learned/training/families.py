"""The networks that can be trained, by name, and what differs between them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from codecs.learned.entropy import FactorizedPrior
from codecs.learned.model import LatentCodecNetwork
from codecs.learned.training.errors import TrainingError

# Names are imported when they are asked for: `learned` must not depend on the codecs built on it.
_NETWORKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "minnen": ("codecs.minnen.network", "Minnen"),
        "rdonet": ("codecs.rdonet.network", "RDONet"),
    }
)
NAMES = tuple(_NETWORKS)

_TRANSFORMS = ("analysis", "synthesis", "g_a", "g_s")
LATENT_GAIN = 4.0
"""Standard deviation of latents to start from: far below 1/2 they would all round to 0."""


@dataclass(frozen=True)
class Family:
    """A kind of network; `masked` if its `forward` takes block partitions."""

    name: str
    build: Callable[..., LatentCodecNetwork]
    masked: bool

    def create(self, width: int) -> LatentCodecNetwork:
        """A freshly initialised network of `width` channels."""
        if self.name == "minnen":
            network = self.build(N=width, M=width)
            _initialise_minnen(network)
            return network
        return self.build(width=width)


def family(name: str) -> Family:
    """The family `name`; raises `TrainingError`."""
    if name not in _NETWORKS:
        raise TrainingError(f"no network {name!r}; there are {', '.join(NAMES)}")
    module, attribute = _NETWORKS[name]
    return Family(name, getattr(importlib.import_module(module), attribute), name == "rdonet")


@torch.no_grad()
def _initialise_minnen(network: nn.Module) -> None:
    """Keep the signal's scale from layer to layer; latents start at `LATENT_GAIN`.

    PyTorch's default shrinks the signal by √3 in each layer, so that latents begin at about 0.02:
    noise drowns them and thousands of steps go into growing them.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            continue
        transposed = isinstance(module, nn.ConvTranspose2d)
        fan_in = module.weight[:, 0].numel() / 4 if transposed else module.weight[0].numel()
        gain = {"g_a.6": LATENT_GAIN, "g_s.0": 1 / LATENT_GAIN, "h_a.0": 1 / LATENT_GAIN}
        gain |= {"context": 1 / LATENT_GAIN, "g_s.6": 0.1, "head.4": 0.1}
        module.weight.normal_(0.0, gain.get(name, 1.0) * fan_in**-0.5)
        if module.bias is not None:
            module.bias.zero_()
    head, picture = network.get_submodule("head.4"), network.get_submodule("g_s.6")
    assert isinstance(head.bias, Tensor)
    assert isinstance(picture.bias, Tensor)
    head.bias.chunk(2)[0].fill_(LATENT_GAIN / 2)  # broad at first, to find every latent
    picture.bias.fill_(0.5)  # mid grey


def autocast_transforms(network: nn.Module, device: torch.device) -> None:
    """Run analysis and synthesis in bfloat16 from now on; their outputs stay float32.

    The entropy model keeps float32: likelihoods need latents to better than 8 bits.
    Raises `TrainingError` for networks whose transforms are not known.
    """
    names = [name for name in _TRANSFORMS if hasattr(network, name)]
    if not names:
        raise TrainingError(f"--bf16: {type(network).__name__} has none of {_TRANSFORMS}")
    for name in names:
        module = network.get_submodule(name)
        cast = torch.autocast(device.type, torch.bfloat16)

        def enter(
            _module: nn.Module, inputs: tuple[Tensor], cast: torch.autocast = cast
        ) -> tuple[Tensor]:
            cast.__enter__()
            # Channels last is 10 % faster on CPUs; weights need not be, they are copied anyway.
            return (inputs[0].contiguous(memory_format=torch.channels_last),)

        def leave(
            _module: nn.Module, _inputs: Any, output: Tensor, cast: torch.autocast = cast
        ) -> Tensor:
            cast.__exit__(None, None, None)
            return output.float().contiguous()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)


def set_medians(network: nn.Module) -> None:
    """Put the rounding grids of hyper-latents on their medians: before evaluation and export."""
    for module in network.modules():
        if isinstance(module, FactorizedPrior):
            module.set_medians()


def export(name: str, network: LatentCodecNetwork, path: Path, card: Mapping[str, Any]) -> bytes:
    """Write the weights file that the codec `name` loads, and return its SHA-256."""
    codec = importlib.import_module(f"codecs.{name}.codec")
    digest: bytes = codec.export(network, path, card)
    return digest


def training_masks(
    kind: str, x: Tensor, seed: int, lambda_scale: float, thresholds: Mapping[str, float] | None
) -> Any:
    """Block partitions for a training batch x [B, 3, H, W]: a function of its arguments alone.

    `random`, or `variance` with both thresholds multiplied by `lambda_scale` and by e^u, u uniform
    in ±0.3, so that the network is not tied to one threshold.
    """
    from codecs.rdonet.masks import VarianceThresholds, ctu_grid, random_masks, variance_masks

    generator = torch.Generator().manual_seed(seed)
    if kind == "random":
        return random_masks(len(x), *ctu_grid(x.shape[2], x.shape[3]), generator)
    jitter = math.exp(0.6 * float(torch.rand((), generator=generator)) - 0.3)
    base = VarianceThresholds(**(thresholds or {}))
    return variance_masks(x, base.scaled(lambda_scale * jitter))
