"""Noise and rounding while a network is trained."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from codecs.hu2020 import Hu2020
from codecs.learned.coders.likelihood import Rounding, gaussian_likelihood
from codecs.learned.network import ForwardOutput
from codecs.minnen import Minnen
from tests.learned_contract import padded
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop
from tests.test_training_step import first_step


def test_what_hardly_varies_between_two_integers_costs_bits_that_noise_does_not_show() -> None:
    """The loss that training must see: `Rounding.SETTLED` has that of streams."""
    generator = torch.Generator().manual_seed(0)
    y = 0.5 + 0.05 * torch.randn(1, 1, 32, 32, generator=generator)
    mean, scale = torch.full_like(y, 0.5), torch.full_like(y, 0.05)

    def bits(rounding: Rounding) -> float:
        torch.manual_seed(0)
        return float(-torch.log2(gaussian_likelihood(rounding.of(y), mean, scale)).mean())

    assert bits(Rounding.NOISE) < 0.3
    assert bits(Rounding.SETTLED) == bits(Rounding.EXACT) > 0.9


@pytest.mark.parametrize(
    "name", ["minnen", "mean-scale", "lee2019", "cheng2020", "rdonet", "factorised"]
)
def test_rounded_training_makes_the_pictures_of_streams(name: str) -> None:
    network = deepcopy(toy_network(name)).requires_grad_(True)
    x = padded(crop(128, 128), 64)

    def made(training: bool, rounded: bool = False) -> ForwardOutput:
        network.rounds_in_training = rounded
        torch.manual_seed(0)
        out: ForwardOutput = network.train(training)(x)
        return out

    shown, streamed, noisy = made(True, rounded=True), made(False), made(True)
    assert torch.allclose(shown.x_hat, streamed.x_hat, atol=1e-5)
    assert not torch.allclose(noisy.x_hat, streamed.x_hat, atol=1e-3)
    (shown.total_bits().sum() + shown.x_hat.square().sum()).backward()
    learning = {name for name, p in network.named_parameters() if p.grad is not None}
    assert learning
    encoder = ("g_a.", "analysis.", "units.0.down.", "units.0.bottom.")
    assert not [name for name in learning if name.startswith(encoder)]
    decoder = ("g_s.", "synthesis.", "h_s.", "prior.")
    for part in decoder:
        names = {name for name, _ in network.named_parameters() if name.startswith(part)}
        assert names <= learning


def test_side_information_of_two_levels_is_rounded_like_the_latent() -> None:
    """But for the deepest, of which noise costs what rounding does."""
    network = deepcopy(toy_network("hu2020"))
    assert isinstance(network, Hu2020)
    seen: list[Tensor] = []
    network.fine.synthesis.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.rounds_in_training = True
    network.train()(padded(crop(128, 128), 64))
    assert torch.equal(seen[0], torch.round(seen[0]))


@pytest.mark.parametrize("rounded", [False, True])
def test_a_phase_says_whether_latents_are_rounded(
    rounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Rounding] = []

    class Watched(Minnen):
        def forward(self, x: Tensor, mask: Any = None, quality: Any = None) -> ForwardOutput:
            used.append(self.rounding)
            return super().forward(x, mask, quality)

    first_step(Watched, 0, rounded=rounded)  # type: ignore[arg-type]
    assert used == [Rounding.SETTLED if rounded else Rounding.NOISE]
