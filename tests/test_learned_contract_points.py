"""What every learned codec promises where one weights file serves many operating points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import BitstreamError, CodecUnavailable, EncodeError, Point
from codecs.learned import bitstream, weights
from tests.learned_contract import (
    HEADER_BYTES,
    POINT,
    decoded_elsewhere,
    each_whole_codec,
    forged,
    padded,
    sized,
    told,
)
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop

pytestmark = pytest.mark.usefixtures("toy_weights")


@pytest.fixture
def gained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`gained(name)` gives a codec one file for four points: toy weights, and the gains that
    training begins with.  `points` are those of the card."""

    def made(name: str, points: Sequence[Any] = (0, 1, 2, 3)) -> str:
        config = {**toy_network(name).config, "qualities": 4, "lambdas": (500.0, 2000.0)}
        network = registry.network(name).from_config(config).eval()
        network.begin_with(toy_network(name).state_dict())
        card = {"points": [{"parameter": "quality", "value": value} for value in points]}
        weights.export(network, tmp_path / name / "all.safetensors", card)
        monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
        return name

    return made


@each_whole_codec
def test_one_file_serves_many_points(name: str, gained: Callable[..., str], tmp_path: Path) -> None:
    """Each with its own stream, rate and gain, which another process reads from the stream."""
    codec = registry.create(gained(name))
    assert codec.points == tuple(Point("quality", q) for q in range(4))
    loaded = weights.load(tmp_path / name / "all.safetensors")
    network = registry.network(name).from_config(loaded.card["config"]).eval()
    network.load_state_dict(loaded.parameters)
    # No padding, which would count in the partitions of `forward`.
    image = sized(name, 128, 192)
    x = padded(image, network.stride)
    streams, pictures, errors = [], [], []
    qualities = (0, 0.5, 1, 1.75, 2, 3)
    for quality in qualities[1::2] if name == "iwave" else qualities:  # ten times as slow
        data = codec.encode(image, Point("quality", quality))
        assert bitstream.read_header(data, network.magic, network.version)[0].quality == quality
        decoded = codec.decode(data)
        with torch.no_grad():
            out = network(x, quality=torch.tensor([quality]))
        reconstruction = out.x_hat[0].clamp(0, 1).permute(1, 2, 0) * 255
        # Rounding to integers alone makes 0.25; a latent near a half may go the other way.
        assert np.abs(decoded - reconstruction.numpy()).mean() < 0.5
        estimate = out.total_bits().item() / 8
        # Escapes may cost less than the estimate's least probability, which gains meet more often.
        size = len(data) - codec.diagnostics(image, data)["bytes"].get("mask", 0)
        assert 0.9 * estimate <= size <= 1.005 * estimate + HEADER_BYTES
        errors.append(np.square(decoded.astype(float) - image).mean())
        streams.append((name, data))
        pictures.append((name, told(decoded)))
        for length in range(0, len(data), 1 + len(data) // 10):
            with pytest.raises(BitstreamError):
                codec.decode(data[:length])
    assert errors[-1] < errors[0]
    assert len({data for _, data in streams}) == len(streams)
    if name in ("factorised", "rdonet"):  # gains are taken back in floats, and in integers
        assert decoded_elsewhere(streams, tmp_path, tmp_path) == pictures
    allowed = "expected quality as a number from 0 to 3"
    for outside in (-0.1, 3.5, "best"):
        with pytest.raises(EncodeError, match=f"no weights for quality .*: {allowed}"):
            codec.encode(image, Point("quality", outside))


def test_streams_have_a_quality_that_the_weights_serve(
    gained: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With or without a checksum; between two points there are others."""
    codec = registry.create(gained("factorised"))
    data = codec.encode(crop(64, 64), codec.points[1])
    with pytest.raises(BitstreamError, match="checksum"):
        codec.decode(forged("factorised", data, quality=2))
    monkeypatch.setattr(bitstream.Stream, "verify", lambda *arguments: None)
    assert codec.decode(forged("factorised", data, quality=1.5)).shape == (64, 64, 3)
    for quality in (None, 3.5, 255):
        with pytest.raises(BitstreamError, match="no such quality"):
            codec.decode(forged("factorised", data, quality=quality))


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ((1, 1.001), "two that a stream cannot tell apart"),
        ((1, 300), "not within"),
        ((1, "two"), "not a number"),
        ((), "none"),
        ((0, 4), "a point that the network does not serve"),
    ],
)
def test_points_that_streams_cannot_carry_are_refused(
    points: Sequence[Any], reason: str, gained: Callable[..., str]
) -> None:
    with pytest.raises(CodecUnavailable, match=rf"all\.safetensors: .*{reason}"):
        registry.create(gained("factorised", points))


def test_a_network_for_many_points_needs_them(gained: Callable[..., str], tmp_path: Path) -> None:
    """It would write no quality, which it refuses to read."""
    file = tmp_path / gained("hyperprior") / "all.safetensors"
    loaded = weights.load(file)
    card = {**{k: v for k, v in loaded.card.items() if k != "points"}, "point": POINT}
    weights.save(file, loaded.parameters, loaded.tables, card)
    with pytest.raises(CodecUnavailable, match="lists `points` if the network serves many"):
        registry.create("hyperprior")
