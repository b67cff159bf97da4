"""Universal quantisation: a quantiser of any step whose error is the noise of training.

Ziv, "On universal quantization", IEEE Transactions on Information Theory, 1985; in learned codecs
Choi, El-Khamy, Lee, ICCV 2019.  With a dither u that encoder and decoder share, uniform in [-½, ½),
and a step Δ,

    k = round(y/Δ + u)    is sent,
    ŷ = Δ·(k - u)         is what comes of it: y and uniform noise of the width Δ, whatever y is.

Everything here is in the quantiser's coordinates w = y/Δ + u, in which rounding is rounding: k has
the mean μ/Δ + u and the scale σ/Δ where ŷ has μ and σ.

Decoders know Δ = 2^e by its exponent e, a multiple of 1/256, and u by the place of each value: the
bits of a counter, mixed (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014).  Both are integers, and so is what they make of ŷ and of entropy
parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.learned.coders.density import Theta
from codecs.learned.coders.rangecoding import Int32s
from codecs.learned.coders.tables import MEAN_BITS, Ints
from codecs.learned.exact.arithmetic import ACTIVATION_BITS, LATENT_LIMIT

STEP_UNITS = 256
"""Exponents of Δ are multiples of 1/256 ..."""
DITHER_BITS = MEAN_BITS
"""... and u is one of 1/64, as means are."""
_POWER_BITS = 16
_COUNTER = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ROWS = 1 << 16


def dither(values: Ints) -> Ints:
    """64·u, integers in -32 ... 31, of values numbered by their place."""
    with np.errstate(over="ignore"):
        bits = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(_COUNTER)
        for shift, factor in zip((30, 27), _MIX, strict=True):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(64 - DITHER_BITS)).astype(np.int64) - (1 << (DITHER_BITS - 1))


def at_positions(positions: NDArray[np.int64], width: int, channels: int) -> Ints:
    """`dither` [n, M] at raster indices [n] of a latent `width` wide."""
    # The seed is the width, which the header tells.
    places = positions[:, None] * channels + np.arange(channels)
    return dither(places + (np.int64(width) << 40))


@lru_cache(maxsize=2)
def dithers(channels: int, height: int, width: int) -> Tensor:
    """u, float32 [M, h, w]."""
    rows = max(1, _ROWS // (width * channels))
    parts = []
    for start in range(0, height, rows):
        positions = np.arange(start * width, min(start + rows, height) * width)
        part = at_positions(positions, width, channels).astype(np.float32)
        parts.append(torch.from_numpy(part))
    with torch.inference_mode(False):
        return (torch.cat(parts) / (1 << DITHER_BITS)).t().reshape(channels, height, width)


@cache
def power(units: int) -> int:
    """2^(units/256) in 2^-16, rounded down: eight square roots of a power of two."""
    value = 1 << (STEP_UNITS * _POWER_BITS + units)
    for _ in range(8):
        value = math.isqrt(value)
    return value


def coordinates(y: Tensor, step: Tensor | float) -> Tensor:
    """w = y/Δ + u of y [B, M, h, w] for steps [B, 1, 1, 1]."""
    return y / step + dithers(*y.shape[1:]).to(y.device)


def values(w: Tensor, step: Tensor | float) -> Tensor:
    """Δ·(w - u): what coordinates, rounded or not, stand for."""
    return (w - dithers(*w.shape[1:]).to(w.device)) * step


@dataclass(frozen=True)
class Lattice:
    """Where the values of a latent lie, exactly: Δ is 2 to the power of `exponent`/256."""

    exponent: int

    fraction_bits: ClassVar[int] = DITHER_BITS
    """Values are integers of 2^-6."""

    def points(self, k: Int32s, positions: NDArray[np.int64], width: int) -> Int32s:
        """ŷ in 1/64 of symbols k [n, M] at raster indices [n] of a latent `width` wide."""
        u = at_positions(positions, width, k.shape[1])
        step, half = power(self.exponent), 1 << (_POWER_BITS - 1)
        points = (((k.astype(np.int64) << DITHER_BITS) - u) * step + half) >> _POWER_BITS
        largest = LATENT_LIMIT << DITHER_BITS
        points = points.clip(-largest, largest)
        out: Int32s = points.astype(np.int32)
        return out

    def theta(self, theta: Theta, positions: NDArray[np.int64], width: int) -> Theta:
        """Parameters of k of those of ŷ, scales and means [n, 2·M], activation integers."""
        inverse, half = power(-self.exponent), 1 << (_POWER_BITS - 1)
        out = (theta.astype(np.int64) * inverse + half) >> _POWER_BITS
        channels = theta.shape[1] // 2
        u = at_positions(positions, width, channels)
        out[:, channels:] += u << (ACTIVATION_BITS - DITHER_BITS)
        return out.astype(np.float64)
