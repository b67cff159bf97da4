"""Contexts in windows (Lee et al. 2019): floats, integers and the equations say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from codecs.learned.coders.context import ContextCoder, wavefronts
from codecs.learned.coders.density import GaussianDensity
from codecs.learned.coders.factorised import FactorisedCoder, GaussianPrior
from codecs.learned.coders.hyperprior import Gaussian
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.exact.arithmetic import from_grid, to_grid
from codecs.learned.layers import WindowContext, conv
from codecs.lee2019 import Lee2019
from tests.learned_toys import toy_network

SIDE, M, FEATURES = 5, 4, 6


def network() -> tuple[WindowContext, torch.nn.Sequential]:
    torch.manual_seed(0)
    head = torch.nn.Sequential(
        conv(4 * FEATURES, 7, 1, 1), torch.nn.LeakyReLU(), conv(7, 2 * M, 1, 1)
    )
    return WindowContext(SIDE, M, FEATURES), head


def coder() -> ContextCoder:
    context, head = network()
    density = Gaussian(logarithmic=True)
    return ContextCoder(context, list(head), density.exact(density.scale_table()), SIDE)


def case(height: int, width: int, deviation: float = 2.0):
    rng = np.random.default_rng(height * width)
    latents = np.round(rng.normal(0, deviation, (height, width, M))).astype(np.int32)
    return latents, to_grid(torch.from_numpy(rng.normal(size=(height, width, SIDE))))


def position_by_position(
    context: WindowContext, head: torch.nn.Sequential, psi: Tensor, latents: Tensor
) -> Tensor:
    """θ [h·w, .] as the paper has it: for each position two windows of 4 x 4, of which that of the
    latents is masked, and a small network on both; ψ [P, h, w], latents [M, h, w]."""
    mask = torch.ones(4, 4)
    mask[3, 2:] = 0
    pad = (2, 1, 3, 0)
    padded = functional.pad(psi, pad), functional.pad(latents, pad)
    weight, bias = context.convolution.weight, context.convolution.bias
    first, out = head[0], []
    assert isinstance(first, torch.nn.Conv2d)
    for y in range(psi.shape[1]):
        for x in range(psi.shape[2]):
            side, past = (p[:, y : y + 4, x : x + 4] for p in padded)
            windows = torch.cat([side, past * mask])[None]
            features = functional.leaky_relu(functional.conv2d(windows, weight, bias))
            second = first.weight.view(-1, FEATURES, 2, 2)
            hidden = functional.leaky_relu(functional.conv2d(features, second, first.bias))
            out.append(head[2](hidden).flatten())
    return torch.stack(out)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (7, 9)])
def test_windows_are_those_of_the_paper(size: tuple[int, int]) -> None:
    context, head = network()
    latents, psi = case(*size)
    y, side = torch.from_numpy(latents).float().permute(2, 0, 1), from_grid(psi).permute(2, 0, 1)
    with torch.no_grad():
        plain = position_by_position(context, head, side, y)
        at_once = head(context(side[None], y[None]))[0].flatten(1).T
    assert at_once == pytest.approx(plain, abs=1e-5)
    thetas = list(coder().thetas(latents, psi))
    assert sorted(np.concatenate([front for front, _ in thetas])) == list(range(len(plain)))
    for front, theta in thetas:
        assert theta / 4096 == pytest.approx(plain[front].numpy(), abs=0.01)


@pytest.mark.parametrize("deviation", [2.0, 300.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 1), (40, 33)])
def test_round_trip(size: tuple[int, int], deviation: float) -> None:
    latents, psi = case(*size, deviation)
    encoder = SymbolEncoder()
    coder().encode(encoder, latents, psi)
    decoded = coder().decode(SymbolDecoder(encoder.get_bytes()), psi)
    assert np.array_equal(decoded, latents)


def test_a_window_that_reaches_less_to_the_right_takes_fewer_fronts() -> None:
    """One column to the right: x + 2y; all that a window holds comes in earlier fronts."""
    height, width = 7, 9
    order = np.full((height, width), -1)
    for t, front in enumerate(wavefronts(height, width, None, right=1)):
        order.reshape(-1)[front] = t
    assert order.min() == 0
    assert order.max() + 1 == width + 2 * (height - 1)
    for y in range(height):
        for x in range(width):
            above = order[max(0, y - 3) : y, max(0, x - 2) : x + 2]
            left = order[y, max(0, x - 2) : x]
            assert all(t < order[y, x] for t in [*above.flat, *left])


def test_windows_take_no_offset() -> None:
    latents, psi = case(3, 3)
    with pytest.raises(ValueError, match="no features"):
        list(coder().thetas(latents, psi, None, psi))


def test_the_prior_is_a_gaussian_of_learned_scale() -> None:
    prior = GaussianPrior(3)
    with torch.no_grad():
        prior.scales.copy_(torch.tensor([0.5, -2.0, 7.0]))  # a sign means nothing
    values = np.arange(-60, 61)
    with torch.no_grad():
        mass = prior.mass(torch.from_numpy(values).double().expand(3, 1, -1))[:, 0]
    for row, sigma in zip(mass, (0.5, 2.0, 7.0), strict=True):
        normal = stats.norm(scale=sigma)
        assert row == pytest.approx(normal.cdf(values + 0.5) - normal.cdf(values - 0.5), abs=1e-6)
    assert prior.medians.abs().max() == 0
    logit = np.log(0.9 / 0.1)
    assert prior.quantile(logit) == pytest.approx(stats.norm.ppf(0.9) * np.array([0.5, 2, 7]))
    symbols = np.random.default_rng(0).normal(0, 3, (3, 50)).round().astype(np.int32)
    ready, encoder = FactorisedCoder(FactorisedCoder.export(prior)), SymbolEncoder()
    ready.encode(encoder, symbols)
    assert np.array_equal(ready.decode(SymbolDecoder(encoder.get_bytes()), 50), symbols)


def test_scales_may_be_told_by_their_logarithms() -> None:
    """The integer tables choose the level nearest to exp(θ)."""
    density = Gaussian(logarithmic=True)
    table = density.scale_table()
    levels = (64 << 12) / table.inverse
    raw = np.arange(-12_000, 22_000, 97)
    first, lookup = table.lookup()
    chosen = levels[lookup[np.clip(raw - first, 0, len(lookup) - 1)]]
    wanted = np.exp(raw / 4096).clip(0.11, 128)
    assert np.abs(np.log(chosen / wanted)).max() <= np.log(levels[1] / levels[0]) / 2 + 0.01
    values, theta = torch.zeros(1, 1, 1, 1), torch.tensor([np.log(3.0), 0.5]).view(1, 2, 1, 1)
    likelihood = float(density.likelihood(values, theta.float()))
    normal = stats.norm(0.5, 3.0)
    assert likelihood == pytest.approx(normal.cdf(0.5) - normal.cdf(-0.5), rel=1e-4)
    assert isinstance(density.exact(table), GaussianDensity)


def test_lee2019_is_made_of_both_contexts() -> None:
    """Side information of a window and latents before a position change its parameters; latents
    behind it do not."""
    network = toy_network("lee2019")
    assert isinstance(network, Lee2019)
    model = network.latent_model()
    torch.manual_seed(0)
    psi, y = torch.randn(1, 12, 8, 8), torch.randn(1, 12, 8, 8).round()
    y.requires_grad_(True), psi.requires_grad_(True)
    model.theta(psi, y)[0, :, 4, 4].sum().backward()
    side, past = (torch.as_tensor(x.grad).abs().sum((0, 1)) > 0 for x in (psi, y))
    window = torch.zeros(8, 8, dtype=torch.bool)
    window[1:5, 2:6] = True
    assert torch.equal(side, window)
    window[4, 4:] = False
    assert torch.equal(past, window)
    assert isinstance(model.prior, GaussianPrior)
