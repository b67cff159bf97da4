"""Means beside scales: the hyperprior of Minnen et al. 2018 without its context model.

Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018, table 3, "Mean & Scale Hyperprior".

    x ── g_a ──> y ──────────── round ────────────> ŷ ── g_s ──> x̂
                 │                                  │
                 └─ h_a ──> z ─ round ─> ẑ ─ h_s ───┴─> scales and means of N(μ, σ²)

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ, σ, μ  M x H/16 x W/16    latent, its scales and means
    z, ẑ        N x H/64 x W/64    hyper-latent

CompressAI calls it `mbt2018_mean` (N = 128, M = 192 at lower rates), and rounds y - μ; here y is
rounded, as the paper draws it and as with a context.  All of ŷ is decoded at once:
what `minnen` saves beside it is what the context is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.factorised import FactorisedPrior
from codecs.learned.coders.hyperprior import Gaussian, Hyperprior
from codecs.learned.initialisation import initialise, scaled
from codecs.learned.klt import begin_gdn_transforms
from codecs.learned.layers import conv, deconv
from codecs.learned.rows import gdn_analysis, gdn_synthesis
from codecs.learned.transform import TransformModel, TransformNetwork


class MeanScale(TransformNetwork):
    """N channels in the transforms' hidden layers and in z, M in y."""

    architecture = "mean-scale"
    magic = b"MS"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 128, "M": 192},
        "compact": {"N": 64, "M": 96},
    }

    def __init__(self, N: int = 64, M: int = 96, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a = gdn_analysis(N, M)
        self.g_s = gdn_synthesis(N, M)
        self.h_a = nn.Sequential(
            conv(M, N, 3, 1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N)
        )
        self.h_s = nn.Sequential(
            *(deconv(N, M), nn.LeakyReLU()),
            *(deconv(M, M * 3 // 2), nn.LeakyReLU()),
            conv(M * 3 // 2, 2 * M, 3, 1),
        )
        self.prior = FactorisedPrior(N)
        initialise(
            self,
            writers=[self.g_a[-1], self.h_a[-1]],
            readers=[self.g_s[0], self.h_a[0], self.h_s[0]],
            picture=self.g_s[-1],
        )
        deviations = begin_gdn_transforms(self, [self.h_a[0]])
        # The first guess is a Gaussian around 0.
        scaled(self.h_s[-1], 0.1)[:M] = deviations

    def latent_model(self) -> Hyperprior:
        return Hyperprior(self.h_a, self.prior, self.h_s, Gaussian())


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `mean-scale`, or `mean-scale:bfloat16` with transforms in that precision."""
    label = "Mean and scale 2018"
    return LearnedCodec("mean-scale", label, MeanScale, TransformModel, variant)
