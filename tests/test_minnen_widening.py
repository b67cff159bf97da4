"""A trained Minnen network that is given more latent channels."""

import pytest
import torch

from codecs.learned.coders.likelihood import gaussian_likelihood
from codecs.learned.training import families
from codecs.minnen.network import Minnen
from codecs.minnen.widening import NEW_LATENTS_RMS, widen


@pytest.fixture(scope="module")
def pictures():
    torch.manual_seed(0)
    smooth = torch.rand(6, 3, 20, 20)
    return torch.nn.functional.interpolate(smooth, (128, 128), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def networks(pictures):
    torch.manual_seed(1)
    trained = Minnen(N=8, M=6).eval()
    for parameter in trained.parameters():  # nothing may pass only because it is as it was drawn
        parameter.data.add_(0.02 * torch.randn(parameter.shape))
    network = Minnen(N=8, M=11).eval()
    families.begin_with(network, trained.state_dict(), lambda: pictures)
    return network, trained


@torch.no_grad()
def test_what_was_learned_stays(networks, pictures):
    network, trained = networks
    wide, narrow = network(pictures), trained(pictures)
    assert torch.allclose(wide.x_hat, narrow.x_hat, atol=1e-5)
    assert torch.equal(wide.bits["z"], narrow.bits["z"])
    z = network.prior.round(network.h_a(network.g_a(pictures)))
    y = torch.round(network.g_a(pictures))
    scales, means = network.parameters_of(y, network.h_s(z))
    bits = -torch.log2(gaussian_likelihood(y, means, scales))[:, :6].flatten(1).sum(1)
    assert torch.allclose(bits, narrow.bits["y"], rtol=1e-4)


@torch.no_grad()
def test_new_latents_tell_what_the_old_do_not(networks, pictures):
    network, trained = networks
    y = network.g_a(pictures).transpose(0, 1).flatten(1)
    assert torch.allclose(y[:6], trained.g_a(pictures).transpose(0, 1).flatten(1), atol=1e-5)
    new = y[6:]
    assert float(new.square().mean().sqrt()) == pytest.approx(NEW_LATENTS_RMS, rel=1e-3)
    correlation = torch.corrcoef(y)
    assert float(correlation[6:, :6].abs().max()) < 0.01
    assert float((correlation[6:, 6:] - torch.eye(5)).abs().max()) < 0.01
    assert bool((new.var(1).diff() < 0).all())  # largest first


def test_new_latents_are_read_after_a_step(networks, pictures):
    network, _ = networks
    network.zero_grad()
    network(pictures).x_hat.square().mean().backward()
    gradient = network.g_s[0].weight.grad
    assert bool((gradient[6:].flatten(1).norm(dim=1) > 0).all())


@pytest.mark.parametrize(("n", "m"), [(8, 6), (8, 4), (16, 12)])
def test_other_sizes_are_refused(networks, pictures, n, m):
    _, trained = networks
    with pytest.raises(ValueError, match="cannot grow"):
        widen(Minnen(N=n, M=m), trained, pictures)
