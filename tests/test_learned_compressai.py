"""The networks that CompressAI has too compute what CompressAI computes with the same weights."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bench.perf.learned import converted
from codecs import registry
from codecs.learned.coders.factorised import Factorised
from codecs.learned.coders.hyperprior import Gaussian, Hyperprior
from codecs.learned.transform import TransformNetwork
from tests.make_compressai_reference import MODELS, outputs, random_model, reference

each_model = pytest.mark.parametrize("name", MODELS)


def network_with(name: str, weights: dict[str, Tensor]) -> TransformNetwork:
    m, n = weights["g_a.6.weight"].shape[:2]
    network = registry.network(name).from_config({"N": n, "M": m}).eval()
    assert isinstance(network, TransformNetwork)
    network.load_state_dict(weights)
    return network


@torch.no_grad()
def our_outputs(network: TransformNetwork, x: Tensor) -> dict[str, Tensor]:
    """By the names of `outputs`."""
    y, model = network.g_a(x), network.latent_model()
    out = {"x_hat": network(x).x_hat}
    if isinstance(model, Factorised):
        y_hat = model.prior.round(y)
        return out | {"y_hat": y_hat, "y_likelihood": model.prior.likelihood(y_hat)}
    assert isinstance(model, Hyperprior)
    assert isinstance(model.density, Gaussian)
    z_hat, y_hat = model.prior.round(model.hyper_latent(y)), torch.round(y)
    psi = z_hat
    for layer in model.synthesis:
        psi = layer(psi)
    theta = model.theta(psi, y_hat)
    names = ("scales",) if model.density.zero_mean else ("scales", "means")
    out |= dict(zip(names, theta.chunk(len(names), 1), strict=True))
    likelihoods = model.prior.likelihood(z_hat), model.density.likelihood(y_hat, theta)
    out |= {"z_likelihood": likelihoods[0], "y_likelihood": likelihoods[1]}
    return out | {"z_hat": z_hat, "y_hat": y_hat}


def check(network: TransformNetwork, x: Tensor, expected: dict[str, Tensor]) -> None:
    ours = our_outputs(network, x)
    assert ours.keys() == expected.keys()
    assert expected["y_hat"].std() > 0.3
    for name, value in expected.items():
        assert ours[name].shape == value.shape
        scale = max(1.0, value.abs().max().item())
        assert (ours[name] - value).abs().max().item() <= 1e-5 * scale, name
    with torch.no_grad():
        bits = network(x).bits
    for name, found in bits.items():
        total = -torch.log2(expected[f"{name}_likelihood"]).sum().item()
        assert found.sum().item() == pytest.approx(total, rel=1e-4)


@each_model
def test_equals_compressai_as_recorded(name: str) -> None:
    stored = safetensors.torch.load_file(reference(name))
    weights, expected = (
        {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        for prefix in ("weights.", "outputs.")
    )
    check(network_with(name, weights), stored["x"] / 255, expected)


@each_model
def test_equals_compressai_itself(name: str) -> None:
    pytest.importorskip("compressai", reason="CompressAI is not installed")
    theirs = random_model(name, 12, 18, seed=5)
    x = torch.rand(2, 3, 128, 64)
    check(network_with(name, converted(theirs.state_dict())), x, outputs(theirs, x))
