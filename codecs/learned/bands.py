"""How floating-point transforms are evaluated: in bands, so that memory does not grow with H, and
on one thread where the result has to be reproducible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def in_bands(
    transform: Callable[[Tensor], Tensor],
    x: Tensor,
    rows_in: int,
    rows_out: int,
    halo: int,
    area: int = 4096,
) -> Tensor:
    """`transform(x)` for x [1, C, H, W], a band at a time.

    `rows_in` rows of x make `rows_out` rows of the result (16 and 1 for an analysis transform of
    stride 16, 1 and 16 for its synthesis): a *unit*.  A unit of output must not depend on more than
    `halo` units of input on either side; then the result is that of one call up to the order of
    floating-point sums.  Bands hold about `area` unit squares; smaller pictures take one call.
    `transform` sees channels-last tensors, for which convolution kernels are fastest.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    units = x.shape[2] // rows_in
    columns = x.shape[3] // rows_in
    band = max(4 * halo, area // columns)
    if units <= band + halo:
        return transform(x)
    out: Tensor | None = None
    for start in range(0, units, band):
        stop = min(units, start + band)
        first, last = max(0, start - halo), min(units, stop + halo)
        part = transform(x[:, :, first * rows_in : last * rows_in])
        part = part[:, :, (start - first) * rows_out : (stop - first) * rows_out]
        if out is None:
            shape = (1, part.shape[1], units * rows_out, part.shape[3])
            out = torch.empty(shape, dtype=part.dtype, device=part.device)
        out[:, :, start * rows_out : stop * rows_out] = part
    assert out is not None
    return out


@contextmanager
def single_thread() -> Iterator[None]:
    """Run on one thread: the last bits of a synthesis depend on the number of threads, and the
    same file shall give the same picture.  (Latents never depend on it.)"""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
