"""Random views of a pair of pictures, for metrics that a network would otherwise learn to fool."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_OFFSETS = 16
"""Strides of LPIPS's backbones multiply to this, so its grid falls anywhere."""
_SMALLEST = 0.4
"""Scale of the smallest view: AlexNet's first kernels are four times as wide as SqueezeNet's."""
_MIN_SIZE = 64


def random_view(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x and y [B, C, H, W], each cut, turned, scaled down and with channels exchanged, both alike.

    A network trained for LPIPS of one backbone learns patterns tied to its grid, scale and colours,
    which that backbone takes for detail and others do not.  Views take the ties away: Kettunen,
    Härkönen, Lehtinen, "E-LPIPS: Robust Perceptual Image Similarity via Random Transformation
    Ensembles", 2019.  Half of the views keep the pictures' scale.  Draws come from PyTorch's global
    generator of the CPU, whatever the device.
    """
    top, left, turns = (int(torch.randint(n, ())) for n in (_OFFSETS, _OFFSETS, 4))
    mirrored, scaled = (bool(torch.rand(()) < 0.5) for _ in range(2))
    scale = _SMALLEST ** float(torch.rand(())) if scaled else 1.0
    channels = torch.randperm(x.shape[1]).to(x.device)

    def view(picture: Tensor) -> Tensor:
        picture = picture[:, channels, top:, left:]
        size = [max(round(scale * side), min(side, _MIN_SIZE)) for side in picture.shape[2:]]
        if scaled:
            picture = functional.interpolate(picture, size, mode="bilinear", antialias=True)
        if mirrored:
            picture = picture.flip(3)
        return torch.rot90(picture, turns, (2, 3))

    return view(x), view(y)
