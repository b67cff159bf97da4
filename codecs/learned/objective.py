"""What an encoder minimises: J = Λ·D + R of one picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from codecs.base import Image
from codecs.learned.ms_ssim import ms_ssim, ms_ssim_scales
from codecs.learned.pixels import to_tensor

SMALLEST_MS_SSIM = 11
"""Smaller pictures have no MS-SSIM: D is then without it."""


@dataclass(frozen=True)
class Objective:
    """J = Λ·D + R, R in bits per pixel.

    D = `mse`·MSE + `ms_ssim`·(1 - MS-SSIM) on pictures in 0...1: what training minimised, unless
    that had terms which an encoder cannot afford (`codecs.learned.training.ratecontrol`).
    """

    lambda_eff: float = 45.0
    mse: float = 1.0
    ms_ssim: float = 0.0

    def distortion(self, x: Tensor, y: Tensor) -> Tensor:
        """D of pictures [1, 3, H, W] in 0...1; differentiable."""
        d = self.mse * (x - y).square().mean()
        smallest = min(x.shape[2:])
        if self.ms_ssim and smallest >= SMALLEST_MS_SSIM:
            d = d + self.ms_ssim * (1 - ms_ssim(x, y, ms_ssim_scales(smallest))[0])
        return d

    def loss(self, x: Tensor, y: Tensor, bits: Tensor) -> Tensor:
        """J of pictures [1, 3, H, W] in 0...1, y as a decoder would show it, and estimated bits;
        differentiable."""
        return self.lambda_eff * self.distortion(x, y.clamp(0, 1)) + bits / x[:, 0].numel()

    def cost(self, image: Image, decoded: Image, size: int) -> dict[str, float]:
        """J and its parts, of a file of `size` bytes and the picture that comes of it."""
        rate = 8 * size / (image.shape[0] * image.shape[1])
        d = float(self.distortion(to_tensor(image, "cpu"), to_tensor(decoded, "cpu")))
        return {"J": self.lambda_eff * d + rate, "lambda": self.lambda_eff, "D": d, "R": rate}
