"""Recurrent networks that code what the passes before have left: one stream, 16 rates.

Toderici et al., "Variable rate image compression with recurrent neural networks", ICLR 2016
(`toderici2016`), and "Full resolution image compression with recurrent neural networks", CVPR 2017
(`toderici2017`).  Encoder E and decoder D remember in the states of their recurrent cells what the
passes before have sent; each pass codes the residual that these have left, x̂_t = D + x̂_{t-1}:

    x ──(−)── r_{t-1} · g_t ── E: conv, 3 cells (/16) ── B: ±1 [M, H/16, W/16] ──> bits of pass t
         │                                                       │
        x̂_{t-1} ──(+)── 1/g_t · tanh/2 ── D: 4 cells, each then a pixel shuffle (x16)
                   └──> x̂_t

M = 32 bits to 16 x 16 pixels are 1/8 bit per pixel in a pass.  A stream is its passes one behind
the other (`codecs.learned.passes`): cut short, it is that of fewer passes.

* B: tanh, then 1 with probability (1 + v)/2 while training and the sign of v
  else; the gradient passes as if B were not there.
* Loss: mean |r_t| over all passes, samples and channels.  Bits cost nothing.  Gradients go back
  through states, and not through the residual that E reads, which made them explode.
* 2016: convolutional LSTM, g = 1, bits are stored as they are.
* 2017: residual GRU.  Residuals are scaled to about the same size in all passes: by a number g_t
  for each, learned, where the paper has a network that reads g_t off x̂_{t-1}.  Bits are coded by a
  model of bits, learned along with the rest (`codecs.learned.coders.bits`).
* `toderici2017-deep`: the recurrence is deeper.  E sees the residual twice in each pass and D the
  bits, and what the first time puts out is thrown away (1-diffusion of Johnston et al., "Improved
  lossy image compression with priming and spatially adaptive bit rates", CVPR 2018).

E has N/8, N/2, N and N channels, D has N, N, N/2 and N/4; N = 512 in the papers.  All passes go
through the same N features of 16 x 16 pixels: what N = 96 cannot hold no pass adds.  Convolutions
on states are 1x1, and 3x3 in the last two cells of D.  States are floating-point, and bits do not
depend on them at a decoder: another machine shows another rounding, and never other bits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.bits import BitModel, ContextBits, RawBits
from codecs.learned.initialisation import initialise, scaled
from codecs.learned.layers import Conv1x1, conv
from codecs.learned.network import ForwardOutput
from codecs.learned.progressive import PassModel, PassNetwork
from codecs.learned.recurrent import ConvLSTM, ResidualGRU, State

PASSES = 16
PENALTY = 1000.0
"""Weight of the mean |r| of a picture in 0...1: so much that a schedule's MSE of the last pass is
about 1 % of the loss."""
GREY = 0.5
"""The picture before the first pass."""

States = Sequence[State | None]


class Encoder(nn.Module):
    """Residuals [B, 3, H, W] -> [B, N, H/16, W/16]."""

    def __init__(self, N: int, cell: type[ConvLSTM] | type[ResidualGRU]) -> None:
        super().__init__()
        widths = (N // 8, N // 2, N, N)
        self.first = conv(3, widths[0], 3)
        self.cells = nn.ModuleList(cell(a, b, 1, stride=2) for a, b in pairwise(widths))

    def forward(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        x, following = self.first(x), []
        for cell, state in zip(self.cells, states, strict=True):
            x, state = cell(x, state)
            following.append(state)
        return x, following


class Decoder(nn.Module):
    """Bits [B, M, H/16, W/16] -> [B, 3, H, W] in ±1/2."""

    def __init__(self, N: int, M: int, cell: type[ConvLSTM] | type[ResidualGRU]) -> None:
        super().__init__()
        widths = (N, N, N // 2, N // 4)
        inputs = (N, *(width // 4 for width in widths))
        self.first = Conv1x1(M, N)
        self.cells = nn.ModuleList(map(cell, inputs[:-1], widths, (1, 1, 3, 3)))
        self.last = Conv1x1(inputs[-1], 3)

    def forward(self, bits: Tensor, states: States) -> tuple[Tensor, States]:
        x, following = self.first(bits), []
        for cell, state in zip(self.cells, states, strict=True):
            x, state = cell(x, state)
            x = functional.pixel_shuffle(x, 2)
            following.append(state)
        return torch.tanh(self.last(x)) / 2, following


def _start(half: Encoder | Decoder) -> States:
    """Of the cells, before the first pass."""
    return [None] * len(half.cells)


class RecurrentNetwork(PassNetwork):
    """See the module: what both papers have."""

    stride = 16
    transforms = ()  # none is a function of one tensor, which could run in bfloat16
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 512, "M": 32},
        "compact": {"N": 96, "M": 32},
    }
    cell: ClassVar[type[ConvLSTM] | type[ResidualGRU]]
    scaled: ClassVar[bool]
    """Whether residuals are."""
    depth: ClassVar[int] = 1
    """How often E and D run in a pass."""

    def __init__(
        self,
        N: int = 96,
        M: int = 32,
        passes: int = PASSES,
        objective: Mapping[str, float] | None = None,
    ) -> None:
        """N as the module says, M bits for 16 x 16 pixels in each of the `passes`."""
        super().__init__()
        if N < 16 or N % 16 or not 1 <= M <= 256 or not 1 <= passes <= PASSES:
            raise ValueError(
                f"no such network: N = {N} (a multiple of 16), M = {M} (1 to 256), "
                f"{passes} passes (1 to {PASSES})"
            )
        self.config = {"N": N, "M": M, "passes": passes}
        if objective is not None:
            self.config["objective"] = dict(objective)
        self.passes = passes
        self.encoder = Encoder(N, self.cell)
        self.to_bits = Conv1x1(N, M)
        self.decoder = Decoder(N, M, self.cell)
        self._initialise()
        self.bits = self.bit_model(N, M)
        if self.scaled:
            # Residuals fall to about a fifth; a logarithm keeps gains positive.
            self.log_gain = nn.Parameter(torch.linspace(0, 1.6, PASSES)[:passes].clone())

    @abstractmethod
    def bit_model(self, N: int, M: int) -> BitModel:
        """What a bit costs."""

    def _initialise(self) -> None:
        """Draw convolutions so that bits say something of the picture from the first step, and the
        first picture is near grey: with PyTorch's defaults bits begin as coin flips."""
        initialise(
            self,
            writers=[self.encoder.first, self.to_bits],
            readers=[],
            picture=self.decoder.last,
        )
        scaled(self.decoder.last, 1.0).zero_()

    @classmethod
    def sized(
        cls, width: int, latents: Sequence[int] = (), backbone: str = "", **changes: Any
    ) -> RecurrentNetwork:
        """`latents` are M, by default the papers' 32."""
        return super().sized(width, latents or (32,), backbone, **changes)

    def transform_parameters(self) -> list[nn.Parameter]:
        kept = {id(p) for p in self.bits.parameters()}
        return [p for p in self.parameters() if id(p) not in kept]

    def encodings(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        shown, encoder = torch.full_like(x, GREY), _start(self.encoder)
        decoder = _start(self.decoder)
        for t in range(self.passes):
            residual = (x - shown).detach() * self.gain(t)
            for _ in range(self.depth):
                features, encoder = self.encoder(residual, encoder)
            bits = self.binarise(self.to_bits(features))
            part, decoder = self.decode(bits, t, decoder)
            shown = shown + part
            yield bits, shown

    def decoded(self, codes: Sequence[Tensor]) -> Tensor:
        shown: Tensor | float = GREY
        states = _start(self.decoder)
        for t, bits in enumerate(codes):
            part, states = self.decode(bits, t, states)
            shown = shown + part
        assert isinstance(shown, Tensor)
        return shown

    def decode(self, bits: Tensor, t: int, states: States) -> tuple[Tensor, States]:
        """What the bits of pass `t`, from 0, add to the picture [B, 3, H, W], and the states."""
        for _ in range(self.depth):
            part, states = self.decoder(bits, states)
        return part / self.gain(t), states

    def gain(self, t: int) -> Tensor | float:
        """g of pass `t`."""
        return self.log_gain[t].exp() if self.scaled else 1.0

    def binarise(self, v: Tensor) -> Tensor:
        v = torch.tanh(v)
        threshold = 2 * torch.rand_like(v) - 1 if self.training else 0.0
        bits = torch.where(v > threshold, 1.0, -1.0)
        return v + (bits - v).detach() if torch.is_grad_enabled() else bits

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """All passes; see `CodecNetwork`."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        self.check_quality(quality)
        codes, penalty = [], x.new_zeros(len(x))
        for bits, x_hat in self.encodings(x):
            codes.append(bits.detach())  # what bits cost is no reason to choose others
            penalty = penalty + (x - x_hat).abs().mean((1, 2, 3))
        rate = self.bits.rate(torch.stack(codes, 1)).sum(1)
        return ForwardOutput(x_hat, {"bits": rate}, PENALTY / self.passes * penalty)

    def tables(self) -> dict[str, Any]:
        return {}


class Toderici2016(RecurrentNetwork):
    """Convolutional LSTM; bits as they are."""

    architecture = "toderici2016"
    magic = b"R6"
    cell = ConvLSTM
    scaled = False

    def bit_model(self, N: int, M: int) -> BitModel:
        return RawBits()


class Toderici2017(RecurrentNetwork):
    """Residual GRU; a model of bits."""

    architecture = "toderici2017"
    magic = b"R7"
    cell = ResidualGRU
    scaled = True

    def bit_model(self, N: int, M: int) -> BitModel:
        return ContextBits(M, max(16, N // 2))


class Toderici2017Deep(Toderici2017):
    """The same, E and D twice in each pass."""

    architecture = "toderici2017-deep"
    magic = b"RD"
    depth = 2


def create_2016(variant: str | None = None) -> LearnedCodec:
    """The codec `toderici2016`."""
    return LearnedCodec("toderici2016", "Toderici 2016", Toderici2016, PassModel, variant)


def create_2017(variant: str | None = None) -> LearnedCodec:
    """The codec `toderici2017`."""
    return LearnedCodec("toderici2017", "Toderici 2017", Toderici2017, PassModel, variant)


def create_2017_deep(variant: str | None = None) -> LearnedCodec:
    """The codec `toderici2017-deep`."""
    label = "Toderici 2017, deeper recurrence"
    return LearnedCodec("toderici2017-deep", label, Toderici2017Deep, PassModel, variant)
