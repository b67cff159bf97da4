"""Verdicts: every codec against an anchor, on every metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.bd import Verdict
from bench.results import Results

RATES = (0.075, 0.15, 0.3, 0.6, 1.0)
"""Bits per pixel at which qualities are compared; the first three are the CLIC 2022 budgets."""


@dataclass(frozen=True)
class EqualRate:
    """Anchor and codec at one rate; NaN where a curve does not reach it."""

    rate: float
    """Bits per pixel."""
    anchor_quality: float
    quality: float
    low: float
    """95 % interval of `quality - anchor_quality`."""
    high: float
    rate_at_anchor_quality: float
    """Bits per pixel that the codec needs for `anchor_quality`."""


@dataclass(frozen=True)
class Cell:
    """One codec against the anchor on one metric."""

    verdict: Verdict
    """BD-rate of the mean curves (per image, then over images)."""
    pooled: Verdict
    """The same from pooled figures: PSNR of the mean MSE, dB of the mean MS-SSIM, and so on."""
    equal_rate: tuple[EqualRate, ...]


@dataclass(frozen=True)
class Row:
    """One codec against the anchor."""

    codec: str
    label: str
    cells: Mapping[str, Cell]
    """Metric name -> cell."""


@dataclass(frozen=True)
class Comparison:
    """All codecs against one anchor."""

    results: Results
    anchor: str
    rows: tuple[Row, ...]
    """In the order of `results.codecs`, the anchor left out."""
