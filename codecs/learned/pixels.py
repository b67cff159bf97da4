"""Between pictures, uint8[H, W, 3], and what networks take and make, float32 [1, 3, H, W]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from codecs.base import Image


def to_tensor(image: Image, device: torch.device | str) -> Tensor:
    """uint8[H, W, 3] to float32 [1, 3, H, W] in 0...1."""
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255


def pad(x: Tensor, stride: int) -> Tensor:
    """Replicate the last row and column until both sizes are multiples of `stride`."""
    height, width = x.shape[-2:]
    return functional.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")


def to_image(x: Tensor, height: int, width: int) -> Image:
    """The picture uint8[height, width, 3] of a padded one [1, 3, H, W] in 0...1."""
    x = x[0, :, :height, :width].clamp(0, 1).mul(255).round()
    image: Image = x.permute(1, 2, 0).to("cpu", torch.uint8).contiguous().numpy()
    return image
