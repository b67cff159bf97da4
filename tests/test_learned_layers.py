"""Floating-point layers against formulas, PyTorch's own layers, and CompressAI where installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from codecs.learned import rows
from codecs.learned.bands import in_bands
from codecs.learned.layers import (
    GDN,
    Attention,
    ChannelNorm,
    MaskedConv2d,
    ResidualBlock,
    ResidualBlockDown,
    ResidualBlockUp,
    StridedConv1x1,
    conv,
    deconv,
    lower_bound,
    upsampling_phases,
)
from codecs.learned.network import kmac_per_pixel
from codecs.learned.rows import RowStream
from codecs.minnen import Minnen
from tests.learned_toys import smooth_noise, toy_network


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_formula(inverse: bool) -> None:
    torch.manual_seed(0)
    gdn = GDN(3, inverse)
    with torch.no_grad():
        gdn.gamma.add_(torch.rand(3, 3))
        gdn.beta.add_(torch.rand(3))
        x = torch.randn(1, 3, 1, 1)
        y = gdn(x).flatten().tolist()
        beta, gamma = gdn.effective()
    for i in range(3):
        norm = beta[i] + sum(gamma[i, j] * x[0, j, 0, 0] ** 2 for j in range(3))
        factor = norm**0.5 if inverse else norm**-0.5
        assert y[i] == pytest.approx((x[0, i, 0, 0] * factor).item(), rel=1e-5)


def test_channel_norm_formula() -> None:
    torch.manual_seed(0)
    norm, x = ChannelNorm(5), 3 * torch.randn(2, 5, 3, 4) + 1
    with torch.no_grad():
        norm.gamma.uniform_(-2, 2)
        norm.beta.uniform_(-2, 2)
        y = norm(x)
    gamma, beta = norm.gamma.tolist(), norm.beta.tolist()
    for picture, normalised in zip(x.tolist(), y.tolist(), strict=True):
        for at in ((0, 0), (2, 3)):
            values = [plane[at[0]][at[1]] for plane in picture]
            mean = sum(values) / 5
            deviation = (sum((v - mean) ** 2 for v in values) / 5 + 1e-3) ** 0.5
            for i, value in enumerate(values):
                expected = gamma[i] * (value - mean) / deviation + beta[i]
                assert normalised[i][at[0]][at[1]] == pytest.approx(expected, abs=1e-5)


def test_gdn_starts_as_in_the_paper_and_stays_valid() -> None:
    gdn = GDN(4)
    beta, gamma = gdn.effective()
    assert beta.detach().numpy() == pytest.approx(1)
    assert torch.allclose(gamma, 0.1 * torch.eye(4), atol=1e-9)
    with torch.no_grad():
        gdn.beta.fill_(-1)
        gdn.gamma.fill_(-1)
    beta, gamma = gdn.effective()
    assert beta.min() > 0
    assert gamma.min() >= 0


def test_lower_bound_lets_values_return() -> None:
    x = torch.tensor([-1.0, -1.0, 2.0], requires_grad=True)
    y = lower_bound(x, 0.5)
    assert y.tolist() == [0.5, 0.5, 2.0]
    (y * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, -1.0, 1.0]


def test_masked_convolution_is_causal() -> None:
    """The output at the centre depends on the twelve positions before it, and on no other."""
    torch.manual_seed(0)
    conv = MaskedConv2d(2, 3)
    x = torch.randn(1, 2, 5, 5, requires_grad=True)
    conv(x)[0, :, 2, 2].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 0
    expected = [[True] * 5, [True] * 5, [True, True] + [False] * 3, [False] * 5, [False] * 5]
    assert seen.tolist() == expected


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1)])
def test_strided_1x1(size: tuple[int, int]) -> None:
    mine = StridedConv1x1(3, 5, 2)
    theirs = nn.Conv2d(3, 5, 1, stride=2)
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, 3, *size)
    assert torch.allclose(mine(x), theirs(x), atol=1e-6)


@pytest.mark.parametrize(
    ("mine", "name", "arguments"),
    [
        (GDN(6), "GDN", (6,)),
        (GDN(6, inverse=True), "GDN", (6, True)),
        (ResidualBlockDown(4, 6), "ResidualBlockWithStride", (4, 6)),
        (ResidualBlockUp(4, 6), "ResidualBlockUpsample", (4, 6)),
        (ResidualBlock(6), "ResidualBlock", (6, 6)),
        (Attention(6), "AttentionBlock", (6,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_block_is_compressais(mine: nn.Module, name: str, arguments: tuple[int, ...]) -> None:
    layers = pytest.importorskip("compressai.layers", reason="CompressAI is not installed")
    theirs = getattr(layers, name)(*arguments)
    own = mine.state_dict()
    mine.load_state_dict({k: v for k, v in theirs.state_dict().items() if k in own})
    channels = 4 if arguments[:2] == (4, 6) else 6
    x = torch.randn(2, channels, 8, 12)
    with torch.no_grad():
        assert torch.allclose(mine(x), theirs(x), atol=1e-5)


@pytest.mark.parametrize("block", [ResidualBlockDown(4, 6), ResidualBlockUp(6, 4), Attention(6)])
def test_blocks_train_on_channels_last(block: nn.Module) -> None:
    """Forward and backward agree with the default memory format."""
    channels = 4 if isinstance(block, ResidualBlockDown) else 6
    x = torch.randn(2, channels, 16, 16)
    grads = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        block.zero_grad()
        block(x.contiguous(memory_format=memory_format)).square().mean().backward()
        grads.append([p.grad.clone() for p in block.parameters() if p.grad is not None])
    assert len(grads[0]) == len(list(block.parameters()))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("kernel", [3, 5])
def test_phases_are_the_transposed_convolution(kernel: int) -> None:
    layer = deconv(3, 4, kernel)
    x = torch.randn(2, 3, 5, 6)
    with torch.no_grad():
        phases = upsampling_phases(layer.weight).flatten(0, 2)
        assert layer.bias is not None
        sums = functional.conv2d(x, phases, layer.bias.repeat_interleave(4), padding=1)
        assert torch.allclose(functional.pixel_shuffle(sums, 2), layer(x), atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_gdn_without_gradients(inverse: bool, size: tuple[int, int]) -> None:
    """Its kernels differ from those of training, its values do not."""
    gdn = GDN(5, inverse)
    with torch.no_grad():
        gdn.gamma.add_(torch.rand(5, 5))
    x = torch.randn(1, 5, *size).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    expected = gdn(x).detach()
    with torch.no_grad():
        assert torch.allclose(gdn(x), expected, atol=1e-6)
    assert torch.equal(x, before)


@pytest.mark.parametrize("area", [1, 60, 8192])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (48, 80), (37, 21)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_streams_of_rows(
    area: int, size: tuple[int, int], kernel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plain chain's result, whatever the size of the pieces."""
    monkeypatch.setattr(rows, "_AREA", area)
    down = RowStream(conv(3, 6), GDN(6), conv(6, 5), GDN(5), conv(5, 7, 3, 1))
    up = RowStream(deconv(7, 5), GDN(5, inverse=True), deconv(5, 6), nn.LeakyReLU(), deconv(6, 3))
    if kernel == 3:
        down = RowStream(conv(3, 6, 7, 1), ChannelNorm(6), conv(6, 7, 3), nn.ReLU())
        up = RowStream(deconv(7, 5, 3), ChannelNorm(5), deconv(5, 3, 3), conv(3, 3, 7, 1))
    x = torch.randn(1, 3, *size)
    y = down(x)
    with torch.no_grad():
        assert torch.allclose(down(x), y, atol=1e-5)
        assert torch.allclose(up(y), nn.Sequential(*up)(y), atol=1e-5)


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
