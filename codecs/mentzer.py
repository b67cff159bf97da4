"""Mentzer, Agustsson, Tschannen, Timofte, Van Gool, "Conditional Probability Models for Deep Image
Compression", CVPR 2018: no side information, but symbols of six values, a context over channels,
rows and columns, and a map that says how many channels each place is worth.

    x ── g_a ──┬──> z ──── × ──> nearest centre ──> ẑ ── g_s ──> x̂
               │           │                        │
               └──> a ── mask                       └── P (masked 3-D) ──> probabilities of ẑ

Shapes for a picture of H x W pixels, both multiples of 8:

    z, ẑ  M x H/8 x W/8    latent, and the centre nearest to each value (`coders.centres`)
    a     1 x H/8 x W/8    importance map, before its sigmoid; the last channel of what g_a makes

Of the channels of a position the first h = M·σ(a) are kept: z_c is multiplied by clip(h - c, 0, 1)
(section 3.4).  The map is not sent: what it takes away is the centre nearest to 0, which P learns
to expect.  P knows what ẑ costs (`coders.volume`), and its cost reaches the encoder by the map
alone, as H_mask = -Σ clip(h - c, 0, 1)·log2 P(ẑ_c | ...) (section 3.4, equation 9).

One network serves all rates, since the map makes that natural: at each quality the odds h/(M - h)
are multiplied by a gain.  So a low rate has fewer channels, of which P and g_s know the rest.  (The
paper trains a network for each rate, and holds its entropy to a target by a hinge,
β·max(½(H_mask + H_real) - H_t, 0); here R + Λ·D takes its place, with a Λ for each quality.)

What else differs: widths; no batch normalisation, whose statistics small batches do not give, but
residual blocks that begin near 0; stride 2 of 5x5 kernels in all of `g_s`; centres that begin
evenly spaced, a gain of each channel before them and its inverse behind, and no penalty on them or
on weights; an MSE beside MS-SSIM in D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codecs.base import Image
from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.centres import MOST_CHANNELS, CentreCoder, CentreModel, Centres, trailing
from codecs.learned.coders.volume import FEATURES, VolumeContext
from codecs.learned.gains import LAMBDAS, between_anchors, first_gains
from codecs.learned.initialisation import initialise
from codecs.learned.klt import begin_relu_transforms
from codecs.learned.layers import Residual, conv, deconv
from codecs.learned.network import ForwardOutput, purpose
from codecs.learned.transform import CentreNetwork, CentreTransformModel

CENTRES = 6
_CELL = 2
"""Positions along a side of a square of the importance map in diagnostics."""


class ImportanceMap(nn.Module):
    """How much of each channel is kept at each position; less at a lower quality."""

    gains: nn.Parameter | None
    """Logarithms of what multiplies the odds h/(M - h) at each anchor, [Q, 1]."""

    def __init__(self, channels: int, anchors: int, lambdas: Sequence[float]) -> None:
        super().__init__()
        self.channels = channels
        low, high = lambdas
        start = first_gains(anchors, (low, high))[:, None]
        self.register_parameter("gains", nn.Parameter(start) if anchors else None)

    def forward(self, a: Tensor, quality: Tensor | None) -> Tensor:
        """[B, M, h, w] in 0...1 of the map a [B, 1, h, w]."""
        if self.gains is not None and quality is not None:
            a = a + between_anchors(self.gains, quality)
        before = torch.arange(self.channels, device=a.device).view(-1, 1, 1)
        return (self.channels * torch.sigmoid(a) - before).clamp(0, 1)


class Mentzer(CentreNetwork):
    """N channels in the transforms' hidden layers, M in z, K in P; G groups of three
    residual blocks."""

    architecture = "mentzer2018"
    magic = b"MZ"
    distortion = "ms-ssim"
    latent_stride = 8
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 128, "M": 32, "G": 5},
        "compact": {"N": 64, "M": 32, "G": 1},
    }

    def __init__(
        self,
        N: int = 64,
        M: int = 32,
        G: int = 1,
        K: int = FEATURES,
        objective: Mapping[str, float] | None = None,
        qualities: int = 0,
        lambdas: Sequence[float] = LAMBDAS,
    ) -> None:
        super().__init__(N, M, objective)
        if N % 2 or M > MOST_CHANNELS or min(G, K) < 1:
            raise ValueError(f"no such network: N = {N}, M = {M}, G = {G}, K = {K}")
        self.config |= {"G": G, "K": K, **purpose(None, qualities, lambdas)}
        self.g_a = nn.Sequential(
            *(conv(3, N // 2), nn.ReLU(), conv(N // 2, N), nn.ReLU()),
            *(_trunk(N, G), conv(N, M + 1)),
        )
        self.g_s = nn.Sequential(
            *(deconv(M, N), nn.ReLU()),
            _trunk(N, G),
            *(deconv(N, N // 2), nn.ReLU(), deconv(N // 2, 3)),
        )
        self.importance = ImportanceMap(M, qualities, lambdas)
        self.centres = Centres(CENTRES)
        self.context = VolumeContext(CENTRES, K)
        initialise(self, writers=[], readers=[], picture=self.g_s[-1])
        begin_relu_transforms(self)
        with torch.no_grad():
            self.g_a[-1].get_parameter("weight")[-1] *= 0.1  # the map begins flat

    def latent_model(self) -> CentreModel:
        return CentreModel(self.config["M"], self.centres, self.context)

    def scale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """What is kept of z; y is z and a."""
        return super().scale(y[:, :-1], quality) * self.importance(y[:, -1:], quality)

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """See `CodecNetwork`."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        self.check_quality(quality)
        y = self.g_a(x)
        kept = self.importance(y[:, -1:], quality)
        z = super().scale(y[:, :-1], quality) * kept
        z, bits = self.latent_model().assess(z, self.training)
        # The sum is H_real, by which P learns; the map has the gradient of H_mask.
        bits = bits + (kept - kept.detach()) * bits.detach()
        return ForwardOutput(self.synthesise(z, quality), {"y": bits.flatten(1).sum(1)})


def _trunk(channels: int, groups: int) -> Residual:
    """Groups of three residual blocks and one more, with a skip around each and around all."""

    def block() -> Residual:
        return Residual(conv(channels, channels, 3, 1), nn.ReLU(), conv(channels, channels, 3, 1))

    return Residual(*(Residual(block(), block(), block()) for _ in range(groups)), block())


class MentzerModel(CentreTransformModel):
    """Tells the importance map of a stream."""

    coder: CentreCoder

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Those of all transform codecs, and how many channels are used."""
        _, (symbols,) = self.decode_symbols(data)
        used = trailing(torch.from_numpy(symbols != self.coder.zero)[None]).sum(1).float()
        means = nn.functional.avg_pool2d(used, _CELL)[0]
        importance = {
            "name": "importance map",
            "cell": _CELL * self.network.latent_stride,
            "rows": [[round(value, 2) for value in row] for row in means.tolist()],
            "unit": "channels",
        }
        return {**super().diagnostics(image, data), "maps": [importance]}


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `mentzer2018`, or `mentzer2018:bfloat16` with transforms in that precision."""
    return LearnedCodec("mentzer2018", "Mentzer 2018", Mentzer, MentzerModel, variant)
