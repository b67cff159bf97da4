"""HiFiC against its paper, written plainly: transforms, latents, loss, discriminator."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from codecs.hific import HiFiC
from codecs.learned.training.losses import Critics, LossWeights
from codecs.learned.training.ratecontrol import RateController
from codecs.learned.training.schedule import Phase, plan
from codecs.learned.training.settings import Settings
from codecs.learned.training.state import Learner, TrainingProgress
from codecs.recipe import RECIPES
from tests.learned_toys import smooth_noise

TINY = {"N": 4, "M": 6, "K": 12, "B": 2, "h": 5}


def drawn(seed: int = 0, **config: int) -> HiFiC:
    """A network in which no parameter is 0 or 1 by its initialisation."""
    torch.manual_seed(seed)
    network = HiFiC(**{**TINY, **config})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


def channel_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Equation 9."""
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    normal = (x - mean) / (variance + 1e-3).sqrt()
    return gamma[:, None, None] * normal + beta[:, None, None]


def test_the_transforms_are_those_of_figure_2() -> None:
    """Of the weights in their order alone."""
    network = drawn()
    weights = iter([p for t in (network.g_a, network.g_s) for p in t.parameters()])

    def conv(x: Tensor, stride: int = 1) -> Tensor:
        kernel, bias = next(weights), next(weights)
        return functional.conv2d(x, kernel, bias, stride, kernel.shape[2] // 2)

    def norm(x: Tensor) -> Tensor:
        return channel_norm(x, next(weights), next(weights))

    x = torch.rand(2, 3, 64, 128)
    y = torch.relu(norm(conv(x)))
    for channels in (8, 12, 12, 12):  # doubled at each halving, up to K
        y = torch.relu(norm(conv(y, 2)))
        assert y.shape[1] == channels
    y = conv(y)
    assert y.shape == (2, 6, 4, 8)
    assert torch.allclose(network.g_a(x), y, atol=1e-4)

    x = trunk = norm(conv(norm(y)))
    for _ in range(2):
        x = x + norm(conv(torch.relu(norm(conv(x)))))
    x = x + trunk
    for channels in (12, 12, 8, 4):
        kernel, bias = next(weights), next(weights)
        x = functional.conv_transpose2d(x, kernel, bias, 2, 1, 1)
        x = torch.relu(norm(x))
        assert x.shape[1] == channels
    assert torch.allclose(network.g_s(y), conv(x), atol=1e-4)
    assert next(weights, None) is None


def test_the_papers_widths() -> None:
    """Channels of figure 2, from 60 to 960."""
    network = HiFiC.preset("paper")
    assert [c.out_channels for c in network.g_a if isinstance(c, torch.nn.Conv2d)] == [
        *(60, 120, 240, 480, 960),
        220,
    ]
    assert len([m for m in network.modules() if type(m).__name__ == "Residual"]) == 9 + 1


def test_the_generator_sees_rounded_latents_and_the_rate_noisy_ones() -> None:
    network = drawn().train()
    x = smooth_noise(2, 64)
    seen: list[Tensor] = []
    network.g_s.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    first, second = network(x), network(x)
    y = network.g_a(x)
    assert torch.equal(seen[0], seen[1])
    assert torch.allclose(seen[0], torch.round(y), atol=1e-5)
    assert not torch.equal(first.bits["y"], second.bits["y"])
    # The gradient of the picture reaches the analysis as if nothing had been rounded.
    kernel = network.g_a[0].get_parameter("weight")
    (straight,) = torch.autograd.grad(first.x_hat.sum(), kernel, retain_graph=True)
    hidden = torch.round(y).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.g_s(hidden).sum(), hidden)
    (expected,) = torch.autograd.grad((y * gradient).sum(), kernel)
    assert torch.allclose(straight, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("qualities", [0, 4])
def test_the_discriminator_is_told_what_the_generator_sees(qualities: int) -> None:
    """Without a gradient: the latents are not to please it."""
    torch.manual_seed(0)
    network = HiFiC(**TINY, qualities=qualities).train()
    seen: list[Tensor] = []
    network.g_s.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    quality = torch.tensor([0.0, 2.5]) if qualities else None
    out = network(smooth_noise(2, 64), quality=quality)
    assert out.condition is not None
    assert torch.equal(out.condition, seen[0])
    assert not out.condition.requires_grad
    assert out.condition.shape[1] == network.condition_channels == 6


def player() -> Learner:
    """What trains a small network and its discriminator."""
    settings = Settings(
        *("hific", "quick", 4, (6,), "", 10, (0.2,), "perceptual", None, "", "adam", 2, 64, 0),
        *(False, 1, 1, "", "", None, 1),
    )
    progress = TrainingProgress(RateController.start(0.2, 100.0), LossWeights())
    return Learner(HiFiC, settings, torch.device("cpu"), progress, Critics(), True)


def test_both_players_learn() -> None:
    """A step with G in the loss moves the codec and its discriminator."""
    moved = []
    for gan in (0.0, 0.3):
        phases = (Phase(1.0, 1e-3, gan=gan, reset=True, per_rate=True),)
        learner = player()
        assert learner.discriminator is not None
        before = [p.detach().clone() for p in learner.discriminator.parameters()]
        torch.manual_seed(0)
        shown = learner.step(plan(phases, 10, (0.2,))[0], smooth_noise(2, 64))
        after = learner.discriminator.parameters()
        changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert all(changed) if gan else not any(changed)
        assert ("gan_g" in shown) == ("gan_d" in shown) == bool(gan)
        moved.append(shown["gradient_norm"])
    assert moved[0] != moved[1]


def test_a_game_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Spectral norm has a state of its own."""
    (segment,) = plan((Phase(1.0, 1e-3, gan=0.3, reset=True, per_rate=True),), 10, (0.2,))
    first, second = player(), player()
    torch.manual_seed(0)
    x = smooth_noise(2, 64)
    for _ in range(2):
        first.step(segment, x)
    first.save(tmp_path / "checkpoint.safetensors")
    second.progress = second.load(tmp_path / "checkpoint.safetensors")
    assert second.step(segment, x) == first.step(segment, x)
    assert second.step(segment, x) == first.step(segment, x)


def test_the_recipe_has_the_papers_loss() -> None:
    """(R/λ' + 0.75·MSE) C + LPIPS + 0.15·G, MSE of 0...255, over what MSE of 0...1 weighs there."""
    recipe = tomllib.loads((RECIPES / "hific.toml").read_text())
    phases = [phase for stage in recipe["stage"] for phase in stage["phase"]]
    c = 0.1 * 2**-5
    mse = 0.75 * c * 255**2
    for phase in phases:
        assert phase.get("mse", 1.0) == 1.0
        assert phase["lpips"] == pytest.approx(1 / mse, rel=1e-3)
        assert phase.get("gan", 0.0) in (0.0, pytest.approx(0.15 / mse, rel=1e-3))
        if not phase.get("rounded"):  # then what makes the latent, and so the rate, stays
            assert phase["below_target"] == (0.1 * 2**-6) / (0.1 * 2)
    # λa of 0.14 bpp, where the released model with the lowest rate has it, is within the range.
    low, high = map(float, recipe["options"]["all-rates"].split(","))
    assert low < mse / (c / (0.1 * 2**-6)) < high
    assert [bool(phase.get("gan")) for phase in phases] == [False, False, True, True]
