"""CompressAI's networks with their published weights, or somebody's (the package is optional).

Published ones are kept where CompressAI itself keeps them (PyTorch Hub's folder `checkpoints`), so
a file that is there already is used.  A file's name ends with the first eight digits of its
SHA-256, which is checked, and it is read with `torch.load(weights_only=True)`: CompressAI's own
loader checks nothing and, before PyTorch 2.6, runs any code that a pickle holds.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import re
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from codecs.base import CodecUnavailable

REQUIREMENTS = ("compressai==1.2.8", "torch-geometric", "einops", "psutil", "xxhash")
INSTALL = "python -m pip install --no-deps " + " ".join(REQUIREMENTS)
"""Without `--no-deps`, CompressAI 1.2.8 would put numpy 1 in the place of numpy 2; it works with
both.  The others are imported when CompressAI is; the rest is installed with the harness."""
TIMEOUTS = (5, 30)
"""Seconds to connect, and between two pieces of an answer."""
_MAX_FILE = 1 << 30
_unreachable: dict[str, str] = {}
"""Host -> what went wrong, so that each process waits for a missing network once."""


def package() -> ModuleType:
    """`compressai.zoo.image`.  Raises `CodecUnavailable` that says how to install it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch.jit, which users don't call
            return importlib.import_module("compressai.zoo.image")
    except ImportError as error:
        raise CodecUnavailable(
            f"the optional package CompressAI cannot be imported ({error}); install it beside "
            f"numpy 2 with `{INSTALL}`"
        ) from error


def version() -> str:
    """Of the installed package.  Raises `CodecUnavailable` as `package` does."""
    package()
    return importlib.metadata.version("compressai")


def urls(architecture: str, metric: str) -> dict[int, str]:
    """Quality -> address of the weights, as the package knows them."""
    return dict(package().model_urls[architecture][metric])


def fetch(url: str) -> Path:
    """The verified weights file of `url`, downloaded at the first use.

    Raises `CodecUnavailable` naming the address and the place to put the file by hand.
    """
    name = url.rpartition("/")[2]
    match = re.search(r"-([0-9a-f]{8})\.", name)
    if match is None:
        raise CodecUnavailable(f"{url}: the name has no digest to verify the file with")
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if not path.is_file():
        _download(url, path, match[1])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(match[1]):
        raise CodecUnavailable(f"{path}: damaged (SHA-256 {digest[:8]}, not {match[1]}): delete it")
    return path


def load(architecture: str, path: Path) -> Any:
    """The network of a weights file, in evaluation mode; its widths are those of the file.

    The file holds a state dict, or, as CompressAI's `examples/train.py` writes it, one beside the
    state of the training.  Raises `CodecUnavailable`.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling has errors of many kinds
        raise CodecUnavailable(
            f"{path}: cannot be read as plain tensors, and code in a file is not run "
            f"({_short(error)}); write it with torch.save(network.state_dict(), path)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CodecUnavailable(f"{path}: holds no state dict")
    zoo = package()
    models = zoo.model_architectures
    network = models.get(architecture) or models[architecture.replace("-", "_")]
    try:
        model = network.from_state_dict(zoo.load_pretrained(state))
    except Exception as error:  # names and shapes each have errors of their own
        raise CodecUnavailable(
            f"{path}: not weights of {architecture} ({_short(error)}); is it another architecture?"
        ) from error
    return model.eval()


def _short(error: Exception) -> str:
    """Its kind, and the first of what may be a long list of names."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _download(url: str, path: Path, digest: str) -> None:
    import requests

    host = url.split("/")[2]
    by_hand = f"cannot download {url} (to use it without a network, save it as {path}): "
    if host in _unreachable:
        raise CodecUnavailable(by_hand + _unreachable[host])
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: several processes may want the same file.
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    sha = hashlib.sha256()
    try:
        with (
            os.fdopen(handle, "wb") as file,
            requests.get(url, stream=True, timeout=TIMEOUTS) as answer,
        ):
            answer.raise_for_status()
            for piece in answer.iter_content(1 << 20):
                file.write(piece)
                sha.update(piece)
                if file.tell() > _MAX_FILE:
                    raise CodecUnavailable(f"{by_hand}it is larger than {_MAX_FILE} bytes")
        if not sha.hexdigest().startswith(digest):
            raise CodecUnavailable(f"{by_hand}what came has SHA-256 {sha.hexdigest()[:8]}")
        os.replace(partial, path)
    except requests.RequestException as error:
        problem = str(error)
        if not isinstance(error, requests.HTTPError):
            problem = _unreachable[host] = f"no connection to {host} ({type(error).__name__})"
        raise CodecUnavailable(by_hand + problem) from error
    finally:
        Path(partial).unlink(missing_ok=True)
