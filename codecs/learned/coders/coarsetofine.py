"""Hyper-latents at two levels in the place of a context model: coarse to fine, and nothing waits
for its neighbour.

Hu, Yang, Liu, "Coarse-to-Fine Hyper-Prior Modeling for Learned Image Compression", AAAI 2020.

    y ── analysis ──> z₂ ── analysis ──> z₁          ẑ₁, ẑ₂, ŷ: each rounded

    ẑ₁                                               N(0, σ²), σ of its channel
    ẑ₁ ── synthesis ──> h₁ ── prediction ──> mean and scale of each value of ẑ₂
    ẑ₂ ── synthesis ──> h₂ ── prediction ──> mean and scale of each value of ŷ

A synthesis of the picture may see h₁ and h₂ too, which cost no further bits ("information
aggregation").  The prediction sees 5 x 5 positions of h; the paper cuts these windows out and gives
each to a small network, here two 3x3 convolutions run over all of h, whose windows share their
work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.coders.context import ContextCoder
from codecs.learned.coders.density import GaussianDensity
from codecs.learned.coders.factorised import FactorisedCoder, GaussianPrior
from codecs.learned.coders.hyperprior import Gaussian
from codecs.learned.coders.latents import (
    LatentCoder,
    LatentModel,
    Symbols,
    Tables,
    restored,
    rounded,
    section_tables,
)
from codecs.learned.coders.likelihood import Rounding, add_noise, bits
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.arithmetic import from_grid, latent_to_grid
from codecs.learned.exact.chain import ExactChain
from codecs.learned.initialisation import LATENT_GAIN, scaled
from codecs.learned.klt import expect
from codecs.learned.layers import conv, subpixel_conv

_DENSITY = Gaussian(logarithmic=True)


class HyperLevel(nn.Module):
    """From a latent [B, C, h, w] to the hyper-latent [B, Z, h/2, w/2] that tells its density.

    The paper's signal-preserving transform: 2 x 2 positions become one with four times the
    channels, which 1x1 convolutions mix.
    """

    def __init__(self, channels: int, hyper: int, features: int, hidden: int) -> None:
        """C `channels` of the latent, Z = `hyper`, `features` of h, and channels between them."""
        super().__init__()
        self.features = features
        self.analysis = nn.Sequential(
            *(conv(channels, channels, 3, 1), nn.PixelUnshuffle(2)),
            *(conv(4 * channels, hidden, 1, 1), nn.ReLU()),
            *(conv(hidden, hidden, 1, 1), nn.ReLU()),
            conv(hidden, hyper, 1, 1),
        )
        self.synthesis = nn.Sequential(
            *(conv(hyper, hidden, 1, 1), nn.ReLU()),
            *(conv(hidden, hidden, 1, 1), nn.ReLU()),
            *(subpixel_conv(hidden, features, kernel=1), conv(features, features, 3, 1)),
        )
        self.prediction = nn.Sequential(
            *(conv(features, hidden, 3, 1), nn.LeakyReLU()),
            *(conv(hidden, hidden, 3, 1), nn.LeakyReLU()),
            *(conv(hidden, hidden, 1, 1), nn.LeakyReLU()),
            conv(hidden, 2 * channels, 1, 1),
        )

    @property
    def writer(self) -> nn.Module:
        """The layer that makes the hyper-latent."""
        return self.analysis[-1]

    @property
    def readers(self) -> tuple[nn.Module, nn.Module]:
        """Those that see the latent and the hyper-latent."""
        return self.analysis[0], self.synthesis[0]

    def guess_broadly(self, deviations: Tensor | None = None) -> None:
        """Begin with a broad Gaussian around 0 (`codecs.learned.initialisation`), or with these
        standard deviations [C]."""
        bias = scaled(self.prediction[-1], 0.1)
        bias[: len(bias) // 2] = math.log(LATENT_GAIN) if deviations is None else deviations.log()
        if deviations is not None:
            expect(self.analysis[0], deviations)


@dataclass(frozen=True)
class _Side:
    """Side information of a latent: its estimated bits by section, its features, and θ of ŷ."""

    bits: dict[str, Tensor]
    h1: Tensor
    h2: Tensor
    theta: Tensor


@dataclass(frozen=True)
class CoarseToFine(LatentModel):
    """See the module."""

    fine: HyperLevel
    """Between y and z₂."""
    coarse: HyperLevel
    """Between z₂ and z₁."""
    prior: GaussianPrior
    """Of ẑ₁."""
    beside: bool = False
    """Whether a synthesis sees h₂ and h₁, brought to the size of ŷ."""

    sections: ClassVar[tuple[str, ...]] = ("z1", "z2", "y")

    @property
    def channels_beside(self) -> int:
        """Of what a synthesis sees beside ŷ."""
        return self.fine.features + self.coarse.features // 4 if self.beside else 0

    def hyper_latents(
        self, y: Tensor, rounding: Rounding = Rounding.EXACT
    ) -> tuple[Tensor, Tensor]:
        """z₁ [B, Z₁, h/4, w/4] and z₂ [B, Z₂, h/2, w/2] of y."""
        z2 = rounding.given(self.fine.analysis(y))
        return self.coarse.analysis(z2), z2

    def quantise(self, y: Tensor, rounding: Rounding) -> tuple[Tensor, dict[str, Tensor]]:
        y = rounding.given(y)
        side = self._side(y, rounding)
        y = rounding.of(y)
        return self._joined(y, side), {**side.bits, "y": bits(_DENSITY.likelihood(y, side.theta))}

    def rate(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        side = self._side(y, Rounding.EXACT)
        spent = torch.stack([*side.bits.values()]).sum(0)
        return lambda y: spent + bits(_DENSITY.likelihood(y, side.theta))

    def seen(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        side = self._side(y, Rounding.EXACT)
        return lambda y: self._joined(y, side)

    def _side(self, y: Tensor, rounding: Rounding) -> _Side:
        z1, z2 = self.hyper_latents(y, rounding)
        z1 = add_noise(z1) if rounding.noisy_side else torch.round(z1)
        z2 = rounding.of(z2)
        h1, h2 = self.coarse.synthesis(z1), self.fine.synthesis(z2)
        spent = {
            "z1": bits(self.prior.likelihood(z1)),
            "z2": bits(_DENSITY.likelihood(z2, self.coarse.prediction(h1))),
        }
        return _Side(spent, h1, h2, self.fine.prediction(h2))

    def _joined(self, y: Tensor, side: _Side) -> Tensor:
        return joined(y, side.h1, side.h2) if self.beside else y

    def tables(self) -> dict[str, NDArray[Any]]:
        scales = _DENSITY.scale_table()
        return {
            **{f"z1.{name}": table for name, table in FactorisedCoder.export(self.prior).items()},
            "scales.thresholds": scales.thresholds,
            "scales.inverse": scales.inverse,
        }

    def coder(self, tables: Tables, device: torch.device) -> LatentCoder:
        return CoarseToFineCoder(self, tables, device)


def joined(y: Tensor, h1: Tensor, h2: Tensor) -> Tensor:
    """ŷ [B, M, h, w] with h₂ [B, F₂, h, w] and h₁ [B, F₁, h/2, w/2] behind it."""
    return torch.cat([y, h2, functional.pixel_shuffle(h1, 2)], 1)


class _ExactLevel:
    """The decoder's side of a `HyperLevel`."""

    def __init__(
        self, level: HyperLevel, density: GaussianDensity, device: torch.device, what: str
    ) -> None:
        self._synthesis = ExactChain(level.synthesis, f"{what} hyper-decoder").to(device)
        self._prediction = ExactChain(level.prediction, f"{what} prediction").to(device)
        self._coder = ContextCoder(None, (), density, self._prediction.channels).to(device)

    def features(self, grid: Tensor) -> Tensor:
        """h [2h, 2w, F] of a hyper-latent [h, w, Z], both activation integers."""
        return self._synthesis(grid)

    def encode(self, latent: Int32s, grid: Tensor) -> bytes:
        """A latent [2h, 2w, C], given its hyper-latent."""
        encoder = SymbolEncoder()
        self._coder.encode(encoder, latent, self._prediction(self.features(grid)))
        return encoder.get_bytes()

    def decode(self, section: bytes, grid: Tensor) -> Int32s:
        """What `encode` was given."""
        psi = self._prediction(self.features(grid))
        return self._coder.decode(SymbolDecoder(section), psi)


class CoarseToFineCoder(LatentCoder):
    """Symbols: ẑ₁ [Z₁, h/4, w/4], ẑ₂ [h/2, w/2, Z₂], ŷ [h, w, M]."""

    def __init__(self, model: CoarseToFine, tables: Tables, device: torch.device) -> None:
        self.model, self.device = model, device
        self.z1 = FactorisedCoder(section_tables(tables, "z1"))
        density = _DENSITY.exact(ScaleTable(**section_tables(tables, "scales")))
        self.coarse = _ExactLevel(model.coarse, density, device, "coarse")
        self.fine = _ExactLevel(model.fine, density, device, "fine")

    def symbols(self, y: Tensor, proposed: Tensor | None = None) -> Symbols:
        z1, z2 = self.model.hyper_latents(y if proposed is None else proposed)
        return self.z1.symbols(z1[0]), rounded(z2), rounded(y)

    def latent(self, symbols: Symbols) -> Tensor:
        y = restored(symbols[2], self.device)
        if not self.model.beside:
            return y
        h1, h2 = self.coarse.features(self._z1(symbols)), self.fine.features(self._z2(symbols))
        return joined(y, *(from_grid(h).permute(2, 0, 1)[None] for h in (h1, h2)))

    def encode(self, symbols: Symbols) -> list[bytes]:
        z1, z2, y = symbols
        encoder = SymbolEncoder()
        self.z1.encode(encoder, z1.reshape(len(z1), -1))
        return [
            encoder.get_bytes(),
            self.coarse.encode(z2, self._z1(symbols)),
            self.fine.encode(y, self._z2(symbols)),
        ]

    def decode(self, sections: Sequence[bytes], height: int, width: int) -> Symbols:
        rows, columns = height // 4, width // 4
        decoded = self.z1.decode(SymbolDecoder(sections[0]), rows * columns)
        z1 = decoded.reshape(-1, rows, columns)
        z2 = self.coarse.decode(sections[1], self._z1((z1,)))
        return z1, z2, self.fine.decode(sections[2], self._z2((z1, z2)))

    def _z1(self, symbols: Symbols) -> Tensor:
        """Activation integers [h/4, w/4, Z₁]."""
        return self.z1.to_grid(symbols[0]).permute(1, 2, 0).contiguous().to(self.device)

    def _z2(self, symbols: Symbols) -> Tensor:
        """Activation integers [h/2, w/2, Z₂]."""
        return latent_to_grid(torch.from_numpy(symbols[1]).to(self.device))
