"""Small networks for tests of learned codecs, trained for seconds so that their symbols vary."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch.nn import functional

from codecs.learned import weights
from codecs.learned.model import LatentCodecNetwork
from codecs.minnen.codec import ARCHITECTURE, MinnenModel, export
from codecs.minnen.network import Minnen


def smooth_noise(batch: int, size: int) -> torch.Tensor:
    """Random pictures with structure at all scales, [batch, 3, size, size] in 0...1."""
    x = torch.zeros(batch, 3, size, size)
    scale = size
    while scale >= 2:
        noise = torch.randn(batch, 3, size // scale + 1, size // scale + 1)
        x += functional.interpolate(noise, (size, size), mode="bilinear") * scale**0.5
        scale //= 2
    return torch.sigmoid(x / size**0.5)


def train(network: LatentCodecNetwork, steps: int, lambda_eff: float = 800.0) -> None:
    """A short training for rate + lambda_eff·MSE on `smooth_noise`."""
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        x = smooth_noise(4, 64)
        out = network(x)
        rate = out.total_bits().sum() / x[:, 0].numel()
        loss = rate + lambda_eff * functional.mse_loss(out.x_hat, x)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    network.eval()


@functools.cache
def trained_minnen(seed: int = 0) -> Minnen:
    """N = 8, M = 12; shared, so not to be changed."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = Minnen(8, 12)
    train(network, 150)
    network.prior.set_medians()
    return network


def minnen_file(folder: Path, seed: int = 0, value: float = 0.01) -> Path:
    """A weights file of `trained_minnen`."""
    path = folder / f"toy{seed}.safetensors"
    export(trained_minnen(seed), path, {"point": {"parameter": "lambda", "value": value}})
    return path


def minnen_model(folder: Path, **options: str) -> MinnenModel:
    return MinnenModel(weights.load(minnen_file(folder), ARCHITECTURE), **options)
