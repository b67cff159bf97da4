"""Damaged streams of the Minnen codec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from codecs.base import Image
from tests.conftest import ROOT
from tests.learned_fuzz import check_decoder
from tests.learned_toys import minnen_model


def test_damaged_streams_are_refused(tmp_path: Path, photo: Image) -> None:
    model = minnen_model(tmp_path)
    grey = np.full((70, 130, 3), 128, np.uint8)
    streams = [model.encode(image) for image in (photo, photo[:64, :64], grey, photo[:1, :1])]
    check_decoder(model.decode, streams)


HOSTILE = """
import resource, sys, bench, numpy, torch
from pathlib import Path
from codecs.base import BitstreamError
from codecs.learned import bitstream, weights
from codecs.learned.bitstream import MAX_BLOCKS, Header
from codecs.learned.coders.rangecoding import SymbolEncoder
from codecs.minnen import Minnen
from tests.learned_toys import load_minnen

torch.set_num_threads(1)
path = Path(sys.argv[1])
weights.export(Minnen.preset("paper").eval(), path, {})
model = load_minnen(path)
z = numpy.random.default_rng(0).integers(-2, 3, (192, MAX_BLOCKS), dtype=numpy.int32)
encoder = SymbolEncoder()
model.coder.z.encode(encoder, z)
header = Header(Minnen.magic, Minnen.version, model.digest[:4], 0, 64, 64 * MAX_BLOCKS)
data = bitstream.pack(header, [encoder.get_bytes(), b"none"], [])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    model.decode(data)
except BitstreamError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_large_picture_that_is_not_there_costs_little_memory(tmp_path: Path) -> None:
    """The largest size, with hyper-latents for all of it but without latents; paper's width."""
    command = [sys.executable, "-c", HOSTILE, str(tmp_path / "paper.safetensors")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    grown, message = run.stdout.split(maxsplit=1)
    assert "payload" in message
    assert int(grown) < 1 << 20, f"{grown} KiB more than before"
