"""Coding of hyper-latents under the integer tables of a factorised prior."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.base import BitstreamError, EncodeError
from codecs.learned.coders.likelihood import FactorisedPrior
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder, escape_bits
from codecs.learned.coders.tables import check_factorised, factorised_tables
from codecs.learned.exact.arithmetic import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    LATENT_LIMIT,
)


class FactorisedCoder:
    """Codes z symbols: integers round(z - median), one table per channel."""

    def __init__(self, tables: Mapping[str, NDArray[np.int32]]) -> None:
        """`tables` as made by `export`; malformed ones raise `ValueError`."""
        self.frequencies, self.lows = tables["frequencies"], tables["lows"]
        self.medians = tables["medians"].astype(np.float64)
        self.channels = len(self.medians)
        check_factorised(self.frequencies, self.lows, self.channels)
        if not (np.abs(self.medians) <= ACTIVATION_LIMIT).all():
            raise ValueError("a median of the hyper-latent is out of range")
        # Rows are padded with zeros to one length; a table ends where its zeros begin.
        self._rows = [row[: np.flatnonzero(row)[-1] + 1] for row in self.frequencies]

    @staticmethod
    def export(prior: FactorisedPrior) -> dict[str, NDArray[np.int32]]:
        """The integer tables of a trained prior."""
        frequencies, lows = factorised_tables(prior)
        medians = torch.round(prior.medians.double().cpu() * 2**ACTIVATION_BITS)
        return {
            "frequencies": frequencies,
            "lows": lows,
            "medians": medians.numpy().astype(np.int32),
        }

    def symbols(self, z: Tensor) -> Int32s:
        """Symbols [C, ...] of real-valued z [C, ...]."""
        medians = self._per_channel(z.ndim) * 2.0**-ACTIVATION_BITS
        rounded = torch.round(z.detach().double().cpu() - torch.from_numpy(medians))
        if not bool(torch.isfinite(rounded).all()):
            raise EncodeError("the hyper-latent is not finite: the weights are damaged")
        out: Int32s = rounded.clamp(-LATENT_LIMIT, LATENT_LIMIT).numpy().astype(np.int32)
        return out

    def to_grid(self, symbols: Int32s) -> Tensor:
        """ẑ of symbols [C, ...] as activation integers, float64 [C, ...]."""
        z = symbols.astype(np.float64) * 2.0**ACTIVATION_BITS + self._per_channel(symbols.ndim)
        return torch.from_numpy(z.clip(-ACTIVATION_LIMIT, ACTIVATION_LIMIT))

    def _per_channel(self, ndim: int) -> NDArray[np.float64]:
        return self.medians.reshape(-1, *[1] * (ndim - 1))

    def encode(self, encoder: SymbolEncoder, symbols: Int32s) -> None:
        """`symbols` [C, n]."""
        for values, row, low in zip(symbols, self._rows, self.lows.tolist(), strict=True):
            encoder.encode_static(values, row, low)

    def decode(self, decoder: SymbolDecoder, count: int) -> Int32s:
        """The symbols [C, count]."""
        out = np.empty((self.channels, count), np.int32)
        for channel, (row, low) in enumerate(zip(self._rows, self.lows.tolist(), strict=True)):
            out[channel] = decoder.decode_static(count, row, low)
        if out.size and int(np.abs(out).max()) > LATENT_LIMIT:
            raise BitstreamError("the payload is damaged: a hyper-latent is out of range")
        return out

    def information(self, symbols: Int32s) -> float:
        """Bits that `encode` will use for `symbols` [C, n], escapes included."""
        total = 0.0
        for values, row, low in zip(symbols, self._rows, self.lows.tolist(), strict=True):
            index = values - low + 1
            inside = (index >= 1) & (index < len(row))
            p = row[np.where(inside, index, 0)] / row.sum()
            total -= float(np.log2(p).sum())
            outside = values[~inside]
            total += escape_bits(np.maximum(outside - (low + len(row) - 1), low - 1 - outside))
        return total
