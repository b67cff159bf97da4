"""Transforms that begin as a Karhunen-Loève transform, so that training need not find one.

Layers drawn at random hardly let a picture through: after 10,000 steps of a batch of one such a
pair of transforms stood at 30 dB without any quantisation.  Here each halving of an analysis begins
as the KLT of what lies in 2 x 2 positions, pixels and colours being correlated as in an
autoregressive model of natural pictures (Jayant and Noll, "Digital Coding of Waveforms", 1984), and
the synthesis as its transpose.  128 coefficients of 16 x 16 pixels carry 31 dB before the first
step.  Channels beyond these coefficients stay as they were drawn, and at first unheard.

The scale of the latent is not in the kernels, of which optimisers move every number alike, but in
gains, or what takes their place.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codecs.learned.initialisation import LATENT_GAIN, scaled
from codecs.learned.layers import (
    Attention,
    AttentionUnit,
    ChannelNorm,
    Residual,
    ResidualBlock,
    ResidualBlockDown,
    ResidualBlockUp,
)
from codecs.learned.transform import CentreNetwork, TransformNetwork

COLOURS = 3
STEP = 0.25
"""What a step of 1 in the latent stands for, in an orthonormal transform of pictures in 0...1: Δ of
the least Λ·Δ²/36 - log2 Δ, bits and MSE of three colours at high rate, for Λ = 400."""
_CORRELATION, _LIKENESS, _DEVIATION = 0.95, 0.9, 0.27
"""Of neighbouring pixels, of two colours, and the standard deviation of either."""
_HALVING = 0.5
"""Gain of each halving, which keeps flat pictures at one level through all layers."""
_FLAT = 0.25
"""Least standard deviation that is expected of a latent."""
_LIFT = 1.0
"""Added to what has to pass a ReLU, and taken off behind it."""
_LIFTED = 3.0
"""The same in standard deviations, where channels are lifted each for itself."""
_HELD = 2.0
"""What holds a norm, in standard deviations of all the others together."""
_SPARE = 3
"""Channels that holding a norm takes."""
_HELD_STEPS = 8.0
"""Its value in the latent."""
_GREY = 0.5
BRANCH = 0.02
"""Gain of what is added to the path at first."""
_NORMED_BRANCH = 0.001
"""The same of what has a variance of 1, far above that of most channels of the path."""
_CLOSED = -4.0
"""Logit of a mask that lets nearly nothing pass."""


@dataclass(frozen=True)
class Klt:
    """A transform in halvings."""

    kernels: tuple[Tensor, ...]
    """Of each, [K, C, 2, 2] from C channels to K, orthonormal."""
    spreads: tuple[Tensor, ...]
    """Standard deviations [K] of the picture and of what each makes of it, halved each time."""
    deviations: Tensor
    """Those of the latent in quantiser steps of `STEP`, [M]."""

    @property
    def gain(self) -> float:
        """From the last kernels' output, halved each time, to such steps."""
        return _HALVING ** -len(self.kernels) / STEP


def klt(widths: Sequence[int]) -> Klt:
    """The transform to at most so many channels at each halving, of RGB pictures."""
    return _klt(tuple(widths))


@functools.cache  # codecs of one size are many, and loading weights makes their networks first
def _klt(widths: tuple[int, ...]) -> Klt:
    basis = torch.eye(COLOURS, dtype=torch.float64)  # of each channel, in pixels
    variances, kernels, side = basis.diagonal(), [], 1
    spreads = [variances.sqrt() * _DEVIATION]
    for width in widths:
        count, side = len(basis), 2 * side
        basis = _at_four(basis, side)
        variances, vectors = torch.linalg.eigh(basis @ _covariance(side) @ basis.T)
        kept = min(len(variances), width)
        variances, vectors = variances.flip(0)[:kept], vectors.flip(1)[:, :kept].T
        basis = vectors @ basis
        kernels.append(vectors.view(kept, 2, 2, count).permute(0, 3, 1, 2).float())
        spread = variances[:kept].clamp_min(0).sqrt() * _DEVIATION
        spreads.append(spread * _HALVING ** len(kernels))
    expected = variances.new_zeros(widths[-1])
    expected[: len(variances)] = variances.clamp_min(0).sqrt() * (_DEVIATION / STEP)
    return Klt(
        tuple(kernels),
        tuple(spread.float() for spread in spreads),
        expected.clamp_min(_FLAT).float(),
    )


@torch.no_grad()
def begin_gdn_transforms(network: TransformNetwork, readers: Sequence[nn.Module]) -> Tensor:
    """Of a network with both of the following; `readers` read y besides.  Returns its expected
    standard deviations [M]."""
    transform = begin_gdn_analysis(network.g_a)
    begin_gdn_synthesis(network.g_s, transform.kernels)
    network.amplify(transform.gain, network.g_a[-1], network.g_s[0])
    for reader in readers:
        expect(reader, transform.deviations)
    return transform.deviations


@torch.no_grad()
def begin_gdn_analysis(analysis: nn.Sequential) -> Klt:
    """Of convolutions of stride 2 with GDN between, which hardly acts on signals of this size."""
    layers = [m for m in analysis if isinstance(m, nn.Conv2d)]
    transform = klt([layer.out_channels for layer in layers])
    for layer, kernel in zip(layers, transform.kernels, strict=True):
        down(layer, kernel)
    _centre(layers[0])
    return transform


@torch.no_grad()
def begin_gdn_synthesis(synthesis: nn.Sequential, kernels: Sequence[Tensor]) -> None:
    """Of transposed convolutions of stride 2, for the kernels of as many halvings."""
    layers = [m for m in synthesis if isinstance(m, nn.ConvTranspose2d)]
    for layer, kernel in zip(layers, reversed(kernels), strict=True):
        up(layer, kernel)


@torch.no_grad()
def begin_attention_transforms(analysis: nn.Sequential, synthesis: nn.Sequential) -> Klt:
    """Of residual and attention blocks (Cheng et al. 2020), whose branches begin small."""
    quieten(analysis)
    quieten(synthesis)
    halvings = [m for m in analysis if isinstance(m, ResidualBlockDown | nn.Conv2d)]
    doublings = [m for m in synthesis if not isinstance(m, ResidualBlock | Attention)]
    widths = [(m if isinstance(m, nn.Conv2d) else m.conv1).out_channels for m in halvings]
    transform = klt(widths)
    for layer, kernel in zip(halvings, transform.kernels, strict=True):
        if isinstance(layer, nn.Conv2d):
            down(layer, kernel)
            continue
        down(layer.conv1, kernel)
        past_relus(layer.conv1, layer.conv2, count=len(kernel))
        layer.skip.weight[: len(kernel)] = 0
    first = halvings[0]
    assert isinstance(first, ResidualBlockDown)
    _centre(first.conv1)
    for block, kernel in zip(doublings, reversed(transform.kernels), strict=True):
        count = kernel.shape[1]
        if isinstance(block, ResidualBlockUp):
            up(block.subpel_conv[0], kernel)
            past_relus(block.subpel_conv[0], block.conv, count=count, repeat=4)
            block.upsample[0].get_parameter("weight")[: 4 * count] = 0
        else:
            assert isinstance(block, nn.Sequential)
            up(block[0], kernel)
    return transform


@torch.no_grad()
def begin_relu_transforms(network: CentreNetwork) -> None:
    """Of convolutions and residual blocks, with a ReLU between any two convolutions.  Latents begin
    with variances of 1, as centres want them."""
    transform, latents = _begin_chains(network, 1)  # the spare one carries nothing but the lift
    gains = transform.gain / transform.deviations[:latents]
    network.log_gain[:latents] = gains.log()[:, None, None]


@torch.no_grad()
def begin_normed_transforms(network: TransformNetwork) -> tuple[Tensor, Tensor]:
    """Of convolutions with `ChannelNorm` and ReLU between them, and the former before `g_s`, too.
    Returns expected means and standard deviations of the latent, [M]."""
    writer = network.g_a[-1]
    assert isinstance(writer, nn.Conv2d)
    assert writer.bias is not None
    transform, _ = _begin_chains(network, _SPARE, writer)
    means = writer.bias.clone()
    gains, factor = network.gains, transform.gain
    if gains is None:
        means *= factor
        scaled(writer, factor).mul_(factor)
    else:
        # What is held is the same at all qualities, and known to the entropy model.
        gains.begin(factor)
        held = means != 0
        gains.log_gain[:, held] = (_HELD_STEPS / means[held].abs()).log()
        gains.log_inverse[:, held] = -gains.log_gain[:, held]
        means[held] = means[held].sign() * _HELD_STEPS
    return means, transform.deviations[: len(means)]


def _begin_chains(
    network: TransformNetwork, spare: int, writer: nn.Module | None = None
) -> tuple[Klt, int]:
    """Both transforms, `spare` channels of each layer kept from the KLT; `writer` as for
    `_begin_chain` of the synthesis.  Returns the KLT and how many latents it has."""
    halvings = [m for m in network.g_a if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    transform = klt([layer.out_channels - spare for layer in halvings])
    kernels, spreads = transform.kernels, transform.spreads
    latents = _begin_chain(network.g_a, kernels, spreads)
    _begin_chain(network.g_s, kernels[::-1], (latents, *spreads[-2::-1]), writer)
    _centre(network.g_a[0])
    return transform, len(latents)


def _begin_chain(
    chain: nn.Sequential,
    kernels: Sequence[Tensor],
    spreads: Sequence[Tensor],
    writer: nn.Module | None = None,
) -> Tensor:
    """With these standard deviations before and after each kernel; `writer` makes what it reads,
    where a norm comes first.  Returns the deviations of what it makes."""
    quieten(chain)
    remaining, spread, gain = list(zip(kernels, spreads[1:], strict=True)), spreads[0], 1.0
    norm: ChannelNorm | None = None
    for layer in _leaves(chain):
        if isinstance(layer, Residual):
            gain *= _gain(layer)
        elif isinstance(layer, ChannelNorm):
            norm = layer
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            continue
        read = spread
        if layer.stride == (1, 1):
            spread = spread[: layer.out_channels]
            unchanged(layer, len(spread))
        else:
            kernel, spread = remaining.pop(0)
            if isinstance(layer, nn.Conv2d):
                down(layer, kernel)
            else:
                up(layer, kernel[: len(read)])
        layer.weight /= gain
        if norm is not None:
            assert writer is not None
            _hold(writer, norm, layer, read)
        elif writer is not None:
            _lift(writer, layer, _LIFTED * read)
        writer, norm, gain = layer, None, 1.0
    return spread


def _leaves(chain: nn.Sequential) -> Iterator[nn.Module]:
    """Layers and residual blocks in their order."""
    for layer in chain:
        if isinstance(layer, nn.Sequential) and not isinstance(layer, Residual):
            yield from _leaves(layer)
        else:
            yield layer


def _gain(block: Residual) -> float:
    """By which a residual block of small branches begins, or residual blocks within one."""
    inner = [m for m in block if isinstance(m, Residual)]
    return 1 + math.prod(map(_gain, inner)) if inner else 1.0


def _lift(writer: nn.Module, reader: nn.Module, lifts: Tensor) -> None:
    """Have the first channels between two convolutions pass a ReLU.  The next is lifted, too, and
    taken off them: no bias could do that for all positions, nor at borders."""
    written, read = _by_input(writer), _by_input(reader)
    count = min(len(lifts), len(read) - 1)
    lifts = lifts[:count]
    written[:, count] = 0
    writer.get_parameter("bias")[:count] += lifts
    writer.get_parameter("bias")[count] = _LIFT
    read[count] = -torch.tensordot(lifts, read[:count], 1) / _LIFT


def _hold(writer: nn.Module, norm: ChannelNorm, reader: nn.Module, spread: Tensor) -> None:
    """Have the first channels between two convolutions pass a `ChannelNorm` and a ReLU.

    Behind them two channels hold values far above theirs, one the other's negative, so that the
    norm divides by nearly the same everywhere, and half their sum is minus the mean that it takes
    off.  One is γ·0 + β, the lift alone.
    """
    written, read = _by_input(writer), _by_input(reader)
    count = min(len(spread), len(read) - _SPARE)
    positive, negative, lift = range(count, count + _SPARE)
    spread, lifts = spread[:count], _LIFTED * spread[:count]
    energy = spread.square().sum()
    value = _HELD * energy.sqrt()
    written[:, count:] *= BRANCH
    written[:, count : count + _SPARE] = 0
    bias = writer.get_parameter("bias")
    bias[positive], bias[negative], bias[lift] = value, -value, 0
    norm.gamma[:] = ((2 * value**2 + energy) / len(read) + norm.EPSILON).sqrt()
    norm.gamma[lift] = 0
    norm.beta[:count] = lifts
    norm.beta[negative], norm.beta[lift] = 2 * value, _LIFT
    sums = read[:count].sum(0)
    read[positive] = read[negative] = -sums / 2
    read[lift] = (value * sums - torch.tensordot(lifts, read[:count], 1)) / _LIFT


def _by_input(layer: nn.Module) -> Tensor:
    """The weight as [channels in, channels out, k, k]."""
    weight = layer.get_parameter("weight")
    return weight if isinstance(layer, nn.ConvTranspose2d) else weight.transpose(0, 1)


@torch.no_grad()
def down(layer: nn.Conv2d, kernel: Tensor) -> None:
    """Begin a convolution of stride 2 with a halving; its first outputs are the coefficients."""
    kept, count = kernel.shape[:2]
    here = slice(layer.kernel_size[0] // 2, layer.kernel_size[0] // 2 + 2)
    layer.weight[:kept] = 0
    layer.weight[:kept, :count, here, here] = _HALVING * kernel


@torch.no_grad()
def up(layer: nn.Module, kernel: Tensor) -> None:
    """Begin a transposed or sub-pixel convolution with the transpose of a halving, as far as it has
    channels."""
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    middle = layer.kernel_size[0] // 2
    outputs = layer.out_channels // (4 if isinstance(layer, nn.Conv2d) else 1)
    kernel = kernel[: layer.in_channels, :outputs] / _HALVING
    kept, count = kernel.shape[:2]
    if isinstance(layer, nn.ConvTranspose2d):
        here = slice(middle, middle + 2)
        layer.weight[:, :count] = 0
        layer.weight[:kept, :count, here, here] = kernel
    else:
        layer.weight[: 4 * count] = 0
        layer.weight[: 4 * count, :kept, middle, middle] = kernel.flatten(1).T


@torch.no_grad()
def past_relus(first: nn.Module, *others: nn.Module, count: int, repeat: int = 1) -> None:
    """Have the first `count` channels pass the (leaky) ReLUs between convolutions unharmed, and all
    of these but the first; that may make `repeat` samples of each channel."""
    for layer in others:
        unchanged(layer, count)
    for layer, lift, outputs in ((first, _LIFT, count * repeat), (others[-1], -_LIFT, count)):
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        assert layer.bias is not None
        layer.bias[:outputs] += lift


@torch.no_grad()
def quieten(transform: nn.Module) -> None:
    """Have the branches of residual and attention blocks begin small."""
    for module in transform.modules():
        if isinstance(module, ResidualBlock):
            module.conv2.weight.mul_(BRANCH)
        elif isinstance(module, AttentionUnit):
            scaled(module.conv[-1], BRANCH)
        elif isinstance(module, Residual) and isinstance(module[-1], nn.Conv2d):
            scaled(module[-1], BRANCH)
        elif isinstance(module, Residual) and isinstance(module[-1], ChannelNorm):
            nn.init.constant_(module[-1].gamma, _NORMED_BRANCH)
        elif isinstance(module, Attention):
            # What it adds is positive, and would be half of the signal.
            scaled(module.conv_b[-1], BRANCH).fill_(_CLOSED)


@torch.no_grad()
def unchanged(layer: nn.Module, count: int) -> None:
    """Begin a convolution as one that hands on its first `count` channels, or as many as it has."""
    assert isinstance(layer, nn.Conv2d)
    count = min(count, layer.in_channels, layer.out_channels)
    middle = layer.kernel_size[0] // 2
    layer.weight[:count] = 0
    layer.weight[:count, :count, middle, middle] = torch.eye(count)


@torch.no_grad()
def expect(reader: nn.Module, deviations: Tensor) -> None:
    """Have a convolution, drawn for latents of one scale, read those of `deviations` [M]."""
    assert isinstance(reader, nn.Conv2d)
    reader.weight.mul_(LATENT_GAIN / deviations[:, None, None])


def _centre(first: nn.Module) -> None:
    """Make mid grey the zero of the layers."""
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    first.bias.sub_(_GREY * first.weight.sum((1, 2, 3)))


def _at_four(basis: Tensor, side: int) -> Tensor:
    """The basis [C, 3·(side/2)²] at each of 2 x 2 positions: [4·C, 3·side²], pixels by colour, row
    and column."""
    count, half = len(basis), side // 2
    out = basis.new_zeros(2, 2, count, 3, 2, half, 2, half)
    for y in (0, 1):
        for x in (0, 1):
            out[y, x, :, :, y, :, x] = basis.view(count, 3, half, half)
    return out.view(4 * count, -1)


def _covariance(side: int) -> Tensor:
    """Of a block of three colours, [3·side², 3·side²], in units of a pixel's variance."""
    places = torch.arange(side, dtype=torch.float64)
    line = _CORRELATION ** (places[:, None] - places).abs()
    colours = torch.full((COLOURS, COLOURS), _LIKENESS, dtype=torch.float64).fill_diagonal_(1)
    return torch.kron(colours, torch.kron(line, line))
