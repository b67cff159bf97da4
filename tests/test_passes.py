"""Codecs whose streams are passes: what is left of a cut stream is that of fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import BitstreamError, Codec, EncodeError, Image, Point
from codecs.learned import bitstream, passes, weights
from codecs.learned.progressive import PassNetwork
from tests.learned_contract import CUT, decoded_elsewhere, told
from tests.learned_fuzz import COUNT, damaged
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop

each = pytest.mark.parametrize("name", CUT)
pytestmark = pytest.mark.usefixtures("toy_weights")


@pytest.fixture
def pointed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Codec]:
    """`pointed(name)` is a codec of its toy weights with a point for each pass."""

    def made(name: str) -> Codec:
        network = copy.deepcopy(toy_network(name))
        card = {"points": list(network.points)}
        weights.export(network, tmp_path / name / "all.safetensors", card)
        monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
        return registry.create(name)

    return made


def squared_error(image: Image, decoded: Image) -> float:
    return float(np.square(decoded.astype(float) - image).mean())


@each
def test_every_prefix_is_the_stream_of_its_complete_passes(
    name: str, pointed: Callable[[str], Codec], tmp_path: Path
) -> None:
    codec, image = pointed(name), crop(70, 130)
    assert codec.points == tuple(Point("passes", count) for count in (1, 2, 3))
    streams = [codec.encode(image, point) for point in codec.points]
    pictures = [codec.decode(data) for data in streams]
    whole = streams[-1]
    assert all(whole.startswith(data) for data in streams)
    ends = [len(data) for data in streams]
    for length in range(len(whole)):
        complete = sum(end <= length for end in ends)
        if complete:
            assert np.array_equal(codec.decode(whole[:length]), pictures[complete - 1])
        else:
            with pytest.raises(BitstreamError):
                codec.decode(whole[:length])
    for more in (b"\0", b"\1", bytes(5), whole):
        with pytest.raises(BitstreamError):
            codec.decode(whole + more)
    expected = [(name, told(picture)) for picture in pictures]
    assert decoded_elsewhere([(name, data) for data in streams], tmp_path, tmp_path) == expected


@each
def test_quality_rises_with_each_pass(name: str, pointed: Callable[[str], Codec]) -> None:
    """And with nothing lost by the way: all come of one encoding."""
    codec = pointed(name)
    images = [crop(130, 192, seed) for seed in range(3)]
    errors = [
        sum(squared_error(image, codec.decode(codec.encode(image, point))) for image in images)
        for point in codec.points
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]


@each
def test_the_decoder_shows_what_the_encoder_saw(name: str) -> None:
    """The residual that a pass codes is that of the picture that decoders have by then."""
    network = toy_network(name)
    assert isinstance(network, PassNetwork)
    x = torch.rand(1, 3, 48, 80)
    with torch.inference_mode():
        sent = list(network.encodings(x))
        for count in range(1, len(sent) + 1):
            shown = network.decoded([bits for bits, _ in sent[:count]])
            assert torch.equal(shown, sent[count - 1][1])


@each
def test_a_damaged_pass_is_never_shown(name: str, pointed: Callable[[str], Codec]) -> None:
    """Damaged streams give `BitstreamError` or the picture of passes that are whole."""
    codec = pointed(name)
    images = [crop(*size, seed) for seed, size in enumerate([(48, 64), (33, 100), (1, 1)])]
    streams = [codec.encode(image, point) for image in images for point in codec.points]
    pictures = {told(codec.decode(data))[1] for data in streams}
    refused = 0
    for data in damaged(streams, COUNT):
        try:
            picture = codec.decode(data)
        except BitstreamError:
            refused += 1
        else:
            assert told(picture)[1] in pictures
    assert refused > COUNT / 2


@each
def test_a_pass_with_another_checksum_is_refused(
    name: str, pointed: Callable[[str], Codec]
) -> None:
    codec, image = pointed(name), crop(64, 64)
    first, second, _ = (codec.encode(image, point) for point in codec.points)
    for at in (len(first) - 1, len(second) - 1):
        data = bytearray(second)
        data[at] ^= 1
        with pytest.raises(BitstreamError, match=f"checksum of pass {1 + (at > len(first))}"):
            codec.decode(bytes(data))


def test_sizes_are_bounded(pointed: Callable[[str], Codec]) -> None:
    codec = pointed("toderici2016")
    data = codec.encode(crop(64, 64), codec.points[0])
    network = registry.network("toderici2016")
    header, offset = bitstream.read_header(data, network.magic, network.version)
    side = 64 * passes.MAX_BLOCKS
    long = replace(header, width=side + 1).to_bytes() + data[offset:] + bytes(side)
    with pytest.raises(BitstreamError, match="no such picture is coded in passes"):
        codec.decode(long)
    wide = np.broadcast_to(np.zeros(1, np.uint8), (1, side + 1, 3))
    with pytest.raises(EncodeError, match="cut it into parts"):
        codec.encode(wide, codec.points[0])


def test_a_first_pass_is_long_enough_for_its_picture() -> None:
    """However few bits it takes: a decoder's work is bounded by what it is given."""
    header = bitstream.Header(b"XX", 1, bytes(4), 0, 64 * 30, 64 * 30)
    symbols = [np.ones((1, 1, 1), np.int8)]
    data = header.to_bytes() + passes.pack(header, b"abcd", symbols)
    assert len(data) >= 30 * 30 / bitstream.BLOCKS_PER_BYTE
    (found, [(payload, checksum)]) = passes.unpack(data, b"XX", 1, 1)
    assert found == header
    assert payload.rstrip(b"\0") == b"abcd"
    passes.verify(header, checksum, symbols)


def test_points_are_whole_passes(pointed: Callable[[str], Codec]) -> None:
    codec = pointed("toderici2016")
    for value in (0, 1.5, 4):
        with pytest.raises(EncodeError, match="no weights for passes"):
            codec.encode(crop(32, 32), Point("passes", value))
    assert codec.choices == codec.points
    assert registry.create("toderici2016@2").points == (Point("passes", 2),)
