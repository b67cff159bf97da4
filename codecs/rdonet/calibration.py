"""The thresholds of the variance partition that suit a trained network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from codecs.rdonet.masks import VarianceThresholds, variance_masks

if TYPE_CHECKING:
    from codecs.rdonet.network import RDONet

THRESHOLD_GRID = (-1.0, *(0.78125 * 2.0**k for k in range(14)))
"""Luma variances on the 8-bit scale, up to 6400; above -1 are all, even those of flat blocks."""


@torch.no_grad()
def calibrate_thresholds(
    network: RDONet,
    batches: Sequence[Tensor],
    lambda_eff: float,
    distortion: Callable[[Tensor, Tensor], Tensor],
) -> tuple[VarianceThresholds, dict[VarianceThresholds, float]]:
    """The thresholds of least mean J = Λ·D + R on `batches`, and J of all that were tried.

    `batches` are pictures [B, 3, H, W] in 0...1, H and W multiples of 64.  From the finest
    partition, each threshold in turn takes its best value in `THRESHOLD_GRID` until neither
    changes, with the network in evaluation mode.  R has no mask bits (at most 0.0012 bpp).
    """
    was_training = network.training
    network.eval()
    features = [network.features(x) for x in batches]
    middle = (network.qualities - 1) / 2
    seen: dict[tuple[int, bytes], float] = {}

    def batch_cost(number: int, thresholds: VarianceThresholds) -> float:
        x = batches[number]
        masks = variance_masks(x, thresholds)
        key = (number, masks.levels().cpu().numpy().tobytes())
        if key not in seen:
            quality = torch.full((len(x),), middle) if network.qualities else None
            d, outputs = network.code(features[number], masks, quality)
            bits = sum((o.y_bits.sum() + o.z_bits.sum() for o in outputs.values()), 0.0)
            cost = distortion(x, network.synthesis(d))
            pixels = x.shape[0] * x.shape[2] * x.shape[3]
            seen[key] = float(lambda_eff * cost + bits / pixels)
        return seen[key]

    costs: dict[VarianceThresholds, float] = {}

    def cost(thresholds: VarianceThresholds) -> float:
        if thresholds not in costs:
            each = [batch_cost(number, thresholds) for number in range(len(batches))]
            costs[thresholds] = sum(each) / len(each)
        return costs[thresholds]

    best, before = VarianceThresholds(THRESHOLD_GRID[0], THRESHOLD_GRID[0]), None
    while best != before:
        before = best
        best = min((replace(best, t32=t) for t in THRESHOLD_GRID), key=cost)
        best = min((replace(best, t64=t) for t in THRESHOLD_GRID), key=cost)
    network.train(was_training)
    return best, costs
