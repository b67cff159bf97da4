"""Context coding in wavefronts: the autoregressive part of an entropy model, exact and batched.

A masked 5x5 convolution (type A) lets position (y, x) see two rows above, from x-2 to x+2, and two
positions to its left.  So all positions of equal x + 3y are independent of each other and are
decoded together: W + 3(H-1) steps instead of H·W.  Positions that a mask leaves out are skipped;
their latents are 0.

The encoder knows all latents and evaluates many wavefronts at once.  Because the arithmetic is
exact (`codecs.learned.exact`), that gives the decoder's parameters to the bit.

Latents are ŷ = round(y); the mean appears in the probability only.  (Rounding y - μ instead, as
CompressAI's `compress` does and its `forward` does not, would make encoding sequential too.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecs.learned.coders.density import GaussianDensity, MixtureDensity, Theta
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.exact.arithmetic import (
    ACTIVATION_LIMIT,
    ExactLinear,
    latent_to_grid,
    requantise,
)
from codecs.learned.exact.chain import Activation, linear_steps
from codecs.learned.exact.limbs import limb_count, split
from codecs.learned.layers import MaskedConv2d

_KERNEL, _REACH = 5, 2
_TAPS = tuple((y, x) for y in range(3) for x in range(_KERNEL) if (y, x) < (_REACH, _REACH))
_BATCH = 1024
"""Positions evaluated at once where that is possible, at least: bounds memory."""
_LATENT_LIMBS = 2
"""Limbs that hold any latent."""
_Step = tuple[ExactLinear, Activation | None]


def wavefronts(height: int, width: int, mask: NDArray[np.bool_] | None) -> list[NDArray[np.int64]]:
    """Raster indices y·width + x of the positions to code, one array per wavefront.

    Wavefronts (x + 3y) ascend, inside one y ascends; empty ones are left out.
    """
    positions = np.arange(height * width) if mask is None else np.flatnonzero(mask)
    front = positions % width + 3 * (positions // width)
    order = np.argsort(front, kind="stable")
    cuts = np.flatnonzero(np.diff(front[order])) + 1
    return [f for f in np.split(positions[order], cuts) if len(f)]


class _CausalConv:
    """The masked convolution on gathered windows of latents -> [n, O] activations."""

    def __init__(self, context: MaskedConv2d) -> None:
        if context.kernel_size != (_KERNEL, _KERNEL):
            raise ValueError("the wavefront order is that of a 5x5 context")
        weight = context.causal_weight
        taps = torch.stack([weight[:, :, y, x] for y, x in _TAPS], 1)  # [O, 12, M]
        self.linear = ExactLinear(taps.flatten(1), context.bias, "context model")

    def to(self, device: torch.device | str) -> None:
        self.linear.to(device)

    def __call__(self, windows: Tensor) -> Tensor:
        """`windows` int8 [limbs, n, 12·M]."""
        sums = self.linear.matrix.times_limbs(windows)
        return requantise(latent_to_grid(sums).add_(self.linear.bias))


class ContextCoder:
    """Codes latents [H, W, M] given side information ψ [H, W, P] known to both sides.

    θ = head(concat(ψ, φ)), φ = masked convolution of ŷ + offset, `head` a chain of 1x1 convolutions
    with activations between; ψ has `side_channels` channels P and φ the rest of the head's inputs.
    θ's meaning is `density`'s.  The real-valued weights are rounded here.

    Without a `context`, φ is the offset alone (or absent), and all positions are one wavefront.
    With an empty `head`, θ = ψ.
    """

    def __init__(
        self,
        context: MaskedConv2d | None,
        head: Sequence[nn.Module],
        density: GaussianDensity | MixtureDensity,
        side_channels: int,
    ) -> None:
        self._context = None if context is None else _CausalConv(context)
        self._head: list[_Step] = list(linear_steps(head, "entropy parameters"))
        self.density = density
        outputs = side_channels
        if self._head:
            first, outputs = self._head[0][0], len(self._head[-1][0].bias)
            self._psi, self._phi = first.split(
                side_channels, first.matrix.weight.shape[1] - side_channels
            )
        elif context is not None:
            raise ValueError("a context needs a head that takes it in")
        self.channels = outputs // density.parameters

    def to(self, device: torch.device | str) -> ContextCoder:
        if self._context is not None:
            self._context.to(device)
        if self._head:
            for layer in (self._psi, self._phi, *(layer for layer, _ in self._head[1:])):
                layer.to(device)
        return self

    def _fronts(
        self, height: int, width: int, mask: NDArray[np.bool_] | None
    ) -> list[NDArray[np.int64]]:
        if self._context is not None:
            return wavefronts(height, width, mask)
        positions = np.arange(height * width) if mask is None else np.flatnonzero(mask)
        return [positions[i : i + _BATCH] for i in range(0, len(positions), _BATCH)]

    def _batches(
        self, height: int, width: int, mask: NDArray[np.bool_] | None
    ) -> Iterator[list[NDArray[np.int64]]]:
        """Successive fronts of about `_BATCH` positions together."""
        batch: list[NDArray[np.int64]] = []
        count = 0
        for front in self._fronts(height, width, mask):
            batch.append(front)
            count += len(front)
            if count >= _BATCH:
                yield batch
                batch, count = [], 0
        if batch:
            yield batch

    def encode(
        self,
        encoder: SymbolEncoder,
        latents: Int32s,
        psi: Tensor,
        mask: NDArray[np.bool_] | None = None,
        phi_offset: Tensor | None = None,
    ) -> None:
        """Code `latents` int32[H, W, M], which are 0 outside `mask` bool[H, W].

        `psi` float64[H, W, P] and `phi_offset` (added to φ) hold activation integers.
        """
        for front, theta in self.thetas(latents, psi, mask, phi_offset):
            self.density.encode(encoder, latents.reshape(-1, self.channels)[front], theta)

    def thetas(
        self,
        latents: Int32s,
        psi: Tensor,
        mask: NDArray[np.bool_] | None = None,
        phi_offset: Tensor | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], Theta]]:
        """(raster indices, θ) of each wavefront, all latents being known."""
        height, width, _ = latents.shape
        state = _State(self, psi, phi_offset)
        state.write(
            torch.arange(height * width, device=psi.device), latents.reshape(height * width, -1)
        )
        for batch in self._batches(height, width, mask):
            positions = torch.from_numpy(np.concatenate(batch)).to(psi.device)
            theta = state.theta(positions, state.base(positions))
            cuts = np.cumsum([len(front) for front in batch[:-1]])
            yield from zip(batch, np.split(theta, cuts), strict=True)

    def decode(
        self,
        decoder: SymbolDecoder,
        psi: Tensor,
        mask: NDArray[np.bool_] | None = None,
        phi_offset: Tensor | None = None,
    ) -> Int32s:
        """The latents int32[H, W, M] that `encode` was given with the same ψ, mask and offset."""
        height, width, _ = psi.shape
        state = _State(self, psi, phi_offset)
        latents = np.zeros((height * width, self.channels), np.int32)
        for batch in self._batches(height, width, mask):
            positions = torch.from_numpy(np.concatenate(batch)).to(psi.device)
            sizes = [len(front) for front in batch]
            parts = positions.split(sizes), state.base(positions).split(sizes)
            for front, where, base in zip(batch, *parts, strict=True):
                values = self.density.decode(decoder, state.theta(where, base))
                latents[front] = values
                state.write(where, values)
        return latents.reshape(height, width, -1)


class _State:
    """Latents decoded so far, as limbs and padded for the 5x5 window, and what ψ adds to θ."""

    def __init__(self, coder: ContextCoder, psi: Tensor, phi_offset: Tensor | None) -> None:
        self.coder = coder
        height, self.width, _ = psi.shape
        self.stride = self.width + 2 * _REACH
        size = (_LATENT_LIMBS, (height + _REACH) * self.stride, coder.channels)
        self.limbs = psi.new_zeros(size, dtype=torch.int8)
        self.used = 1
        """Limbs that any latent so far needs."""
        self.psi = psi.reshape(height * self.width, -1)
        self.offset = None if phi_offset is None else phi_offset.reshape(height * self.width, -1)
        self.window = torch.tensor([y * self.stride + x for y, x in _TAPS], device=psi.device)

    def base(self, positions: Tensor) -> Tensor:
        """ψ's share of the first layer's sums, which are linear in (ψ, φ); ψ itself without one."""
        psi = self.psi.index_select(0, positions)
        return self.coder._psi.accumulate(psi) if self.coder._head else psi.to(torch.float64)

    def corner(self, positions: Tensor) -> Tensor:
        """Index into `limbs` of the top left corner of each position's window."""
        return positions + torch.div(positions, self.width, rounding_mode="floor") * (2 * _REACH)

    def _phi(self, positions: Tensor) -> Tensor | None:
        coder = self.coder
        offset = None if self.offset is None else self.offset.index_select(0, positions)
        if coder._context is None:
            return offset
        window = (self.corner(positions)[:, None] + self.window).view(-1)
        windows = self.limbs[: self.used].index_select(1, window)
        phi = coder._context(windows.view(self.used, len(positions), -1))
        if offset is not None:
            phi.add_(offset).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return phi

    def theta(self, positions: Tensor, base: Tensor) -> Theta:
        """θ at `positions`, of `base` there, which is overwritten."""
        phi = self._phi(positions)
        if phi is not None:
            base += self.coder._phi.matrix.times(phi)
        for index, (layer, activation) in enumerate(self.coder._head):
            base = requantise(base if index == 0 else layer.accumulate(base))
            if activation is not None:
                base = activation(base)
        theta: Theta = base.cpu().numpy()
        return theta

    def write(self, positions: Tensor, values: Int32s) -> None:
        latents = torch.from_numpy(values)
        self.used = max(self.used, limb_count(latents))
        centre = self.corner(positions) + _REACH * self.stride + _REACH
        self.limbs[: self.used, centre] = split(latents, self.used).to(self.limbs.device)
