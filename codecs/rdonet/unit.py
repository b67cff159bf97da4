"""The latent-space unit (LS-Unit) of RDONet: what is sent at one level, and how likely it is.

Brand et al., CLIC 2022, figure 3, with the conditional hyperprior of Brand et al., CVPRW 2021.

    fᵢ₋₁ ── down, GDN ──> fᵢ ─┬─ bottom ──> t ── round, x sent ──> t̂ ─┬─ up, IGDN ──> dᵢ
                              │                                       │
    dᵢ₊₁ ─────────────────────┴───────────────────────────────────────┘

    t x sent, dᵢ₊₁, sent ── hyper_analysis ──> z ── round ──> ẑ        (coded as well)

    ẑ ── hyper_synthesis ──┬─ condition ──────────────────> ψ ─┐
    dᵢ₊₁ ──────────────────┘                                   ├─ parameters_net ──> θ
    t̂ ── context (masked 5x5) ──────┬─ sum ───────────────> φ ─┘
    sent ── mask_context (5x5) ─────┘

`sent` is 1 where the partition has this level and 0 elsewhere; θ are the weights, means and scales
of the mixture that t̂ is coded by.  N is the number of latent channels of the level, D that of the
next deeper one; h x w is its grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.coders.factorised import FactorisedPrior
from codecs.learned.coders.hyperprior import Mixture
from codecs.learned.coders.likelihood import Rounding, add_noise
from codecs.learned.exact.arithmetic import LATENT_LIMIT
from codecs.learned.gains import Gains
from codecs.learned.layers import GDN, MaskedConv2d, conv, subpixel_conv

SCALE_FLOOR = 0.04
"""Smallest standard deviation of a mixture component."""


@dataclass(frozen=True)
class UnitOutput:
    """One unit's part of a pass through the network."""

    features: Tensor
    """d_i, [B, ., h·s, w·s]: what the next finer unit or the synthesis sees."""
    latent: Tensor
    """t̂_i, [B, N, h, w], 0 where not sent."""
    y_bits: Tensor
    """Estimated bits of each hyper-pixel, [B, h, w]."""
    z_bits: Tensor
    """Estimated bits of each hyper-latent position, [B, ⌈h/4⌉, ⌈w/4⌉]."""


def round_latent(t: Tensor) -> Tensor:
    """Nearest integer within the range that streams can carry."""
    return torch.round(t).clamp(-LATENT_LIMIT, LATENT_LIMIT)


def sent_cells(sent: Tensor) -> Tensor:
    """Hyper-latent cells with a sent hyper-pixel: [B, 1, h, w] -> [B, 1, ⌈h/4⌉, ⌈w/4⌉]."""
    return functional.max_pool2d(sent, 4, ceil_mode=True)


class ConditionalHyperprior(nn.Module):
    """Entropy model of one level: hyperprior conditioned on deeper levels, context, mixture.

    It has `n` latent channels (N) and `deeper` of d_{i+1} (D); `hyper` is the width H of both hyper
    networks and of z, and `mixtures` the number K of Gaussians.  Three additions to the paper can
    be switched: `context` (off in the papers of 2021 and 2022), `mask_aware` (the partition, which
    the decoder knows, is an input of hyper-encoder and context), `skip_z` (hyper-latents above
    which nothing is sent are not coded).
    """

    def __init__(
        self,
        n: int,
        deeper: int,
        hyper: int,
        mixtures: int,
        context: bool,
        mask_aware: bool,
        skip_z: bool,
    ) -> None:
        super().__init__()
        self.density = Mixture(mixtures, SCALE_FLOOR)
        self.mask_aware = mask_aware
        self.skip_z = skip_z
        hidden = 10 * n // 3
        wide = 3 * hyper // 2
        # Sizes of both hyper networks as in Cheng et al. 2020.
        self.hyper_analysis = nn.Sequential(
            conv(n + deeper + mask_aware, hyper, 3, 1),
            nn.LeakyReLU(),
            conv(hyper, hyper, 3, 1),
            nn.LeakyReLU(),
            conv(hyper, hyper, 3, 2),
            nn.LeakyReLU(),
            conv(hyper, hyper, 3, 1),
            nn.LeakyReLU(),
            conv(hyper, hyper, 3, 2),
        )
        self.prior = FactorisedPrior(hyper)
        self.hyper_synthesis = nn.Sequential(
            conv(hyper, hyper, 3, 1),
            nn.LeakyReLU(),
            subpixel_conv(hyper, hyper),
            nn.LeakyReLU(),
            conv(hyper, wide, 3, 1),
            nn.LeakyReLU(),
            subpixel_conv(wide, wide),
            nn.LeakyReLU(),
        )
        self.condition = conv(wide + deeper, 2 * n, 3, 1)
        self.context = MaskedConv2d(n, 2 * n) if context else None
        self.mask_context = nn.Conv2d(1, 2 * n, 5, padding=2, bias=False) if mask_aware else None
        inputs = 4 * n if context or mask_aware else 2 * n
        self.parameters_net = nn.Sequential(
            conv(inputs, hidden, 1, 1),
            nn.LeakyReLU(),
            conv(hidden, hidden, 1, 1),
            nn.LeakyReLU(),
            conv(hidden, 3 * mixtures * n, 1, 1),
        )

    def hyper_latent(self, t: Tensor, d: Tensor, sent: Tensor) -> Tensor:
        """z [B, H, ⌈h/4⌉, ⌈w/4⌉] of the masked latent and the deeper features, [B, ., h, w]."""
        inputs = [t, d, sent] if self.mask_aware else [t, d]
        z: Tensor = self.hyper_analysis(torch.cat(inputs, 1))
        return z

    def conditioned(self, z: Tensor, d: Tensor) -> Tensor:
        """ψ [B, 2N, h, w] of the decoded hyper-latent and the deeper features d [B, D, h, w]."""
        h = self.hyper_synthesis(z)[:, :, : d.shape[2], : d.shape[3]]
        psi: Tensor = self.condition(torch.cat([h, d], 1))
        return psi

    def theta(self, psi: Tensor, latent: Tensor, sent: Tensor) -> Tensor:
        """θ of `density`, [B, 3·K·N, h, w]; causal in `latent`."""
        phi: Tensor | None = None
        if self.context is not None:
            phi = self.context(latent)
        if self.mask_context is not None:
            known = self.mask_context(sent)
            phi = known if phi is None else phi + known
        theta: Tensor = self.parameters_net(psi if phi is None else torch.cat([psi, phi], 1))
        return theta


class LatentSpaceUnit(nn.Module):
    """LS-Unit i: features down to its level, the latent sent there, features up again.

    `stride` s relates its grid to that of the finer neighbour; unit 1 of the CLIC 2022 network has
    s = 1, "to maintain the correct downsampling factors".  With stride 2, an `up_kernel` of 3
    reaches as far as the transposed 5 x 5 convolution that such networks had before.  f_{i-1} has
    `finer` channels and d_i has `out`; `n` and `deeper` as in `ConditionalHyperprior`.
    """

    def __init__(
        self,
        finer: int,
        n: int,
        deeper: int,
        out: int,
        stride: int,
        prior: ConditionalHyperprior,
        up_kernel: int = 5,
        gains: Gains | None = None,
    ) -> None:
        super().__init__()
        self.down = nn.Sequential(conv(finer, n, 5, stride), GDN(n))
        self.bottom = conv(n + deeper, n, 5, 1)
        self.up = subpixel_conv(deeper + n, out, stride, up_kernel)
        self.igdn = GDN(out, inverse=True)
        self.channels = n
        self.deeper = deeper
        self.stride = stride
        self.prior = prior
        self.gains = gains

    def latent(self, f: Tensor, d: Tensor, quality: Tensor | None = None) -> Tensor:
        """t_i, not yet quantised: what of f_i the deeper levels' features d_{i+1} do not tell."""
        t: Tensor = self.bottom(torch.cat([f, d], 1))
        return t if self.gains is None or quality is None else self.gains.scale(t, quality)

    def decoded(self, d: Tensor, latent: Tensor, quality: Tensor | None = None) -> Tensor:
        """d_i = IGDN(SPConv([d_{i+1}; t̂_i])), [B, ., h·s, w·s]."""
        if self.gains is not None and quality is not None:
            latent = self.gains.unscale(latent, quality)
        out: Tensor = self.igdn(self.up(torch.cat([d, latent], 1)))
        return out

    def forward(
        self,
        f: Tensor,
        d: Tensor,
        sent: Tensor,
        quality: Tensor | None = None,
        rounding: Rounding = Rounding.EXACT,
    ) -> UnitOutput:
        """f_i [B, N, h, w] and d_{i+1} [B, D, h, w]; `sent` float [B, 1, h, w] of 0 and 1."""
        prior = self.prior
        t = rounding.given(self.latent(f, d, quality))
        # Noise is masked too: at positions that are not sent it would leak into d and the context.
        latent = rounding.of(t).clamp(-LATENT_LIMIT, LATENT_LIMIT) * sent
        cells = sent_cells(sent) if prior.skip_z else torch.ones_like(sent_cells(sent))
        z = prior.hyper_latent(t * sent, d, sent)
        z = (add_noise(z) if rounding.noisy_side else prior.prior.round(z)) * cells
        return self._output(latent, z, d, sent, cells, quality)

    def assess(
        self,
        latent: Tensor,
        symbols: Tensor,
        d: Tensor,
        sent: Tensor,
        cells: Tensor,
        quality: Tensor | None = None,
    ) -> UnitOutput:
        """What `forward` puts out for given t̂_i and round(z - median) [B, H, ., .]."""
        z = (symbols + self.prior.prior.medians[:, None, None]) * cells
        return self._output(latent, z, d, sent, cells, quality)

    def _output(
        self,
        latent: Tensor,
        z: Tensor,
        d: Tensor,
        sent: Tensor,
        cells: Tensor,
        quality: Tensor | None,
    ) -> UnitOutput:
        prior = self.prior
        theta = prior.theta(prior.conditioned(z, d), latent, sent)
        y_bits = -torch.log2(prior.density.likelihood(latent, theta)) * sent
        z_bits = -torch.log2(prior.prior.likelihood(z)) * cells
        return UnitOutput(self.decoded(d, latent, quality), latent, y_bits.sum(1), z_bits.sum(1))
