"""Small networks for tests of learned codecs, trained for seconds so that their symbols vary.

`python -m tests.learned_toys` trains them anew, or those that are named; the tests read what that
has stored.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from codecs import registry
from codecs.learned import weights
from codecs.learned.codec import LearnedCodec, load_model
from codecs.learned.network import CodecNetwork
from codecs.learned.transform import TransformModel
from codecs.minnen import Minnen
from tests.rdonet_toys import as_tensor, crop

TOYS = Path(__file__).parent / "data" / "toys"
"""A folder of weights for each codec that can be trained, laid out as those that ship."""
LAMBDA = 3000.0
TRAINED_HERE = (
    "factorised",
    "hyperprior",
    "mean-scale",
    "minnen",
    "lee2019",
    "cheng2020",
    "hu2020",
    "mentzer2018",
    "choi2019",
    "toderici2016",
    "toderici2017",
    "toderici2017-deep",
    "gc2019",
    "iwave",
    "hific",
)
SIZES: Mapping[str, Mapping[str, int | None]] = {
    "iwave": {"M": None, "lifting_width": 4},
    "mentzer2018": {"K": 8},
    "gc2019": {"K": 16, "B": 1, "F": 8},
    "hific": {"K": 16, "B": 1},
    **{name: {"N": 16, "M": 16, "passes": 3} for name in TRAINED_HERE if "toderici" in name},
}
"""Of toys that N = 8 does not make small or does not fit."""
STEPS: Mapping[str, int] = {"hific": 600}
"""Of toys that show nothing after 300: where all is normalised, colours are learned late."""


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


def train(network: CodecNetwork, steps: int, lambda_eff: float = LAMBDA) -> None:
    """A short training for rate + lambda_eff·MSE on parts of a photograph."""
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(steps):
        x = as_tensor(crop(192, 192, step))  # large enough that not all is border
        quality = torch.rand(1) * (network.qualities - 1) if network.qualities else None
        out = network(x, quality=quality)
        rate = out.total_bits().sum() / x[:, 0].numel()
        weight = lambda_eff if quality is None else network.lambda_of(quality).item()
        loss = rate + weight * functional.mse_loss(out.x_hat, x)
        if out.penalty is not None:
            loss = loss + out.penalty.mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    network.eval()


@functools.cache
def toy_network(name: str) -> CodecNetwork:
    """That of the toy weights of the codec `name`; shared, so not to be changed."""
    loaded = weights.load(TOYS / name / "toy.safetensors")
    network = registry.network(name).from_config(loaded.card["config"])
    network.load_state_dict(loaded.parameters)
    return network.eval().requires_grad_(False)


def load_minnen(path: Path, variant: str = "", device: str = "cpu") -> TransformModel:
    return load_model(path, Minnen, TransformModel, variant, device)


def minnen_codec(folder: Path, variant: str | None = None) -> LearnedCodec:
    return LearnedCodec("minnen", "Minnen 2018", Minnen, TransformModel, variant, folder)


def store_toys() -> None:
    """Train the toys of `TRAINED_HERE`, or those that are named, with N = 8, M = 12."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or (*TRAINED_HERE, "learned-jpeg"):
        if name == "learned-jpeg":
            store_learned_jpeg()
            continue
        torch.manual_seed(0)
        objective = {"lambda_eff": LAMBDA, "mse": 1.0, "ms_ssim": 0.0}
        sizes = {"N": 8, "M": 12, **SIZES.get(name, {})}
        config = {k: v for k, v in sizes.items() if v is not None} | {"objective": objective}
        network = registry.network(name).from_config(config)
        train(network, STEPS.get(name, 300), LAMBDA)
        network.set_medians()
        card = {"point": {"parameter": "lambda", "value": 0.01}}
        weights.export(network, TOYS / name / "toy.safetensors", card, half=True)


def store_learned_jpeg() -> None:
    """Of eight qualities: one file of weights has all rates."""
    torch.manual_seed(0)
    network = registry.network("learned-jpeg").from_config(
        {"N": 8, "qualities": 8, "lambdas": [30.0, 4000.0]}
    )
    train(network, 150)
    card = {"points": [{"parameter": "quality", "value": quality} for quality in range(8)]}
    weights.export(network, TOYS / "learned-jpeg" / "toy.safetensors", card, half=True)


if __name__ == "__main__":
    store_toys()
