"""Rate control: Λ so that a model hits its target rate.

The λ printed in the paper cannot be used as they stand (their unit is not given), so they are kept
as labels.  Λ of L = Λ·D + R (R in bits per pixel) is found while training: an integrating
controller on log Λ, which replaces the paper-style bisection with frozen networks because it costs
no extra steps.  It is frozen in the last phases, so that a model is finished at one fixed loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from codecs.learned.training.losses import LossWeights

GAIN = 0.004
"""Change of log Λ per step and unit of log rate error."""
LARGEST_ERROR = 0.7
"""Errors of log rate are limited to this, so that the first steps do not run away."""
_SMOOTHING = 0.98
_RANGE = math.log(100.0)

# (bpp, -dMSE/dR, -d(1 - MS-SSIM)/dR) of Cheng et al. 2020 on CLIC, from their published points:
# 1/Λ is the slope of D.
_SLOPES = (
    (0.106, 5.9e-3, 0.344),
    (0.180, 2.6e-3, 0.178),
    (0.284, 1.25e-3, 0.076),
    (0.425, 5.2e-4, 0.036),
)
# LPIPS (SqueezeNet) of this project's RDONet: the slope at 0.15 bpp and its power of the rate, from
# the Λ that control found for 0.075, 0.15 and 0.3 bpp.  The distance of features falls alike:
# between VVenC's QP 42 and 37 by 0.051, LPIPS by 0.054.
_LPIPS_SLOPE, _LPIPS_POWER = 0.5, -2.2


def first_lambda(rate: float, weights: LossWeights) -> float:
    """Where control starts: Λ at which a converged model would have `rate` bits per pixel."""

    def slope(column: int) -> float:
        """Power law through the table's points, fitted in log-log."""
        xs = [math.log(row[0]) for row in _SLOPES]
        ys = [math.log(row[column]) for row in _SLOPES]
        mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
        top = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
        power = top / sum((x - mx) ** 2 for x in xs)
        return math.exp(my + power * (math.log(rate) - mx))

    lpips = _LPIPS_SLOPE * (rate / 0.15) ** _LPIPS_POWER
    perceptual = (weights.lpips + weights.features) * lpips
    return 1.0 / (weights.mse * slope(1) + weights.ms_ssim * slope(2) + perceptual)


def search_objective(lambda_eff: float, rate: float, weights: LossWeights) -> dict[str, float]:
    """What an encoder's search minimises for a model trained with `weights`, for the network's
    `config["objective"]`: the terms that it can afford, with a Λ in their unit.

    Λ of a loss with LPIPS is too small without it, up to 30 times in the models that ship: bits
    would be all that counts.  A model trained for neither term is searched by MSE.
    """
    searched = LossWeights(mse=weights.mse, ms_ssim=weights.ms_ssim)
    if not (searched.mse or searched.ms_ssim):
        searched = LossWeights()
    unit = first_lambda(rate, searched) / first_lambda(rate, weights)
    terms = {"mse": searched.mse, "ms_ssim": searched.ms_ssim}
    return {"lambda_eff": lambda_eff * unit, **terms}


@dataclass
class RateController:
    """Λ and what is known of the rate.  All state is in the fields: it goes into checkpoints."""

    target: float
    """Corpus rate wanted on the validation pictures, bits per pixel."""
    log_lambda: float
    centre: float
    """log Λ at the start; Λ stays within a factor of 100."""
    log_bpp: float | None = None
    """Smoothed log rate of the training crops."""
    log_ratio: float = 0.0
    """log of (rate on the validation pictures / smoothed rate on training crops)."""

    @classmethod
    def start(cls, target: float, lambda_eff: float) -> RateController:
        return cls(target, math.log(lambda_eff), math.log(lambda_eff))

    @property
    def lambda_eff(self) -> float:
        return math.exp(self.log_lambda)

    @property
    def above_target(self) -> bool:
        """Whether the smoothed rate is, as it would be on the validation pictures."""
        return self.log_bpp is None or self.log_bpp + self.log_ratio > math.log(self.target)

    def observe(self, bpp: float) -> None:
        """Rate of one training step."""
        if bpp > 0 and math.isfinite(bpp):
            log = math.log(bpp)
            old = log if self.log_bpp is None else self.log_bpp
            self.log_bpp = _SMOOTHING * old + (1 - _SMOOTHING) * log

    def adjust(self) -> None:
        """One step of control towards the target."""
        if self.log_bpp is None:
            return
        error = math.log(self.target) - self.log_ratio - self.log_bpp
        error = min(LARGEST_ERROR, max(-LARGEST_ERROR, error))
        low, high = self.centre - _RANGE, self.centre + _RANGE
        self.log_lambda = min(high, max(low, self.log_lambda + GAIN * error))

    def validated(self, bpp: float) -> None:
        """Rate on the validation pictures: crops of other pictures may differ from it."""
        if self.log_bpp is not None and bpp > 0:
            ratio = math.log(bpp) - self.log_bpp
            self.log_ratio = min(0.7, max(-0.7, ratio))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> RateController:
        return cls(**state)
