"""A 3-D context over channels, rows and columns: probabilities of symbols by those before them.

Mentzer et al., "Conditional Probability Models for Deep Image Compression", CVPR 2018, section 3.2:
a latent is a volume [C, h, w], coded channel by channel in raster order, and a small network P of
masked 3-D convolutions, the same everywhere, tells the probabilities of each symbol's values:

    v ── 3x3x3 ── ReLU ──┬── 3x3x3 ── ReLU ── 3x3x3 ── + ── 3x3x3 ──> logits
                         └────────────────────────────┘

Here it is exact, and quick to decode.  A kernel sees the channel before, rows and columns to ±1,
and in its own channel the row above and what is to the left.  So whatever (c, y, x) depends on has
a smaller t = 4c + 2y + x, all positions of one t are independent of each other, and t fronts serve
C·h·w symbols: 346 fronts for the 196,608 of 768 x 512 pixels at stride 8 with 32 channels.  No
kernel reaches back further than 7 fronts, and no feature is computed twice: what each layer made of
the last 8 fronts is all that is kept.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecs.learned.coders.rangecoding import Int32s, Rows, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import categorical
from codecs.learned.exact.arithmetic import ACTIVATION_LIMIT, ExactLinear, relu
from codecs.learned.layers import MaskedConv2d

FEATURES = 24
"""Of P's hidden layers, the paper's number."""
_SIDE = 3
_FRONTS = 8
"""Kept at a time."""
_STEPS = (4, 2, 1)
"""How much t grows with c, y and x."""


Where = tuple[NDArray[np.int64], ...]
"""Indices of positions: channels, rows, columns."""


class MaskedConv3d(MaskedConv2d):
    """3x3x3 convolution of volumes [B, C, I, h, w] that sees what is coded before a position, and
    with `centre` the position itself; zeros are around the volume.

    The mask is that of algorithm 1 in "Learned Image Compression" (D. Xu's tutorial), whose last
    third is empty.  The rest is a 2-D convolution of each channel together with the one before it.
    """

    def __init__(self, inputs: int, outputs: int, centre: bool = True) -> None:
        super().__init__(2 * inputs, outputs, _SIDE)
        order = torch.arange(2 * _SIDE**2).view(2, 1, _SIDE, _SIDE).expand(-1, inputs, -1, -1)
        self.mask = (order < 3 * _SIDE**2 // 2 + centre).flatten(0, 1).float()

    def forward(self, input: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(input[:, :1]), input[:, :-1]], 1)
        pairs = torch.cat([before, input], 2)
        return super().forward(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])

    def taps(self) -> Iterator[tuple[tuple[int, int, int], Tensor]]:
        """(offset in channels, rows and columns, weight [O, I]) of all that the kernel sees."""
        seen = self.mask.unflatten(0, (2, -1))[:, 0] > 0
        weight = self.causal_weight.unflatten(1, (2, -1))
        for c, y, x in seen.nonzero().tolist():
            yield (c - 1, y - 1, x - 1), weight[:, c, :, y, x]


class VolumeContext(nn.Module):
    """P: logits of `symbols` values at each position of a volume."""

    def __init__(self, symbols: int, features: int = FEATURES) -> None:
        super().__init__()
        self.first = MaskedConv3d(1, features, centre=False)
        self.residual = nn.ModuleList(MaskedConv3d(features, features) for _ in range(2))
        self.last = MaskedConv3d(features, symbols)

    def forward(self, values: Tensor) -> Tensor:
        """Logits [B, C, symbols, h, w] of `values` [B, C, 1, h, w], 0 where there are none."""
        first, second = self.residual
        x = torch.relu(self.first(values))
        logits: Tensor = self.last(x + second(torch.relu(first(x))))
        return logits


class _Places:
    """The fronts of a volume [C, h, w], and slots for what is kept of a front: one for each channel
    and row, or column where there are fewer, with a border of zeros."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        channels, height, width = shape
        self.axis, self.length = (1, width) if height <= width else (2, height)
        self.step = _STEPS[3 - self.axis]
        """Of t along the axis that slots have not."""
        across = min(height, width)
        self.stride = across + 2
        self.size = (channels + 1) * self.stride
        self.count = sum(step * (n - 1) for step, n in zip(_STEPS, shape, strict=True)) + 1
        self._c, self._across = np.indices((channels, across)).reshape(2, -1)
        self._start = _STEPS[0] * self._c + _STEPS[self.axis] * self._across

    def front(self, t: int) -> Where:
        """(c, y, x) of the positions of front t."""
        along, rest = np.divmod(t - self._start, self.step)
        inside = np.flatnonzero((rest == 0) & (along >= 0) & (along < self.length))
        other = self._across[inside], along[inside]
        y, x = other if self.axis == 1 else other[::-1]
        return self._c[inside], y, x

    def slots(self, where: Where) -> NDArray[np.int64]:
        """Of positions (c, y, x)."""
        return (where[0] + 1) * self.stride + where[self.axis] + 1

    def seen(self, offset: tuple[int, int, int]) -> tuple[int, int]:
        """How many fronts, and how many slots, an offset in (c, y, x) leads on."""
        return sum(map(operator.mul, _STEPS, offset)), offset[0] * self.stride + offset[self.axis]


class _ExactKernel:
    """A masked convolution in integers."""

    def __init__(self, kernel: MaskedConv3d) -> None:
        self.offsets, weights = zip(*kernel.taps(), strict=True)
        self.linear = ExactLinear(torch.cat(weights, 1), kernel.bias, "3-D context")


class _Reader:
    """A kernel with what it sees: its inputs at the last fronts."""

    def __init__(self, kernel: _ExactKernel, places: _Places) -> None:
        self.linear = kernel.linear
        self.inputs = kernel.linear.matrix.weight.shape[1]
        inputs = self.inputs // len(kernel.offsets)
        # 32 bits hold activations, which have 25.
        self.kept = torch.zeros(_FRONTS, places.size, inputs)
        later, further = np.array([places.seen(offset) for offset in kernel.offsets]).T
        fronts = (np.arange(_FRONTS)[:, None] + later) % _FRONTS
        self.offsets = torch.from_numpy(fronts * places.size + further)
        """[8, taps] into the flattened `kept`, from the slot of a position, by t modulo 8."""

    def __call__(self, t: int, slots: Tensor) -> Tensor:
        """Activations [n, O] at positions of front t."""
        seen = (slots[:, None] + self.offsets[t % _FRONTS]).flatten()
        windows = self.kept.flatten(0, 1).index_select(0, seen)
        return self.linear(windows.view(len(slots), self.inputs).double())

    def keep(self, t: int, slots: Tensor, values: Tensor) -> None:
        """The inputs [n, I] at positions of front t, in the place of those 8 fronts before."""
        front = self.kept[t % _FRONTS]
        front.zero_()
        front[slots] = values.float()


class VolumeCoder:
    """Codes volumes of symbols 0 ... L-1, int32 [C, h, w], by an exact `VolumeContext`, in which
    symbol s is worth `values[s]`, an activation integer."""

    def __init__(self, context: VolumeContext, values: NDArray[np.int64]) -> None:
        """Raises `ValueError` where the numbers of symbols differ, and `InexactError`."""
        if len(values) != context.last.out_channels:
            raise ValueError(f"a context of {context.last.out_channels} symbols, not {len(values)}")
        self.values = values
        self.layers = [
            _ExactKernel(kernel) for kernel in (context.first, *context.residual, context.last)
        ]

    def encode(
        self, encoder: SymbolEncoder, symbols: Int32s, sent: NDArray[np.bool_] | None = None
    ) -> None:
        """`symbols`, of which only those that are `sent`, bool [C, h, w], are coded."""

        def code(where: Where, rows: Rows) -> None:
            encoder.encode_categorical(symbols[where], rows)

        self._fronts(symbols, sent, code)

    def decode(
        self, decoder: SymbolDecoder, symbols: Int32s, sent: NDArray[np.bool_] | None = None
    ) -> None:
        """Overwrite those of `symbols` that are `sent` with what `encode` was given there; the
        others must be what they were.  Raises `BitstreamError`."""

        def code(where: Where, rows: Rows) -> None:
            symbols[where] = decoder.decode_categorical(rows)

        self._fronts(symbols, sent, code)

    def _fronts(
        self,
        symbols: Int32s,
        sent: NDArray[np.bool_] | None,
        code: Callable[[Where, Rows], None],
    ) -> None:
        """Have `code` code the symbols of one front after another, given their places and rows of
        frequencies."""
        places = _Places(symbols.shape)
        reads = [_Reader(kernel, places) for kernel in self.layers]
        for t in range(places.count):
            where = places.front(t)
            at = torch.from_numpy(places.slots(where))
            x = relu(reads[0](t, at))
            reads[1].keep(t, at, x)
            reads[2].keep(t, at, relu(reads[1](t, at)))
            x += reads[2](t, at)
            reads[3].keep(t, at, x.clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT))
            chosen = slice(None) if sent is None else np.flatnonzero(sent[where])
            logits = reads[3](t, at[chosen]).numpy().astype(np.int64)
            if len(logits):
                code((where[0][chosen], where[1][chosen], where[2][chosen]), categorical(logits))
            reads[0].keep(t, at, torch.from_numpy(self.values[symbols[where]])[:, None])
