"""Metrics computed by other people's packages: a small class for each.

The packages are in the optional group `metrics` of `pyproject.toml`; where one is missing, its
metrics are unavailable.  What JPEG AI's test conditions compute on luma is computed on BT.709 luma
here, too: Y = 0.2126 R + 0.7152 G + 0.0722 B of the 8-bit picture, not rounded.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import math
from typing import Any, ClassVar

import numpy as np

from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.psnr import LUMA_BT709
from codecs.base import Image


def version_of(package: str) -> str:
    """`piq 0.8.0`.  Raises `MetricUnavailable` where it is not installed; imports nothing."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        raise MetricUnavailable(
            f"the package {package} is not installed: run `make`, or install the optional group "
            "`metrics` (pip install '.[metrics]')"
        ) from None


def require_size(metric: Metric, image: Image, smallest: int) -> None:
    """Raise `MetricUnavailable` for a picture with a side of less than `smallest` pixels."""
    height, width, _ = image.shape
    if min(height, width) < smallest:
        raise MetricUnavailable(
            f"{metric.label} needs at least {smallest} pixels a side; the picture is "
            f"{width}x{height}"
        )


class Packaged(Metric):
    """A metric that a package computes of two pictures in the form that `converted` gives them."""

    package: ClassVar[str]
    """As the registry calls it."""
    on: ClassVar[str]
    """What the package is handed."""
    smallest: ClassVar[int] = 1
    """Pixels that a side must have."""

    def __init__(self) -> None:
        self.version = f"{version_of(self.package)}, {self.on}"

    def prepare(self, reference: Image) -> Any:
        require_size(self, reference, self.smallest)
        return self.converted(reference)

    def score(self, prepared: Any, decoded: Image) -> float:
        return float(self.compare(prepared, self.converted(decoded)))

    def converted(self, image: Image) -> Any:
        """uint8[H, W, 3] -> what the package takes; here float32[1, 1, H, W], luma of 0 to 255."""
        import torch

        return torch.from_numpy((image @ LUMA_BT709).astype(np.float32))[None, None]

    def compare(self, original: Any, decoded: Any) -> Any:
        """The package's own call."""
        raise NotImplementedError


class IwSsim(Packaged):
    """IW-SSIM (Wang and Li, IEEE TIP 2011) by piq; none where a picture has no detail."""

    name, label, higher_is_better = "iw-ssim", "IW-SSIM", True
    package, on, smallest = "piq", "BT.709 luma", 161
    uses_torch, seconds_per_pixel = True, 2e-6

    def compare(self, original: Any, decoded: Any) -> Any:
        import piq
        import torch

        try:
            return piq.information_weighted_ssim(decoded, original, data_range=255)
        except torch.linalg.LinAlgError as error:
            raise MetricUnavailable("IW-SSIM has no value of a picture without detail") from error


class Vifp(Packaged):
    """VIFp, VIF in the domain of pixels (Sheikh and Bovik, IEEE TIP 2006), by piq."""

    name, label, higher_is_better = "vifp", "VIFp", True
    package, on, smallest = "piq", "BT.709 luma", 41
    uses_torch, seconds_per_pixel = True, 1e-6

    def compare(self, original: Any, decoded: Any) -> Any:
        import piq

        return piq.vif_p(decoded, original, data_range=255)


class Fsim(Packaged):
    """FSIMc, FSIM with colour (Zhang et al., IEEE TIP 2011), by piq, which converts to YIQ."""

    name, label, higher_is_better = "fsim", "FSIM", True
    package, on, smallest = "piq", "RGB", 2
    uses_torch, seconds_per_pixel = True, 4e-6

    def converted(self, image: Image) -> Any:
        """uint8[H, W, 3] -> float32[1, 3, H, W] of 0 to 255."""
        import torch

        return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]

    def compare(self, original: Any, decoded: Any) -> Any:
        import piq

        return piq.fsim(decoded, original, data_range=255)


class Nlpd(Packaged):
    """NLPD, distance of normalised Laplacian pyramids (Laparra et al., HVEI 2016), by plenoptic."""

    name, label, higher_is_better = "nlpd", "NLPD", False
    package, on, smallest = "plenoptic", "BT.709 luma", 33
    uses_torch, seconds_per_pixel = True, 1e-6

    def converted(self, image: Image) -> Any:
        """uint8[H, W, 3] -> float32[1, 1, H, W] of 0 to 1."""
        return super().converted(image) / 255

    def compare(self, original: Any, decoded: Any) -> Any:
        from plenoptic.metric import nlpd

        return nlpd(original, decoded)


class PsnrHvsM(Packaged):
    """PSNR-HVS-M (Ponomarenko et al., VPQM 2007) by psnr_hvsm, the package JPEG AI uses.

    Sides are padded to multiples of 8 with copies of the last row or column, as JPEG AI does.
    Identical pictures have `math.inf` as with any PSNR here, where the package gives 100 dB.
    """

    name, label, unit, higher_is_better = "psnr-hvs-m", "PSNR-HVS-M", "dB", True
    package, on = "psnr-hvsm", "BT.709 luma, edges copied to multiples of 8"
    seconds_per_pixel = 3e-7

    def converted(self, image: Image) -> Any:
        """uint8[H, W, 3] -> float64[H', W'] of 0 to 1."""
        height, width, _ = image.shape
        return np.pad(image @ LUMA_BT709 / 255, ((0, -height % 8), (0, -width % 8)), mode="edge")

    def compare(self, original: Any, decoded: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of backends it could have, too
            from psnr_hvsm.numpy import psnr_hvs_hvsm

        if np.array_equal(original, decoded):
            return math.inf
        with np.errstate(invalid="ignore"):  # of blocks without contrast, which it then leaves out
            return psnr_hvs_hvsm(original, decoded)[1]


class Ciede2000(Packaged):
    """Mean colour difference CIEDE2000 (Sharma et al., CR&A 2005) by scikit-image; white is D65."""

    name, label, higher_is_better = "ciede2000", "CIEDE2000", False
    package, on = "scikit-image", "mean over pixels, sRGB"
    seconds_per_pixel = 1.5e-6

    def converted(self, image: Image) -> Any:
        """uint8[H, W, 3] -> float64[H, W, 3] in CIELAB."""
        from skimage.color import rgb2lab

        return rgb2lab(image)

    def compare(self, original: Any, decoded: Any) -> Any:
        from skimage.color import deltaE_ciede2000

        return deltaE_ciede2000(original, decoded).mean()
