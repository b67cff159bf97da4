"""Shared pieces of the tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import bench  # noqa: F401 - makes the folder codecs/ importable
from codecs.base import Image

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data"))
"""Kodak, LPIPS backbones, published curves; not there on a user's machine."""


@pytest.fixture(scope="session")
def photo() -> Image:
    """A small natural picture: a part of scikit-image's cat, 192 x 176."""
    from skimage import data

    return np.ascontiguousarray(data.chelsea()[60:236, 100:292])
