"""Transforms that begin as a Karhunen-Loève transform."""

from __future__ import annotations

import pytest
import torch
from scipy.fft import dct
from torch import Tensor

from codecs import registry
from codecs.base import Image
from codecs.learned.initialisation import inverse_softplus
from codecs.learned.klt import STEP, klt
from codecs.learned.transform import TransformNetwork

BEGUN = {
    **dict.fromkeys(("factorised", "hyperprior", "mean-scale", "minnen", "lee2019"), 26.0),
    **dict.fromkeys(("choi2019", "hu2020", "cheng2020"), 26.0),
    "hific": 24.0,
    **dict.fromkeys(("mentzer2018", "gc2019"), 19.0),  # of 6 or 5 values of each latent
}
"""Decibels."""
LATENTS = {"mentzer2018": 32, "gc2019": 16}


@pytest.fixture(scope="module")
def picture(photo: Image) -> Tensor:
    return torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255


def test_variances_of_one_halving_are_those_of_a_hand_calculation() -> None:
    """Sums and differences of two neighbours have 1 ± ρ, of three colours 1 + 2c, 1 - c, 1 - c."""
    line, colours = [1.95, 0.05], [2.8, 0.1, 0.1]
    expected = sorted((a * b * c for a in line for b in line for c in colours), reverse=True)
    deviations = klt([12]).deviations
    largest = torch.tensor(expected).sqrt() * 0.27 / STEP
    assert torch.allclose(deviations, largest.clamp_min(0.25), atol=1e-4)


def test_halvings_in_a_row_are_orthonormal() -> None:
    for kernel in klt([12, 48, 64, 128]).kernels:
        rows = kernel.flatten(1)
        assert torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-5)


def test_eight_by_eight_pixels_are_told_by_as_few_numbers_as_by_the_cosine_transform() -> None:
    """The KLT of such a process is nearly the DCT, says Jayant and Noll; 64 numbers of 192."""
    line = 0.95 ** (torch.arange(8.0)[:, None] - torch.arange(8.0)).abs()
    matrix = torch.from_numpy(dct(torch.eye(8).numpy(), axis=0, norm="ortho"))
    rows = (matrix @ line @ matrix.T).diagonal()
    colours = torch.tensor([2.8, 0.1, 0.1])
    variances = torch.einsum("i,j,c->ijc", rows, rows, colours).flatten().sort().values.flip(0)
    told = klt([12, 48, 64]).deviations.square().sum() * (STEP / 0.27) ** 2
    assert float(told) == pytest.approx(float(variances[:64].sum()), rel=0.005)


def test_softplus_is_inverted_for_all_scales() -> None:
    x = torch.tensor([1e-3, 0.5, 30.0, 1000.0])
    assert torch.allclose(torch.nn.functional.softplus(inverse_softplus(x)), x)


@pytest.mark.parametrize("qualities", [0, 4])
@pytest.mark.parametrize("name", BEGUN)
@torch.no_grad()
def test_networks_begin_by_coding(name: str, qualities: int, picture: Tensor) -> None:
    """Before any step."""
    torch.manual_seed(0)
    network = registry.network(name)(N=48, M=LATENTS.get(name, 128), qualities=qualities).eval()
    assert isinstance(network, TransformNetwork)
    out = network(picture, quality=torch.tensor([2.0]) if qualities else None)
    psnr = float(-10 * (out.x_hat - picture).square().mean().log10())
    bits = float(out.total_bits()) / picture[0, 0].numel()
    assert psnr > BEGUN[name]
    assert bits < 3
