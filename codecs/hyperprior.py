"""The scale hyperprior: side information tells how widely each latent is spread.

Ballé, Minnen, Singh, Hwang, Johnston, "Variational image compression with a scale hyperprior",
ICLR 2018, figure 4, right.

    x ── g_a ──> y ──────────── round ────────────> ŷ ── g_s ──> x̂
                 │                                  │
                |y|── h_a ──> z ─ round ─> ẑ ─ h_s ─┴─> scales of N(0, σ²)

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ, σ  M x H/16 x W/16    latent and its scales
    z, ẑ     N x H/64 x W/64    hyper-latent

CompressAI calls it `bmshj2018_hyperprior` (N = 128, M = 192 at lower rates).
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


class ScaleHyperprior(TransformNetwork):
    """N channels in the transforms' hidden layers and in z, M in y."""

    architecture = "hyperprior"
    magic = b"HP"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 128, "M": 192},
        "compact": {"N": 64, "M": 96},
    }

    def __init__(self, N: int = 64, M: int = 96, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a = gdn_analysis(N, M)
        self.g_s = gdn_synthesis(N, M)
        self.h_a = nn.Sequential(conv(M, N, 3, 1), nn.ReLU(), conv(N, N), nn.ReLU(), conv(N, N))
        self.h_s = nn.Sequential(
            *(deconv(N, N), nn.ReLU()),
            *(deconv(N, N), nn.ReLU()),
            *(conv(N, M, 3, 1), nn.ReLU()),
        )
        self.prior = FactorisedPrior(N)
        initialise(
            self,
            writers=[self.g_a[-1], self.h_a[-1]],
            readers=[self.g_s[0], self.h_a[0], self.h_s[0]],
            picture=self.g_s[-1],
        )
        deviations = begin_gdn_transforms(self, [self.h_a[0]])
        # The first guess of scales.
        scaled(self.h_s[-2], 0.1).copy_(deviations)

    def latent_model(self) -> Hyperprior:
        return Hyperprior(self.h_a, self.prior, self.h_s, Gaussian(zero_mean=True), magnitude=True)


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `hyperprior`, or `hyperprior:bfloat16` with transforms in that precision."""
    return LearnedCodec("hyperprior", "Ballé 2018", ScaleHyperprior, TransformModel, variant)
