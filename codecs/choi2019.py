"""One network for all rates: Λ sets them coarsely, the quantiser's step finely.

Choi, El-Khamy, Lee, "Variable Rate Deep Image Compression with a Conditional Autoencoder", ICCV
2019.  The network is that of Minnen et al. 2018, of which every convolution, the entropy model's
too, is conditional on one of a few Λ (`codecs.learned.conditional`); the latent is quantised with
any step Δ and a shared dither u (`codecs.learned.coders.dither`).

    x ── g_a ──> y ────── k = round(y/Δ + u) ─────> ŷ = Δ·(k - u) ── g_s ──> x̂
                 │                                  │
                 └─ h_a ──> z ─ round ─> ẑ ─ h_s ─┐ └─ context (masked 5x5) ─┐
                                                  └──────── head ────────────┘
                                                    scales, means of ŷ

    softplus(u_Λ) ⊙ (W * x) + v_Λ                   what each convolution gives
    min Σ_Λ E_Δ[Λ·D + R],  Δ = 2^b, b ~ U(-1, 1)    training, on mixed bin sizes

A step of training draws one Λ and one b for each sample.  A quality q of the stream's header is
l - b/2: Λ is that of the nearest whole number l, and Δ = 4^(l - q) is 1/2 to 2.  So the finest step
of one Λ makes larger files than the coarsest of the next, and every rate between the ends can be
met; the price is that rates fall where one Λ takes over from the other.

Shapes for a picture of H x W pixels, both multiples of 64:

    y, k, ŷ  M x H/16 x W/16    latent
    z, ẑ     N x H/64 x W/64    hyper-latent, rounded to integers

The paper has N = 192 and |Λ| = 5.  The density of ẑ is one for all Λ: `h_a` scales z.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from codecs.learned.bitstream import QUALITY_UNITS
from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.dither import Lattice, coordinates, values
from codecs.learned.coders.factorised import FactorisedPrior
from codecs.learned.coders.hyperprior import Gaussian, HyperpriorCoder
from codecs.learned.coders.latents import LatentCoder, Tables, section_tables
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.coders.universal import UniversalHyperprior
from codecs.learned.conditional import AtLevel, ConditionalChain, ConditionalConv
from codecs.learned.initialisation import initialise, scaled
from codecs.learned.klt import begin_gdn_analysis, begin_gdn_synthesis, expect
from codecs.learned.layers import MaskedConv2d, conv, deconv
from codecs.learned.network import ForwardOutput
from codecs.learned.rows import gdn_analysis, gdn_synthesis
from codecs.learned.transform import TransformModel, TransformNetwork

_EXACT = ("h_s", "context", "head")
"""What decoders evaluate in integers."""
_EXPONENT = 2
"""Change of b to a quality of 1."""
_DENSITY = Gaussian(scale_floor=0.04)
"""A latent that never varies costs what its dither shows at the edges of a bin, in streams too:
with the floor of other codecs 0.15 bits, or 0.056 bpp of 96 such channels; here 0.021 bpp."""


@dataclass(frozen=True)
class Setting:
    """What a quality stands for."""

    level: Tensor
    """The number of Λ of each sample, integers [B]."""
    step: Tensor
    """Δ, [B, 1, 1, 1]."""


class Choi2019(TransformNetwork):
    """N channels in the transforms' hidden layers and in z, M in y."""

    architecture = "choi2019"
    magic = b"CC"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 192, "M": 192},
        "compact": {"N": 64, "M": 96},
    }

    def __init__(self, N: int = 64, M: int = 96, **config: Any) -> None:
        super().__init__(N, M, **config)
        levels = max(1, self.qualities)
        plain = {
            "g_a": gdn_analysis(N, M),
            "g_s": gdn_synthesis(N, M),
            "h_a": nn.Sequential(
                *(conv(M, N, 3, 1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N))
            ),
            "h_s": nn.Sequential(
                *(deconv(N, N), nn.LeakyReLU()),
                *(deconv(N, M), nn.LeakyReLU()),
                conv(M, 2 * M, 3, 1),
            ),
            "context": nn.Sequential(MaskedConv2d(M, 2 * M)),
            "head": nn.Sequential(
                *(conv(4 * M, M * 10 // 3, 1, 1), nn.LeakyReLU()),
                *(conv(M * 10 // 3, M * 8 // 3, 1, 1), nn.LeakyReLU()),
                conv(M * 8 // 3, 2 * M, 1, 1),
            ),
        }
        initialise(
            nn.ModuleDict(plain),
            writers=[plain["g_a"][-1], plain["h_a"][-1]],
            readers=[plain[name][0] for name in ("g_s", "h_s", "h_a", "context")],
            picture=plain["g_s"][-1],
        )
        transform = begin_gdn_analysis(plain["g_a"])
        begin_gdn_synthesis(plain["g_s"], transform.kernels)
        for name in ("h_a", "context"):
            expect(plain[name][0], transform.deviations)
        # The first guess is a Gaussian around 0.
        scaled(plain["head"][-1], 0.1)[:M] = transform.deviations
        self.g_a, self.g_s, self.h_a, self.h_s, self.context, self.head = (
            ConditionalChain(chain, levels) for chain in plain.values()
        )
        self.prior = FactorisedPrior(N)
        # Where other networks have gains, this one has the scales of its layers.
        self._gains = torch.ones(1, 1)
        if self.gains is not None:
            self._gains = self.gains.log_gain.detach()[:, :1].exp()
            self.gains = None
        self._multiply(self.g_a[-1], transform.gain)
        self._multiply(self.g_s[0], 1 / transform.gain)
        self._spread()

    def _spread(self) -> None:
        """From the same latent at all levels to one in proportion to the quantiser steps of theory,
        with entropy parameters in that proportion."""
        for writer in (self.g_a[-1], self.head[-1]):
            self._multiply(writer, self._gains, shift=True)
        for reader in (self.g_s[0], self.h_s[0], self.context[0]):
            self._multiply(reader, 1 / self._gains)

    @staticmethod
    def _multiply(layer: nn.Module, factor: Tensor | float, shift: bool = False) -> None:
        assert isinstance(layer, ConditionalConv)
        layer.multiply(factor, shift)

    def begin_with(self, trained: Mapping[str, Tensor]) -> None:
        """Weights of one Λ serve all to begin with, but for the scale of the latent."""
        levels = len(self._gains)
        conditions = {k: v for k, v in trained.items() if k.endswith((".u", ".v"))}
        alone = levels > 1 and all(len(value) == 1 for value in conditions.values())
        spread = {k: v.expand(levels, -1) for k, v in conditions.items()} if alone else {}
        self.load_state_dict({**trained, **spread})
        if alone:
            self._spread()

    def setting(self, quality: Tensor | None) -> Setting:
        """What a quality [B] stands for."""
        if quality is None:
            quality = torch.zeros(1, device=self.prior.medians.device)
        level = torch.floor(quality + 0.5)
        exponent = _EXPONENT * (level - quality)
        return Setting(level.long(), torch.exp2(exponent)[:, None, None, None])

    def training_quality(self, drawn: Tensor) -> Tensor:
        """Levels, each as often: what lies between them is a matter of bin sizes."""
        return torch.floor(drawn * self.qualities).clamp(max=self.qualities - 1)

    def latent_model(self) -> UniversalHyperprior:
        return self._latents(self.setting(None))

    def latents_at(self, quality: Tensor | None) -> UniversalHyperprior:
        return self._latents(self.setting(quality))

    def _latents(self, setting: Setting) -> UniversalHyperprior:
        # They stand in for layers of which each has a type of its own.
        h_a, h_s, context, head = (
            cast(Any, AtLevel(self._chain(name), setting.level)) for name in ("h_a", *_EXACT)
        )
        return UniversalHyperprior(
            h_a, self.prior, [h_s], _DENSITY, context, head, step=setting.step
        )

    def common(self, x: Tensor) -> Tensor:
        return x

    def scale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """The latent of pictures [B, 3, H, W], in the coordinates of the quantiser."""
        return self._coordinates(y, self.setting(quality))

    def _coordinates(self, x: Tensor, setting: Setting) -> Tensor:
        return coordinates(self.g_a(x, level=setting.level), setting.step)

    def synthesise(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """Pictures of a latent in the coordinates of the quantiser."""
        return self._synthesised(y, self.setting(quality))

    def _synthesised(self, w: Tensor, setting: Setting) -> Tensor:
        x: Tensor = self.g_s(values(w, setting.step), level=setting.level)
        return x

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """See `CodecNetwork`; in training bin sizes are mixed, whatever the quality says."""
        if not self.training or quality is None:
            return super().forward(x, mask, quality)
        self.check_quality(quality)
        setting = self.setting(quality)
        exponents = 2 * torch.rand_like(setting.step) - 1
        setting = replace(setting, step=torch.exp2(exponents))
        w, bits = self._latents(setting).quantise(self._coordinates(x, setting), Rounding.NOISE)
        return ForwardOutput(self._synthesised(w, setting), bits)

    def tables(self) -> dict[str, Any]:
        scales = {
            f"{name}.{place}": table
            for name in _EXACT
            for place, table in self._chain(name).tables().items()
        }
        return {**super().tables(), **scales}

    def coder(self, tables: Tables, device: torch.device) -> LatentCoder:
        return _Coder(self, tables, device)

    def exact_latents(self, level: int, tables: Tables) -> UniversalHyperprior:
        """The entropy model at a level, of plain layers with the scales of a weights file."""
        h_s, context, steps = (
            list(self._chain(name).folded(level, section_tables(tables, name))) for name in _EXACT
        )
        masked = cast(MaskedConv2d, context[0])
        return replace(
            self.latent_model(), synthesis=h_s, context=masked, head=nn.Sequential(*steps)
        )

    def _chain(self, name: str) -> ConditionalChain:
        chain = self.get_submodule(name)
        assert isinstance(chain, ConditionalChain)
        return chain


class _Coder(HyperpriorCoder):
    """Of one level, which `at` chooses, and of one step."""

    def __init__(self, network: Choi2019, tables: Tables, device: torch.device) -> None:
        first, *others = (
            network.exact_latents(level, tables) for level in range(max(1, network.qualities))
        )
        super().__init__(first, tables, device, Lattice(0))
        more = (HyperpriorCoder(m, tables, device, Lattice(0), self.density) for m in others)
        self._network, self._levels = network, [self, *more]

    def at(self, quality: float | None) -> LatentCoder:
        asked = None if quality is None else torch.tensor([quality], device=self.device)
        level = int(self._network.setting(asked).level)
        coder = copy.copy(self._levels[level])
        coder.model = self._network.latents_at(asked)
        below = level * QUALITY_UNITS - round((quality or 0.0) * QUALITY_UNITS)
        coder.lattice = Lattice(_EXPONENT * below)
        return coder


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `choi2019`, or `choi2019:bfloat16` with a synthesis in that precision."""
    return LearnedCodec("choi2019", "Choi 2019", Choi2019, TransformModel, variant)
