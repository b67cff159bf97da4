"""What an entropy model of a latent y offers: to training, and to streams.

A `LatentModel` is made of a network's own modules whenever it is asked for, and keeps no state:

    y ── quantise ──> ŷ, estimated bits           training, validation (floating point)
    y ── symbols ──> integers ── encode ──> bytes ── decode ──> integers ── latent ──> ŷ    exact

The second line belongs to the `LatentCoder` that `coder` makes of the integer tables in a weights
file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.base import EncodeError
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.coders.rangecoding import Int32s
from codecs.learned.exact.arithmetic import LATENT_LIMIT

Symbols = tuple[Int32s, ...]
"""The integers of each section of a stream, in its order: what its checksum covers."""
Tables = Mapping[str, NDArray[np.integer[Any]]]


class LatentCoder(ABC):
    """Codes the latent of one picture in exact integers, with the weights of one file."""

    def at(self, quality: float | None) -> LatentCoder:
        """That for one quality, of weights that serve many: another one if entropy coding depends
        on it."""
        return self

    @abstractmethod
    def symbols(self, y: Tensor, proposed: Tensor | None = None) -> Symbols:
        """What is sent of y [1, M, h, w], with the side information that the latent `proposed` has,
        by default y itself.  Raises `EncodeError` if it is not finite."""

    @abstractmethod
    def latent(self, symbols: Symbols) -> Tensor:
        """ŷ float32 [1, M, h, w], and behind its channels whatever else a synthesis sees."""

    @abstractmethod
    def encode(self, symbols: Symbols) -> list[bytes]:
        """The sections."""

    @abstractmethod
    def decode(self, sections: Sequence[bytes], height: int, width: int) -> Symbols:
        """The symbols of a latent of `height` x `width` positions.  Raises `BitstreamError`."""


class LatentModel(ABC):
    """How a latent is quantised, what it costs, and how it is coded."""

    sections: ClassVar[tuple[str, ...]]
    """Names of the parts of a stream, in the order in which they are decoded."""

    @abstractmethod
    def quantise(self, y: Tensor, rounding: Rounding) -> tuple[Tensor, dict[str, Tensor]]:
        """(ŷ as a synthesis sees it, estimated bits [B] of each section) of y [B, M, h, w].
        Differentiable."""

    def rate(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        """Estimated bits [B] of any ŷ near y [B, M, h, w], relaxed ones too, sent with the side
        information that y has.  Differentiable.

        Raises `EncodeError` for models of latents that are no integers beside a `grid`.
        """
        raise EncodeError("latents of this codec are no integers: they cannot be refined")

    def seen(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        """What a synthesis sees of any ŷ near y, sent with the side information that y has:
        [B, M, h, w], and behind its channels whatever else of the stream it has use for."""
        return lambda y: y

    @property
    def grid(self) -> Tensor | float:
        """What ŷ has in common beside integers, for each channel [M, 1, 1] or for all."""
        return 0.0

    @abstractmethod
    def tables(self) -> dict[str, NDArray[Any]]:
        """The integer tables that coding needs, for the weights file."""

    @abstractmethod
    def coder(self, tables: Tables, device: torch.device) -> LatentCoder:
        """Raises `ValueError` or `KeyError` for tables that `tables` does not make, and for modules
        that have no exact form."""


def section_tables(tables: Tables, section: str) -> dict[str, NDArray[Any]]:
    """Those whose names begin with `section`, without it: `z.lows` -> `lows`."""
    prefix = f"{section}."
    return {k.removeprefix(prefix): v for k, v in tables.items() if k.startswith(prefix)}


def rounded(y: Tensor) -> Int32s:
    """Symbols [h, w, M] of y [1, M, h, w].  Raises `EncodeError` if it is not finite."""
    if not bool(torch.isfinite(y).all()):
        raise EncodeError("a latent is not finite: the weights are damaged")
    symbols = torch.round(y[0]).clamp(-LATENT_LIMIT, LATENT_LIMIT)
    out: Int32s = symbols.permute(1, 2, 0).cpu().numpy().astype(np.int32)
    return out


def restored(symbols: Int32s, device: torch.device) -> Tensor:
    """ŷ float32 [1, M, h, w] of `rounded` symbols."""
    return torch.from_numpy(symbols).to(device).permute(2, 0, 1)[None].float()
