"""RDONet in the harness: `rdonet` (the same as `rdonet:zero-pass`), `rdonet:one-pass`,
`rdonet:full`, trained with LPIPS, and `rdonet-msssim`, with the same variants, without it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from codecs.base import Image
from codecs.learned.bands import single_thread
from codecs.learned.codec import LearnedCodec, Model
from codecs.learned.network import CodecNetwork
from codecs.learned.pixels import to_tensor
from codecs.learned.weights import Weights
from codecs.rdonet import search
from codecs.rdonet.cost import CostModel
from codecs.rdonet.diagnostics import describe
from codecs.rdonet.masks import variance_masks
from codecs.rdonet.network import RDONet
from codecs.rdonet.search import SearchResult
from codecs.rdonet.stream import StreamCoder, pad

_REMEMBERED = 16


class RDONetModel(Model):
    """Variants are how much an encoder searches for a partition."""

    variants: ClassVar[tuple[str, ...]] = ("zero-pass", "one-pass", "full")
    setting: ClassVar[str] = "search"
    network: RDONet

    def __init__(
        self, network: CodecNetwork, loaded: Weights, device: torch.device, variant: str
    ) -> None:
        super().__init__(network, loaded, device, variant)
        assert isinstance(network, RDONet)
        self.coder = StreamCoder(network, loaded.tables, loaded.digest, loaded.path.name)
        self._searches: OrderedDict[bytes, SearchResult | None] = OrderedDict()

    @classmethod
    def labelled(cls, label: str, variant: str) -> str:
        return f"{label}, {variant}"

    @classmethod
    def seconds(cls, pixels: int, variant: str) -> float:
        runs = {"zero-pass": 0, "one-pass": search.ONE_PASS_RUNS, "full": search.MAX_RUNS}
        return 0.5 + pixels * 3e-6 * (2 + runs[variant])

    def encode(self, image: Image, quality: float | None = None) -> bytes:
        data, result = self.encode_searched(image, quality)
        self._searches[hashlib.sha256(data).digest()] = result
        if len(self._searches) > _REMEMBERED:
            self._searches.popitem(last=False)
        return data

    @torch.inference_mode()
    def encode_searched(
        self, image: Image, quality: float | None = None
    ) -> tuple[bytes, SearchResult | None]:
        """The file, and what the search found (`None` for zero-pass)."""
        network = self.network
        size = image.shape[0], image.shape[1]
        x = pad(to_tensor(image, self.device))
        with single_thread():
            features = self.coder.features(x)
            q = self.coder.tensor(quality)
            masks = variance_masks(x, network.thresholds(q), size)
            result = None
            if self.variant != "zero-pass":
                model = CostModel(network, x, features, size, network.objective(q), q)
                find = search.full if self.variant == "full" else search.one_pass
                result = find(model, masks)
                masks = result.masks
            return self.coder.encode(features, masks, size, quality), result

    @torch.inference_mode()
    def decode(self, data: bytes) -> Image:
        with single_thread():
            return self.coder.reconstruct(self.coder.decode(data))

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """See `codecs.rdonet.diagnostics.describe`; `coding_runs` only for streams made here."""
        with single_thread():
            facts = describe(self.coder, image, data)
        key = hashlib.sha256(data).digest()
        if key in self._searches:
            result = self._searches[key]
            # Coding the picture itself is a run as well.
            facts["coding_runs"] = 1 + (result.runs if result else 0)
            if result:
                facts["estimated_cost"] = {"start": result.start_cost, "found": result.cost}
        return facts


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `rdonet` or `rdonet:VARIANT`."""
    return LearnedCodec("rdonet", "RDONet", RDONet, RDONetModel, variant)


def create_msssim(variant: str | None = None) -> LearnedCodec:
    """The codec `rdonet-msssim` or `rdonet-msssim:VARIANT`."""
    return LearnedCodec("rdonet-msssim", "RDONet for MS-SSIM", RDONet, RDONetModel, variant)
