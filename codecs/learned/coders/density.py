"""From entropy parameters (activation integers) to coded symbols: Gaussian and Gaussian mixture.

Both classes share an interface, used by `codecs.learned.coders.context`:

* `parameters`: how many entropy parameters a latent has; θ has the shape [n, parameters · M];
* `encode(encoder, latents, theta)`, `decode(decoder, theta)`: latents int32 [n, M].

Latents of one call are coded grouped by window size, and in the order [n, M] within a group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecs.base import BitstreamError
from codecs.learned.coders.rangecoding import (
    Int32s,
    Rows,
    SymbolDecoder,
    SymbolEncoder,
)
from codecs.learned.coders.tables import (
    INVERSE_BITS,
    MEAN_BITS,
    WINDOWS,
    Ints,
    ScaleTable,
    cumulative,
    group_by,
    mixture_weights,
    with_escape,
)
from codecs.learned.exact.arithmetic import ACTIVATION_BITS, LATENT_LIMIT

Theta = NDArray[np.float64]
_TO_MEAN = ACTIVATION_BITS - MEAN_BITS
_UNIT = 1 << MEAN_BITS
_HALF = _UNIT // 2
_PIECE = 1 << 20


class _Levels:
    """Scale levels of raw network outputs, by table look-up."""

    def __init__(self, table: ScaleTable) -> None:
        self._first, self._table = table.lookup()

    def __call__(self, raw: Ints) -> NDArray[np.uint8]:
        return self._table[np.clip(raw - self._first, 0, len(self._table) - 1)]


def _means(theta: Theta) -> Ints:
    """Activation integers to means in 1/64, rounding half up."""
    return (theta.astype(np.int64) + (1 << (_TO_MEAN - 1))) >> _TO_MEAN


@dataclass(frozen=True, slots=True)
class _Plan:
    """How each of n latents is coded (flat): window centre, window index, frequencies."""

    centres: Ints
    windows: NDArray[np.integer]
    rows: Callable[[int, NDArray[np.intp]], Rows]
    """(window, indices) -> frequencies of those latents, all of that window."""

    def groups(self) -> Iterator[tuple[int, NDArray[np.intp], Rows]]:
        """(half-width, indices, rows), windows ascending, in pieces of bounded memory.

        Where the pieces end is part of the stream format, because escapes follow each piece.
        """
        for window, indices in group_by(self.windows, len(WINDOWS)):
            size = _PIECE // (2 * WINDOWS[window] + 2)
            for start in range(0, len(indices), size):
                which = indices[start : start + size]
                yield WINDOWS[window], which, self.rows(window, which)


class _Windowed(ABC):
    """What Gaussian and mixture share: coding latents in windows around integer centres."""

    parameters: int

    @abstractmethod
    def _plan(self, theta: Theta) -> _Plan: ...

    def encode(self, encoder: SymbolEncoder, latents: Int32s, theta: Theta) -> None:
        plan = self._plan(theta)
        residuals = (latents.reshape(-1) - plan.centres).astype(np.int32)
        for half, which, rows in plan.groups():
            encoder.encode(residuals[which], rows, half)

    def decode(self, decoder: SymbolDecoder, theta: Theta) -> Int32s:
        plan = self._plan(theta)
        latents = plan.centres.astype(np.int32)
        for half, which, rows in plan.groups():
            latents[which] += decoder.decode(rows, half)
        if len(latents) and int(np.abs(latents).max()) > LATENT_LIMIT:
            raise BitstreamError("the payload is damaged: a latent is out of range")
        return latents.reshape(len(theta), -1)


class GaussianDensity(_Windowed):
    """One Gaussian per latent; θ = [raw scales | means], M each (CompressAI's order), or, with
    `zero_mean`, the raw scales alone.

    Frequencies depend only on the scale's level and the mean's fraction, so all rows are made
    once: 64 fractions for each level.
    """

    def __init__(self, scales: ScaleTable, zero_mean: bool = False) -> None:
        self.parameters = 1 if zero_mean else 2
        self._levels = _Levels(scales)
        halves = scales.windows(deviations=5)
        self._window_of = np.searchsorted(WINDOWS, halves)
        self._first = np.searchsorted(self._window_of, np.arange(len(WINDOWS)))
        fractions = np.arange(_UNIT) - _HALF
        self._tables: dict[int, Rows] = {}
        for window in np.unique(self._window_of).tolist():
            half = WINDOWS[window]
            inverse = scales.inverse[self._window_of == window]
            edges = np.arange(-half, half + 2) * _UNIT - _HALF
            distance = (edges - fractions[:, None])[None]
            rows = cumulative(distance, inverse[:, None, None])
            self._tables[window] = with_escape(rows.reshape(-1, rows.shape[-1]))

    def _plan(self, theta: Theta) -> _Plan:
        m = theta.shape[1] // self.parameters
        levels = self._levels(theta[:, :m].astype(np.int64)).reshape(-1)
        means = np.zeros_like(levels, np.int64)
        if self.parameters == 2:
            means = _means(theta[:, m:]).reshape(-1)
        centres = (means + _HALF) >> MEAN_BITS
        windows = self._window_of[levels]
        fraction = means - (centres << MEAN_BITS) + _HALF
        index = (levels - self._first[windows]) * _UNIT + fraction
        return _Plan(centres, windows, lambda window, which: self._tables[window][index[which]])


class MixtureDensity(_Windowed):
    """K Gaussians per latent; θ = [weight logits | means | raw scales], each K blocks of M."""

    def __init__(self, scales: ScaleTable, mixtures: int = 3) -> None:
        self._levels = _Levels(scales)
        self._inverse = scales.inverse
        self._mixtures = mixtures
        self.parameters = 3 * mixtures

    def _plan(self, theta: Theta) -> _Plan:
        k = self._mixtures
        blocks = theta.reshape(len(theta), 3, k, -1)
        weights = mixture_weights(blocks[:, 0].astype(np.int64))
        means = _means(blocks[:, 1])
        inverse = self._inverse[self._levels(blocks[:, 2].astype(np.int64))]
        mean = (weights * means).sum(1) + (1 << (11 + MEAN_BITS))
        centres = mean >> (12 + MEAN_BITS)
        offsets = means - (centres << MEAN_BITS)[:, None]
        # Half-width: 5 σ around every component that has weight.
        deviation = -(-(5 * _UNIT << INVERSE_BITS) // inverse)
        reach = (-(-np.abs(offsets) // _UNIT) + deviation) * (weights > 0)
        windows = np.searchsorted(WINDOWS, reach.max(1).reshape(-1))
        windows = np.minimum(windows, len(WINDOWS) - 1)
        flat = [x.transpose(0, 2, 1).reshape(-1, k) for x in (weights, offsets, inverse)]

        def rows(window: int, which: NDArray[np.intp]) -> Rows:
            half = WINDOWS[window]
            edges = np.arange(-half, half + 2) * _UNIT - _HALF
            w, offset, scale = (x[which, :, None] for x in flat)
            total = np.zeros((len(which), len(edges)), np.int64)
            for j in range(k):
                total += cumulative(edges - offset[:, j], scale[:, j]) * w[:, j]
            return with_escape(total >> 12)

        return _Plan(centres.reshape(-1), windows, rows)
