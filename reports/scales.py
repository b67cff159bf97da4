"""Axes: from data values to positions, and where ticks go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Scale:
    """A linear map from [low, high] to [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values inside the range."""
        return ticks(self.low, self.high, wanted)


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """About `wanted` multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def label(value: float, others: Sequence[float]) -> str:
    """A tick's text with as many decimals as its neighbours need."""
    for digits in range(6):
        if all(math.isclose(round(tick, digits), tick, abs_tol=1e-9) for tick in others):
            return f"{value:.{digits}f}".replace("-", MINUS)
    return f"{value:g}".replace("-", MINUS)


def padded(values: Sequence[float], share: float) -> tuple[float, float]:
    """The range of values widened by a share on both sides; never empty."""
    low, high = min(values), max(values)
    extra = (high - low) * share or max(abs(high) * 0.05, 1e-6)
    return low - extra, high + extra


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, `gap` apart where the range has the room.

    Neighbours that are too close push each other apart by equal shares until all have room.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    gap = min(gap, (high - low) / max(1, len(order) - 1))
    positions = [min(max(wanted[index], low), high) for index in order]
    for _ in range(500):
        moved = 0.0
        for place in range(1, len(positions)):
            missing = gap - (positions[place] - positions[place - 1])
            if missing > 1e-3:
                positions[place - 1] -= missing / 2
                positions[place] += missing / 2
                moved = max(moved, missing)
        for place, position in enumerate(positions):
            first, last = low + place * gap, high - (len(positions) - 1 - place) * gap
            positions[place] = min(max(position, first), max(last, first))
        if not moved:
            break
    result = [0.0] * len(wanted)
    for index, position in zip(order, positions, strict=True):
        result[index] = position
    return result
