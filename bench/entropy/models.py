"""The entropy models that are compared, each in a network with the same transforms."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from codecs.base import CodecUnavailable
from codecs.cheng2020 import MixtureNetwork
from codecs.learned import weights
from codecs.learned.codec import WEIGHTS
from codecs.learned.coders.coarsetofine import CoarseToFine, HyperLevel
from codecs.learned.coders.factorised import Factorised, GaussianPrior
from codecs.learned.initialisation import initialise
from codecs.learned.rows import gdn_analysis, gdn_synthesis
from codecs.learned.transform import TransformNetwork

TRUNK = WEIGHTS / "minnen-mse" / "minnen-all.safetensors"
"""Weights whose transforms all share."""
SHARED = ("g_a", "g_s", "gains")


class Mixture(MixtureNetwork):
    """Cheng et al. 2020 without its transforms."""

    architecture, magic = "mixture", b"MX"

    def __init__(self, N: int, M: int, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a, self.g_s = gdn_analysis(N, M), gdn_synthesis(N, M)
        self.add_entropy_model(N, M)
        self.initialise([self.g_a[-1]], [self.g_s[0]], self.g_s[-1])


class Coarse2Fine(TransformNetwork):
    """Hu et al. 2020 without its transforms: a synthesis that sees ŷ alone."""

    architecture, magic = "coarse-to-fine", b"C2"

    def __init__(self, N: int, M: int, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a, self.g_s = gdn_analysis(N, M), gdn_synthesis(N, M)
        self.fine = HyperLevel(M, N, N, 2 * N)
        self.coarse = HyperLevel(N, N // 2, N, N)
        self.prior = GaussianPrior(N // 2)
        initialise(
            self,
            writers=[self.g_a[-1], self.fine.writer, self.coarse.writer],
            readers=[self.g_s[0], *self.fine.readers, *self.coarse.readers],
            picture=self.g_s[-1],
        )
        self.fine.guess_broadly()
        self.coarse.guess_broadly()

    def latent_model(self) -> CoarseToFine:
        return CoarseToFine(self.fine, self.coarse, self.prior)


MODELS: Mapping[str, str] = MappingProxyType(
    {
        "factorised": "codecs.factorised:FactorisedNetwork",
        "hyperprior": "codecs.hyperprior:ScaleHyperprior",
        "mean-scale": "codecs.mean_scale:MeanScale",
        "hu2020": "bench.entropy.models:Coarse2Fine",
        "lee2019": "codecs.lee2019:Lee2019",
        "minnen": "codecs.minnen:Minnen",
        "mixture": "bench.entropy.models:Mixture",
    }
)
"""Name -> `module:class` of a `TransformNetwork` with the trunk's kind of transforms."""


def kind_of(name: str) -> type[TransformNetwork]:
    """The class of one of `MODELS`."""
    module, _, attribute = MODELS[name].partition(":")
    kind: type[TransformNetwork] = getattr(importlib.import_module(module), attribute)
    return kind


@dataclass(frozen=True)
class Trunk:
    """The network whose transforms are shared."""

    network: TransformNetwork
    digest: str
    """SHA-256 of its weights file, in hexadecimal."""


def load_trunk(path: Path) -> Trunk:
    """Raises `CodecUnavailable`."""
    loaded = weights.load(path, "minnen")
    try:
        network = kind_of("minnen").from_config(loaded.card["config"])
        network.load_state_dict(loaded.parameters)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CodecUnavailable(f"{path}: the weights do not fit ({error})") from error
    if network.gains is None:
        raise CodecUnavailable(f"{path}: weights of one rate; give those of a range")
    return Trunk(network.eval().requires_grad_(False), loaded.digest.hex())


def on_trunk(name: str, trunk: TransformNetwork, seed: int = 0) -> TransformNetwork:
    """A fresh network of one of `MODELS`, with the trunk's transforms and gains, frozen."""
    torch.manual_seed(seed)
    network = kind_of(name).from_config(trunk.config)
    for part in SHARED:
        shared = network.get_submodule(part)
        shared.load_state_dict(trunk.get_submodule(part).state_dict())
        shared.requires_grad_(False)
    return network


def set_medians(network: TransformNetwork) -> None:
    """Medians of hyper-latents; y is rounded to integers by all models, so that all code the same
    ones."""
    network.set_medians()
    model = network.latent_model()
    if isinstance(model, Factorised):
        model.prior.medians.zero_()
