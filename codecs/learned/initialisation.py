"""Initial weights of transform codecs: latents well above one half from the first step.

With PyTorch's defaults y starts at a standard deviation of 0.02, far below the noise that stands
for rounding, and training spends its first thousands of steps on a blank picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LATENT_GAIN = 4.0
"""Initial standard deviation wanted of the latents."""


@torch.no_grad()
def initialise(
    network: nn.Module,
    writers: Sequence[nn.Module],
    readers: Sequence[nn.Module],
    picture: nn.Module,
) -> None:
    """Draw convolutions so that each keeps its signal's scale, from PyTorch's default generator.

    `writers` make latents and `readers` read them; `picture` is the last layer of the synthesis,
    whose first picture is mid grey.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = module.weight[:, 0].numel() / 4 if transposed else module.weight[0].numel()
            module.weight.normal_(0.0, fan_in**-0.5)
            if module.bias is not None:
                module.bias.zero_()
    for writer in writers:
        scaled(writer, LATENT_GAIN)
    for reader in readers:
        scaled(reader, 1 / LATENT_GAIN)
    scaled(picture, 0.1).fill_(0.5)


@torch.no_grad()
def scaled(module: nn.Module, factor: float) -> Tensor:
    """Multiply a convolution's weight; returns its bias, to be written to."""
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    module.weight *= factor
    assert module.bias is not None
    return module.bias.detach()
