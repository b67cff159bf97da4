"""A latent whose density is told by side information: the hyperprior and what was built on it.

    y ─ analysis h_a ─> z ─ round ─> ẑ ─ synthesis h_s ─> ψ ─┐
                                                             ├─ head ─> θ = parameters of p(ŷ)
    ŷ (what is decoded already) ───── context ──────────> φ ─┘

With neither head nor context it is the scale hyperprior of Ballé et al. 2018 (θ = ψ = scales), or,
with means in ψ, that of Minnen et al. 2018 without context; with both, Minnen's joint
autoregressive and hierarchical prior; with a `Mixture`, the entropy model of Cheng et al. 2020.
With a `WindowContext` of ψ and ŷ it is that of Lee et al. 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.coders.context import ContextCoder
from codecs.learned.coders.density import GaussianDensity, MixtureDensity
from codecs.learned.coders.dither import Lattice
from codecs.learned.coders.factorised import ChannelPrior, FactorisedCoder
from codecs.learned.coders.latents import (
    LatentCoder,
    LatentModel,
    Symbols,
    Tables,
    restored,
    rounded,
    section_tables,
)
from codecs.learned.coders.likelihood import (
    SCALE_FLOOR,
    Rounding,
    add_noise,
    bits,
    gaussian_likelihood,
    mixture_likelihood,
    round_through,
)
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.chain import ExactChain
from codecs.learned.layers import MaskedConv2d, WindowContext

HYPER_STRIDE = 4
"""Positions of y to one of z."""


@dataclass(frozen=True)
class Gaussian:
    """θ = scales and means, M channels each, or scales alone where `zero_mean`."""

    zero_mean: bool = False
    scale_floor: float = SCALE_FLOOR
    logarithmic: bool = False
    """Whether θ has the logarithms of scales."""

    def likelihood(self, values: Tensor, theta: Tensor) -> Tensor:
        """Probability of each of `values` [B, M, h, w]."""
        if self.zero_mean:
            scales, means = theta, torch.zeros_like(theta)
        else:
            scales, means = theta.chunk(2, 1)
        if self.logarithmic:
            scales = scales.exp()
        return gaussian_likelihood(values, means, scales, self.scale_floor)

    def scale_table(self) -> ScaleTable:
        if self.logarithmic:
            return ScaleTable.build(self.scale_floor, raw=math.log)
        return ScaleTable.build(self.scale_floor)

    def exact(self, scales: ScaleTable) -> GaussianDensity:
        return GaussianDensity(scales, self.zero_mean)


@dataclass(frozen=True)
class Mixture:
    """θ = logits of weights, means, raw scales, each `components` K blocks of M channels; a scale
    is softplus(raw) + `scale_floor`."""

    components: int
    scale_floor: float

    def likelihood(self, values: Tensor, theta: Tensor) -> Tensor:
        """Probability of each of `values` [B, M, h, w]; `theta` [B, 3·K·M, h, w]."""
        b, _, h, w = theta.shape
        logits, means, raw = theta.view(b, 3, self.components, -1, h, w).unbind(1)
        scales = functional.softplus(raw) + self.scale_floor
        return mixture_likelihood(values, torch.softmax(logits, 1), means, scales)

    def scale_table(self) -> ScaleTable:
        floor = self.scale_floor
        return ScaleTable.build(floor, raw=lambda s: float(np.log(np.expm1(s - floor))))

    def exact(self, scales: ScaleTable) -> MixtureDensity:
        return MixtureDensity(scales, self.components)


@dataclass(frozen=True)
class Hyperprior(LatentModel):
    """See the module."""

    analysis: nn.Module
    """y [B, M, h, w] -> z [B, N, h/4, w/4]; only encoders run it."""
    prior: ChannelPrior
    """Of ẑ."""
    synthesis: Sequence[nn.Module] | nn.Sequential
    """ẑ -> ψ [B, P, h, w]; decoders run it in integers."""
    density: Gaussian | Mixture
    context: MaskedConv2d | WindowContext | None = None
    head: nn.Sequential | None = None
    magnitude: bool = False
    """Whether the analysis sees |y|, as that of zero-mean models does."""
    straight_through: bool = False
    """Whether the synthesis of pictures sees rounded latents in training, too, with the gradient of
    the identity; the rate stays that of noisy ones (Minnen, Singh, ICIP 2020)."""

    sections: ClassVar[tuple[str, ...]] = ("z", "y")

    def hyper_latent(self, y: Tensor) -> Tensor:
        """z of y."""
        z: Tensor = self.analysis(y.abs() if self.magnitude else y)
        return z

    def theta(self, psi: Tensor, y: Tensor) -> Tensor:
        """Entropy parameters of ŷ, given all of it: causal by the masked kernel."""
        if isinstance(self.context, WindowContext):
            features = self.context(psi, y)
        elif self.context is not None:
            features = torch.cat([psi, self.context(y)], 1)
        else:
            features = psi
        theta: Tensor = features if self.head is None else self.head(features)
        return theta

    def quantise(self, y: Tensor, rounding: Rounding) -> tuple[Tensor, dict[str, Tensor]]:
        y = rounding.given(y)
        z = self.hyper_latent(y)
        z = add_noise(z) if rounding.noisy_side else self.prior.round(z)
        coded = rounding.of(y)
        likelihoods = {
            "z": self.prior.likelihood(z),
            "y": self.density.likelihood(coded, self.theta(self._psi(z), coded)),
        }
        decoded = round_through(y) if self.straight_through else coded
        return decoded, {name: bits(p) for name, p in likelihoods.items()}

    def rate(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        z = self.prior.round(self.hyper_latent(y))
        side, psi = bits(self.prior.likelihood(z)), self._psi(z)
        return lambda y: side + bits(self.density.likelihood(y, self.theta(psi, y)))

    def _psi(self, z: Tensor) -> Tensor:
        for layer in self.synthesis:
            z = layer(z)
        return z

    def tables(self) -> dict[str, NDArray[Any]]:
        scales = self.density.scale_table()
        return {
            **{f"z.{name}": table for name, table in FactorisedCoder.export(self.prior).items()},
            "scales.thresholds": scales.thresholds,
            "scales.inverse": scales.inverse,
        }

    def coder(self, tables: Tables, device: torch.device) -> HyperpriorCoder:
        return HyperpriorCoder(self, tables, device)


class HyperpriorCoder(LatentCoder):
    """Symbols: round(z - median) [N, h/4, w/4], then ŷ = round(y) [h, w, M], or, with a `lattice`,
    the numbers of its points."""

    def __init__(
        self,
        model: Hyperprior,
        tables: Tables,
        device: torch.device,
        lattice: Lattice | None = None,
        density: GaussianDensity | MixtureDensity | None = None,
    ) -> None:
        """`density` is that of another coder of the same tables, which shares its own."""
        self.model, self.device, self.lattice = model, device, lattice
        self.z = FactorisedCoder(section_tables(tables, "z"))
        scales = ScaleTable(**section_tables(tables, "scales"))
        self.density = density or model.density.exact(scales)
        self.synthesis = ExactChain(model.synthesis, "hyper-decoder").to(device)
        self.y = ContextCoder(
            model.context,
            () if model.head is None else list(model.head),
            self.density,
            self.synthesis.channels,
        ).to(device)

    def symbols(self, y: Tensor, proposed: Tensor | None = None) -> Symbols:
        z = self.z.symbols(self.model.hyper_latent(y if proposed is None else proposed)[0])
        return z, rounded(y)

    def latent(self, symbols: Symbols) -> Tensor:
        return restored(symbols[1], self.device)

    def side_information(self, z: NDArray[np.int32]) -> Tensor:
        """ψ [h, w, P], exact, of the symbols of z."""
        grid = self.z.to_grid(z).permute(1, 2, 0).contiguous().to(self.device)
        return self.synthesis(grid)

    def encode(self, symbols: Symbols) -> list[bytes]:
        z, y = symbols
        encoders = SymbolEncoder(), SymbolEncoder()
        self.z.encode(encoders[0], z.reshape(len(z), -1))
        self.y.encode(encoders[1], y, self.side_information(z), lattice=self.lattice)
        return [encoder.get_bytes() for encoder in encoders]

    def decode(self, sections: Sequence[bytes], height: int, width: int) -> Symbols:
        rows, columns = (math.ceil(length / HYPER_STRIDE) for length in (height, width))
        z = self.z.decode(SymbolDecoder(sections[0]), rows * columns).reshape(-1, rows, columns)
        psi = self.side_information(z)
        return z, self.y.decode(SymbolDecoder(sections[1]), psi, lattice=self.lattice)
