"""What the tests of all classical codecs share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from codecs.base import Image

NAMES = ("jpeg", "jpeg2000", "webp", "avif", "jxl", "hevc", "vvenc:faster")
"""One of each; VVenC by its quickest preset."""


def psnr(a: Image, b: Image) -> float:
    """PSNR in dB over all three channels."""
    assert a.shape == b.shape
    error = np.mean((a.astype(float) - b) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def clean_environment() -> dict[str, str]:
    """The environment for a Python process that imports from the checkout."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
