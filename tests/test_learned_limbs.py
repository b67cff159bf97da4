"""Products by 8-bit limbs against Python's integers and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from codecs.learned.coders.context import ContextCoder
from codecs.learned.coders.density import GaussianDensity
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact import limbs
from codecs.learned.exact.arithmetic import ACTIVATION_LIMIT, ExactConv, ExactUpConv
from codecs.learned.exact.limbs import IntegerMatrix, fast_int8, joined, limb_count, split
from codecs.learned.layers import MaskedConv2d, conv, deconv

needs_int8 = pytest.mark.skipif(not fast_int8(), reason="no fast 8-bit arithmetic here")


def integers(*shape: int, largest: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-largest, largest + 1, shape, generator=generator).double()


def without_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limbs, "fast_int8", lambda: False)


def everything_in_limbs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limbs, "_LEAST_WEIGHTS", 1)


@pytest.mark.parametrize(
    ("largest", "count"), [(0, 1), (127, 1), (128, 2), (32639, 2), (32640, 3), (1 << 24, 4)]
)
def test_limbs_are_base_256(largest: int, count: int) -> None:
    x = torch.tensor([largest, -largest, 0, largest // 2]).double()
    assert limb_count(x) == limb_count(x.to(torch.int32)) == count
    digits = split(x, count)
    for i, value in enumerate(x.tolist()):
        assert sum(int(d) * 256**j for j, d in enumerate(digits[:, i])) == value
    assert torch.equal(joined(digits), x)
    assert torch.equal(joined(split(x, count + 1)), x)


def test_nothing_has_one_limb() -> None:
    assert limb_count(torch.zeros(0, 3)) == 1


@needs_int8
@pytest.mark.parametrize("inputs", [33, 256, 2304])
@pytest.mark.parametrize("largest", [100, 30_000, 3_000_000, ACTIVATION_LIMIT])
@pytest.mark.parametrize("weights", ["small", "large", "few large"])
@pytest.mark.parametrize("rows", [1, 7, limbs._ROWS + 1])
def test_products_are_those_of_float64(
    inputs: int, largest: int, weights: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything_in_limbs(monkeypatch)
    w = integers(40, inputs, largest=100 if weights == "small" else 30_000)
    if weights == "few large":
        w[3, 5], w[7, 11] = 50_000, -(1 << 22)
    x = integers(rows, inputs, largest=largest, seed=1)
    x[0], w[0] = largest, w.max()
    matrix = IntegerMatrix(w)
    assert matrix.most_limbs > 0
    product = matrix.times(x)
    assert product.dtype == torch.float64
    assert torch.equal(product, x @ w.t())
    exact = sum(int(a) * int(b) for a, b in zip(x[0].tolist(), w[0].tolist(), strict=True))
    assert int(product[0, 0]) == exact


def test_without_the_instructions_float64_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    without_int8(monkeypatch)
    w, x = integers(300, 300, largest=30_000), integers(5, 300, largest=100, seed=1)
    matrix = IntegerMatrix(w)
    assert matrix.most_limbs == 0
    assert torch.equal(matrix.times(x), x @ w.t())
    assert torch.equal(matrix.times_limbs(split(x, 2)), x @ w.t())


def test_saturating_arithmetic_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors without VNNI: sums of two products stop at 2^15 - 1."""

    def saturating(a: Tensor, b: Tensor) -> Tensor:
        pairs = a.int()[:, ::2, None] * b.int()[::2] + a.int()[:, 1::2, None] * b.int()[1::2]
        return pairs.clamp(-(1 << 15), (1 << 15) - 1).sum(1, dtype=torch.int32)

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(limbs, "_int8_product", saturating)
    assert not fast_int8.__wrapped__()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not fast_int8.__wrapped__()


@needs_int8
@pytest.mark.parametrize("largest", [50, 20_000, ACTIVATION_LIMIT])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_do_not_depend_on_the_arithmetic(
    largest: int, transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = deconv(20, 30) if transposed else conv(20, 30, 3, 1)
    x = integers(31, 33, 20, largest=largest)
    results = []
    for prepare in (everything_in_limbs, without_int8):
        prepare(monkeypatch)
        if isinstance(module, torch.nn.ConvTranspose2d):
            results.append(ExactUpConv(module)(x))
        else:
            layer = ExactConv.from_conv(module)
            assert (layer.matrix.most_limbs > 0) == (prepare is everything_in_limbs)
            results.append(layer.accumulate(x))
    assert torch.equal(*results)


@needs_int8
@pytest.mark.parametrize("largest", [3, 300, 4096])
def test_streams_do_not_depend_on_the_arithmetic(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoded with 8-bit products and decoded with float64 ones, and the other way round."""
    channels, side = 10, 12
    torch.manual_seed(0)
    context = MaskedConv2d(channels, 2 * channels)
    head = [conv(side + 2 * channels, 24, 1, 1), conv(24, 2 * channels, 1, 1)]
    latents = integers(17, 21, channels, largest=largest).numpy().astype(np.int32)
    psi = integers(17, 21, side, largest=9000)

    def coder() -> ContextCoder:
        return ContextCoder(context, head, GaussianDensity(ScaleTable.build(0.11)), side)

    everything_in_limbs(monkeypatch)
    fast = coder()
    without_int8(monkeypatch)
    plain = coder()
    for sender, receiver in ((fast, plain), (plain, fast)):
        encoder = SymbolEncoder()
        sender.encode(encoder, latents, psi)
        decoded = receiver.decode(SymbolDecoder(encoder.get_bytes()), psi)
        assert np.array_equal(decoded, latents)
