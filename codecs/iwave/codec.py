"""iWave++ in the harness: `iwave`, and `iwave:lossless` by the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from codecs.base import BitstreamError, Image, Point
from codecs.iwave.lifting import FRACTION
from codecs.iwave.network import IWave
from codecs.iwave.stream import StreamCoder
from codecs.learned import bitstream
from codecs.learned.bands import in_bands, single_thread
from codecs.learned.bitstream import Header
from codecs.learned.codec import LearnedCodec, Model, Places, Variant
from codecs.learned.network import CodecNetwork
from codecs.learned.pixels import pad, to_image, to_tensor
from codecs.learned.weights import Weights

_LOSSLESS = 0x01
"""Flag of streams from which every sample comes back."""
_PIXELS_PER_BYTE = 512
"""A stream has a byte at least for so many pixels, for the same reason as for blocks (`bitstream`):
a decoder does more for each of them here than where a latent stands for 256."""


@dataclass(frozen=True)
class Analysis:
    """A picture, and LL and the bands of all levels, coarsest first (`StreamCoder`)."""

    image: Image
    coefficients: Sequence[Tensor]


class IWaveModel(Model):
    """Whether a file is without loss is a variant of the encoder; files say it themselves."""

    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {"mode": ("", "lossless")}
    network: IWave

    def __init__(
        self, network: CodecNetwork, loaded: Weights, device: torch.device, variant: Variant
    ) -> None:
        super().__init__(network, loaded, device, variant)
        assert isinstance(network, IWave)
        self.lossless = variant["mode"] == "lossless"
        self.coder = StreamCoder(network, loaded.tables, device)

    @classmethod
    def places(cls, listed: Places, variant: Variant) -> Places:
        """Without loss there is one, whatever quality its header has."""
        return [(Point("step", 1), listed[-1][1])] if variant["mode"] == "lossless" else listed

    @classmethod
    def labelled(cls, label: str, variant: Variant) -> str:
        return ", ".join([label, *cls.named(variant)])

    @classmethod
    def seconds(cls, pixels: int, variant: Variant) -> float:
        return 0.5 + pixels * 1e-4

    @torch.inference_mode()
    def analyse(self, image: Image) -> Analysis:
        x = torch.from_numpy(pad(image, self.network.stride)).permute(2, 0, 1)
        return Analysis(image, self.coder.transformed(x, 0 if self.lossless else FRACTION))

    @torch.inference_mode()
    def size(self, analysis: Analysis, quality: float | None) -> float:
        x = pad(to_tensor(analysis.image, self.device), self.network.stride)
        if self.lossless:
            bits = self.network.without_loss(x)
        else:
            bits = self.network(x, quality=self._quality(quality)).total_bits()
        header = self.header(analysis.image, quality)
        return max(float(bits) / 8, _least(header)) + bitstream.frame_bytes(header, 1)

    def _quality(self, quality: float | None) -> Tensor | None:
        """[1], as the network takes it."""
        return None if quality is None else torch.tensor([quality], device=self.device)

    @torch.inference_mode()
    def code(self, analysis: Analysis, quality: float | None) -> bytes:
        header = self.header(analysis.image, quality, _LOSSLESS if self.lossless else 0)
        if self.lossless:
            symbols = self.coder.unquantised(analysis.coefficients)
        else:
            symbols = self.coder.symbols(analysis.coefficients, self._quality(quality))
        section = self.coder.encode(symbols, quality, self.lossless)
        return bitstream.pack(header, [section.ljust(_least(header), b"\0")], symbols)

    @torch.inference_mode()
    def decode(self, data: bytes) -> Image:
        stream = self.unpack(data, 1)
        header = stream.header
        if header.flags & ~_LOSSLESS:
            raise BitstreamError("the header is damaged: unknown flags")
        (section,) = stream.sections
        if len(section) < _least(header):
            raise BitstreamError("the payload is too short for a picture of this size")
        lossless = bool(header.flags & _LOSSLESS)
        height, width = (n + -n % self.network.stride for n in (header.height, header.width))
        symbols, picture = self.coder.decode(section, height, width, header.quality, lossless)
        stream.verify(symbols)
        x = picture[None] / 255
        if not lossless:
            quality = self._quality(header.quality)
            with single_thread():
                x = in_bands(lambda x: self.network.filtered(x, quality), x, 2, 2, 8)
        return to_image(x, header.height, header.width)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Bytes of the coefficients."""
        return {"bytes": {"coefficients": len(self.unpack(data, 1).sections[0])}}


def _least(header: Header) -> int:
    """Bytes that the section has at least: whole words."""
    return -(-header.height * header.width // (4 * _PIXELS_PER_BYTE)) * 4


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `iwave` or `iwave:lossless`."""
    return LearnedCodec("iwave", "iWave++", IWave, IWaveModel, variant)
