"""DISTS (Ding et al., IEEE TPAMI 2020): likeness of structure and texture in VGG16's features.

Same values as the authors' package DISTS_pytorch on pictures of 0 to 1 in their own size, with the
backbone that LPIPS uses.  Its weights of the features come with that package and are checked
against a pinned digest.  The original's features, which do not change over a rate ladder, are
computed once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.metrics import weights
from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.lpips import MAX_FEATURE_BYTES, SHARE
from bench.metrics.packaged import version_of
from codecs.base import Image
from codecs.device import chosen
from datasets.cache import file_digest

if TYPE_CHECKING:
    from torch import Tensor

    from bench.metrics.origins import Tensors

WEIGHTS_SHA256 = "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218"
MAX_PIXELS = SHARE // (6 * 4 * 64)
"""Of a picture: six of the largest features, which have 64 channels, exist at a time."""
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
C = 1e-6


@dataclass(frozen=True)
class Stage:
    """Features of one stage."""

    mean: Tensor
    """Over the picture: float32[C]."""
    centred: Tensor
    """The features less their mean: float32[C, pixels]."""

    @classmethod
    def of(cls, features: Tensor) -> Stage:
        mean = features.mean(1)
        return cls(mean, features - mean[:, None])

    def covariance(self, other: Stage) -> Tensor:
        """float32[C]."""
        import torch

        return torch.linalg.vecdot(self.centred, other.centred) / self.centred.shape[1]


@dataclass(frozen=True)
class Features:
    """The original with its features."""

    image: Image
    stages: tuple[Stage, ...] | None
    """None where they are too large to be kept."""

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + sum(stage.centred.nbytes for stage in self.stages or ())


class Network:
    """VGG16 with smooth pooling, and the weights of its features.

    `tensors`: the backbone's weights.  `state`: `alpha` and `beta`, float32[1, 1475, 1, 1].
    """

    def __init__(self, tensors: Tensors, state: dict[str, Tensor]) -> None:
        import torch

        from bench.metrics import backbone

        self.device = torch.device(chosen())
        with torch.device(self.device):
            self.stages = backbone.vgg16(tensors)
            self.mean = torch.tensor(MEAN)[:, None, None]
            self.deviation = torch.tensor(DEVIATION)[:, None, None]
            window = torch.tensor([0.25, 0.5, 0.25])  # Hann's
            self.window = window[:, None] * window
        total = state["alpha"].double().sum() + state["beta"].double().sum()
        channels = [3, *(stage.channels for stage in self.stages)]
        self.alpha, self.beta = (
            (state[name].flatten().double() / total).to(self.device).split(channels)
            for name in ("alpha", "beta")
        )

    def prepare(self, reference: Image) -> Features:
        import torch

        with torch.inference_mode():
            # Stages after the first are smaller together than it is.
            if 2 * 4 * 64 * reference.shape[0] * reference.shape[1] > MAX_FEATURE_BYTES:
                return Features(reference, None)
            return Features(reference, tuple(self._features(reference)))

    def distance(self, reference: Features, decoded: Image) -> float:
        """1 - the weighted likeness of means (texture) and of correlations (structure)."""
        import torch

        likeness = 0.0
        with torch.inference_mode():
            kept = reference.stages or self._features(reference.image)
            both = zip(kept, self._features(decoded), self.alpha, self.beta, strict=True)
            for x, y, alpha, beta in both:
                means = (2 * x.mean * y.mean + C) / (x.mean**2 + y.mean**2 + C)
                spread = x.covariance(x) + y.covariance(y)
                correlations = (2 * x.covariance(y) + C) / (spread + C)
                likeness += float((alpha * means + beta * correlations).sum())
        return 1 - likeness

    def _features(self, image: Image) -> Iterator[Stage]:
        """Of the picture itself, then of relu1_2 to relu5_3."""
        import torch
        import torch.nn.functional as F

        planes = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)).to(self.device)
        planes /= 255
        yield Stage.of(planes.flatten(1))
        x = ((planes - self.mean) / self.deviation)[None]
        for number, stage in enumerate(self.stages):
            if number:
                channels = x.shape[1]
                window = self.window.expand(channels, 1, 3, 3)
                x = F.conv2d(x * x, window, stride=2, padding=1, groups=channels)
                x = x.add_(1e-12).sqrt_()
            for layer in stage.layers:
                x = F.conv2d(x, layer.weight, layer.bias, padding=layer.padding).relu_()
            yield Stage.of(x[0].flatten(1))


class Dists(Metric):
    """DISTS, 0 for identical pictures."""

    name, label, higher_is_better = "dists", "DISTS", False
    uses_torch, seconds_per_pixel = True, 2e-5

    def __init__(self) -> None:
        package = version_of("DISTS-pytorch")
        self._file = _weights_file()
        self._backbone = weights.backbone("vgg")
        self.version = f"{package}, {weights.named(self._backbone)}, weights {WEIGHTS_SHA256[:12]}"

    @cached_property
    def _network(self) -> Network:
        """Built on first use: a version can be had without importing torch."""
        import torch

        state = torch.load(self._file, map_location="cpu", weights_only=True)
        return Network(self._backbone.tensors, state)

    def prepare(self, reference: Image) -> Features:
        height, width, _ = reference.shape
        if height * width > MAX_PIXELS:
            raise MetricUnavailable(
                f"the picture is {width}x{height}: DISTS of more than {MAX_PIXELS / 1e6:.1f} "
                "megapixels needs more memory than there is for each core"
            )
        return self._network.prepare(reference)

    def score(self, prepared: Features, decoded: Image) -> float:
        return self._network.distance(prepared, decoded)


def _weights_file() -> Path:
    """`alpha` and `beta` (a pickle of tensors) in the package, after the digest was checked."""
    installed = importlib.util.find_spec("DISTS_pytorch")
    origin = Path(installed.origin) if installed and installed.origin else Path()
    path = origin.parent / "weights.pt"
    if not path.is_file() or file_digest(path) != WEIGHTS_SHA256:
        raise MetricUnavailable(
            f"{path} is missing or is not what DISTS-pytorch 0.1 ships; reinstall that package"
        )
    return path
