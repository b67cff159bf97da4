"""RDONet's bitstream: a picture's partition and latents to bytes and back.

Container as in `codecs.learned.bitstream` with the sections *partition, level 3, level 2, level 1*
(deepest first); a level's section holds its hyper-latents, then its latents in wavefront order, in
one range-coded payload, and is empty when the level sends nothing.  Flags: bit 0 marks a uniform
partition, whose level stands in bits 1 and 2 and whose partition section is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codecs.base import BitstreamError, EncodeError, Image
from codecs.learned import bitstream, pixels
from codecs.learned.bands import in_bands
from codecs.learned.bitstream import Header
from codecs.learned.coders.rangecoding import Int32s
from codecs.learned.exact.arithmetic import from_grid
from codecs.rdonet import backbone
from codecs.rdonet.cost import synthesise
from codecs.rdonet.exact import Bools, ExactUnit, Level
from codecs.rdonet.maskcoding import decode_masks, encode_masks
from codecs.rdonet.masks import CTU, LEVELS, Masks, ctu_grid
from codecs.rdonet.network import RDONet
from codecs.rdonet.unit import round_latent

DEEPEST_FIRST = tuple(reversed(LEVELS))
MAX_FEATURES = 1 << 21
"""Blocks times channels: bounds a decoder's memory to 1 GiB (45 megapixels at N = 192)."""
ANALYSIS_HALO = 10
"""How many positions of f₀ away the analysis looks to each side, at most (see the tests)."""


@dataclass(frozen=True)
class Coded:
    """A decoded picture before its synthesis: partition, levels, features, parts of the file."""

    size: tuple[int, int]
    """Height and width in pixels."""
    masks: Masks
    levels: Mapping[int, Level]
    features: Mapping[int, Tensor]
    """d_{i+1}, which level i was decoded with; activation integers, int32[h, w, N]."""
    section_bytes: Mapping[str, int]
    quality: float | None


class StreamCoder:
    """Encodes pictures under a given partition, and decodes; `digest` is the weights'.

    The floating-point encoder only *proposes* latents.  All that the decoder needs to know before
    it can read them comes from exact arithmetic, which the encoder evaluates in parallel.
    """

    def __init__(
        self, network: RDONet, tables: Mapping[str, Any], digest: bytes, name: str = "this decoder"
    ) -> None:
        """`name` is what the weights are called in error messages."""
        self.network = network.eval()
        self._channels = max(network.width, *network.config["latents"])
        self.digest = digest
        self.name = name
        self.device = next(network.parameters()).device
        self._stride = backbone.STRIDE[network.backbone_kind]
        self._units = {
            level: ExactUnit(network.unit(level), level, tables, self.device) for level in LEVELS
        }

    @torch.no_grad()
    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`RDONet.features` of a padded picture [1, 3, H, W] in bounded memory."""
        f0 = in_bands(self.network.analysis, x, self._stride, 1, ANALYSIS_HALO)
        return self.network.levels(f0)

    @torch.no_grad()
    def encode(
        self,
        features: Sequence[Tensor],
        masks: Masks,
        size: tuple[int, int],
        quality: float | None = None,
    ) -> bytes:
        """The file of a picture of `size` (height, width) with the given features (batch of 1)."""

        def propose(level: int, d: Tensor, sent: Bools) -> Level:
            latent = self.latent(level, features[level - 1], d, sent, quality)
            return self.level(level, latent, d, sent)

        return self.write(propose, masks, size, quality)

    @torch.no_grad()
    def write(
        self,
        propose: Callable[[int, Tensor, Bools], Level],
        masks: Masks,
        size: tuple[int, int],
        quality: float | None,
    ) -> bytes:
        """The file of a picture of `size` (height, width).

        `propose` gives what is sent at a level, of its number, d_{i+1} and where it sends anything.
        Any integers would be decodable.
        """
        if not self._fits(size):
            raise EncodeError(
                f"{size[1]}x{size[0]} pixels are too many for {self.name} with "
                f"{self._channels} channels: cut the picture into parts"
            )
        sections = [_partition(masks)]
        levels: dict[int, Level] = {}
        d = self._no_features(masks.shape)
        for level in DEEPEST_FIRST:
            sent = _sent(masks, level)
            levels[level] = propose(level, d, sent)
            sections.append(self._units[level].encode(levels[level], d))
            if level > 1:
                d = self._units[level].decoded(d, levels[level].latents, quality)
        return bitstream.pack(self._header(masks, size, quality), sections, _checked(masks, levels))

    def frame_bytes(self, masks: Masks, size: tuple[int, int], quality: float | None) -> int:
        """What the file of a picture holds beside its levels, about."""
        header = self._header(masks, size, quality)
        return bitstream.frame_bytes(header, 1 + len(LEVELS)) + len(_partition(masks))

    def _header(self, masks: Masks, size: tuple[int, int], quality: float | None) -> Header:
        uniform = _uniform_level(masks)
        flags = 1 | uniform << 1 if uniform else 0
        model = self.digest[: bitstream.MODEL_BYTES]
        network = self.network
        return Header(network.magic, network.version, model, flags, *size, quality)

    def latent(
        self, level: int, f: Tensor, d: Tensor, sent: Bools, quality: float | None
    ) -> Tensor:
        """The network's t [1, N, h, w] of `level`, not yet rounded, 0 where nothing is sent.  d is
        d_{i+1}, activation integers."""
        mask = torch.from_numpy(sent).to(f)[None, None]
        unit = self.network.unit(level)
        return unit.latent(f, _channels_first(from_grid(d)), self.tensor(quality)) * mask

    def level(
        self, level: int, t: Tensor, d: Tensor, sent: Bools, hyper_latents: Int32s | None = None
    ) -> Level:
        """What is sent of t, by default with its own hyper-latents."""
        if not bool(torch.isfinite(t).all()):
            raise EncodeError("a latent is not finite: the weights are damaged")
        exact = self._units[level]
        cells = exact.cells(sent)
        if hyper_latents is None:
            mask = torch.from_numpy(sent).to(t)[None, None]
            prior = self.network.unit(level).prior
            z = prior.hyper_latent(t, _channels_first(from_grid(d)), mask)
            hyper_latents = exact.hyper_latents.symbols(z[0]) * cells
        latents = round_latent(t)[0].permute(1, 2, 0).to("cpu", torch.int32).contiguous().numpy()
        return Level(latents, hyper_latents, sent, cells)

    @torch.no_grad()
    def decode(self, data: bytes) -> Coded:
        """Everything but the synthesis.  Raises `BitstreamError`."""
        sections = 1 + len(LEVELS)
        stream = bitstream.unpack(data, self.network.magic, self.network.version, sections)
        header = stream.header
        bitstream.check_model(header, self.digest, self.name)
        bitstream.check_quality(header, self.network.qualities)
        if not self._fits((header.height, header.width)):
            raise BitstreamError("the header is damaged: no encoder makes such large pictures")
        masks = _read_masks(header.flags, stream.sections[0], ctu_grid(header.height, header.width))
        levels: dict[int, Level] = {}
        features: dict[int, Tensor] = {}
        d = self._no_features(masks.shape)
        for level, payload in zip(DEEPEST_FIRST, stream.sections[1:], strict=True):
            features[level] = d
            levels[level] = self._units[level].decode(payload, _sent(masks, level), d)
            if level > 1:
                d = self._units[level].decoded(d, levels[level].latents, header.quality)
        stream.verify(_checked(masks, levels))
        names = ("mask", *(f"level {level}" for level in DEEPEST_FIRST))
        sizes = {k: len(s) for k, s in zip(names, stream.sections, strict=True)}
        size = header.height, header.width
        return Coded(size, masks, levels, features, sizes, header.quality)

    def tensor(self, quality: float | None) -> Tensor | None:
        """[1], as the network takes it."""
        return None if quality is None else torch.tensor([quality], device=self.device)

    @torch.no_grad()
    def reconstruct(self, coded: Coded) -> Image:
        """The picture uint8[height, width, 3] of decoded latents."""
        height, width = coded.size
        d2 = _channels_first(from_grid(coded.features[1]))
        latents = torch.from_numpy(coded.levels[1].latents).to(d2)
        quality = self.tensor(coded.quality)
        d1 = self.network.unit(1).decoded(d2, _channels_first(latents), quality)
        x = synthesise(self.network, d1)
        return pixels.to_image(x, height, width)

    def _fits(self, size: tuple[int, int]) -> bool:
        return bitstream.blocks(*size) * self._channels <= MAX_FEATURES

    def _no_features(self, grid: tuple[int, int]) -> Tensor:
        """d₄: zeros on the grid of level 3."""
        deeper = self.network.unit(3).deeper
        return torch.zeros(*grid, deeper, dtype=torch.int32, device=self.device)


def pad(x: Tensor) -> Tensor:
    """A picture whose sides are multiples of 64."""
    return pixels.pad(x, CTU)


def _channels_first(x: Tensor) -> Tensor:
    """[h, w, C] to [1, C, h, w]."""
    return x.permute(2, 0, 1)[None]


def _sent(masks: Masks, level: int) -> Bools:
    sent: Bools = masks.sent(level)[0, 0].cpu().numpy()
    return sent


def _uniform_level(masks: Masks) -> int:
    """The level of a partition that has only one, else 0."""
    present = masks.levels().unique().tolist()
    return int(present[0]) if len(present) == 1 else 0


def _partition(masks: Masks) -> bytes:
    """The section of that name."""
    return b"" if _uniform_level(masks) else encode_masks(masks)


def _read_masks(flags: int, section: bytes, grid: tuple[int, int]) -> Masks:
    if flags == 0:
        return decode_masks(section, *grid)
    level = flags >> 1
    if not flags & 1 or level not in LEVELS or section:
        raise BitstreamError(f"the header is damaged: flags {flags:#x} mean nothing here")
    return Masks.uniform(level, 1, *grid)


def _checked(masks: Masks, levels: Mapping[int, Level]) -> Iterator[NDArray[np.integer]]:
    """What the checksum covers."""
    yield masks.levels().cpu().numpy()
    for level in DEEPEST_FIRST:
        yield levels[level].hyper_latents
        yield levels[level].latents
