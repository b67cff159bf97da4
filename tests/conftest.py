"""Shared pieces of the tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Before anything loads torch. Tests run side by side: threads that wait in a loop for others, as
# those of OpenMP do, keep the very core from them that they need.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import bench  # noqa: F401 - makes the folder codecs/ importable
from codecs.base import Image
from datasets.cache import locked

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data"))
"""Kodak, LPIPS backbones, published curves; not there on a user's machine."""


@pytest.fixture(scope="session")
def photo() -> Image:
    """A small natural picture: a part of scikit-image's cat, 192 x 176."""
    from skimage import data

    return np.ascontiguousarray(data.chelsea()[60:236, 100:292])


@pytest.fixture
def toy_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learned codecs are made of the toys in tests/data, on one thread."""
    import torch

    torch.set_num_threads(1)
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", ROOT / "tests" / "data" / "toys")


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)` is a folder that `make` has filled, made by the first that asks.

    All processes of a test run have the same one, so it is to be copied, not changed.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        outer = shared / f"once-{name}"
        outer.mkdir(exist_ok=True)
        folder, done = outer / name, outer / "done"
        with locked(outer):
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made
