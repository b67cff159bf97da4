"""Distortions for training, differentiable, on pictures in 0...1."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.ms_ssim import ms_ssim, ms_ssim_scales
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.features import FeatureDistance
from codecs.learned.training.views import random_view
from codecs.learned.weights import last_phase


@dataclass(frozen=True)
class LossWeights:
    """D = mse·MSE + ms_ssim·(1 - MS-SSIM) + lpips·LPIPS + gan·L_adv (Brand et al., CLIC 2022)
    + features·`FeatureDistance`."""

    mse: float = 1.0
    ms_ssim: float = 0.0
    lpips: float = 0.0
    gan: float = 0.0
    features: float = 0.0

    @classmethod
    def of_card(cls, training: Mapping[str, Any]) -> LossWeights:
        """Those of the last phase, by the `training` of a model's card; raises `KeyError`."""
        last = last_phase(training)
        return cls(*(last[term.name] for term in fields(cls)))


@dataclass(frozen=True)
class Backbone:
    """A file with the feature layers of a classifier, torchvision's names."""

    file: str
    sha256: str | None = None


BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        "alex": Backbone(
            "alexnet_features.safetensors",
            "9db55967dd9234dc818622ed3b1e6d00e27ff46037de13dfc2b1edad0a67d186",
        ),
        "squeeze": Backbone(
            "squeezenet1_1_features.safetensors",
            "f5dee06b109843494213e100e80d6381b9081b8bca219cfd053cb9b355dec663",
        ),
        "vgg": Backbone("vgg16_features.safetensors"),
    }
)


def lpips_folders() -> list[Path]:
    """Where backbones are looked for, first match wins."""
    checkout = Path(__file__).resolve().parents[3]
    folders = [checkout.parent / "shared" / "data" / "lpips"]
    if "BENCH_DATA" in os.environ:
        folders.insert(0, Path(os.environ["BENCH_DATA"]) / "lpips")
    return folders


def backbone_file(net: str) -> Path:
    """The file of a backbone; raises `TrainingError` when there is none."""
    if net not in BACKBONES:
        raise TrainingError(f"no LPIPS backbone {net!r}; there are {', '.join(BACKBONES)}")
    name = BACKBONES[net].file
    paths = [folder / name for folder in lpips_folders()]
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise TrainingError(
            f"LPIPS ({net}) needs the backbone file {name}, looked for as "
            f"{', '.join(str(p) for p in paths)}: put it into BENCH_DATA/lpips, choose another "
            "--lpips backbone, or train without LPIPS (--distortion ms-ssim)"
        )
    return path


class LPIPS(nn.Module):
    """Learned perceptual distance v0.1 (Zhang et al., CVPR 2018) with frozen weights.

    `net` is `squeeze`, `alex` or `vgg`.  The linear layers ship with the `lpips` package, the
    backbone is read from a file of `BACKBONES`.  Raises `TrainingError` when there is none.
    """

    def __init__(self, net: str) -> None:
        super().__init__()
        import lpips
        from safetensors.torch import load

        path = backbone_file(net)
        data = path.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()
        if BACKBONES[net].sha256 not in (None, self.digest):
            raise TrainingError(f"{path} is not the expected file (SHA-256 {self.digest})")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's, about the way lpips calls it
            self.model = lpips.LPIPS(net=net, pnet_rand=True, version="0.1", verbose=False)
        state = load(data)
        # lpips names a layer `sliceK.<n>...` that torchvision calls `features.<n>...`.
        self.model.net.load_state_dict(
            {k: state["features." + k.split(".", 1)[1]] for k in self.model.net.state_dict()}
        )
        self.model.requires_grad_(False).eval()
        self.net = net

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of each pair, [B]; x, y [B, 3, H, W] in 0...1."""
        distance: Tensor = self.model(2 * x - 1, 2 * y - 1)
        return distance.flatten()


@dataclass(frozen=True)
class Critics:
    """The frozen networks that a schedule's perceptual terms need, those of other terms `None`."""

    lpips: LPIPS | None = None
    features: FeatureDistance | None = None

    @classmethod
    def load(cls, weights: Iterable[LossWeights], lpips_net: str) -> Critics:
        """Those that any of the weights ask for; raises `TrainingError` where one is missing."""
        asked = tuple(weights)
        return cls(
            LPIPS(lpips_net) if any(w.lpips for w in asked) else None,
            FeatureDistance() if any(w.features for w in asked) else None,
        )

    def to(self, device: torch.device) -> Critics:
        return Critics(
            None if self.lpips is None else self.lpips.to(device),
            None if self.features is None else self.features.to(device),
        )


def distortion(
    x: Tensor, x_hat: Tensor, weights: LossWeights, critics: Critics, views: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """D of each sample without its adversarial part, [B], and its unweighted terms (scalars, means
    over the batch) by name.

    `x_hat` is not clamped for MSE (a clamped pixel has no gradient), but for the others, which are
    defined on 0...1.  Terms of weight 0 are not computed, except MSE.  With `views` the critics see
    a random view, all the same.
    """
    each = {"mse": functional.mse_loss(x_hat, x, reduction="none").mean((1, 2, 3))}
    total = weights.mse * each["mse"]
    clamped = x_hat.clamp(0, 1)
    if weights.ms_ssim:
        scales = ms_ssim_scales(min(x.shape[2:]))
        each["ms_ssim"] = 1 - ms_ssim(x, clamped, scales)
        total = total + weights.ms_ssim * each["ms_ssim"]
    if weights.lpips or weights.features:
        view = random_view(x, clamped) if views else (x, clamped)
        for name in ("lpips", "features"):
            weight, critic = getattr(weights, name), getattr(critics, name)
            if not weight:
                continue
            if critic is None:
                raise TrainingError(f"this phase weighs {name}, but no such network was loaded")
            each[name] = critic(*view)
            total = total + weight * each[name]
    return total, {name: term.mean() for name, term in each.items()}
