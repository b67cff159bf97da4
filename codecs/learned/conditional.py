"""Convolutions conditional on Λ: one network for several Λ, told apart by a scale and a shift of
each channel.

Choi, El-Khamy, Lee, "Variable Rate Deep Image Compression with a Conditional Autoencoder", ICCV
2019: out = softplus(u_Λ) ⊙ conv(x) + v_Λ, Λ being one of a few *levels*.

At one level that is a plain convolution, softplus(u_Λ) being folded into its kernel.  Inference is
done with these, and decoders evaluate them in integers: the scales are integers of a weights file
then, whose products with a kernel are exact, and so the same on every machine.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.initialisation import inverse_softplus
from codecs.learned.layers import MaskedConv2d
from codecs.learned.rows import RowStream

SCALE_BITS = 16
_LARGEST = 1 << 24


class ConditionalConv(nn.Module):
    """A convolution, transposed or masked too, made conditional; it begins as it is, at all levels.

    It takes over the layer `conv`, whose bias becomes v.
    """

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, levels: int) -> None:
        super().__init__()
        assert conv.bias is not None
        self.u = nn.Parameter(torch.full((levels, conv.out_channels), math.log(math.expm1(1))))
        self.v = nn.Parameter(conv.bias.detach().repeat(levels, 1))
        conv.bias = None
        self.conv: nn.Conv2d | nn.ConvTranspose2d = conv

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """`level` of each sample, integers [B], or [1] of all."""
        scale = functional.softplus(self.u[level])[:, :, None, None]
        out: Tensor = self.conv(x) * scale + self.v[level][:, :, None, None]
        return out

    @torch.no_grad()
    def folded(self, level: int, scales: Tensor | None = None) -> nn.Conv2d | nn.ConvTranspose2d:
        """The plain layer that it is at a level, in the precision of `scales` [levels, C], which
        take the place of softplus(u)."""
        scale = (functional.softplus(self.u) if scales is None else scales)[level]
        plain = copy.copy(self.conv)
        # Parameters are kept in a dictionary, which the copy would share.
        plain._parameters = {}
        axis = 1 if isinstance(plain, nn.ConvTranspose2d) else 0
        shape = [-1 if i == axis else 1 for i in range(4)]
        weight = self.conv.weight
        if isinstance(self.conv, MaskedConv2d):
            weight = self.conv.causal_weight
        plain.weight = nn.Parameter(weight * scale.view(shape), requires_grad=False)
        plain.bias = nn.Parameter(self.v[level].clone(), requires_grad=False)
        return plain

    @torch.no_grad()
    def multiply(self, factor: Tensor | float, shift: bool) -> None:
        """Multiply what it puts out, at each level by `factor` [levels, 1], `shift` with it or
        not."""
        factor = torch.as_tensor(factor, device=self.u.device)
        self.u.copy_(inverse_softplus(functional.softplus(self.u) * factor))
        if shift:
            self.v.mul_(factor)

    @torch.no_grad()
    def table(self) -> NDArray[np.int32]:
        """softplus(u) as integers of 2^-`SCALE_BITS`, [levels, C], for a weights file."""
        scales = functional.softplus(self.u.detach().double().cpu()) * 2**SCALE_BITS
        return scales.round().clamp(1, _LARGEST).int().numpy()

    def scales(self, table: NDArray[np.integer[Any]]) -> Tensor:
        """What `table` stands for, float64 [levels, C].  Raises `ValueError` if it is no such."""
        if table.shape != self.u.shape or not bool(((table > 0) & (table <= _LARGEST)).all()):
            raise ValueError("the scales of a conditional convolution are malformed")
        return torch.from_numpy(table).to(self.u.device).double() * 2.0**-SCALE_BITS


class ConditionalChain(nn.Sequential):
    """Layers in a row, of which the convolutions are conditional."""

    def __init__(self, layers: nn.Sequential, levels: int) -> None:
        """Takes over the layers of an ordinary chain."""
        super().__init__(*(conditional(layer, levels) for layer in layers))

    def forward(self, input: Tensor, level: Tensor | None = None) -> Tensor:
        """`level` of each sample, integers [B], or [1] of all."""
        assert level is not None
        if not torch.is_grad_enabled() and len(input) == 1:
            rows: Tensor = RowStream(*self.folded(int(level[0])))(input)
            return rows
        for layer in self:
            input = layer(input, level) if isinstance(layer, ConditionalConv) else layer(input)
        return input

    def folded(self, level: int, tables: dict[str, Any] | None = None) -> Iterator[nn.Module]:
        """The layers at a level; with `tables`, those for exact arithmetic."""
        for name, layer in self.named_children():
            if not isinstance(layer, ConditionalConv):
                yield layer
            elif tables is None:
                yield layer.folded(level)
            else:
                yield layer.folded(level, layer.scales(tables[name]))

    def tables(self) -> dict[str, NDArray[np.int32]]:
        """Those of its convolutions, by their places."""
        parts = self.named_children()
        return {name: part.table() for name, part in parts if isinstance(part, ConditionalConv)}


class AtLevel(nn.Module):
    """A chain at the `level` of each sample, integers [B] or [1], as a function of one input."""

    def __init__(self, chain: ConditionalChain, level: Tensor) -> None:
        super().__init__()
        self.chain, self.level = chain, level

    def forward(self, input: Tensor) -> Tensor:
        out: Tensor = self.chain(input, level=self.level)
        return out


def conditional(layer: nn.Module, levels: int) -> nn.Module:
    """A convolution made conditional; any other layer as it is."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return ConditionalConv(layer, levels)
    return layer
