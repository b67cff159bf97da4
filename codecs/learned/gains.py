"""Gain units: one network for a whole range of rates.

Cui et al., "Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation", CVPR 2021
(the idea of Choi et al., ICCV 2019, in its cheapest form).  For each anchor q = 0 ... Q-1 a
positive vector g_q multiplies the latent before it is rounded, and h_q multiplies it after it is
decoded; between two anchors both are interpolated geometrically, g = g_q^(1-t) · g_(q+1)^t, so that
quality is continuous.  Both act on floats outside the exact entropy path.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codecs.learned.bitstream import QUALITY_UNITS
from codecs.learned.exact.arithmetic import ACTIVATION_BITS, ACTIVATION_LIMIT

FINE = 8
"""Rows of `Gains.table` to an anchor: linear between them, it is geometric to 0.1 %."""
GAIN_BITS = 16
LAMBDAS = (20.0, 8000.0)
"""Λ of the lowest and of the highest quality, for MSE of pictures in 0...1."""


def lambda_of(quality: Tensor, anchors: int, lambdas: tuple[float, float]) -> Tensor:
    """Λ of each quality in 0 ... anchors-1: geometric between the two ends."""
    low, high = map(math.log, lambdas)
    return torch.exp(low + (high - low) * quality / (anchors - 1))


def between_anchors(values: Tensor, quality: Tensor) -> Tensor:
    """`values` [Q, M] of the anchors, linear between them, at each `quality` [B]: [B, M, 1, 1]."""
    below = quality.floor().clamp(0, len(values) - 2).long()
    t = (quality.float() - below)[:, None]
    return torch.lerp(values[below], values[below + 1], t)[:, :, None, None]


def first_gains(anchors: int, lambdas: tuple[float, float]) -> Tensor:
    """Logarithms of the gains that training begins with, [Q].

    In theory the step of a quantiser goes with Λ^-1/2; the middle of the range has gain 1.
    """
    span = math.log(lambdas[1] / lambdas[0]) / 2
    return torch.linspace(-span / 2, span / 2, anchors)


class Gains(nn.Module):
    """g and h of one latent of `channels`; h also of those `beside` it that a synthesis sees."""

    def __init__(
        self, channels: int, anchors: int, lambdas: tuple[float, float], beside: int = 0
    ) -> None:
        """Raises `ValueError` unless there are two anchors and a range of Λ."""
        super().__init__()
        if anchors < 2 or not 0 < lambdas[0] < lambdas[1] < math.inf:
            raise ValueError(f"no such range of rates: {anchors} anchors, Λ {lambdas}")
        self.anchors = anchors
        self.lambdas = lambdas
        self.log_gain = nn.Parameter(torch.empty(anchors, channels))
        self.log_inverse = nn.Parameter(torch.empty(anchors, channels + beside))
        self.begin()

    @torch.no_grad()
    def begin(self, factor: float = 1.0) -> None:
        """As training begins with them, but `factor` times as large, where transforms make the
        latent so much smaller than steps of 1 deserve."""
        start = first_gains(self.anchors, self.lambdas)[:, None]
        self.log_gain.copy_(start + math.log(factor))
        self.log_inverse.copy_(-start)
        self.log_inverse[:, : self.log_gain.shape[1]] -= math.log(factor)

    def scale(self, y: Tensor, quality: Tensor) -> Tensor:
        """y [B, M, h, w] before it is rounded, for `quality` [B] in 0 ... Q-1."""
        return y * self._at(self.log_gain, quality)

    def unscale(self, y: Tensor, quality: Tensor) -> Tensor:
        """ŷ as the synthesis is to see it."""
        return y * self._at(self.log_inverse, quality)

    def table(self) -> NDArray[np.int32]:
        """h at every `FINE`-th of an anchor, as integers [FINE·(Q-1) + 1, M]: for decoders whose
        further entropy decoding depends on what they have unscaled (`exact_unscale`)."""
        places = torch.arange(FINE * (self.anchors - 1) + 1) / FINE
        with torch.no_grad():
            h = self._at(self.log_inverse.cpu(), places)[:, :, 0, 0]
        return (h.double() * 2**GAIN_BITS).round().clamp(1, 2**30).int().numpy()

    def _at(self, logarithms: Tensor, quality: Tensor) -> Tensor:
        """[B, M, 1, 1]."""
        return torch.exp(between_anchors(logarithms, quality))


def exact_unscale(
    latents: NDArray[np.int32], table: NDArray[np.integer], quality: float
) -> NDArray[np.int32]:
    """Decoded latents [h, w, M] times h, as activation integers: the same on every machine.

    `table` is that of `Gains.table`; the quality is a multiple of 1/256.
    """
    step = QUALITY_UNITS // FINE
    row, rest = divmod(round(quality * QUALITY_UNITS), step)
    low, high = table[row].astype(np.int64), table[min(row + 1, len(table) - 1)].astype(np.int64)
    h = (low * (step - rest) + high * rest + step // 2) // step
    shift = GAIN_BITS - ACTIVATION_BITS
    values = (latents.astype(np.int64) * h + (1 << (shift - 1))) >> shift
    return values.clip(-ACTIVATION_LIMIT, ACTIVATION_LIMIT).astype(np.int32)
