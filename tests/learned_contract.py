"""What the tests of learned codecs' contract share (`test_learned_contract*.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import Codec, Image
from codecs.learned import bitstream
from codecs.learned.progressive import PassNetwork
from codecs.learned.transform import TransformNetwork
from tests.conftest import ROOT
from tests.learned_toys import TOYS
from tests.rdonet_toys import crop

NAMES = [name for name in registry.trainable() if name != "learned-jpeg"]
"""The codecs whose streams are the project's; those of `learned-jpeg` are JPEG files, see
`test_learned_jpeg`."""
VARIANTS = {entry.name: entry.variants for entry in registry.available() if entry.name in NAMES}
POINT: dict[str, Any] = {"parameter": "lambda", "value": 0.01}

TRANSFORM_CODECS = [n for n in NAMES if issubclass(registry.network(n), TransformNetwork)]
CUT = [n for n in NAMES if issubclass(registry.network(n), PassNetwork)]
"""Those whose streams may be cut, and that have a point for each pass: see test_passes."""
WHOLE = [n for n in NAMES if n not in CUT]
"""The others, which serve a range of rates by gains."""

REFINING = [n for n in NAMES if "latents" in VARIANTS[n]]
"""Those whose latents are integers."""

each_refining_codec = pytest.mark.parametrize("name", REFINING)
each_codec = pytest.mark.parametrize("name", NAMES)
each_whole_codec = pytest.mark.parametrize("name", WHOLE)
each_transform_codec = pytest.mark.parametrize("name", TRANSFORM_CODECS)


def encoded(codec: Codec, image: Image) -> bytes:
    return codec.encode(image, codec.points[0])


def sized(name: str, height: int, width: int, seed: int = 0) -> Image:
    """A crop; for iwave, which takes ten times as long as others, a quarter of it."""
    return crop(height // 2, width // 2, seed) if name == "iwave" else crop(height, width, seed)


def padded(image: Image, stride: int) -> torch.Tensor:
    """[1, 3, H, W] in 0...1, its last row and column repeated up to multiples of `stride`."""
    right, bottom = (-image.shape[1]) % stride, (-image.shape[0]) % stride
    image = np.pad(image, ((0, bottom), (0, right), (0, 0)), "edge")
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def forged(name: str, data: bytes, **fields: Any) -> bytes:
    """A stream with another header."""
    network = registry.network(name)
    header, offset = bitstream.read_header(data, network.magic, network.version)
    return replace(header, **fields).to_bytes() + data[offset:]


ELSEWHERE = """
import json, sys, zlib, bench, torch
from pathlib import Path
import codecs.learned.codec
from codecs import registry

torch.set_num_threads(2)
codecs.learned.codec.WEIGHTS = Path(sys.argv[1])
for line in sys.stdin:
    name, file = json.loads(line)
    picture = registry.create(name).decode(Path(file).read_bytes())
    print(json.dumps([name, list(picture.shape), zlib.crc32(picture.tobytes())]))
"""


def decoded_elsewhere(
    streams: Iterable[tuple[str, bytes]], folder: Path, root: Path = TOYS
) -> list[tuple[str, Any]]:
    """What `told` says of the pictures that another process decodes on two threads."""
    lines = []
    for index, (name, data) in enumerate(streams):
        file = folder / f"{index}.bin"
        file.write_bytes(data)
        lines.append(json.dumps([name, str(file)]))
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(root)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    return [(name, found) for name, *found in map(json.loads, run.stdout.splitlines())]


def told(picture: Image) -> list[Any]:
    return [list(picture.shape), zlib.crc32(picture.tobytes())]


HEADER_BYTES = 48
"""More than header, lengths, checksum and whole words of range coders take."""
