"""Minnen 2018: against CompressAI, and as a codec."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from torch import Tensor

from codecs.learned.bands import in_bands
from codecs.learned.coders.likelihood import gaussian_likelihood
from codecs.learned.network import kmac_per_pixel
from codecs.minnen import Minnen
from tests import make_compressai_reference as compressai_reference
from tests.learned_toys import smooth_noise, toy_network


def check_against_compressai(network: Minnen, x: Tensor, expected: dict[str, Tensor]) -> None:
    network.eval()
    with torch.no_grad():
        y_hat = torch.round(network.g_a(x))
        z_hat = network.prior.round(network.h_a(network.g_a(x)))
        scales, means = network.latent_model().theta(network.h_s(z_hat), y_hat).chunk(2, 1)
        out = network(x)
        mine = {
            "y_hat": y_hat,
            "z_hat": z_hat,
            "scales": scales,
            "means": means,
            "y_likelihood": gaussian_likelihood(y_hat, means, scales),
            "z_likelihood": network.prior.likelihood(z_hat),
            "x_hat": out.x_hat,
        }
    assert expected["y_hat"].std() > 0.3
    for name, value in expected.items():
        assert mine[name].shape == value.shape
        scale = max(1.0, value.abs().max().item())
        assert (mine[name] - value).abs().max().item() <= 1e-5 * scale, name
    for name in ("y", "z"):
        total = -torch.log2(expected[f"{name}_likelihood"]).sum().item()
        assert out.bits[name].sum().item() == pytest.approx(total, rel=1e-4)


def test_equals_compressai_as_recorded() -> None:
    stored = safetensors.torch.load_file(compressai_reference.REFERENCE)
    network = Minnen(4, 6)
    parts = {
        prefix: {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        for prefix in ("weights.", "outputs.")
    }
    network.load_state_dict(parts["weights."])
    check_against_compressai(network, stored["x"], parts["outputs."])


def test_equals_compressai_itself() -> None:
    pytest.importorskip("compressai", reason="CompressAI is not installed")
    theirs = compressai_reference.random_model(12, 18, seed=5)
    network = Minnen(12, 18)
    network.load_state_dict(compressai_reference.converted(theirs.state_dict()))
    x = torch.rand(2, 3, 128, 64)
    check_against_compressai(network, x, compressai_reference.outputs(theirs, x))


def test_bands_equal_one_call() -> None:
    network = toy_network("minnen")
    assert isinstance(network, Minnen)
    x = smooth_noise(1, 512)
    with torch.no_grad():
        y = network.g_a(x)
        banded = in_bands(network.g_a, x, 16, 1, halo=2, area=100)
        assert (banded - y).abs().max() < 1e-4
        out = network.g_s(y)
        banded = in_bands(network.g_s, y, 1, 16, halo=2, area=100)
        assert (banded - out).abs().max() < 1e-4
        narrow = in_bands(network.g_s, y, 1, 16, halo=1, area=100)
    assert (narrow - out).abs().max() > 1e-4


def test_operations_are_counted_as_by_hand() -> None:
    """k²·inputs·outputs at each position of a convolution, of a transposed one at each input."""
    n = 48
    transforms = 2 * 25 * 3 * n / 4 + 25 * n * n * (2 / 16 + 2 / 64 + 2 / 256)
    normalisations = 2 * n * n * (1 / 4 + 1 / 16 + 1 / 64)
    hyper_analysis = n * n * (9 / 256 + 25 / 1024 + 25 / 4096)
    hyper_synthesis = n * n * (25 / 4096 + 25 * 1.5 / 1024 + 9 * 1.5 * 2 / 256)
    head = (25 * n * 2 * n + 4 * n * 160 + 160 * 128 + 128 * 2 * n) / 256
    by_hand = transforms + normalisations + hyper_analysis + hyper_synthesis + head
    assert kmac_per_pixel(Minnen(N=n, M=n)) == pytest.approx(by_hand / 1e3, abs=0.06)
