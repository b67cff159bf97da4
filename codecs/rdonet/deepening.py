"""Deeper levels that begin as what level 1 has learned.

A level 2 drawn at random, or sending means of the finest latents, never came beyond 22 dB, whatever
the rate: no partition could want it.  Here, as in `codecs.learned.klt`, each deeper level begins as
a Karhunen-Loève transform of the latents of the level before in 2 x 2 positions, but one of latents
that a trained level 1 makes of pictures, in units of its quantiser steps:

    ŷ₁ ≈ P₁ᵀ d₂     d₂ = 2 x 2 positions of K₂ᵀ t̂₂     d₃ (first channels of t₂) the same of K₃ᵀ t̂₃

so that a block sent by a deeper level shows nearly the picture that level 1 would show.  The
entropy models of the deeper levels begin anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.gains import between_anchors
from codecs.rdonet.initialisation import (
    LATENT_GAINS,
    begin_linear,
    first_layer,
    last_convolution,
    raw_scale,
)
from codecs.rdonet.unit import LatentSpaceUnit

if TYPE_CHECKING:
    from codecs.rdonet.network import RDONet

LOW = 1 / 7
"""Where in the range of qualities latents are taken: deep levels are of use at low rates."""
_ALIVE = 0.3
"""Standard deviation, in quantiser steps, of a channel that is not always rounded to 0."""
_LEAST = 0.15
"""Standard deviation that is expected of a latent at least."""
_RIDGE = 1e-4
"""Of the fits, in mean squares of what they read."""
_AT_ONCE = 8


@torch.no_grad()
def deepen(network: RDONet, batches: Sequence[Tensor]) -> None:
    """Begin levels 2 and 3 anew from a trained level 1; new weights are drawn from PyTorch's
    default generator.

    `batches` are pictures [B, 3, H, W] in 0...1, H and W multiples of 64, best of some hundred
    blocks of 64 x 64 in all.  Raises `ValueError` if a level has more latents than the one above.
    """
    latents = network.config["latents"]
    if latents != sorted(latents, reverse=True):
        raise ValueError(
            f"levels of {', '.join(map(str, latents))} latents cannot begin as the finest: each "
            "needs at most as many as the one before (--latents 192,96,64)"
        )
    finest, middle, coarsest = (network.unit(level) for level in (1, 2, 3))
    f1 = torch.cat([finest.down(network.analysis(x)) for x in batches])
    y = finest.latent(f1, f1.new_zeros(len(f1), finest.deeper, *f1.shape[2:]))
    weights, heard, anchors = _steps(finest, y)
    y = y * weights[:, None, None]
    p1 = principal(y, finest.deeper)
    k2, t2 = _halving(_projected(p1, y), middle)
    k3, t3 = _halving(t2[:, : middle.deeper], coarsest)
    _fit(middle.down[0], f1, t2)
    _fit(coarsest.down[0], t2, t3)
    middle_gain = anchors[len(anchors) // 2].exp()
    fresh = type(network).from_config(network.config)
    for level, kernel, t in ((2, k2, t2), (3, k3, t3)):
        unit = network.unit(level)
        _hand_on(unit, kernel)
        if unit.gains is not None:
            unit.gains.log_gain.copy_(anchors[:, None].expand_as(unit.gains.log_gain))
            unit.gains.log_inverse.copy_(-unit.gains.log_gain)
        unit.prior.load_state_dict(fresh.unit(level).prior.state_dict())
        _expect(unit, (middle_gain * t).square().mean((0, 2, 3)).sqrt(), level)
    up = first_layer(finest.up)
    of_latent = up.weight[:, finest.deeper :] * heard[:, None, None]
    up.weight[:, : finest.deeper] = torch.einsum("omyx,km->okyx", of_latent, p1)
    # What these layers knew of deeper features was of others.
    finest.bottom.weight[:, finest.channels :] = 0
    hyper = first_layer(finest.prior.hyper_analysis)
    hyper.weight[:, finest.channels : finest.channels + finest.deeper] = 0
    finest.prior.condition.weight[:, -finest.deeper :] = 0


def principal(x: Tensor, count: int) -> Tensor:
    """The orthonormal directions [count, C] in which x [B, C, h, w] has most energy."""
    values = x.transpose(0, 1).flatten(1).double()
    _, vectors = torch.linalg.eigh(values @ values.T)
    return vectors.flip(1)[:, :count].T.to(x)


def _projected(basis: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("kc,bcyx->bkyx", basis, x)


def _halving(d: Tensor, unit: LatentSpaceUnit) -> tuple[Tensor, Tensor]:
    """The transform [N, 4·C] of d [B, C, h, w] in 2 x 2 positions, and t [B, N, h/2, w/2]."""
    blocks = functional.pixel_unshuffle(d, 2)
    kernel = principal(blocks, unit.channels)
    return kernel, _projected(kernel, blocks)


def _steps(finest: LatentSpaceUnit, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each channel of y what makes its steps alike, and what the synthesis hears of that, [M];
    and the logarithm of the common step's gain at each anchor, [Q]."""
    gains = finest.gains
    if gains is None:
        one = y.new_ones(y.shape[1])
        return one, one, y.new_zeros(1)
    quality = y.new_tensor([LOW * (gains.anchors - 1)])
    write = gains.scale(torch.ones_like(y[:1, :, :1, :1]), quality)[0, :, 0, 0]
    read = gains.unscale(torch.ones_like(y[:1, :, :1, :1]), quality)[0, :, 0, 0]
    alive = (y.square().mean((0, 2, 3)).sqrt() * write) > _ALIVE
    anchors = gains.log_gain[:, alive if alive.any() else slice(None)].mean(1)
    here = between_anchors(anchors[:, None], quality)[0, 0, 0, 0].exp()
    return write / here, read * here, anchors


def _fit(layer: nn.Module, x: Tensor, wanted: Tensor) -> None:
    """Have a convolution of stride 2 make `wanted` of x, by least squares."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    size, padding = layer.kernel_size[0], layer.padding[0]
    inputs = layer.weight[0].numel() + 1
    square = torch.zeros(inputs, inputs, dtype=torch.float64, device=x.device)
    product = torch.zeros(inputs, layer.out_channels, dtype=torch.float64, device=x.device)
    for seen, targets in zip(x.split(_AT_ONCE), wanted.split(_AT_ONCE), strict=True):
        columns = functional.unfold(seen, size, padding=padding, stride=2)  # type: ignore[arg-type]
        rows = functional.pad(columns, (0, 0, 0, 1), value=1.0).transpose(1, 2).flatten(0, 1)
        square += rows.T @ rows
        product += rows.T @ targets.flatten(2).transpose(1, 2).flatten(0, 1)
    square.diagonal().add_(_RIDGE * square.diagonal().mean())
    solved = torch.linalg.solve(square, product).to(x)
    layer.weight.copy_(solved[:-1].T.view_as(layer.weight))
    layer.bias.copy_(solved[-1])


def _hand_on(unit: LatentSpaceUnit, kernel: Tensor) -> None:
    """Have a unit send what `down` makes, and make the features above it by the transpose of
    `kernel`, of the latent as of deeper features, which are its first channels."""
    begin_linear(unit.down[1])
    begin_linear(unit.igdn)
    up = first_layer(unit.up)
    for layer in (unit.bottom, up):
        assert layer.bias is not None
        layer.weight.zero_()
        layer.bias.zero_()
    y, x = (size // 2 for size in unit.bottom.kernel_size)
    unit.bottom.weight[:, : unit.channels, y, x] = torch.eye(unit.channels)
    y, x = (size // 2 for size in up.kernel_size)
    up.weight[:, unit.deeper :, y, x] = kernel.T
    up.weight[:, : unit.deeper, y, x] = kernel[: unit.deeper].T


def _expect(unit: LatentSpaceUnit, deviations: Tensor, level: int) -> None:
    """Have an entropy model as drawn, which expects `LATENT_GAINS`, begin with these [N]."""
    deviations = deviations.clamp_min(_LEAST)
    factor = (LATENT_GAINS[level] / deviations)[:, None, None]
    first_layer(unit.prior.hyper_analysis).weight[:, : unit.channels] *= factor
    if unit.prior.context is not None:
        unit.prior.context.weight *= factor
    out = last_convolution(unit.prior.parameters_net)
    assert out.bias is not None
    out.bias.view(3, -1, unit.channels)[2] = raw_scale(deviations)
