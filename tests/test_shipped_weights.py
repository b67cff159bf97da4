"""The weights in the repository, as anyone gets them."""

from __future__ import annotations

import numpy as np
import pytest

from codecs import registry
from codecs.rdonet.codec import SETS
from tests.conftest import ROOT

COLOURS = {
    "green": (60, 150, 60),
    "magenta": (170, 90, 170),
    "red": (190, 60, 50),
    "blue": (50, 80, 170),
    "grey": (128, 128, 128),
}
LARGEST_ERROR = 16
"""Of 255 levels, in the mean of a flat picture: what a viewer of flat areas just tolerates."""


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("name", ["rdonet", "rdonet-msssim", "minnen", "minnen-mse"])
def test_colours_survive(name: str, colour: str) -> None:
    """Weights once shipped lost green against magenta: at 0.075 bpp nothing of it was sent."""
    codec = registry.create(name)
    noise = np.random.default_rng(0).normal(0, 3, (128, 128, 3))
    picture = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    for point in codec.points[1:]:
        decoded = codec.decode(codec.encode(picture, point))
        error = np.abs(decoded.mean((0, 1)) - picture.mean((0, 1)))
        assert error.max() < LARGEST_ERROR, (point.label, error)


def test_they_stay_small() -> None:
    files = [*ROOT.glob("codecs/*/weights/**/*.safetensors")]
    assert len(files) >= sum(len([*folder.glob("*.safetensors")]) for folder in SETS.values()) > 0
    assert sum(file.stat().st_size for file in files) <= 60e6
