"""Mentzer, Toderici, Tschannen, Agustsson, "High-Fidelity Generative Image Compression",
NeurIPS 2020 (figure 2, equations 4 to 9): a hyperprior codec whose synthesis is the generator of a
conditional GAN, trained to make what an eye would take for real rather than what has least error.

    x ── g_a ──> y ──────────── round ─────────> ŷ ── g_s (generator) ──> x̂
                 │                               │                       │
                 └─ h_a ──> z ─ round ─> ẑ ─ h_s ┴─> scales, means       └──> D(x̂, ŷ) in training

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ  M x H/16 x W/16    latent
    z, ẑ  h x H/64 x W/64    hyper-latent

Every convolution of the transforms but the last is followed by `ChannelNorm`.  In training g_s sees
rounded latents, the gradient goes straight through, and the rate is that of noisy ones.  The loss
of a sample is, with pictures in 0...255 for MSE and λ' as a rule has it,

    R/λ' + 0.75·MSE + (LPIPS + 0.15·G)/C,    G = -log σ(D(x̂, ŷ)),    C = 0.1·2^-5
    λ' = λa where the rate is above its target, else λb = 2^7·λa (`Phase.below_target`)

which is 2^-7 or 1 times R, plus Λ·(MSE + 0.00656·LPIPS + 0.000984·G), of pictures in 0...1, with
Λ = 0.75·255²·λa: so a recipe has it.  First a warm start without G, then D (`ConditionalPatchGAN`)
joins.

What differs here: widths, 60 to 960 in the paper; ŷ = round(y), and means enter the likelihood
alone, as those of `minnen`; LPIPS is that of SqueezeNet on random views, where the paper has
AlexNet's, by which we judge; the rate that is compared with its target is a running mean, for
batches are small; and one network serves all rates by gains.  That works although a GAN is at
play, for both players see the rate: g_s and D are given ŷ as it was rounded and scaled back, of
which coarse steps can be told from fine ones (Iwai et al., WACV 2024, do so, too).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.factorised import FactorisedPrior
from codecs.learned.coders.hyperprior import Gaussian, Hyperprior
from codecs.learned.initialisation import initialise, scaled
from codecs.learned.klt import begin_normed_transforms, expect
from codecs.learned.layers import ChannelNorm, Residual, conv, deconv
from codecs.learned.rows import RowStream
from codecs.learned.transform import TransformModel, TransformNetwork

_LAST = 0.1
"""Scale of what the last kernel reads, which sums 49·N values above 0: a step moves many of its
weights alike, and the smaller what it reads, the less do colours swing."""


class HiFiC(TransformNetwork):
    """N channels at the picture's resolution, twice as many at each halving up to K; B residual
    blocks; M channels in y, h in z."""

    architecture = "hific"
    magic = b"HF"
    distortion = "perceptual"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 60, "M": 220, "K": 960, "B": 9, "h": 320},
        "compact": {"N": 32, "M": 96, "K": 104, "B": 4, "h": 48},
    }

    def __init__(
        self,
        N: int = 32,
        M: int = 96,
        K: int | None = None,
        B: int = 4,
        h: int | None = None,
        **config: Any,
    ) -> None:
        super().__init__(N, M, **config)
        K, h = K or N * 13 // 4, h or N * 3 // 2
        self.config |= {"K": K, "B": B, "h": h}
        widths = [min(N << halvings, K) for halvings in range(5)]
        last = conv(N, 3, 7, 1)
        self.g_a = RowStream(
            *(conv(3, N, 7, 1), ChannelNorm(N), nn.ReLU()),
            *(
                layer
                for before, after in pairwise(widths)
                for layer in (conv(before, after, 3, 2), ChannelNorm(after), nn.ReLU())
            ),
            conv(widths[-1], M, 3, 1),
        )
        enlarging = [
            layer
            for before, after in pairwise(reversed(widths))
            for layer in (deconv(before, after, 3), ChannelNorm(after), nn.ReLU())
        ]
        top = widths[-1]
        self.g_s = nn.Sequential(
            *(ChannelNorm(M), conv(M, top, 3, 1), ChannelNorm(top)),
            Residual(*(_block(top) for _ in range(B))),
            RowStream(*enlarging, last),
        )
        self.h_a = nn.Sequential(conv(M, h, 3, 1), nn.ReLU(), conv(h, h), nn.ReLU(), conv(h, h))
        self.h_s = nn.Sequential(
            deconv(h, h), nn.ReLU(), deconv(h, h), nn.ReLU(), conv(h, 2 * M, 3, 1)
        )
        self.prior = FactorisedPrior(h)
        initialise(self, writers=[self.h_a[-1]], readers=[self.h_s[0]], picture=last)
        means, deviations = begin_normed_transforms(self)
        for parameter in enlarging[-2].parameters():
            parameter.data *= _LAST
        scaled(last, 1 / _LAST)
        expect(self.h_a[0], means.abs() + deviations)
        scaled(self.h_s[-1], 0.1).copy_(torch.cat((deviations, means)))

    @property
    def condition_channels(self) -> int:
        return int(self.config["M"])

    def latent_model(self) -> Hyperprior:
        return Hyperprior(self.h_a, self.prior, self.h_s, Gaussian(), straight_through=True)


def _block(channels: int) -> Residual:
    return Residual(
        *(conv(channels, channels, 3, 1), ChannelNorm(channels), nn.ReLU()),
        *(conv(channels, channels, 3, 1), ChannelNorm(channels)),
    )


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `hific`, or `hific:bfloat16` with transforms in that precision."""
    return LearnedCodec("hific", "HiFiC", HiFiC, TransformModel, variant)
