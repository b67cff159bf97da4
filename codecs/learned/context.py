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


class _CausalConv:
    """The masked convolution on gathered windows, [n, 12·M] latents -> [n, O] activations.

    Latents are small integers, so the sums often stay below 2^24, where float32 is exact too and
    twice as fast.  That is decided by a proof for the rows at hand, Σ|v|·max|w| < 2^24, and both
    ways give the same integers.
    """

    def __init__(self, context: MaskedConv2d) -> None:
        if context.kernel_size != (_KERNEL, _KERNEL):
            raise ValueError("the wavefront order is that of a 5x5 context")
        weight = context.causal_weight
        taps = torch.stack([weight[:, :, y, x] for y, x in _TAPS], 1)  # [O, 12, M]
        self.exact = ExactLinear(taps.flatten(1), context.bias, "context model")
        self.largest = self.exact.weight.abs().view(taps.shape).amax((0, 2))  # [12]
        self.single = self.exact.weight.float()

    def to(self, device: torch.device | str) -> None:
        self.exact.to(device)
        self.largest, self.single = self.largest.to(device), self.single.to(device)

    def __call__(self, windows: Tensor, norms: Tensor) -> Tensor:
        """`windows` float32[n, 12·M]; `norms` float64[n, 12]: Σ|v| over the channels."""
        bound = (norms @ self.largest).max().item()
        # Other devices, and other precisions asked for, may use TF32 or bfloat16 products.
        true_float32 = (
            windows.device.type == "cpu" and torch.get_float32_matmul_precision() == "highest"
        )
        if not true_float32 or max(bound, self.largest.max().item()) >= 1 << 24:
            return self.exact(latent_to_grid(windows))
        sums = torch.mm(windows, self.single.t())
        return requantise(latent_to_grid(sums).add_(self.exact.bias))


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
        self._context = None if context is None else _CausalConv(context)
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
        state.fill(latents)
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
        size = ((height + _REACH) * self.stride, coder.channels)
        self.flat = psi.new_zeros(size, dtype=torch.float32)
        self.norms = psi.new_zeros(size[0])
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
        window = (self._corner(front)[:, None] + self.window).view(-1)
        latents = self.flat.index_select(0, window).view(len(front), -1)
        norms = self.norms.index_select(0, window).view(len(front), -1)
        phi = coder._context(latents, norms)
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
        latents = torch.from_numpy(values).to(self.flat)
        self.flat[centre] = latents
        # Sums of up to thousands of integers up to 4096: exact in float32, too.
        self.norms[centre] = latents.abs().sum(1).to(self.norms)

    def fill(self, latents: Int32s) -> None:
        """All of [H, W, M] at once."""
        self.write(
            np.arange(latents.shape[0] * latents.shape[1]), latents.reshape(-1, self.coder.channels)
        )
