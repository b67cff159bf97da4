"""The thresholds of the variance partition that suit a trained network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from codecs.rdonet.masks import VarianceThresholds, variance_masks

if TYPE_CHECKING:
    from codecs.rdonet.network import RDONet

THRESHOLD_GRID = (-1.0, *(0.78125 * 2.0**k for k in range(14)))
"""Luma variances on the 8-bit scale, up to 6400; above -1 are all, even those of flat blocks."""
_NOTHING = 1e-3
"""A variance that next to no block is below: a sample in a thousand is off by one."""


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

    At the lowest, the middle and the highest quality they are those of least J (`line`).
    """
    ends = torch.tensor([0.0, (network.qualities - 1) / 2, network.qualities - 1.0])
    lambdas = network.lambda_of(ends).tolist()
    best, total = [], 0.0
    for quality, lambda_eff in zip(ends.tolist(), lambdas, strict=True):
        found, costs = calibrate_thresholds(network, batches, lambda_eff, distortion, quality)
        total += costs[found] / math.sqrt(lambda_eff)
        best.append(found)
    relative = [math.log(value / lambdas[1]) for value in lambdas]
    t64, p64 = line(relative, [float(found.t64) for found in best])
    t32, p32 = line(relative, [float(found.t32) for found in best])
    return VarianceThresholds(t64, t32, p64, p32), total / len(lambdas)


def line(relative: Sequence[float], thresholds: Sequence[float]) -> tuple[float, float]:
    """(t, p) of t·exp(p·r), which goes along the `thresholds` at `relative` log Λ, lowest first.

    Where a level pays up to some rate only, the line leads from the threshold at the lowest to
    `_NOTHING` at the first that splits all, and splits next to all beyond; a level that does not
    pay at the lowest rate, where it is of most use, is not used.  Otherwise it is that of least
    squares.
    """
    if thresholds[0] < 0:
        return thresholds[0], 0.0
    x, y = list(relative), [math.log(max(t, _NOTHING)) for t in thresholds]
    if min(thresholds) < 0:
        gone = next(i for i, t in enumerate(thresholds) if t < 0)
        x, y = [x[0], x[gone]], [y[0], y[gone]]
    power, at_middle = np.polyfit(x, y, 1).tolist()
    return math.exp(at_middle), power
