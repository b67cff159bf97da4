"""Coding of block partitions: split flags through an adaptive binary arithmetic coder.

Coding tree units (CTUs) in raster order; for each the flag s64 and, if it is set, the flags s32 of
its quadrants in z-order.  The context of a flag is the number of its left and upper neighbours
that are split: 3 contexts for each kind.

Probabilities have 12 bits and are the mean of a fast and a slow adaptive estimate (shifts 4 and
6), as in VVC; the coder is a 32-bit range coder with carry.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from codecs.rdonet.masks import Masks

PROBABILITY_BITS = 12
_FLOOR = 16
"""Smallest 12-bit probability of either value of a flag, so that no interval becomes empty."""
_STATE_BITS = 15
_TOP = 1 << 32
_RENORMALISE = 1 << 24


class _Contexts:
    """Adaptive probabilities that a flag is 1, for 6 contexts."""

    def __init__(self) -> None:
        self.fast = [1 << (_STATE_BITS - 1)] * 6
        self.slow = [1 << (_STATE_BITS - 1)] * 6

    def probability(self, context: int) -> int:
        """P(1) in units of 2^-12."""
        p = (self.fast[context] + self.slow[context]) >> (_STATE_BITS + 1 - PROBABILITY_BITS)
        return min(max(p, _FLOOR), (1 << PROBABILITY_BITS) - _FLOOR)

    def update(self, context: int, flag: int) -> None:
        target = flag << _STATE_BITS
        self.fast[context] += (target - self.fast[context]) >> 4
        self.slow[context] += (target - self.slow[context]) >> 6


class _Encoder:
    def __init__(self) -> None:
        self.low, self.range, self.out = 0, _TOP - 1, bytearray()

    def encode(self, flag: int, probability: int) -> None:
        bound = (self.range >> PROBABILITY_BITS) * probability
        if flag:
            self.range = bound
        else:
            self._add(bound)
            self.range -= bound
        while self.range < _RENORMALISE:
            self.out.append(self.low >> 24)
            self.low = (self.low << 8) & (_TOP - 1)
            self.range <<= 8

    def _add(self, amount: int) -> None:
        self.low += amount
        if self.low >= _TOP:
            self.low -= _TOP
            i = len(self.out) - 1
            while self.out[i] == 255:
                self.out[i] = 0
                i -= 1
            self.out[i] += 1

    def finish(self) -> bytes:
        """The shortest bytes that, followed by zeros, lie in the final interval."""
        for zeros in (32, 24, 16, 8, 0):
            gap = -self.low % (1 << zeros)
            if gap < self.range:
                self._add(gap)
                break
        self.out += self.low.to_bytes(4, "big")
        return bytes(self.out).rstrip(b"\0")


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self.data, self.position, self.range = data, 4, _TOP - 1
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def decode(self, probability: int) -> int:
        bound = (self.range >> PROBABILITY_BITS) * probability
        flag = int(self.code < bound)
        if flag:
            self.range = bound
        else:
            self.code -= bound
            self.range -= bound
        while self.range < _RENORMALISE:
            byte = self.data[self.position] if self.position < len(self.data) else 0
            self.position += 1
            self.code = (self.code << 8 | byte) & (_TOP - 1)
            self.range <<= 8
        return flag


Flags = NDArray[np.uint8]


def _walk(s64: Flags, s32: Flags, visit: Callable[[int, int], int]) -> None:
    """Visit all flags in coding order, storing what `visit(context, flag)` returns for each."""
    # A frame of zeros above and to the left stands for neighbours outside the picture.
    a = np.pad(s64, ((1, 0), (1, 0))).tolist()
    b = np.pad(s32, ((1, 0), (1, 0))).tolist()
    for y in range(1, len(a)):
        for x in range(1, len(a[0])):
            split = a[y][x] = visit(a[y - 1][x] + a[y][x - 1], a[y][x])
            for v, u in ((0, 0), (0, 1), (1, 0), (1, 1)) if split else ():
                j, i = 2 * y - 1 + v, 2 * x - 1 + u
                b[j][i] = visit(3 + b[j - 1][i] + b[j][i - 1], b[j][i])
    s64[:] = [row[1:] for row in a[1:]]
    s32[:] = [row[1:] for row in b[1:]]


def _flags(masks: Masks) -> tuple[Flags, Flags]:
    if len(masks) != 1:
        raise ValueError(f"one picture at a time, not {len(masks)}")
    s64, s32 = (s[0, 0].cpu().numpy().astype(np.uint8) for s in (masks.s64, masks.s32))
    return s64, s32


def encode_masks(masks: Masks) -> bytes:
    """The split flags of one picture."""
    encoder, contexts = _Encoder(), _Contexts()

    def visit(context: int, flag: int) -> int:
        encoder.encode(flag, contexts.probability(context))
        contexts.update(context, flag)
        return flag

    _walk(*_flags(masks), visit)
    return encoder.finish()


def decode_masks(data: bytes, rows: int, columns: int) -> Masks:
    """Inverse of `encode_masks`; any bytes are some partition of `rows` x `columns` CTUs."""
    decoder, contexts = _Decoder(data), _Contexts()

    def visit(context: int, _: int) -> int:
        flag = decoder.decode(contexts.probability(context))
        contexts.update(context, flag)
        return flag

    s64 = np.zeros((rows, columns), np.uint8)
    s32 = np.zeros((2 * rows, 2 * columns), np.uint8)
    _walk(s64, s32, visit)
    return Masks(*(torch.from_numpy(s).bool()[None, None] for s in (s64, s32)))


def mask_bits(masks: Masks) -> float:
    """Ideal code length of one picture's flags, in bits."""
    contexts = _Contexts()
    total = 0.0

    def visit(context: int, flag: int) -> int:
        nonlocal total
        p = contexts.probability(context) / (1 << PROBABILITY_BITS)
        total -= math.log2(p if flag else 1 - p)
        contexts.update(context, flag)
        return flag

    _walk(*_flags(masks), visit)
    return total
