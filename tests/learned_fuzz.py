"""Damaged streams for the decoders of learned codecs.

`LEARNED_FUZZ=10000` sets how many are tried for each codec; the default keeps the test short.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from codecs.base import BitstreamError, Image
from codecs.learned.bitstream import write_varint

COUNT = int(os.environ.get("LEARNED_FUZZ", "120"))
_SIZE_OFFSET = 8
"""Where the header's width starts: magic, version, model, flags before it."""


def damaged(streams: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """Flipped bits, cuts, insertions, deletions, exchanged tails, invented sizes and payloads."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        data = bytearray(streams[int(rng.integers(len(streams)))])
        at = int(rng.integers(len(data)))
        match i % 8:
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                del data[at : at + int(rng.integers(1, 9))]
            case 4:
                data[at:] = streams[int(rng.integers(len(streams)))][at:]
                data[-1] ^= 1
            case 5:
                # Any size that the rule of two blocks a byte lets pass, and some that it does not.
                sizes = (2 ** rng.uniform(0, 14, 2)).astype(int).tolist()
                data[_SIZE_OFFSET : _SIZE_OFFSET + 4] = b"".join(map(write_varint, sizes))
            case 6:
                data[at:] = rng.bytes(len(data) - at)
            case _:
                # A damaged header: the first bytes decide about allocations.
                data[int(rng.integers(min(24, len(data))))] = int(rng.integers(256))
        yield bytes(data)


def check_decoder(decode: Callable[[bytes], Image], streams: Sequence[bytes]) -> None:
    """Every damaged stream gives `BitstreamError`, soon, within 1 GiB, or one of the pictures:
    the checksum leaves no damage unnoticed but what changes none."""
    pictures, refused = [decode(stream) for stream in streams], 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in damaged(streams, COUNT):
        start = time.process_time()
        try:
            image = decode(data)
        except BitstreamError:
            refused += 1
        else:
            assert image.dtype == np.uint8
            assert any(np.array_equal(image, picture) for picture in pictures)
        assert time.process_time() - start < 10
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1 << 20, f"{grown} KiB more than before"
    assert refused > 0.9 * COUNT
