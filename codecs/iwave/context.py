"""What is known of a wavelet coefficient before it is decoded, as a mixture of three Gaussians.

Bands are coded from coarse to fine; at each level HL, LH, HH.  A band has four phases, the
positions of even and odd rows and columns, and the samples of a phase are coded together, first
all of Y, then of Co, then of Cg:

    LL of this level ─ differences ─┐
    bands of the coarser level ─────┼─ trunk (two 3x3) ── mix ─┐
    level, quantiser's step ────────┘                          + ── mid ── channel ──> mixture
    decoded bands of this level ──── 3x3 around the sample ────┘             │
    decoded channels of this sample ─────────────────────────────────────────┘

    phases   0 2      of a 3x3 window, phase 0 sees nothing, 1 its four diagonal neighbours,
             3 1      2 (and 3) those and the four (eight) around it

In place of LSTM and PixelCNN of the paper: the LL band, put together of all that is decoded, is the
memory, and four phases take the place of raster order, so that decoding is 48 large steps a level
and not one for each sample.  Networks see magnitudes in a logarithmic scale, the same for all steps
of the quantiser; the weights serve all levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.coders.density import MixtureDensity
from codecs.learned.coders.hyperprior import Mixture
from codecs.learned.coders.likelihood import mixture_likelihood
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.arithmetic import (
    ACTIVATION_BITS,
    ExactLinear,
    leaky_relu,
    requantise,
)
from codecs.learned.exact.chain import ExactChain
from codecs.learned.layers import MaskedConv2d, conv

COLOURS = 3
BANDS = 3
"""HL, LH, HH."""
LEVELS = 5
"""Kinds of levels that the network tells apart: the fifth stands for all below the transform's."""


@dataclass(frozen=True)
class LogMixture(Mixture):
    """A scale is 2^raw + `scale_floor`: what tells it are logarithms too."""

    def likelihood(self, values: Tensor, theta: Tensor) -> Tensor:
        b, _, h, w = theta.shape
        logits, means, raw = theta.view(b, 3, self.components, -1, h, w).unbind(1)
        scales = torch.exp2(raw.clamp(max=_LARGEST_SCALE)) + self.scale_floor
        return mixture_likelihood(values, torch.softmax(logits, 1), means, scales)

    def scale_table(self) -> ScaleTable:
        floor, largest = self.scale_floor, 2.0**_LARGEST_SCALE
        return ScaleTable.build(1.02 * floor, largest, raw=lambda s: math.log2(s - floor))


_LARGEST_SCALE = 8
"""Its logarithm."""
DENSITY = LogMixture(3, 0.04)
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""(row, column) parity of each phase, in the order of coding."""
_FEATURES = 4 * COLOURS + BANDS * COLOURS + LEVELS + 1
_LOG_STEPS = 16
"""Logarithms are of 1 + |x| with x in sixteenths ..."""
_LOG_LIMIT = 1 << 17
"""... up to 8192."""
_LINEAR = 16
"""Samples that are seen as they are, beside their logarithm, are in units of 16."""
_BATCH = 8192
"""Samples evaluated at once: bounds memory."""

Code = Callable[[NDArray[np.int32] | None, NDArray[np.float64]], NDArray[np.int32]]
"""(samples [n, 1], or `None` where they are not known yet; θ [n, 9]) -> the samples."""


@cache
def logarithms() -> Tensor:
    """log₂(1 + i/16) in activation integers for i = 0 ... 2^17, int32; made of integers only."""
    bits = 96
    root = 2 << bits
    for _ in range(ACTIVATION_BITS + 1):
        root = math.isqrt(root << bits)
    # Where the logarithm comes to k + ½ units: 2^((k + ½)/4096), of which i/16 + 1 is the first.
    value, edges = root, []
    while value >> bits <= _LOG_LIMIT // _LOG_STEPS + 1:
        edges.append(-(-(value * _LOG_STEPS) >> bits))
        value = value * root >> bits
        value = value * root >> bits
    found = np.searchsorted(np.array(edges), _LOG_STEPS + np.arange(_LOG_LIMIT + 1), "right")
    return torch.from_numpy(found.astype(np.int32))


def signed_log(x: Tensor) -> Tensor:
    """±log₂(1 + |x|)."""
    return torch.sign(x) * torch.log2(1 + x.abs())


def exact_log(x: Tensor) -> Tensor:
    """`signed_log` of integers in sixteenths, as activation integers (float64)."""
    magnitude = logarithms().to(x.device)[x.abs().clamp(max=_LOG_LIMIT)]
    return torch.sign(x).double() * magnitude


def differences(ll: Tensor) -> Tensor:
    """First and second differences along columns and rows of LL [..., C, h, w]: [..., 4C, h, w]."""
    shape = ll.shape
    flat = ll.reshape(-1, 1, *shape[-2:])
    at_borders = torch.cat([flat[..., :1, :], flat, flat[..., -1:, :]], -2)
    at_borders = torch.cat([at_borders[..., :1], at_borders, at_borders[..., -1:]], -1)
    up, down = at_borders[..., :-2, 1:-1], at_borders[..., 2:, 1:-1]
    left, right = at_borders[..., 1:-1, :-2], at_borders[..., 1:-1, 2:]
    made = [down - up, right - left, up + down - 2 * flat, left + right - 2 * flat]
    return torch.cat(made, 1).reshape(*shape[:-3], 4 * shape[-3], *shape[-2:])


def enlarged(parents: Tensor, height: int, width: int) -> Tensor:
    """Bands of the coarser level [..., h/2, w/2], each sample four times, cut to h x w."""
    twice = parents.repeat_interleave(2, -2).repeat_interleave(2, -1)
    return twice[..., :height, :width]


class BandContext(nn.Module):
    """The network in floating point.  `width` channels in its hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            *(conv(_FEATURES, width, 3, 1), nn.LeakyReLU()),
            *(conv(width, width, 3, 1), nn.LeakyReLU()),
        )
        self.bands = nn.ModuleList(Band(band, width) for band in range(BANDS))

    def bits(self, level: Level, samples: Tensor, rounded: Tensor) -> Tensor:
        """Estimated bits [B] of `samples` [B, 9, h, w] (band by band, Y, Co, Cg in each), as noisy
        as they may be; contexts are made of what `rounded` has."""
        known = signed_log(rounded)
        trunk = self.trunk(level.features())
        total = samples.new_zeros(len(samples))
        for index, band in enumerate(self.bands):
            assert isinstance(band, Band)
            total = total + band.bits(trunk, samples, rounded, known, index)
        return total


@dataclass(frozen=True)
class Level:
    """What is known of a level before its first band."""

    kind: int
    """0 for the finest, up to `LEVELS` - 1."""
    ll: Tensor
    """[B, 3, h, w]: its LL band."""
    parents: Tensor
    """[B, 9, h/2, w/2]: quantised bands of the coarser level."""
    steps: Tensor
    """[B, 3]: what a quantised sample of Y, Co, Cg stands for."""

    def features(self) -> Tensor:
        """[B, `_FEATURES`, h, w]."""
        b, _, h, w = self.ll.shape
        scaled = self.ll / self.steps[:, :, None, None]
        kinds = functional.one_hot(torch.tensor(self.kind), LEVELS).to(self.ll)
        constant = torch.cat([kinds.expand(b, -1), signed_log(self.steps[:, :1])], 1)
        return torch.cat(
            [
                signed_log(differences(scaled)),
                enlarged(signed_log(self.parents), h, w),
                constant[:, :, None, None].expand(-1, -1, h, w),
            ],
            1,
        )


class Band(nn.Module):
    """The part of the network that belongs to the band `index` of a level."""

    def __init__(self, index: int, width: int) -> None:
        super().__init__()
        known = COLOURS * (index + 1)
        self.mix = conv(width, width, 1, 1)
        self.near = nn.ModuleList(Phase(known, width, phase) for phase in range(len(PHASES)))
        self.mid = conv(width, width, 1, 1)
        self.hidden = nn.ModuleList(conv(width + 2 * c, width, 1, 1) for c in range(COLOURS))
        self.head = nn.ModuleList(
            conv(width + c, 3 * DENSITY.components, 1, 1) for c in range(COLOURS)
        )
        with torch.no_grad():
            for head in self.head:
                assert isinstance(head, nn.Conv2d)
                assert head.bias is not None
                head.weight *= 0.1
                head.bias[: 2 * DENSITY.components] = 0
                head.bias[2 * DENSITY.components :] = torch.tensor([-1.0, 0.0, 1.0])

    def bits(
        self, trunk: Tensor, samples: Tensor, rounded: Tensor, known: Tensor, index: int
    ) -> Tensor:
        """[B]; see `BandContext.bits`."""
        parts = functional.leaky_relu_
        seen, own = known[:, : COLOURS * (index + 1)], slice(COLOURS * index, COLOURS * (index + 1))
        mixed = self.mix(trunk)
        near = [
            (mixed[..., y::2, x::2] + phase(seen)).flatten(2)
            for phase, (y, x) in zip(self.near, PHASES, strict=True)
            if mixed[..., y::2, x::2].numel()
        ]
        features = parts(self.mid(parts(torch.cat(near, 2)[..., None])))
        values, integers, logs = (
            torch.cat([t[:, own, y::2, x::2].flatten(2) for y, x in PHASES], 2)[..., None]
            for t in (samples, rounded, known)
        )
        total = samples.new_zeros(len(samples))
        linear = integers / _LINEAR
        for c, (hidden, head) in enumerate(zip(self.hidden, self.head, strict=True)):
            made = parts(hidden(torch.cat([features, logs[:, :c], linear[:, :c]], 1)))
            theta = head(torch.cat([made, linear[:, :c]], 1))
            likelihood = DENSITY.likelihood(values[:, c : c + 1], theta)
            total = total - torch.log2(likelihood).flatten(1).sum(1)
        return total


class Phase(MaskedConv2d):
    """3x3 around the samples of one phase [B, C, h, w] -> [B, O, ⌈h/2⌉ or ⌊h/2⌋, ...]: of its own
    band, the last three channels, it sees the phases before it."""

    def __init__(self, channels: int, width: int, phase: int) -> None:
        super().__init__(channels, width, 3)
        self.parity = PHASES[phase]
        self.mask = torch.ones(channels, 3, 3)
        for y in range(3):
            for x in range(3):
                there = (self.parity[0] + y - 1) % 2, (self.parity[1] + x - 1) % 2
                self.mask[-COLOURS:, y, x] = float(there in PHASES[:phase])

    def forward(self, input: Tensor) -> Tensor:
        y, x = self.parity
        padded = functional.pad(input, (1, 1, 1, 1))[..., y:, x:]
        return functional.conv2d(padded, self.causal_weight, self.bias, 2)


class ExactContext:
    """The network in integers, which codes; `device` holds its matrices."""

    def __init__(self, network: BandContext, scales: ScaleTable, device: torch.device) -> None:
        """Raises `ValueError` or `InexactError` for weights that have no exact form."""
        self.density: MixtureDensity = DENSITY.exact(scales)
        self.trunk = ExactChain(network.trunk, "context trunk").to(device)
        self.bands = [_ExactBand(band, device) for band in network.bands]

    def code(
        self, level: ExactLevel, samples: NDArray[np.int32] | None, code: Code
    ) -> NDArray[np.int32]:
        """The bands int32 [9, h, w] of a level; `samples` are they where they are known."""
        trunk = self.trunk(level.features())
        height, width, channels = trunk.shape
        known = trunk.new_zeros((BANDS * COLOURS, height + 2, width + 2), dtype=torch.float64)
        out = np.zeros((BANDS * COLOURS, height, width), np.int32)
        for index, band in enumerate(self.bands):
            for phase, (y, x) in enumerate(PHASES):
                columns = len(range(x, width, 2))
                rows = max(1, _BATCH // max(1, columns))
                for top in range(y, height if columns else 0, 2 * rows):
                    bottom = min(height, top + 2 * rows)
                    place = (slice(top, bottom, 2), slice(x, width, 2))
                    seen = known[: COLOURS * (index + 1), top : bottom + 2, x:]
                    features = band.features(phase, seen, trunk[place].reshape(-1, channels))
                    made: list[Tensor] = []
                    for c in range(COLOURS):
                        plane = COLOURS * index + c
                        theta = band.theta(c, features, made)
                        given = None if samples is None else samples[plane][place].reshape(-1, 1)
                        values = code(given, theta.cpu().numpy())
                        out[plane][place] = values.reshape(out[plane][place].shape)
                        made.append(torch.from_numpy(values).to(trunk.device)[:, 0].long())
                    logs = torch.stack([exact_log(m * _LOG_STEPS) for m in made])
                    inner = (slice(top + 1, bottom + 1, 2), slice(x + 1, width + 1, 2))
                    part = known[COLOURS * index : COLOURS * (index + 1)][(slice(None), *inner)]
                    part.copy_(logs.view(part.shape))
        return out


@dataclass(frozen=True)
class ExactLevel:
    """`Level` of one picture in integers: LL int64 [3, h, w] in units of 2^-`fraction`, parents
    int64 [9, h/2, w/2], steps int64 [3] in units of 2^-12."""

    kind: int
    ll: Tensor
    parents: Tensor
    steps: Tensor
    fraction: int

    def features(self) -> Tensor:
        """Activation integers [h, w, `_FEATURES`]."""
        _, h, w = self.ll.shape
        one = 1 << ACTIVATION_BITS
        steps = self.steps.repeat_interleave(4)[:, None, None]
        scaled = differences(self.ll) * (_LOG_STEPS * one >> self.fraction)
        scaled = torch.div(scaled + steps // 2, steps, rounding_mode="floor")
        kinds = functional.one_hot(torch.tensor(self.kind), LEVELS).to(self.ll) * one
        size = exact_log(self.steps[:1] * _LOG_STEPS // one)
        constant = torch.cat([kinds.double(), size])[:, None, None].expand(-1, h, w)
        parents = exact_log(enlarged(self.parents, h, w) * _LOG_STEPS)
        return torch.cat([exact_log(scaled), parents, constant]).permute(1, 2, 0).contiguous()


class _ExactBand:
    """`Band` in integers, on lists of samples."""

    def __init__(self, band: nn.Module, device: torch.device) -> None:
        assert isinstance(band, Band)

        def linear(module: nn.Module) -> ExactLinear:
            return ExactLinear.from_conv(module, "band context").to(device)

        self.mix, self.mid = linear(band.mix), linear(band.mid)
        self.near = [
            ExactLinear(phase.causal_weight.flatten(1), phase.bias, "band context").to(device)
            for phase in band.near
            if isinstance(phase, Phase)
        ]
        self.hidden = [linear(module) for module in band.hidden]
        self.head = [linear(module) for module in band.head]

    def features(self, phase: int, seen: Tensor, trunk: Tensor) -> Tensor:
        """[n, width] of the padded planes [C, 2r + 1 or more, 2c + 1 or more] that begin with the
        window of the first sample, and of the trunk [n, T]."""
        rows, columns = (seen.shape[1] - 1) // 2, (seen.shape[2] - 1) // 2
        windows = torch.stack(
            [
                seen[:, y : y + 2 * rows : 2, x : x + 2 * columns : 2]
                for y in range(3)
                for x in range(3)
            ],
            1,
        )
        near = self.near[phase].accumulate(windows.flatten(2).flatten(0, 1).t().contiguous())
        mixed = leaky_relu(requantise(near.add_(self.mix.accumulate(trunk))))
        return leaky_relu(self.mid(mixed))

    def theta(self, colour: int, features: Tensor, made: Sequence[Tensor]) -> Tensor:
        """θ [n, 9], of the colours already `made` [n] each."""
        unit = (1 << ACTIVATION_BITS) // _LINEAR
        logs = [exact_log(m * _LOG_STEPS)[:, None] for m in made]
        linear = [(m * unit).double()[:, None] for m in made]
        hidden = leaky_relu(self.hidden[colour](torch.cat([features, *logs, *linear], 1)))
        return self.head[colour](torch.cat([hidden, *linear], 1))
