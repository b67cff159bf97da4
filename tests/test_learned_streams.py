"""The container and weights files: layout, limits, damage."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codecs.base import BitstreamError, CodecUnavailable, EncodeError
from codecs.learned import weights
from codecs.learned.bitstream import (
    MAX_BLOCKS,
    Header,
    blocks,
    check_model,
    pack,
    read_varint,
    unpack,
    write_varint,
)

LATENTS = [np.arange(-6, 6, dtype=np.int32).reshape(3, 4), np.ones((2, 2, 2), np.int32)]


def header(height: int = 300, width: int = 100) -> Header:
    return Header(b"XY", 1, b"abcd", 0, height, width)


def test_layout() -> None:
    """Byte for byte, by hand."""
    data = pack(header(), [b"one", b"", b"three"], LATENTS)
    body = b"XY\x01abcd\x00" + b"\x64" + b"\xac\x02" + b"\x03\x00\x05" + b"onethree"
    crc = zlib.crc32(b"XY\x01abcd\x00\x64\xac\x02")
    for shape, latent in (("3 4", LATENTS[0]), ("2 2 2", LATENTS[1])):
        crc = zlib.crc32(b"".join(int(n).to_bytes(4, "little") for n in shape.split()), crc)
        values = b"".join(int(v).to_bytes(2, "little", signed=True) for v in latent.flat)
        crc = zlib.crc32(values, crc)
    assert data == body + crc.to_bytes(4, "little")


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.lists(st.binary(max_size=300), max_size=5))
def test_round_trip(height: int, width: int, sections: list[bytes]) -> None:
    data = pack(header(height, width), sections, LATENTS)
    stream = unpack(data, b"XY", 1, len(sections))
    assert stream.header == header(height, width)
    assert list(stream.sections) == sections
    stream.verify(LATENTS)
    other = [LATENTS[0] + 1, LATENTS[1]]
    with pytest.raises(BitstreamError, match="checksum"):
        stream.verify(other)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_a_stream(data: bytes) -> None:
    for candidate in (data, b"XY\x01" + data):
        try:
            stream = unpack(candidate, b"XY", 1, 2)
        except BitstreamError:
            continue
        assert sum(map(len, stream.sections)) < len(candidate)


@settings(deadline=None)
@given(st.integers(0, (1 << 35) - 1))
def test_varints(value: int) -> None:
    data = write_varint(value)
    assert read_varint(data + b"x", 0, value) == (value, len(data))
    assert len(data) == max(1, -(-value.bit_length() // 7))
    with pytest.raises(BitstreamError):
        read_varint(data[:-1], 0, value)
    if value:
        with pytest.raises(BitstreamError, match="limit"):
            read_varint(data, 0, value - 1)


def test_endless_varints_are_refused() -> None:
    with pytest.raises(BitstreamError, match="limit"):
        read_varint(b"\x80" * 100, 0, 1 << 20)


def test_few_bytes_cannot_claim_many_pixels() -> None:
    """A file is padded to a byte for every two blocks, and a shorter one is refused."""
    data = pack(header(6400, 6400), [b""], [])
    assert len(data) == blocks(6400, 6400) // 2 == 5000
    assert unpack(data, b"XY", 1, 1).sections == (b"",)
    with pytest.raises(BitstreamError, match="cannot come from 4999 bytes"):
        unpack(data[:-1], b"XY", 1, 1)
    tall = header(1 << 20, 1).to_bytes()
    with pytest.raises(BitstreamError, match="cannot come from"):
        unpack(tall + bytes(100), b"XY", 1, 1)
    with pytest.raises(BitstreamError, match="0x5"):
        unpack(header(5, 0).to_bytes() + bytes(100), b"XY", 1, 1)


@pytest.mark.parametrize("size", [(8193, 8192), (1, 64 * MAX_BLOCKS + 1), (1 << 14, 1 << 14)])
def test_no_file_claims_more_blocks_than_the_format_has(size: tuple[int, int]) -> None:
    """Thin pictures count as what they are padded to."""
    assert pack(header(8192, 8192), [b""], [])
    with pytest.raises(EncodeError, match="stops at 16384"):
        pack(header(*size), [b""], [])
    forged = header(*size).to_bytes() + bytes(1 << 20)
    with pytest.raises(BitstreamError, match="header is damaged"):
        unpack(forged, b"XY", 1, 1)


def test_damage_is_named() -> None:
    data = pack(header(), [b"payload!"], LATENTS)
    with pytest.raises(BitstreamError, match="not a stream of this codec"):
        unpack(b"\x89PNG" + data, b"XY", 1, 1)
    with pytest.raises(BitstreamError, match="format version 1; this decoder reads 2"):
        unpack(data, b"XY", 2, 1)
    with pytest.raises(BitstreamError, match="cut short"):
        unpack(data[:14], b"XY", 1, 1)
    with pytest.raises(BitstreamError, match="sections are longer"):
        unpack(data[:-5], b"XY", 1, 1)
    with pytest.raises(BitstreamError, match="trailing data"):
        unpack(data + b"more", b"XY", 1, 1)
    with pytest.raises(BitstreamError, match="made with weights 61626364, but toy has 00000000"):
        check_model(unpack(data, b"XY", 1, 1).header, bytes(32), "toy")


@pytest.mark.parametrize("half", [False, True])
def test_weights_round_trip(tmp_path: Path, half: bool) -> None:
    parameters = {"a": torch.randn(3, 4), "b": torch.arange(3)}
    tables = {"t": np.arange(5, dtype=np.int32)}
    card = {"architecture": "toy", "point": {"value": 1}}
    path = tmp_path / "deep" / "w.safetensors"
    digest = weights.save(path, parameters, tables, card, half)
    loaded = weights.load(path, "toy")
    assert loaded.digest == digest
    assert loaded.card == card
    expected = weights.half_precision(parameters) if half else parameters
    assert all(torch.equal(loaded.parameters[k], v) for k, v in expected.items())
    assert loaded.parameters["a"].dtype == torch.float32
    assert {name: table.tolist() for name, table in loaded.tables.items()} == {"t": [0, 1, 2, 3, 4]}
    assert os.listdir(path.parent) == ["w.safetensors"]
    with pytest.raises(CodecUnavailable, match="'toy', not of 'minnen'"):
        weights.load(path, "minnen")


def test_weights_that_are_not_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    plain = safetensors.torch.save({"a": torch.ones(2)})
    contents = [b"", b"\x80\x04pickle", b"\xff" * 8 + b"{}", plain[:-1], plain]
    for data in contents:
        path.write_bytes(data)
        with pytest.raises(CodecUnavailable, match="not a weights file"):
            weights.load(path, "toy")
    with pytest.raises(CodecUnavailable, match="not a weights file"):
        weights.load(tmp_path / "missing", "toy")
    with pytest.raises(ValueError, match="not finite"):
        weights.save(path, {"a": torch.tensor([1e6])}, {}, {"architecture": "toy"}, half=True)
