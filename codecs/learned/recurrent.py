"""Recurrent convolutional cells: what a pass over a picture remembers of the passes before.

Both map x [B, C, H, W] and a state, `None` before the first pass, to an output [B, N, H/s, W/s] and
the next state; s is the stride of the convolution on x.  The convolution on the state has stride 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codecs.learned.layers import StridedConv1x1, conv

State = tuple[Tensor, ...]
PULL = 0.1
"""Weight of the residual GRU's two shortcuts, alpha in the paper."""


class ConvLSTM(nn.Module):
    """i, f, o = σ(W x + U h), g = tanh(W x + U h); c' = f c + i g; h' = o tanh(c').

    Shi et al., "Convolutional LSTM network", NeurIPS 2015, without peepholes; so do Toderici et
    al., ICLR 2016.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """`kernel` is that of the convolution on the state; that on x has 3."""
        super().__init__()
        self.of_input = conv(inputs, 4 * outputs, 3, stride)
        self.of_state = conv(outputs, 4 * outputs, kernel, 1)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        gates = self.of_input(x)
        if state is None:
            c = torch.zeros_like(gates[:, : gates.shape[1] // 4])
        else:
            h, c = state
            gates = gates + self.of_state(h)
        i, f, o, g = gates.chunk(4, 1)
        # A cell that forgets nothing yet keeps its gradient: the 1 is the usual first bias of f.
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class ResidualGRU(nn.Module):
    """z, r = σ(W x + U h); h' = (1 - z) h + z tanh(W x + U (r h)) + α W_h h; output h' + α W_x x.

    Toderici et al., CVPR 2017: a gated recurrent unit with the shortcuts of a residual network,
    α = 0.1.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        """See `ConvLSTM`."""
        super().__init__()
        self.of_input = conv(inputs, 3 * outputs, 3, stride)
        self.of_state = conv(outputs, 3 * outputs, kernel, 1)
        self.of_gated_state = conv(outputs, outputs, kernel, 1)
        self.shortcut = StridedConv1x1(inputs, outputs, stride)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        z, r, candidate = self.of_input(x).chunk(3, 1)
        if state is None:
            h = torch.sigmoid(z) * torch.tanh(candidate)
        else:
            (before,) = state
            of_z, of_r, pulled = self.of_state(before).chunk(3, 1)
            z, r = torch.sigmoid(z + of_z), torch.sigmoid(r + of_r)
            candidate = torch.tanh(candidate + self.of_gated_state(r * before))
            h = torch.lerp(before, candidate, z) + PULL * pulled
        return h + PULL * self.shortcut(x), (h,)
