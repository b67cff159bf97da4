"""The feature layers of AlexNet and VGG16, evaluated in strips of rows.

LPIPS compares features at full resolution (VGG16: 64 channels, 256 bytes a pixel), too much to
hold for a large photograph.  A convolution needs only a few rows around the one it computes, so
each stage of the network runs strip by strip with just that many rows more, and only the pooled
result, which the next stage reads, is kept whole.  The values are those of the network on the
whole image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.metrics.origins import Tensors

STRIP_BYTES = 1 << 24
"""Aimed-at size of a strip of features.  Small: the next layer finds it in the cache."""


@dataclass(frozen=True)
class Convolution:
    """A convolution with zeros around the image, and the ReLU after it."""

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int

    @property
    def kernel(self) -> int:
        return self.weight.shape[2]

    def size(self, length: int) -> int:
        """Rows (or columns) that come out, given those that go in; none where below 1."""
        return (length + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class Stage:
    """The layers up to one of the features that LPIPS compares, and the pooling after it."""

    layers: tuple[Convolution, ...]
    pool: tuple[int, int] | None
    """Window and stride of the max pooling between this stage's features and the next stage."""

    @property
    def channels(self) -> int:
        return self.layers[-1].weight.shape[0]

    def size(self, length: int) -> int:
        """Rows (or columns) of this stage's features, given those of its input."""
        for layer in self.layers:
            length = layer.size(length)
        return length

    def pooled_size(self, length: int) -> int:
        """Rows (or columns) that go into the next stage, given those of this stage's features."""
        return length if self.pool is None else (length - self.pool[0]) // self.pool[1] + 1


def alexnet(tensors: Tensors) -> tuple[Stage, ...]:
    """relu1 to relu5 of torchvision's AlexNet."""
    return (
        Stage((_convolution(tensors, 0, stride=4, padding=2),), (3, 2)),
        Stage((_convolution(tensors, 3, padding=2),), (3, 2)),
        Stage((_convolution(tensors, 6),), None),
        Stage((_convolution(tensors, 8),), None),
        Stage((_convolution(tensors, 10),), None),
    )


def vgg16(tensors: Tensors) -> tuple[Stage, ...]:
    """relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of torchvision's VGG16."""
    stages = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    return tuple(
        Stage(tuple(_convolution(tensors, index) for index in indices), (2, 2))
        for indices in stages
    )


def _convolution(tensors: Tensors, index: int, stride: int = 1, padding: int = 1) -> Convolution:
    weight = torch.tensor(tensors[f"features.{index}.weight"])
    return Convolution(
        weight.contiguous(memory_format=torch.channels_last),
        torch.tensor(tensors[f"features.{index}.bias"]),
        stride,
        padding,
    )


def feature_shapes(stages: Sequence[Stage], height: int, width: int) -> list[tuple[int, int, int]]:
    """(channels, rows, columns) of each stage's features; below 1 where the input is too small."""
    shapes = []
    for stage in stages:
        height, width = stage.size(height), stage.size(width)
        shapes.append((stage.channels, height, width))
        height, width = stage.pooled_size(height), stage.pooled_size(width)
    return shapes


def feature_strips(stages: Sequence[Stage], x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """All features of an image, stage by stage and in strips from top to bottom.

    `x`: float32[1, 3, H, W], best with channels last.  Yields (stage, float32[1, C, rows, W']);
    a strip must not be written to, and the same size of image always gives the same strips.
    """
    for index, stage in enumerate(stages):
        shape = stage.channels, stage.size(x.shape[2]), stage.size(x.shape[3])
        following = []
        for low, high in _strips(*shape):
            window, step = stage.pool or (1, 1)
            # The last pooling window of a strip reaches into the rows below it.
            strip = _convolved(stage.layers, x, low, min(high + window - step, shape[1]))
            yield index, strip[:, :, : high - low]
            if stage.pool is None:
                following.append(strip)
            elif strip.shape[2] >= window and index + 1 < len(stages):
                following.append(F.max_pool2d(strip, window, step))
        if index + 1 < len(stages):
            x = following[0] if len(following) == 1 else torch.cat(following, dim=2)


def _strips(channels: int, height: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows [low, high) of each strip; all but the last have an even number of rows."""
    rows = max(STRIP_BYTES // (4 * channels * width) // 2 * 2, 16)
    for low in range(0, height, rows):
        yield low, min(low + rows, height)


def _convolved(layers: Sequence[Convolution], x: Tensor, low: int, high: int) -> Tensor:
    """Rows [low, high) of what the layers make of `x`."""
    *earlier, layer = layers
    height = x.shape[2]
    for each in earlier:
        height = each.size(height)
    top = low * layer.stride - layer.padding
    bottom = (high - 1) * layer.stride - layer.padding + layer.kernel
    above, below = max(-top, 0), max(bottom - height, 0)  # rows of zeros outside the image
    top, bottom = max(top, 0), min(bottom, height)
    x = _convolved(earlier, x, top, bottom) if earlier else x[:, :, top:bottom]
    if above != below:
        x = F.pad(x, (0, 0, above, below))
        above = 0
    padding = (above, layer.padding)
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, padding).relu_()
