"""LPIPS v0.1 (Zhang et al., CVPR 2018): distance of deep features, weighted to human judgement.

Same values as the lpips package's `LPIPS(net=..., version="0.1")` on images scaled to [-1, 1].
The original's features, which do not change over a rate ladder, are computed once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics import weights
from bench.metrics.base import Metric, MetricUnavailable
from codecs.base import Image
from codecs.device import chosen

if TYPE_CHECKING:
    from torch import Tensor

    from bench.metrics.backbone import Stage
    from bench.metrics.origins import Tensors

_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
SHARE = _MEMORY // (2 * len(os.sched_getaffinity(0)))
"""A core's share of half the memory, in bytes, because each may score an image of its own."""
MAX_FEATURE_BYTES = min(3 << 29, SHARE)
"""1.5 GiB at most.  Features of larger images are computed again for each decoded one."""

# The package's input scaling: (x - SHIFT) / SCALE for x in [-1, 1].
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


@dataclass(frozen=True)
class Features:
    """The original's features of unit length over the channels: float32[pixels, C] each."""

    image: Image
    strips: tuple[tuple[int, Tensor], ...] | None
    """(stage, features); None where they are too large to be kept."""

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + sum(strip.nbytes for _, strip in self.strips or ())


class Network:
    """A backbone with LPIPS's linear layers.

    `tensors`: the backbone's weights.  `lin`: one float32[C] for each stage.
    """

    def __init__(self, stages: Sequence[Stage], lin: Sequence[Tensor]) -> None:
        self.stages = stages
        self.lin = lin
        self.device = lin[0].device

    def prepare(self, reference: Image) -> Features:
        """Raises `MetricUnavailable` for an image smaller than the network's first windows."""
        import torch

        from bench.metrics.backbone import feature_shapes

        height, width, _ = reference.shape
        shapes = feature_shapes(self.stages, height, width)
        if min(min(shape) for shape in shapes) < 1:
            raise MetricUnavailable(
                f"the picture is {width}x{height}, too small for this network: nothing is left "
                "of it after the last pooling"
            )
        if 4 * sum(c * h * w for c, h, w in shapes) > MAX_FEATURE_BYTES:
            return Features(reference, None)
        with torch.inference_mode():
            return Features(reference, tuple(self._unit_features(reference)))

    def distance(self, reference: Features, decoded: Image) -> float:
        """Sum over stages of the mean over pixels of the weighted squared difference."""
        import torch

        totals = [0.0] * len(self.stages)
        pixels = [0] * len(self.stages)
        with torch.inference_mode():
            kept = reference.strips or self._unit_features(reference.image)
            for (_, ours), (stage, theirs) in zip(kept, self._unit_features(decoded), strict=True):
                difference = theirs.sub_(ours).square_()
                totals[stage] += float((difference @ self.lin[stage]).sum(dtype=torch.float64))
                pixels[stage] += len(difference)
        return sum(total / n for total, n in zip(totals, pixels, strict=True))

    def _unit_features(self, image: Image) -> Iterator[tuple[int, Tensor]]:
        import torch

        from bench.metrics.backbone import feature_strips

        height, width, _ = image.shape
        # Row by row: numpy is slow over a last axis of three.
        scaled = image.reshape(height, -1) * np.tile(1 / (127.5 * SCALE), width)
        scaled -= np.tile((1 + SHIFT) / SCALE, width)
        x = torch.from_numpy(scaled).to(self.device).view(1, height, width, 3).permute(0, 3, 1, 2)
        for stage, strip in feature_strips(self.stages, x):
            features = strip.permute(0, 2, 3, 1).flatten(0, 2)
            length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
            yield stage, features / length.add_(1e-10)


class Lpips(Metric):
    """What LPIPS with AlexNet and with VGG16 have in common."""

    unit = ""
    higher_is_better = False
    uses_torch = True
    net: ClassVar[str]

    def __init__(self) -> None:
        self._backbone = weights.backbone(self.net)
        self._lin = weights.lin_file(self.net)
        self.version = weights.describe(self._backbone)

    @cached_property
    def _network(self) -> Network:
        """Built on first use: a version can be had without importing torch."""
        return network(self.net, self._backbone.tensors)

    def prepare(self, reference: Image) -> Features:
        return self._network.prepare(reference)

    def score(self, prepared: Features, decoded: Image) -> float:
        return self._network.distance(prepared, decoded)


class LpipsAlex(Lpips):
    """LPIPS with AlexNet: the variant its authors recommend for measuring."""

    name = "lpips-alex"
    label = "LPIPS (AlexNet)"
    net = "alex"


class LpipsVgg(Lpips):
    """LPIPS with VGG16: the variant that learned codecs are often trained on."""

    name = "lpips-vgg"
    label = "LPIPS (VGG16)"
    net = "vgg"
    seconds_per_pixel = 9e-6


def network(net: str, tensors: Tensors) -> Network:
    """The network `alex` or `vgg` with these backbone weights and LPIPS v0.1's linear layers."""
    import torch

    from bench.metrics import backbone

    device = chosen()
    with torch.device(device):
        stages = {"alex": backbone.alexnet, "vgg": backbone.vgg16}[net](tensors)
    state = torch.load(weights.lin_file(net), map_location=device, weights_only=True)
    lin = [state[f"lin{k}.model.1.weight"].flatten() for k in range(len(stages))]
    return Network(stages, lin)
