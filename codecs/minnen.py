"""Minnen, Ballé, Toderici, "Joint Autoregressive and Hierarchical Priors for Learned Image
Compression", NeurIPS 2018 (figure 1, table 1), with CompressAI's layer sizes: the learned codec
that RDONet is compared with.

    x ── g_a ──> y ─────────────── round ──────────────> ŷ ── g_s ──> x̂
                 │                                       │
                 └─ h_a ──> z ─ round ─> ẑ ─ h_s ──> ψ   └─ context (masked 5x5) ──> φ
                                                     │                               │
                                                     └───────────── head ────────────┘
                                                             scales, means of ŷ

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ   M x H/16 x W/16    latent
    z, ẑ   N x H/64 x W/64    hyper-latent
    ψ, φ  2M x H/16 x W/16    features of hyper-decoder and of the context model
    θ     2M x H/16 x W/16    scales, then means

In training ŷ is y with uniform noise; else ŷ = round(y), and the mean enters the likelihood only
(CompressAI's `forward` reconstructs from the same ŷ).
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
from codecs.learned.layers import MaskedConv2d, conv, deconv
from codecs.learned.rows import gdn_analysis, gdn_synthesis
from codecs.learned.transform import TransformModel, TransformNetwork


class Minnen(TransformNetwork):
    """N channels in the transforms' hidden layers and in z, M in y."""

    architecture = "minnen"
    magic = b"MN"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Lower rates of the paper's own models; CompressAI's mbt2018, qualities 1 to 4.
        "paper": {"N": 192, "M": 192},
        # For CPUs.
        "compact": {"N": 96, "M": 96},
        "compact-64": {"N": 64, "M": 64},
    }

    def __init__(self, N: int = 96, M: int = 96, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a = gdn_analysis(N, M)
        self.g_s = gdn_synthesis(N, M)
        self.h_a = nn.Sequential(
            conv(M, N, 3, 1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N)
        )
        self.h_s = nn.Sequential(
            deconv(N, M),
            nn.LeakyReLU(),
            deconv(M, M * 3 // 2),
            nn.LeakyReLU(),
            conv(M * 3 // 2, 2 * M, 3, 1),
        )
        self.prior = FactorisedPrior(N)
        self.context = MaskedConv2d(M, 2 * M)
        self.head = nn.Sequential(
            conv(4 * M, M * 10 // 3, 1, 1),
            nn.LeakyReLU(),
            conv(M * 10 // 3, M * 8 // 3, 1, 1),
            nn.LeakyReLU(),
            conv(M * 8 // 3, 2 * M, 1, 1),
        )
        initialise(
            self,
            writers=[self.g_a[-1], self.h_a[-1]],
            readers=[self.g_s[0], self.h_s[0], self.h_a[0], self.context],
            picture=self.g_s[-1],
        )
        deviations = begin_gdn_transforms(self, [self.h_a[0], self.context])
        # The first guess is a Gaussian around 0.
        scaled(self.head[-1], 0.1)[:M] = deviations

    def latent_model(self) -> Hyperprior:
        return Hyperprior(self.h_a, self.prior, self.h_s, Gaussian(), self.context, self.head)


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `minnen`, or `minnen:bfloat16` with transforms in that precision."""
    return LearnedCodec("minnen", "Minnen 2018", Minnen, TransformModel, variant)


def create_mse(variant: str | None = None) -> LearnedCodec:
    """The codec `minnen-mse` or `minnen-mse:bfloat16`."""
    label = "Minnen 2018, trained for MSE"
    return LearnedCodec("minnen-mse", label, Minnen, TransformModel, variant)
