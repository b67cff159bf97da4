"""Coefficients to bytes and back, all in integers: what encoder and decoder must agree on.

Both walk from the one sample a colour that is left of LL to the finest bands, and put together the
LL band of each level on the way, because the next level's context is made of it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.base import BitstreamError
from codecs.iwave.context import BANDS, COLOURS, LEVELS, Code, ExactContext, ExactLevel
from codecs.iwave.lifting import (
    FRACTION,
    LIMIT,
    ExactStep,
    LiftingStep,
    Step,
    Wrap,
    analyse,
    joined,
    pyramid,
    synthesise,
    to_rgb,
    to_ycocg,
    wrap,
)
from codecs.iwave.network import DEPTH, STEPS, IWave, step_index
from codecs.learned.coders.latents import Tables, section_tables
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.arithmetic import ACTIVATION_BITS
from codecs.learned.gains import exact_unscale

Ints = NDArray[np.int32]
Symbols = Sequence[Ints]
"""[3, 1, 1], what is left of LL; then the bands [9, h, w] of each level, coarsest first."""

_LEFT = np.ones(2 * LIMIT + 1, np.int32)
"""Frequencies of what is left of LL: all alike, and an escape that is not needed."""


class StreamCoder:
    """The weights of one file."""

    def __init__(self, network: IWave, tables: Tables, device: torch.device) -> None:
        """Raises `ValueError`, `KeyError` or `InexactError` for weights that do not fit."""
        self.network, self.device = network, device
        self.table = tables["steps"]
        if self.table.shape != network.tables()["steps"].shape:
            raise ValueError("the table of steps is not that of the network")
        if not bool(((self.table > 0) & (self.table <= 1 << 30)).all()):
            raise ValueError("a step of the quantiser is out of range")
        scales = ScaleTable(**section_tables(tables, "scales"))
        self.context = ExactContext(network.context, scales, device)
        self.lifting = [ExactStep(s, device) for s in network.lifting if isinstance(s, LiftingStep)]

    def transformed(self, x: Tensor, fraction: int) -> list[Tensor]:
        """LL [3, H/16, W/16] and the bands [9, h, w], coarsest first, of a picture [3, H, W] in
        0...255; all int64, in units of 2^-`fraction`."""
        levels, lifting = [], self._lifting(fraction)
        ll = to_ycocg((x.to(self.device, torch.int64) - 128) << fraction)
        for _ in range(DEPTH):
            ll, *bands = analyse(ll, *lifting)
            levels.append(torch.cat(bands))
        return [ll, *levels[::-1]]

    def _lifting(self, fraction: int) -> tuple[list[Step], Wrap]:
        """Steps of lifting in units of 2^-`fraction`, and how these wrap around."""
        steps = [functools.partial(step, fraction=fraction) for step in self.lifting]
        return list(steps), functools.partial(wrap, fraction=fraction)

    def symbols(self, coefficients: Sequence[Tensor], quality: Tensor | None) -> Symbols:
        """What is sent of coefficients in units of 2^-`FRACTION`, quantised for `quality` [1]."""
        g = self.network.scales(quality, 1)[0] / (1 << FRACTION)
        parts = [slice(0, COLOURS), *(step_index(level) for level in range(DEPTH, 0, -1))]
        scaled = [c * g[0, p, None, None] for c, p in zip(coefficients, parts, strict=True)]
        return self.unquantised([torch.floor(q + 0.5).clamp(1 - LIMIT, LIMIT - 1) for q in scaled])

    def unquantised(self, coefficients: Sequence[Tensor]) -> Symbols:
        """What is sent of integers as they are."""
        ll, *levels = (c.to(torch.int64) for c in coefficients)
        below = pyramid(ll, wrap)
        left = below[-1][0] if below else ll
        sent = [left, *(bands for _, bands in reversed(below)), *levels]
        return [t.cpu().numpy().astype(np.int32) for t in sent]

    def encode(self, symbols: Symbols, quality: float | None, lossless: bool) -> bytes:
        """The section of a stream."""
        encoder = SymbolEncoder()
        encoder.encode_static(symbols[0].reshape(-1), _LEFT, -LIMIT)

        def code(values: Ints | None, theta: NDArray[np.float64]) -> Ints:
            assert values is not None
            self.context.density.encode(encoder, values, theta)
            return values

        height, width = (n << DEPTH for n in symbols[-DEPTH].shape[1:])
        self._walk(symbols[0], symbols[1:], height, width, self.steps(quality, lossless), code)
        return encoder.get_bytes()

    def decode(
        self, section: bytes, height: int, width: int, quality: float | None, lossless: bool
    ) -> tuple[Symbols, Tensor]:
        """(symbols, picture [3, H, W], float32, not limited to 0...255) of the padded size H x W.
        Raises `BitstreamError`."""
        decoder = SymbolDecoder(section)
        left = decoder.decode_static(COLOURS, _LEFT, -LIMIT).reshape(COLOURS, 1, 1)
        if int(np.abs(left).max()) > LIMIT:
            raise BitstreamError("the payload is damaged: a coefficient is out of range")

        def code(_: Ints | None, theta: NDArray[np.float64]) -> Ints:
            return self.context.density.decode(decoder, theta)

        steps = self.steps(quality, lossless)
        levels, ll = self._walk(left, None, height, width, steps, code)
        finest = torch.from_numpy(levels[-1]).to(self.device, torch.int64)
        picture = to_rgb(self._finer(ll, finest, step_index(1), steps)).float()
        return [left, *levels], picture / (1 << steps.fraction) + 128

    def steps(self, quality: float | None, lossless: bool) -> Steps:
        """What decoded integers stand for."""
        return Steps(self.table, 0.0 if quality is None else quality, lossless)

    def _walk(
        self, left: Ints, given: Symbols | None, height: int, width: int, steps: Steps, code: Code
    ) -> tuple[list[Ints], Tensor]:
        """(bands of all levels, coarsest first, LL of the finest level)."""
        made: list[Ints] = []

        def bands(kind: int, ll: Tensor, parents: Tensor, sizes: Tensor) -> Tensor:
            fraction = 0 if kind == LEVELS - 1 else steps.fraction
            known = ExactLevel(kind, ll, parents, sizes.to(self.device), fraction)
            made.append(self.context.code(known, given[len(made)] if given else None, code))
            return torch.from_numpy(made[-1]).to(self.device, torch.int64)

        low = torch.from_numpy(left).to(self.device, torch.int64)
        parents = low.new_zeros(BANDS * COLOURS, 1, 1)
        unit = torch.full((COLOURS,), 1 << ACTIVATION_BITS)
        for size in reversed(_sizes(height >> DEPTH, width >> DEPTH)):
            parents = bands(LEVELS - 1, low, parents, unit)
            low = joined(low, parents, *size, wrap)
        ll = steps.times(low, slice(0, COLOURS))
        for level in range(DEPTH, 0, -1):
            where = step_index(level)
            parents = bands(level - 1, ll, parents, steps.units[where][:COLOURS])
            if level > 1:
                ll = self._finer(ll, parents, where, steps)
        return made, ll

    def _finer(self, ll: Tensor, bands: Tensor, where: slice, steps: Steps) -> Tensor:
        """The LL band of the next finer level, of quantised bands [9, h, w]."""
        hl, lh, hh = steps.times(bands, where).chunk(BANDS)
        return synthesise(ll, hl, lh, hh, *self._lifting(steps.fraction))


class Steps:
    """What decoded integers stand for at one quality, or without loss: themselves."""

    def __init__(self, table: NDArray[np.integer], quality: float, lossless: bool) -> None:
        self.table, self.quality, self.lossless = table, quality, lossless
        self.fraction = 0 if lossless else FRACTION
        ones = np.ones((1, 1, STEPS), np.int32)
        units = ones << ACTIVATION_BITS if lossless else exact_unscale(ones, table, quality)
        self.units = torch.from_numpy(units.reshape(-1).clip(1).astype(np.int64))
        """int64 [`STEPS`], in 2^-12."""

    def times(self, q: Tensor, which: slice) -> Tensor:
        """Coefficients, in units of 2^-`fraction`, of integers q [C, h, w], int64, whose steps are
        `which`."""
        if self.lossless:
            return q
        latents = q.permute(1, 2, 0).cpu().numpy().astype(np.int32)
        scaled = exact_unscale(latents, self.table[:, which], self.quality)
        shift, limit = ACTIVATION_BITS - self.fraction, LIMIT << self.fraction
        c = ((scaled + (1 << (shift - 1))) >> shift).clip(-limit, limit - 1).astype(np.int64)
        return torch.from_numpy(c).to(q.device).permute(2, 0, 1).contiguous()


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Of what each level of `pyramid` was made of, finest first."""
    sizes = []
    while max(height, width) > 1:
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return sizes
