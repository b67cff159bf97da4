"""The PatchGAN discriminator and the hinge losses."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class PatchGAN(nn.Module):
    """Real or decoded?  One logit for each overlapping patch of 70 x 70 pixels.

    Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017,
    appendix 6.1.2: C64-C128-C256-C512 with 4 x 4 kernels, the last of stride 1, instance
    normalisation except in the first layer, leaky ReLU of slope 0.2.  Unconditional: it sees one
    picture, [B, 3, H, W] in 0...1, and gives [B, 1, H/8 - 2, W/8 - 2].
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        widths = (channels, 2 * channels, 4 * channels, 8 * channels)
        for index, (before, after) in enumerate(pairwise(widths)):
            stride = 2 if index < 2 else 1
            layers += [nn.Conv2d(before, after, 4, stride, 1), nn.InstanceNorm2d(after)]
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(8 * channels, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(2 * x - 1)
        return logits


def discriminator_loss(real: Tensor, decoded: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(x̂))] of logits; a scalar."""
    return torch.relu(1 - real).mean() + torch.relu(1 + decoded).mean()


def generator_loss(decoded: Tensor) -> Tensor:
    """-E[D(x̂)] of logits; a scalar."""
    return -decoded.mean()
