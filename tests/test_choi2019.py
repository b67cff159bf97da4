"""What makes `choi2019` that codec: convolutions conditional on Λ, universal quantisation with a
shared dither of any step, and so any rate from one network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from codecs.base import Image, Point
from codecs.choi2019 import Choi2019
from codecs.learned import bitstream, weights
from codecs.learned.codec import WEIGHTS, LearnedCodec, load_model
from codecs.learned.coders.dither import (
    Lattice,
    at_positions,
    coordinates,
    dither,
    dithers,
    power,
    values,
)
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.conditional import ConditionalChain, ConditionalConv
from codecs.learned.exact.arithmetic import LATENT_LIMIT
from codecs.learned.layers import GDN, MaskedConv2d, conv, deconv
from codecs.learned.transform import TransformModel
from codecs.selection import Selection
from codecs.target import select
from tests.learned_contract import decoded_elsewhere, padded, told
from tests.learned_toys import smooth_noise, toy_network
from tests.rdonet_toys import as_tensor, crop

POINTS = 4


def spread(noise: float = 0.02) -> Choi2019:
    """A network for many Λ, of the toy's weights: levels differ in the scale of the latent, and
    with `noise` in every layer."""
    config = {**toy_network("choi2019").config, "qualities": POINTS, "lambdas": (1000.0, 13000.0)}
    network = Choi2019(**config)
    network.begin_with(toy_network("choi2019").state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith((".u", ".v")):
                parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return network.eval().requires_grad_(False)


def trained(steps: int = 100) -> Choi2019:
    """The network of `spread`, after a short training at all Λ."""
    torch.manual_seed(0)
    network = spread(noise=0).requires_grad_(True).train()
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        x = torch.cat([as_tensor(crop(128, 128, 4 * step + i)) for i in range(2)])
        quality = torch.rand(2) * (POINTS - 1)
        out = network(x, quality=quality)
        lambdas = network.lambda_of(quality)
        rate = out.total_bits() / x[0, 0].numel()
        distortion = (out.x_hat - x).square().mean((1, 2, 3))
        optimiser.zero_grad()
        ((rate + lambdas * distortion) / lambdas.sqrt()).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    network.set_medians()
    return network.eval().requires_grad_(False)


def store(network: Choi2019, folder: Path) -> Path:
    points = [{"parameter": "quality", "value": value} for value in range(POINTS)]
    path = folder / "choi2019" / "all.safetensors"
    weights.export(network, path, {"points": points})
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return store(spread(), tmp_path)


def test_a_conditional_convolution_is_the_equation_of_the_paper() -> None:
    """softplus(u) ⊙ conv(x) + v, of the Λ of each sample, for each kind of convolution."""
    torch.manual_seed(0)
    x, level = torch.randn(2, 4, 8, 10), torch.tensor([2, 0])
    for plain in (conv(4, 6), conv(4, 6, 1, 1), deconv(4, 6), MaskedConv2d(4, 6)):
        assert plain.bias is not None
        raw = plain(x) - plain.bias[:, None, None]
        unchanged = plain(x)
        layer = ConditionalConv(plain, 3)
        assert torch.allclose(layer(x, level), unchanged, atol=1e-5)
        with torch.no_grad():
            layer.u.normal_()
            layer.v.normal_()
        found = layer(x, level)
        for sample in range(2):
            u, v = layer.u[level[sample]], layer.v[level[sample]]
            scale = torch.log1p(torch.exp(u))[:, None, None]
            expected = scale * raw[sample] + v[:, None, None]
            assert torch.allclose(found[sample], expected, atol=1e-4)


@torch.no_grad()
def test_a_chain_at_one_level_is_a_chain_of_plain_layers() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(conv(3, 6), GDN(6), conv(6, 8), torch.nn.ReLU(), deconv(8, 4))
    chain = ConditionalChain(layers, 3)
    for part in chain:
        if isinstance(part, ConditionalConv):
            part.u.normal_()
            part.v.normal_()
    x, level = torch.randn(1, 3, 32, 24), torch.tensor([2])
    with torch.enable_grad():
        expected = chain(x, level)
    assert torch.allclose(chain(x, level), expected, atol=1e-5)
    # With the integers of a weights file the kernels are products without an error.
    first, folded = chain[0], [*chain.folded(2, chain.tables())]
    assert isinstance(first, ConditionalConv)
    assert isinstance(folded[0], torch.nn.Conv2d)
    table = first.table()[2].tolist()
    for channel in range(6):
        numerator, denominator = float(first.conv.weight[channel, 1, 2, 3]).as_integer_ratio()
        exact = numerator * table[channel] / (denominator << 16)
        assert float(folded[0].weight[channel, 1, 2, 3]) == exact


@pytest.mark.parametrize("damage", [lambda t: t[:1], lambda t: t * 0, lambda t: t + (1 << 25)])
def test_scales_that_no_export_writes_are_refused(damage) -> None:
    layer = ConditionalConv(conv(2, 3), 2)
    with pytest.raises(ValueError, match="malformed"):
        layer.scales(damage(layer.table()))


def test_the_dither_is_uniform_and_of_its_place() -> None:
    # The generator's first numbers from seed 0, as published; u is made of the highest six bits.
    first = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)
    assert dither(np.arange(4)).tolist() == [(number >> 58) - 32 for number in first]
    u = dithers(16, 40, 50)
    assert u.shape == (16, 40, 50)
    counts = np.bincount((u.numpy() * 64).astype(int).ravel() + 32, minlength=64)
    assert stats.chisquare(counts).pvalue > 0.01
    for axis in range(3):
        x = u.numpy()
        shifted = np.roll(x, 1, axis)
        assert abs(np.corrcoef(x.ravel(), shifted.ravel())[0, 1]) < 0.02
    some = at_positions(np.array([7 * 50 + 3, 39 * 50]), 50, 16)
    assert np.array_equal(some[0] / 64, u[:, 7, 3])
    assert np.array_equal(some[1] / 64, u[:, 39, 0])


def test_powers_of_two_are_rounded_down() -> None:
    for units in (-256, -255, -128, -1, 0, 1, 77, 128, 256):
        assert power(units) == int(2**16 * 2 ** (units / 256))


def test_quantising_adds_uniform_noise_of_the_steps_width_whatever_is_quantised() -> None:
    """Ziv's theorem: the error does not depend on the value, a constant included."""
    torch.manual_seed(0)
    normal = torch.randn(1, 8, 40, 50)
    for y in (torch.full_like(normal, 0.3), normal):
        for step in (0.7, 1.0, 1.9):
            k = torch.round(coordinates(y, step))
            error = ((values(k, step) - y) / step).flatten().numpy()
            assert np.abs(error).max() <= 0.5 + 1e-5
            assert stats.kstest(error, stats.uniform(-0.5, 1).cdf).statistic < 0.02
            assert abs(np.mean(error * normal.flatten().numpy())) < 0.01


def test_the_lattice_in_integers_is_that_in_floats() -> None:
    rng = np.random.default_rng(0)
    k = rng.integers(-60, 61, (12, 5)).astype(np.int32)
    positions = np.arange(12)
    theta = np.concatenate([rng.uniform(0.2, 9, (12, 5)), rng.normal(0, 4, (12, 5))], 1)
    for exponent in (-256, -77, 0, 128, 255):
        step, lattice = 2 ** (exponent / 256), Lattice(exponent)
        w = torch.from_numpy(k.T.reshape(1, 5, 3, 4)).float()
        expected = values(w, step)[0].flatten(1).T.numpy()
        found = lattice.points(k, positions, 4) / 64
        assert found == pytest.approx(expected, abs=0.5 / 64 + 0.002)
        u = dithers(5, 3, 4).flatten(1).T.numpy()
        of_k = theta / step
        of_k[:, 5:] += u
        exact = lattice.theta(np.round(theta * 4096), positions, 4) / 4096
        assert exact == pytest.approx(of_k, abs=1e-3)
    far = np.full((1, 5), LATENT_LIMIT, np.int32)
    assert Lattice(256).points(far, positions[:1], 4).max() == LATENT_LIMIT * 64


@torch.no_grad()
def test_a_symbols_rate_is_the_mass_of_its_bin() -> None:
    """-log2 P(ŷ - Δ/2 < Y < ŷ + Δ/2), Y of the mean and scale that the network gives of ŷ."""
    network = spread()
    x = padded(crop(64, 128), 64)
    quality = torch.tensor([1.7])
    level, step = torch.tensor([2]), 4**0.3
    setting = network.setting(quality)
    assert (int(setting.level), float(setting.step)) == (2, pytest.approx(step))
    w = network.analyse(x, quality)
    y = network.g_a(x, level=level)
    _, found = network.latents_at(quality).quantise(w, Rounding.EXACT)
    y_hat = step * (torch.round(y / step + dithers(*y.shape[1:])) - dithers(*y.shape[1:]))
    z = network.prior.round(network.h_a(y, level=level))
    features = [network.h_s(z, level=level), network.context(y_hat, level=level)]
    scales, means = network.head(torch.cat(features, 1), level=level).double().chunk(2, 1)
    scales = (scales / step).clamp(min=0.04) * step
    edges = [stats.norm.cdf(y_hat + s * step / 2, means, scales) for s in (-1, 1)]
    expected = -np.log2((edges[1] - edges[0]).clip(1e-9)).sum()
    assert found["y"].item() == pytest.approx(expected, rel=1e-3)


def test_latents_that_never_vary_cost_little() -> None:
    """In streams too, for the dither is there as well."""
    w = torch.rand(1, 3, 200, 200) - 0.5
    theta = torch.cat([torch.full((1, 3, 200, 200), -20.0), torch.zeros(1, 3, 200, 200)], 1)
    bits = -torch.log2(Choi2019(4, 3).latent_model().density.likelihood(w, theta))
    assert 0.02 < float(bits.mean()) < 0.07


def test_every_level_is_trained_as_often_with_its_own_lambda() -> None:
    network = Choi2019(4, 3, qualities=4)
    drawn = network.training_quality((torch.arange(1000) + 0.5) / 1000)
    assert torch.bincount(drawn.long()).tolist() == [250] * 4
    assert float(network.training_quality(torch.ones(1))) == 3


def test_training_mixes_bin_sizes_and_levels_are_those_of_the_quality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Noise of the width Δ, log2 Δ uniform in ±1 for each sample; of Λ the nearest."""
    network = spread().train()
    quality = torch.tensor([0.0, 0.4, 0.6, 3.0] * 40)
    torch.manual_seed(0)
    seen: list[torch.Tensor] = []

    def quantised(x, *, level):
        seen.extend([x, level])
        return x.new_zeros(len(x), 3, 64, 64)

    x = smooth_noise(1, 64).expand(160, -1, -1, -1)
    with torch.no_grad():
        monkeypatch.setattr(network.g_s, "forward", quantised)
        network(x, quality=quality)
        y_hat, level = seen
        assert level.tolist() == [0, 0, 1, 3] * 40
        noise = y_hat - network.g_a(x, level=level)
    widths = noise.flatten(1).abs().amax(1) * 2
    found = torch.log2(widths)
    assert -1.1 < found.min() < -0.9 < 0.85 < found.max() <= 1.001
    assert stats.kstest(found.numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01


def test_every_setting_decodes_elsewhere(stored: Path, tmp_path: Path) -> None:
    """Fourteen steps, of all levels, in another process on two threads, from the bytes alone."""
    codec = LearnedCodec("choi2019", "", Choi2019, TransformModel, None, stored.parent)
    image = crop(100, 130)
    streams = [
        ("choi2019", codec.encode(image, Point("quality", q / 256)))
        for q in range(0, 256 * (POINTS - 1) + 1, 55)
    ]
    pictures = [("choi2019", told(codec.decode(data))) for _, data in streams]
    assert len({data for _, data in streams}) == len(streams) == 14
    assert decoded_elsewhere(streams, tmp_path, tmp_path) == pictures


def test_decoders_use_the_integer_scales_of_the_file(stored: Path) -> None:
    """And none of their own, which another machine may round differently."""
    loaded = weights.load(stored)
    model = load_model(stored, Choi2019, TransformModel)
    data = model.encode(crop(64, 64), 1.25)
    moved = {
        k: v + 1e-3 if k.startswith("h_s") and k.endswith(".u") else v
        for k, v in loaded.parameters.items()
    }
    other = stored.with_name("other.safetensors")
    weights.save(other, moved, loaded.tables, loaded.card)
    again = load_model(other, Choi2019, TransformModel)
    header, _ = bitstream.read_header(data, b"CC", 1)
    forged = data[:3] + again.digest[:4] + data[7:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bitstream.Stream, "verify", lambda *_: None)
        _, symbols = model.decode_symbols(data)
        _, found = again.decode_symbols(forged)
    assert all(np.array_equal(a, b) for a, b in zip(symbols, found, strict=True))
    assert header.quality == 1.25


def test_any_rate_between_the_ends_is_met(tmp_path: Path) -> None:
    """Within 1 %: Δ reaches further than to where the next Λ begins."""
    folder = store(trained(), tmp_path).parent
    codec = LearnedCodec("choi2019", "", Choi2019, TransformModel, None, folder)
    image = crop(256, 256)
    sizes = [len(codec.encode(image, point)) for point in codec.points]
    assert sizes == sorted(sizes)
    low, high = (8 * size / image[..., 0].size for size in (sizes[0], sizes[-1]))
    for share in np.linspace(0.03, 0.97, 9):
        rate = round(float(low * (high / low) ** share), 5)
        asked = select(codec, Selection((rate,), are_rates=True))
        data = asked.encode(image, Point("bpp", rate))
        assert 8 * len(data) / image[..., 0].size == pytest.approx(rate, rel=0.01)
        assert codec.decode(data).shape == image.shape
    no_gap(codec, image)


def no_gap(codec: LearnedCodec, image: Image) -> None:
    """The finest step of each Λ makes a file at least as large as the coarsest of the next."""
    for level in range(len(codec.points) - 1):
        below, above = (Point("quality", level + 0.5 + off / 256) for off in (-1, 0))
        assert len(codec.encode(image, below)) >= len(codec.encode(image, above))


@pytest.mark.skipif(not (WEIGHTS / "choi2019").is_dir(), reason="no such weights ship yet")
def test_shipped_weights_leave_no_gap_between_their_steps(photo: Image) -> None:
    no_gap(LearnedCodec("choi2019", "", Choi2019, TransformModel), photo)
