"""What the checks share: findings, the photograph that they code, how its copies are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench import metrics
from codecs.base import Image

CODEC_LIMIT = 300.0
"""Seconds that a codec may take to encode or to decode one image."""
SURE_PSNR = 20.0
"""dB at which an image is surely the one that was coded."""
ABOVE_MEAN = 6.0
"""dB by which one below that must be better than its mean colour alone: three quarters of what the
picture varies are right then.  A codec of 0.06 bpp is 8 dB better; the picture shifted by eight
pixels 4, another picture none."""
ALTERED = {
    "with red and blue swapped": lambda image: image[..., ::-1],
    "upside down": lambda image: image[::-1],
    "mirrored": lambda image: image[:, ::-1],
    "as a negative": lambda image: 255 - image,
}
"""What goes wrong in codecs that people bring, by what it makes of the image."""


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


def another_image(reference: Image, decoded: Image, psnr: float, sure: float = SURE_PSNR) -> str:
    """Why `decoded`, which has a PSNR of `psnr`, is not a poor copy of `reference` but another
    image; empty where it may be, as from `sure` dB on."""
    if psnr >= sure:
        return ""
    altered = {
        how: score("psnr", np.ascontiguousarray(alter(reference)), decoded)
        for how, alter in ALTERED.items()
    }
    nearest = max(altered, key=altered.__getitem__)
    mean = np.broadcast_to(reference.mean((0, 1)).round().astype(np.uint8), reference.shape)
    least = min(sure, score("psnr", reference, np.ascontiguousarray(mean)) + ABOVE_MEAN)
    if altered[nearest] > psnr and altered[nearest] >= least:
        return f"the picture {nearest}"
    return "" if psnr >= least else f"another picture (below {least:.0f} dB)"
