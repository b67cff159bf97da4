"""Freed memory stays with the process: a training step asks for the same sizes again at once."""

from __future__ import annotations

import ctypes

# <malloc.h> of the GNU C library.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed; `False` where the C library has no such setting.

    By default large blocks go back to the kernel, which hands them out again page by page, zeroed:
    some 14 % of a step's processor time, on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    wanted = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 1 << 26))
    return all(mallopt(name, value) == 1 for name, value in wanted)
