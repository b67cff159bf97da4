"""RDONet in the harness: `rdonet` (the same as `rdonet:zero-pass`), `rdonet:one-pass`,
`rdonet:full`, each with `:latents` or without, trained with LPIPS, and `rdonet-msssim`, with the
same variants, without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor

from codecs.base import Image
from codecs.learned import refine
from codecs.learned.bands import single_thread
from codecs.learned.codec import REFINED, LearnedCodec, Model, Variant
from codecs.learned.network import CodecNetwork
from codecs.learned.pixels import to_tensor
from codecs.learned.weights import Weights
from codecs.rdonet import search
from codecs.rdonet.cost import CostModel
from codecs.rdonet.diagnostics import describe
from codecs.rdonet.masks import Masks, variance_masks
from codecs.rdonet.network import RDONet
from codecs.rdonet.refining import refined_files
from codecs.rdonet.search import SearchResult
from codecs.rdonet.stream import StreamCoder, pad


@dataclass(frozen=True)
class Analysis:
    """What of a picture neither quality nor partition changes."""

    image: Image
    x: Tensor
    """[1, 3, H, W] in 0...1, padded."""
    features: tuple[Tensor, Tensor, Tensor]
    """f₁, f₂, f₃."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


class RDONetModel(Model):
    """Variants are how much an encoder searches for a partition, and whether it refines latents."""

    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "search": ("zero-pass", "one-pass", "full"),
        **REFINED,
    }
    network: RDONet

    def __init__(
        self, network: CodecNetwork, loaded: Weights, device: torch.device, variant: Variant
    ) -> None:
        super().__init__(network, loaded, device, variant)
        assert isinstance(network, RDONet)
        self.coder = StreamCoder(network, loaded.tables, loaded.digest, loaded.path.name)

    @classmethod
    def labelled(cls, label: str, variant: Variant) -> str:
        return ", ".join([label, *filter(None, variant.values())])

    @classmethod
    def seconds(cls, pixels: int, variant: Variant) -> float:
        runs = {"zero-pass": 0, "one-pass": search.ONE_PASS_RUNS, "full": search.MAX_RUNS}
        refining = refine.seconds(pixels) if variant["refined"] else 0.0
        return 0.5 + pixels * 3e-6 * (2 + runs[variant["search"]]) + refining

    @torch.inference_mode()
    def analyse(self, image: Image) -> Analysis:
        x = pad(to_tensor(image, self.device))
        with single_thread():
            return Analysis(image, x, self.coder.features(x))

    @torch.inference_mode()
    def size(self, analysis: Analysis, quality: float | None) -> float:
        """Under the variance partition, without any search."""
        with single_thread():
            q = self.coder.tensor(quality)
            masks = self._variance_masks(analysis, q)
            _, outputs = self.network.code(analysis.features, masks, q)
        bits = sum(float(out.y_bits.sum() + out.z_bits.sum()) for out in outputs.values())
        return bits / 8 + self.coder.frame_bytes(masks, analysis.size, quality)

    def code(self, analysis: Analysis, quality: float | None) -> bytes:
        data, result = self.code_searched(analysis, quality)
        # Coding the picture itself is a run as well.
        facts: dict[str, Any] = {"coding_runs": 1 + (result.runs if result else 0)}
        if result:
            facts["estimated_cost"] = {"start": result.start_cost, "found": result.cost}
        if self.refines:
            image, features = analysis.image, analysis.features
            files = chain([data], refined_files(self.coder, image, features, data))
            data, facts["refined"] = self.best(image, self.coder.tensor(quality), files)
        self.remember(data, facts)
        return data

    @torch.inference_mode()
    def code_searched(
        self, analysis: Analysis, quality: float | None
    ) -> tuple[bytes, SearchResult | None]:
        """The file, and what the search found (`None` for zero-pass)."""
        network, size = self.network, analysis.size
        with single_thread():
            q = self.coder.tensor(quality)
            masks = self._variance_masks(analysis, q)
            result = None
            if self.variant["search"] != "zero-pass":
                x, features = analysis.x, analysis.features
                model = CostModel(network, x, features, size, network.objective(q), q)
                find = search.full if self.variant["search"] == "full" else search.one_pass
                result = find(model, masks)
                masks = result.masks
            return self.coder.encode(analysis.features, masks, size, quality), result

    def _variance_masks(self, analysis: Analysis, quality: Tensor | None) -> Masks:
        return variance_masks(analysis.x, self.network.thresholds(quality), analysis.size)

    @torch.inference_mode()
    def decode(self, data: bytes) -> Image:
        with single_thread():
            return self.coder.reconstruct(self.coder.decode(data))

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """See `codecs.rdonet.diagnostics.describe`; for streams made here, with what the search and
        refining have found."""
        with single_thread():
            return {**describe(self.coder, image, data), **self.remembered(data)}


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `rdonet` or `rdonet:VARIANT`."""
    return LearnedCodec("rdonet", "RDONet", RDONet, RDONetModel, variant)


def create_msssim(variant: str | None = None) -> LearnedCodec:
    """The codec `rdonet-msssim` or `rdonet-msssim:VARIANT`."""
    return LearnedCodec("rdonet-msssim", "RDONet for MS-SSIM", RDONet, RDONetModel, variant)
