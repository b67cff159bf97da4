"""Initial weights of RDONet: a smooth path for coarse structure, and weak random branches.

Some 25 layers lie between a picture and its reconstruction: see `begin_as_path`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from codecs.learned.coders import likelihood
from codecs.learned.initialisation import add_path, begin_as_path, inverse_softplus
from codecs.learned.layers import GDN, upsampling_phases
from codecs.minnen import Minnen
from codecs.rdonet.unit import SCALE_FLOOR, ConditionalHyperprior

if TYPE_CHECKING:
    from codecs.rdonet.network import RDONet

LATENT_GAINS = {1: 4.0, 2: 6.0, 3: 8.0}
"""Gain of the layer that writes the latent of each level: at PyTorch's default it all rounds to 0.

A deep level's N values stand for more pixels, so each has to carry more.
"""
PICTURE = 0.02
"""Gain of the last layer: the first picture is nearly mid grey."""
SPREAD = 0.7
"""log2 of how much wider the widest Gaussian of a mixture begins than a single one."""
FAINT = 0.05
"""Gain of what writes hyper-latents that are to begin at their medians."""
NEARLY_LINEAR = 1e-7
"""gamma of a GDN that is to be nearly the identity for latents of up to a hundred, but not so small
that it has no gradient."""


@torch.no_grad()
def initialise(network: RDONet) -> None:
    """Draw all weights anew, from PyTorch's default generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = module.weight[:, 0].numel() / 4 if transposed else module.weight[0].numel()
            module.weight.normal_(0.0, fan_in**-0.5)
            if module.bias is not None:
                module.bias.zero_()
    for transform in (network.analysis, network.synthesis):
        begin_as_path(transform)
    for level in (1, 2, 3):
        _initialise_unit(network, level)
    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    picture = [m for m in network.synthesis.modules() if isinstance(m, convolutions)][-1]
    picture.weight *= PICTURE
    assert picture.bias is not None
    picture.bias.fill_(0.5)  # mid grey


@torch.no_grad()
def begin_linear(gdn: nn.Module) -> None:
    """Have a GDN begin as nearly the identity."""
    assert isinstance(gdn, GDN)
    gamma = NEARLY_LINEAR * torch.eye(len(gdn.gamma))
    gdn.gamma.copy_(torch.sqrt(gamma + GDN.PEDESTAL))
    nn.init.ones_(gdn.beta)


def minnen_of(trained: Mapping[str, Tensor]) -> Minnen:
    """The network whose parameters these are; raises `ValueError`."""
    try:
        latents, width = trained["g_a.6.weight"].shape[:2]
        anchors = len(trained.get("gains.log_gain", ()))
        minnen = Minnen(N=width, M=latents, qualities=anchors)
        minnen.load_state_dict(trained)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"not the weights of a Minnen network: {error}") from error
    return minnen


@torch.no_grad()
def adopt(network: RDONet, trained: Minnen) -> None:
    """Give a fresh network the transforms and the context model of a trained `Minnen` network.

    With the `gdn` backbone and blocks of 16 x 16 alone, RDONet's transforms contain those of Minnen
    et al. 2018, which train several times as fast: afterwards t₁ is that network's y but for a
    nearly linear GDN, and the synthesis makes the same picture of it.  The hyperprior, whose layers
    are others, has to be learned, and the deeper levels begin by sending means of y.

    Raises `ValueError` if the networks do not fit.
    """
    first, width = network.unit(1), network.width
    if first.gains is not None and trained.gains is not None:
        first.gains.load_state_dict(trained.gains.state_dict())
    theirs = trained.config["N"], trained.config["M"]
    deeper = max(network.config["latents"][1:])
    if network.backbone_kind != "gdn" or theirs != (width, first.channels) or deeper > theirs[1]:
        raise ValueError(
            f"Minnen of N = {theirs[0]} and M = {theirs[1]} fits RDONet of that width and that "
            "many latents at level 1, at most as many below, with the gdn backbone, "
            f"not of width {width} and latents {network.config['latents']} with the "
            f"{network.backbone_kind} backbone"
        )
    mine = (*network.analysis, first.down[0], first.igdn, *network.synthesis)
    for layer, source in zip(mine, (*trained.g_a, *list(trained.g_s)[1:]), strict=True):
        layer.load_state_dict(source.state_dict())
    for level in (1, 2, 3):
        unit = network.unit(level)
        gdns = [unit.down[1]] if level == 1 else [unit.down[1], unit.igdn]
        for gdn in gdns:
            begin_linear(gdn)
        # y has the gain that it was trained for.
        unit.bottom.weight /= LATENT_GAINS[1]
        first_layer(unit.up).weight[:, unit.deeper :] *= LATENT_GAINS[1]
    first.bottom.weight.zero_()
    first.bottom.weight[:, : first.channels, 2, 2] = torch.eye(first.channels)
    # The transposed convolution of y as a sub-pixel convolution; the deeper features, which stand
    # in for y or its first channels, go through the same.
    source = trained.g_s[0]
    assert isinstance(source, nn.ConvTranspose2d)
    up = first_layer(first.up)
    up.weight.zero_()
    centre = slice(up.weight.shape[2] // 2 - 1, up.weight.shape[2] // 2 + 2)
    phases = upsampling_phases(source.weight).flatten(0, 2)
    up.weight[:, :, centre, centre] = torch.cat([phases[:, : first.deeper], phases], 1)
    assert up.bias is not None
    assert source.bias is not None
    up.bias.copy_(source.bias.repeat_interleave(4))
    _adopt_entropy_model(first.prior, trained)


def _adopt_entropy_model(prior: ConditionalHyperprior, trained: Minnen) -> None:
    """Context model, means and scales of `trained` as they are where its hyper-latents say nothing.

    Hyper-latents begin at their medians, from where they can learn to say something.
    """
    if prior.context is None:
        return
    mine, theirs = prior.state_dict(), trained.state_dict()  # the tensors themselves
    prior.context.load_state_dict(trained.context.state_dict())
    if prior.mask_context is not None:
        prior.mask_context.weight.zero_()
    used = len(theirs["head.2.weight"])
    for kind in ("weight", "bias"):
        mine[f"parameters_net.0.{kind}"].copy_(theirs[f"head.0.{kind}"])
        mine[f"parameters_net.2.{kind}"][:used] = theirs[f"head.2.{kind}"]
    trained.prior.set_medians()
    silent = trained.h_s(trained.prior.medians[None, :, None, None].expand(1, -1, 6, 6))
    psi = silent[:, :, 8:16, 8:16].mean((2, 3), keepdim=True)
    prior.condition.weight.zero_()
    mine["condition.bias"].copy_(psi.flatten())
    last = last_convolution(prior.hyper_analysis)
    if last.out_channels == trained.config["N"]:
        prior.prior.load_state_dict(trained.prior.state_dict())
        last.weight *= FAINT
        mine["hyper_analysis.8.bias"].copy_(trained.prior.medians)
    k = prior.density.components
    weight = mine["parameters_net.4.weight"].unflatten(0, (3, k, -1))
    bias = mine["parameters_net.4.bias"].view(3, k, -1)
    scale_weight, mean_weight = theirs["head.4.weight"].chunk(2)
    scale_bias, mean_bias = theirs["head.4.bias"].chunk(2)
    weight[1:, :, :, used:] = 0
    weight[1, :, :, :used], bias[1] = mean_weight, mean_bias
    # Their scales are linear in the last features, ours after the inverse of a softplus: a line
    # that is right for the scale that each latent has among zeros, and for a larger one.
    zeros = psi.new_zeros(1, len(mean_bias), 5, 5)
    scales, _ = trained.latent_model().theta(psi.expand(-1, -1, 5, 5), zeros).chunk(2, 1)
    low = scales[0, :, 2, 2].clamp_min(likelihood.SCALE_FLOOR)
    high = 3 * low + 0.5
    factors = torch.logspace(-SPREAD, SPREAD, k, 2.0) if k > 1 else torch.ones(1)
    for component, factor in enumerate(factors):
        below, above = raw_scale(factor * low), raw_scale(factor * high)
        slope = (above - below) / (high - low)
        weight[2, component, :, :used] = slope[:, None, None, None] * scale_weight
        bias[2, component] = slope * (scale_bias - low) + below


def raw_scale(scales: Tensor) -> Tensor:
    """What a `Mixture` makes `scales` of."""
    return inverse_softplus((scales - SCALE_FLOOR).clamp_min(1e-3))


def _initialise_unit(network: RDONet, level: int) -> None:
    unit = network.unit(level)
    prior, n, deeper, gain = unit.prior, unit.channels, unit.deeper, LATENT_GAINS[level]
    # Identities between the units: whichever level sends a block, the synthesis sees the same code,
    # only blurred by deeper levels.  With matrices of their own it would have to learn three.
    # Nearly everywhere either the deeper features or the latent are 0, so both pass at full gain.
    down, up = first_layer(unit.down), first_layer(unit.up)
    above = up.out_channels // unit.stride**2
    add_path(down, torch.eye(n, down.in_channels))
    add_path(unit.bottom, torch.eye(n, n + deeper))
    both = torch.cat([torch.eye(above, deeper), torch.eye(above, n)], 1)
    add_path(up, both, repeat=unit.stride**2)
    unit.bottom.weight *= gain
    # Latents enter hyper-encoder, context and decoder at about unit scale ...
    up.weight[:, deeper:] /= gain
    first_layer(prior.hyper_analysis).weight[:, :n] /= gain
    if prior.context is not None:
        prior.context.weight /= gain
    # ... and the first guess is that they are broad.
    out = last_convolution(prior.parameters_net)
    out.weight *= 0.1
    # Of the deepest hyper-latent, crops of up to 256 pixels have one position, so that most taps
    # of these layers are never trained.  They must not speak up on larger pictures.
    upsampling = prior.hyper_synthesis[2]
    assert isinstance(upsampling, nn.Sequential)
    deep = (
        last_convolution(prior.hyper_analysis),
        first_layer(prior.hyper_synthesis),
        first_layer(upsampling),
    )
    for layer in deep:
        centre = layer.weight[:, :, 1, 1].clone()
        layer.weight.zero_()
        layer.weight[:, :, 1, 1] = 3 * centre
    assert out.bias is not None
    out.bias.view(3, -1)[2] = gain / 2


def first_layer(layers: nn.Sequential) -> nn.Conv2d:
    layer = layers[0]
    assert isinstance(layer, nn.Conv2d)
    return layer


def last_convolution(layers: nn.Sequential) -> nn.Conv2d:
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]
