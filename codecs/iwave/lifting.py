"""The reversible transforms: YCoCg-R, and lifting whose steps are trained.

    even ──┬──────── + ──┬──────── + ──> low          P: predict the odd samples of the even ones
           P₁        U₁  P₂        U₂                 U: update the even ones by what is left
    odd ── + ────────┴── + ────────┴────────> high

A step is what CDF 9/7 has there, a₀·x + a₁·(next x), and what a small network makes of that,
rounded to an integer *before* it is added: so the inverse subtracts the same and gives back every
sample.  In training and estimates this is floating point (`LiftingStep`); in streams it is integers
(`ExactStep`), because a decoder that rounds one sample differently is no longer without loss.
Where there is loss anyway, samples are multiples of 1/16: rounding to integers, level by level,
would make an error of its own, of 44 dB.

Samples are kept to [-4096, 4096) by arithmetic modulo 8192 (`wrap`), which is reversible as well
and bounds what any picture can come to.  The scaling of CDF 9/7 is left to the quantiser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from codecs.learned.exact.arithmetic import ACTIVATION_BITS, ACTIVATION_LIMIT, WEIGHT_BITS
from codecs.learned.exact.chain import ExactChain
from codecs.learned.layers import conv

CDF97 = (-1.586134342, -0.052980118, 0.882911076, 0.443506852)
"""P₁, U₁, P₂, U₂ of the wavelet of JPEG 2000 (Daubechies and Sweldens 1998, table 2)."""
LOW_NORM, HIGH_NORM = 1.149604398, 0.869864452
"""Factors that make its low and high band about orthonormal."""
LIMIT = 4096
FRACTION = 4
"""Bits behind the point where there is loss."""
_INPUT_BITS = 8
"""Networks see samples in units of 256 ..."""
_GAIN_BITS = 5
"""... and give their share of a step in units of 32."""
_PARAMETER_UNIT = 0.1

Step = Callable[[Tensor, bool], Tensor]
"""(samples [N, ..., h, w], whether the neighbour is the row below, else above) -> integers."""
Wrap = Callable[[Tensor], Tensor]


class _Round(torch.autograd.Function):
    """Rounding half up, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def rounded(x: Tensor) -> Tensor:
    """floor(x + ½), straight through for gradients."""
    result: Tensor = _Round.apply(x)
    return result


def wrap(x: Tensor, fraction: int = 0) -> Tensor:
    """Integers in units of 2^-`fraction`, modulo 8192."""
    limit = LIMIT << fraction
    return ((x + limit) & (2 * limit - 1)) - limit


def unwrapped(x: Tensor) -> Tensor:
    """x itself: in floating point nothing is wrapped."""
    return x


def _half(x: Tensor, grid: Tensor | float) -> Tensor:
    """x/2 rounded down to a multiple of 1/`grid`, straight through for gradients; integers to
    integers."""
    return rounded(x * grid / 2 - 0.25) / grid if x.is_floating_point() else x >> 1


def to_ycocg(x: Tensor, grid: Tensor | float = 1.0) -> Tensor:
    """RGB [..., 3, H, W] to YCoCg-R (Malvar and Sullivan, "YCoCg-R: a color space with RGB
    reversibility", JVT-I014, 2003): integers, or floating point in multiples of 1/`grid`."""
    red, green, blue = x.unbind(-3)
    co = red - blue
    t = blue + _half(co, grid)
    cg = green - t
    return torch.stack([t + _half(cg, grid), co, cg], -3)


def to_rgb(x: Tensor, grid: Tensor | float = 1.0) -> Tensor:
    """The inverse of `to_ycocg`."""
    y, co, cg = x.unbind(-3)
    t = y - _half(cg, grid)
    blue = t - _half(co, grid)
    return torch.stack([blue + co, cg + t, blue], -3)


def _neighbour(x: Tensor, below: bool) -> Tensor:
    """The rows below or above; at the border the last one again."""
    parts = (x[..., 1:, :], x[..., -1:, :]) if below else (x[..., :1, :], x[..., :-1, :])
    return torch.cat(parts, -2)


@torch.no_grad()
def blank(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, which now puts out 0: what it is added to begins as it is without."""
    for parameter in layer.parameters():
        parameter.zero_()
    return layer


class LiftingStep(nn.Module):
    """A step in floating point, on samples [N, 1, h, w]."""

    def __init__(self, coefficient: float, width: int) -> None:
        super().__init__()
        self.start = coefficient
        self.taps = nn.Parameter(torch.zeros(2))
        """Change of the two coefficients, in units of `_PARAMETER_UNIT`."""
        self.network = nn.Sequential(
            *(conv(1, width, 3, 1), nn.LeakyReLU()),
            *(conv(width, width, 3, 1), nn.LeakyReLU()),
            blank(conv(width, 1, 3, 1)),
        )

    def coefficients(self) -> Tensor:
        """a₀ of a sample and a₁ of its neighbour."""
        return self.start + _PARAMETER_UNIT * self.taps

    def forward(self, x: Tensor, below: bool, grid: Tensor | float = 1.0) -> Tensor:
        """Rounded to multiples of 1/`grid`, which is [n, 1, 1, 1] where it differs."""
        own, other = self.coefficients()
        linear = own * x + other * _neighbour(x, below)
        step = linear + 2**_GAIN_BITS * self.network(linear * 2**-_INPUT_BITS)
        if isinstance(grid, Tensor):
            grid = grid.repeat(len(x) // len(grid), 1, 1, 1)
        return rounded(step * grid) / grid


class ExactStep:
    """The same in integers, on int64 [N, h, w], whose results are equal on every machine."""

    def __init__(self, step: LiftingStep, device: torch.device) -> None:
        """Raises `ValueError` or `InexactError` for weights that have no exact form."""
        taps = torch.round(step.coefficients().detach().double().cpu() * 2**WEIGHT_BITS)
        if not bool((taps.abs() <= 2**WEIGHT_BITS * 16).all()):
            raise ValueError("a lifting step has coefficients beyond 16")
        self.own, self.other = map(int, taps.tolist())
        self.network = ExactChain(step.network, "lifting step").to(device)

    def __call__(self, x: Tensor, below: bool, fraction: int = 0) -> Tensor:
        """Samples and step in units of 2^-`fraction`."""
        linear = self.own * x + self.other * _neighbour(x, below)
        shift = WEIGHT_BITS + fraction + _INPUT_BITS - ACTIVATION_BITS
        seen = (linear + (1 << (shift - 1))) >> shift
        seen = seen.clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        made = torch.stack([self.network(plane[..., None])[..., 0] for plane in seen])
        gain = WEIGHT_BITS + fraction - ACTIVATION_BITS + _GAIN_BITS
        return (linear + (made.to(torch.int64) << gain) + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS


def split(x: Tensor, steps: Sequence[Step], wrap: Wrap) -> tuple[Tensor, Tensor]:
    """(low, high) of the rows of x [..., h, w], h even."""
    even, odd = x[..., 0::2, :], x[..., 1::2, :]
    for predict, update in zip(steps[0::2], steps[1::2], strict=True):
        odd = wrap(odd + predict(even, True))
        even = wrap(even + update(odd, False))
    return even, odd


def merge(low: Tensor, high: Tensor, steps: Sequence[Step], wrap: Wrap) -> Tensor:
    """The inverse of `split`."""
    even, odd = low, high
    for predict, update in zip(steps[-2::-2], steps[-1::-2], strict=True):
        even = wrap(even - update(odd, False))
        odd = wrap(odd - predict(even, True))
    return torch.stack([even, odd], -2).flatten(-3, -2)


def analyse(x: Tensor, steps: Sequence[Step], wrap: Wrap) -> tuple[Tensor, ...]:
    """LL, HL (high along rows), LH (high along columns) and HH of x [N, ..., h, w], all
    [N, ..., h/2, w/2]."""
    across = torch.cat(split(x, steps, wrap)).mT.contiguous()
    low, high = (band.mT for band in split(across, steps, wrap))
    (ll, lh), (hl, hh) = low.chunk(2), high.chunk(2)
    return ll, hl, lh, hh


def synthesise(
    ll: Tensor, hl: Tensor, lh: Tensor, hh: Tensor, steps: Sequence[Step], wrap: Wrap
) -> Tensor:
    """The inverse of `analyse`."""
    low, high = (torch.cat(pair).mT.contiguous() for pair in ((ll, lh), (hl, hh)))
    above, below = merge(low, high, steps, wrap).mT.contiguous().chunk(2)
    return merge(above, below, steps, wrap)


def _predict53(x: Tensor, below: bool) -> Tensor:
    return -_floor(x + _neighbour(x, below), 2)


def _update53(x: Tensor, below: bool) -> Tensor:
    return _floor(x + _neighbour(x, below) + 2, 4)


def _floor(x: Tensor, divisor: int) -> Tensor:
    return torch.div(x, divisor, rounding_mode="floor")


_REVERSIBLE53: Sequence[Step] = (_predict53, _update53)
"""The steps of the 5/3 wavelet of JPEG 2000, which has no parameters."""


def pyramid(x: Tensor, wrap: Wrap) -> list[tuple[Tensor, Tensor]]:
    """(LL, [HL, LH, HH]) of integers x [..., C, h, w] and of each LL by the 5/3 wavelet, finest
    first, until LL is one sample: [..., C, h', w'] and [..., 3C, h', w'].  Sides that are odd get
    their last row or column again."""
    levels = []
    while max(x.shape[-2:]) > 1:
        for axis in (-2, -1):
            if x.shape[axis] % 2:
                x = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], axis)
        x, *bands = analyse(x, _REVERSIBLE53, wrap)
        levels.append((x, torch.cat(bands, -3)))
    return levels


def joined(low: Tensor, bands: Tensor, height: int, width: int, wrap: Wrap) -> Tensor:
    """The x of `height` x `width` that a level of `pyramid` was made of."""
    hl, lh, hh = bands.chunk(3, -3)
    return synthesise(low, hl, lh, hh, _REVERSIBLE53, wrap)[..., :height, :width]
