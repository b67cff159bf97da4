"""The thresholds of the variance partition that suit a trained network."""

from __future__ import annotations

import math
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
    quality: float | None = None,
) -> tuple[VarianceThresholds, dict[VarianceThresholds, float]]:
    """The thresholds of least mean J = Λ·D + R on `batches`, and J of all that were tried.

    `batches` are pictures [B, 3, H, W] in 0...1, H and W multiples of 64, coded at `quality` where
    the network has many.  From the finest partition, each threshold in turn takes its best value in
    `THRESHOLD_GRID` until neither changes, with the network in evaluation mode.  R has no mask bits
    (at most 0.0012 bpp).
    """
    was_training = network.training
    network.eval()
    features = [network.features(x) for x in batches]
    seen: dict[tuple[int, bytes], float] = {}

    def batch_cost(number: int, thresholds: VarianceThresholds) -> float:
        x = batches[number]
        masks = variance_masks(x, thresholds)
        key = (number, masks.levels().cpu().numpy().tobytes())
        if key not in seen:
            q = None if quality is None else torch.full((len(x),), quality, device=x.device)
            d, outputs = network.code(features[number], masks, q)
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


def calibrate_range(
    network: RDONet,
    batches: Sequence[Tensor],
    distortion: Callable[[Tensor, Tensor], Tensor],
) -> tuple[VarianceThresholds, float]:
    """Thresholds of a network for a range of rates, log-linear in Λ, given for its middle, and the
    mean of the least J that three qualities had, each over √Λ.

    At the lowest, the middle and the highest quality they are those of least J; the line is that of
    least squares.
    """
    ends = torch.tensor([0.0, (network.qualities - 1) / 2, network.qualities - 1.0])
    lambdas = network.lambda_of(ends).tolist()
    logarithms, total = [], 0.0
    for quality, lambda_eff in zip(ends.tolist(), lambdas, strict=True):
        found, costs = calibrate_thresholds(network, batches, lambda_eff, distortion, quality)
        total += costs[found] / math.sqrt(lambda_eff)
        # A line knows no "split all", but next to nothing lies below the least of the grid.
        pair = torch.tensor([float(found.t64), float(found.t32)])
        logarithms.append(pair.clamp_min(min(t for t in THRESHOLD_GRID if t > 0)).log())
    low, middle, high = logarithms
    powers = (high - low) / math.log(lambdas[2] / lambdas[0])
    t64, t32 = ((low + middle + high) / 3).exp().tolist()
    return VarianceThresholds(t64, t32, *powers.tolist()), total / len(lambdas)
