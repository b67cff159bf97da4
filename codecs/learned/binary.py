"""Adaptive binary arithmetic coding in integers, for side information such as block masks.

A carry-propagating range coder (Martin 1979; 32-bit range, byte output) with 16-bit probabilities.
Each context averages two estimators, one quick (shift 4) and one slow (shift 6).
"""

from __future__ import annotations

from codecs.base import BitstreamError

_TOP = 1 << 24
_ONE = 1 << 16


class _Contexts:
    """Probability of 1 per context, in units of 2^-16."""

    def __init__(self, count: int) -> None:
        self._quick = [_ONE // 2] * count
        self._slow = [_ONE // 2] * count

    def split(self, width: int, context: int) -> int:
        """The part of an interval of `width` >= 2^24 that belongs to 1: neither none nor all."""
        p = (self._quick[context] + self._slow[context]) >> 1
        return (width >> 16) * min(max(p, 32), _ONE - 32)

    def update(self, context: int, bit: bool) -> None:
        target = _ONE if bit else 0
        self._quick[context] += (target - self._quick[context]) >> 4
        self._slow[context] += (target - self._slow[context]) >> 6


class BinaryEncoder:
    """`encode` bits under contexts 0 ... contexts-1, then `get_bytes` once."""

    def __init__(self, contexts: int) -> None:
        self._contexts = _Contexts(contexts)
        self._low, self._width = 0, (1 << 32) - 1
        self._out = bytearray()

    def encode(self, bit: bool, context: int) -> None:
        ones = self._contexts.split(self._width, context)
        if bit:
            self._width = ones
        else:
            self._low += ones
            self._width -= ones
        self._contexts.update(context, bit)
        while self._width < _TOP:
            self._width <<= 8
            self._shift()

    def _shift(self) -> None:
        if self._low >> 32:
            self._carry()
        self._out.append(self._low >> 24 & 0xFF)
        self._low = (self._low & (_TOP - 1)) << 8

    def _carry(self) -> None:
        i = len(self._out) - 1
        while self._out[i] == 0xFF:
            self._out[i] = 0
            i -= 1
        self._out[i] += 1
        self._low &= (1 << 32) - 1

    def get_bytes(self) -> bytes:
        """The code: the shortest string in the interval; the decoder reads zeros behind it."""
        for bits in (24, 16, 8, 0):
            mask = (1 << bits) - 1
            value = self._low + mask & ~mask
            if value < self._low + self._width:
                self._low = value
                break
        for _ in range(4):
            self._shift()
        return bytes(self._out).rstrip(b"\0")


class BinaryDecoder:
    """Decodes what `BinaryEncoder` wrote, given the same contexts in the same order."""

    def __init__(self, data: bytes, contexts: int) -> None:
        self._contexts = _Contexts(contexts)
        self._data = data
        self._next = 0
        self._width = (1 << 32) - 1
        self._value = 0
        for _ in range(4):
            self._value = self._value << 8 | self._byte()

    def _byte(self) -> int:
        byte = self._data[self._next] if self._next < len(self._data) else 0
        self._next += 1
        return byte

    def decode(self, context: int) -> bool:
        ones = self._contexts.split(self._width, context)
        bit = self._value < ones
        if bit:
            self._width = ones
        else:
            self._value -= ones
            self._width -= ones
        if self._value >= self._width:
            raise BitstreamError("the side information is damaged")
        self._contexts.update(context, bit)
        while self._width < _TOP:
            self._width <<= 8
            self._value = self._value << 8 | self._byte()
        return bit

    def finish(self) -> None:
        """Raise `BitstreamError` if bytes are left over that no bit needed."""
        if self._next < len(self._data):
            raise BitstreamError("the side information is longer than what it describes")
