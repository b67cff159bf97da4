"""Range coding of integers under integer frequency tables, with escapes; wraps `constriction`.

A symbol is coded under a *row* of frequencies that sum to 2^24 (float32 holding integers, so the
coder's arithmetic starts from exact values).  Values outside the row's window are coded as its
escape symbol followed by sign and magnitude beyond the window.  All escapes of one call follow
the call's symbols, in order.

The decoder keeps account of the information it has read: the sum of -log2 p cannot exceed the
length of a valid payload, so a truncated or invented payload is noticed soon after its end instead
of being decoded to the last pixel its header claims.
"""

from __future__ import annotations

import math
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from codecs.base import BitstreamError, EncodeError
from codecs.learned.coders.tables import TOTAL

_MAGNITUDE_BITS = 14
"""Escaped magnitudes (beyond the window) are below 2^14 - 1."""
_SLACK_BITS = 256.0
_ROWS = constriction.stream.model.Categorical(perfect=False)
_LENGTH = constriction.stream.model.Uniform(_MAGNITUDE_BITS)
Int32s = NDArray[np.int32]
Rows = NDArray[np.float32]


class SymbolEncoder:
    """Codes integers into bytes; `SymbolDecoder` with the same calls gets them back."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, values: Int32s, rows: Rows, half: int) -> None:
        """`values` [n] relative to their windows' centres; `rows` [n, 2·half + 2], escape last."""
        inside = np.abs(values) <= half
        symbols = np.where(inside, values + half, 2 * half + 1).astype(np.int32)
        self._coder.encode(symbols, _ROWS, rows)
        if not inside.all():
            outside = values[~inside]
            self._escapes(outside > 0, np.abs(outside) - half - 1)

    def encode_static(self, values: Int32s, frequencies: Int32s, low: int) -> None:
        """`values` [n] under one table: column 0 escapes, column 1 + i is the value low + i."""
        symbols = values - low + 1
        inside = (symbols >= 1) & (symbols < len(frequencies))
        symbols = np.where(inside, symbols, 0).astype(np.int32)
        self._coder.encode(symbols, _static(frequencies))
        if not inside.all():
            outside = values[~inside]
            above = outside >= low
            beyond = np.where(above, outside - (low + len(frequencies) - 1), low - 1 - outside)
            self._escapes(above, beyond)

    def encode_categorical(self, symbols: Int32s, rows: Rows) -> None:
        """`symbols` [n] of 0 ... L-1; `rows` [n, L], which sum to `TOTAL`."""
        self._coder.encode(symbols, _ROWS, rows)

    def _escapes(self, positive: NDArray[np.bool_], beyond: NDArray[np.integer]) -> None:
        for sign, value in zip(positive.tolist(), beyond.tolist(), strict=True):
            length = (value + 1).bit_length() - 1
            if length >= _MAGNITUDE_BITS:
                raise EncodeError(
                    f"a latent lies {value} beyond its coding window; the model is not usable "
                    "on this picture (untrained or damaged weights?)"
                )
            self._coder.encode(length, _LENGTH)
            tail = (value + 1 - (1 << length)) << 1 | int(sign)
            self._coder.encode(tail, constriction.stream.model.Uniform(2 << length))

    def get_bytes(self) -> bytes:
        """The payload so far; little-endian 32-bit words."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype("<u4").tobytes()


class SymbolDecoder:
    """Reads what `SymbolEncoder` wrote.  Everything that cannot be raises `BitstreamError`."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise BitstreamError(
                f"a payload of {len(payload)} bytes is not a whole number of words; "
                "the file is damaged or cut"
            )
        words = np.frombuffer(payload, "<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)
        self._left = 8.0 * len(payload) * 1.001 + _SLACK_BITS

    def decode(self, rows: Rows, half: int) -> Int32s:
        """Values [n] relative to their windows' centres, under `rows` [n, 2·half + 2]."""
        values = self.decode_categorical(rows) - np.int32(half)
        escaped = np.flatnonzero(values > half)
        if len(escaped):
            positive, beyond = self._escapes(len(escaped))
            values[escaped] = np.where(positive, half + 1 + beyond, -half - 1 - beyond)
        return values

    def decode_static(self, count: int, frequencies: Int32s, low: int) -> Int32s:
        """`count` values under one table (see `SymbolEncoder.encode_static`)."""
        symbols: Int32s = self._read(_static(frequencies), count)
        self._spend(_information(frequencies[symbols], int(frequencies.sum())))
        values = symbols + np.int32(low - 1)
        escaped = np.flatnonzero(symbols == 0)
        if len(escaped):
            positive, beyond = self._escapes(len(escaped))
            values[escaped] = np.where(
                positive, low + len(frequencies) - 1 + beyond, low - 1 - beyond
            )
        return values

    def decode_categorical(self, rows: Rows) -> Int32s:
        """Symbols [n] of 0 ... L-1, under `rows` [n, L]."""
        symbols: Int32s = self._read(_ROWS, rows)
        self._spend(_information(np.take_along_axis(rows, symbols[:, None], 1), TOTAL))
        return symbols

    def _read(self, *arguments: object) -> Any:
        try:
            return self._coder.decode(*arguments)
        except AssertionError as error:
            raise BitstreamError("the payload is damaged: no symbol has this code") from error

    def _spend(self, information: float) -> None:
        self._left -= information
        if self._left < 0:
            raise BitstreamError("the payload ends before the picture does; the file is cut")

    def _escapes(self, count: int) -> tuple[NDArray[np.bool_], Int32s]:
        positive, beyond = np.empty(count, bool), np.empty(count, np.int32)
        for i in range(count):
            length = int(self._read(_LENGTH))
            self._spend(length + 1 + math.log2(_MAGNITUDE_BITS))
            tail = int(self._read(constriction.stream.model.Uniform(2 << length)))
            positive[i], beyond[i] = tail & 1, (1 << length) + (tail >> 1) - 1
        return positive, beyond


def _information(frequencies: NDArray[Any], total: int) -> float:
    """Σ -log2 p in bits, at the least, of frequencies under tables that sum to `total`: the coder
    brings that to `TOTAL`, adds 1 to each, so that none is 0, and rounds sums of those before."""
    p = (frequencies * (TOTAL / total) + 3).astype(np.float32)
    return p.size * math.log2(TOTAL) - float(np.log2(p).sum(dtype=np.float64))


def _static(frequencies: Int32s) -> object:
    return constriction.stream.model.Categorical(frequencies.astype(np.float32), perfect=False)
