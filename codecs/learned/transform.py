"""Transform codecs: one analysis, one latent, one synthesis; only the entropy model differs.

picture ── g_a ──> y ── latent model (codecs.learned.coders) ──> ŷ ── g_s ──> picture
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codecs.base import BitstreamError, Image
from codecs.learned import bitstream, refine
from codecs.learned.bands import single_thread
from codecs.learned.bitstream import Header
from codecs.learned.codec import REFINED, Model, Variant
from codecs.learned.coders.latents import LatentCoder, LatentModel, Symbols, Tables
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.gains import LAMBDAS, Gains
from codecs.learned.initialisation import scaled
from codecs.learned.network import CodecNetwork, ForwardOutput, purpose
from codecs.learned.pixels import pad, to_image, to_tensor
from codecs.learned.weights import Weights

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TransformNetwork(CodecNetwork):
    """A network of two transforms `g_a`, `g_s`, and whatever modules its `latent_model` is of."""

    latent_stride: ClassVar[int] = 16
    """Pixels to one position of y."""
    g_a: nn.Sequential
    g_s: nn.Sequential

    def __init__(
        self,
        N: int,
        M: int,
        objective: Mapping[str, float] | None = None,
        qualities: int = 0,
        lambdas: Sequence[float] = LAMBDAS,
        *,
        beside: int = 0,
    ) -> None:
        """N channels in hidden layers, M in y; with `qualities`, the network serves so many anchors
        and all between them.  `objective` changes nothing, but belongs to a point's weights.
        `beside` channels follow ŷ where its synthesis sees more than that."""
        super().__init__()
        if N < 1 or M < 3:
            raise ValueError(f"no such network: N = {N}, M = {M}")
        self.config = {"N": N, "M": M, **purpose(objective, qualities, lambdas)}
        self.gains: Gains | None = None
        if qualities:
            low, high = lambdas
            self.gains = Gains(M, qualities, (low, high), beside)

    @torch.no_grad()
    def amplify(self, factor: float, writer: nn.Module, reader: nn.Module) -> None:
        """Have latents begin larger: by the gains, or by the layers that make and read y."""
        if self.gains is not None:
            self.gains.begin(factor)
        else:
            scaled(writer, factor).mul_(factor)
            scaled(reader, 1 / factor)

    @abstractmethod
    def latent_model(self) -> LatentModel:
        """The entropy model, of the network's modules as they are now."""

    def latents_at(self, quality: Tensor | None) -> LatentModel:
        """That for `quality` [B]: another one in networks of which all depends on it."""
        return self.latent_model()

    def analyse(self, x: Tensor, quality: Tensor | None) -> Tensor:
        """y of pictures [B, 3, H, W], scaled for `quality` [B]."""
        return self.scale(self.common(x), quality)

    def common(self, x: Tensor) -> Tensor:
        """What no quality changes of a picture's analysis."""
        y: Tensor = self.g_a(x)
        return y

    def scale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """What `common` gives, scaled for `quality` [B]."""
        return y if self.gains is None or quality is None else self.gains.scale(y.float(), quality)

    def unscale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """ŷ as `g_s` is to see it."""
        return y if self.gains is None or quality is None else self.gains.unscale(y, quality)

    def synthesise(self, y: Tensor, quality: Tensor | None) -> Tensor:
        """Pictures of ŷ and what is beside it."""
        x: Tensor = self.g_s(self.unscale(y, quality))
        return x

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """See `CodecNetwork`."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        self.check_quality(quality)
        y, bits = self.latents_at(quality).quantise(self.analyse(x, quality), self.rounding)
        x_hat = self.synthesise(y, quality)
        if not self.condition_channels:
            return ForwardOutput(x_hat, bits)
        return ForwardOutput(x_hat, bits, condition=self.unscale(y, quality).detach())

    def tables(self) -> dict[str, Any]:
        return self.latent_model().tables()

    def coder(self, tables: Tables, device: torch.device) -> LatentCoder:
        """See `LatentModel.coder`."""
        return self.latent_model().coder(tables, device)


class CentreNetwork(TransformNetwork):
    """One whose latents take a few values, the same in all channels (`coders.centres`): each
    channel has a gain before them, and its inverse behind."""

    def __init__(self, N: int, M: int, objective: Mapping[str, float] | None = None) -> None:
        super().__init__(N, M, objective)
        self.log_gain = nn.Parameter(torch.zeros(M, 1, 1))

    def scale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        return y * self.log_gain.exp()

    def unscale(self, y: Tensor, quality: Tensor | None) -> Tensor:
        return y * (-self.log_gain).exp()


@dataclass(frozen=True)
class Analysis:
    """A picture, and what `common` gives of it, padded."""

    image: Image
    y: Tensor


class TransformModel(Model):
    """A transform network that codes.  Variants are the precision of the transforms, which the
    entropy path does not depend on, and whether an encoder refines latents."""

    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transforms": tuple(PRECISIONS),
        **REFINED,
    }
    network: TransformNetwork

    def __init__(
        self, network: CodecNetwork, loaded: Weights, device: torch.device, variant: Variant
    ) -> None:
        super().__init__(network, loaded, device, variant)
        self.precision = PRECISIONS[variant["transforms"]]
        self.sections = self.network.latent_model().sections
        self.coder = self.network.coder(loaded.tables, device)
        self._coded: Analysis | None = None
        """Of the picture that was coded last, which is told of next."""

    @classmethod
    def labelled(cls, label: str, variant: Variant) -> str:
        return ", ".join([label, *cls.named(variant)])

    @classmethod
    def seconds(cls, pixels: int, variant: Variant) -> float:
        return 0.2 + pixels * 8e-6 + (refine.seconds(pixels) if variant.get("refined") else 0.0)

    def _quality(self, quality: float | None) -> Tensor | None:
        """[1], as the network takes it."""
        return None if quality is None else torch.tensor([quality], device=self.device)

    def _transform(self, transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.precision == torch.float32:
            return transform(x)
        with torch.autocast(self.device.type, self.precision):
            x = x.contiguous(memory_format=torch.channels_last)
            return transform(x).float()

    @torch.inference_mode()
    def analyse(self, image: Image) -> Analysis:
        x = pad(to_tensor(image, self.device), self.network.stride)
        return Analysis(image, self._transform(self.network.common, x))

    def latent(self, analysis: Analysis, quality: float | None) -> Tensor:
        """y of a picture as it is to be quantised."""
        return self.network.scale(analysis.y, self._quality(quality))

    @torch.inference_mode()
    def size(self, analysis: Analysis, quality: float | None) -> float:
        header = self.header(analysis.image, quality)
        frame = bitstream.frame_bytes(header, len(self.sections))
        return self.entropy_bytes(analysis, quality) + frame

    @torch.inference_mode()
    def entropy_bytes(self, analysis: Analysis, quality: float | None) -> float:
        """The sum of -log2 P of all symbols by the entropy model in floats, in bytes."""
        y, model = self.latent(analysis, quality), self.network.latents_at(self._quality(quality))
        _, bits = model.quantise(y, Rounding.EXACT)
        return sum(float(section.sum()) for section in bits.values()) / 8

    @torch.inference_mode()
    def symbols(self, analysis: Analysis, quality: float | None = None) -> Symbols:
        """What is sent of a picture, as long as nothing is refined."""
        return self.coder.at(quality).symbols(self.latent(analysis, quality))

    def code(self, analysis: Analysis, quality: float | None) -> bytes:
        self._coded = analysis
        files = self._files(analysis, quality)
        if not self.refines:
            return next(files)
        data, facts = self.best(analysis.image, self._quality(quality), files)
        self.remember(data, {"refined": facts})
        return data

    def _files(self, analysis: Analysis, quality: float | None) -> Iterator[bytes]:
        """The file, then those of the refined latent: with the side information of the one that
        was not, and with its own."""
        image = analysis.image
        yield self._pack(image, quality, self.symbols(analysis, quality))
        if steps := refine.steps_for(image.shape[0] * image.shape[1]):
            y = self.latent(analysis, quality)
            refined = self._refined(image, y, self._quality(quality), steps)
            coder = self.coder.at(quality)
            yield self._pack(image, quality, coder.symbols(refined, y))
            yield self._pack(image, quality, coder.symbols(refined))

    @torch.inference_mode()
    def _pack(self, image: Image, quality: float | None, symbols: Symbols) -> bytes:
        sections = self.coder.at(quality).encode(symbols)
        return bitstream.pack(self.header(image, quality), sections, symbols)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _refined(self, image: Image, y: Tensor, quality: Tensor | None, steps: int) -> Tensor:
        """ŷ near y of which this picture has a low J."""
        network, latents = self.network, self.network.latents_at(quality)
        objective = network.objective(quality)
        x, y = to_tensor(image, self.device), y.clone()
        rate, seen = latents.rate(y), latents.seen(y)

        def cost(values: Sequence[Tensor]) -> Tensor:
            y = values[0] + latents.grid
            with refine.quick(self.device):
                y_last = seen(y).contiguous(memory_format=torch.channels_last)
                decoded = network.synthesise(y_last, quality).float()
            shown = decoded[:, :, : image.shape[0], : image.shape[1]]
            return objective.loss(x, shown, rate(y)[0])

        return refine.refine([y - latents.grid], cost, steps)[0] + latents.grid

    @torch.inference_mode()
    def decode_symbols(self, data: bytes) -> tuple[Header, Symbols]:
        """(header, symbols), verified.  Raises `BitstreamError`."""
        stream = self.unpack(data, len(self.sections))
        header = stream.header
        if header.flags:
            raise BitstreamError("the header is damaged: unknown flags")
        stride, positions = self.network.stride, self.network.stride // self.network.latent_stride
        rows, columns = (math.ceil(n / stride) * positions for n in (header.height, header.width))
        symbols = self.coder.at(header.quality).decode(stream.sections, rows, columns)
        stream.verify(symbols)
        return header, symbols

    @torch.inference_mode()
    def synthesise(self, header: Header, symbols: Symbols) -> Image:
        """The picture of decoded symbols."""
        y = self.coder.at(header.quality).latent(symbols)
        with single_thread():
            quality = self._quality(header.quality)
            x = self._transform(lambda y: self.network.synthesise(y, quality), y)
        return to_image(x, header.height, header.width)

    def decode(self, data: bytes) -> Image:
        return self.synthesise(*self.decode_symbols(data))

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Bytes of the sections and those of their entropy; for streams made here by refining,
        what that has changed."""
        stream = self.unpack(data, len(self.sections))
        sizes = dict(zip(self.sections, map(len, stream.sections), strict=True))
        if self.refines:  # the latent is another one than the picture's own
            return {"bytes": sizes, **self.remembered(data)}
        coded = self._coded
        analysis = coded if coded and coded.image is image else self.analyse(image)
        entropy = self.entropy_bytes(analysis, stream.header.quality)
        return {"bytes": sizes, "entropy_bytes": round(entropy, 1)}


class CentreTransformModel(TransformModel):
    """A transform network whose latents are no integers (`codecs.learned.coders.centres`), and so
    cannot be refined."""

    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {"transforms": tuple(PRECISIONS)}
