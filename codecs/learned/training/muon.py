"""Muon: momentum, made orthogonal, for convolution kernels (Jordan et al., 2024).

Every kernel is a matrix [outputs, inputs·height·width] (inputs and outputs change places where the
convolution is transposed), or several of up to `ROWS` rows.  Adam scales each weight by itself;
Muon moves all singular directions of the matrix equally far.
`torch.optim.Muon` knows only parameters of two dimensions, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

RMS = 0.2
"""Root mean square of an update, times the learning rate, so that Adam's rates suit Muon too
(Liu et al., "Muon is scalable for LLM training", 2025, eq. 4)."""
ROWS = 64
"""Outputs of larger kernels are orthogonalised in groups, at a fraction of the cost."""
_MOMENTUM = 0.95
_MEMORY = 0.99
_FAINT = 0.3
"""Part of its usual norm from which a gradient counts in full."""
_SMALLEST = 8
_LOUDER = 2.0**40
"""Gradients are clipped, so that squares of these do not overflow, nor underflow those of faint
momentum."""
# Jordan's coefficients: five iterations take singular values of 0.003 ... 1 to 0.7 ... 1.2.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def is_kernel(parameter: nn.Parameter) -> bool:
    """Whether Muon, not Adam, should train it: convolution kernels that are matrices worth it."""
    shape = parameter.shape
    return len(shape) == 4 and shape[0] >= _SMALLEST and parameter[0].numel() >= _SMALLEST


def cut(kernel: Tensor) -> Tensor:
    """The matrices of a kernel, [count, rows, columns]: equal, the last padded with zeros."""
    matrix = kernel.flatten(1)
    count = -(-len(matrix) // ROWS)
    rows = -(-len(matrix) // count)
    return functional.pad(matrix, (0, 0, 0, count * rows - len(matrix))).unflatten(0, (count, rows))


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearest (semi-)orthogonal matrices, roughly: [B, m, n] float32 to the same.

    Newton-Schulz iterations on the smaller Gram matrix, whose products are much smaller than the
    kernels'.  In bfloat16 that would have negative eigenvalues, and diverge.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x * _LOUDER
    gram = x @ x.mT
    squared_norm = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp_min(1e-30)
    gram = gram / squared_norm
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    a, b, c = _QUINTIC
    total = step = a * identity + b * gram + c * gram @ gram
    for _ in range(_ITERATIONS - 1):
        gram = step @ gram @ step
        step = a * identity + b * gram + c * gram @ gram
        total = step @ total
    x = total * squared_norm.rsqrt() @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose updates are orthogonal matrices of root mean square `RMS`·lr.

    Kernels that the batch hardly concerns (RDONet's of a level that sent nothing) hardly move:
    orthogonal updates have one size, and those of stale momentum would carry a kernel away.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-3) -> None:
        super().__init__(list(parameters), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient stay."""
        for group in self.param_groups:
            moving: dict[torch.Size, list[tuple[nn.Parameter, Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                norm = parameter.grad.norm()
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(norm)
                usual = _FAINT * state["square"].lerp_(norm.square(), 1 - _MEMORY).sqrt()
                strength = (norm / usual.clamp_min(1e-30)).clamp_max(1)
                momentum = state["momentum"].mul_(_MOMENTUM).add_(parameter.grad)
                ahead = cut(parameter.grad.add(momentum, alpha=_MOMENTUM))
                moving.setdefault(ahead.shape[1:], []).append((parameter, ahead, strength))
            # Kernels of one shape go together: there are many, and each is small.
            for shape, kernels in moving.items():
                size = group["lr"] * RMS * max(shape) ** 0.5
                updates = orthogonalise(torch.cat([ahead for _, ahead, _ in kernels]))
                each = updates.split([len(ahead) for _, ahead, _ in kernels])
                for (parameter, _, strength), update in zip(kernels, each, strict=True):
                    change = update.flatten(0, 1)[: len(parameter)].reshape(parameter.shape)
                    parameter.sub_(size * strength * change)
