"""Initial weights of transform codecs: latents well above one half from the first step.

With PyTorch's defaults y starts at a standard deviation of 0.02, far below the noise that stands
for rounding, and training spends its first thousands of steps on a blank picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.layers import (
    AttentionUnit,
    ResidualBlock,
    ResidualBlockDown,
    ResidualBlockUp,
)

LATENT_GAIN = 4.0
"""Initial standard deviation wanted of the latents."""
RANDOM = 0.3
"""Part of the random weights beside the smooth path."""
BRANCH, SHORTCUT_BRANCH = 0.1, 0.3
"""Gains of branches beside an identity, and of those beside a resampling shortcut."""
_COLOURS = 3


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


def inverse_softplus(x: Tensor) -> Tensor:
    """log(exp(x) - 1) of numbers above 0, however large."""
    return x + torch.log(-torch.expm1(-x))


@torch.no_grad()
def scaled(module: nn.Module, factor: float) -> Tensor:
    """Multiply a convolution's weight; returns its bias, to be written to."""
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    module.weight *= factor
    assert module.bias is not None
    return module.bias.detach()


@torch.no_grad()
def begin_as_path(transform: nn.Sequential) -> None:
    """Give a chain of residual blocks, attention and convolutions, all drawn already, a smooth path
    for coarse structure, and weak random branches.

    A product of some 25 random matrices keeps a few directions only, so that brightness and colours
    of blocks reach the synthesis as noise.  Here every convolution of the direct path begins as

        orthogonal matrix (channels) x smoothing kernel (space) + 0.3 x random,

    which hands all channels on at unit gain (Saxe et al., ICLR 2014; for convolutions Xiao et al.,
    ICML 2018, "delta-orthogonal"), with a binomial kernel before subsampling; residual and
    attention branches begin small (Zhang et al., ICLR 2019).
    """
    for module in transform.modules():
        _initialise_block(module)
    for module in transform:
        if isinstance(module, nn.Conv2d) and module.in_channels > _COLOURS:
            add_path(module)
    _centre_input(transform)


def _initialise_block(block: nn.Module) -> None:
    match block:
        case ResidualBlock():
            block.conv2.weight *= BRANCH
        case AttentionUnit():
            scaled(block.conv[-1], BRANCH)
        case ResidualBlockDown():
            # Three channels of colour cannot fill N: the first block stays random.
            if block.conv1.in_channels == block.conv1.out_channels:
                add_path(block.skip)
                add_path(block.conv1)
            add_path(block.conv2)
            block.conv2.weight *= SHORTCUT_BRANCH
        case ResidualBlockUp():
            add_path(_convolution(block.upsample), repeat=4)
            add_path(_convolution(block.subpel_conv), repeat=4)
            add_path(block.conv)
            block.conv.weight *= SHORTCUT_BRANCH


def _centre_input(transform: nn.Module) -> None:
    """Make mid grey the zero of the layers that see the picture."""
    for module in transform.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == _COLOURS:
            assert module.bias is not None
            module.bias.copy_(-0.5 * module.weight.sum((1, 2, 3)))


def add_path(layer: nn.Conv2d, matrix: Tensor | None = None, repeat: int = 1) -> None:
    """Weaken the layer's random weights and add the path of `matrix` [channels out, in].

    `repeat` is r² of a sub-pixel convolution: all r² subpixels of a channel begin equal, which is
    nearest-neighbour upsampling.  Without a matrix, a random orthogonal one is drawn.
    """
    out_channels, in_channels, kernel, _ = layer.weight.shape
    if matrix is None:
        matrix = nn.init.orthogonal_(torch.empty(out_channels // repeat, in_channels))
    matrix = matrix.repeat_interleave(repeat, 0).to(layer.weight)
    smooth = _smoothing(kernel, layer.stride[0]).to(layer.weight)
    layer.weight.mul_(RANDOM).add_(matrix[:, :, None, None] * smooth)


def _smoothing(kernel: int, stride: int) -> Tensor:
    """[kernel, kernel], sum 1: binomial where the layer subsamples, otherwise only the centre."""
    row = torch.zeros(kernel)
    row[kernel // 2] = 1.0
    if stride > 1:
        row = torch.ones(1)
        for _ in range(kernel - 1):
            row = (functional.pad(row, (1, 0)) + functional.pad(row, (0, 1))) / 2
    return torch.outer(row, row)


def _convolution(subpixel: nn.Sequential) -> nn.Conv2d:
    layer = subpixel[0]
    assert isinstance(layer, nn.Conv2d)
    return layer
