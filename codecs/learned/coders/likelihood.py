"""Probability models of latents, in floating point: for training and for estimated rates.

`codecs.learned.coders.tables` turns them into the integer tables that streams are coded with.
"""

from __future__ import annotations

import math
from enum import Enum

import torch
from torch import Tensor

from codecs.learned.layers import lower_bound

LIKELIHOOD_FLOOR = 1e-9
SCALE_FLOOR = 0.11
"""Smallest scale of the Gaussian models (Minnen et al. 2018, CompressAI)."""


def bits(likelihood: Tensor) -> Tensor:
    """Information [B] of values of that likelihood [B, M, h, w]."""
    return -torch.log2(likelihood).flatten(1).sum(1)


def add_noise(y: Tensor) -> Tensor:
    """Training's stand-in for rounding: uniform noise in [-½, ½) (Ballé et al. 2017)."""
    return y + (torch.rand_like(y) - 0.5)


def round_through(y: Tensor) -> Tensor:
    """round(y) with the gradient of y (Theis et al. 2017)."""
    return y + (torch.round(y) - y).detach()


class Rounding(Enum):
    """What is done with latents."""

    NOISE = "noise"
    """`add_noise`: right gradients of what is not what will be coded."""
    SETTLED = "settled"
    """Rounded, and what made the latent stays as it is: the rest learns what will be coded.

    For the last part of training.  A value that hardly varies costs nothing under noise, wherever
    it lies; rounded, it costs a bit if it lies between two integers.  (The gradient of no rounding,
    for what made the latent, leads astray: rates rise.)  Side information is noisy still.
    """
    EXACT = "exact"
    """As in streams."""

    def of(self, y: Tensor) -> Tensor:
        """ŷ of y."""
        return add_noise(y) if self is Rounding.NOISE else torch.round(y)

    def given(self, y: Tensor) -> Tensor:
        """y, without a gradient where what made it stays."""
        return y.detach() if self is Rounding.SETTLED else y

    @property
    def noisy_side(self) -> bool:
        """Whether side information is noisy."""
        return self is not Rounding.EXACT


def _phi(x: Tensor) -> Tensor:
    # erfc keeps its relative precision in the lower tail, where 1 + erf cancels.
    return 0.5 * torch.erfc(x * -math.sqrt(0.5))


def gaussian_mass(values: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """Probability of [v-½, v+½] under N(mean, scale²); Ballé et al. 2018, equation 10."""
    distance = torch.abs(values - means)
    return _phi((0.5 - distance) / scales) - _phi((-0.5 - distance) / scales)


def gaussian_likelihood(
    values: Tensor, means: Tensor, scales: Tensor, scale_floor: float = SCALE_FLOOR
) -> Tensor:
    """`gaussian_mass` with floors under the scale and under the result; all of one shape."""
    mass = gaussian_mass(values, means, lower_bound(scales, scale_floor))
    return lower_bound(mass, LIKELIHOOD_FLOOR)


def mixture_likelihood(values: Tensor, weights: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """Discretised Gaussian mixture, P(v) = Σ_k w_k·mass(v; μ_k, σ_k); Cheng et al. 2020, eq. 12.

    `values` [B, M, H, W]; `weights` (summing to 1 over k), `means`, `scales` [B, K, M, H, W].
    The caller keeps the scales positive (RDONet: softplus + 0.04).
    """
    mass = gaussian_mass(values.unsqueeze(1), means, scales)
    return lower_bound((weights * mass).sum(1), LIKELIHOOD_FLOOR)
