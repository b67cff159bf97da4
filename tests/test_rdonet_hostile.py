"""Headers that claim more than there is must not cost a decoder its memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from codecs.base import BitstreamError, EncodeError
from codecs.learned import bitstream
from codecs.learned.bitstream import MAX_BLOCKS, Header
from codecs.rdonet import stream
from codecs.rdonet.masks import Masks
from codecs.rdonet.network import RDONet
from codecs.rdonet.stream import StreamCoder
from tests.conftest import ROOT

HOSTILE = """
import resource, bench, numpy, torch
from codecs.base import BitstreamError
from codecs.learned import bitstream
from codecs.learned.bitstream import MAX_BLOCKS, Header
from codecs.learned.coders.rangecoding import SymbolEncoder
from codecs.rdonet.network import RDONet
from codecs.rdonet.stream import StreamCoder

torch.set_num_threads(1)
network = RDONet(width=64).eval()
tables, digest = network.tables(), bytes(32)
coder = StreamCoder(network, tables, digest)
encoder = SymbolEncoder()
z = numpy.random.default_rng(0).integers(-2, 3, (64, MAX_BLOCKS), dtype=numpy.int32)
coder._units[1].hyper_latents.encode(encoder, z)
uniform_level_1 = 1 | 1 << 1
header = Header(RDONet.magic, RDONet.version, digest[:4], uniform_level_1, 64, 64 * MAX_BLOCKS)
data = bitstream.pack(header, [b"", b"", b"", encoder.get_bytes()], [])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    coder.decode(data)
except BitstreamError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_large_picture_that_is_not_there_costs_little_memory() -> None:
    """The largest size, with hyper-latents for all of it but without latents; compact's width."""
    command = [sys.executable, "-c", HOSTILE]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    grown, message = run.stdout.split(maxsplit=1)
    assert "payload" in message
    assert int(grown) < 1 << 20, f"{grown} KiB more than before"


def test_wide_networks_refuse_pictures_that_narrow_ones_take(monkeypatch) -> None:
    network = RDONet(width=8).eval()
    coder = StreamCoder(network, network.tables(), bytes(32), "these weights")
    monkeypatch.setattr(stream, "MAX_FEATURES", 8 * 3)
    x = torch.rand(1, 3, 64, 256)
    with pytest.raises(EncodeError, match="256x64 pixels are too many for these weights"):
        coder.encode(coder.features(x), Masks.uniform(1, 1, 1, 4), (64, 256))
    fits = coder.encode(coder.features(x[..., :192]), Masks.uniform(1, 1, 1, 3), (64, 192))
    assert coder.decode(fits).size == (64, 192)
    header = Header(RDONet.magic, RDONet.version, bytes(4), 1 | 1 << 1, 64, 256)
    with pytest.raises(BitstreamError, match="no encoder makes such large pictures"):
        coder.decode(bitstream.pack(header, [b""] * 4, []))


def test_compact_networks_take_all_that_the_format_takes() -> None:
    assert 64 * MAX_BLOCKS <= stream.MAX_FEATURES
