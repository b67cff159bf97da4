"""Probability models of latents, in floating point: for training and for estimated rates.

`codecs.learned.coders.tables` turns them into the integer tables that streams are coded with.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.layers import lower_bound

LIKELIHOOD_FLOOR = 1e-9
SCALE_FLOOR = 0.11
"""Smallest scale of the Gaussian models (Minnen et al. 2018, CompressAI)."""


def bits(likelihood: Tensor) -> Tensor:
    """Σ -log2 p over everything: a scalar."""
    return -torch.log2(likelihood).sum()


def add_noise(y: Tensor) -> Tensor:
    """Training's stand-in for rounding: uniform noise in [-½, ½) (Ballé et al. 2017)."""
    return y + (torch.rand_like(y) - 0.5)


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


class FactorisedPrior(nn.Module):
    """Fully factorised density per channel; Ballé et al., "Variational image compression with a
    scale hyperprior", ICLR 2018, appendix 6.1: c = f_K ∘ ... ∘ f_1, here K = 5 of widths 3.

    f_k(x) = g_k(H_k x + b_k), g_k(x) = x + a_k ⊙ tanh(x) (identity for the last), the cumulative
    is sigmoid(c); H_k = softplus(.) and a_k = tanh(.) keep it increasing.

    Values are rounded relative to `medians` [C]: ẑ = round(z - m) + m.
    """

    medians: Tensor

    def __init__(self, channels: int, init_scale: float = 10.0) -> None:
        super().__init__()
        self.channels = channels
        widths = (1, 3, 3, 3, 3, 1)
        scale = init_scale ** (1 / (len(widths) - 1))
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        for i, (before, after) in enumerate(pairwise(widths)):
            start = math.log(math.expm1(1 / scale / after))
            self.matrices.append(nn.Parameter(torch.full((channels, after, before), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, after, 1) - 0.5))
            if i + 2 < len(widths):
                self.factors.append(nn.Parameter(torch.zeros(channels, after, 1)))
        self.register_buffer("medians", torch.zeros(channels))

    def logits(self, x: Tensor) -> Tensor:
        """c(x) of x [C, 1, n]: the logit of the cumulative density.  Follows x's dtype."""
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = functional.softplus(matrix.to(x.dtype)) @ x + bias.to(x.dtype)
            if i < len(self.factors):
                x = x + torch.tanh(self.factors[i].to(x.dtype)) * torch.tanh(x)
        return x

    def mass(self, x: Tensor) -> Tensor:
        """Probability of [x-½, x+½] for x [C, 1, n]."""
        lower, upper = self.logits(x - 0.5), self.logits(x + 0.5)
        # Evaluated in the tail where the sigmoids are small, to keep relative precision.
        sign = torch.where(lower + upper > 0, -1.0, 1.0).to(x.dtype)
        return torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower))

    def round(self, z: Tensor) -> Tensor:
        """ẑ of z [B, C, H, W]."""
        medians = self.medians[:, None, None]
        return torch.round(z - medians) + medians

    def likelihood(self, z: Tensor) -> Tensor:
        """Floored probability of each (noisy or rounded) value of z [B, C, H, W]."""
        b, c, h, w = z.shape
        mass = self.mass(z.transpose(0, 1).reshape(c, 1, -1)).view(c, b, h, w).transpose(0, 1)
        return lower_bound(mass, LIKELIHOOD_FLOOR)

    @torch.no_grad()
    def quantile(self, logit: float) -> Tensor:
        """x [C], float64, with c(x) = `logit`, by bisection on [-2^16, 2^16]."""
        low = torch.full((self.channels, 1, 1), -65536.0, dtype=torch.float64)
        low = low.to(self.medians.device)
        high = -low
        for _ in range(40):
            middle = (low + high) / 2
            below = self.logits(middle) < logit
            low = torch.where(below, middle, low)
            high = torch.where(below, high, middle)
        return high[:, 0, 0]

    def set_medians(self) -> None:
        """Move the rounding grid of each channel to its median (after training)."""
        self.medians.copy_(self.quantile(0.0).to(self.medians.dtype))
