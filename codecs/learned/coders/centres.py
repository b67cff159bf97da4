"""Latents that take one of a few values, the centres, and what codes them: a 3-D context.

Mentzer, Agustsson, Tschannen, Timofte, Van Gool, "Conditional Probability Models for Deep Image
Compression", CVPR 2018, equations 1 to 4: a value goes to the nearest centre, and its gradient as
if it went to all of them, the nearer the more.

    y ── nearest of L centres ──> symbols ── values ──> ŷ
                                     └── P (masked 3-D convolutions) ──> their probabilities

Trailing channels in which every value is the centre nearest to 0 are not sent: the section begins
with a byte that counts the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import BitstreamError, EncodeError
from codecs.learned.coders.latents import LatentCoder, LatentModel, Symbols, Tables
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.volume import VolumeCoder, VolumeContext
from codecs.learned.exact.arithmetic import ACTIVATION_BITS, ACTIVATION_LIMIT, from_grid, to_grid

MOST_CENTRES = 64
MOST_CHANNELS = 255


class Centres(nn.Module):
    """The values c_1 ... c_L that latents may take."""

    values: Tensor

    def __init__(self, count: int, reach: float = 2.0, learned: bool = True) -> None:
        """Evenly spaced in ±`reach`, to begin with or, unless they are `learned`, for good."""
        super().__init__()
        if not 2 <= count <= MOST_CENTRES:
            raise ValueError(f"{count} centres: there are 2 to {MOST_CENTRES}")
        values = torch.linspace(-reach, reach, count)
        if learned:
            self.values = nn.Parameter(values)
        else:
            self.register_buffer("values", values)

    def nearest(self, y: Tensor) -> Tensor:
        """Which centre is nearest: int64, of y's shape."""
        return (y[..., None] - self.values).abs().argmin(-1)

    @property
    def zero(self) -> Tensor:
        """Which is nearest to 0, a scalar."""
        return self.values.abs().argmin()

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(ŷ, which centre) of y.  ŷ has the gradient of Σ_j c_j·softmax_j(-|y - c_j|²), for y and
        for the centres."""
        which = self.nearest(y)
        hard = self.values[which]
        if not torch.is_grad_enabled():
            return hard, which
        weights = torch.softmax(-(y[..., None] - self.values).square(), -1)
        soft = (weights * self.values).sum(-1)
        return soft + (hard - soft).detach(), which


def trailing(used: Tensor) -> Tensor:
    """Whether a channel or one behind it is used: bool of `used`'s shape [B, C, ...]."""
    return used.flip(1).cummax(1).values.flip(1)


@dataclass(frozen=True)
class CentreModel(LatentModel):
    """Every value of y, of so many `channels`, is one of the centres; its probability depends on
    those before it."""

    channels: int
    centres: Centres
    context: VolumeContext
    sections: ClassVar[tuple[str, ...]] = ("y",)

    def assess(self, y: Tensor, learning: bool) -> tuple[Tensor, Tensor]:
        """(ŷ, estimated bits of each value), both [B, C, h, w]; where P is `learning`, of values
        that are not sent as well, for in a larger picture they may be.

        Bits have a gradient for P alone, as in the authors' code: what y costs is what it is
        (Mentzer et al. 2018, section 3.3, train the encoder by an importance map).
        """
        y_hat, which = self.centres(y)
        values = self.centres.values.detach()
        logits = self.context((values[which] - values[0])[:, :, None])
        nats = functional.cross_entropy(
            logits.flatten(0, 1), which.flatten(0, 1), reduction="none"
        ).view(which.shape)
        used = which != self.centres.zero
        bits = nats / math.log(2)
        return y_hat, bits if learning else bits * self.sent(used)

    def sent(self, used: Tensor) -> Tensor:
        """Which values are in the stream, bool [B, C, h, w], where those that are not the centre
        nearest to 0 are `used`."""
        return trailing(used.flatten(2).any(2))[:, :, None, None].expand_as(used)

    def quantise(self, y: Tensor, rounding: Rounding) -> tuple[Tensor, dict[str, Tensor]]:
        """Without noise, in training too."""
        y_hat, bits = self.assess(y, learning=rounding is not Rounding.EXACT)
        return y_hat, {"y": bits.flatten(1).sum(1)}

    def tables(self) -> dict[str, NDArray[Any]]:
        return {"centres": to_grid(self.centres.values).cpu().numpy().astype(np.int32)}

    def coder(self, tables: Tables, device: torch.device) -> CentreCoder:
        return CentreCoder(self.channels, tables["centres"], self.context, device)


class CentreCoder(LatentCoder):
    """Symbols: which centre, [M, h, w]."""

    def __init__(
        self,
        channels: int,
        centres: NDArray[Any],
        context: VolumeContext,
        device: torch.device,
    ) -> None:
        """For latents of so many `channels`; `centres` are activation integers [L]."""
        fits = centres.ndim == 1 and 2 <= len(centres) <= MOST_CENTRES
        if not fits or np.abs(centres.astype(np.int64)).max() > ACTIVATION_LIMIT // 2:
            raise ValueError("the table of centres is malformed: not what export writes")
        self.channels = channels
        self.centres = centres.astype(np.int64)
        self.zero = int(np.abs(self.centres).argmin())
        self.volume = VolumeCoder(context, self.centres - self.centres[0])
        self.device = device

    def symbols(self, y: Tensor, proposed: Tensor | None = None) -> Symbols:
        if not bool(torch.isfinite(y).all()):
            raise EncodeError("a latent is not finite: the weights are damaged")
        centres = torch.from_numpy(self.centres * 2.0**-ACTIVATION_BITS)
        which = [(c[..., None].double() - centres).abs().argmin(-1) for c in y[0].cpu()]
        return (torch.stack(which).numpy().astype(np.int32),)

    def latent(self, symbols: Symbols) -> Tensor:
        return from_grid(torch.from_numpy(self.centres[symbols[-1]]))[None].to(self.device)

    def encode(self, symbols: Symbols) -> list[bytes]:
        return [self.write(symbols[0])]

    def decode(self, sections: Sequence[bytes], height: int, width: int) -> Symbols:
        return (self.read(sections[0], height, width),)

    def write(self, symbols: Int32s, sent: NDArray[np.bool_] | None = None) -> bytes:
        """A section of `symbols` [M, h, w]; those not `sent`, bool of their shape, are centre 0."""
        used = np.flatnonzero((symbols != self.zero).any((1, 2)))
        count = int(used[-1]) + 1 if len(used) else 0
        encoder = SymbolEncoder()
        if count:
            self.volume.encode(encoder, symbols[:count], sent if sent is None else sent[:count])
        return bytes([count]) + encoder.get_bytes()

    def read(
        self, section: bytes, height: int, width: int, sent: NDArray[np.bool_] | None = None
    ) -> Int32s:
        """The symbols.  Raises `BitstreamError`."""
        if not section or section[0] > self.channels:
            raise BitstreamError("the payload is damaged: it has more channels than the latent")
        count, decoder = section[0], SymbolDecoder(section[1:])
        symbols = np.full((self.channels, height, width), self.zero, np.int32)
        if count:
            self.volume.decode(decoder, symbols[:count], sent if sent is None else sent[:count])
        return symbols
