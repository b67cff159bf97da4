"""What makes `mean-scale`, `lee2019`, `cheng2020` those codecs: the densities of their papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from codecs.cheng2020 import Cheng2020
from codecs.learned.coders.hyperprior import Hyperprior
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.layers import Attention, ResidualBlock
from codecs.learned.transform import TransformNetwork
from tests.learned_contract import padded
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop


def model_of(name: str) -> tuple[TransformNetwork, Hyperprior]:
    network = toy_network(name)
    assert isinstance(network, TransformNetwork)
    model = network.latent_model()
    assert isinstance(model, Hyperprior)
    return network, model


def told(name: str) -> tuple[Hyperprior, np.ndarray, np.ndarray, dict[str, Tensor]]:
    """(model, ŷ [M, n], θ [., n], estimated bits) of a photograph."""
    network, model = model_of(name)
    with torch.no_grad():
        y = network.analyse(padded(crop(128, 192), network.stride), None)
        rounded, bits = model.quantise(y, Rounding.EXACT)
        psi = model.prior.round(model.hyper_latent(y))
        for layer in model.synthesis:
            psi = layer(psi)
        theta = model.theta(psi, rounded)
    return model, rounded[0].flatten(1).numpy(), theta[0].flatten(1).numpy(), bits


def bits_of(probability: np.ndarray) -> float:
    return float(-np.log2(probability.clip(1e-9)).sum())


def mass(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    normal = stats.norm(mean, scale)
    return np.asarray(normal.cdf(values + 0.5) - normal.cdf(values - 0.5))


@pytest.mark.parametrize("name", ["mean-scale", "lee2019"])
def test_one_gaussian_with_scale_and_mean(name: str) -> None:
    _, y, theta, bits = told(name)
    scale, mean = np.split(theta, 2)
    if name == "lee2019":
        scale = np.exp(scale)
    assert np.abs(mean).max() > 0.1
    assert bits["y"].item() == pytest.approx(bits_of(mass(y, mean, scale.clip(0.11))), rel=1e-3)


def test_a_mixture_of_three_gaussians() -> None:
    """Equation 12 of Cheng et al."""
    _, y, theta, bits = told("cheng2020")
    logits, means, raw = theta.reshape(3, 3, len(y), -1)
    weights = special.softmax(logits, 0)
    scales = np.logaddexp(0, raw) + 0.04
    total = sum(weights[k] * mass(y, means[k], scales[k]) for k in range(3))
    assert bits["y"].item() == pytest.approx(bits_of(np.asarray(total)), rel=1e-3)


def test_mean_and_scale_are_told_by_side_information_alone() -> None:
    """All of ŷ is decoded at once; `lee2019` and `cheng2020` see what is decoded already."""
    for name, context in (("mean-scale", False), ("lee2019", True), ("cheng2020", True)):
        _, model = model_of(name)
        outputs = 12 if name == "lee2019" else 24
        psi = torch.zeros(1, outputs, 4, 4)
        thetas = [model.theta(psi, torch.full((1, 12, 4, 4), value)) for value in (0.0, 3.0)]
        assert (not torch.equal(*thetas)) == context


def test_cheng2020_has_attention_on_both_sides_and_begins_well() -> None:
    """Untrained, latents are above the noise, tell flat colours apart, and make the picture."""
    torch.manual_seed(0)
    network = Cheng2020(N=16, M=24).eval()
    for transform in (network.g_a, network.g_s):
        kinds = [type(module) for module in transform]
        assert kinds.count(Attention) == 2
        assert kinds.count(ResidualBlock) in (3, 4)
    with torch.no_grad():
        x = padded(crop(128, 192), network.stride)
        y = network.g_a(x)
        assert y.var((0, 2, 3)).mean().sqrt() > 0.5
        assert (network.g_s(torch.round(y)) - x).square().mean() < 0.01
        flat = torch.eye(3)[:, :, None, None].expand(-1, -1, 128, 128)
        colours = network.g_a(flat)[:, :, 2:-2, 2:-2].mean((2, 3))
    assert torch.linalg.svdvals(colours)[2] > 1
