"""What makes `hu2020` that codec: hyper-latents at two levels, and a picture made of all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from codecs.hu2020 import Hu2020, SideSynthesis
from codecs.learned.codec import load_model
from codecs.learned.coders.coarsetofine import CoarseToFine, HyperLevel
from codecs.learned.coders.factorised import FactorisedCoder, GaussianPrior
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.coders.tables import TOTAL
from codecs.learned.transform import TransformModel
from tests.learned_contract import padded
from tests.learned_toys import TOYS, smooth_noise, toy_network
from tests.rdonet_toys import crop


@pytest.fixture
def network() -> Hu2020:
    found = toy_network("hu2020")
    assert isinstance(found, Hu2020)
    return found


def information(values: Tensor, means: Tensor, scales: Tensor) -> float:
    """Bits of integers under Gaussians, by scipy."""
    v, m, s = (x.numpy().astype(np.float64) for x in (values, means, scales))
    s = s.clip(0.11)
    mass = stats.norm.cdf((v + 0.5 - m) / s) - stats.norm.cdf((v - 0.5 - m) / s)
    return float(-np.log2(mass.clip(1e-9)).sum())


def windows(h: Tensor, small: nn.Sequential) -> Tensor:
    """A prediction as the paper makes it: each position's 5 x 5 window of h, cut out, through a
    small network, which has no padding of its own."""
    _, channels, height, width = h.shape
    cut = functional.unfold(h, 5, padding=2).view(channels, 5, 5, height * width)
    x = cut.permute(3, 0, 1, 2)
    for layer in small:
        x = (
            functional.conv2d(x, layer.weight, layer.bias)
            if isinstance(layer, nn.Conv2d)
            else layer(x)
        )
    return x.reshape(height, width, -1).permute(2, 0, 1)[None]


@torch.no_grad()
def test_each_level_tells_the_density_of_the_one_below(network: Hu2020) -> None:
    """Rates of all three, by the paper's equations written out."""
    model = network.latent_model()
    y = network.g_a(padded(crop(128, 192), 64))
    z2 = network.fine.analysis(y)
    z1 = network.coarse.analysis(z2)
    assert (z2.shape[2:], z1.shape[2:]) == ((4, 6), (2, 3))
    y, z2, z1 = y.round(), z2.round(), z1.round()
    _, found = model.quantise(network.g_a(padded(crop(128, 192), 64)), Rounding.EXACT)
    scales = network.prior.scales.abs()[:, None, None].expand(z1.shape)
    assert found["z1"].item() == pytest.approx(information(z1, 0 * z1, scales), rel=1e-3)
    for name, latent, hyper, level in (
        ("z2", z2, z1, network.coarse),
        ("y", y, z2, network.fine),
    ):
        theta = level.prediction(level.synthesis(hyper))
        scales, means = theta[:, : latent.shape[1]].exp(), theta[:, latent.shape[1] :]
        assert found[name].item() == pytest.approx(information(latent, means, scales), rel=1e-3)


@torch.no_grad()
def test_a_prediction_is_the_papers_network_on_each_window(network: Hu2020) -> None:
    h = torch.randn(1, network.fine.features, 9, 11)
    found = network.fine.prediction(h)
    cut = windows(h, network.fine.prediction)
    # At the border the paper's windows see features of what lies outside.
    assert torch.allclose(found[:, :, 2:-2, 2:-2], cut[:, :, 2:-2, 2:-2], atol=1e-4)


@torch.no_grad()
def test_an_analysis_mixes_all_of_2_x_2_positions() -> None:
    """Space goes to depth, and comes back."""
    level = HyperLevel(3, 4, 8, 6)
    x = torch.randn(1, 3, 8, 6)
    unshuffled = level.analysis[1](x)
    assert unshuffled.shape == (1, 12, 4, 3)
    assert torch.equal(unshuffled[0, :4, 1, 2], x[0, 0, 2:4, 4:6].flatten())
    assert level.synthesis(level.analysis(x)).shape == (1, 8, 8, 6)


@torch.no_grad()
def test_the_picture_depends_on_side_information(network: Hu2020) -> None:
    """On h₁ and on h₂, at the same ŷ."""
    y = network.analyse(padded(crop(64, 64), 64), None)
    seen, _ = network.latent_model().quantise(y, Rounding.EXACT)
    latent, h2, h1 = seen.split(
        [y.shape[1], network.fine.features, network.coarse.features // 4], 1
    )
    picture = network.synthesise(seen, None)
    for other in (torch.cat([latent, h2 + 1, h1], 1), torch.cat([latent, h2, h1 + 1], 1)):
        assert (network.synthesise(other, None) - picture).abs().mean() > 1e-3


def test_decoders_see_the_side_information_that_training_saw(network: Hu2020) -> None:
    model = load_model(TOYS / "hu2020" / "toy.safetensors", Hu2020, TransformModel)
    image = crop(128, 192)
    _, symbols = model.decode_symbols(model.encode(image))
    with torch.no_grad():
        y = network.analyse(padded(image, 64), None)
        expected, _ = network.latent_model().quantise(y, Rounding.EXACT)
    # Integers of 2^-12; a hyper-latent near a half would make all the difference.
    assert torch.allclose(model.coder.latent(symbols), expected, atol=0.01)


def test_bands_change_nothing() -> None:
    """A tall picture is made in bands, which see far enough beyond their borders."""
    torch.manual_seed(0)
    network = Hu2020(8, 12).eval().requires_grad_(False)
    assert isinstance(network.g_s, SideSynthesis)
    x = torch.randn(1, sum(network.g_s.channels), 90, 60)
    with torch.no_grad():
        made = network.g_s(x)
    assert torch.allclose(made, network.g_s._whole(x), atol=1e-5)


@torch.no_grad()
def test_on_other_transforms_the_picture_is_made_of_the_latent_alone() -> None:
    torch.manual_seed(0)
    model = CoarseToFine(HyperLevel(5, 4, 4, 4), HyperLevel(4, 3, 4, 4), GaussianPrior(3))
    y = torch.randn(1, 5, 8, 12)
    seen, spent = model.quantise(y, Rounding.EXACT)
    assert torch.equal(seen, y.round())
    assert torch.allclose(model.rate(y)(seen), torch.stack([*spent.values()]).sum(0))
    coder = model.coder(model.tables(), torch.device("cpu"))
    symbols = coder.symbols(y)
    sections = coder.encode(symbols)
    again = coder.decode(sections, 8, 12)
    assert all(np.array_equal(a, b) for a, b in zip(symbols, again, strict=True))
    assert torch.equal(coder.latent(again), y.round())
    assert 8 * len(b"".join(sections)) == pytest.approx(
        float(torch.stack([*spent.values()]).sum()), rel=0.02, abs=96
    )


def test_a_gaussian_prior_is_one_and_so_are_its_tables() -> None:
    prior = GaussianPrior(3)
    prior.scales.data = torch.tensor([0.02, -0.7, 30.0])  # of the floor, and of either sign
    frequencies = FactorisedCoder.export(prior)["frequencies"] / TOTAL
    lows = FactorisedCoder.export(prior)["lows"]
    for row, low, scale in zip(frequencies, lows, (0.11, 0.7, 30.0), strict=True):
        values = low + np.arange(len(row) - 1)
        expected = stats.norm.cdf((values + 0.5) / scale) - stats.norm.cdf((values - 0.5) / scale)
        inside = row[1:] > 0
        assert row[1:][inside] == pytest.approx(expected[inside], abs=2 / TOTAL)
        assert row[0] == pytest.approx(1 - expected[inside].sum(), abs=4e-5)
    logit = math.log(0.975 / 0.025)
    assert prior.quantile(logit).tolist() == pytest.approx(
        [1.96 * s for s in (0.11, 0.7, 30)], rel=1e-3
    )


def test_one_network_serves_all_rates_with_gains_for_side_information_too() -> None:
    """Where h is ten times as large, the gain of its channels takes it back."""
    torch.manual_seed(0)
    network = Hu2020(8, 12, qualities=3, lambdas=(50.0, 5000.0)).eval()
    assert network.gains is not None
    beside = network.latent_model().channels_beside
    assert network.gains.log_inverse.shape == (3, 12 + beside)
    x = torch.ones(2, 12 + beside, 4, 4)
    unscaled = network.gains.unscale(x, torch.tensor([0.0, 2.0]))[:, :, 0, 0]
    assert torch.allclose(unscaled[0] / unscaled[1], torch.full((12 + beside,), 10.0))
    pictures = smooth_noise(2, 64)
    out = network.train()(pictures, quality=torch.tensor([0.3, 2.0]))
    out.x_hat.square().mean().backward()
    assert network.gains.log_inverse.grad is not None
    assert bool((network.gains.log_inverse.grad[:, 12:] != 0).any(0).all())
