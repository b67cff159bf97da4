"""One update of a network: what its loss is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from codecs.factorised import FactorisedNetwork
from codecs.learned.network import ForwardOutput
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.losses import Critics, LossWeights
from codecs.learned.training.ratecontrol import RateController
from codecs.learned.training.schedule import Phase, plan
from codecs.learned.training.settings import Settings
from codecs.learned.training.state import Learner, TrainingProgress

BATCH, LAMBDAS = 3, (20.0, 8000.0)


class Penalised(FactorisedNetwork):
    """With a term of its own, another for each sample of a batch."""

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        out = super().forward(x, mask, quality)
        bias = self.g_s[-1].bias
        assert isinstance(bias, Tensor)
        return replace(out, penalty=torch.arange(1.0, 1 + len(x)) * bias.square().sum())


def first_step(
    kind: type[FactorisedNetwork], qualities: int, rate: float | None = None, **phase: Any
) -> tuple[dict[str, float], Tensor]:
    """What the log shows of the first step on grey pictures, and the qualities of these; `rate` is
    what was seen before, for a target of 0.3."""
    phases = (Phase(1.0, 1e-3, reset=True, per_rate=True, **phase),)
    settings = Settings(
        *("penalised", "quick", 4, (), "", 10, (0.3,), "mse", None, "", "adam", BATCH, 64, 0),
        *(False, 1, 1, "", "", None, 1, qualities, LAMBDAS if qualities else ()),
    )
    progress = TrainingProgress(RateController.start(0.3, 400.0), LossWeights())
    learner = Learner(kind, settings, torch.device("cpu"), progress, Critics(), False)
    if rate is not None:
        progress.controller.observe(rate)
    (segment,) = plan(phases, 10, (0.3,))
    drawn = learner._qualities(BATCH)
    shown = learner.step(segment, torch.full((BATCH, 3, 64, 64), 0.4))
    return shown, torch.zeros(BATCH) if drawn is None else drawn


@pytest.mark.parametrize("rate", [0.29, 0.31])
def test_rates_below_their_target_weigh_less(rate: float) -> None:
    """λ' of Mentzer et al. 2020 has two values; here D keeps its weight, and R has two."""
    plain, _ = first_step(FactorisedNetwork, 0)
    seen, _ = first_step(FactorisedNetwork, 0, rate, below_target=2**-7)
    saved = (1 - 2**-7) * plain["bpp"] if rate < 0.3 else 0.0
    assert plain["loss"] - seen["loss"] == pytest.approx(saved, abs=1e-4)


@pytest.mark.parametrize("qualities", [0, 8])
def test_a_networks_own_penalty_is_part_of_the_loss(qualities: int) -> None:
    """Of networks of many qualities it is divided by the square root of Λ, as all else is."""
    (plain, _), (penalised, drawn) = (
        first_step(kind, qualities) for kind in (FactorisedNetwork, Penalised)
    )
    each = torch.tensor([1.0, 2.0, 3.0]) * 3 * 0.5**2  # the picture's first bias is mid grey
    assert penalised["penalty"] == pytest.approx(each.mean().item())
    if qualities:
        low, high = LAMBDAS
        each /= (high / low) ** (0.5 * (drawn / (qualities - 1) - 0.5))
    assert penalised["loss"] - plain["loss"] == pytest.approx(each.mean().item(), rel=1e-4)
    assert penalised["gradient_norm"] != plain["gradient_norm"]
    assert "penalty" not in plain


def test_critics_are_not_asked_of_pictures_that_no_weight_can_change() -> None:
    """What they say is a constant to entropy models."""
    shown, _ = first_step(FactorisedNetwork, 0, lpips=0.4, frozen=True)
    assert shown["mse"] > 0
    assert "lpips" not in shown
    with pytest.raises(TrainingError, match="no such network was loaded"):
        first_step(FactorisedNetwork, 0, lpips=0.4)
