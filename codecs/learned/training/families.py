"""The networks that can be trained, by name, and what differs between them."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from codecs.learned.coders.likelihood import FactorisedPrior
from codecs.learned.network import CodecNetwork
from codecs.learned.training.errors import TrainingError

if TYPE_CHECKING:
    from codecs.minnen.network import Minnen

# Names are imported when they are asked for: `learned` must not depend on the codecs built on it.
_NETWORKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "minnen": ("codecs.minnen.network", "Minnen"),
        "rdonet": ("codecs.rdonet.network", "RDONet"),
    }
)
NAMES = tuple(_NETWORKS)

_TRANSFORMS = ("analysis", "synthesis", "g_a", "g_s")
_OF_TRANSFORMS = re.compile(rf"({'|'.join(_TRANSFORMS)}|units\.\d\.(down|bottom|up|igdn))\.")


@dataclass(frozen=True)
class Family:
    """A kind of network; `masked` if its `forward` takes block partitions."""

    name: str
    build: Callable[..., CodecNetwork]
    masked: bool

    def create(
        self, width: int, backbone: str = "cheng", latents: Sequence[int] = ()
    ) -> CodecNetwork:
        """A freshly initialised network of `width` channels, and as many latents where `latents`
        (of each level) does not say otherwise; `backbone` is RDONet's.

        Raises `ValueError` if there is no such network.
        """
        levels = 3 if self.masked else 1
        latents = latents or [width] * levels
        if len(latents) != levels:
            raise ValueError(f"{self.name} has latents at {levels} level(s)")
        if self.name == "minnen":
            return self.build(N=width, M=latents[0])
        from codecs.rdonet.network import RDONet

        preset = "compact-gdn" if backbone == "gdn" else "compact"
        return RDONet.preset(preset, width=width, latents=latents)


def family(name: str) -> Family:
    """The family `name`; raises `TrainingError`."""
    if name not in _NETWORKS:
        raise TrainingError(f"no network {name!r}; there are {', '.join(NAMES)}")
    module, attribute = _NETWORKS[name]
    return Family(name, getattr(importlib.import_module(module), attribute), name == "rdonet")


def begin_with(
    network: CodecNetwork, trained: Mapping[str, Tensor], pictures: Callable[[], Tensor]
) -> None:
    """Load weights of the same kind of network, or of a Minnen network with fewer latents, or what
    RDONet has in common with Minnen's.

    `pictures` makes some for training, [B, 3, H, W] in 0...1, if they are needed.
    Raises `RuntimeError` or `ValueError` if the weights do not fit.
    """
    from codecs.minnen.network import Minnen
    from codecs.minnen.widening import widen
    from codecs.rdonet.initialisation import adopt
    from codecs.rdonet.network import RDONet

    latents = len(trained.get("g_a.6.weight", ()))
    if isinstance(network, RDONet) and latents:
        adopt(network, _minnen(trained))
    elif isinstance(network, Minnen) and 0 < latents < network.config["M"]:
        widen(network, _minnen(trained), pictures())
    else:
        network.load_state_dict(trained)


def _minnen(trained: Mapping[str, Tensor]) -> Minnen:
    from codecs.minnen.network import Minnen

    try:
        latents, width = trained["g_a.6.weight"].shape[:2]
        minnen = Minnen(N=width, M=latents)
        minnen.load_state_dict(trained)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"not the weights of a Minnen network: {error}") from error
    return minnen


def transform_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Those of everything between picture and latents; the others are of entropy models."""
    return [p for name, p in network.named_parameters() if _OF_TRANSFORMS.match(name)]


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
        if isinstance(module, FactorisedPrior):
            module.set_medians()


def export(
    name: str,
    network: CodecNetwork,
    path: Path,
    card: Mapping[str, Any],
    eight_bit: bool = False,
) -> bytes:
    """Write the weights file that the codec `name` loads, and return its SHA-256."""
    codec = importlib.import_module(f"codecs.{name}.codec")
    digest: bytes = codec.export(network, path, card, eight_bit=eight_bit)
    return digest


def training_masks(
    kind: str,
    x: Tensor,
    seed: int,
    lambda_scale: float,
    thresholds: Mapping[str, float] | None,
    jitter: float = 0.0,
) -> Any:
    """Block partitions for a training batch x [B, 3, H, W]: a function of its arguments alone.

    `finest`: all blocks of 16 x 16; `random`; or `variance` with both thresholds multiplied by
    `lambda_scale` and by e^u, u uniform in ±`jitter`, so that the network is not tied to one
    threshold.
    """
    from codecs.rdonet.masks import (
        Masks,
        VarianceThresholds,
        ctu_grid,
        random_masks,
        variance_masks,
    )

    generator = torch.Generator().manual_seed(seed)
    grid = ctu_grid(x.shape[2], x.shape[3])
    if kind == "finest":
        return Masks.uniform(1, len(x), *grid)
    if kind == "random":
        return random_masks(len(x), *grid, generator)
    factor = math.exp(jitter * (2 * float(torch.rand((), generator=generator)) - 1))
    base = VarianceThresholds(**(thresholds or {}))
    return variance_masks(x, base.scaled(lambda_scale * factor))
