"""Multi-scale structural similarity (Wang, Simoncelli and Bovik, Asilomar 2003) on RGB.

Same definition, and same values, as `pytorch_msssim.ms_ssim` with its defaults: an 11-tap
Gaussian window with sigma 1.5, K = (0.01, 0.03), five scales, 2x2 means between the scales
(an image of odd size gets a row of zeros on both sides first), negative contrast terms set to
zero, the mean over the three channels at the end.

The values are the package's to 1e-5 as long as that is run in double precision.  In its usual
single precision it is off by up to 1e-4 on images with large saturated areas, where moments of
about 255^2 cancel; `_mean_terms` says how that is avoided here.

It is written again here for two reasons.  The moments of the original do not change over a rate
ladder and are computed once.  And the window is applied as a product with a banded matrix, which
is several times faster on a CPU than an 11-tap convolution of three channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.psnr import LUMA_BT709
from codecs.base import Image

Planes = NDArray[np.float32]
"""float32[C, H, W]."""

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TAPS = 11
SIGMA = 1.5
C1 = (0.01 * 255) ** 2
C2 = (0.03 * 255) ** 2
MIN_SIDE = (TAPS - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""161: below it the window does not fit into the coarsest scale."""

_BLOCK = 16  # outputs per product with the banded matrix; 8 to 32 are about equally fast
_STRIP = 8 * _BLOCK  # rows worked on at a time: the temporaries stay in the processor's cache


@dataclass(frozen=True)
class PyramidLevel:
    """The original at one scale, and its local moments where the window fits."""

    picture: Planes
    mean: Planes
    variance: Planes


@dataclass(frozen=True)
class Moments:
    """The original at all scales, finest first."""

    scales: tuple[PyramidLevel, ...]

    @property
    def nbytes(self) -> int:
        return sum(s.picture.nbytes + s.mean.nbytes + s.variance.nbytes for s in self.scales)


class MsSsim(Metric):
    """MS-SSIM in [0, 1]; unavailable where a side has less than 161 pixels."""

    name = "ms-ssim"
    label = "MS-SSIM"
    unit = ""
    higher_is_better = True
    version = "1 (RGB; window and weights of pytorch-msssim 1.0)"

    def prepare(self, reference: Image) -> Moments:
        height, width, _ = reference.shape
        if min(height, width) < MIN_SIDE:
            raise MetricUnavailable(
                f"MS-SSIM needs at least {MIN_SIDE} pixels a side; the picture is {width}x{height}"
            )
        return Moments(tuple(_scale(planes) for planes in _pyramid(reference)))

    def score(self, prepared: Moments, decoded: Image) -> float:
        product = np.ones(decoded.shape[2])
        coarsest = len(WEIGHTS) - 1
        for index, planes in enumerate(_pyramid(decoded)):
            term = _mean_terms(prepared.scales[index], planes, luminance=index == coarsest)
            product *= np.maximum(term, 0) ** WEIGHTS[index]
        return float(product.mean())


class MsSsimLuma(MsSsim):
    """MS-SSIM of BT.709 luma, not rounded, as JPEG AI's test conditions have it."""

    name = "ms-ssim-y"
    label = "MS-SSIM-Y"
    version = "1 (BT.709 luma, not rounded; window and weights of pytorch-msssim 1.0)"

    def prepare(self, reference: Image) -> Moments:
        return super().prepare((reference @ LUMA_BT709)[..., None])

    def score(self, prepared: Moments, decoded: Image) -> float:
        return super().score(prepared, (decoded @ LUMA_BT709)[..., None])


def _pyramid(image: NDArray[Any]) -> Iterator[Planes]:
    """The image, [H, W, C], at each scale, finest first."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    yield planes
    for _ in WEIGHTS[1:]:
        planes = _halved(planes)
        yield planes


def _halved(planes: Planes) -> Planes:
    """Means of 2x2 samples.  An odd side is padded with zeros at both ends, as in the package."""
    _, height, width = planes.shape
    if height % 2 or width % 2:
        planes = np.pad(planes, ((0, 0), (height % 2,) * 2, (width % 2,) * 2))
        _, height, width = planes.shape
    planes = planes[:, : height // 2 * 2, : width // 2 * 2]
    rows = planes[:, 0::2] + planes[:, 1::2]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)


def _scale(planes: Planes) -> PyramidLevel:
    channels, height, width = planes.shape
    shape = (channels, height - TAPS + 1, width - TAPS + 1)
    mean, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for c, out, rows in _strips(planes):
        strip = planes[c, rows]
        mean[c, out], second = _windowed(np.stack([strip, strip * strip]))
        np.subtract(second, mean[c, out] ** 2, out=variance[c, out])
    return PyramidLevel(planes, mean, variance)


def _mean_terms(reference: PyramidLevel, planes: Planes, *, luminance: bool) -> NDArray[np.float64]:
    """Mean contrast-structure term, or with `luminance` mean SSIM, of each channel: float64[C].

    With d = x - y the terms of the definition,

        (2 cov(x, y) + C2) / (var x + var y + C2)  and  (2 mx my + C1) / (mx^2 + my^2 + C1),

    equal 1 - var d / (var x + var y + C2) and 1 - (mean d)^2 / (mx^2 + my^2 + C1).  Written so,
    they keep their precision where x and y are bright and alike, and are 1 where x = y.
    """
    losses = np.zeros(len(planes))
    for c, out, rows in _strips(planes):
        y = planes[c, rows]
        d = reference.picture[c, rows] - y
        d_mean, d_second, y_second = _windowed(np.stack([d, d * d, y * y]))
        x_mean = reference.mean[c, out]
        y_squared = np.square(x_mean - d_mean)
        d_squared = np.square(d_mean, out=d_mean)
        spread = np.subtract(y_second, y_squared, out=y_second)
        spread += reference.variance[c, out]
        spread += np.float32(C2)
        loss = np.subtract(d_second, d_squared, out=d_second)
        loss /= spread
        if luminance:  # 1 - (1 - loss)(1 - dimming) = loss + dimming (1 - loss)
            dimming = d_squared / (x_mean * x_mean + y_squared + np.float32(C1))
            loss += dimming * (1 - loss)
        losses[c] += loss.sum(dtype=np.float64)
    return 1 - losses / reference.mean[0].size


def _strips(planes: Planes) -> Iterator[tuple[int, slice, slice]]:
    """(channel, rows of the result, rows of the image that they depend on)."""
    channels, height, _ = planes.shape
    last = height - TAPS + 1
    for c in range(channels):
        for top in range(0, last, _STRIP):
            bottom = min(top + _STRIP, last)
            yield c, slice(top, bottom), slice(top, bottom + TAPS - 1)


def _windowed(planes: Planes) -> Planes:
    """Gaussian means where the window fits: [N, H, W] -> [N, H - 10, W - 10]."""
    count, height, width = planes.shape
    tall, wide = height - TAPS + 1, width - TAPS + 1
    columns = np.empty((count, tall, width), np.float32)
    for block, size, number in _blocks(tall):
        np.matmul(
            _band(size),
            _windows(planes, block, size + TAPS - 1, size, number, axis=1),
            out=_windows(columns, block, size, size, number, axis=1),
        )
    means = np.empty((count, tall, wide), np.float32)
    for block, size, number in _blocks(wide):
        np.matmul(
            _windows(columns, block, size + TAPS - 1, size, number, axis=2),
            _band(size).T,
            out=_windows(means, block, size, size, number, axis=2),
        )
    return means


def _blocks(length: int) -> Iterator[tuple[int, int, int]]:
    """Cover `length` outputs by equal blocks and one rest: (start, block size, number)."""
    number, rest = divmod(length, _BLOCK)
    if number:
        yield 0, _BLOCK, number
    if rest:
        yield number * _BLOCK, rest, 1


def _windows(
    planes: Planes, start: int, length: int, step: int, number: int, *, axis: int
) -> Planes:
    """`number` windows along an axis, the k-th from `start + k * step`, as a leading axis.

    A view: [N, H, W] -> [N, number, length, W] for axis 1, [number, N * H, length] for axis 2.
    """
    count, height, width = planes.shape
    plane, row, item = planes.strides
    if axis == 1:
        shape: tuple[int, ...] = (count, number, length, width)
        strides: tuple[int, ...] = (plane, step * row, row, item)
        return as_strided(planes[:, start:], shape, strides)
    shape = (number, count * height, length)
    return as_strided(planes[:, :, start:], shape, (step * item, row, item))


@cache
def _band(size: int) -> NDArray[np.float32]:
    """The matrix that takes `size + 10` samples to `size` Gaussian means."""
    # Rounded once: a window that sums to 1 + e biases a variance by e times the squared mean.
    taps = np.exp(-((np.arange(TAPS) - TAPS // 2) ** 2) / (2 * SIGMA**2))
    taps /= taps.sum()
    band = np.zeros((size, size + TAPS - 1), np.float32)
    for row in range(size):
        band[row, row : row + TAPS] = taps
    return band
