"""Residual blocks, attention, and a mixture of three Gaussians for each latent.

Cheng, Sun, Takeuchi, Katto, "Learned Image Compression with Discretized Gaussian Mixture
Likelihoods and Attention Modules", CVPR 2020 (figures 4 and 5, equation 12).

    x ── g_a ──> y ─────────────── round ──────────────> ŷ ── g_s ──> x̂
                 │                                       │
                 └─ h_a ──> z ─ round ─> ẑ ─ h_s ──> ψ   └─ context (masked 5x5) ──> φ
                                                     │                               │
                                                     └───────────── head ────────────┘
                                                     weights wₖ, means μₖ, scales σₖ of ŷ

    P(ŷ) = Σₖ wₖ (Φ((ŷ + ½ - μₖ) / σₖ) - Φ((ŷ - ½ - μₖ) / σₖ)),    k = 1, 2, 3

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ   M x H/16 x W/16    latent
    z, ẑ   N x H/64 x W/64    hyper-latent
    ψ, φ  2M x H/16 x W/16    features of hyper-decoder and of the context model
    θ     9M x H/16 x W/16    weights' logits, means, raw scales, for each of three components

All convolutions are 3x3, subsampling is by stride 2, upsampling by sub-pixel convolutions.  The
paper has M = N; CompressAI calls it `cheng2020_attn`, with one Gaussian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.factorised import FactorisedPrior
from codecs.learned.coders.hyperprior import Hyperprior, Mixture
from codecs.learned.initialisation import LATENT_GAIN, initialise, scaled
from codecs.learned.klt import begin_attention_transforms, expect
from codecs.learned.layers import (
    Attention,
    MaskedConv2d,
    ResidualBlock,
    ResidualBlockDown,
    ResidualBlockUp,
    conv,
    subpixel_conv,
)
from codecs.learned.transform import TransformModel, TransformNetwork

COMPONENTS = 3
"""Gaussians of a mixture."""
SCALE_FLOOR = 0.04
"""Smallest standard deviation of one."""


def attention_analysis(n: int, m: int) -> nn.Sequential:
    """Picture [B, 3, H, W] to [B, m, H/16, W/16]."""
    return nn.Sequential(
        ResidualBlockDown(3, n),
        ResidualBlock(n),
        ResidualBlockDown(n, n),
        Attention(n),
        ResidualBlock(n),
        ResidualBlockDown(n, n),
        ResidualBlock(n),
        conv(n, m, 3, 2),
        Attention(m),
    )


def attention_synthesis(n: int, m: int) -> nn.Sequential:
    """`attention_analysis` mirrored."""
    return nn.Sequential(
        Attention(m),
        ResidualBlock(m),
        ResidualBlockUp(m, n),
        ResidualBlock(n),
        ResidualBlockUp(n, n),
        Attention(n),
        ResidualBlock(n),
        ResidualBlockUp(n, n),
        ResidualBlock(n),
        subpixel_conv(n, 3),
    )


class MixtureNetwork(TransformNetwork):
    """The entropy model, for whatever transforms: N channels in z, M in y."""

    def add_entropy_model(self, N: int, M: int) -> None:
        self.h_a = nn.Sequential(
            *(conv(M, N, 3, 1), nn.LeakyReLU()),
            *(conv(N, N, 3, 1), nn.LeakyReLU()),
            *(conv(N, N, 3, 2), nn.LeakyReLU()),
            *(conv(N, N, 3, 1), nn.LeakyReLU()),
            conv(N, N, 3, 2),
        )
        wide = N * 3 // 2
        self.h_s = nn.Sequential(
            *(conv(N, N, 3, 1), nn.LeakyReLU()),
            *(subpixel_conv(N, N), nn.LeakyReLU()),
            *(conv(N, wide, 3, 1), nn.LeakyReLU()),
            *(subpixel_conv(wide, wide), nn.LeakyReLU()),
            conv(wide, 2 * M, 3, 1),
        )
        self.prior = FactorisedPrior(N)
        self.context = MaskedConv2d(M, 2 * M)
        hidden = M * 10 // 3
        self.head = nn.Sequential(
            *(conv(4 * M, hidden, 1, 1), nn.LeakyReLU()),
            *(conv(hidden, hidden, 1, 1), nn.LeakyReLU()),
            conv(hidden, 3 * COMPONENTS * M, 1, 1),
        )

    def initialise(
        self, writers: Sequence[nn.Module], readers: Sequence[nn.Module], picture: nn.Module
    ) -> None:
        """As `codecs.learned.initialisation` has it; writers and readers are of the transforms."""
        initialise(
            self,
            writers=[*writers, self.h_a[-1]],
            readers=[*readers, self.h_s[0], self.h_a[0], self.context],
            picture=picture,
        )
        # The first guess is broad and around 0.
        scaled(self.head[-1], 0.1).view(3, -1)[2] = LATENT_GAIN

    def expect(self, deviations: Tensor) -> None:
        """Begin with these standard deviations [M] of y."""
        for reader in (self.h_a[0], self.context):
            expect(reader, deviations)
        bias = scaled(self.head[-1], 1.0).view(3, COMPONENTS, -1)
        bias[2] = deviations

    def latent_model(self) -> Hyperprior:
        density = Mixture(COMPONENTS, SCALE_FLOOR)
        return Hyperprior(self.h_a, self.prior, self.h_s, density, self.context, self.head)


class Cheng2020(MixtureNetwork):
    """N channels in the transforms' hidden layers and in z, M in y."""

    architecture = "cheng2020"
    magic = b"CH"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 192, "M": 192},
        "compact": {"N": 48, "M": 64},
    }

    def __init__(self, N: int = 48, M: int = 64, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a = attention_analysis(N, M)
        self.g_s = attention_synthesis(N, M)
        self.add_entropy_model(N, M)
        up, last = self.g_s[2], self.g_s[-1]
        assert isinstance(up, ResidualBlockUp)
        assert isinstance(last, nn.Sequential)
        self.initialise([], [], last[0])
        transform = begin_attention_transforms(self.g_a, self.g_s)
        self.amplify(transform.gain, self.g_a[-2], up.subpel_conv[0])
        self.expect(transform.deviations)


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `cheng2020`, or `cheng2020:bfloat16` with transforms in that precision."""
    return LearnedCodec("cheng2020", "Cheng 2020", Cheng2020, TransformModel, variant)
