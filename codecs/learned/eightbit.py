"""Kernels in 8 bits and compressed, for weights files of a fifth of the size.

A kernel [n, m, k, k] is stored as integers and as float16 steps [n, 1], or [n, m] where one step
for each output would drown many small kernels beside few large ones, as in layers that begin as an
identity.  Taps that are 0 for all outputs (masked ones, and inputs that are always 0) are left out:
the integers are then [n, count], and `taps.*` [m, k, k] tells which are there.  The integers are
compressed by zlib, to some 83 %, beside their `shape.*`; in older files they are as they are.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

STEPS = "steps."
TAPS = "taps."
SHAPE = "shape."
COARSE = 4e-4
"""Largest error of steps [n, 1], as a part of the kernel's energy: RDONet lost 1.4 % of rate and
0.15 dB with such steps everywhere, and 0.02 dB with them up to here."""
COLOURS = 3
"""Channels of a picture: layers that take or make one keep 16 bits.  They have few weights, and
three quarters of what 8 bits cost was theirs (0.11 of 0.15 dB at 33.7 dB)."""
_LARGEST = 1 << 28
"""Values of all kernels of a file: more than any network here has."""


def encode(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters with large kernels in 8 bits; all others are few and stay as they are.

    `expand` gives the values that the codec uses.
    """
    encoded = {}
    for name, value in parameters.items():
        if value.ndim != 4 or min(value.shape[:2]) <= COLOURS or not value.is_floating_point():
            encoded[name] = value
            continue
        kernel = value.detach().to("cpu", torch.float32)
        steps = _steps(kernel.abs().amax((1, 2, 3))[:, None])
        if kernel.shape[2] > 1 and _error(kernel, steps) > COARSE:
            steps = _steps(kernel.abs().amax((2, 3)))
        encoded[STEPS + name] = steps
        levels = _levels(kernel, steps)
        taps = kernel.count_nonzero(0) > 0
        if not bool(taps.all()) and bool(taps.any()):
            levels, encoded[TAPS + name] = levels[:, taps], taps
        deflated = zlib.compress(levels.contiguous().numpy().tobytes(), 9)
        encoded[name] = torch.frombuffer(bytearray(deflated), dtype=torch.uint8)
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
            value = _scaled(kernel, steps)
        if shape is not None or steps is not None:
            left -= value.numel()
        values[name] = value
    return values


def _steps(largest: Tensor) -> Tensor:
    return (largest / 127).clamp_min(1e-6).to(torch.float16)


def _levels(kernel: Tensor, steps: Tensor) -> Tensor:
    levels = torch.round(kernel / steps.to(torch.float32)[:, :, None, None])
    return levels.clamp(-127, 127).to(torch.int8)


def _scaled(levels: Tensor, steps: Tensor) -> Tensor:
    return levels * steps.to(torch.float32)[:, :, None, None]


def _error(kernel: Tensor, steps: Tensor) -> float:
    """Squared error of 8 bits over the kernel's energy."""
    decoded = _scaled(_levels(kernel, steps), steps)
    energy = float(kernel.square().sum())
    return float((decoded - kernel).square().sum()) / energy if energy else 0.0


def _inflated(name: str, deflated: Tensor, shape: Tensor, most: int) -> Tensor:
    """The integers of a kernel, at most so many."""
    sides = shape.tolist() if shape.ndim == 1 and shape.dtype == torch.int32 else [-1]
    if deflated.dtype != torch.uint8 or min(sides, default=0) < 0 or math.prod(sides) > most:
        raise ValueError(f"{name} of the shape {sides}")
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(deflated.numpy().tobytes(), math.prod(sides) + 1)
    except zlib.error as error:
        raise ValueError(f"{name}: {error}") from error
    if len(data) != math.prod(sides) or not stream.eof:
        raise ValueError(f"{name} does not fill the shape {sides}")
    return torch.frombuffer(bytearray(data), dtype=torch.int8).view(sides)


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
