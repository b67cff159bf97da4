"""Exact arithmetic against PyTorch's float64 layers, and its promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from codecs.learned.coders.context import ContextCoder
from codecs.learned.coders.density import GaussianDensity
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact import chain as exact
from codecs.learned.exact.arithmetic import (
    ACTIVATION_LIMIT,
    ExactConv,
    ExactIGDN,
    ExactLinear,
    ExactSubpixelConv,
    ExactUpConv,
    InexactError,
    from_grid,
    requantise,
    to_grid,
)
from codecs.learned.exact.chain import ExactChain, exact_layer
from codecs.learned.layers import (
    GDN,
    MaskedConv2d,
    StridedConv1x1,
    conv,
    deconv,
    subpixel_conv,
)

# Activations are rounded to 2^-12, weights to 2^-16.
TOLERANCE = 2e-3


def picture(*shape: int, seed: int = 0) -> Tensor:
    return to_grid(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2)


def reference(module: nn.Module, x: Tensor) -> Tensor:
    """The float64 module on real values [H, W, C]."""
    with torch.no_grad():
        out: Tensor = module.double()((x * 2.0**-12).permute(2, 0, 1)[None])
    return out[0].permute(1, 2, 0)


@pytest.mark.parametrize(
    "module",
    [
        conv(6, 5, 1, 1),
        conv(6, 5, 3, 1),
        conv(6, 5, 5, 1),
        nn.Conv2d(6, 5, 3, padding=1, bias=False),
        deconv(6, 5),
        subpixel_conv(6, 5),
        subpixel_conv(6, 5, 2, kernel=5),
        subpixel_conv(6, 5, 1, kernel=5),
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (6, 9)])
def test_layer_is_the_float_layer(module: nn.Module, size: tuple[int, int]) -> None:
    x = picture(*size, 6)
    layer = exact_layer(module, "a layer")
    expected = reference(module, x)
    assert (from_grid(layer(x)) - expected).abs().max() < TOLERANCE


def test_linear_and_its_parts() -> None:
    convolution = nn.Conv2d(7, 4, 1)
    layer = ExactLinear.from_conv(convolution)
    x = picture(3, 5, 7).view(15, 7)
    expected = reference(convolution, x.view(3, 5, 7)).reshape(15, 4)
    assert (from_grid(layer(x)) - expected).abs().max() < TOLERANCE
    left, right = layer.split(3, 4)
    total = left.accumulate(x[:, :3]) + right.accumulate(x[:, 3:])
    assert torch.equal(total, layer.accumulate(x))


def test_igdn_is_the_float_igdn() -> None:
    igdn = GDN(6, inverse=True)
    with torch.no_grad():
        igdn.gamma.add_(torch.rand(6, 6) * 0.3)
        igdn.beta.mul_(1 + torch.rand(6))
    beta, gamma = igdn.effective()
    x = picture(4, 5, 6)
    error = (from_grid(ExactIGDN(beta, gamma)(x)) - reference(igdn, x)).abs().max()
    assert error < TOLERANCE


def test_any_order_of_summation_gives_the_same_sums() -> None:
    """Shuffled inputs, other batch shapes, one thread or two: equal to the bit."""
    torch.manual_seed(3)
    weight, bias = torch.randn(64, 500), torch.randn(64)
    x = picture(97, 500)
    whole = ExactLinear(weight, bias).accumulate(x)
    order = torch.randperm(500)
    assert torch.equal(ExactLinear(weight[:, order], bias).accumulate(x[:, order]), whole)
    layer = ExactLinear(weight, bias)
    assert torch.equal(torch.cat([layer.accumulate(row) for row in x.split(3)]), whole)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(layer.accumulate(x), whole)
    finally:
        torch.set_num_threads(threads)
    # Against Python's integers: nothing was rounded anywhere.
    w, b = layer.matrix.weight.to(torch.int64), layer.bias.to(torch.int64)
    sums = [sum(int(a) * int(c) for a, c in zip(x[0], row, strict=True)) for row in w[:4]]
    assert [s + int(c) for s, c in zip(sums, b[:4], strict=True)] == whole[0, :4].tolist()


def test_float32_would_not_have() -> None:
    """The reason for all this: the same sums in float32 do depend on their order."""
    torch.manual_seed(3)
    weight, x = torch.randn(64, 500), torch.randn(97, 500)
    order = torch.randperm(500)
    assert not torch.equal(x @ weight.t(), x[:, order] @ weight[:, order].t())


def test_sums_at_the_bound_are_exact() -> None:
    """The largest weights that are accepted, under the largest activations."""
    weight = torch.full((1, 4), 2.0**52 / (4 * ACTIVATION_LIMIT) / 2**16 * 0.99)
    layer = ExactLinear(weight, None)
    x = torch.full((1, 4), float(ACTIVATION_LIMIT), dtype=torch.float64)
    w = int(layer.matrix.weight.flatten()[0])
    assert int(layer.accumulate(x)) == 4 * w * ACTIVATION_LIMIT
    with pytest.raises(InexactError, match="too large"):
        ExactLinear(weight * 1.03, None)


@pytest.mark.parametrize("value", [1e5, float("inf"), float("nan")])
def test_weights_that_cannot_be_exact_are_refused(value: float) -> None:
    convolution = conv(3, 4, 3, 1)
    with torch.no_grad():
        convolution.weight[0, 0, 0, 0] = value
    with pytest.raises(InexactError):
        ExactConv.from_conv(convolution)
    with pytest.raises((InexactError, ValueError)):
        ExactIGDN(torch.ones(2), torch.full((2, 2), value))


def test_requantise_rounds_half_up_and_clamps() -> None:
    acc = torch.tensor([0.5, -0.5, 1.5, -1.5, 0.49999, 2.0**40, -(2.0**40)], dtype=torch.float64)
    expected = [1, 0, 2, -1, 0, ACTIVATION_LIMIT, -ACTIVATION_LIMIT]
    assert requantise(acc * 2**16).tolist() == expected


@pytest.mark.parametrize(
    "module",
    [
        conv(3, 4, 3, 2),
        conv(3, 4, 4, 1),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(3, 4, 3, 2),
        MaskedConv2d(3, 4, 3),
        StridedConv1x1(3, 4, 2),
        nn.ReLU(),
    ],
    ids=str,
)
def test_layers_without_an_exact_form_are_refused(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"exact|kernel|transposed"):
        exact_layer(module, "a layer")


@pytest.mark.parametrize(
    "activation",
    [nn.Identity(), nn.LeakyReLU(), nn.ReLU(), GDN(3, inverse=True)],
    ids=["none", "leaky", "relu", "igdn"],
)
def test_a_chain_has_the_activations_of_its_modules(activation: nn.Module) -> None:
    layers = [deconv(4, 3), activation, subpixel_conv(3, 3), activation, conv(3, 3, 3, 1)]
    modules = [*layers, activation]
    x = picture(3, 2, 4)
    out = ExactChain([m for m in modules if not isinstance(m, nn.Identity)], "a network")(x)
    assert (from_grid(out) - reference(nn.Sequential(*modules), x)).abs().max() < 2 * TOLERANCE


@pytest.mark.parametrize(
    "activation",
    [nn.LeakyReLU(0.2), nn.ELU(), nn.ReLU6(), GDN(3), nn.Sigmoid(), nn.Dropout()],
    ids=str,
)
def test_activations_without_an_exact_form_are_refused(activation: nn.Module) -> None:
    """They were coded as leaky ReLUs of slope 0.01 once, without a word."""
    with pytest.raises(ValueError, match="the hyper-decoder: no exact"):
        ExactChain([conv(3, 3, 3, 1), activation], "the hyper-decoder")
    context = MaskedConv2d(2, 3)
    head = [conv(6, 3, 1, 1), activation, conv(3, 4, 1, 1)]
    with pytest.raises(ValueError, match="no exact"):
        ContextCoder(context, head, GaussianDensity(ScaleTable.build(0.11)), 3)


def test_activations_stand_behind_layers() -> None:
    for modules in ([nn.ReLU()], [conv(3, 3, 3, 1), nn.ReLU(), nn.ReLU()], []):
        with pytest.raises(ValueError, match=r"a network: (ReLU does not follow|no layers)"):
            ExactChain(modules, "a network")


@pytest.mark.parametrize("size", [(1, 3), (40, 5), (33, 40)])
def test_tiles_change_no_bit(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [deconv(4, 3), subpixel_conv(3, 3), conv(3, 2, 3, 1)]
    chain = ExactChain(modules, "a network")
    x = picture(*size, 4)
    monkeypatch.setattr(exact, "_TILE", 64)
    whole = chain(x)
    monkeypatch.setattr(exact, "_TILE", 3)
    assert torch.equal(chain(x), whole)


def test_wrong_kinds_name_themselves() -> None:
    with pytest.raises(ValueError, match="1x1"):
        ExactLinear.from_conv(conv(3, 4, 3, 1))
    with pytest.raises(ValueError, match="transposed"):
        ExactUpConv(nn.ConvTranspose2d(3, 4, 4, 2, 1))
    with pytest.raises(ValueError, match="sub-pixel"):
        ExactSubpixelConv(conv(3, 4, 3, 2), 2)
