"""Codecs that send a picture in passes: a point is how many, and a cut stream is one of fewer.

Where a card names one point only, all passes are sent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codecs.base import Image
from codecs.learned import bitstream, passes
from codecs.learned.bands import single_thread
from codecs.learned.bitstream import Header
from codecs.learned.codec import Model, Variant
from codecs.learned.coders.bits import BitModel, Bits
from codecs.learned.network import CodecNetwork
from codecs.learned.pixels import pad, to_image, to_tensor
from codecs.learned.weights import Weights


class PassNetwork(CodecNetwork):
    """A network that codes a picture in passes, each [M, H/s, W/s] bits, s its `stride`."""

    passes: int
    """The most."""
    bits: BitModel
    """What a bit costs, given those before it."""

    @property
    def points(self) -> Sequence[Mapping[str, Any]]:
        """How many passes are sent."""
        return [{"parameter": "passes", "value": t} for t in range(1, self.passes + 1)]

    def serves(self, quality: float | None) -> bool:
        return quality is not None and quality in range(1, self.passes + 1)

    @abstractmethod
    def encodings(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(bits [B, M, H/s, W/s], -1 or 1, and x̂ [B, 3, H, W]) of each pass over pictures
        [B, 3, H, W] in 0...1."""

    @abstractmethod
    def decoded(self, codes: Sequence[Tensor]) -> Tensor:
        """x̂ [B, 3, H, W] after one pass or more, whose bits are given: the encoder's own."""


class PassModel(Model):
    """A network of passes that codes.  It has no variants."""

    network: PassNetwork

    def __init__(
        self, network: CodecNetwork, loaded: Weights, device: torch.device, variant: Variant
    ) -> None:
        super().__init__(network, loaded, device, variant)
        self.coder = self.network.bits.coder()

    @classmethod
    def labelled(cls, label: str, variant: Variant) -> str:
        return label

    @classmethod
    def seconds(cls, pixels: int, variant: Variant) -> float:
        return 0.2 + pixels * 2e-5

    def shape(self, header: Header) -> tuple[int, int, int]:
        """(M, h, w) of a pass."""
        height, width = (-(-n // self.network.stride) for n in (header.height, header.width))
        return self.network.config["M"], height, width

    def analyse(self, image: Image) -> Sending:
        return Sending(self, image)

    def size(self, analysis: Sending, quality: float | None) -> float:
        return len(self.code(analysis, quality))

    def code(self, analysis: Sending, quality: float | None) -> bytes:
        return analysis.stream(self.network.passes if quality is None else round(quality))

    @torch.inference_mode()
    def decode_bits(self, data: bytes) -> tuple[Header, list[Bits]]:
        """(header, bits of each complete pass), verified.  Raises `BitstreamError`."""
        network = self.network
        header, found = passes.unpack(data, network.magic, network.version, network.passes)
        bitstream.check_model(header, self.digest, self.name)
        bitstream.check_quality(header, 0)
        coder, bits = self.coder.begin(self.shape(header)), list[Bits]()
        for payload, checksum in found:
            bits.append(coder.decode(payload))
            passes.verify(header, checksum, bits)
        return header, bits

    @torch.inference_mode()
    def synthesise(self, header: Header, bits: Sequence[Bits]) -> Image:
        """The picture of decoded passes."""
        codes = [torch.from_numpy(code).to(self.device, torch.float32)[None] for code in bits]
        with single_thread():
            x_hat = self.network.decoded(codes)
        return to_image(x_hat, header.height, header.width)

    def decode(self, data: bytes) -> Image:
        return self.synthesise(*self.decode_bits(data))

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Bytes of the passes."""
        network = self.network
        _, found = passes.unpack(data, network.magic, network.version, network.passes)
        sizes = {f"pass {number}": len(part) for number, (part, _) in enumerate(found, 1)}
        return {"bytes": sizes}


class Sending:
    """A picture and as many of its passes as anybody has asked for.

    The encoder's picture comes of the decoder's own code, on one thread as there.
    """

    def __init__(self, model: PassModel, image: Image) -> None:
        """Raises `EncodeError` for a picture that is too large."""
        passes.check_size(image.shape[0], image.shape[1])
        self._header = model.header(image, None)
        self._coder = model.coder.begin(model.shape(self._header))
        x = pad(to_tensor(image, model.device), model.network.stride)
        self._encodings = model.network.encodings(x)
        self._bits: list[Bits] = []
        self._parts = [self._header.to_bytes()]

    @torch.inference_mode()
    def stream(self, count: int) -> bytes:
        """The file of the first `count` passes."""
        with single_thread():
            while len(self._parts) <= count:
                code, _ = next(self._encodings)
                self._bits.append(code[0].cpu().numpy().astype(np.int8))
                payload = self._coder.encode(self._bits[-1])
                self._parts.append(passes.pack(self._header, payload, self._bits))
        return b"".join(self._parts[: count + 1])
