"""Small networks for tests of learned codecs, trained for seconds so that their symbols vary.

`python -m tests.learned_toys` trains them anew; the tests read what that has stored.
"""

from __future__ import annotations

import functools
from pathlib import Path

import safetensors.torch
import torch
from torch.nn import functional

from codecs.learned import weights
from codecs.learned.codec import LearnedCodec, load_model
from codecs.learned.network import CodecNetwork
from codecs.learned.transform import TransformModel
from codecs.minnen import Minnen

TOYS = Path(__file__).parent / "data" / "minnen-toy"


def smooth_noise(batch: int, height: int, width: int | None = None) -> torch.Tensor:
    """Random pictures with structure at scales of 64 to 2 pixels, [batch, 3, height, width] in
    0...1; of the same statistics at all sizes."""
    width = width or height
    x = torch.zeros(batch, 3, height, width)
    for scale in (64, 32, 16, 8, 4, 2):
        rows, columns = -(-height // scale), -(-width // scale)
        noise = torch.randn(batch, 3, rows + 1, columns + 1)
        size = (rows * scale, columns * scale)
        layer = functional.interpolate(noise, size, mode="bilinear")[:, :, :height, :width]
        x += layer * (scale / 64) ** 0.5
    return torch.sigmoid(x)


def train(network: CodecNetwork, steps: int, lambda_eff: float = 3000.0) -> None:
    """A short training for rate + lambda_eff·MSE on `smooth_noise`."""
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        x = smooth_noise(1, 192)  # large enough that not all is border
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
    network = Minnen(8, 12)
    network.load_state_dict(safetensors.torch.load_file(TOYS / f"{seed}.safetensors"))
    return network.eval()


def minnen_file(folder: Path, seed: int = 0, value: float = 0.01) -> Path:
    """A weights file of `trained_minnen`."""
    path = folder / f"toy{seed}.safetensors"
    weights.export(trained_minnen(seed), path, {"point": {"parameter": "lambda", "value": value}})
    return path


def load_minnen(path: Path, variant: str = "", device: str = "cpu") -> TransformModel:
    return load_model(path, Minnen, TransformModel, variant, device)


def minnen_model(folder: Path, variant: str = "", device: str = "cpu") -> TransformModel:
    return load_minnen(minnen_file(folder), variant, device)


def minnen_codec(folder: Path, variant: str | None = None) -> LearnedCodec:
    return LearnedCodec("minnen", "Minnen 2018", Minnen, TransformModel, variant, folder)


def store_toys() -> None:
    """Train the networks of `trained_minnen` on one thread and store their weights."""
    torch.set_num_threads(1)
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = Minnen(8, 12)
        train(network, 120)
        network.prior.set_medians()
        safetensors.torch.save_file(network.state_dict(), TOYS / f"{seed}.safetensors")


if __name__ == "__main__":
    store_toys()
