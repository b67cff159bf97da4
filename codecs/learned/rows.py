"""Chains of convolutions evaluated as a stream of rows: analysis and synthesis without gradients.

A layer runs as soon as enough rows of its input are there, on pieces that fit a processor's cache,
and nothing is computed twice.  Compared with running one layer after the other on the whole
picture that saves memory, which then grows with the picture's width only, and time: fresh memory
for large activations costs a page fault every 4 KiB.  Tensors are channels-last, for which
convolution kernels are fastest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.learned.layers import GDN, conv, deconv, upsampling_phases

_AREA = 8192
"""Positions of a layer's output in one piece."""
_FEW = 4
"""Transposed convolutions to no more channels than this are evaluated as a convolution."""


class RowStream(nn.Sequential):
    """A chain of `layers.conv`, `layers.deconv` and pointwise layers.

    Without gradients and for one picture it is evaluated in a stream of rows, which changes
    nothing but the order of floating-point sums; otherwise like any `nn.Sequential`.
    """

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() or len(input) != 1:
            out: Tensor = super().forward(input)
            return out
        rows: Iterator[Tensor] = iter([input.contiguous(memory_format=torch.channels_last)])
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                rows = _convolved(layer, rows)
            elif isinstance(layer, nn.ConvTranspose2d):
                rows = _upsampled(layer, rows)
            else:
                rows = map(layer, rows)
        return torch.cat(list(rows), 2)


def gdn_analysis(n: int, m: int) -> RowStream:
    """Picture to y: four convolutions 5x5 of stride 2, GDN between; Ballé et al. 2018, figure 4."""
    return RowStream(conv(3, n), GDN(n), conv(n, n), GDN(n), conv(n, n), GDN(n), conv(n, m))


def gdn_synthesis(n: int, m: int) -> RowStream:
    """ŷ to picture: `gdn_analysis` mirrored, with inverse GDN."""
    return RowStream(
        *(deconv(m, n), GDN(n, inverse=True)),
        *(deconv(n, n), GDN(n, inverse=True)),
        *(deconv(n, n), GDN(n, inverse=True)),
        deconv(n, 3),
    )


def _convolved(conv: nn.Conv2d, rows: Iterable[Tensor]) -> Iterator[Tensor]:
    """Output rows of a convolution with odd kernel and zero padding k//2."""
    k, stride = conv.kernel_size[0], conv.stride[0]
    for part in _windows(rows, k, stride, k // 2, positions=1 / stride):
        yield functional.conv2d(part, conv.weight, conv.bias, stride, (0, k // 2))


def _upsampled(deconv: nn.ConvTranspose2d, rows: Iterable[Tensor]) -> Iterator[Tensor]:
    """Output rows of a transposed convolution of stride 2: rows 2i and 2i+1 depend on input rows
    i-1 to i+1, of a 3x3 kernel on i and i+1."""
    weight, bias, border = deconv.weight, deconv.bias, deconv.kernel_size[0] // 2
    few = deconv.out_channels <= _FEW
    if few:
        # The kernel for transposed convolutions would leave most of its vectors empty.
        phases = upsampling_phases(weight).flatten(0, 2)
        biases = None if bias is None else bias.repeat_interleave(4)
    for part in _windows(rows, 3, 1, 1, positions=4):
        if few:
            sums = functional.conv2d(part, phases, biases, padding=(0, 1))
            yield functional.pixel_shuffle(sums, 2)
        else:
            # Padding of 2 more leaves out the rows that belong to the part's borders.
            yield functional.conv_transpose2d(part, weight, bias, 2, (2 + border, border), 1)


def _windows(
    rows: Iterable[Tensor], size: int, stride: int, border: int, positions: float
) -> Iterator[Tensor]:
    """Cut a stream of rows into the parts that a layer works on.

    The layer makes one unit of output from each window of `size` rows; windows are `stride` rows
    apart, and `border` rows of zeros surround the picture.  A unit has `positions` positions for
    each column of the input, and a part holds the windows of about `_AREA` positions.
    """
    pending: Tensor | None = None
    for chunk in chain(rows, (None,)):
        if chunk is None:
            if pending is None:
                return
            pending = functional.pad(pending, (0, 0, 0, border))
        elif pending is None:
            pending = functional.pad(chunk, (0, 0, border, 0))
        else:
            pending = torch.cat([pending, chunk], 2)
        wanted = max(1, int(_AREA / (pending.shape[3] * positions)))
        while n := min(wanted, (pending.shape[2] - size) // stride + 1):
            if n < wanted and chunk is not None:
                break
            yield pending[:, :, : (n - 1) * stride + size]
            pending = pending[:, :, n * stride :]
