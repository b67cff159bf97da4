"""Rate control on simulated codecs, first guesses of Λ, thresholds by trying others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from codecs.base import Image
from codecs.learned.training.losses import Critics, LossWeights, distortion
from codecs.learned.training.ratecontrol import RateController, first_lambda, search_objective
from codecs.rdonet.calibration import THRESHOLD_GRID, calibrate_thresholds
from codecs.rdonet.masks import VarianceThresholds, variance_masks
from codecs.rdonet.network import RDONet


@pytest.mark.parametrize("target", [0.075, 0.3])
@pytest.mark.parametrize("start", [0.2, 5.0])
def test_control_reaches_the_target_on_validation_pictures(target: float, start: float) -> None:
    """A codec whose rate is c·Λ^0.6 after a lag of 50 steps, 30 % higher on crops, with noise."""
    random = np.random.default_rng(0)
    controller = RateController.start(target, 50 * start)
    log_rate = math.log(0.15 * start**0.6)
    for step in range(4000):
        final = math.log(0.15) + 0.6 * (controller.log_lambda - math.log(50))
        log_rate += (final - log_rate) / 50
        controller.observe(1.3 * math.exp(log_rate + random.normal(0, 0.2)))
        controller.adjust()
        if step % 400 == 399:
            controller.validated(math.exp(log_rate))
    assert math.exp(log_rate) == pytest.approx(target, rel=0.05)


def test_control_survives_a_round_trip_and_bad_rates() -> None:
    controller = RateController.start(0.1, 30.0)
    controller.adjust()
    assert controller.lambda_eff == pytest.approx(30.0)
    for bpp in (0.2, float("nan"), 0.0, float("inf"), 0.25):
        controller.observe(bpp)
        controller.adjust()
    assert controller.lambda_eff < 30.0
    assert RateController.from_json(controller.to_json()) == controller


def test_lambda_stays_in_range() -> None:
    controller = RateController.start(1.0, 10.0)
    for _ in range(20_000):
        controller.observe(1e-6)
        controller.adjust()
    assert controller.lambda_eff == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("rate", "weights", "expected"),
    [
        # 1 / slope of the rate-distortion curve of Cheng et al. 2020 at that rate.
        (0.106, LossWeights(), 1 / 5.9e-3),
        (0.180, LossWeights(), 1 / 2.6e-3),
        (0.425, LossWeights(), 1 / 5.2e-4),
        (0.180, LossWeights(ms_ssim=0.1), 1 / (2.6e-3 + 0.1 * 0.178)),
        # Where control ended with this project's RDONet.
        (0.075, LossWeights(ms_ssim=0.05, lpips=0.1), 4.4),
        (0.150, LossWeights(ms_ssim=0.05, lpips=0.1), 15.8),
        (0.150, LossWeights(ms_ssim=0.05, lpips=0.04, features=0.06), 15.8),
    ],
)
def test_first_guess_of_lambda(rate: float, weights: LossWeights, expected: float) -> None:
    assert first_lambda(rate, weights) == pytest.approx(expected, rel=0.3)


def test_a_search_without_lpips_weighs_what_is_left_as_if_there_were_none() -> None:
    alone = LossWeights(ms_ssim=0.05)
    assert search_objective(70.0, 0.15, alone) == {"lambda_eff": 70.0, "mse": 1, "ms_ssim": 0.05}
    # Where control ended with LPIPS, and 1 / slope of Cheng et al. 2020 without.
    found = search_objective(15.8, 0.15, LossWeights(ms_ssim=0.05, lpips=0.1))
    assert found["lambda_eff"] == pytest.approx(first_lambda(0.15, alone), rel=0.3)
    assert set(found) == {"lambda_eff", "mse", "ms_ssim"}
    only = search_objective(15.8, 0.15, LossWeights(mse=0.0, lpips=0.1))
    assert (only["mse"], only["ms_ssim"]) == (1.0, 0.0)


def test_thresholds_have_the_least_cost_on_the_grid(photo: Image) -> None:
    torch.manual_seed(0)
    network = RDONet(width=8)
    picture = torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1).float() / 255
    x = torch.stack([picture, picture.flip(1) * 0.3 + 0.3])

    def cost(t64: float | Tensor, t32: float | Tensor) -> float:
        with torch.no_grad():
            output = network.eval()(x, variance_masks(x, VarianceThresholds(t64, t32)))
        rate = output.total_bits().sum() / (2 * 128 * 192)
        return 20.0 * float(((output.x_hat - x) ** 2).mean() + rate / 20)

    def squared_error(x: Tensor, y: Tensor) -> Tensor:
        return distortion(x, y, LossWeights(), Critics())[0].mean()

    found, costs = calibrate_thresholds(network, x.split(1), 20.0, squared_error)
    assert network.training
    assert costs[found] == min(costs.values())
    for tried in (found, *list(costs)[::9]):
        assert costs[tried] == pytest.approx(cost(tried.t64, tried.t32), rel=1e-4)
    assert len({round(c, 6) for c in costs.values()}) > 3
    # As good as trying all pairs, of which this tries a part.
    coarse = THRESHOLD_GRID[::2]
    assert costs[found] <= min(cost(a, b) for a in coarse for b in coarse) * (1 + 1e-4)
    assert len(costs) < len(THRESHOLD_GRID) ** 2 / 2
