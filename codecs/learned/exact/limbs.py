"""Exact products of integer matrices, on 8-bit arithmetic where the processor is made for it.

The integers of `codecs.learned.exact` are stored in float64, whose products are exact but slow.
The same integers come out of 8-bit products summed in 32 bits, which processors with VNNI or AMX
instructions do some sixteen times faster: numbers are written in base 256 with digits ("limbs")
-128 ... 127, and each digit of one factor is multiplied with each of the other.  How many limbs
the left factor needs is decided by the values at hand; both ways give the same integers, so they
may change from call to call and from machine to machine.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

_BASE = 256
_LARGEST_DIGIT = 127
_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
_LEAST_WEIGHTS = 1 << 16
"""Smaller matrices are not worth the splitting."""
_ROWS = 512
"""Rows multiplied at once: what is made of them then fits the cache."""
_EXACT_BITS = 53


@cache
def fast_int8() -> bool:
    """Whether 8-bit products are fast here, and exact.

    Without the instructions, libraries may add pairs of products in 16 bits, which saturate.
    """
    capabilities: dict[str, Any] = dict(torch.cpu.get_capabilities())
    if not any(capabilities.get(name) for name in _INSTRUCTIONS) or not hasattr(torch, "_int_mm"):
        return False
    signs = torch.tensor([-128, 127], dtype=torch.int8)
    a, b = signs.repeat(32)[:, None].expand(-1, 96), signs.repeat(24)[None].expand(96, -1)
    expected = a[:, :1].to(torch.int32) * b[:1].to(torch.int32) * 96
    return torch.equal(_int8_product(a.contiguous(), b.contiguous()), expected)


def _int8_product(a: Tensor, b: Tensor) -> Tensor:
    """int8 [n, K] times int8 [K, O] in int32 [n, O]."""
    out: Tensor = torch._int_mm(a, b)
    return out


def limb_count(x: Tensor) -> int:
    """Limbs that the integers x (of any type) need."""
    if not x.numel():
        return 1
    low, high = torch.aminmax(x)
    largest, count = max(-low.item(), high.item()), 1
    while largest > _LARGEST_DIGIT * (_BASE**count - 1) // (_BASE - 1):
        count += 1
    return count


def split(x: Tensor, count: int) -> Tensor:
    """The limbs of integers x (of any type), least significant first: int8 [count, *x.shape]."""
    out = torch.empty((count, *x.shape), dtype=torch.int8, device=x.device)
    rest = x.to(torch.int32)
    for limb in out[:-1]:
        rest = rest + 128
        limb.copy_((rest & 255).sub_(128))
        rest = rest >> 8
    out[-1] = rest
    return out


def joined(limbs: Tensor) -> Tensor:
    """Inverse of `split`, in float64."""
    *lower, out = limbs.to(torch.float64)
    for part in reversed(lower):
        out = torch.add(part, out, alpha=_BASE)
    return out


class IntegerMatrix:
    """An integer matrix [O, K], held in float64 and, where that is of use, as limbs.

    The caller proves that sums of true products stay below 2^53.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.most_limbs = 0
        """Limbs of left factors that 8-bit arithmetic takes; 0 if it does not serve."""
        outputs, inputs = weight.shape
        if weight.device.type != "cpu" or weight.numel() < _LEAST_WEIGHTS or not fast_int8():
            return
        limbs = split(weight, limb_count(weight))
        # Products of digits are at most 2^14, and their sums may be larger than the true sums.
        spare = _EXACT_BITS - 1 - (inputs - 1).bit_length() - 14
        self.most_limbs = max(0, min(3, spare // 8 + 2 - len(limbs)))
        present = limbs.any(2)
        self._whole = max(1, int((present.sum(1) > outputs // 4).sum()))
        """Limbs for all outputs; the rest serve the few that have large weights."""
        self._few = present[self._whole :].any(0).nonzero()[:, 0]
        self._limbs = torch.cat([*limbs[: self._whole], *limbs[self._whole :, self._few]])

    def to(self, device: torch.device | str) -> IntegerMatrix:
        return IntegerMatrix(self.weight.to(device))

    def times(self, x: Tensor) -> Tensor:
        """x [n, K], integers of any type, times the transposed matrix: float64 [n, O]."""
        if self.most_limbs:
            count = limb_count(x)
            if count <= self.most_limbs:
                return self.times_limbs(split(x, count))
        return x.to(torch.float64) @ self.weight.t()

    def times_limbs(self, x: Tensor) -> Tensor:
        """`times` for x as limbs, int8 [count, n, K]."""
        count, rows, _ = x.shape
        if count > self.most_limbs:
            return joined(x) @ self.weight.t()
        if rows <= _ROWS:
            return self._times(x)
        out = self.weight.new_empty(rows, len(self.weight))
        for start in range(0, rows, _ROWS):
            out[start : start + _ROWS] = self._times(x[:, start : start + _ROWS])
        return out

    def _times(self, x: Tensor) -> Tensor:
        count, rows, inputs = x.shape
        products = _int8_product(x.reshape(count * rows, inputs), self._limbs.t())
        sums = joined(products.view(count, rows, -1))
        dense = self._whole * len(self.weight)
        out = joined(sums[:, :dense].view(rows, self._whole, -1).transpose(0, 1))
        if len(self._few):
            large = joined(sums[:, dense:].view(rows, -1, len(self._few)).transpose(0, 1))
            out.index_add_(1, self._few, large, alpha=_BASE**self._whole)
        return out
