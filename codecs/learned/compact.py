"""Kernels as integers, compressed, for weights files of a fifth of the size.

A kernel [n, m, k, k] is stored as integers and as float16 steps [n, 1].  Steps follow from how
large an error is allowed: transforms need small ones, for at high rates a picture shows what 8 bits
do to them (2.4 % of rate at 0.9 bpp, and 9 % at equal PSNR), while entropy models do with 6 bits.
Taps that are 0 for all outputs (masked ones, and inputs that are always 0) are left out: the
integers are then [n, count], and `taps.*` [m, k, k] tells which are there.  The integers, in the
order 0, -1, 1, -2..., are compressed by zlib, low bytes before high ones, beside their `shape.*`.

Files of before are read: their integers are bytes, with or without zlib, and steps may be [n, m].
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

STEPS = "steps."
TAPS = "taps."
SHAPE = "shape."
FINE = 4e-6
"""Squared error of kernels of transforms, as a part of their energy."""
COARSE = 4e-4
"""That of all others."""
COLOURS = 3
"""Channels of a picture: layers that take or make one keep 16 bits.  They have few weights."""
_SMALLEST = 2.0**-24
"""Of the steps that float16 has."""
_LARGEST = 1 << 28
"""Values of all kernels of a file: more than any network here has."""


def encode(parameters: Mapping[str, Tensor], fine: Collection[str] = ()) -> dict[str, Tensor]:
    """The parameters with large kernels as integers, `fine` ones with a hundredth of the error of
    others; all other parameters are few and stay as they are.

    `expand` gives the values that the codec uses.
    """
    encoded = {}
    for name, value in parameters.items():
        if value.ndim != 4 or min(value.shape[:2]) <= COLOURS or not value.is_floating_point():
            encoded[name] = value
            continue
        kernel = value.detach().to("cpu", torch.float32)
        steps = _steps(kernel, FINE if name in fine else COARSE)
        encoded[STEPS + name] = steps
        levels = torch.round(kernel / steps.to(torch.float32)[:, :, None, None])
        taps = kernel.count_nonzero(0) > 0
        if not bool(taps.all()) and bool(taps.any()):
            levels, encoded[TAPS + name] = levels[:, taps], taps
        encoded[name] = torch.frombuffer(bytearray(_deflated(levels)), dtype=torch.uint8)
        encoded[SHAPE + name] = torch.tensor(levels.shape, dtype=torch.int32)
    return encoded


def expand(encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `encode`; parameters without steps stay as they are.

    Raises `ValueError` if steps, taps or shapes do not fit their kernels.
    """
    values = {}
    left = _LARGEST
    for name, value in encoded.items():
        if name.startswith((STEPS, TAPS, SHAPE)):
            continue
        shape = encoded.get(SHAPE + name)
        if shape is not None:
            value = _inflated(name, value, shape, left)
        steps = encoded.get(STEPS + name)
        if steps is not None:
            kernel = _placed(name, value.to(torch.float32), encoded.get(TAPS + name), left)
            n, m = (*kernel.shape, 0, 0)[:2]
            if kernel.ndim != 4 or steps.shape not in ((n, m), (n, 1)):
                raise ValueError(f"{list(steps.shape)} steps for {name} {list(value.shape)}")
            value = kernel * steps.to(torch.float32)[:, :, None, None]
        if shape is not None or steps is not None:
            left -= value.numel()
        values[name] = value
    return values


def _steps(kernel: Tensor, error: float) -> Tensor:
    """[n, 1]: uniform noise of a step has a twelfth of its square for energy."""
    allowed = kernel.square().mean((1, 2, 3)).mul(12 * error).sqrt()
    needed = kernel.abs().amax((1, 2, 3)) / 32000  # of 32767, lest float16 rounds it down
    return torch.maximum(allowed, needed).clamp_min(_SMALLEST).to(torch.float16)[:, None]


def _deflated(levels: Tensor) -> bytes:
    v = levels.contiguous().to(torch.int32).numpy()
    coded = ((v << 1) ^ (v >> 31)).astype(np.uint16)
    planes = ((coded & 255).astype(np.uint8), (coded >> 8).astype(np.uint8))
    return zlib.compress(b"".join(plane.tobytes() for plane in planes), 9)


def _inflated(name: str, deflated: Tensor, shape: Tensor, most: int) -> Tensor:
    """The integers of a kernel, at most so many."""
    sides = shape.tolist() if shape.ndim == 1 and shape.dtype == torch.int32 else [-1]
    if deflated.dtype != torch.uint8 or min(sides, default=0) < 0 or math.prod(sides) > most:
        raise ValueError(f"{name} of the shape {sides}")
    stream, count = zlib.decompressobj(), math.prod(sides)
    try:
        data = stream.decompress(deflated.numpy().tobytes(), 2 * count + 1)
    except zlib.error as error:
        raise ValueError(f"{name}: {error}") from error
    if len(data) not in (count, 2 * count) or not stream.eof:
        raise ValueError(f"{name} does not fill the shape {sides}")
    if len(data) == count:
        return torch.frombuffer(bytearray(data), dtype=torch.int8).view(sides)
    low, high = np.frombuffer(data, np.uint8).reshape(2, count)
    coded = low | (high.astype(np.uint16) << 8)
    levels = (coded >> 1).astype(np.int16) ^ -(coded & 1).astype(np.int16)
    return torch.from_numpy(levels).view(sides)


def _placed(name: str, levels: Tensor, taps: Tensor | None, most: int) -> Tensor:
    """The integers of a kernel at their taps, at most so many."""
    if taps is None:
        return levels
    fits = levels.ndim == 2 and taps.ndim == 3 and taps.dtype == torch.bool
    if not fits or levels.shape[1] != taps.sum() or len(levels) * taps.numel() > most:
        raise ValueError(f"{list(taps.shape)} taps for {name} {list(levels.shape)}")
    kernel = levels.new_zeros((len(levels), *taps.shape))
    kernel[:, taps] = levels
    return kernel
