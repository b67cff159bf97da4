"""Entropy models of binary codes that come in passes: float in training, exact in streams.

A pass is a code b of -1 and +1, [M, h, w].  Whatever a probability depends on is bits, of this pass
and of those before, so a decoder needs no more than it has decoded:

    passes before ── state, recurrent ──┐
    rows above, this pass ──────────────┴─> hidden ──> logits [M] of each position
    channels before, this row ─────────────────────────+

Rows are coded from above, and in a row channel after channel, each for all columns at once: a row's
bits then depend on their neighbours to both sides in the channels before.

That is the task of the entropy coder of Toderici et al., CVPR 2017 (`BinaryRNN`): its
PixelRNN looks at the pass so far and a convolutional LSTM at the passes before.  Here both are
convolutions in exact integers; the state's recurrence has a clamp where an LSTM has gates.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import BitstreamError
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import TOTAL, exponential
from codecs.learned.exact.arithmetic import (
    ACCUMULATOR_BITS,
    ACTIVATION_BITS,
    ExactConv,
    ExactLinear,
    relu,
    requantise,
)
from codecs.learned.layers import Conv1x1, conv

Bits = NDArray[np.int8]
"""-1 or 1; of a pass [M, h, w]."""
LIMIT = 7
"""Largest logit, in nats: no bit is surer than 0.9991, which costs 0.0013 bits."""
_STEP_BITS = 6
"""Logits are rounded to 1/64 for the table of probabilities."""
_ONE = 2.0**ACTIVATION_BITS
_ROWS, _COLUMNS = 2, 5
"""The window above a position."""


class BitModel(nn.Module, ABC):
    """What a network has to say of its bits."""

    @abstractmethod
    def rate(self, bits: Tensor) -> Tensor:
        """Estimated bits [B, T] of the passes [B, T, M, h, w], -1 or 1."""

    @abstractmethod
    def coder(self) -> BitCoder:
        """With the weights as they are now; raises `ValueError` for such as are not exact."""


class BitCoder(ABC):
    """Codes the passes of pictures."""

    @abstractmethod
    def begin(self, shape: tuple[int, int, int]) -> PassCoder:
        """Ready for the first pass of a picture whose passes have the `shape` (M, h, w)."""


class PassCoder(ABC):
    """Codes the passes of one picture, in order."""

    @abstractmethod
    def encode(self, bits: Bits) -> bytes:
        """The next pass, in a whole number of 32-bit words."""

    @abstractmethod
    def decode(self, payload: bytes) -> Bits:
        """The next pass; zeros behind it are not looked at.  Raises `BitstreamError`."""


class RawBits(BitModel, BitCoder):
    """No model: a bit is a bit."""

    def rate(self, bits: Tensor) -> Tensor:
        return bits.new_full(bits.shape[:2], math.prod(bits.shape[2:]))

    def coder(self) -> RawBits:
        return self

    def begin(self, shape: tuple[int, int, int]) -> _RawPasses:
        return _RawPasses(shape)


class _RawPasses(PassCoder):
    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._shape = shape

    def encode(self, bits: Bits) -> bytes:
        data = np.packbits(bits > 0).tobytes()
        return data.ljust(-(-len(data) // 4) * 4, b"\0")

    def decode(self, payload: bytes) -> Bits:
        count = math.prod(self._shape)
        if 8 * len(payload) < count:
            raise BitstreamError("a pass is shorter than the bits of its picture")
        bits = np.unpackbits(np.frombuffer(payload, np.uint8), count=count)
        return (2 * bits.astype(np.int8) - 1).reshape(self._shape)


class EarlierChannels(nn.Conv2d):
    """Convolution 1x3 in which an output sees only the channels before it."""

    mask: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (1, 3), padding=(0, 1), bias=False)
        mask = torch.ones(channels, channels).tril(-1)[:, :, None, None]
        self.register_buffer("mask", mask, persistent=False)

    @property
    def causal_weight(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, input: Tensor) -> Tensor:
        return functional.conv2d(input, self.causal_weight, padding=self.padding)


class ContextBits(BitModel):
    """See the module; S channels in the state and in the hidden layer."""

    def __init__(self, M: int, S: int) -> None:
        super().__init__()
        self.earlier = conv(M + S, S, 3, 1)
        self.of_earlier = Conv1x1(S, S)
        self.above = nn.Conv2d(M, S, (_ROWS, _COLUMNS), bias=False)
        self.inside = EarlierChannels(M)
        self.out = Conv1x1(S, M)
        with torch.no_grad():
            for last in (self.inside, self.out):  # the first guess: all is even
                last.weight *= 0.1

    def rate(self, bits: Tensor) -> Tensor:
        count, passes = bits.shape[:2]
        zeros = torch.zeros_like(bits[:, 0])
        state = zeros[:, :1].expand(-1, self.of_earlier.in_channels, -1, -1)
        states = []
        for before in (zeros, *bits[:, :-1].unbind(1)):
            state = functional.hardtanh(self.earlier(torch.cat([before, state], 1)))
            states.append(state)
        flat = bits.flatten(0, 1)
        # The last row has none below it that would need it.
        side = _COLUMNS // 2
        above = self.above(functional.pad(flat[:, :, :-1], (side, side, _ROWS, 0)))
        hidden = functional.relu(above + self.of_earlier(torch.stack(states, 1).flatten(0, 1)))
        logits = self.out(hidden) + self.inside(flat)
        if not self.training:  # a gradient must not end here
            logits = logits.clamp(-LIMIT, LIMIT)
        cost = functional.softplus(-flat * logits) / math.log(2)
        return cost.sum((1, 2, 3)).view(count, passes)

    def coder(self) -> ContextCoder:
        return ContextCoder(self)


Read = Callable[[int, int, NDArray[np.float32]], Bits]
"""The bits [w] of a row and channel, given the probability of +1 of each, in units of 2^-24."""


class ContextCoder(BitCoder):
    """The integers of a `ContextBits`; on the CPU, and the same on every one."""

    def __init__(self, model: ContextBits) -> None:
        self._earlier = ExactConv.from_conv(model.earlier, "passes before")
        self._of_earlier = ExactLinear.from_conv(model.of_earlier, "state")
        above = model.above.weight.permute(0, 2, 3, 1).flatten(1)
        self._above = ExactLinear(above, None, "rows above")
        self._out = ExactLinear.from_conv(model.out, "logits")
        inside = model.inside.causal_weight[:, :, 0].permute(0, 2, 1).flatten(1)
        exact = ExactLinear(inside, None, "channels before").matrix.weight
        # [3, M, M]: neighbour, channel before, channel.  Products with ±1 are accumulators.
        shaped = exact.view(len(exact), 3, -1).permute(1, 2, 0)
        self._inside = (shaped * _ONE).contiguous().numpy()

    def begin(self, shape: tuple[int, int, int]) -> _ContextPasses:
        return _ContextPasses(self, shape)

    def bits(self, state: Tensor, shape: tuple[int, int, int], read: Read) -> Bits:
        """All bits of a pass [M, h, w] in the order of coding, by what `read` says of them."""
        channels, height, width = shape
        of_earlier = self._of_earlier.accumulate(state.view(height * width, -1))
        of_earlier = of_earlier.view(height, width, -1)
        side = _COLUMNS // 2
        # With a border that is neither -1 nor 1.
        bits = np.zeros((_ROWS + height, width + 2 * side, channels))
        for y in range(height):
            rows = torch.from_numpy(bits[y : y + _ROWS])
            window = rows.unfold(1, _COLUMNS, 1).permute(1, 0, 3, 2).reshape(width, -1)
            sums = self._above.accumulate(window * _ONE)
            hidden = relu(requantise(sums.add_(of_earlier[y])))
            logits = self._out.accumulate(hidden).numpy()
            row = bits[y + _ROWS]
            for channel in range(channels):
                logit = logits[:, channel]
                for neighbour in range(3) if channel else ():
                    seen = row[side - 1 + neighbour :][:width, :channel]
                    logit = logit + seen @ self._inside[neighbour, :channel, channel]
                row[side : side + width, channel] = read(y, channel, _probability(logit))
        inner = bits[_ROWS:, side : side + width].transpose(2, 0, 1)
        return np.ascontiguousarray(inner, np.int8)

    def following(self, bits: Bits, state: Tensor | None) -> Tensor:
        """The state [h, w, S], activation integers, behind a pass and the state before it."""
        code = torch.from_numpy(bits.transpose(1, 2, 0).astype(np.float64)) * _ONE
        if state is None:
            state = code.new_zeros(*code.shape[:2], self._earlier.channels)
        return self._earlier(torch.cat([code, state], 2)).clamp_(-_ONE, _ONE)


class _ContextPasses(PassCoder):
    def __init__(self, coder: ContextCoder, shape: tuple[int, int, int]) -> None:
        self._coder, self._shape = coder, shape
        self._state = coder.following(np.zeros(shape, np.int8), None)

    def encode(self, bits: Bits) -> bytes:
        values, ones = [], []

        def known(row: int, channel: int, p: NDArray[np.float32]) -> Bits:
            values.append(bits[channel, row])
            ones.append(p)
            return values[-1]

        self._pass(known)
        encoder = SymbolEncoder()
        symbols = (np.concatenate(values) > 0).astype(np.int32)
        encoder.encode_categorical(symbols, _frequencies(np.concatenate(ones)))
        return encoder.get_bytes()

    def decode(self, payload: bytes) -> Bits:
        decoder = SymbolDecoder(payload)

        def read(row: int, channel: int, p: NDArray[np.float32]) -> Bits:
            return 2 * decoder.decode_categorical(_frequencies(p)).astype(np.int8) - 1

        return self._pass(read)

    def _pass(self, read: Read) -> Bits:
        bits = self._coder.bits(self._state, self._shape, read)
        self._state = self._coder.following(bits, self._state)
        return bits


@cache
def _table() -> NDArray[np.float32]:
    """Probability of +1 at logits -LIMIT ... LIMIT in steps of 1/64, in units of 2^-24."""
    e = exponential()[: (LIMIT << _STEP_BITS) + 1].astype(np.int64)
    likely = (TOTAL << 20) // ((1 << 20) + e)
    return np.concatenate([TOTAL - likely[:0:-1], likely]).astype(np.float32)


def _probability(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Probability of +1 for accumulators [n]."""
    steps = np.floor(logits * 2.0 ** (_STEP_BITS - ACCUMULATOR_BITS) + 0.5)
    reach = LIMIT << _STEP_BITS
    return _table()[np.clip(steps, -reach, reach).astype(np.int64) + reach]


def _frequencies(ones: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of -1 and +1, [n, 2]: integers up to 2^24, which float32 holds exactly."""
    return np.stack([np.float32(TOTAL) - ones, ones], 1)
