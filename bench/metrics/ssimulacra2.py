"""SSIMULACRA 2.1 (Sneyers, Cloudinary 2023): weighted errors of XYB planes at six scales.

Colours, error maps and weights are the package's of that name.  Blur and number of scales are
those of the authors' program in libjxl, from which the package departs: it reflects the picture at
two of its borders and leaves the coarsest scale out where a side has fewer than 225 pixels, by
which a photograph of 512 x 512 pixels scores up to 2 points otherwise, a small one 20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.metrics.base import Metric
from bench.metrics.packaged import require_size, version_of
from codecs.base import Image

Planes = NDArray[np.float64]
"""float64[W, H, 3]: the package has columns first."""

SCALES = 6
SMALLEST = 8
"""Pixels that a side must have for a picture to be scored, and for a coarser scale to follow."""
BLUR = np.array([0.0094143678, 0.0360111147, 0.1093353728, 0.2129285920, 0.2646211055])
"""Half of libjxl's Gaussian of sigma 1.5, `CreateRecursiveGaussian`: what its recursion (sums of
three cosines, Charalampidis 2016) makes of a single sample; the last is the middle one."""


@dataclass(frozen=True)
class Scale:
    """A picture at one scale, its local means, and those of its squares."""

    picture: Planes
    mean: Planes
    second: Planes

    @property
    def nbytes(self) -> int:
        return self.picture.nbytes + self.mean.nbytes + self.second.nbytes


@dataclass(frozen=True)
class Scales:
    """The original at all scales, finest first."""

    each: tuple[Scale, ...]

    @property
    def nbytes(self) -> int:
        return sum(scale.nbytes for scale in self.each)


class Ssimulacra2(Metric):
    """SSIMULACRA2, 100 for identical pictures, without lower bound."""

    name, label, higher_is_better = "ssimulacra2", "SSIMULACRA2", True
    seconds_per_pixel = 3e-6

    def __init__(self) -> None:
        self.version = f"2.1 ({version_of('ssimulacra2')}; blur and scales of libjxl)"

    def prepare(self, reference: Image) -> Scales:
        require_size(self, reference, SMALLEST)
        return Scales(tuple(_scales(reference)))

    def score(self, prepared: Scales, decoded: Image) -> float:
        from ssimulacra2 import ssimulacra2 as package

        errors: Any = package.Msssim()
        for x, y in zip(prepared.each, _scales(decoded), strict=True):
            product = _blurred(x.picture * y.picture)
            error = package.MsssimScale()
            error.avg_ssim = package.ssim_map(x.mean, y.mean, x.second, y.second, product)
            error.avg_edgediff = package.edge_diff_map(x.picture, x.mean, y.picture, y.mean)
            errors.scales.append(error)
        return float(errors.score())


def _scales(image: Image) -> Iterator[Scale]:
    from ssimulacra2 import ssimulacra2 as package

    linear = package.srgb_to_linear(image)
    for number in range(SCALES):
        if min(linear.shape[:2]) < SMALLEST:
            return
        if number:
            linear = package.downsample(linear, 2, 2)
        xyb = package.make_positive_xyb(package.linear_rgb_to_xyb(linear))
        yield Scale(xyb, _blurred(xyb), _blurred(xyb * xyb))


def _blurred(planes: Planes) -> Planes:
    """Gaussian means, with zeros around the picture."""
    from scipy.ndimage import correlate1d

    kernel = np.concatenate([BLUR, BLUR[-2::-1]])
    columns = correlate1d(planes, kernel, axis=0, mode="constant")
    return np.asarray(correlate1d(columns, kernel, axis=1, mode="constant"))
