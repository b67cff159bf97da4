"""Minnen et al. 2018 as a codec: pictures to bytes and back, bit-exact in the entropy path.

Sections of a stream: hyper-latent z (channel by channel), latent y (in wavefronts).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import (
    BitstreamError,
    Codec,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    check_image,
)
from codecs.learned import bitstream, weights
from codecs.learned.bands import single_thread
from codecs.learned.bitstream import BLOCK, Header
from codecs.learned.coders.context import ContextCoder
from codecs.learned.coders.density import GaussianDensity
from codecs.learned.coders.factorised import FactorisedCoder
from codecs.learned.coders.likelihood import SCALE_FLOOR
from codecs.learned.coders.rangecoding import Int32s, SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import ScaleTable
from codecs.learned.exact.arithmetic import LATENT_LIMIT, exact_layer, run_layers
from codecs.learned.network import kmac_per_pixel
from codecs.minnen.network import Minnen
from codecs.naming import variants_of

MAGIC = b"MN"
VERSION = 1
ARCHITECTURE = "minnen"
WEIGHTS = Path(__file__).parents[1] / "weights"
SETS = {name: WEIGHTS / name for name in ("minnen", "minnen-mse")}
"""Folders of weights by codec."""
_TRAINED_FOR = {"minnen": "", "minnen-mse": ", trained for MSE"}


def export(
    network: Minnen,
    path: Path,
    card: Mapping[str, Any],
    half: bool = False,
    eight_bit: bool = False,
) -> bytes:
    """Write a weights file with the integer tables that coding needs; returns its digest.

    `card` holds `point` = {"parameter": ..., "value": ...} and whatever describes the training.
    With `half`, the network's own parameters are rounded to 16 bits first; with `eight_bit`, its
    kernels to 8 and the rest to 16.
    """
    stored = weights.rounded(network, half, eight_bit)
    scales = ScaleTable.build(SCALE_FLOOR)
    tables = FactorisedCoder.export(network.prior)
    named: dict[str, Any] = {f"z.{name}": table for name, table in tables.items()}
    named |= {"scales.thresholds": scales.thresholds, "scales.inverse": scales.inverse}
    card = {**card, "architecture": ARCHITECTURE, "config": network.config}
    return weights.save(path, stored, named, card, half or eight_bit)


class MinnenModel:
    """One rate point: network for analysis and synthesis, exact integers for the entropy path.

    `transforms` is the precision of analysis and synthesis, "float32" or "bfloat16"; the entropy
    path does not depend on it.
    """

    def __init__(
        self, loaded: weights.Weights, device: str = "cpu", transforms: str = "float32"
    ) -> None:
        self.name = loaded.path.name
        self.digest = loaded.digest
        self.bytes = loaded.path.stat().st_size
        self.device = torch.device(device)
        self.dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[transforms]
        try:
            network = Minnen.from_config(loaded.card["config"])
            network.load_state_dict(loaded.parameters)
            tables = {key: loaded.table(f"z.{key}") for key in ("frequencies", "lows", "medians")}
            self.z_coder = FactorisedCoder(tables)
            scales = ScaleTable(
                loaded.table("scales.thresholds").astype(np.int64),
                loaded.table("scales.inverse").astype(np.int64),
            )
            self.hyper_decoder = [
                exact_layer(m).to(device) for m in network.h_s if list(m.parameters())
            ]
            head = [layer for layer in network.head if isinstance(layer, nn.Conv2d)]
            self.context = ContextCoder(
                network.context,
                head,
                GaussianDensity(scales),
                side_channels=2 * network.config["M"],
            ).to(device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CodecUnavailable(f"{loaded.path}: the weights do not fit ({error})") from error
        self.network = network.eval().requires_grad_(False).to(self.device)

    def _transform(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.dtype == torch.float32:
            return module(x)
        with torch.autocast(self.device.type, self.dtype):
            return module(x.contiguous(memory_format=torch.channels_last)).float()

    @torch.inference_mode()
    def latents(self, image: Image) -> tuple[Int32s, Int32s]:
        """(z symbols [N, h/4, w/4], ŷ [h, w, M]) of a picture, h = ⌈H/64⌉·4."""
        height, width, _ = image.shape
        x = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float() / 255
        padding = (0, -width % BLOCK, 0, -height % BLOCK)
        x = functional.pad(x, padding, mode="replicate")
        y = self._transform(self.network.g_a, x)
        if not bool(torch.isfinite(y).all()):
            raise EncodeError("the latent is not finite: the weights are damaged")
        z = self.z_coder.symbols(self.network.h_a(y)[0])
        rounded = torch.round(y[0]).clamp(-LATENT_LIMIT, LATENT_LIMIT)
        return z, rounded.permute(1, 2, 0).cpu().numpy().astype(np.int32)

    @torch.inference_mode()
    def side_information(self, z: Int32s) -> Tensor:
        """ψ [h, w, 2M], exact, of z symbols [N, h/4, w/4]."""
        grid = self.z_coder.to_grid(z).permute(1, 2, 0).contiguous().to(self.device)
        return run_layers(self.hyper_decoder, grid)

    @torch.inference_mode()
    def compress(self, image: Image) -> bytes:
        """The complete file."""
        z, y = self.latents(image)
        psi = self.side_information(z)
        z_encoder, y_encoder = SymbolEncoder(), SymbolEncoder()
        self.z_coder.encode(z_encoder, z.reshape(len(z), -1))
        self.context.encode(y_encoder, y, psi)
        model = self.digest[: bitstream.MODEL_BYTES]
        header = Header(MAGIC, VERSION, model, 0, image.shape[0], image.shape[1])
        return bitstream.pack(header, [z_encoder.get_bytes(), y_encoder.get_bytes()], [z, y])

    @torch.inference_mode()
    def decode_latents(self, data: bytes) -> tuple[Header, Int32s]:
        """(header, ŷ [h, w, M]), verified.  Raises `BitstreamError`."""
        stream = bitstream.unpack(data, MAGIC, VERSION, sections=2)
        header = stream.header
        bitstream.check_model(header, self.digest, self.name)
        if header.flags:
            raise BitstreamError("the header is damaged: unknown flags")
        rows, columns = -(-header.height // BLOCK), -(-header.width // BLOCK)
        z = self.z_coder.decode(SymbolDecoder(stream.sections[0]), rows * columns)
        z = z.reshape(-1, rows, columns)
        y = self.context.decode(SymbolDecoder(stream.sections[1]), self.side_information(z))
        stream.verify([z, y])
        return header, y

    @torch.inference_mode()
    def synthesise(self, header: Header, y: Int32s) -> Image:
        """The picture of decoded latents."""
        latent = torch.from_numpy(y).to(self.device).permute(2, 0, 1)[None].float()
        with single_thread():
            x = self._transform(self.network.g_s, latent)
        x = x[0, :, : header.height, : header.width].clamp(0, 1).mul(255).round()
        return np.ascontiguousarray(x.to(torch.uint8).permute(1, 2, 0).cpu().numpy())

    def decompress(self, data: bytes) -> Image:
        """The picture, from the bytes alone.  Raises `BitstreamError`."""
        return self.synthesise(*self.decode_latents(data))

    def information(self, image: Image) -> dict[str, float]:
        """Bits of z and y under the integer tables: the file's payload up to the coder's loss."""
        z, y = self.latents(image)
        return {
            "z": self.z_coder.information(z.reshape(len(z), -1)),
            "y": self.context.information(y, self.side_information(z)),
        }


class MinnenCodec(Codec):
    """The adapter: one operating point for each weights file of a folder, by default that of
    `base`, one of `SETS`."""

    def __init__(
        self,
        folder: Path | None = None,
        device: str = "cpu",
        transforms: str = "float32",
        base: str = "minnen",
    ) -> None:
        folder = folder or SETS[base]
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise CodecUnavailable(
                f"{base} has no weights in {folder}; train some with "
                "`python -m codecs.learned.train minnen --data DIR --valid DIR --out DIR "
                "--minutes 60` and copy what it exports there"
            )
        models = []
        for file in files:
            loaded = weights.load(file, ARCHITECTURE)
            models.append((weights.point(loaded), MinnenModel(loaded, device, transforms), loaded))
        models.sort(key=lambda item: item[0].value)
        self._by_point = {point: model for point, model, _ in models}
        self._by_digest = {m.digest[: bitstream.MODEL_BYTES]: m for _, m, _ in models}
        if len(self._by_point) < len(models):
            raise CodecUnavailable(f"{folder}: two weights files claim the same operating point")
        configs = {point: loaded.card["config"] for point, _, loaded in models}
        self.base = base
        self.name = base if transforms == "float32" else f"{base}:{transforms}"
        remark, noted = weights.remarks([loaded for _, _, loaded in models])
        precision = "" if transforms == "float32" else f", {transforms}"
        self.label = f"Minnen 2018{_TRAINED_FOR[base]}{precision}{remark}"
        digests = " ".join(m.digest[:4].hex() for _, m, _ in models)
        self.version = f"stream {VERSION}, weights {digests}, torch {torch.__version__}"
        self.points = tuple(self._by_point)
        self.settings = {
            "width": weights.setting({p: f"N={c['N']}, M={c['M']}" for p, c in configs.items()}),
            "transforms": transforms,
            "entropy path": "exact integers",
            **noted,
        }
        self.device = device
        self.tuned_for = weights.tuned_for(loaded.card for _, _, loaded in models)

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        model = self._by_point.get(point)
        if model is None:
            known = ", ".join(p.label for p in self.points)
            raise EncodeError(f"{self.base} has no weights for {point.label}; there are {known}")
        return model.compress(image)

    def decode(self, data: bytes) -> Image:
        return self._model(data).decompress(data)

    def seconds(self, pixels: int, point: Point) -> float:
        return 0.2 + pixels * 8e-6

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Bytes of the two sections, operations and size of the model."""
        stream = bitstream.unpack(data, MAGIC, VERSION, sections=2)
        model = self._model(data)
        return {
            "bytes": dict(zip(("z", "y"), map(len, stream.sections), strict=True)),
            "model": {"kmac_per_pixel": kmac_per_pixel(model.network), "bytes": model.bytes},
        }

    def _model(self, data: bytes) -> MinnenModel:
        return bitstream.model_of(data, MAGIC, VERSION, self._by_digest)


def create(variant: str | None = None) -> MinnenCodec:
    """The codec `minnen`, or `minnen:bfloat16` with transforms in that precision."""
    short = variants_of("minnen", variant, ("bfloat16",))
    return MinnenCodec(transforms="bfloat16" if short else "float32")


def create_mse(variant: str | None = None) -> MinnenCodec:
    """The codec `minnen-mse` or `minnen-mse:bfloat16`."""
    short = variants_of("minnen-mse", variant, ("bfloat16",))
    return MinnenCodec(transforms="bfloat16" if short else "float32", base="minnen-mse")
