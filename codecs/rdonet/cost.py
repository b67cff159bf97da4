"""What a partition costs: J = Λ·D + R of a picture, and where in the picture it arises.

R is estimated from the network's likelihoods, with latents known (no arithmetic coding); the
partition's own bits are real.  D is that of training, without LPIPS and adversarial terms (Λ is
that of what is left: see `Objective`), of the clamped picture that a decoder shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from codecs.learned.bands import in_bands
from codecs.learned.ms_ssim import ms_ssim, ms_ssim_scales
from codecs.learned.objective import SMALLEST_MS_SSIM, Objective
from codecs.rdonet import backbone
from codecs.rdonet.maskcoding import encode_masks
from codecs.rdonet.masks import BLOCK, Masks
from codecs.rdonet.unit import UnitOutput

if TYPE_CHECKING:
    from codecs.rdonet.network import RDONet

_CELL = BLOCK[1]
SYNTHESIS_HALO = 13
"""How many positions of d₁ the synthesis looks to each side, at most (see the tests)."""


def synthesise(network: RDONet, d1: Tensor) -> Tensor:
    """The padded picture [1, 3, H, W] of d₁, in bounded memory."""
    stride = backbone.STRIDE[network.backbone_kind]
    return in_bands(network.synthesis, d1, 1, stride, SYNTHESIS_HALO)


@dataclass(frozen=True)
class Evaluation:
    """One coding run: a partition and its cost.

    `density` float64[4h, 4w] has the cost of each 16 x 16 block, partition bits left out:
    `cost` = density.sum() + partition bits / pixels.
    """

    masks: Masks
    cost: float
    density: Tensor


class CostModel:
    """J of one picture for any partition; everything that no partition changes is kept.

    `x` [1, 3, H, W] in 0...1, padded to multiples of 64, of which `size` (height, width) counts;
    `features` as `RDONet.features` gives them.
    """

    def __init__(
        self,
        network: RDONet,
        x: Tensor,
        features: tuple[Tensor, Tensor, Tensor],
        size: tuple[int, int],
        objective: Objective,
        quality: Tensor | None = None,
    ) -> None:
        self.network, self.features, self.objective = network, features, objective
        self.x, self.size, self.quality = x, size, quality
        self.pixels = size[0] * size[1]
        self._inside = torch.ones_like(x[:, :1])
        self._inside[:, :, size[0] :] = 0
        self._inside[:, :, :, size[1] :] = 0
        self.runs = 0
        """Coding runs so far: passes through LS-Units and synthesis."""

    @torch.no_grad()
    def evaluate(self, masks: Masks) -> Evaluation:
        """One coding run."""
        self.runs += 1
        d1, outputs = self.network.code(self.features, masks, self.quality)
        x_hat = synthesise(self.network, d1).clamp(0, 1)
        rows, columns = self.x.shape[2] // _CELL, self.x.shape[3] // _CELL
        bits = bit_density(outputs, rows, columns)
        density = self._distortion(x_hat) + bits / self.pixels
        cost = float(density.sum()) + 8 * len(encode_masks(masks)) / self.pixels
        return Evaluation(masks, cost, density)

    def _distortion(self, x_hat: Tensor) -> Tensor:
        """Λ·D by block; the MS-SSIM part is distributed like the local loss of structure."""
        height, width = self.size
        area = _CELL * _CELL
        error = (x_hat - self.x).square().mean(1, keepdim=True) * self._inside
        squared = avg_pool2d(error.double(), _CELL)[0, 0] * (area / self.pixels)
        density = self.objective.mse * squared
        if self.objective.ms_ssim and min(self.size) >= SMALLEST_MS_SSIM:
            a = self.x[:, :, :height, :width]
            b = x_hat[:, :, :height, :width]
            lost = 1 - float(ms_ssim(a, b, ms_ssim_scales(min(self.size))))
            local = _structure_loss(self.x * self._inside, x_hat * self._inside)
            share = local / local.sum().clamp_min(1e-30)
            density = density + self.objective.ms_ssim * lost * share
        return self.objective.lambda_eff * density


def bit_density(outputs: Mapping[int, UnitOutput], rows: int, columns: int) -> Tensor:
    """Estimated bits of each 16 x 16 block, float64 [rows, columns], of a batch of 1."""
    device = outputs[1].y_bits.device
    density = torch.zeros(rows, columns, dtype=torch.float64, device=device)
    for level, out in outputs.items():
        cells = BLOCK[level] // _CELL
        density += _spread(out.y_bits[0].double(), cells, rows, columns)
        density += _spread(out.z_bits[0].double(), 4 * cells, rows, columns)
    return density


def _spread(x: Tensor, k: int, rows: int, columns: int) -> Tensor:
    """Distribute each value over the part of its k x k cells that exists: sums are kept."""

    def overlap(blocks: int, cells: int) -> Tensor:
        start = torch.arange(blocks, device=x.device) * k
        return (cells - start).clamp(1, k)

    area = overlap(x.shape[0], rows)[:, None] * overlap(x.shape[1], columns)
    each = (x / area).repeat_interleave(k, 0).repeat_interleave(k, 1)
    return each[:rows, :columns]


def _structure_loss(x: Tensor, y: Tensor) -> Tensor:
    """1 - contrast and structure term of SSIM in 16 x 16 blocks, mean over channels; [h, w]."""
    mean_x, mean_y = avg_pool2d(x, _CELL), avg_pool2d(y, _CELL)
    var_x = avg_pool2d(x * x, _CELL) - mean_x**2
    var_y = avg_pool2d(y * y, _CELL) - mean_y**2
    covariance = avg_pool2d(x * y, _CELL) - mean_x * mean_y
    c2 = 0.03**2
    loss = 1 - (2 * covariance + c2) / (var_x + var_y + c2)
    return loss.double().mean((0, 1)).clamp_min(0)
