"""What the RDONet tests share: pictures, and a tiny network trained for minutes."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import skimage.data
import torch

from codecs.base import Image
from codecs.learned.codec import LearnedCodec, load_model
from codecs.rdonet.codec import RDONetModel
from codecs.rdonet.network import RDONet

TOY = Path(__file__).parent / "data" / "toys" / "rdonet" / "toy.safetensors"
"""N = 7, trained on small crops of photographs for Λ = 12; see its card."""


@functools.cache
def toy(mode: str = "") -> RDONetModel:
    """Shared, so not to be changed."""
    return load_rdonet(TOY, mode)


def load_rdonet(path: Path, mode: str = "") -> RDONetModel:
    return load_model(path, RDONet, RDONetModel, mode)


def rdonet_codec(folder: Path, mode: str | None = None) -> LearnedCodec:
    return LearnedCodec("rdonet", "RDONet", RDONet, RDONetModel, mode, folder)


@functools.cache
def photograph() -> Image:
    """uint8[512, 512, 3]; shared, so not to be changed."""
    return np.asarray(skimage.data.astronaut())


def crop(height: int, width: int, seed: int = 0) -> Image:
    """A part of a photograph, repeated by reflection where it is too small."""
    rng = np.random.default_rng(seed)
    picture = photograph()
    picture = np.roll(picture, rng.integers(0, 512, 2), (0, 1))
    pad = [(0, max(0, n - 512)) for n in (height, width)]
    return np.ascontiguousarray(np.pad(picture, (*pad, (0, 0)), "reflect")[:height, :width])


def as_tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
