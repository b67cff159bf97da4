"""Integer probability tables: what stands between network outputs and the range coder.

Nothing here evaluates a transcendental function at coding time.  The normal cumulative and the
exponential are tabulated once per process with Python integers, so they are the same on every
machine; what depends on a model (tables of z, scale thresholds) is computed when weights are
exported and stored with them as integers.

Frequencies have 24 bits (they sum to 2^24), the precision of the range coder, which gives every
symbol at least frequency 1.  The last entry of each row is the escape symbol, for all values
outside the row's window; see `codecs.learned.coders.rangecoding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FREQUENCY_BITS = 24
TOTAL = 1 << FREQUENCY_BITS
STEP_BITS = 12
"""Φ is tabulated at multiples of 2^-12 standard deviations ..."""
REACH = 8 << STEP_BITS
"""... out to ±8."""
INVERSE_BITS = 12
"""Reciprocal scales are integers r = 2^12 · 64/scale: they take a distance in 1/64 to Φ's table."""
MEAN_BITS = 6
"""Means are rounded to 1/64."""
MAX_WINDOW = 512
WINDOWS = (1, 2, 3, 4, 6, 9, 13, 20, 32, 48, 80, 128, 256, MAX_WINDOW)
"""Half-widths A of the coded windows [c-A, c+A] around the rounded mean c."""
_FIXED = 128


def _exp_fixed(numerator: int, denominator: int) -> int:
    """exp(-numerator/denominator) · 2^128, by its Taylor series in integers."""
    total, term, n = 0, 1 << _FIXED, 0
    while term:
        total += term if n % 2 == 0 else -term
        n += 1
        term = term * numerator // (denominator * n)
    return total


@cache
def normal_cumulative() -> NDArray[np.int32]:
    """Φ(j·2^-12)·2^24 for j = -2^15 ... 2^15, int32[65537], accurate to one unit.

    exp(-u²/2) by the recurrence E(j+1) = E(j)·R(j), R(j+1) = R(j)·exp(-h²) in 128-bit fixed
    point, integrated by the trapezoidal rule (relative error h²/12 = 5e-9).
    """
    density, ratio = 1 << _FIXED, _exp_fixed(1, 2 << 2 * STEP_BITS)
    decay = _exp_fixed(1, 1 << 2 * STEP_BITS)
    area, areas = 0, [0]
    for _ in range(REACH):
        following = density * ratio >> _FIXED
        area += density + following
        areas.append(area)
        density, ratio = following, ratio * decay >> _FIXED
    half = TOTAL // 2
    upper = np.array([(a * half + area // 2) // area for a in areas], np.int32)
    return np.concatenate([half - upper[:0:-1], half + upper])


@cache
def exponential() -> Ints:
    """exp(-j/64)·2^20 for j = 0 ... 1023, rounded down."""
    factor, value, out = _exp_fixed(1, 64), 1 << _FIXED, []
    for _ in range(1024):
        out.append(value >> (_FIXED - 20))
        value = value * factor >> _FIXED
    return np.array(out, np.int64)


def mixture_weights(logits: Ints) -> Ints:
    """Softmax over the last axis but one: integers that sum to 4096.

    `logits` [n, K, M] are activation integers (2^-12).
    """
    return _softmax(logits, 12)


def categorical(logits: Ints) -> NDArray[np.float32]:
    """Softmax of `logits` [n, L], activation integers: frequencies, which sum to `TOTAL`."""
    return _softmax(logits, FREQUENCY_BITS).astype(np.float32)


def _softmax(logits: Ints, bits: int) -> Ints:
    """Over axis 1, of activation integers, used at a resolution of 1/64: the sum is 2^bits."""
    below = logits.max(1, keepdims=True) - logits
    e = exponential()[np.minimum((below + 32) >> 6, 1023)]
    w = (e << bits) // e.sum(1, keepdims=True)
    largest = w.argmax(1)[:, None]
    rest = (1 << bits) - w.sum(1, keepdims=True)
    np.put_along_axis(w, largest, np.take_along_axis(w, largest, 1) + rest, 1)
    return w


@dataclass(frozen=True, slots=True)
class ScaleTable:
    """Quantisation of the scale parameter; both arrays are stored in the weights file.

    `thresholds` int64[L-1], increasing: level = number of thresholds <= raw network output (an
    activation integer).  `inverse` int64[L]: 2^12 · 64/σ of each level, decreasing.
    """

    thresholds: Ints
    inverse: Ints

    def __post_init__(self) -> None:
        ok = (
            self.inverse.ndim == 1
            and 2 <= len(self.inverse) <= 256
            and self.thresholds.shape == (len(self.inverse) - 1,)
            and bool((np.diff(self.thresholds) >= 0).all())
            and bool((np.diff(self.inverse) <= 0).all())
            and int(self.inverse[-1]) >= 256
            and int(self.inverse[0]) < 1 << 26
            and int(np.abs(self.thresholds).max()) <= 1 << 24
        )
        if not ok:
            raise ValueError("the scale table is malformed: not what export writes")

    @classmethod
    def build(
        cls,
        low: float,
        high: float = 128.0,
        levels: int = 96,
        raw: Callable[[float], float] = lambda scale: scale,
    ) -> ScaleTable:
        """Levels spaced evenly in log σ; a scale goes to the nearest one.

        `raw` maps a scale to the network output that stands for it (increasing): the identity
        where the network puts out σ, log(expm1(σ - floor)) where σ = softplus(output) + floor.
        With 96 levels rounding σ costs about 4e-4 bits a symbol.
        """
        sigma = [low * (high / low) ** (i / (levels - 1)) for i in range(levels)]
        edges = [math.sqrt(a * b) for a, b in pairwise(sigma)]
        return cls(
            np.array([math.ceil(raw(edge) * 4096) for edge in edges], np.int64),
            np.array([round((64 << INVERSE_BITS) / s) for s in sigma], np.int64),
        )

    def lookup(self) -> tuple[int, NDArray[np.uint8]]:
        """(first, table): the level of raw value v is table[clip(v - first, 0, len - 1)]."""
        first, last = int(self.thresholds[0]) - 1, int(self.thresholds[-1])
        span = np.arange(first, last + 1)
        return first, np.searchsorted(self.thresholds, span, side="right").astype(np.uint8)

    def windows(self, deviations: int) -> NDArray[np.int64]:
        """Half-width A per level: the smallest of `WINDOWS` that holds that many σ."""
        reach = -(-(deviations * 64 << INVERSE_BITS) // self.inverse) + 1
        return np.array(WINDOWS)[np.minimum(np.searchsorted(WINDOWS, reach), len(WINDOWS) - 1)]


def cumulative(distance: Ints, inverse: Ints) -> NDArray[np.int32]:
    """2^24·Φ(distance/64/σ); `inverse` as in `ScaleTable`, the two broadcast together."""
    index = (distance * inverse + (1 << (INVERSE_BITS - 1))) >> INVERSE_BITS
    np.clip(index, -REACH, REACH, out=index)
    return normal_cumulative()[index + REACH]


def with_escape(edges: NDArray[np.integer]) -> NDArray[np.float32]:
    """Cumulatives [n, K+1] at the window's edges -> frequencies float32[n, K+1], escape last."""
    rows = np.empty(edges.shape, np.float32)
    rows[:, :-1] = edges[:, 1:] - edges[:, :-1]
    rows[:, -1] = TOTAL - (edges[:, -1] - edges[:, 0])
    return rows


def group_by(keys: NDArray[np.integer], count: int) -> Sequence[tuple[int, NDArray[np.intp]]]:
    """(key, indices) for each key that occurs, keys ascending, indices ascending."""
    present = np.flatnonzero(np.bincount(keys, minlength=count))
    return [(int(k), np.flatnonzero(keys == k)) for k in present]
