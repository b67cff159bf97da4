"""Deeper levels that begin as what level 1 has learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codecs.base import Image
from codecs.learned.layers import GDN
from codecs.rdonet.deepening import principal
from codecs.rdonet.initialisation import begin_linear
from codecs.rdonet.masks import Masks
from codecs.rdonet.network import RDONet

FINE = 7.0
"""The highest quality, at which a latent's steps are small."""


@pytest.fixture
def crops(photo: Image) -> list[Tensor]:
    x = torch.from_numpy(photo[:256, :384].copy()).permute(2, 0, 1).float() / 255
    return list(x.unfold(1, 128, 16).unfold(2, 128, 16).flatten(1, 2).transpose(0, 1).split(8))


@pytest.mark.parametrize("qualities", [0, 8])
def test_deeper_levels_show_what_level_1_shows(crops: list[Tensor], qualities: int) -> None:
    """Where their values are enough for all of its, they lose nothing but by rounding."""
    torch.manual_seed(3)
    lambdas = (1.0, 1e6)
    network = RDONet.sized(8, [16, 16, 16], "gdn", qualities=qualities, lambdas=lambdas).eval()
    finest = network.unit(1)
    with torch.no_grad():  # one value in a block, so that 16 are enough for 64 x 64 pixels
        finest.bottom.weight.zero_()
        finest.bottom.weight[:, :16, 2, 2] = 20 * torch.outer(torch.randn(16), torch.ones(16))
    x = crops[0]
    quality = torch.full((len(x),), FINE) if qualities else None

    def shown(level: int) -> Tensor:
        return network(x, Masks.uniform(level, len(x), 2, 2), quality).x_hat

    with torch.no_grad():
        before = [shown(level) for level in (1, 2, 3)]
        network.deepen(crops)
        after = [shown(level) for level in (1, 2, 3)]
    assert torch.equal(after[0], before[0])
    spread = before[0].var()
    for level in (1, 2):
        lost = (before[level] - before[0]).square().mean() / spread
        left = (after[level] - before[0]).square().mean() / spread
        assert left < 0.02 < 0.3 < lost, (level, left, lost)


def test_principal_directions_are_those_of_a_singular_value_decomposition() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4, 4) * torch.tensor([1.0, 5, 2, 4, 3])[:, None, None]
    found = principal(x, 2)
    wanted = torch.linalg.svd(x.transpose(0, 1).flatten(1), full_matrices=False)[0].T[:2]
    torch.testing.assert_close((found @ wanted.T).abs(), torch.eye(2), atol=1e-4, rtol=0)


def test_a_gdn_begins_as_the_identity_whatever_it_was() -> None:
    torch.manual_seed(0)
    gdn = GDN(4)
    with torch.no_grad():
        gdn.beta.mul_(3)
        gdn.gamma.uniform_()
        begin_linear(gdn)
        x = 100 * torch.randn(1, 4, 8, 8)
        torch.testing.assert_close(gdn(x), x, rtol=1e-2, atol=0)


def test_more_latents_below_than_above_cannot_begin_so(crops: list[Tensor]) -> None:
    network = RDONet.sized(8, [8, 16, 16], "gdn")
    with pytest.raises(ValueError, match=r"8, 16, 16.*at most as many"):
        network.deepen(crops)
