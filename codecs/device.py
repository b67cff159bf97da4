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
        if torch.device(name).type != "cuda":
            raise RuntimeError(f"no support for {name}")  # the exact path needs float64
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        gpus = torch.cuda.device_count()
        there = f"cpu and {gpus} GPU(s), cuda:0 the first" if gpus else "cpu only, no GPU"
        raise CodecUnavailable(
            f"device {name!r} cannot be used: PyTorch finds here {there}; leave --device and "
            f"{VARIABLE} away to use the CPU"
        ) from error
    # The same file shall give the same picture each time, with float32 as others have it.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    return name
