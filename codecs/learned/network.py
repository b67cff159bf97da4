"""What a trainable codec network offers to the training pipeline and to weights files.

The pipeline knows nothing of a network's inside: it calls `forward`, adds a distortion of `x_hat`
to the sum of `bits`, and stores `config` beside the weights so that `from_config` can rebuild it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from codecs.learned.layers import MaskedConv2d


@dataclass(frozen=True)
class ForwardOutput:
    """One pass through a codec network."""

    x_hat: Tensor
    """Reconstruction, [B, 3, H, W], about 0 to 1 but *not clamped*."""
    bits: Mapping[str, Tensor]
    """Estimated bits per stream and image, each [B]: `{"y": ..., "z": ...}`, RDONet `y1`...`z3`."""

    def total_bits(self) -> Tensor:
        """Sum over all streams, [B]."""
        return torch.stack(list(self.bits.values())).sum(0)


class CodecNetwork(nn.Module, ABC):
    """An image codec as a trainable network: analysis, synthesis and entropy model.

    `forward` uses additive uniform noise while `self.training` is set and rounds otherwise.
    """

    stride: ClassVar[int] = 64
    """Height and width of a training crop must be multiples of this."""
    config: dict[str, Any]
    """JSON-ready constructor arguments: `type(self).from_config(self.config)` has this shape."""

    @abstractmethod
    def forward(self, x: Tensor, mask: Any = None) -> ForwardOutput:
        """Code `x`, [B, 3, H, W] in 0...1.

        `mask` is the block partition of codecs that have one (`codecs.rdonet.masks.Masks`);
        `None` lets the network choose, and is the only value for all other codecs.
        """

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A freshly initialised network with the constructor arguments `config`."""
        return cls(**config)

    @torch.no_grad()
    def clear_unused(self) -> None:
        """Set weights that nothing depends on to 0: weights files leave them out."""
        for module in self.modules():
            if isinstance(module, MaskedConv2d):
                module.weight.copy_(module.causal_weight)


@functools.lru_cache(maxsize=64)
def kmac_per_pixel(network: CodecNetwork) -> float:
    """Thousand multiply-accumulates a pixel of `forward` on a picture of 256 x 256.

    That is analysis, entropy model and synthesis, each once and dense: what publications count.
    Convolutions and matrix products only.
    """
    from torch.utils.flop_counter import FlopCounterMode

    side = 256
    was_training = network.training
    device = next(network.parameters()).device
    # Without gradients some layers stream by rows and count the overlaps as well.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        FlopCounterMode(display=False) as counter,
    ):
        network.eval()(torch.zeros(1, 3, side, side, device=device))
    network.train(was_training)
    return float(round(counter.get_total_flops() / 2 / side**2 / 1e3, 1))
