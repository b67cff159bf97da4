"""More latent channels for a trained network of Minnen et al. 2018.

M values for every 16 x 16 pixels bound fidelity at any rate.  A model that has come near that bound
goes on with more of them, instead of anew.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.minnen.network import Minnen

NEW_LATENTS_RMS = 1.0
"""Of all new latents together: above the noise that stands for rounding."""
_BLOCK = slice(2, 4)
"""Taps of the 5 x 5 kernel that writes the latents which lie in the latents' own block."""


@torch.no_grad()
def widen(network: Minnen, trained: Minnen, pictures: Tensor) -> None:
    """Give a fresh network what `trained`, of fewer latent channels M and the same N, has learned.

    Nothing of it reads the new latents yet, so that pictures and the likelihoods of its own latents
    stay as they were.  The new ones are principal components of what the old ones leave of the
    features that all are made of, over `pictures` [B, 3, H, W] in 0...1.

    Raises `ValueError` if `trained` has another N, or no fewer latents.
    """
    n, few, many = network.config["N"], trained.config["M"], network.config["M"]
    if trained.config["N"] != n or few >= many:
        raise ValueError(f"N = {trained.config['N']}, M = {few} cannot grow to N = {n}, M = {many}")
    mine, theirs = network.state_dict(), trained.state_dict()  # the tensors themselves
    for name, old in theirs.items():
        new = mine[name].cpu()
        module = network.get_submodule(name.rpartition(".")[0])
        inputs_first = isinstance(module, nn.ConvTranspose2d) and old.dim() > 1
        if inputs_first:
            new, old = new.transpose(0, 1), old.transpose(0, 1)
        # Scales and means leave the head side by side, and so do ψ and φ enter it.
        outputs = _places(len(old), len(new), 2 if name.startswith("head.4.") else 1)
        if old.dim() > 1:
            inputs = _places(old.shape[1], new.shape[1], 2 if name == "head.0.weight" else 1)
            rows = torch.zeros_like(new[outputs])
            rows[:, inputs] = old
            old = rows
        new[outputs] = old
        mine[name].copy_(new.transpose(0, 1) if inputs_first else new)
    mine["g_a.6.weight"][few:], mine["g_a.6.bias"][few:] = _components(
        trained, many - few, pictures.cpu()
    )
    mine["head.4.bias"][few:many] = NEW_LATENTS_RMS


def _places(old: int, new: int, parts: int) -> Tensor:
    """Where `old` channels of so many equal parts go among `new`."""
    starts = torch.arange(parts)[:, None] * (new // parts)
    return (starts + torch.arange(old // parts)).flatten()


def _components(trained: Minnen, count: int, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels [count, N, 5, 5] and biases [count] of latents that tell what y does not."""
    last = trained.g_a[-1]
    assert isinstance(last, nn.Conv2d)
    features = pictures
    for layer in list(trained.g_a)[:-1]:
        features = layer(features)
    patches = functional.unfold(features, 5, padding=2, stride=2).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    known = last.weight.flatten(1)
    y = (patches - mean) @ known.T
    block = (patches - mean).view(len(patches), -1, 5, 5)[:, :, _BLOCK, _BLOCK].flatten(1)
    predictor = torch.linalg.lstsq(y, block).solution
    left = block - y @ predictor
    variances, directions = torch.linalg.eigh(left.T @ left / len(left))
    if count > len(directions):
        raise ValueError(f"features of {len(directions)} values have no {count} components")
    gain = NEW_LATENTS_RMS / variances[-count:].mean().sqrt()
    chosen = gain * directions[:, -count:].flip(1).T
    kernels = torch.zeros(count, features.shape[1], 5, 5)
    kernels[:, :, _BLOCK, _BLOCK] = chosen.view(count, -1, 2, 2)
    kernels -= ((chosen @ predictor.T) @ known).view_as(kernels)
    return kernels, -kernels.flatten(1) @ mean
