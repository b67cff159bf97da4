"""Orthogonal updates for convolution kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codecs.learned.training.muon import RMS, Muon, cut, is_kernel, orthogonalise


@pytest.mark.parametrize("shape", [(48, 432), (432, 48), (24, 24)])
def test_keeps_singular_vectors_and_levels_singular_values(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    # Square random matrices have singular values near 0, which five iterations do not reach.
    matrices = torch.randn(3, *shape, generator=generator) + torch.eye(*shape) * shape[0]
    result = orthogonalise(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ result @ vh.mT
    values = inner.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (inner - torch.diag_embed(values)).abs().max() < 1e-3


def test_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 8, 16)), torch.zeros(1, 8, 16))


def test_faint_momentum_is_no_special_case() -> None:
    matrix = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(orthogonalise(1e-25 * matrix), orthogonalise(matrix), atol=1e-4)


def test_a_kernel_that_a_batch_does_not_concern_stays() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 1, bias=False)
    optimiser = Muon(layer.parameters(), lr=0.05)
    for gradient, moves in ((1.0, True), (0.0, False), (1e-6, False), (1.0, True)):
        before = layer.weight.detach().clone()
        layer.weight.grad = gradient * torch.randn_like(layer.weight)
        optimiser.step()
        change = (layer.weight.detach() - before).norm() / before.norm()
        assert (change > 1e-2) if moves else (change < 1e-5)


@pytest.mark.parametrize(("outputs", "expected"), [(48, (1, 48)), (192, (3, 64)), (213, (4, 54))])
def test_large_kernels_are_cut_into_equal_parts(outputs: int, expected: tuple[int, int]) -> None:
    kernel = torch.randn(outputs, 5, 3, 3)
    parts = cut(kernel)
    assert parts.shape == (*expected, 45)
    assert torch.equal(parts.flatten(0, 1)[:outputs], kernel.flatten(1))
    assert not parts.flatten(0, 1)[outputs:].any()
    padded = orthogonalise(parts)[-1]
    rows = outputs - (expected[0] - 1) * expected[1]
    assert torch.allclose(padded[:rows], orthogonalise(parts[-1:, :rows])[0], atol=1e-4)


def test_update_is_of_adams_size() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(16, 32, 3)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(layer.weight)
    kernels = [p for p in layer.parameters() if is_kernel(p)]
    assert len(kernels) == 1
    Muon(kernels, lr=1e-2).step()
    rms = (layer.weight.detach() - before).pow(2).mean().sqrt() / 1e-2
    assert 0.7 * RMS < rms < 1.2 * RMS


def test_learns_a_linear_map() -> None:
    torch.manual_seed(0)
    wanted, layer = nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
    optimiser = Muon(layer.parameters(), lr=0.05)
    errors = []
    for _ in range(60):
        x = torch.randn(16, 8, 4, 4)
        loss = (layer(x) - wanted(x).detach()).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert errors[-1] < 0.05 * errors[0]
