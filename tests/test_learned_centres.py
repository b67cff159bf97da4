"""Centres and the 3-D context: the paper's and the tutorial's formulas, order, exactness, speed."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from codecs import registry
from codecs.base import BitstreamError
from codecs.learned.coders.centres import CentreCoder, CentreModel, Centres
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.coders.rangecoding import Int32s, Rows, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import TOTAL
from codecs.learned.coders.volume import MaskedConv3d, VolumeCoder, VolumeContext
from codecs.mentzer import ImportanceMap, Mentzer
from tests.learned_contract import encoded, padded
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop

L = 6


def context(features: int = 8, seed: int = 0) -> VolumeContext:
    """One whose probabilities vary."""
    torch.manual_seed(seed)
    made = VolumeContext(L, features).requires_grad_(False)
    for parameter in made.parameters():
        parameter.mul_(3)
    return made


def model(channels: int, features: int = 8) -> CentreModel:
    return CentreModel(channels, Centres(L).requires_grad_(False), context(features))


def coder(channels: int, features: int = 8) -> CentreCoder:
    made = model(channels, features)
    found = made.coder(made.tables(), torch.device("cpu"))
    assert isinstance(found, CentreCoder)
    return found


def algorithm_1(width: int, height: int, depth: int) -> torch.Tensor:
    """The tutorial's, line by line: [depth, height, width]."""
    central = math.ceil(width * height * depth / 2)
    current, mask = 1, torch.zeros(depth, height, width)
    for d in range(depth):
        for h in range(height):
            for w in range(width):
                if current < central:
                    mask[d, h, w] = 1
                current += 1
    return mask


@pytest.mark.parametrize("centre", [False, True])
def test_masked_convolution_is_that_of_algorithm_1(centre: bool) -> None:
    torch.manual_seed(0)
    layer = MaskedConv3d(2, 4, centre)
    mask = algorithm_1(3, 3, 3)
    assert not mask[2].any()
    mask[1, 1, 1] = float(centre)
    volume = torch.randn(2, 5, 2, 4, 6)
    kernel = torch.cat([layer.weight.unflatten(1, (2, 2)), torch.zeros(4, 1, 2, 3, 3)], 1)
    expected = functional.conv3d(
        volume.transpose(1, 2), kernel.transpose(1, 2) * mask, layer.bias, padding=1
    )
    assert torch.allclose(layer(volume), expected.transpose(1, 2), atol=1e-5)


def test_probabilities_depend_on_what_is_coded_before_and_on_nothing_else() -> None:
    shape = (4, 5, 6)
    values, p = torch.randn(1, 4, 1, 5, 6), context()
    before = p(values)
    place = 2 * 30 + 2 * 6 + 3
    changed = values.clone()
    changed.view(-1)[place] += 1
    moved = (p(changed) != before).any(2).view(-1)
    assert not moved[: place + 1].any()
    reached = moved.view(shape).nonzero()
    assert (reached[:, 0] > 2).any()
    assert ((reached[:, 0] == 2) & (reached[:, 1] > 2)).any()
    assert ((reached[:, 0] == 2) & (reached[:, 1] == 2)).any()


class Recorder(SymbolEncoder):
    """Keeps the probabilities that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Rows] = [np.empty((0, L), np.float32)]

    def encode_categorical(self, symbols: Int32s, rows: Rows) -> None:
        self.rows.append(rows / np.float32(TOTAL))
        super().encode_categorical(symbols, rows)


@pytest.mark.parametrize("shape", [(5, 4, 9), (5, 9, 4), (1, 1, 1), (7, 1, 5), (2, 6, 6)])
def test_symbols_come_back_with_the_probabilities_of_the_network(
    shape: tuple[int, int, int],
) -> None:
    """Whichever way fronts run, and where some are not sent."""
    rng = np.random.default_rng(0)
    p, values = context(), np.linspace(-2, 2, L, dtype=np.float32)
    exact = VolumeCoder(p, np.round((values - values[0]) * 4096).astype(np.int64))
    symbols = rng.integers(0, L, shape, np.int32)
    logits = p(torch.from_numpy(values[symbols] - values[0])[None, :, None])[0]
    expected = np.moveaxis(torch.softmax(logits, 1).numpy(), 1, -1)
    for share in (1.0, 0.6):
        sent = rng.random(shape) < share
        encoder = Recorder()
        exact.encode(encoder, symbols, sent)
        c, y, x = places = np.nonzero(sent)
        order = np.lexsort((y if shape[1] <= shape[2] else x, c, 4 * c + 2 * y + x))
        assert np.abs(np.concatenate(encoder.rows) - expected[places][order]).max(initial=0) < 0.01
        decoded = np.where(sent, -1, symbols).astype(np.int32)
        exact.decode(SymbolDecoder(encoder.get_bytes()), decoded, sent)
        assert np.array_equal(decoded, symbols)


def test_pictures_of_kodaks_size_decode_in_seconds() -> None:
    """At stride 8 with 32 channels and the paper's P; a minute was the bar."""
    made = coder(32, features=24)
    symbols = made.symbols(torch.randn(1, 32, 64, 96))
    sections = made.encode(symbols)
    start = time.process_time()
    assert np.array_equal(made.decode(sections, 64, 96)[0], symbols[0])
    assert time.process_time() - start < 10


def test_values_go_to_the_nearest_centre_and_gradients_to_all() -> None:
    """Equations 1 to 4 of the paper."""
    centres = Centres(L)
    y = torch.linspace(-3, 3, 41, requires_grad=True)
    y_hat, which = centres(y)
    distance = (y[:, None] - centres.values).square()
    assert torch.equal(which, distance.argmin(1))
    assert torch.allclose(y_hat, centres.values[which])
    nearness = torch.exp(-distance)
    soft = (nearness * centres.values).sum(1) / nearness.sum(1)
    for value in (y, centres.values):
        found, expected = (
            torch.autograd.grad(out.square().sum() - out.sum(), value, retain_graph=True)[0]
            for out in (y_hat, soft + (y_hat - soft).detach())
        )
        assert torch.allclose(found, expected, atol=1e-6)
        assert found.abs().max() > 0.1


def test_channels_behind_the_last_that_holds_something_are_not_sent() -> None:
    made, y = coder(8), torch.randn(1, 8, 4, 6)
    assert made.centres[made.zero] != 0  # of six, none is 0
    y[:, 5:] = 0.0
    y[:, 2] = 0.0
    symbols = made.symbols(y)
    (section,) = made.encode(symbols)
    assert section[0] == 5
    assert np.array_equal(made.decode([section], 4, 6)[0], symbols[0])
    _, bits = model(8).quantise(y, Rounding.EXACT)
    assert len(section) == pytest.approx(1 + bits["y"].item() / 8, abs=8)
    nothing = made.symbols(torch.zeros(1, 8, 4, 6))
    assert len(made.encode(nothing)[0]) <= 5
    assert np.array_equal(made.decode(made.encode(nothing), 4, 6)[0], nothing[0])
    for damaged in (b"", b"\x09" + section[1:], b"\x08" + section[1:5]):
        with pytest.raises(BitstreamError, match="payload"):
            made.decode([damaged], 4, 6)


def test_the_importance_map_keeps_the_first_channels() -> None:
    """Section 3.4: the mask of h is 1 below ⌊h⌋, h - ⌊h⌋ at it and 0 from there on."""
    a = torch.randn(1, 1, 3, 4)
    one = ImportanceMap(12, 0, (1.0, 2.0))
    for h, kept in zip(
        (12 * torch.sigmoid(a)).flatten(), one(a, None)[0].flatten(1).T, strict=True
    ):
        whole = int(h)
        expected = [1.0] * whole + [float(h) - whole] + [0.0] * (11 - whole)
        assert torch.allclose(kept, torch.tensor(expected), atol=1e-5)
    many = ImportanceMap(12, 4, (20.0, 8000.0))
    depths = [many(a, torch.tensor([q])).sum().item() for q in (0, 0.5, 1, 2.5, 3)]
    assert depths == sorted(depths)
    assert 3 * depths[0] < depths[-1]


def test_what_symbols_cost_reaches_the_encoder_by_the_map_alone() -> None:
    torch.manual_seed(0)
    network = Mentzer(8, 12, K=8).train()
    x = padded(crop(64, 64), 64)
    network(x).total_bits().sum().backward()
    gradient = network.g_a[-1].weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert not gradient[:-1].any()
    assert gradient[-1].abs().max() > 0
    # That of H_mask, which counts the fractional channel by its fraction.
    network.zero_grad()
    y = network.g_a(x)
    kept = network.importance(y[:, -1:], None)
    with torch.no_grad():
        _, bits = network.latent_model().assess(network.scale(y, None), learning=True)
    (kept * bits).sum().backward()
    again = network.g_a[-1].weight.grad
    assert isinstance(again, torch.Tensor)
    assert torch.allclose(again, gradient, rtol=1e-4)


@pytest.mark.usefixtures("toy_weights")
def test_reports_are_told_the_importance_map() -> None:
    codec = registry.create("mentzer2018")
    image = crop(130, 150)
    (told,) = codec.diagnostics(image, encoded(codec, image))["maps"]
    assert np.array(told["rows"]).shape == (192 // told["cell"], 192 // told["cell"])
    assert 0 < np.mean(told["rows"]) <= toy_network("mentzer2018").config["M"]
