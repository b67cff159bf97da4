"""What the checks share: findings, the photograph that they code, how its copies are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench import metrics
from codecs.base import Image

CODEC_LIMIT = 300.0
"""Seconds that a codec may take to encode or to decode one image."""
LEAST_PSNR = 20.0
"""dB: what any codec reaches in the middle of its ladder, and a wrong image never does."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: `ok`, `missing` (an optional part is not here), `wrong`, or `note`
    (worth knowing, and nobody's fault)."""

    name: str
    status: str
    detail: str
    of: str = ""
    """The codec that this is a part of the check of; empty for what stands by itself."""


def photograph() -> Image:
    """A natural image that comes with scikit-image, 256 x 240."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:240, 100:356])


def score(name: str, reference: Image, decoded: Image) -> float:
    """A metric of two images; PSNR in dB, infinite without loss."""
    metric = metrics.create(name)
    return metric.score(metric.prepare(reference), decoded)


def decibels(psnr: float) -> str:
    return "without loss" if math.isinf(psnr) else f"{psnr:.2f} dB"
