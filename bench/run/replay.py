"""Whether a kept stream, decoded again, still gives what was measured.

The same stream may decode to an image that differs by 1 in a few samples, on a processor whose
arithmetic rounds otherwise: no reason to measure again what took hours.  What was measured counts
as reproduced where a stored score is, to a hundredth of a decibel; any other image is another
decoder's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from bench.metrics.base import MetricValue
from bench.record.measurement import Measurement

TOLERANCE = 0.01
"""Decibels by which a score may differ on a reconstruction that counts as the one measured."""
RELATIVE = 0.0023
"""The same as a share, for scores that no decibels are known of."""
WITNESSES = ("psnr", "psnr-y", "ms-ssim", "lpips-alex", "lpips-vgg")
"""The scores that are asked, in this order; one that was stored decides."""

Score = Callable[[tuple[str, ...]], Mapping[str, MetricValue]]
"""Computes metrics of the new reconstruction."""


def same_image(m: Measurement, pixel_digest: str) -> bool:
    """Whether a reconstruction is the measured one to the sample."""
    return pixel_digest == m.reconstruction_digest


def is_reproduced(m: Measurement, score: Score) -> bool:
    """Whether a reconstruction of another digest has the score that is stored with `m`.

    The first of `WITNESSES` decides that is stored with a finite value and computed here by the
    same version of the metric; without any, only the digest could have told.
    """
    for name in WITNESSES:
        stored = m.metrics.get(name)
        if stored is None or not math.isfinite(decibels(name, stored.value)):
            continue
        again = score((name,)).get(name)
        if again is not None and again.version == stored.version:
            return same_score(name, stored.value, again.value)
    return False


def same_score(metric: str, stored: float | None, again: float | None) -> bool:
    """Whether two values of one metric, of one picture, are one."""
    if stored is None or again is None:
        return stored is again
    if metric in WITNESSES and math.isfinite(decibels(metric, stored)):
        return abs(decibels(metric, again) - decibels(metric, stored)) <= TOLERANCE
    return math.isclose(stored, again, rel_tol=RELATIVE, abs_tol=1e-6)


def decibels(metric: str, value: float | None) -> float:
    """A score as PSNR counts, 10 log10 of what is left to perfection; infinite or NaN without.

    0.01 dB are 0.23 % of the mean squared error, and of 1 - MS-SSIM or of LPIPS as much.
    """
    if value is None:
        return math.nan
    if metric.startswith("psnr"):
        return value
    distance = 1 - value if metric == "ms-ssim" else value
    return -10 * math.log10(distance) if distance > 0 else math.inf
