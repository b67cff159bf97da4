"""MS-SSIM that can be differentiated: for training, and for searches that minimise it.

The harness scores with another implementation (`bench.metrics.ms_ssim`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first: Wang, Simoncelli, Bovik, Asilomar 2003, table 1."""
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
# pow(0, w) has an infinite gradient, and in the first steps contrast terms can be negative.
_FLOOR = 1e-5


def ms_ssim_scales(size: int) -> int:
    """How many of the five scales fit pictures of `size` x `size`: 5 above 160, 4 above 80 ...

    MS-SSIM on smaller pictures than 161 pixels is therefore *not* the standard one: the exponents
    of the scales that are left are divided by their sum.
    """
    scales = 5
    while scales > 1 and size <= (_WINDOW - 1) << (scales - 1):
        scales -= 1
    if size < _WINDOW:
        raise ValueError(f"MS-SSIM needs pictures of at least {_WINDOW} pixels, not {size}")
    return scales


def ms_ssim(x: Tensor, y: Tensor, scales: int = 5) -> Tensor:
    """Multi-scale structural similarity of each pair, [B]; x, y [B, C, H, W] in 0...1.

    Gaussian window 11 x 11, σ = 1.5, no padding; per channel, then averaged over channels.
    With fewer than five scales the exponents are renormalised to sum to 1.
    """
    channels = x.shape[1]
    offsets = torch.arange(_WINDOW, device=x.device, dtype=x.dtype) - _WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = (window / window.sum()).expand(5 * channels, 1, 1, -1)
    total = sum(MS_SSIM_WEIGHTS[:scales])
    result = torch.ones(x.shape[:2], device=x.device, dtype=x.dtype)
    for scale in range(scales):
        if scale:
            padding = [s % 2 for s in x.shape[2:]]
            x = functional.avg_pool2d(x, 2, padding=padding)
            y = functional.avg_pool2d(y, 2, padding=padding)
        moments = torch.cat([x, y, x * x, y * y, x * y], 1)
        moments = functional.conv2d(moments, window, groups=5 * channels)
        moments = functional.conv2d(moments, window.transpose(2, 3), groups=5 * channels)
        mean_x, mean_y, xx, yy, xy = moments.chunk(5, 1)
        contrast = (2 * (xy - mean_x * mean_y) + _C2) / (xx - mean_x**2 + yy - mean_y**2 + _C2)
        if scale == scales - 1:
            contrast = contrast * (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        term = contrast.mean((2, 3)).clamp_min(_FLOOR)
        result = result * term ** (MS_SSIM_WEIGHTS[scale] / total)
    return result.mean(1)
