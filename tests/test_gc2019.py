"""Generative compression: rate by the number of channels, and blocks that are only synthesised."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.agustsson import Generative, SelectiveCoder
from codecs.base import BitstreamError
from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.likelihood import Rounding
from tests.learned_contract import encoded, padded
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop

NAME = "gc2019"


def coder(network: Generative) -> SelectiveCoder:
    model = network.latent_model()
    made = model.coder(model.tables(), torch.device("cpu"))
    assert isinstance(made, SelectiveCoder)
    return made


@pytest.fixture
def network() -> Generative:
    torch.manual_seed(0)
    return Generative(4, 16, K=8, B=1, F=8, qualities=8, lambdas=(20, 8000)).eval()


def test_rate_is_a_matter_of_channels(network: Generative) -> None:
    """From an eighth of them to all; the others are 0, and bits stay below C·log2(5)."""
    y = 1.5 * torch.randn(8, 16, 8, 12)
    torch.nn.init.zeros_(network.log_gain)
    qualities = torch.arange(8.0)
    scaled = network.scale(y, qualities).detach()
    counts = [int(each.flatten(1).any(1).sum()) for each in scaled]
    assert counts == [2, 3, 4, 5, 7, 9, 12, 16]
    for each, before, count in zip(scaled, y, counts, strict=True):
        assert torch.equal(each[:count], before[:count])
    with torch.no_grad():  # a context that knows nothing
        network.context.last.weight.zero_()
        _, bits = network.latent_model().quantise(scaled, Rounding.EXACT)
    assert torch.allclose(bits["y"], torch.tensor(counts) * 96 * math.log2(5), rtol=1e-4)


def test_centres_are_whole_numbers_and_stay(network: Generative) -> None:
    assert network.centres.values.tolist() == [-2, -1, 0, 1, 2]
    assert not any("centres" in name for name, _ in network.named_parameters())


def test_blocks_without_more_than_the_first_channels_are_not_sent(network: Generative) -> None:
    made, y = coder(network), 1.5 * torch.randn(1, 16, 8, 12)
    m = torch.tensor([[[[1, 0, 1], [0, 0, 1]]]], dtype=torch.bool)
    everything, symbols = made.symbols(y), made.symbols(network.selected(y, m))
    assert everything[0].all()
    assert np.array_equal(symbols[0], m[0, 0].numpy())
    kept = symbols[1] != made.zero
    assert kept[:2, 4:, :4].any()
    assert not kept[2:, 4:, :4].any()
    sections = made.encode(symbols)
    assert sections[0] == bytes([0b10100100])
    assert len(sections[1]) < 0.7 * len(made.encode(everything)[1])
    for sent, read in zip(symbols, made.decode(sections, 8, 12), strict=True):
        assert np.array_equal(sent, read)
    with torch.no_grad():
        _, bits = network.latent_model().quantise(network.selected(y, m), Rounding.EXACT)
    assert len(sections[1]) == pytest.approx(bits["y"].item() / 8, abs=12)
    # A map of which all is kept, or nothing that could be left out, takes no bytes.
    assert made.encode(everything)[0] == b""
    assert made.encode(made.symbols(network.selected(y, torch.zeros_like(m))))[0] == b""
    with pytest.raises(BitstreamError, match="payload"):
        made.decode([b"\xff\xff", sections[1]], 8, 12)


def test_training_leaves_blocks_out(network: Generative, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of half of the samples, about half."""
    drawn = []

    def selected(y: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        drawn.append(m)
        return y

    monkeypatch.setattr(network, "selected", selected)
    torch.manual_seed(1)
    x = torch.rand(64, 3, 64, 128)
    with torch.no_grad():
        network.train()(x, quality=torch.zeros(64))
    assert 0.65 < drawn[0].float().mean() < 0.85
    with torch.no_grad():
        network.eval()(x[:1], quality=torch.zeros(1))
    assert len(drawn) == 1


@pytest.mark.usefixtures("toy_weights")
def test_selective_keeps_the_blocks_that_would_lose_most() -> None:
    plain, selective = registry.create(NAME), registry.create(f"{NAME}:selective")
    assert isinstance(selective, LearnedCodec)
    assert selective.settings["regions"] == "selective"
    image = crop(256, 320)
    data, full = encoded(selective, image), encoded(plain, image)
    assert len(data) < len(full)
    # Any decoder of these weights reads which blocks were kept.
    assert np.array_equal(plain.decode(data), selective.decode(data))
    (told,) = plain.diagnostics(image, data)["maps"]
    (all_kept,) = plain.diagnostics(image, full)["maps"]
    assert set("".join(all_kept["rows"])) == {"1"}
    m = np.array([list(row) for row in told["rows"]]) == "1"
    assert (m.shape, told["cell"], m.sum()) == ((4, 5), 64, 10)
    # By the network itself: error of each block with all channels, and with the first alone.
    network = toy_network(NAME)
    assert isinstance(network, Generative)
    x = padded(image, network.stride)
    errors = []
    with torch.no_grad():
        w = network.analyse(x, None)
        for latent in (w, torch.cat([w[:, :1], torch.zeros_like(w[:, 1:])], 1)):
            x_hat = network.synthesise(latent.round().clamp(-2, 2), None).clamp(0, 1)
            squared = (x_hat - x).square()[0].sum(0)
            errors.append(squared.view(4, 64, 5, 64).sum((1, 3)).numpy())
    rise = errors[1] - errors[0]
    assert rise[m].min() >= rise[~m].max()
