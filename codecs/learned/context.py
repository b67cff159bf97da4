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

from codecs.learned.density import GaussianDensity, MixtureDensity, Theta
from codecs.learned.exact import ACTIVATION_LIMIT, ExactLinear, latent_to_grid, requantise
from codecs.learned.layers import MaskedConv2d
from codecs.learned.rangecoding import Int32s, SymbolDecoder, SymbolEncoder

_KERNEL, _REACH = 5, 2
_TAPS = tuple((y, x) for y in range(3) for x in range(_KERNEL) if (y, x) < (_REACH, _REACH))
_BATCH = 1024
"""Positions the encoder evaluates at once, at least: bounds its memory."""


def wavefronts(height: int, width: int, mask: NDArray[np.bool_] | None) -> list[NDArray[np.int64]]:
    """Raster indices y·width + x of the positions to code, one array per wavefront.

    Wavefronts (x + 3y) ascend, inside one y ascends; empty ones are left out.
    """
    positions = np.arange(height * width) if mask is None else np.flatnonzero(mask)
    front = positions % width + 3 * (positions // width)
    order = np.argsort(front, kind="stable")
    cuts = np.flatnonzero(np.diff(front[order])) + 1
    return [f for f in np.split(positions[order], cuts) if len(f)]


class ContextCoder:
    """Codes latents [H, W, M] given side information ψ [H, W, P] known to both sides.

    θ = head(concat(ψ, φ)), φ = masked convolution of ŷ + offset, `head` a chain of 1x1 convolutions
    with leaky ReLUs between; ψ has `side_channels` channels P and φ the rest of the head's inputs.
    θ's meaning is `density`'s.  The real-valued weights are rounded here.

    Without a `context`, φ is the offset alone (or absent), and all positions are one wavefront.
    """

    def __init__(
        self,
        context: MaskedConv2d | None,
        head: Sequence[nn.Conv2d],
        density: GaussianDensity | MixtureDensity,
        side_channels: int,
    ) -> None:
        self._context: ExactLinear | None = None
        if context is not None:
            if context.kernel_size != (_KERNEL, _KERNEL):
                raise ValueError("the wavefront order is that of a 5x5 context")
            weight = context.causal_weight
            taps = torch.stack([weight[:, :, y, x] for y, x in _TAPS], 1)  # [O, 12, M]
            self._context = ExactLinear(taps.flatten(1), context.bias, "context model")
        layers = [ExactLinear.from_conv(conv, "entropy parameters") for conv in head]
        self._psi, self._phi = layers[0].split(side_channels, head[0].in_channels - side_channels)
        self._rest = layers[1:]
        self.channels = head[-1].out_channels // density.parameters
        self.density = density

    def to(self, device: torch.device | str) -> ContextCoder:
        for layer in (self._context, self._psi, self._phi, *self._rest):
            if layer is not None:
                layer.to(device)
        return self

    def _fronts(
        self, height: int, width: int, mask: NDArray[np.bool_] | None
    ) -> list[NDArray[np.int64]]:
        if self._context is not None:
            return wavefronts(height, width, mask)
        positions = np.arange(height * width) if mask is None else np.flatnonzero(mask)
        return [positions[i : i + _BATCH] for i in range(0, len(positions), _BATCH)]

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

    def information(
        self,
        latents: Int32s,
        psi: Tensor,
        mask: NDArray[np.bool_] | None = None,
        phi_offset: Tensor | None = None,
    ) -> float:
        """What `encode` will cost, in bits, under the integer tables."""
        flat = latents.reshape(-1, self.channels)
        fronts = self.thetas(latents, psi, mask, phi_offset)
        return sum(self.density.information(flat[front], theta) for front, theta in fronts)

    def thetas(
        self,
        latents: Int32s,
        psi: Tensor,
        mask: NDArray[np.bool_] | None = None,
        phi_offset: Tensor | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], Theta]]:
        """(raster indices, θ) of each wavefront, all latents being known."""
        state = _State(self, psi, phi_offset)
        state.padded[2:, 2:-2] = latent_to_grid(torch.from_numpy(latents).to(psi.device))
        fronts = self._fronts(latents.shape[0], latents.shape[1], mask)
        start = 0
        while start < len(fronts):
            stop, count = start, 0
            while stop < len(fronts) and count < _BATCH:
                count += len(fronts[stop])
                stop += 1
            batch = fronts[start:stop]
            theta = state.theta(np.concatenate(batch))
            cuts = np.cumsum([len(front) for front in batch[:-1]])
            yield from zip(batch, np.split(theta, cuts), strict=True)
            start = stop

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
        for front in self._fronts(height, width, mask):
            values = self.density.decode(decoder, state.theta(front))
            latents[front] = values
            state.write(front, values)
        return latents.reshape(height, width, -1)


class _State:
    """Latents decoded so far, padded for the 5x5 window, and all that ψ contributes to θ."""

    def __init__(self, coder: ContextCoder, psi: Tensor, phi_offset: Tensor | None) -> None:
        self.coder = coder
        height, self.width, _ = psi.shape
        self.stride = self.width + 2 * _REACH
        self.padded = psi.new_zeros(height + _REACH, self.stride, coder.channels)
        self.flat = self.padded.view(-1, coder.channels)
        # The first layer is linear in (ψ, φ): ψ's share is one large product for all positions.
        self.base = coder._psi.accumulate(psi.reshape(height * self.width, -1))
        self.offset = None if phi_offset is None else phi_offset.reshape(height * self.width, -1)
        self.window = torch.tensor([y * self.stride + x for y, x in _TAPS], device=psi.device)

    def _corner(self, front: Tensor) -> Tensor:
        """Index into `flat` of each position's window's top left corner."""
        return front + torch.div(front, self.width, rounding_mode="floor") * (2 * _REACH)

    def _phi(self, front: Tensor) -> Tensor | None:
        coder = self.coder
        offset = None if self.offset is None else self.offset.index_select(0, front)
        if coder._context is None:
            return offset
        window = self._corner(front)[:, None] + self.window
        taps = self.flat.index_select(0, window.view(-1)).view(len(front), -1)
        phi = coder._context(taps)
        if offset is not None:
            phi.add_(offset).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return phi

    def theta(self, front: NDArray[np.int64]) -> Theta:
        positions = torch.from_numpy(front).to(self.flat.device)
        x = self.base.index_select(0, positions)
        phi = self._phi(positions)
        if phi is not None:
            x += self.coder._phi.accumulate(phi)
        for layer in self.coder._rest:
            x = layer.accumulate(requantise(x, leaky=True))
        theta: Theta = requantise(x).cpu().numpy()
        return theta

    def write(self, front: NDArray[np.int64], values: Int32s) -> None:
        positions = torch.from_numpy(front).to(self.flat.device)
        centre = self._corner(positions) + _REACH * self.stride + _REACH
        self.flat[centre] = latent_to_grid(torch.from_numpy(values).to(self.flat.device))
