"""Rates that cannot be true: so few bits that something but the stream must hold the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.verdict.results import CodecResult, Results

FEWEST_BPP, GOOD_PSNR = 0.01, 30.0
"""Bits per pixel below which no codec reaches so many dB on photographs.  The best coders need ten
times as many or more: VVC is at 24 to 30 dB on Kodak with 0.075 bpp."""
EASY_BPP = 0.1
"""Where another codec reaches `GOOD_PSNR` with fewer, the images are not photographs but flat or
simple, and next to no bits can be enough."""


@dataclass(frozen=True)
class Unlikely:
    """A codec's lowest-rate point that cannot be true, averaged over the images."""

    codec: str
    label: str
    point: str
    bpp: float
    psnr: float


def cannot_be_true(bpp: float, psnr: float) -> bool:
    """Whether so few bits cannot have given so good an image of a photograph."""
    return bpp < FEWEST_BPP and psnr > GOOD_PSNR


def unlikely_rates(results: Results) -> list[Unlikely]:
    """One for each codec whose mean over the images cannot be true at some point.

    Needs PSNR among the metrics.  Where another codec shows that the images are easy, nothing is
    said: of easy images such rates can be true.
    """
    if "psnr" not in results.metrics:
        return []
    means = {codec.name: _means(codec) for codec in results.codecs}
    found = []
    for codec in results.codecs:
        others = [mean for name, mean in means.items() if name != codec.name]
        if any(
            b < EASY_BPP and not cannot_be_true(b, p) and p > GOOD_PSNR
            for mean in others
            for b, p in mean
        ):
            continue
        for point, (bpp, psnr) in zip(codec.points, means[codec.name], strict=True):
            if cannot_be_true(bpp, psnr):
                found.append(Unlikely(codec.name, codec.label, point, bpp, psnr))
                break
    return found


def _means(codec: CodecResult) -> list[tuple[float, float]]:
    """(bits per pixel, PSNR in dB) of each point over the images that have both."""
    rows = zip(codec.bpp, codec.metric("psnr"), strict=True)
    means = []
    for bpp, psnr in rows:
        both = ~(np.isnan(bpp) | np.isnan(psnr))
        means.append(
            (float(bpp[both].mean()), float(psnr[both].mean())) if both.any() else (np.inf, 0.0)
        )
    return means
