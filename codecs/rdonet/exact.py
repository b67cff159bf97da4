"""The entropy path of RDONet in exact integers: everything that a decoder must reproduce.

Decoded features d_{i+1} of deeper levels condition the entropy model of level i, so d₃ and d₂ are
computed here too; only d₁ and the synthesis, which nothing is decoded from, stay in floating point.
Tensors are channels-last and hold activation integers (see `codecs.learned.exact`), as int32 where
they cover a whole picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.learned.coders.context import ContextCoder
from codecs.learned.coders.factorised import FactorisedCoder
from codecs.learned.coders.latents import Tables, section_tables
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.arithmetic import latent_to_grid
from codecs.learned.exact.chain import ExactChain
from codecs.learned.gains import exact_unscale
from codecs.rdonet.unit import LatentSpaceUnit

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Level:
    """What is sent at one level.

    `latents` int32[h, w, N], 0 where `sent` bool[h, w] is not set.  `hyper_latents`
    int32[H, h', w'], relative to the medians, 0 where `cells` bool[h', w'] is not set.
    """

    latents: Int32s
    hyper_latents: Int32s
    sent: Bools
    cells: Bools


class ExactUnit:
    """One LS-Unit as both sides of a transmission see it.  d is d_{i+1}, int32[h, w, D]."""

    def __init__(
        self, unit: LatentSpaceUnit, level: int, tables: Tables, device: torch.device
    ) -> None:
        """`tables` as made by `RDONet.tables`; malformed ones raise `ValueError`."""
        prior, what = unit.prior, f"level {level}"
        self.hyper_latents = FactorisedCoder(section_tables(tables, f"z{level}"))
        self._skip_z = prior.skip_z
        self._hyper = ExactChain(prior.hyper_synthesis, what).to(device)
        self._condition = ExactChain([prior.condition], what).to(device)
        known = prior.mask_context
        self._mask_context = None if known is None else ExactChain([known], what).to(device)
        self._latents = ContextCoder(
            prior.context,
            list(prior.parameters_net),
            prior.density.exact(ScaleTable(**section_tables(tables, "scales"))),
            self._condition.channels,
        ).to(device)
        self._decoder = ExactChain([unit.up, unit.igdn], what).to(device)
        self._gains = tables[f"h{level}"] if unit.gains is not None else None

    def cells(self, sent: Bools) -> Bools:
        """The hyper-latent cells that are coded: those with a sent hyper-pixel, or all."""
        h, w = sent.shape
        if not self._skip_z:
            return np.ones((-(-h // 4), -(-w // 4)), bool)
        padded = np.pad(sent, ((0, -h % 4), (0, -w % 4)))
        return np.asarray(padded.reshape(padded.shape[0] // 4, 4, -1, 4).any((1, 3)))

    def encode(self, level: Level, d: Tensor) -> bytes:
        """The level's payload; empty if nothing is sent."""
        encoder = SymbolEncoder()
        if level.cells.any():
            self.hyper_latents.encode(encoder, level.hyper_latents[:, level.cells])
        if level.sent.any():
            psi, known = self._side_information(level.hyper_latents, level.cells, level.sent, d)
            self._latents.encode(encoder, level.latents, psi, level.sent, known)
        return encoder.get_bytes()

    def decode(self, payload: bytes, sent: Bools, d: Tensor) -> Level:
        """Inverse of `encode`.  Raises `BitstreamError`."""
        decoder = SymbolDecoder(payload)
        cells = self.cells(sent)
        z = np.zeros((self.hyper_latents.channels, *cells.shape), np.int32)
        z[:, cells] = self.hyper_latents.decode(decoder, int(cells.sum()))
        if not sent.any():
            return Level(np.zeros((*sent.shape, self._latents.channels), np.int32), z, sent, cells)
        psi, known = self._side_information(z, cells, sent, d)
        return Level(self._latents.decode(decoder, psi, sent, known), z, sent, cells)

    def decoded(self, d: Tensor, latents: Int32s, quality: float | None) -> Tensor:
        """d_i [h·s, w·s, .] of d_{i+1} and t̂_i."""
        if self._gains is not None and quality is not None:
            t = torch.from_numpy(exact_unscale(latents, self._gains, quality)).to(d.device)
        else:
            t = latent_to_grid(torch.from_numpy(latents).to(d.device)).int()
        return self._decoder(torch.cat([d, t], 2))

    def _side_information(
        self, z: Int32s, cells: Bools, sent: Bools, d: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """ψ [h, w, 2N], and the partition's share of the context features φ [h, w, 2N]."""
        x = self.hyper_latents.to_grid(z) * torch.from_numpy(cells)
        x = self._hyper(x.permute(1, 2, 0).to(d.device))
        psi = self._condition(torch.cat([x[: d.shape[0], : d.shape[1]], d], 2))
        if self._mask_context is None:
            return psi, None
        mask = latent_to_grid(torch.from_numpy(sent).to(d.device))
        return psi, self._mask_context(mask[:, :, None])
