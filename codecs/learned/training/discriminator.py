"""Discriminators, and the losses of the game between them and a codec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

_SLOPE = 0.2
"""Of leaky ReLUs."""


class Discriminator(nn.Module, ABC):
    """Real or decoded?"""

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """A logit for each of overlapping patches, high where pictures x [B, 3, H, W] in 0...1 look
        real; `condition` [B, C, h, w] is what is known of them (`ForwardOutput`)."""

    @abstractmethod
    def loss(self, real: Tensor, decoded: Tensor) -> Tensor:
        """What it minimises, of its logits; a scalar."""

    @abstractmethod
    def generator_loss(self, decoded: Tensor) -> Tensor:
        """What the codec minimises, of the logits of its pictures; a scalar."""


class PatchGAN(Discriminator):
    """One logit for each overlapping patch of 70 x 70 pixels; hinge losses.

    Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017,
    appendix 6.1.2: C64-C128-C256-C512 with 4 x 4 kernels, the last of stride 1, instance
    normalisation except in the first layer, leaky ReLU of slope 0.2.  Unconditional; logits are
    [B, 1, H/8 - 2, W/8 - 2].
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        widths = (channels, 2 * channels, 4 * channels, 8 * channels)
        for index, (before, after) in enumerate(pairwise(widths)):
            stride = 2 if index < 2 else 1
            layers += [nn.Conv2d(before, after, 4, stride, 1), nn.InstanceNorm2d(after)]
            layers.append(nn.LeakyReLU(_SLOPE))
        layers.append(nn.Conv2d(8 * channels, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        logits: Tensor = self.layers(2 * x - 1)
        return logits

    def loss(self, real: Tensor, decoded: Tensor) -> Tensor:
        """E[max(0, 1 - D(x))] + E[max(0, 1 + D(x̂))]."""
        return torch.relu(1 - real).mean() + torch.relu(1 + decoded).mean()

    def generator_loss(self, decoded: Tensor) -> Tensor:
        """-E[D(x̂)]."""
        return -decoded.mean()


class ConditionalPatchGAN(Discriminator):
    """Could this picture have had these latents?  PatchGAN that sees both; non-saturating losses.

    Mentzer et al., "High-Fidelity Generative Image Compression", NeurIPS 2020, figure 2 and
    equations 4 to 7: twelve features of the condition, enlarged to its pixels, join the picture
    before C64-C128-C256-C512 (here half as wide).  Spectral norm (Miyato et al., ICLR 2018) in the
    place of instance normalisation keeps every layer's gain at 1.
    """

    FEATURES = 12
    SCALE = 0.1
    """Of the condition, whose values lie about 0 with deviations of 1 to 3.  As they are, they
    drown the picture: another condition moved the answers 19 to 80 times as much as a blurred
    picture did, and no difference was learnt in 260 steps."""

    def __init__(self, condition_channels: int, channels: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            spectral_norm(nn.Conv2d(condition_channels, self.FEATURES, 3, padding=1)),
            nn.LeakyReLU(_SLOPE),
        )
        widths = (3 + self.FEATURES, channels, 2 * channels, 4 * channels, 8 * channels)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            stride = 2 if index < 3 else 1
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride, 1)), nn.LeakyReLU(_SLOPE)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(8 * channels, 1, 4, 1, 1)))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise ValueError("the network told this discriminator nothing of its pictures")
        known = functional.interpolate(self.features(self.SCALE * condition), x.shape[2:])
        logits: Tensor = self.layers(torch.cat([2 * x - 1, known], 1))
        return logits

    def loss(self, real: Tensor, decoded: Tensor) -> Tensor:
        """E[-log σ(D(x, ŷ))] + E[-log(1 - σ(D(x̂, ŷ)))]."""
        return functional.softplus(-real).mean() + functional.softplus(decoded).mean()

    def generator_loss(self, decoded: Tensor) -> Tensor:
        """E[-log σ(D(x̂, ŷ))]."""
        return functional.softplus(-decoded).mean()


def discriminator(condition_channels: int) -> Discriminator:
    """Of networks whose condition has so many channels, 0: none."""
    return ConditionalPatchGAN(condition_channels) if condition_channels else PatchGAN()
