"""Real files of the same latents by each entropy model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from bench.entropy.models import kind_of
from codecs.base import CodecError, Image
from codecs.learned.codec import load_model
from codecs.learned.training.checkpoint import write_atomically
from codecs.learned.training.data import Pictures
from codecs.learned.transform import Analysis, TransformModel

Sizes = dict[str, list[int]]
"""Picture -> bytes of the file at each quality."""


class OtherLatents(CodecError):
    """A file does not hold the latents that it was made of."""


def code(
    name: str,
    weights: Path,
    pictures: Pictures,
    analysed: Callable[[int], torch.Tensor],
    path: Path,
    say: Callable[[str], None],
) -> Sizes:
    """Files of all pictures at all qualities; what stands at `path` already is not made again.

    `analysed` gives y of a picture's number, before gains.  One file of each picture, in turn at
    every quality, is decoded from its bytes: `OtherLatents` if it does not hold y, rounded.
    """
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    stored = json.loads(path.read_text()) if path.is_file() else {}
    sizes: Sizes = stored["sizes"] if stored.get("weights") == digest else {}
    left = [number for number in range(len(pictures)) if pictures.names[number] not in sizes]
    if not left:
        return sizes
    model = load_model(weights, kind_of(name), TransformModel)
    for number in left:
        image, y = pictures[number], analysed(number)
        sizes[pictures.names[number]] = _files(model, image, y, number)
        write_atomically(path, json.dumps({"weights": digest, "sizes": sizes}).encode())
    say(f"  {name}: {len(left)} pictures coded at {model.network.qualities} qualities")
    return sizes


def _files(model: TransformModel, image: Image, y: torch.Tensor, number: int) -> list[int]:
    """Bytes at each quality."""
    lengths = []
    for quality in range(model.network.qualities):
        data = model.code(Analysis(image, y), float(quality))
        lengths.append(len(data))
        if quality == number % model.network.qualities:
            with torch.inference_mode():
                scaled = model.network.scale(y, torch.tensor([float(quality)]))
                wanted = torch.round(scaled)
                _, symbols = model.decode_symbols(data)
                if not torch.equal(model.coder.latent(symbols), wanted):
                    raise OtherLatents(f"{model.name}: a file has other latents, picture {number}")
    return lengths


def pixels(pictures: Pictures) -> Mapping[str, int]:
    """Of each picture."""
    return {
        name: height * width
        for name, (height, width) in zip(pictures.names, pictures.shapes, strict=True)
    }
