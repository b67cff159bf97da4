"""Agustsson, Tschannen, Mentzer, Timofte, Van Gool, "Generative Adversarial Networks for Extreme
Learned Image Compression", ICCV 2019: few channels of five values, and a generator that makes up
the rest.

    x ── g_a ──> w ──── × ──> nearest of -2 ... 2 ──> ŵ ── g_s (generator) ──> x̂ ──> D in training
                        │
             C channels; heat map m

Shapes for a picture of H x W pixels, both multiples of 64:

    w, ŵ  M x H/16 x W/16    latent, and the centre nearest to each value (`coders.centres`)
    m     1 x H/64 x W/64    heat map: which blocks keep all C channels

Rate is a matter of C (section 3): at most C·log2(5)/256 bits per pixel, 0.018 with two channels and
0.145 with 16.  It has no part in the loss (β = 0); a 3-D context (`coders.volume`), of which the
paper says that it saves 9 %, is learned beside and tells what is coded.  One network serves all
rates: C grows from M/8 to M with the quality, geometrically, and in training each sample has its
own, so that the first channels hold what matters most.

Selective compression (section 3.2, `gc2019:selective`): where m is 0 the picture is only
synthesised.  In the paper the generator is then told what to draw by a map of semantic labels;
without labels the first M/8 channels take their place, which every block has.  Half of the samples
of training have a random heat map.  The paper's user says what to keep: here the encoder keeps the
half of the blocks whose squared error would rise most.  m is sent, one bit for each block, and is
what tells decoders where channels are missing, whoever chose it: a block in which all that lies
beyond the first M/8 is 0 costs nothing more.

The discriminator sees pictures alone, as the paper's, but is PatchGAN with hinge losses at one
scale, where the paper has least squares at three.  What else differs: widths; LPIPS in the place of
VGG features and feature matching; no instance normalisation, whose statistics would be those of
crops; distortion counts in blocks that are only synthesised, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import BitstreamError, Image
from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.centres import MOST_CHANNELS, CentreCoder, CentreModel, Centres
from codecs.learned.coders.latents import Symbols, Tables
from codecs.learned.coders.volume import FEATURES, VolumeContext
from codecs.learned.gains import LAMBDAS
from codecs.learned.initialisation import initialise
from codecs.learned.klt import begin_relu_transforms
from codecs.learned.layers import Residual, conv, deconv
from codecs.learned.network import ForwardOutput, purpose
from codecs.learned.pixels import pad, to_tensor
from codecs.learned.transform import Analysis, CentreNetwork, CentreTransformModel

CENTRES = 5
BLOCK = 4
"""Positions along a side of a block of the heat map."""


def whole(m: Tensor) -> Tensor:
    """A heat map [B, 1, h/4, w/4] for each position: [B, 1, h, w]."""
    return m.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)


@dataclass(frozen=True)
class SelectiveModel(CentreModel):
    """Beyond the first `base` channels, blocks in which every value is 0 are not sent."""

    base: int
    sections: ClassVar[tuple[str, ...]] = ("mask", "y")

    def sent(self, used: Tensor) -> Tensor:
        blocks = functional.max_pool2d(used[:, self.base :].any(1, keepdim=True).float(), BLOCK)
        beyond = torch.arange(used.shape[1], device=used.device).view(-1, 1, 1) >= self.base
        return super().sent(used) & (~beyond | (whole(blocks) > 0))

    def coder(self, tables: Tables, device: torch.device) -> SelectiveCoder:
        return SelectiveCoder(
            self.base, self.channels, tables["centres"], self.context, device=device
        )


class SelectiveCoder(CentreCoder):
    """Symbols: the heat map [h/4, w/4], then which centre, [M, h, w]."""

    def __init__(self, base: int, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.base = base

    def symbols(self, y: Tensor, proposed: Tensor | None = None) -> Symbols:
        (which,) = super().symbols(y)
        used = torch.from_numpy(which[self.base :] != self.zero).any(0)
        m = functional.max_pool2d(used[None].float(), BLOCK)[0].numpy().astype(np.int32)
        # Where no block has more than the first channels, none is left out.
        return (m if m.any() else np.ones_like(m)), which

    def encode(self, symbols: Symbols) -> list[bytes]:
        m, which = symbols
        mask = b"" if m.all() else np.packbits(m.astype(bool)).tobytes()
        return [mask, self.write(which, self._sent(m))]

    def decode(self, sections: Sequence[bytes], height: int, width: int) -> Symbols:
        m = np.ones((height // BLOCK, width // BLOCK), np.int32)
        if sections[0]:
            if len(sections[0]) != -(-m.size // 8):
                raise BitstreamError("the payload is damaged: its heat map has another size")
            bits = np.unpackbits(np.frombuffer(sections[0], np.uint8), count=m.size)
            m = bits.reshape(m.shape).astype(np.int32)
        return m, self.read(sections[1], height, width, self._sent(m))

    def _sent(self, m: NDArray[np.int32]) -> NDArray[np.bool_]:
        """[M, h, w]."""
        kept = m.astype(bool).repeat(BLOCK, 0).repeat(BLOCK, 1)
        return (np.arange(self.channels) < self.base)[:, None, None] | kept


class Generative(CentreNetwork):
    """N channels at the picture's resolution, twice as many at each halving up to K; B residual
    blocks; up to M channels in w; F in the 3-D context."""

    architecture = "gc2019"
    magic = b"GC"
    distortion = "perceptual"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 60, "M": 16, "K": 960, "B": 9},
        "compact": {"N": 16, "M": 16, "K": 96, "B": 5},
    }

    def __init__(
        self,
        N: int = 16,
        M: int = 16,
        K: int | None = None,
        B: int = 5,
        F: int = FEATURES,
        objective: Mapping[str, float] | None = None,
        qualities: int = 0,
        lambdas: Sequence[float] = LAMBDAS,
    ) -> None:
        super().__init__(N, M, objective)
        K = K or 6 * N
        if M > MOST_CHANNELS or min(K, B, F) < 1 or qualities == 1:
            raise ValueError(f"no such network: M = {M}, K = {K}, B = {B}, F = {F}")
        self.config |= {"K": K, "B": B, "F": F, **purpose(None, qualities, lambdas)}
        self.base = max(1, M // 8)
        widths = [min(N << halvings, K) for halvings in range(5)]
        self.g_a = nn.Sequential(
            *(conv(3, N, 7, 1), nn.ReLU()),
            *(
                layer
                for before, after in pairwise(widths)
                for layer in (conv(before, after, 3, 2), nn.ReLU())
            ),
            conv(widths[-1], M, 3, 1),
        )
        self.g_s = nn.Sequential(
            *(conv(M, widths[-1], 3, 1), nn.ReLU()),
            *(_block(widths[-1]) for _ in range(B)),
            *(
                layer
                for before, after in pairwise(reversed(widths))
                for layer in (deconv(before, after), nn.ReLU())
            ),
            conv(N, 3, 7, 1),
        )
        self.centres = Centres(CENTRES, learned=False)
        self.context = VolumeContext(CENTRES, F)
        initialise(self, writers=[], readers=[], picture=self.g_s[-1])
        begin_relu_transforms(self)

    def latent_model(self) -> SelectiveModel:
        return SelectiveModel(self.config["M"], self.centres, self.context, self.base)

    def channels(self, quality: Tensor) -> Tensor:
        """C at each quality [B]."""
        most, last = self.config["M"], self.qualities - 1
        c: Tensor = torch.round(self.base * (most / self.base) ** (quality.float() / last))
        return c

    def scale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """The first C channels of w; the others are 0."""
        y = super().scale(y, quality)
        return y if quality is None else y * self._first(self.channels(quality), y)

    def selected(self, y: Tensor, m: Tensor) -> Tensor:
        """w with only the first channels where the heat map m, bool [B, 1, h/4, w/4], is 0."""
        base = torch.full((len(y),), self.base, device=y.device)
        return y * (self._first(base, y) | whole(m))

    def _first(self, count: Tensor, y: Tensor) -> Tensor:
        """bool [B, M, 1, 1], of `count` [B]."""
        return (torch.arange(y.shape[1], device=y.device) < count[:, None])[:, :, None, None]

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """See `CodecNetwork`."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        self.check_quality(quality)
        w = self.analyse(x, quality)
        if self.training:
            size = (len(w), 1, w.shape[2] // BLOCK, w.shape[3] // BLOCK)
            everything = torch.rand(len(w), 1, 1, 1) < 0.5
            w = self.selected(w, (everything | (torch.rand(size) < 0.5)).to(w.device))
        w, bits = self.latent_model().quantise(w, self.rounding)
        return ForwardOutput(self.synthesise(w, quality), bits)


def _block(channels: int) -> Residual:
    return Residual(conv(channels, channels, 3, 1), nn.ReLU(), conv(channels, channels, 3, 1))


class GenerativeModel(CentreTransformModel):
    """Variants are the precision of the transforms, and whether all of the picture is kept."""

    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **CentreTransformModel.variants,
        "regions": ("", "selective"),
    }
    network: Generative

    def latent(self, analysis: Analysis, quality: float | None) -> Tensor:
        w = super().latent(analysis, quality)
        if self.variant["regions"] != "selective":
            return w
        return self.network.selected(w, self._worth_keeping(analysis.image, w, quality))

    @torch.inference_mode()
    def _worth_keeping(self, image: Image, w: Tensor, quality: float | None) -> Tensor:
        """The heat map of the half of the blocks whose squared error rises most without."""
        x = pad(to_tensor(image, self.device), self.network.stride)
        none = torch.zeros(1, 1, w.shape[2] // BLOCK, w.shape[3] // BLOCK, dtype=torch.bool)
        with_all, without = (
            functional.avg_pool2d(
                (self._decoded(latent, quality) - x).square().mean(1, keepdim=True),
                BLOCK * self.network.latent_stride,
            )
            for latent in (w, self.network.selected(w, none.to(w.device)))
        )
        rise = (without - with_all).flatten()
        m = torch.zeros_like(rise, dtype=torch.bool)
        m[rise.topk(-(-len(rise) // 2)).indices] = True
        return m.view(none.shape)

    def _decoded(self, w: Tensor, quality: float | None) -> Tensor:
        """The picture that decoders would make of a latent, [1, 3, H, W] in 0...1."""
        w_hat, _ = self.network.centres(w)
        q = self._quality(quality)
        return self._transform(lambda w: self.network.synthesise(w, q), w_hat).clamp(0, 1)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Those of all transform codecs, and the heat map."""
        _, (m, _) = self.decode_symbols(data)
        side = BLOCK * self.network.latent_stride
        heat_map = {
            "name": "heat map",
            "cell": side,
            "rows": ["".join(map(str, row)) for row in m.tolist()],
            "legend": [[1, "kept", side], [0, "synthesised", side]],
        }
        return {**super().diagnostics(image, data), "maps": [heat_map]}


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `gc2019`; `gc2019:selective`, of which half of the blocks are only synthesised;
    with `:bfloat16`, transforms in that precision."""
    return LearnedCodec("gc2019", "Agustsson 2019", Generative, GenerativeModel, variant)
