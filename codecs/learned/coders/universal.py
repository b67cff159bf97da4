"""A hyperprior of a latent that is quantised with any step and a shared dither; see
`codecs.learned.coders.dither`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from codecs.learned.coders.dither import coordinates, values
from codecs.learned.coders.hyperprior import Hyperprior


@dataclass(frozen=True)
class UniversalHyperprior(Hyperprior):
    """A hyperprior of Gaussians with means, whose latent is in the coordinates of a quantiser."""

    step: Tensor | float = 1.0
    """Δ of each sample, [B, 1, 1, 1]."""

    def hyper_latent(self, y: Tensor) -> Tensor:
        return super().hyper_latent(values(y, self.step))

    def theta(self, psi: Tensor, y: Tensor) -> Tensor:
        scales, means = super().theta(psi, values(y, self.step)).chunk(2, 1)
        return torch.cat([scales / self.step, coordinates(means, self.step)], 1)
