"""RDONet in the harness: `rdonet` (the same as `rdonet:zero-pass`), `rdonet:one-pass`,
`rdonet:full`, trained with LPIPS, and `rdonet-msssim`, with the same variants, without it; one
operating point for each weights file of their folders."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from codecs.base import (
    Codec,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    check_image,
)
from codecs.learned import bitstream, weights
from codecs.learned.bands import single_thread
from codecs.learned.network import kmac_per_pixel
from codecs.naming import UnknownCodec, suggestion
from codecs.rdonet import search
from codecs.rdonet.cost import CostModel
from codecs.rdonet.diagnostics import describe
from codecs.rdonet.exact import make_tables
from codecs.rdonet.masks import variance_masks
from codecs.rdonet.network import RDONet
from codecs.rdonet.search import SearchResult
from codecs.rdonet.stream import MAGIC, VERSION, StreamCoder, pad, to_tensor

ARCHITECTURE = "rdonet"
WEIGHTS = Path(__file__).parents[1] / "weights"
SETS = {name: WEIGHTS / name for name in ("rdonet", "rdonet-msssim")}
"""Folders of weights by codec."""
_TRAINED_FOR = {"rdonet": "", "rdonet-msssim": " for MS-SSIM"}
MODES = ("zero-pass", "one-pass", "full")
_REMEMBERED = 64


def export(
    network: RDONet,
    path: Path,
    card: Mapping[str, Any],
    half: bool = False,
    eight_bit: bool = False,
) -> bytes:
    """Write a weights file with the integer tables that coding needs; returns its digest.

    `card` holds `point` = {"parameter": ..., "value": ...} and whatever describes the training;
    thresholds and objective are stored with the network's configuration.  With `half`, the
    network's own parameters are rounded to 16 bits first; with `eight_bit`, its kernels to 8 and
    the rest to 16.
    """
    stored = weights.rounded(network, half, eight_bit)
    card = {**card, "architecture": ARCHITECTURE, "config": network.config}
    return weights.save(path, stored, make_tables(network), card, half or eight_bit)


class RDONetModel:
    """One rate point: network, tables and stream format."""

    def __init__(self, loaded: weights.Weights, device: str = "cpu") -> None:
        self.digest = loaded.digest
        self.bytes = loaded.path.stat().st_size
        prefix = weights.TABLES
        try:
            network = RDONet.from_config(loaded.card["config"])
            network.load_state_dict(loaded.parameters)
            network = network.requires_grad_(False).to(device)
            names = [k.removeprefix(prefix) for k in loaded.tensors if k.startswith(prefix)]
            tables = {name: loaded.table(name) for name in names}
            self.coder = StreamCoder(network, tables, loaded.digest, loaded.path.name)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CodecUnavailable(f"{loaded.path}: the weights do not fit ({error})") from error
        self.network = network
        self.device = torch.device(device)

    @torch.inference_mode()
    def encode(self, image: Image, mode: str = "zero-pass") -> tuple[bytes, SearchResult | None]:
        """The file, and what the search found (None for zero-pass)."""
        size = image.shape[0], image.shape[1]
        x = pad(to_tensor(image, self.device))
        with single_thread():
            features = self.coder.features(x)
            masks = variance_masks(x, self.network.thresholds, size)
            result = None
            if mode != "zero-pass":
                model = CostModel(self.network, x, features, size, self.network.objective)
                find = search.full if mode == "full" else search.one_pass
                result = find(model, masks)
                masks = result.masks
            return self.coder.encode(features, masks, size), result

    @torch.inference_mode()
    def decode(self, data: bytes) -> Image:
        """The picture, from the bytes alone.  Raises `BitstreamError`."""
        with single_thread():
            return self.coder.reconstruct(self.coder.decode(data))


class RDONetCodec(Codec):
    """The adapter.  `mode` is one of `MODES`; `base`, one of `SETS`, says which weights are used,
    unless a `folder` does."""

    def __init__(
        self,
        mode: str = "zero-pass",
        folder: Path | None = None,
        device: str = "cpu",
        base: str = "rdonet",
    ) -> None:
        if mode not in MODES:
            raise UnknownCodec(f"{base} has no mode {mode!r}{suggestion(mode, MODES)}")
        folder = folder or SETS[base]
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise CodecUnavailable(
                f"{base} has no weights in {folder}; train some with "
                "`python -m codecs.learned.train rdonet --data DIR --valid DIR --out DIR "
                "--minutes 60` and copy what it exports there"
            )
        loaded = [weights.load(file, ARCHITECTURE) for file in files]
        models = [(weights.point(w), RDONetModel(w, device)) for w in loaded]
        models.sort(key=lambda item: item[0].value)
        self._by_point = dict(models)
        self._by_digest = {m.digest[: bitstream.MODEL_BYTES]: m for _, m in models}
        if len(self._by_point) < len(models):
            raise CodecUnavailable(f"{folder}: two weights files claim the same operating point")
        self.mode = mode
        self.base = base
        self.name = base if mode == "zero-pass" else f"{base}:{mode}"
        remark, noted = weights.remarks(loaded)
        self.label = f"RDONet{_TRAINED_FOR[base]}, {mode}{remark}"
        digests = " ".join(model.digest[:4].hex() for _, model in models)
        self.version = f"stream {VERSION}, weights {digests}, torch {torch.__version__}"
        self.points = tuple(self._by_point)

        def setting(shown: Callable[[Mapping[str, Any]], str]) -> str:
            return weights.setting({point: shown(m.network.config) for point, m in models})

        self.settings = {
            "width": setting(lambda config: f"N={config['width']}"),
            "latents": setting(lambda config: ", ".join(map(str, config["latents"]))),
            "backbone": setting(lambda config: str(config["backbone_kind"])),
            "mixtures": setting(lambda config: f"K={config['mixtures']}"),
            "search": mode,
            "entropy path": "exact integers",
            **noted,
        }
        self.device = device
        self.tuned_for = weights.tuned_for(one.card for one in loaded)
        self._searches: OrderedDict[bytes, SearchResult | None] = OrderedDict()

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        model = self._by_point.get(point)
        if model is None:
            known = ", ".join(p.label for p in self.points)
            raise EncodeError(f"{self.base} has no weights for {point.label}; there are {known}")
        data, result = model.encode(image, self.mode)
        self._searches[hashlib.sha256(data).digest()] = result
        if len(self._searches) > _REMEMBERED:
            self._searches.popitem(last=False)
        return data

    def decode(self, data: bytes) -> Image:
        return self._model(data).decode(data)

    def seconds(self, pixels: int, point: Point) -> float:
        runs = {"zero-pass": 0, "one-pass": search.ONE_PASS_RUNS, "full": search.MAX_RUNS}
        return 0.5 + pixels * 3e-6 * (2 + runs[self.mode])

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """See `codecs.rdonet.diagnostics.describe`; `coding_runs` only for streams made here."""
        model = self._model(data)
        with single_thread():
            facts = describe(model.coder, image, data)
            facts["model"] = {
                "kmac_per_pixel": kmac_per_pixel(model.network),
                "bytes": model.bytes,
            }
        key = hashlib.sha256(data).digest()
        if key in self._searches:
            result = self._searches[key]
            # Coding the picture itself is a run as well.
            facts["coding_runs"] = 1 + (result.runs if result else 0)
            if result:
                facts["estimated_cost"] = {"start": result.start_cost, "found": result.cost}
        return facts

    def _model(self, data: bytes) -> RDONetModel:
        return bitstream.model_of(data, MAGIC, VERSION, self._by_digest)


def create(variant: str | None = None) -> RDONetCodec:
    """The codec `rdonet` or `rdonet:VARIANT`."""
    return RDONetCodec(variant or "zero-pass")


def create_msssim(variant: str | None = None) -> RDONetCodec:
    """The codec `rdonet-msssim` or `rdonet-msssim:VARIANT`."""
    return RDONetCodec(variant or "zero-pass", base="rdonet-msssim")
