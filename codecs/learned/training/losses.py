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

from codecs.learned.training.errors import TrainingError
from codecs.learned.training.features import FeatureDistance
from codecs.learned.training.views import random_view
from codecs.learned.weights import last_phase

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first: Wang, Simoncelli, Bovik, Asilomar 2003, table 1."""
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
# pow(0, w) has an infinite gradient, and in the first steps contrast terms can be negative.
_FLOOR = 1e-5


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


def ms_ssim_scales(size: int) -> int:
    """How many of the five scales fit pictures of `size` x `size`: 5 above 160, 4 above 80 ...

    MS-SSIM on smaller pictures than 161 pixels is therefore *not* the standard one: the exponents
    of the scales that are left are divided by their sum.
    """
    scales = 5
    while scales > 1 and size <= (_WINDOW - 1) << (scales - 1):
        scales -= 1
    if size < _WINDOW:
        raise TrainingError(f"MS-SSIM needs crops of at least {_WINDOW} pixels, not {size}")
    return scales


def ms_ssim(x: Tensor, y: Tensor, scales: int = 5) -> Tensor:
    """Multi-scale structural similarity of each pair, [B]; x, y [B, C, H, W] in 0...1.

    Gaussian window 11 x 11, σ = 1.5, no padding; per channel, then averaged over channels.
    With fewer than five scales the exponents are renormalised to sum to 1.
    """
    channels = x.shape[1]
    offsets = torch.arange(_WINDOW, device=x.device, dtype=x.dtype) - _WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    window = (window / window.sum()).expand(5 * channels, 1, 1, -1)
    total = sum(MS_SSIM_WEIGHTS[:scales])
    result = torch.ones(x.shape[:2], device=x.device, dtype=x.dtype)
    for scale in range(scales):
        if scale:
            padding = [s % 2 for s in x.shape[2:]]
            x = functional.avg_pool2d(x, 2, padding=padding)
            y = functional.avg_pool2d(y, 2, padding=padding)
        moments = torch.cat([x, y, x * x, y * y, x * y], 1)
        moments = functional.conv2d(moments, window, groups=5 * channels)
        moments = functional.conv2d(moments, window.transpose(2, 3), groups=5 * channels)
        mean_x, mean_y, xx, yy, xy = moments.chunk(5, 1)
        contrast = (2 * (xy - mean_x * mean_y) + _C2) / (xx - mean_x**2 + yy - mean_y**2 + _C2)
        if scale == scales - 1:
            contrast = contrast * (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        term = contrast.mean((2, 3)).clamp_min(_FLOOR)
        result = result * term ** (MS_SSIM_WEIGHTS[scale] / total)
    return result.mean(1)


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


class LPIPS(nn.Module):
    """Learned perceptual distance v0.1 (Zhang et al., CVPR 2018) with frozen weights.

    `net` is `squeeze`, `alex` or `vgg`.  The linear layers ship with the `lpips` package, the
    backbone is read from a file of `BACKBONES`.  Raises `TrainingError` when there is none.
    """

    def __init__(self, net: str) -> None:
        super().__init__()
        import lpips
        from safetensors.torch import load

        if net not in BACKBONES:
            raise TrainingError(f"no LPIPS backbone {net!r}; there are {', '.join(BACKBONES)}")
        backbone = BACKBONES[net]
        paths = [folder / backbone.file for folder in lpips_folders()]
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            raise TrainingError(
                f"LPIPS ({net}) needs the backbone file {backbone.file}, looked for as "
                f"{', '.join(str(p) for p in paths)}: put it into BENCH_DATA/lpips, choose another "
                "--lpips backbone, or train without LPIPS (--distortion ms-ssim)"
            )
        data = path.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()
        if backbone.sha256 not in (None, self.digest):
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
    """D without its adversarial part (scalar), and its unweighted terms (scalars) by name.

    `x_hat` is not clamped for MSE (a clamped pixel has no gradient), but for the others, which are
    defined on 0...1.  Terms of weight 0 are not computed, except MSE.  With `views` the critics see
    a random view, all the same.
    """
    terms = {"mse": functional.mse_loss(x_hat, x)}
    total = weights.mse * terms["mse"]
    clamped = x_hat.clamp(0, 1)
    if weights.ms_ssim:
        scales = ms_ssim_scales(min(x.shape[2:]))
        terms["ms_ssim"] = 1 - ms_ssim(x, clamped, scales).mean()
        total = total + weights.ms_ssim * terms["ms_ssim"]
    if weights.lpips or weights.features:
        view = random_view(x, clamped) if views else (x, clamped)
        for name in ("lpips", "features"):
            weight, critic = getattr(weights, name), getattr(critics, name)
            if not weight:
                continue
            if critic is None:
                raise TrainingError(f"this phase weighs {name}, but no such network was loaded")
            terms[name] = critic(*view).mean()
            total = total + weight * terms[name]
    return total, terms
