"""Two kinds of context, one that costs bits and one that does not.

Lee, Cho, Beack, "Context-adaptive Entropy Model for End-to-end Optimized Image Compression",
ICLR 2019.

    x ── g_a ──> y ─────────────── round ──────────────> ŷ ── g_s ──> x̂
                 │                                       │
                 └─ h_a ──> z ─ round ─> ẑ ─ h_s         └─ decoded part of 4x4 ──> c''
                                              │                                    │
                                              └─ 4x4 ──> c' ──── context, head ────┘
                                                             ln σ, μ of ŷ

For each position i of ŷ, where U is the uniform density on [-½, ½],

    (ln σᵢ, μᵢ) = f(c'ᵢ, c''ᵢ),    p(ŷᵢ) = (N(μᵢ, σᵢ²) * U)(ŷᵢ),    p(ẑ) = (N(0, σ_c²) * U)(ẑ)

c' is a window of the hyper-decoder's output, which reaches three rows up, two columns to the left
and one to the right: it costs no bits of y and nothing of it is hidden.  c'' is the same window of
ŷ, with 0 where nothing is decoded yet.  f is a small network on both: here 3x3 to 2x2 positions,
2x2 to one, and a layer to both parameters.  z has no factorised density but a learned scale for
each channel.

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ, c', μ, σ  M x H/16 x W/16
    z, ẑ            N x H/64 x W/64

The authors' high rates leave part of the channels without contexts, for speed; here all have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.factorised import GaussianPrior
from codecs.learned.coders.hyperprior import Gaussian, Hyperprior
from codecs.learned.initialisation import initialise, scaled
from codecs.learned.klt import begin_gdn_transforms
from codecs.learned.layers import WindowContext, conv, deconv
from codecs.learned.rows import gdn_analysis, gdn_synthesis
from codecs.learned.transform import TransformModel, TransformNetwork


class Lee2019(TransformNetwork):
    """N channels in the transforms' hidden layers and in z, M in y and in the hyper-decoder's
    output."""

    architecture = "lee2019"
    magic = b"LC"
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
        self.prior = GaussianPrior(N)
        self.context = WindowContext(M, M, M // 2)
        self.head = nn.Sequential(
            # Of 2 x 2 positions, neighbours among the channels.
            conv(4 * (M // 2), 2 * M, 1, 1),
            nn.LeakyReLU(),
            conv(2 * M, 2 * M, 1, 1),
        )
        initialise(
            self,
            writers=[self.g_a[-1], self.h_a[-1]],
            readers=[self.g_s[0], self.h_s[0], self.h_a[0]],
            picture=self.g_s[-1],
        )
        deviations = begin_gdn_transforms(self, [self.h_a[0]])
        with torch.no_grad():
            self.context.convolution.weight[:, M:] /= deviations[:, None, None]
        # The first guess is a Gaussian around 0.
        scaled(self.head[-1], 0.1)[:M] = deviations.log()

    def latent_model(self) -> Hyperprior:
        density = Gaussian(logarithmic=True)
        return Hyperprior(self.h_a, self.prior, self.h_s, density, self.context, self.head)


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `lee2019`, or `lee2019:bfloat16` with transforms in that precision."""
    return LearnedCodec("lee2019", "Lee 2019", Lee2019, TransformModel, variant)
