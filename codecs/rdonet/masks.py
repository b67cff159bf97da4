"""Block partitions: at which of the three latent levels each part of a picture is sent.

A picture is divided into coding tree units (CTUs) of 64 x 64 pixels.  A CTU that is not split is
one hyper-pixel of level 3; otherwise each of its four 32 x 32 quadrants is one hyper-pixel of
level 2 or, if split again, four hyper-pixels of level 1 (16 x 16 pixels each).  A partition is
therefore kept as split flags, so that "each position is sent exactly once" (Brand et al., CLIC
2022, section 3.1) holds by construction; there are 1 + 2^4 = 17 partitions of a CTU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

CTU = 64
LEVELS = (1, 2, 3)
BLOCK = {1: 16, 2: 32, 3: 64}
"""Width in pixels of a hyper-pixel of each level."""


def up2(x: Tensor) -> Tensor:
    """Repeat rows and columns: [..., h, w] -> [..., 2h, 2w]."""
    return x.repeat_interleave(2, -2).repeat_interleave(2, -1)


@dataclass(frozen=True, eq=False)
class Masks:
    """Partitions of a batch of B pictures of h x w CTUs, as split flags.

    `s64` [B, 1, h, w] bool: the CTU is split.  `s32` [B, 1, 2h, 2w] bool: the quadrant is split;
    flags of quadrants whose CTU is not split have no meaning and are cleared here.
    """

    s64: Tensor
    s32: Tensor

    def __post_init__(self) -> None:
        b, one, h, w = self.s64.shape
        if one != 1 or self.s32.shape != (b, 1, 2 * h, 2 * w):
            raise ValueError(
                f"split flags of shapes {list(self.s64.shape)} and {list(self.s32.shape)} "
                "do not belong together; expected [B, 1, h, w] and [B, 1, 2h, 2w]"
            )
        if self.s64.dtype != torch.bool or self.s32.dtype != torch.bool:
            raise ValueError("split flags must be of type bool")
        object.__setattr__(self, "s32", self.s32 & up2(self.s64))

    @classmethod
    def uniform(cls, level: int, batch: int, rows: int, columns: int) -> Masks:
        """`batch` pictures of `rows` x `columns` CTUs, all at one level (1 finest, 3 coarsest)."""
        if level not in LEVELS:
            raise ValueError(f"there is no level {level}, only 1, 2 and 3")
        s64 = torch.full((batch, 1, rows, columns), level < 3)
        return cls(s64, torch.full((batch, 1, 2 * rows, 2 * columns), level < 2))

    @classmethod
    def cat(cls, masks: Sequence[Masks]) -> Masks:
        """One batch from several."""
        return cls(torch.cat([m.s64 for m in masks]), torch.cat([m.s32 for m in masks]))

    def __getitem__(self, index: int) -> Masks:
        """One picture, as a batch of 1."""
        return Masks(self.s64[index : index + 1], self.s32[index : index + 1])

    def __len__(self) -> int:
        return len(self.s64)

    def to(self, device: torch.device | str) -> Masks:
        return Masks(self.s64.to(device), self.s32.to(device))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of CTUs."""
        return self.s64.shape[2], self.s64.shape[3]

    def sent(self, level: int) -> Tensor:
        """bool [B, 1, ., .] on the grid of `level`: the hyper-pixel is sent at this level."""
        if level == 3:
            return ~self.s64
        if level == 2:
            return up2(self.s64) & ~self.s32
        if level == 1:
            return up2(self.s32)
        raise ValueError(f"there is no level {level}, only 1, 2 and 3")

    def levels(self) -> Tensor:
        """The level of each 16 x 16 block, uint8 [B, 4h, 4w]."""
        finest = 3 - up2(up2(self.s64.to(torch.uint8))) - up2(self.s32.to(torch.uint8))
        return finest.squeeze(1)

    def same(self, other: Masks) -> bool:
        """Whether both are the same partitions."""
        return torch.equal(self.s64, other.s64) and torch.equal(self.s32, other.s32)


def ctu_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of CTUs that cover height x width pixels."""
    return -(-height // CTU), -(-width // CTU)


def random_masks(
    batch: int,
    rows: int,
    columns: int,
    generator: torch.Generator | None = None,
    finest: Tensor | None = None,
) -> Masks:
    """Partitions that do not depend on the content, for the first phases of training.

    Per picture, area shares of the levels are drawn from Dirichlet(1, 1, 1), in one of ten cases
    all at one level; then all flags independently so that the shares hold on average.  Each level
    thus sees all kinds of content, and uniform partitions occur.  `finest` [B] has the
    probabilities that a picture is all at the finest level instead.
    """
    exponential = -torch.log1p(-torch.rand(batch, 3, generator=generator, dtype=torch.float64))
    # Normalised exponentials are Dirichlet(1, 1, 1); a tiny floor avoids 0/0.
    shares = exponential.clamp_min(1e-12)
    shares = shares / shares.sum(1, keepdim=True)
    single = torch.rand(batch, generator=generator) < 0.1
    which = torch.randint(3, (batch,), generator=generator)
    one_hot = torch.nn.functional.one_hot(which, 3).to(shares)
    shares = torch.where(single[:, None], one_hot, shares).view(batch, 3, 1, 1, 1)
    p64 = 1 - shares[:, 2]
    p32 = shares[:, 0] / (shares[:, 0] + shares[:, 1]).clamp_min(1e-12)
    s64 = torch.rand(batch, 1, rows, columns, generator=generator) < p64
    s32 = torch.rand(batch, 1, 2 * rows, 2 * columns, generator=generator) < p32
    if finest is not None:
        whole = (torch.rand(batch, generator=generator) < finest.cpu()).view(-1, 1, 1, 1)
        s64, s32 = s64 | whole, s32 | whole
    return Masks(s64, s32)


@dataclass(frozen=True)
class VarianceThresholds:
    """Luma variances (8-bit scale) above which a 64 x 64 or 32 x 32 block is split.

    A negative one splits all blocks, flat ones too.
    """

    t64: float | Tensor = 100.0
    t32: float | Tensor = 400.0
    """Of all pictures of a batch, or of each, [B, 1, 1, 1]."""
    p64: float = -1.0
    p32: float = -1.0
    """Powers of Λ that they go with, in a network for a range of rates."""

    def scaled(self, factor: float | Tensor) -> VarianceThresholds:
        return replace(self, t64=self.t64 * factor, t32=self.t32 * factor)

    def at(self, relative: float | Tensor) -> VarianceThresholds:
        """Those at so many times the Λ that they are given for."""
        t64, t32 = self.t64 * relative**self.p64, self.t32 * relative**self.p32
        return replace(self, t64=t64, t32=t32)


def block_variances(x: Tensor, block: int, size: tuple[int, int] | None = None) -> Tensor:
    """Luma variance of each block, [B, 1, H/block, W/block], 8-bit scale.

    `x` is [B, 3, H, W] in 0...1 with H and W multiples of `block`; pixels outside the `size`
    (height, width) of the picture itself are padding and are left out.
    """
    luma_weights = x.new_tensor([0.299, 0.587, 0.114]).double().view(1, 3, 1, 1)
    luma = (x.double() * luma_weights).sum(1, keepdim=True) * 255.0
    inside = torch.ones_like(luma)
    if size is not None:
        inside[:, :, size[0] :] = 0
        inside[:, :, :, size[1] :] = 0
    share = avg_pool2d(inside, block).clamp_min(1.0 / (block * block))
    mean = avg_pool2d(luma * inside, block) / share
    square = avg_pool2d(luma * luma * inside, block) / share
    return (square - mean * mean).clamp_min(0.0)


def variance_masks(
    x: Tensor, thresholds: VarianceThresholds, size: tuple[int, int] | None = None
) -> Masks:
    """Partitions estimated from the picture alone: blocks of high luma variance are split.

    This is the "zero-pass" estimate of Brand et al. 2022 (arXiv 2201.01586); its exact thresholds
    are not published.  `x` is [B, 3, H, W] in 0...1, H and W multiples of 64; pixels outside
    `size` are padding and do not count.
    """
    s64 = block_variances(x, 64, size) > thresholds.t64
    s32 = block_variances(x, 32, size) > thresholds.t32
    return Masks(s64, s32)
