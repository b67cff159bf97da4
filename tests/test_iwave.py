"""iWave++: a transform that loses nothing, whatever it has learned and the picture shows."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import BitstreamError, Codec, Image, Point
from codecs.iwave import lifting
from codecs.iwave.context import BANDS, COLOURS, PHASES, BandContext, Level, exact_log, logarithms
from codecs.iwave.lifting import CDF97, FRACTION, ExactStep, LiftingStep, unwrapped, wrap
from codecs.iwave.network import IWave
from codecs.learned import bitstream
from codecs.learned.codec import WEIGHTS
from tests.learned_contract import padded
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop

pytestmark = pytest.mark.usefixtures("toy_weights")


def wild_steps(seed: int = 0) -> list[LiftingStep]:
    """Steps that have learned something, far from CDF 9/7."""
    torch.manual_seed(seed)
    steps = [LiftingStep(coefficient, 5) for coefficient in CDF97]
    for step in steps:
        for parameter in step.parameters():
            torch.nn.init.normal_(parameter, 0, 0.5)
    return steps


def exact(steps: list[LiftingStep]) -> list[ExactStep]:
    return [ExactStep(step, torch.device("cpu")) for step in steps]


def test_before_training_it_is_the_wavelet_of_jpeg_2000() -> None:
    """Daubechies' 9/7 filters as they are printed (ISO/IEC 15444-1, table F.4), by convolution."""
    low = [0.026748757411, -0.016864118443, -0.078223266529, 0.266864118443, 0.602949018236]
    high = [0.091271763114, -0.057543526229, -0.591271763114, 1.115087052457]
    scale = 1.230174104914
    signal = 300 * np.random.default_rng(0).standard_normal(256)

    def filtered(half: list[float], first: int) -> np.ndarray:
        taps = np.array([*half, *half[-2::-1]])
        return np.convolve(signal, taps, "same")[first::2]

    x = torch.from_numpy(signal)[None, None, :, None].float().expand(-1, -1, -1, 4)
    steps = [LiftingStep(coefficient, 2) for coefficient in CDF97]
    found = [band[0, 0, 4:-4, 0].detach().numpy() for band in lifting.split(x, steps, unwrapped)]
    # Each of four roundings is by a half at most.
    assert np.abs(found[0] - scale * filtered(low, 0)[4:-4]).max() < 2
    assert np.abs(found[1] - filtered(high, 1)[4:-4] / scale).max() < 2


@pytest.mark.parametrize("fraction", [0, FRACTION])
@pytest.mark.parametrize("largest", [1, 255, 4096])
def test_the_transform_is_reversible_whatever_it_has_learned(largest: int, fraction: int) -> None:
    """In integers, to the ends of their range, where they wrap around."""
    steps = [partial(step, fraction=fraction) for step in exact(wild_steps())]
    wrap = partial(lifting.wrap, fraction=fraction)
    largest <<= fraction
    generator = torch.Generator().manual_seed(largest)
    x = torch.randint(-largest, largest, (2, 22, 34), generator=generator)
    bands = lifting.analyse(x, steps, wrap)
    assert all(band.shape == (2, 11, 17) for band in bands)
    limit = 4096 << fraction
    assert all(band.min() >= -limit and band.max() < limit for band in bands)
    ll, hl, lh, hh = bands
    assert torch.equal(lifting.synthesise(ll, hl, lh, hh, steps, wrap), x)
    others = [partial(step, fraction=fraction) for step in exact(wild_steps(1))]
    other = lifting.analyse(x, others, wrap)
    assert not torch.equal(bands[3], other[3])


def test_integer_steps_are_what_was_trained() -> None:
    steps = wild_steps()
    x = torch.randint(-255, 256, (1, 60, 40))
    for step, same in zip(steps, exact(steps), strict=True):
        for below in (True, False):
            trained = step(x[:, None].float(), below)[:, 0]
            assert (trained - same(x, below)).abs().max() <= 1
            trained = step(x[:, None].float(), below, 16.0)[:, 0]
            assert (trained - same(x << 4, below, 4) / 16).abs().max() <= 1 / 4


def test_colours_come_back_and_are_those_of_the_paper() -> None:
    x = torch.randint(0, 256, (3, 64, 64))
    made = lifting.to_ycocg(x)
    assert torch.equal(lifting.to_rgb(made), x)
    red, green, blue = x.double()
    assert torch.equal(made[1], x[0] - x[2])
    assert (made[0] - (red + 2 * green + blue) / 4).abs().max() <= 1
    assert (made[2] - (green - (red + blue) / 2)).abs().max() <= 0.5
    assert torch.equal(lifting.to_ycocg(x.float()).long(), made)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (6, 7), (16, 5)])
def test_the_last_band_is_split_until_one_sample_is_left(size: tuple[int, int]) -> None:
    x = torch.randint(-4096, 4096, (3, *size))
    levels = lifting.pyramid(x, wrap)
    sides = [x.shape[1:], *(low.shape[1:] for low, _ in levels)]
    assert sides[-1] == (1, 1)
    low = levels[-1][0] if levels else x
    for (_, bands), (height, width) in zip(reversed(levels), reversed(sides[:-1]), strict=True):
        low = lifting.joined(low, bands, height, width, wrap)
    assert torch.equal(low, x)


def test_logarithms_are_right_to_half_a_unit() -> None:
    for i in (0, 1, 7, 16, 1000, 65536, 1 << 17):
        assert abs(int(logarithms()[i]) - 4096 * math.log2(1 + i / 16)) <= 0.5 + 1e-6
    assert exact_log(torch.tensor([-16, 16])).tolist() == [-4096.0, 4096.0]


def test_a_sample_is_told_by_what_is_decoded_before_it() -> None:
    """Its bits do not change by what comes after, and do by all sorts of what comes before."""
    torch.manual_seed(0)
    context = BandContext(6).double()
    for parameter in context.parameters():
        # So small that no likelihood is at its floor, whose gradient has only one direction.
        torch.nn.init.normal_(parameter, 0, 0.2)
    height = width = 6
    x = torch.randint(-3, 4, (1, BANDS * COLOURS, height, width)).double()
    unit = torch.ones(1, COLOURS).double()
    level = Level(0, torch.randn(1, COLOURS, height, width).double(), x[..., :3, :3], unit)

    def order(plane: int, y: int, x: int) -> tuple[int, int, int]:
        return plane // COLOURS, PHASES.index((y % 2, x % 2)), plane % COLOURS

    place = (4, 2, 3)  # Co of LH, in the third phase
    changed = x.clone().requires_grad_(True)
    # The bits of one sample: what its value changes of the sum, with contexts as they are.
    own = torch.zeros_like(x)
    own[(0, *place)] = 1.0
    bits = context.bits(level, x + own, changed) - context.bits(level, x, changed)
    bits.sum().backward()
    assert changed.grad is not None
    seen = {tuple(where) for where in (changed.grad[0].abs() > 1e-9).nonzero().tolist()}
    assert seen
    assert all(order(*where) < order(*place) for where in seen)
    planes = {where[0] for where in seen}
    assert planes == {0, 1, 2, 3, 4, 5}
    around = {(y, x) for plane, y, x in seen if plane == 3}
    assert around == {(2, 2), (2, 3), (2, 4), (1, 3), (3, 3)}


def hostile() -> dict[str, Image]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:37, :50]
    board = (255 * ((rows + columns) % 2)).astype(np.uint8)
    stripes = (255 * (columns % 2)).astype(np.uint8)
    return {
        "noise": rng.integers(0, 256, (33, 47, 3), np.uint8),
        "noise of two values": 255 * rng.integers(0, 2, (40, 40, 3), np.uint8),
        "board": np.stack([board, 255 - board, board], -1),
        "stripes": np.stack([stripes, stripes, 255 - stripes], -1),
        "white": np.full((18, 70, 3), 255, np.uint8),
        "a row": rng.integers(0, 256, (1, 77, 3), np.uint8),
        "a column": crop(95, 1),
        "a sample": np.array([[[255, 0, 255]]], np.uint8),
        "a photograph": crop(75, 131),
    }


@pytest.mark.parametrize("what", hostile())
def test_every_sample_comes_back(what: str) -> None:
    image = hostile()[what]
    codec = registry.create("iwave:lossless")
    assert codec.name == "iwave:lossless"
    assert codec.points == (Point("step", 1),)
    data = codec.encode(image, codec.points[0])
    assert np.array_equal(codec.decode(data), image)
    # The decoder of the other variant reads in the file that nothing is lost.
    assert np.array_equal(registry.create("iwave").decode(data), image)


def with_header(data: bytes, **fields: Any) -> bytes:
    header, offset = bitstream.read_header(data, IWave.magic, IWave.version)
    return replace(header, **fields).to_bytes() + data[offset:]


def test_whether_something_is_lost_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = registry.create("iwave")
    data = codec.encode(crop(40, 40), codec.points[0])
    with pytest.raises(BitstreamError):
        codec.decode(with_header(data, flags=1))
    monkeypatch.setattr(bitstream.Stream, "verify", lambda *arguments: None)
    with pytest.raises(BitstreamError, match="flags"):
        codec.decode(with_header(data, flags=2))


def test_without_loss_files_are_as_long_as_estimated() -> None:
    image = crop(256, 384)
    codec = registry.create("iwave:lossless")
    (point,) = codec.points
    trials = codec.trials(image)
    assert trials.size(point) == pytest.approx(len(trials.encode(point)), rel=0.005)
    with torch.no_grad():
        network = toy_network("iwave")
        assert isinstance(network, IWave)
        bits = float(network.without_loss(padded(image, network.stride)))
    assert bits / 8 == pytest.approx(len(trials.encode(point)), rel=0.005)
    assert bits < 0.8 * 24 * image.shape[0] * image.shape[1]


def test_files_bound_the_size_of_their_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a decoder does is bounded by what it is sent: pictures of few bits are padded."""
    codec = registry.create("iwave")
    flat = np.full((64, 96, 3), 77, np.uint8)
    data = codec.encode(flat, codec.points[0])
    with pytest.raises(BitstreamError, match="too short"):
        codec.decode(with_header(data, height=len(data), width=512))
    picture = codec.decode(data)
    monkeypatch.setattr("codecs.iwave.codec._PIXELS_PER_BYTE", 4)
    padded = codec.encode(flat, codec.points[0])
    assert len(padded) >= 64 * 96 / 4 > len(data)
    assert np.array_equal(codec.decode(padded), picture)
    with pytest.raises(BitstreamError, match="too short"):
        codec.decode(data)


def test_training_is_with_and_without_loss() -> None:
    """Some samples lose nothing, and theirs is a gradient of all that entropy coding rests on."""
    network = copy.deepcopy(toy_network("iwave")).train().requires_grad_(True)
    torch.manual_seed(0)
    x = padded(crop(64, 64), 64).repeat(40, 1, 1, 1)
    out = network(x)
    kept = (out.x_hat == x).flatten(1).all(1)
    assert 2 <= int(kept.sum()) <= 20
    assert out.total_bits()[kept].min() > 2 * out.total_bits()[~kept].max()
    out.total_bits()[kept].sum().backward()
    assert all(p.grad is not None for p in network.get_submodule("lifting").parameters())
    assert all(p.grad is not None for p in network.get_submodule("context").parameters())
    assert all(p.grad is None for p in network.get_submodule("post").parameters())


@pytest.mark.parametrize("settled", [False, True])
def test_training_makes_the_pictures_of_streams(
    settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is for rates alone, and where latents are settled for nothing."""
    monkeypatch.setattr("codecs.iwave.network._LOSSLESS_SHARE", 0.0)
    network = copy.deepcopy(toy_network("iwave")).requires_grad_(True)
    x = padded(crop(64, 64), 64)
    streamed = network.eval()(x)
    network.rounds_in_training = settled
    made = network.train()(x)
    assert torch.allclose(made.x_hat, streamed.x_hat, atol=2e-3)
    near = torch.allclose(made.total_bits(), streamed.total_bits(), rtol=1e-3)
    assert near is settled


def size(codec: Codec, image: Image) -> int:
    return len(codec.encode(image, codec.points[-1]))


@pytest.mark.skipif(not (WEIGHTS / "iwave").is_dir(), reason="no weights yet")
def test_shipped_weights_are_below_png(photo: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", WEIGHTS)
    ours, png = registry.create("iwave:lossless"), registry.create("png")
    assert size(ours, photo) < size(png, photo)
