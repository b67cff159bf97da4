"""Coarse to fine: side information of side information, and a picture made of all of it.

Hu, Yang, Liu, "Coarse-to-Fine Hyper-Prior Modeling for Learned Image Compression", AAAI 2020;
entropy model: `codecs.learned.coders.coarsetofine`.

    x ── g_a ──> y ──────────────────── round ──> ŷ ── 3 x (deconv 5x5, IGDN) ─┐
                 └─> z₂ ─────── round ──> ẑ₂ ──> h₂ ─┬─ 3 x (deconv 5x5) ──────┤
                     └─> z₁ ─ round ──> ẑ₁ ──> h₁ ───┘                         │
                                            x̂ <── deconv, conv <── 3 residual ─┘

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ        M x H/16 x W/16    latent
    z₂, ẑ₂      N x H/32 x W/32    hyper-latents
    z₁, ẑ₁    N/2 x H/64 x W/64
    h₂          N x H/16 x W/16    features of ẑ₂ and of ẑ₁, in units of y, and so multiplied by
    h₁          N x H/32 x W/32    gains of their own where one network serves many rates

The paper has N = 192 or 384, M = N, and auxiliary losses in its early stages, which are left out
here; slope 0.2 of its leaky ReLU is 0.01.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codecs.learned.bands import in_bands
from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.coarsetofine import CoarseToFine, HyperLevel
from codecs.learned.coders.factorised import GaussianPrior
from codecs.learned.initialisation import initialise
from codecs.learned.klt import (
    BRANCH,
    COLOURS,
    begin_gdn_analysis,
    begin_gdn_synthesis,
    past_relus,
    quieten,
    unchanged,
    up,
)
from codecs.learned.layers import GDN, ResidualBlock, conv, deconv
from codecs.learned.rows import gdn_analysis
from codecs.learned.transform import TransformModel, TransformNetwork


class SideSynthesis(nn.Sequential):
    """ŷ [B, M, h, w] and what is beside it, in one tensor, to pictures [B, 3, 16h, 16w]."""

    def __init__(self, N: int, M: int, beside: int) -> None:
        half, third = N // 2, N // 3
        last = max(3, N // 12)
        super().__init__()
        self.channels = [M, beside]
        self.latent = nn.Sequential(
            *(deconv(M, N), GDN(N, inverse=True)),
            *(deconv(N, N), GDN(N, inverse=True)),
            *(deconv(N, N), GDN(N, inverse=True)),
        )
        self.side = nn.Sequential(
            *(deconv(beside, half), nn.ReLU()),
            *(deconv(half, half), nn.ReLU()),
            *(deconv(half, half), nn.ReLU()),
        )
        self.picture = nn.Sequential(
            conv(N + half, half, 3, 1),
            *(ResidualBlock(half), ResidualBlock(half), ResidualBlock(half)),
            *(deconv(half, third), nn.LeakyReLU()),
            *(conv(third, last, 3, 1), nn.LeakyReLU()),
            conv(last, 3, 1, 1),
        )

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() or len(input) != 1:
            return self._whole(input)
        # Its reach: 1.75 positions of y in the deconvolutions, 7 of H/2, and two pixels.
        return in_bands(self._whole, input, 1, 16, halo=3)

    def begin(self, kernels: Sequence[Tensor]) -> None:
        """As the transpose of these halvings; hardly anything of what is beside."""
        begin_gdn_synthesis(self.latent, kernels[1:])
        quieten(self.picture)
        merging, *_, enlarging, _, mixing, _, picture = self.picture
        assert isinstance(merging, nn.Conv2d)
        side = merging.weight.detach()[:, -merging.out_channels :]
        faint = BRANCH * side
        unchanged(merging, kernels[0].shape[0])
        side.copy_(faint)
        up(enlarging, kernels[0])
        past_relus(enlarging, mixing, picture, count=COLOURS)

    def _whole(self, input: Tensor) -> Tensor:
        latent, side = input.split(self.channels, 1)
        x: Tensor = self.picture(torch.cat([self.latent(latent), self.side(side)], 1))
        return x


class Hu2020(TransformNetwork):
    """N channels in the transforms' hidden layers and in z₂, N/2 in z₁, M in y."""

    architecture = "hu2020"
    magic = b"CF"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 192, "M": 192},
        "compact": {"N": 64, "M": 96},
    }

    def __init__(self, N: int = 64, M: int = 96, **config: Any) -> None:
        if N % 4:
            raise ValueError(f"no such network: N = {N} is no multiple of 4")
        beside = N + N // 4
        super().__init__(N, M, beside=beside, **config)
        self.g_a = gdn_analysis(N, M)
        self.g_s = SideSynthesis(N, M, beside)
        self.fine = HyperLevel(M, N, N, 2 * N)
        self.coarse = HyperLevel(N, N // 2, N, N)
        self.prior = GaussianPrior(N // 2)
        initialise(
            self,
            writers=[self.g_a[-1], self.fine.writer, self.coarse.writer],
            readers=[self.g_s.latent[0], *self.fine.readers, *self.coarse.readers],
            picture=self.g_s.picture[-1],
        )
        transform = begin_gdn_analysis(self.g_a)
        self.g_s.begin(transform.kernels)
        self.amplify(transform.gain, self.g_a[-1], self.g_s.latent[0])
        self.fine.guess_broadly(transform.deviations)
        self.coarse.guess_broadly()

    def latent_model(self) -> CoarseToFine:
        return CoarseToFine(self.fine, self.coarse, self.prior, beside=True)


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `hu2020`, or `hu2020:bfloat16` with transforms in that precision."""
    return LearnedCodec("hu2020", "Hu 2020", Hu2020, TransformModel, variant)
