"""Between pictures, uint8[H, W, 3], and what networks take and make, float32 [1, 3, H, W]."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from codecs.base import Image

MODES = ("edge", "reflect", "zero")
X = TypeVar("X", Image, Tensor)
"""A picture uint8[H, W, 3], or a tensor [..., H, W]."""


def to_tensor(image: Image, device: torch.device | str = "cpu") -> Tensor:
    """uint8[H, W, 3] to float32 [1, 3, H, W] in 0...1."""
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255


def pad(x: X, multiple: int, mode: str = "edge") -> X:
    """`x` made larger to the right and below until both sides are multiples of `multiple`.

    `mode` is what is put there: the last row and column again (`edge`), the picture mirrored at
    them (`reflect`, over and over where it is small), or zeros (`zero`).
    """
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r} of padding: there is {', '.join(MODES)}")
    height, width = x.shape[:2] if isinstance(x, np.ndarray) else x.shape[-2:]
    down, across = -height % multiple, -width % multiple
    if mode == "zero":
        if isinstance(x, np.ndarray):
            return np.pad(x, ((0, down), (0, across), (0, 0)))
        return functional.pad(x, (0, across, 0, down))
    # Which row and column stands where: 0 1 2 2 2, or 0 1 2 1 0.
    rows, columns = (
        np.pad(np.arange(side), (0, more), mode="edge" if mode == "edge" else "reflect")
        for side, more in ((height, down), (width, across))
    )
    if isinstance(x, np.ndarray):
        return x.take(rows, axis=0).take(columns, axis=1)
    for axis, places in ((-2, rows), (-1, columns)):
        x = x.index_select(axis, torch.from_numpy(places).to(x.device))
    return x


def crop(x: X, height: int, width: int) -> X:
    """The inverse of `pad`: the first `height` rows and `width` columns."""
    return x[:height, :width] if isinstance(x, np.ndarray) else x[..., :height, :width]


def to_image(x: Tensor, height: int, width: int) -> Image:
    """The picture uint8[height, width, 3] of a padded one [1, 3, H, W] in 0...1."""
    x = crop(x[0], height, width).clamp(0, 1).mul(255).round()
    image: Image = x.permute(1, 2, 0).to("cpu", torch.uint8).contiguous().numpy()
    return image
