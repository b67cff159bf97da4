"""The device that learned codecs and metrics run on: `--device`, or the variable BENCH_DEVICE."""

from __future__ import annotations

import os

from codecs.base import CodecUnavailable

VARIABLE = "BENCH_DEVICE"


def chosen() -> str:
    """`cpu` unless the user has chosen another device.

    Raises `CodecUnavailable` where this machine does not have it.
    """
    name = os.environ.get(VARIABLE, "").strip() or "cpu"
    if name == "cpu":
        return name
    import torch

    try:
        kind = torch.device(name).type
        if kind == "cuda" and torch.cuda.is_available():
            torch.empty(0, device=name)
            return name
    except (RuntimeError, AssertionError):
        pass
    there = "cpu and cuda" if torch.cuda.is_available() else "cpu only: PyTorch finds no GPU"
    raise CodecUnavailable(f"device {name!r} cannot be used; this machine has {there}")
