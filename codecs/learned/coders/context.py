"""Context coding in wavefronts: the autoregressive part of an entropy model, exact and batched.

A masked 5x5 convolution (type A) lets position (y, x) see two rows above, from x-2 to x+2, and two
positions to its left.  So all positions of equal x + 3y are independent of each other and are
decoded together: W + 3(H-1) steps instead of H·W; of a window that reaches r columns to the right,
those of equal x + (r+1)y.  Positions that a mask leaves out are skipped; their latents are 0.

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
from codecs.learned.coders.dither import Lattice
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.exact.arithmetic import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    ExactLinear,
    leaky_relu,
    requantise,
)
from codecs.learned.exact.chain import Activation, linear_steps
from codecs.learned.exact.limbs import limb_count, split
from codecs.learned.layers import MaskedConv2d, Window, WindowContext

_BATCH = 1024
"""Positions evaluated at once where that is possible, at least: bounds memory."""
_WRITTEN = 1 << 14
"""Positions whose latents an encoder takes over at once."""
_LATENT_LIMBS = 2
"""Limbs that hold any latent, ..."""
_POINT_LIMBS = 3
"""... and any point of a lattice."""
_NOTHING = Window(0, 0, 0)


def wavefronts(
    height: int, width: int, mask: NDArray[np.bool_] | None, right: int = 2
) -> list[NDArray[np.int64]]:
    """Raster indices y·width + x of the positions to code, one array per wavefront, where contexts
    reach `right` columns to the right.

    Wavefronts (x + 3y where that is 2) ascend, inside one y ascends; empty ones are left out.
    """
    positions = np.arange(height * width) if mask is None else np.flatnonzero(mask)
    front = positions % width + (right + 1) * (positions // width)
    order = np.argsort(front, kind="stable")
    cuts = np.flatnonzero(np.diff(front[order])) + 1
    return [f for f in np.split(positions[order], cuts) if len(f)]


class _MaskedConv:
    """What the head's first layer sees of a masked convolution's features φ."""

    def __init__(self, context: MaskedConv2d, head: ExactLinear) -> None:
        taps = [context.causal_weight[:, :, y, x] for y, x in context.window.past]
        self.linear = ExactLinear(torch.cat(taps, 1), context.bias, "context model")
        self.head = head

    def to(self, device: torch.device | str) -> None:
        self.linear.to(device)
        self.head.to(device)

    def sums(self, windows: Tensor, unit: int, offset: Tensor | None) -> Tensor:
        """Of the latents decoded so far, int8 [limbs, n, taps·M]: accumulators [n, O].

        `unit` is what 1 in the windows is as an activation integer.
        """
        sums = self.linear.matrix.times_limbs(windows)
        phi = requantise(sums.mul_(unit).add_(self.linear.bias))
        if offset is not None:
            phi.add_(offset).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return self.head.matrix.times(phi)


class _Latents:
    """What a `WindowContext` sees of the latents."""

    def __init__(self, linear: ExactLinear) -> None:
        self.linear = linear

    def to(self, device: torch.device | str) -> None:
        self.linear.to(device)

    def sums(self, windows: Tensor, unit: int, offset: Tensor | None) -> Tensor:
        """As `_MaskedConv` has it."""
        if offset is not None:
            raise ValueError("windows have no features to add anything to")
        return self.linear.matrix.times_limbs(windows).mul_(unit)


class ContextCoder:
    """Codes latents [H, W, M] given side information ψ [H, W, P] known to both sides.

    θ = head(concat(ψ, φ)), φ = masked convolution of ŷ + offset, `head` a chain of 1x1 convolutions
    with activations between; ψ has `side_channels` channels P and φ the rest of the head's inputs.
    θ's meaning is `density`'s.  The real-valued weights are rounded here.

    Without a `context`, φ is the offset alone (or absent), and all positions are one wavefront.
    With an empty `head`, θ = ψ.  With a `WindowContext`, θ = head(context(ψ, ŷ)).
    """

    def __init__(
        self,
        context: MaskedConv2d | WindowContext | None,
        head: Sequence[nn.Module],
        density: GaussianDensity | MixtureDensity,
        side_channels: int,
    ) -> None:
        steps = linear_steps(head, "entropy parameters")
        if context is not None and not steps:
            raise ValueError("a context needs a head that takes it in")
        self.density = density
        outputs = len(steps[-1][0].bias) if steps else side_channels
        self.channels = outputs // density.parameters
        self.window = _NOTHING if context is None else context.window
        self.side_window = _NOTHING
        """What is seen of ψ."""
        self._context: _MaskedConv | _Latents | None = None
        self._phi: ExactLinear | None = None
        self._side: ExactLinear | None = None
        """ψ's share of the first layer's sums, which are linear in ψ and in what else it sees."""
        self._first: Activation | None = None
        self._rest: list[tuple[ExactLinear, Activation | None]] = []
        if isinstance(context, WindowContext):
            self.side_window = context.window
            self._side, latents = _window_layer(context)
            self._context = _Latents(latents)
            self._first, self._rest = leaky_relu, steps
        elif steps:
            (first, self._first), *self._rest = steps
            self._side, phi = first.split(
                side_channels, first.matrix.weight.shape[1] - side_channels
            )
            if context is None:
                self._phi = phi
            else:
                self._context = _MaskedConv(context, phi)

    def to(self, device: torch.device | str) -> ContextCoder:
        for part in (self._context, self._phi, self._side, *(layer for layer, _ in self._rest)):
            if part is not None:
                part.to(device)
        return self

    def _fronts(
        self, height: int, width: int, mask: NDArray[np.bool_] | None
    ) -> list[NDArray[np.int64]]:
        if self._context is not None:
            return wavefronts(height, width, mask, self.window.right)
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
        lattice: Lattice | None = None,
    ) -> None:
        """Code `latents` int32[H, W, M], which are 0 outside `mask` bool[H, W].

        `psi` float64[H, W, P] and `phi_offset` (added to φ) hold activation integers.  With a
        `lattice`, whose points the latents number, the context and θ are of these points.
        """
        for front, theta in self.thetas(latents, psi, mask, phi_offset, lattice):
            self.density.encode(encoder, latents.reshape(-1, self.channels)[front], theta)

    def thetas(
        self,
        latents: Int32s,
        psi: Tensor,
        mask: NDArray[np.bool_] | None = None,
        phi_offset: Tensor | None = None,
        lattice: Lattice | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], Theta]]:
        """(raster indices, θ) of each wavefront, all latents being known."""
        height, width, _ = latents.shape
        state = _State(self, psi, phi_offset, lattice)
        flat = latents.reshape(height * width, -1)
        for start in range(0, height * width, _WRITTEN):
            part = flat[start : start + _WRITTEN]
            state.write(torch.arange(start, start + len(part), device=psi.device), part)
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
        lattice: Lattice | None = None,
    ) -> Int32s:
        """The latents int32[H, W, M] that `encode` was given with the same ψ, mask, offset and
        lattice."""
        height, width, _ = psi.shape
        state = _State(self, psi, phi_offset, lattice)
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


def _window_layer(context: WindowContext) -> list[ExactLinear]:
    """The convolution of a `WindowContext` on gathered windows of ψ and of ŷ."""
    kernel, bias = context.kernel()
    window = context.window
    taps = [kernel[:, : context.side, y, x] for y, x in window.places]
    taps += [kernel[:, context.side :, y, x] for y, x in window.past]
    whole = ExactLinear(torch.cat(taps, 1), bias, "context model")
    side = len(window.places) * context.side
    return whole.split(side, whole.matrix.weight.shape[1] - side)


class _State:
    """Latents decoded so far, as limbs and padded for the window, and what ψ adds to θ."""

    def __init__(
        self,
        coder: ContextCoder,
        psi: Tensor,
        phi_offset: Tensor | None,
        lattice: Lattice | None,
    ) -> None:
        self.coder, self.lattice = coder, lattice
        fraction_bits, limbs = 0, _LATENT_LIMBS
        if lattice is not None:
            fraction_bits, limbs = lattice.fraction_bits, _POINT_LIMBS
        self.unit = 1 << (ACTIVATION_BITS - fraction_bits)
        """What is written, 1 of it as an activation integer."""
        window = coder.window
        height, self.width, _ = psi.shape
        self.stride = self.width + window.left + window.right
        size = (limbs, (height + window.above) * self.stride, coder.channels)
        self.limbs = psi.new_zeros(size, dtype=torch.int8)
        self.used = 1
        """Limbs that any latent so far needs."""
        self.psi = psi.reshape(height * self.width, -1)
        self.offset = None if phi_offset is None else phi_offset.reshape(height * self.width, -1)
        self.past = torch.tensor([y * self.stride + x for y, x in window.past], device=psi.device)
        around = coder.side_window
        self.around = torch.tensor(around.places, device=psi.device) - torch.tensor(
            (around.above, around.left), device=psi.device
        )

    def base(self, positions: Tensor) -> Tensor:
        """ψ's share of the first layer's sums; ψ itself without one."""
        psi = self._side_information(positions)
        side = self.coder._side
        return psi.to(torch.float64) if side is None else side.accumulate(psi)

    def _side_information(self, positions: Tensor) -> Tensor:
        """ψ in the windows around `positions`, 0 beyond the picture: [n, taps·P]."""
        if len(self.around) == 1:
            return self.psi.index_select(0, positions)
        rows = torch.div(positions, self.width, rounding_mode="floor")[:, None] + self.around[:, 0]
        columns = (positions % self.width)[:, None] + self.around[:, 1]
        inside = (rows >= 0) & (columns >= 0) & (columns < self.width)
        index = torch.where(inside, rows * self.width + columns, 0)
        return (self.psi[index] * inside[:, :, None]).flatten(1)

    def corner(self, positions: Tensor) -> Tensor:
        """Index into `limbs` of the top left corner of each position's window."""
        rows = torch.div(positions, self.width, rounding_mode="floor")
        return positions + rows * (self.stride - self.width)

    def _past_sums(self, positions: Tensor) -> Tensor | None:
        """What the first layer's sums have beside ψ's share."""
        coder = self.coder
        offset = None if self.offset is None else self.offset.index_select(0, positions)
        if coder._context is None:
            if offset is None or coder._phi is None:
                return None
            return coder._phi.matrix.times(offset)
        window = (self.corner(positions)[:, None] + self.past).view(-1)
        windows = self.limbs[: self.used].index_select(1, window)
        windows = windows.view(self.used, len(positions), -1)
        return coder._context.sums(windows, self.unit, offset)

    def theta(self, positions: Tensor, base: Tensor) -> Theta:
        """θ at `positions`, of `base` there, which is overwritten."""
        coder = self.coder
        past = self._past_sums(positions)
        if past is not None:
            base += past
        if coder._side is not None:
            base = requantise(base)
            if coder._first is not None:
                base = coder._first(base)
        for layer, activation in coder._rest:
            base = requantise(layer.accumulate(base))
            if activation is not None:
                base = activation(base)
        theta: Theta = base.cpu().numpy()
        if self.lattice is not None:
            theta = self.lattice.theta(theta, positions.cpu().numpy(), self.width)
        return theta

    def write(self, positions: Tensor, values: Int32s) -> None:
        if self.lattice is not None:
            values = self.lattice.points(values, positions.cpu().numpy(), self.width)
        latents = torch.from_numpy(values)
        self.used = max(self.used, limb_count(latents))
        window = self.coder.window
        place = self.corner(positions) + window.above * self.stride + window.left
        self.limbs[: self.used, place] = split(latents, self.used).to(self.limbs.device)
