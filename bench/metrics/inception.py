"""FID and KID: how far the patches of decoded pictures are from those of the originals, as sets.

Fréchet inception distance (Heusel et al., NeurIPS 2017) and kernel inception distance (Bińkowski et
al., ICLR 2018) by torch-fidelity, over patches as HiFiC has them (Mentzer et al., NeurIPS 2020).
They compare sets, so they are no metrics of `registry`, whose scores are of one picture.

The network's weights are in no package.  They are looked for in `$BENCH_DATA/inception`, in
`shared/data/inception` beside the checkout and in the cache, are never downloaded, and are opened
(they are a pickle) only if their SHA-256 is the pinned one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.metrics import weights
from bench.metrics.base import MetricUnavailable
from bench.metrics.packaged import version_of
from codecs.base import Image
from codecs.device import chosen
from datasets.cache import cache_folder, data_folder, file_digest

Features = NDArray[np.float64]
"""float64[patches, features]."""
Extractor = Callable[[NDArray[np.uint8]], Features]
"""uint8[patches, 3, 256, 256] -> their features."""

PATCH = 256
FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BATCH = 16
SUBSETS, SUBSET = 100, 1000
"""KID is the mean over random subsets of so many patches, of all where there are fewer."""


@dataclass(frozen=True)
class Distances:
    """Of two sets of as many patches; lower is better."""

    fid: float | None
    """None where there are no more patches than features: the covariance would be singular."""
    kid: float


def patches(image: Image) -> NDArray[np.uint8]:
    """uint8[H, W, 3] -> uint8[N, 3, 256, 256].

    The picture cut into whole patches, and what is left without half a patch on each side cut
    again.  None where a side has fewer than 256 pixels.
    """
    half = PATCH // 2
    found = [
        part[top : top + PATCH, left : left + PATCH]
        for part in (image, image[half:-half, half:-half])
        for top in range(0, part.shape[0] - PATCH + 1, PATCH)
        for left in range(0, part.shape[1] - PATCH + 1, PATCH)
    ]
    stacked = np.array(found, np.uint8).reshape(-1, PATCH, PATCH, 3)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def distances(original: Features, decoded: Features) -> Distances:
    """FID and KID.  Raises `ValueError` for fewer than two patches."""
    import torch
    from torch_fidelity import metric_fid, metric_kid

    count, size = original.shape
    if count < 2:
        raise ValueError(f"a set of {count} patches of {PATCH} x {PATCH} has no distance")
    pair = [torch.from_numpy(features) for features in (original, decoded)]
    fid = None
    if count > size:
        statistics = [metric_fid.fid_features_to_statistics(features) for features in pair]
        fid = metric_fid.fid_statistics_to_metric(*statistics, False)[metric_fid.KEY_METRIC_FID]
    subset = min(SUBSET, count)
    kid = metric_kid.kid_features_to_metric(
        *pair,
        kid_subsets=SUBSETS if subset < count else 1,
        kid_subset_size=subset,
        verbose=False,
    )
    return Distances(fid, kid[metric_kid.KEY_METRIC_KID_MEAN])


def version() -> str:
    """What determines a distance, besides the pictures."""
    return f"{version_of('torch-fidelity')}, Inception {SHA256[:12]}, patches of {PATCH}"


def extractor() -> Extractor:
    """The network.  Raises `MetricUnavailable` without the package or its weights."""
    version()
    path = _weights_file()
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    device = chosen()
    network = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
    ).to(device)

    def features(of: NDArray[np.uint8]) -> Features:
        found = []
        with torch.inference_mode():
            for batch in torch.from_numpy(of).split(BATCH):
                found.append(network(batch.to(device))[0].double().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, 2048))

    return features


def _weights_file() -> Path:
    own = data_folder("inception")
    beside = weights.CHECKOUT.parent / "shared" / "data" / "inception"
    cache = cache_folder("inception")
    for folder in (own, beside, cache):
        path = folder and folder / FILE
        if path and path.is_file():
            if file_digest(path) != SHA256:
                raise MetricUnavailable(f"{path} is damaged: download {URL} again")
            return path
    raise MetricUnavailable(
        f"the weights of Inception were not found: put {URL} into {own or cache} (or into "
        "DIR/inception with BENCH_DATA=DIR set)"
    )
