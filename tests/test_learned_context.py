"""Wavefront context coding: order, causality, encoder = decoder = plain convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from codecs.learned.coders.context import ContextCoder, wavefronts
from codecs.learned.coders.density import GaussianDensity, MixtureDensity
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.arithmetic import from_grid, to_grid
from codecs.learned.layers import MaskedConv2d, conv

SIDE, M = 5, 4
SCALES = ScaleTable.build(0.11)


def layers(parameters: int, phi: int = 2 * M) -> tuple[MaskedConv2d, list[nn.Conv2d]]:
    torch.manual_seed(parameters)
    head = [conv(SIDE + phi, 9, 1, 1), conv(9, 7, 1, 1), conv(7, parameters * M, 1, 1)]
    with torch.no_grad():
        head[-1].weight.mul_(3)
        assert head[-1].bias is not None
        head[-1].bias.copy_(torch.ones(parameters * M))
    return MaskedConv2d(M, phi), head


def coder(kind: str) -> ContextCoder:
    density = GaussianDensity(SCALES) if kind == "gaussian" else MixtureDensity(SCALES)
    context, head = layers(density.parameters)
    chain = [head[0], nn.LeakyReLU(), head[1], nn.LeakyReLU(), head[2]]
    return ContextCoder(context, chain, density, SIDE)


def case(height: int, width: int, share: float | None, seed: int = 0):
    """(latents, ψ, φ offset, mask) of random contents; `share` of the positions is sent."""
    rng = np.random.default_rng(seed)
    mask: NDArray[np.bool_] | None = None
    latents = np.round(rng.normal(0, 2, (height, width, M))).astype(np.int32)
    if share is not None:
        mask = rng.random((height, width)) < share
        latents *= mask[:, :, None]
    psi = to_grid(torch.from_numpy(rng.normal(size=(height, width, SIDE))))
    offset = to_grid(torch.from_numpy(rng.normal(size=(height, width, 2 * M))))
    return latents, psi, offset, mask


def test_fronts_are_independent_and_complete() -> None:
    """No position of a front lies in the causal window of another of the same front, and all that
    is in its window comes in earlier fronts."""
    height, width = 7, 9
    order = np.full((height, width), -1)
    for t, front in enumerate(wavefronts(height, width, None)):
        order.reshape(-1)[front] = t
    assert (order >= 0).all()
    assert order.max() + 1 == width + 3 * (height - 1)
    for y in range(height):
        for x in range(width):
            above = order[max(0, y - 2) : y, max(0, x - 2) : x + 3]
            left = order[y, max(0, x - 2) : x]
            assert all(t < order[y, x] for t in [*above.flat, *left])


def test_masked_positions_are_skipped() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1, 2] = mask[3, 5] = mask[0, 5] = True
    assert [front.tolist() for front in wavefronts(4, 6, mask)] == [[5, 8], [23]]
    assert wavefronts(4, 6, np.zeros((4, 6), bool)) == []


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
@pytest.mark.parametrize("share", [None, 0.6, 0.05, 0.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 1), (11, 14), (40, 33)])
@pytest.mark.parametrize("with_offset", [False, True])
def test_round_trip(
    kind: str, share: float | None, size: tuple[int, int], with_offset: bool
) -> None:
    latents, psi, offset, mask = case(size[0], size[1], share)
    extra = offset if with_offset else None
    one = coder(kind)
    encoder = SymbolEncoder()
    one.encode(encoder, latents, psi, mask, extra)
    payload = encoder.get_bytes()
    decoded = coder(kind).decode(SymbolDecoder(payload), psi, mask, extra)
    assert np.array_equal(decoded, latents)


@pytest.mark.parametrize("kind", ["gaussian", "mixture"])
def test_parameters_are_those_of_the_convolutions(kind: str) -> None:
    """Against the floating-point layers on the whole picture at once."""
    latents, psi, offset, _ = case(9, 8, None)
    one = coder(kind)
    context, head = layers(one.density.parameters)
    with torch.no_grad():
        phi = context(torch.from_numpy(latents).float().permute(2, 0, 1)[None])
        phi += from_grid(offset).permute(2, 0, 1)[None]
        x = torch.cat([from_grid(psi).permute(2, 0, 1)[None], phi], 1)
        chain = nn.Sequential(head[0], nn.LeakyReLU(), head[1], nn.LeakyReLU(), head[2])
        expected = chain(x)[0].permute(1, 2, 0).flatten(0, 1)
    for front, theta in one.thetas(latents, psi, None, offset):
        assert theta / 4096 == pytest.approx(expected[front].numpy(), abs=0.01)


def test_parameters_depend_on_the_past_only() -> None:
    """Changing latents of one front leaves all fronts up to it as they were, to the bit."""
    latents, psi, _, _ = case(10, 12, None)
    one = coder("gaussian")
    before = list(one.thetas(latents, psi))
    t = len(before) // 2
    changed = latents.reshape(-1, M).copy()
    changed[before[t][0]] += 3
    after = list(one.thetas(changed.reshape(latents.shape), psi))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(before[: t + 1], after, strict=False))
    assert not np.array_equal(before[t + 1][1], after[t + 1][1])


@pytest.mark.parametrize("with_offset", [False, True])
def test_without_a_context(with_offset: bool) -> None:
    """Hyperprior only: one wavefront, φ absent or what the mask tells."""
    latents, psi, offset, mask = case(40, 33, 0.7)
    extra = offset if with_offset else None
    _, head = layers(2, 2 * M if with_offset else 0)
    one = ContextCoder(None, head, GaussianDensity(SCALES), SIDE)
    encoder = SymbolEncoder()
    one.encode(encoder, latents, psi, mask, extra)
    decoded = one.decode(SymbolDecoder(encoder.get_bytes()), psi, mask, extra)
    assert np.array_equal(decoded, latents)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_decodes_what_the_cpu_encoded() -> None:
    latents, psi, offset, mask = case(40, 33, 0.8)
    encoder = SymbolEncoder()
    coder("mixture").encode(encoder, latents, psi, mask, offset)
    device = coder("mixture").to("cuda")
    decoded = device.decode(SymbolDecoder(encoder.get_bytes()), psi.cuda(), mask, offset.cuda())
    assert np.array_equal(decoded, latents)
