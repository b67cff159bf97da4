"""A fully factorised density: trained in floating point, coded under integer tables.

For hyper-latents, and for the latents of codecs without side information.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import BitstreamError, EncodeError
from codecs.learned.coders.latents import (
    LatentCoder,
    LatentModel,
    Symbols,
    Tables,
    section_tables,
)
from codecs.learned.coders.likelihood import (
    LIKELIHOOD_FLOOR,
    SCALE_FLOOR,
    Rounding,
    bits,
    gaussian_mass,
)
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import MAX_WINDOW, TOTAL
from codecs.learned.exact.arithmetic import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    LATENT_LIMIT,
    from_grid,
)
from codecs.learned.initialisation import LATENT_GAIN
from codecs.learned.layers import lower_bound


class ChannelPrior(nn.Module, ABC):
    """A density for each channel, the same everywhere.

    Values are rounded relative to `medians` [C]: ẑ = round(z - m) + m.
    """

    channels: int
    medians: Tensor

    @abstractmethod
    def mass(self, x: Tensor) -> Tensor:
        """Probability of [x-½, x+½] for x [C, 1, n].  Follows x's dtype."""

    @abstractmethod
    def quantile(self, logit: float) -> Tensor:
        """x [C], float64, below which the probability is sigmoid(`logit`)."""

    def round(self, z: Tensor) -> Tensor:
        """ẑ of z [B, C, H, W]."""
        medians = self.medians[:, None, None]
        return torch.round(z - medians) + medians

    def likelihood(self, z: Tensor) -> Tensor:
        """Floored probability of each (noisy or rounded) value of z [B, C, H, W]."""
        b, c, h, w = z.shape
        mass = self.mass(z.transpose(0, 1).reshape(c, 1, -1)).view(c, b, h, w).transpose(0, 1)
        return lower_bound(mass, LIKELIHOOD_FLOOR)


class GaussianPrior(ChannelPrior):
    """A Gaussian of mean 0 and learned scale for each channel, as Lee 2019 and Hu 2020 have it."""

    def __init__(self, channels: int, init_scale: float = LATENT_GAIN) -> None:
        super().__init__()
        self.channels = channels
        self.scales = nn.Parameter(torch.full((channels,), init_scale))
        self.register_buffer("medians", torch.zeros(channels), persistent=False)

    def mass(self, x: Tensor) -> Tensor:
        return gaussian_mass(x, torch.zeros_like(x), self._scales()[:, None, None].to(x.dtype))

    @torch.no_grad()
    def quantile(self, logit: float) -> Tensor:
        deviations = torch.special.ndtri(torch.sigmoid(torch.tensor(logit, dtype=torch.float64)))
        return self._scales().double() * deviations.to(self.scales.device)

    def _scales(self) -> Tensor:
        return lower_bound(self.scales.abs(), SCALE_FLOOR)


class FactorisedPrior(ChannelPrior):
    """Fully factorised density per channel; Ballé et al., "Variational image compression with a
    scale hyperprior", ICLR 2018, appendix 6.1: c = f_K ∘ ... ∘ f_1, here K = 5 of widths 3.

    f_k(x) = g_k(H_k x + b_k), g_k(x) = x + a_k ⊙ tanh(x) (identity for the last), the cumulative
    is sigmoid(c); H_k = softplus(.) and a_k = tanh(.) keep it increasing.
    """

    def __init__(self, channels: int, init_scale: float = 10.0) -> None:
        super().__init__()
        self.channels = channels
        widths = (1, 3, 3, 3, 3, 1)
        scale = init_scale ** (1 / (len(widths) - 1))
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        for i, (before, after) in enumerate(pairwise(widths)):
            start = math.log(math.expm1(1 / scale / after))
            self.matrices.append(nn.Parameter(torch.full((channels, after, before), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, after, 1) - 0.5))
            if i + 2 < len(widths):
                self.factors.append(nn.Parameter(torch.zeros(channels, after, 1)))
        self.register_buffer("medians", torch.zeros(channels))

    def logits(self, x: Tensor) -> Tensor:
        """c(x) of x [C, 1, n]: the logit of the cumulative density.  Follows x's dtype."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = functional.softplus(matrix.to(x.dtype)) @ x + bias.to(x.dtype)
            if i < len(self.factors):
                x = x + torch.tanh(self.factors[i].to(x.dtype)) * torch.tanh(x)
        return x

    def mass(self, x: Tensor) -> Tensor:
        lower, upper = self.logits(x - 0.5), self.logits(x + 0.5)
        # Evaluated in the tail where the sigmoids are small, to keep relative precision.
        sign = torch.where(lower + upper > 0, -1.0, 1.0).to(x.dtype)
        return torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower))

    @torch.no_grad()
    def quantile(self, logit: float) -> Tensor:
        """x [C], float64, with c(x) = `logit`, by bisection on [-2^16, 2^16]."""
        low = torch.full((self.channels, 1, 1), -65536.0, dtype=torch.float64)
        low = low.to(self.medians.device)
        high = -low
        for _ in range(40):
            middle = (low + high) / 2
            below = self.logits(middle) < logit
            low = torch.where(below, middle, low)
            high = torch.where(below, high, middle)
        return high[:, 0, 0]

    def set_medians(self) -> None:
        """Move the rounding grid of each channel to its median (after training)."""
        self.medians.copy_(self.quantile(0.0).to(self.medians.dtype))


def factorised_tables(prior: ChannelPrior) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The prior as integers: frequencies [C, K] (zero-padded, escape *first*) and lows [C].

    Column 0 is the escape, column 1 + i is the value lows + i (relative to the median).  The
    window is where the tails beyond it hold less than 2^-16 each, at most ±`MAX_WINDOW`.
    """
    medians = prior.medians.to(torch.float64).cpu()
    tail = math.log(2.0**-16)
    low = torch.floor(prior.quantile(tail).cpu() - medians).clamp(-MAX_WINDOW, 0)
    high = torch.ceil(prior.quantile(-tail).cpu() - medians).clamp(0, MAX_WINDOW)
    width = int((high - low).max()) + 1
    offsets = torch.arange(width, dtype=torch.float64)
    values = low[:, None] + offsets
    with torch.no_grad():
        where = (values + medians[:, None])[:, None].to(prior.medians.device)
        mass = prior.mass(where)[:, 0].cpu()
    mass[values > high[:, None]] = 0
    frequencies = torch.round(mass * TOTAL).to(torch.int64)
    # Every value inside its window keeps at least one unit; padding is told apart by its zeros.
    frequencies[(values <= high[:, None]) & (frequencies < 1)] = 1
    escape = (TOTAL - frequencies.sum(1)).clamp(min=1)
    table = torch.cat([escape[:, None], frequencies], 1)
    return table.numpy().astype(np.int32), low.numpy().astype(np.int32)


def check_factorised(
    frequencies: NDArray[np.int32], lows: NDArray[np.int32], channels: int
) -> None:
    """Raise `ValueError` unless the arrays are what `factorised_tables` writes."""
    ok = (
        frequencies.ndim == 2
        and frequencies.shape[0] == channels
        and 2 <= frequencies.shape[1] <= 2 * MAX_WINDOW + 2
        and lows.shape == (channels,)
        and bool((np.abs(lows) <= MAX_WINDOW).all())
        and all(map(_is_table, frequencies.astype(np.int64)))
    )
    if not ok:
        raise ValueError("the tables of a factorised prior are malformed: not what export writes")


def _is_table(row: NDArray[np.int64]) -> bool:
    """Whether frequencies above 0, then padding; they sum to `TOTAL` but for those that are 1 lest
    they be 0."""
    used = int(np.count_nonzero(row))
    return used >= 2 and bool((row[:used] > 0).all()) and TOTAL <= int(row.sum()) <= TOTAL + used


class FactorisedCoder:
    """Codes symbols round(z - median) under integer tables, one for each channel."""

    def __init__(self, tables: Mapping[str, NDArray[np.int32]]) -> None:
        """`tables` as made by `export`; malformed ones raise `ValueError`."""
        self.frequencies, self.lows = tables["frequencies"], tables["lows"]
        self.medians = tables["medians"].astype(np.float64)
        self.channels = len(self.medians)
        check_factorised(self.frequencies, self.lows, self.channels)
        if not (np.abs(self.medians) <= ACTIVATION_LIMIT).all():
            raise ValueError("a median of a factorised prior is out of range")
        # Rows are padded with zeros to one length; a table ends where its zeros begin.
        self._rows = [row[: np.flatnonzero(row)[-1] + 1] for row in self.frequencies]

    @staticmethod
    def export(prior: ChannelPrior) -> dict[str, NDArray[np.int32]]:
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
            raise EncodeError("a latent is not finite: the weights are damaged")
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
            raise BitstreamError("the payload is damaged: a latent is out of range")
        return out


@dataclass(frozen=True)
class Factorised(LatentModel):
    """Every channel of y has a density of its own, the same everywhere."""

    prior: FactorisedPrior
    sections: ClassVar[tuple[str, ...]] = ("y",)

    def quantise(self, y: Tensor, rounding: Rounding) -> tuple[Tensor, dict[str, Tensor]]:
        y = rounding.of(rounding.given(y) - self.grid) + self.grid
        return y, {"y": self.rate(y)(y)}

    def rate(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda y: bits(self.prior.likelihood(y))

    @property
    def grid(self) -> Tensor:
        return self.prior.medians[:, None, None]

    def tables(self) -> dict[str, NDArray[Any]]:
        return {f"y.{name}": table for name, table in FactorisedCoder.export(self.prior).items()}

    def coder(self, tables: Tables, device: torch.device) -> LatentCoder:
        return _WholeLatentCoder(FactorisedCoder(section_tables(tables, "y")), device)


class _WholeLatentCoder(LatentCoder):
    """Symbols: round(y - median) [M, h, w]."""

    def __init__(self, coder: FactorisedCoder, device: torch.device) -> None:
        self.y, self.device = coder, device

    def symbols(self, y: Tensor, proposed: Tensor | None = None) -> Symbols:
        return (self.y.symbols(y[0]),)

    def latent(self, symbols: Symbols) -> Tensor:
        return from_grid(self.y.to_grid(symbols[0]))[None].to(self.device)

    def encode(self, symbols: Symbols) -> list[bytes]:
        encoder = SymbolEncoder()
        self.y.encode(encoder, symbols[0].reshape(self.y.channels, -1))
        return [encoder.get_bytes()]

    def decode(self, sections: Sequence[bytes], height: int, width: int) -> Symbols:
        y = self.y.decode(SymbolDecoder(sections[0]), height * width)
        return (y.reshape(-1, height, width),)
