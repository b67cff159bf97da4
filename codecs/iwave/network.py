"""iWave++: a wavelet transform whose lifting steps are trained, and its entropy model.

Ma, Liu, Yan, Li, Wu, "End-to-end optimized versatile image compression with wavelet-like
transform", IEEE TPAMI 2020 (iWave++); of the transform Ma, Liu, Xiong, Wu, "iWave: CNN-based
wavelet-like transform for image compression", IEEE TMM 2020.

    x ─ YCoCg-R ─ lifting, 4 levels ─> c ── round(c·g) ──> q ── round(q·h) ──> ĉ ─ inverse ─┬─> x̂
                                             without loss: q = c                            └ post

Shapes for a picture of H x W pixels, both multiples of 16:

    LL                3 x H/16 x W/16         HL, LH, HH of level i   3 x H/2^i x W/2^i, i = 1 ... 4

The same transform (`codecs.iwave.lifting`) serves with and without loss: with all g = h = 1, and
rounding to integers, every sample comes back.  What is coded of a level is told by the LL band that
the coarser levels make (`codecs.iwave.context`); the last LL band goes on being split by the
reversible 5/3 wavelet, until one sample a colour is left.

What differs from the paper: leaky ReLU instead of tanh, which has no form in integers, and three
layers of `lifting_width` (paper: 16) for four; YCoCg-R, and colours coded given each other, instead
of Y'CbCr coded apart; a context of four phases in place of ConvLSTM and PixelCNN; mixtures of
Gaussians in place of the factorised density; gains instead of a model for each rate; a small post
filter.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from codecs.iwave.context import BANDS, COLOURS, DENSITY, LEVELS, BandContext, Level
from codecs.iwave.lifting import (
    CDF97,
    FRACTION,
    HIGH_NORM,
    LOW_NORM,
    LiftingStep,
    Step,
    analyse,
    blank,
    pyramid,
    rounded,
    synthesise,
    to_rgb,
    to_ycocg,
    unwrapped,
)
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.gains import GAIN_BITS, LAMBDAS, Gains
from codecs.learned.layers import conv
from codecs.learned.network import CodecNetwork, ForwardOutput, purpose

DEPTH = 4
"""Levels of the transform."""
STEPS = (BANDS * DEPTH + 1) * COLOURS
"""Quantisers: of LL, then of HL, LH, HH from level 4 to level 1, each of Y, Co, Cg."""
_COLOUR_NORMS = (math.sqrt(3), math.sqrt(0.5), math.sqrt(0.75))
"""What an error of one in Y, Co, Cg is in RGB."""
_STEP = 50.0
"""Of an orthonormal transform of RGB in 0...255, for Λ = 400."""
_LOSSLESS_SHARE = 0.25
"""Part of the samples of a training that are coded without loss ..."""
_LOSSLESS_WEIGHT = 0.25
"""... and what a bit of theirs weighs: they have ten times as many."""
TOP_BITS = 13
"""Of each sample that is left of LL."""


def step_index(level: int) -> slice:
    """Where the quantisers of a level's bands are: level 4 first, behind those of LL."""
    first = COLOURS + BANDS * COLOURS * (DEPTH - level)
    return slice(first, first + BANDS * COLOURS)


def _first_steps() -> Tensor:
    """Logarithms of the steps that make the error of every coefficient count alike."""
    norms = [LOW_NORM ** (2 * DEPTH)]
    for level in range(DEPTH, 0, -1):
        coarse = LOW_NORM ** (2 * (level - 1))
        norms += [coarse * LOW_NORM * HIGH_NORM] * 2 + [coarse * HIGH_NORM**2]
    return torch.tensor([math.log(_STEP / (n * c)) for n in norms for c in _COLOUR_NORMS])


class PostFilter(nn.Module):
    """Takes away what quantisation has done to a picture [B, 3, H, W] in 0...1, by two residual
    blocks at half the resolution; `strength` [B] is the logarithm of the quantiser's step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = conv(4 * COLOURS + 1, width, 3, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(conv(width, width, 3, 1), nn.LeakyReLU(), conv(width, width, 3, 1))
            for _ in range(2)
        )
        self.tail = conv(width, 4 * COLOURS, 3, 1)
        blank(self.tail)

    def forward(self, x: Tensor) -> Tensor:
        """`x` [B, 4, H, W]: a picture and the strength everywhere."""
        small = nn.functional.pixel_unshuffle(x[:, :COLOURS], 2)
        y = self.head(torch.cat([small - 0.5, x[:, COLOURS:, ::2, ::2]], 1))
        for block in self.blocks:
            y = y + block(y)
        made: Tensor = nn.functional.pixel_shuffle(self.tail(y), 2)
        return x[:, :COLOURS] + made


class IWave(CodecNetwork):
    """`N` channels in the entropy model and the post filter, `lifting_width` in lifting steps."""

    architecture = "iwave"
    magic = b"IW"
    stride = 1 << DEPTH
    transforms = ("post",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 128, "lifting_width": 16},
        "compact": {"N": 40},
    }

    def __init__(
        self,
        N: int = 40,
        lifting_width: int = 8,
        objective: Mapping[str, float] | None = None,
        qualities: int = 0,
        lambdas: Sequence[float] = LAMBDAS,
    ) -> None:
        super().__init__()
        if N < 4 or lifting_width < 1:
            raise ValueError(f"no such network: N = {N}, lifting_width = {lifting_width}")
        shape = {"N": N, "lifting_width": lifting_width}
        self.config = {**shape, **purpose(objective, qualities, lambdas)}
        self.gains: Gains | None = None
        if qualities:
            low, high = lambdas
            self.gains = Gains(STEPS, qualities, (low, high))
        self.lifting = nn.ModuleList(LiftingStep(a, lifting_width) for a in CDF97)
        self.log_steps = nn.Parameter(_first_steps())
        self.context = BandContext(N)
        self.post = PostFilter(N)

    @classmethod
    def sized(
        cls, width: int, latents: Sequence[int] = (), backbone: str = "", **changes: Any
    ) -> IWave:
        if latents:
            raise ValueError("iwave has as many coefficients as the picture has samples")
        return cls(N=width, **changes)

    def transform_parameters(self) -> list[nn.Parameter]:
        """What makes coefficients, and the filter; gains of decoded ones are not among them."""
        return [*self.lifting.parameters(), *self.post.parameters(), self.log_steps]

    def facts(self) -> dict[str, str]:
        return {
            "width": f"N={self.config['N']}, lifting {self.config['lifting_width']}",
            "transform": "lifting from CDF 9/7 with leaky ReLU, in integers, 4 levels",
            "colour": "YCoCg-R",
            "context": "LL band, coarser level, four phases (no ConvLSTM, no PixelCNN)",
        }

    def scales(self, quality: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """g and h [B, `STEPS`]: what coefficients are multiplied by before they are rounded, and
        what decoded ones are multiplied by."""
        steps = torch.exp(self.log_steps).expand(count, -1)
        if self.gains is None or quality is None:
            return 1 / steps, steps
        ones = steps.new_ones(count, STEPS, 1, 1)
        gain, inverse = self.gains.scale(ones, quality), self.gains.unscale(ones, quality)
        return gain.flatten(1) / steps, inverse.flatten(1) * steps

    def tables(self) -> dict[str, Any]:
        """The steps h as integers (`exact_unscale`), and the scales of the density."""
        scales = DENSITY.scale_table()
        with torch.no_grad():
            steps = torch.exp(self.log_steps.double().cpu()).numpy()
        relative = np.full((1, STEPS), 1 << GAIN_BITS) if self.gains is None else self.gains.table()
        return {
            "steps": (relative * steps).round().clip(1, 1 << 30).astype(np.int32),
            "scales.thresholds": scales.thresholds,
            "scales.inverse": scales.inverse,
        }

    def steps(self, grid: Tensor) -> list[Step]:
        """Those of lifting, rounding to multiples of 1/`grid` [B, 1, 1, 1]."""
        grid = grid.repeat_interleave(COLOURS, 0)
        return [functools.partial(step, grid=grid) for step in self.lifting]

    def transformed(self, x: Tensor, grid: Tensor) -> tuple[Tensor, list[Tensor]]:
        """LL [B, 3, H/16, W/16] and the bands [B, 9, h, w] of the levels, coarsest first, of
        pictures [B, 3, H, W] in 0...1, in multiples of 1/`grid` [B, 1, 1, 1]."""
        bands, steps = [], self.steps(grid)
        ll = to_ycocg(rounded(255 * x) - 128, grid[:, 0]).flatten(0, 1)[:, None]
        for _ in range(DEPTH):
            ll, *high = analyse(ll, steps, unwrapped)
            bands.append(torch.cat([b.view(len(x), COLOURS, *b.shape[2:]) for b in high], 1))
        return ll.view(len(x), COLOURS, *ll.shape[2:]), bands[::-1]

    def joined(self, ll: Tensor, bands: Tensor, grid: Tensor) -> Tensor:
        """The LL band of the next finer level: the inverse of a level of `transformed`."""
        low, hl, lh, hh = (p.flatten(0, 1)[:, None] for p in (ll, *bands.chunk(BANDS, 1)))
        finer = synthesise(low, hl, lh, hh, self.steps(grid), unwrapped)
        return finer.view(len(ll), COLOURS, *finer.shape[2:])

    def filtered(self, x: Tensor, quality: Tensor | None) -> Tensor:
        """Decoded pictures [B, 3, H, W] in 0...1, with less noise of quantisation."""
        _, steps = self.scales(quality, len(x))
        strength = torch.log2(steps[:, -1])[:, None, None, None].expand(-1, 1, *x.shape[2:])
        result: Tensor = self.post(torch.cat([x, strength / 8], 1))
        return result

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """See `CodecNetwork`; in training some samples are coded without loss, so that their
        `x_hat` is x."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        self.check_quality(quality)
        if not self.training:
            return self._coded(x, quality, None)
        return self._coded(x, quality, torch.rand(len(x), device=x.device) < _LOSSLESS_SHARE)

    def without_loss(self, x: Tensor) -> Tensor:
        """Estimated bits [B] of pictures [B, 3, H, W] in 0...1 without loss."""
        quality = torch.zeros(len(x), device=x.device) if self.qualities else None
        everything = torch.ones(len(x), dtype=torch.bool, device=x.device)
        return self._coded(x, quality, everything).total_bits()

    def _coded(self, x: Tensor, quality: Tensor | None, lossless: Tensor | None) -> ForwardOutput:
        """`forward` with those samples without loss that `lossless` [B] says."""
        g, h = self.scales(quality, len(x))
        noise = torch.ones_like(x[:, :1, :1, :1])
        if lossless is not None:
            g, h = (torch.where(lossless[:, None], 1.0, s) for s in (g, h))
            noise = (~lossless).to(x).view(-1, 1, 1, 1)
        grid = torch.where(noise > 0, float(1 << FRACTION), 1.0)
        ll, levels = self.transformed(x, grid)
        q = rounded(self.rounding.given(ll * g[:, :COLOURS, None, None]))
        bits, parents = self._coded_ll(q)
        ll = self._dequantised(q, h[:, :COLOURS], grid)
        for level, c in zip(range(DEPTH, 0, -1), levels, strict=True):
            where = step_index(level)
            scaled = self.rounding.given(c * g[:, where, None, None])
            # The picture is of integers in training too: noise would teach the filter, the steps
            # and the context of finer levels what never occurs.
            decoded = rounded(scaled)
            samples = integers = decoded.detach()
            if self.rounding is Rounding.NOISE:
                samples = scaled + noise * (torch.rand_like(scaled) - 0.5)
            known = Level(level - 1, ll, parents, h[:, where][:, :COLOURS])
            bits[f"level {level}"] = self.context.bits(known, samples, integers)
            ll = self.joined(ll, self._dequantised(decoded, h[:, where], grid), grid)
            parents = integers
        x_hat = self.filtered((to_rgb(ll, grid[:, 0]) + 128) / 255, quality)
        if lossless is not None:
            x_hat = torch.where(lossless[:, None, None, None], x, x_hat)
            weight = _LOSSLESS_WEIGHT * torch.sqrt(torch.as_tensor(self.relative_lambda(quality)))
            weight = torch.where(lossless, weight.flatten(), 1.0)
            bits = {name: b.detach() + weight * (b - b.detach()) for name, b in bits.items()}
        return ForwardOutput(x_hat, bits)

    def _coded_ll(self, q: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Bits of LL, quantised, and the finest bands that it was split into."""
        bits = q.new_full((len(q),), COLOURS * TOP_BITS)
        parents = q.new_zeros(len(q), BANDS * COLOURS, 1, 1)
        for low, bands in reversed(pyramid(q, unwrapped)):
            known = Level(LEVELS - 1, low, parents, q.new_ones(len(q), COLOURS))
            bits = bits + self.context.bits(known, bands, bands.detach())
            parents = bands.detach()
        return {"ll": bits}, parents

    def _dequantised(self, q: Tensor, h: Tensor, grid: Tensor) -> Tensor:
        """ĉ [B, C, h, w] of q, by steps h [B, C]."""
        c = q * h[:, :, None, None]
        return c if self.training else rounded(c * grid) / grid
