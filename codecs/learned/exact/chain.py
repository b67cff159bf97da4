"""Exact forms of trained modules: what a chain of layers is made of is read from the modules.

A module without an exact form is refused: coding with another layer or activation than the one that
was trained would give wrong probabilities without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from codecs.learned.exact.arithmetic import (
    LEAKY_SLOPE,
    WEIGHT_BITS,
    ExactConv,
    ExactIGDN,
    ExactLinear,
    ExactSubpixelConv,
    ExactUpConv,
    leaky_relu,
    relu,
)
from codecs.learned.layers import GDN, Conv1x1

ExactLayer = ExactConv | ExactSubpixelConv | ExactUpConv
Activation = Callable[[Tensor], Tensor]
"""Activation integers [..., C] to the same shape."""
_TILE = 32
"""Rows and columns of a chain's input that are worked on at once."""
_PLAIN = (nn.Conv2d, Conv1x1)
"""Convolutions that do what their weight says; kinds of `nn.Conv2d` that do not are refused."""


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(module) in _PLAIN


def exact_layer(module: nn.Module, what: str) -> ExactLayer:
    """The exact form of a convolution, transposed convolution or sub-pixel convolution.

    Raises `ValueError` for anything else; `what` is what the message calls the network.
    """
    if _is_plain(module):
        return ExactConv.from_conv(module, what)
    if type(module) is nn.ConvTranspose2d:
        return ExactUpConv(module, what)
    if type(module) is nn.Sequential and len(module) == 2:
        conv, shuffle = module
        if _is_plain(conv) and isinstance(shuffle, nn.PixelShuffle):
            return ExactSubpixelConv(conv, shuffle.upscale_factor, what)
    raise ValueError(f"{what}: no exact form for {type(module).__name__}")


def exact_activation(module: nn.Module, what: str) -> Activation:
    """The exact form of ReLU, of leaky ReLU of slope 0.01 and of inverse GDN.

    Raises `ValueError` for anything else.
    """
    if type(module) is nn.ReLU:
        return relu
    if type(module) is nn.LeakyReLU:
        if round(module.negative_slope * 2**WEIGHT_BITS) == LEAKY_SLOPE:
            return leaky_relu
        raise ValueError(f"{what}: no exact leaky ReLU of slope {module.negative_slope}")
    if type(module) is GDN and module.inverse:
        return ExactIGDN(*module.effective(), what)
    raise ValueError(f"{what}: no exact form for {type(module).__name__}")


class ExactChain:
    """Layers, each with the activation behind it, as one function of pictures.

    Evaluated in tiles, which bounds memory and changes no bit.
    """

    def __init__(self, modules: Iterable[nn.Module], what: str) -> None:
        """`modules` are layers (`exact_layer`), each followed by at most one activation.

        Raises `ValueError` for what has no exact form.
        """
        self._steps = [(exact_layer(m, what), a) for m, a in _steps(modules, what)]
        if not self._steps:
            raise ValueError(f"{what}: no layers")
        self.channels = self._steps[-1][0].channels
        """Of the output."""

    def to(self, device: torch.device | str) -> ExactChain:
        for layer, activation in self._steps:
            layer.to(device)
            if isinstance(activation, ExactIGDN):
                activation.to(device)
        return self

    def __call__(self, x: Tensor) -> Tensor:
        """Activations [H, W, C] of any dtype to int32 [H', W', O]."""
        scale, halo = 1, 0.0
        for layer, _ in self._steps:
            halo += layer.reach / scale
            scale *= layer.scale
        border = math.ceil(halo)
        out: Tensor | None = None
        for (top, bottom), (left, right) in product(*(_cuts(n) for n in x.shape[:2])):
            first_row, first_column = max(0, top - border), max(0, left - border)
            tile = x[first_row : bottom + border, first_column : right + border]
            tile = tile.to(torch.float64).contiguous()
            for layer, activation in self._steps:
                tile = layer(tile)
                if activation is not None:
                    tile = activation(tile)
            if out is None:
                size = (x.shape[0] * scale, x.shape[1] * scale, tile.shape[2])
                out = torch.empty(size, dtype=torch.int32, device=x.device)
            own = tile[(top - first_row) * scale :, (left - first_column) * scale :]
            place = out[top * scale : bottom * scale, left * scale : right * scale]
            place.copy_(own[: place.shape[0], : place.shape[1]])
        assert out is not None
        return out


def linear_steps(
    modules: Iterable[nn.Module], what: str
) -> list[tuple[ExactLinear, Activation | None]]:
    """A chain of 1x1 convolutions as layers on lists of positions, each with its activation.

    Raises `ValueError` for what has no exact form.
    """
    return [(ExactLinear.from_conv(m, what), a) for m, a in _steps(modules, what)]


def _steps(modules: Iterable[nn.Module], what: str) -> list[tuple[Any, Activation | None]]:
    """(layer, activation behind it or `None`) of modules in order."""
    steps: list[tuple[nn.Module, Activation | None]] = []
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Sequential):
            steps.append((module, None))
        elif steps and steps[-1][1] is None:
            steps[-1] = (steps[-1][0], exact_activation(module, what))
        else:
            raise ValueError(f"{what}: {type(module).__name__} does not follow a layer")
    return steps


def _cuts(length: int) -> list[tuple[int, int]]:
    """(start, stop) of consecutive pieces of at most `_TILE`."""
    return [(start, min(start + _TILE, length)) for start in range(0, length, _TILE)]
