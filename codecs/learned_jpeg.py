"""JPEG with learned tables and pre-editing: any JPEG decoder opens the file.

Strümpler, Yang, Timofte, "Learning to improve image compression without changing the standard
decoder", ECCV workshops 2020.  What a JPEG encoder may choose freely is learned: its tables of
quantisation steps q, and an attention map m by which each coefficient is multiplied beforehand.

    x ── Y'CbCr ── DCT 8x8 ──> c ───────────────── · m ──> 8-bit picture ── JPEG, steps q ──> file
                               │                   ↑
                     log(1 + |c| / q) ── attention ┘       x̂ of training: c' = q · round(c·m / q)

Shapes for a picture of H x W pixels, both multiples of 8:

    c   3·64 x H/8 x W/8    coefficients of the orthonormal DCT, of samples less 128
    m   2·64 x H/8 x W/8    0 to 2, of luma and of both chroma planes; 1 for the mean of a block
    q   2 x 64              whole numbers, 1 to 255, for each quality

Rounding is differentiated as its continuous surrogate round(z) + 4·(z - round(z))³, the paper's
scaled so that it has no jumps.  Bits are estimated as the entropy of two-sided geometric
distributions, one for each frequency of each plane of a picture: with P(k) ∝ θ^|k| and the mean
a of |k|,

    θ = a / (1 + √(1 + a²)),   H = log2((1 + θ) / (1 - θ)) - a·log2(θ)   bits a coefficient

times `HUFFMAN`, which brings them to real files.

Differences from the paper: the map is computed from the coefficients in units of their steps, not
by VGG19 (it then knows the quality), and may strengthen as well as weaken; one network serves all
rates, with tables between the anchors' by geometric interpolation, and training begins with the
standard's tables; the rate is an estimate of bits, where the paper has a mean of m and of 1/q;
LPIPS is SqueezeNet's.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor, nn
from torch.nn import functional

from codecs import pillow
from codecs.base import BitstreamError, EncodeError, Image, Trials
from codecs.learned.bands import in_bands, single_thread
from codecs.learned.codec import LearnedCodec, Model, Variant
from codecs.learned.gains import LAMBDAS
from codecs.learned.initialisation import scaled
from codecs.learned.network import CodecNetwork, ForwardOutput, purpose
from codecs.learned.pixels import pad, to_tensor
from codecs.learned.weights import Weights

BLOCK = 8
HUFFMAN = 0.73
"""Bits of files over the estimate: least squares of 96 files of eight validation photographs, 0.13
to 2.2 bpp.  JPEG's codes know where blocks are flat, a distribution for a frequency does not."""
LONGEST_SIDE = 65500
"""Of libjpeg."""
_FIRST_SCALES = (8.0, 0.4)
"""Of the standard's tables, from which training begins, at the lowest and the highest quality."""
_LARGEST = 250.0
"""Of the steps at the start: those above 255 have no derivative."""
_FAINT = 1e-3
"""Means of |k| below this cost what it costs: the derivative is infinite at 0."""


class LearnedJpeg(CodecNetwork):
    """N channels in the attention network's hidden layers."""

    architecture = "learned-jpeg"
    magic = b"\xff\xd8"  # of every JPEG file
    stride = BLOCK
    transforms = ("attention",)
    distortion = "lpips"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"compact": {"N": 64}}
    basis: Tensor
    to_ycc: Tensor

    def __init__(
        self,
        N: int = 64,
        objective: Mapping[str, float] | None = None,
        qualities: int = 0,
        lambdas: Sequence[float] = LAMBDAS,
    ) -> None:
        super().__init__()
        self.config = {"N": N, **purpose(objective, qualities, lambdas)}
        coarse, fine = map(math.log, _FIRST_SCALES)
        scales = torch.linspace(coarse, fine, qualities) if qualities else torch.zeros(1)
        steps = scales[:, None] + torch.tensor(_standard_tables()).log()
        self.log_steps = nn.Parameter(steps.clamp(0, math.log(_LARGEST)))
        self.attention = nn.Sequential(
            *(nn.Conv2d(3 * BLOCK**2, N, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(N, N, 3, padding=1), nn.ReLU()),
            nn.Conv2d(N, 2 * BLOCK**2, 1),
        )
        with torch.no_grad():
            scaled(self.attention[-1], 0.1).zero_()  # plain JPEG at first
        self.register_buffer("basis", dct_basis(), persistent=False)
        self.register_buffer("to_ycc", _rgb_to_ycc(), persistent=False)

    @classmethod
    def sized(
        cls, width: int, latents: Sequence[int] = (), backbone: str = "", **changes: Any
    ) -> Self:
        """See `CodecNetwork`."""
        if latents:
            raise ValueError("learned-jpeg has the coefficients of the DCT for latents")
        return cls(N=width, **changes)

    def steps(self, quality: Tensor | None) -> Tensor:
        """The tables of each quality [B], or the only ones, as whole numbers: [B, 2, 64, 1, 1];
        frequencies row by row, luma first."""
        logarithms: Tensor = self.log_steps
        if quality is not None:
            below = quality.floor().clamp(0, self.qualities - 2).long()
            t = (quality.float() - below)[:, None]
            logarithms = torch.lerp(logarithms[below], logarithms[below + 1], t)
        steps = logarithms.exp().clamp(1, 255)
        steps = steps + (steps.round() - steps).detach()
        return steps.view(-1, 2, BLOCK**2, 1, 1)

    def coefficients(self, x: Tensor) -> Tensor:
        """c [B, 3, 64, h, w] of pictures x [B, 3, 8h, 8w] in 0...1."""
        planes = 255 * torch.einsum("ij,bjhw->bihw", self.to_ycc, x)
        planes = planes - planes.new_tensor([128.0, 0.0, 0.0])[:, None, None]
        blocks = functional.conv2d(planes.flatten(0, 1)[:, None], self.basis, stride=BLOCK)
        return blocks.unflatten(0, (-1, 3))

    def samples(self, c: Tensor) -> Tensor:
        """Y'CbCr [B, 3, 8h, 8w] in 0...255 of coefficients, not clamped."""
        planes = functional.conv_transpose2d(c.flatten(0, 1), self.basis, stride=BLOCK)
        return planes.unflatten(0, (-1, 3))[:, :, 0] + 128

    def edited(self, c: Tensor, steps: Tensor) -> Tensor:
        """c·m [B, 3, 64, h, w], for tables [B or 1, 2, 64, 1, 1]."""
        relative = torch.log1p(c.abs() / _of_planes(steps)).flatten(1, 2)
        logits = self.attention(relative).float().unflatten(1, (2, -1))
        logits = torch.cat([torch.zeros_like(logits[:, :, :1]), logits[:, :, 1:]], 2)
        return c * _of_planes(2 * logits.sigmoid())

    def pre_edited(self, x: Tensor, steps: Tensor) -> Tensor:
        """Y'CbCr [B, 3, H, W] in 0...255, not rounded: what an encoder with these tables is given
        for pictures x."""
        return self.samples(self.edited(self.coefficients(x), steps))

    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """See `CodecNetwork`; nothing is random in it."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        self.check_quality(quality)
        steps = self.steps(quality)
        q = _of_planes(steps)
        k = surrogate_round(self.edited(self.coefficients(x), steps) / q)
        samples = self.samples(k * q) - k.new_tensor([0.0, 128.0, 128.0])[:, None, None]
        x_hat = torch.einsum("ij,bjhw->bihw", self.to_ycc.inverse(), samples / 255)
        bits = HUFFMAN * geometric_bits(k)
        return ForwardOutput(x_hat, {"luma": bits[:, 0], "chroma": bits[:, 1:].sum(1)})

    def tables(self) -> dict[str, Any]:
        """None: what decoders need is in each file."""
        return {}


def surrogate_round(z: Tensor) -> Tensor:
    """z rounded, with the derivative of round(z) + 4·(z - round(z))³."""
    whole = z.round().detach()
    smooth = whole + 4 * (z - whole) ** 3
    return smooth + (whole - smooth).detach()


def geometric_bits(k: Tensor) -> Tensor:
    """Entropy [B, 3] of whole numbers k [B, 3, 64, h, w], see the module."""
    mean = k.abs().mean((3, 4)).clamp_min(_FAINT)
    theta = mean / (1 + torch.sqrt(1 + mean.square()))
    entropy = torch.log2((1 + theta) / (1 - theta)) - mean * torch.log2(theta)
    return entropy.sum(2) * (k.shape[3] * k.shape[4])


def dct_basis() -> Tensor:
    """[64, 1, 8, 8]: the orthonormal cosines of each frequency, row by row."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    rows = torch.cos((2 * n + 1) * n[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return torch.einsum("uy,vx->uvyx", rows, rows).reshape(-1, 1, BLOCK, BLOCK).float()


def _standard_tables() -> list[float]:
    """Annex K of ITU-T T.81, luma and chroma, row by row: what libjpeg has at quality 50."""
    out = io.BytesIO()
    PillowImage.new("YCbCr", (8, 8)).save(out, "JPEG", quality=50)
    found = PillowImage.open(out, formats=["JPEG"]).quantization  # type: ignore[attr-defined]
    return [float(step) for table in (0, 1) for step in found[table]]


def _rgb_to_ycc() -> Tensor:
    """JFIF's matrix, BT.601 at full range, without the offsets of chroma."""
    kr, kb = 0.299, 0.114
    luma = torch.tensor([kr, 1 - kr - kb, kb], dtype=torch.float64)
    blue = (torch.tensor([0.0, 0.0, 1.0]) - luma) / (2 * (1 - kb))
    red = (torch.tensor([1.0, 0.0, 0.0]) - luma) / (2 * (1 - kr))
    return torch.stack([luma, blue, red]).float()


def _of_planes(values: Tensor) -> Tensor:
    """[B, 2, ...], of luma and chroma, as [B, 3, ...], of Y', Cb and Cr."""
    return values[:, [0, 1, 1]]


class LearnedJpegModel(Model):
    """Its streams are JPEG files: nothing of this project is needed to decode them."""

    network: LearnedJpeg

    def __init__(
        self, network: CodecNetwork, loaded: Weights, device: torch.device, variant: Variant
    ) -> None:
        super().__init__(network, loaded, device, variant)
        self.jpeg = pillow.jpeg("444:optimised")

    def analyse(self, image: Image) -> Image:
        return image

    def size(self, analysis: Image, quality: float | None) -> float:
        """Of the file itself, which is soon made."""
        return len(self.code(analysis, quality))

    def code(self, analysis: Image, quality: float | None) -> bytes:
        height, width = analysis.shape[:2]
        if max(height, width) > LONGEST_SIDE:
            raise EncodeError(
                f"JPEG takes at most {LONGEST_SIDE} pixels a side, got {width} x {height}"
            )
        planes, tables = self.edit(analysis, quality)
        out = io.BytesIO()
        picture = PillowImage.frombytes("YCbCr", (width, height), planes.tobytes())
        with pillow.roomy(planes.size):
            picture.save(out, "JPEG", qtables=tables.tolist(), subsampling="4:4:4", optimize=True)
        return out.getvalue()

    @torch.inference_mode()
    def edit(
        self, image: Image, quality: float | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """What JPEG is given: the edited picture in Y'CbCr [H, W, 3], and the tables [2, 64].

        On one thread, so that one machine always writes the same file. Another's floats may round
        a sample or a step differently, which changes what is encoded, not how it is decoded.
        """
        network = self.network
        with single_thread():
            q = None if quality is None else torch.tensor([quality], device=self.device)
            steps = network.steps(q)
            x = pad(to_tensor(image, self.device), BLOCK)
            edited = in_bands(lambda x: network.pre_edited(x, steps), x, BLOCK, BLOCK, halo=2)
        planes = edited[0].clamp(0, 255).round().to("cpu", torch.uint8).permute(1, 2, 0)
        planes = planes[: image.shape[0], : image.shape[1]]
        return planes.contiguous().numpy(), steps.long().view(2, -1).cpu().numpy()

    def decode(self, data: bytes) -> Image:
        return self.jpeg.decode(data)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Bytes before the first coefficient, of which 138 are tables of steps, and the rest."""
        head = scan_start(data)
        return {"bytes": {"header and tables": head, "coefficients": len(data) - head}}

    @classmethod
    def labelled(cls, label: str, variant: Variant) -> str:
        return label

    @classmethod
    def seconds(cls, pixels: int, variant: Variant) -> float:
        return 0.1 + pixels * 3e-6


def scan_start(data: bytes) -> int:
    """Where the coefficients of a JPEG file begin, which is behind its first SOS segment.

    Raises `BitstreamError`.
    """
    at = 2
    while len(data) >= at + 4 and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        at += 2 + length
        if marker == 0xDA:
            return at
    raise BitstreamError("no JPEG file: it has no scan")


class LearnedJpegCodec(LearnedCodec):
    """The adapter, for streams that do not say which weights made them."""

    estimates = False

    def __init__(self, variant: str | None = None) -> None:
        super().__init__(
            "learned-jpeg", "Learned JPEG (Strümpler 2020)", LearnedJpeg, LearnedJpegModel, variant
        )
        self._first, _ = self.place(self.points[0])
        assert isinstance(self._first, LearnedJpegModel)
        self.version += f", {self._first.jpeg.version}"
        self.settings = {
            **{name: text for name, text in self.settings.items() if name != "entropy path"},
            **self._first.jpeg.settings,
            "entropy path": "JPEG's Huffman codes",
        }

    def trials(self, image: Image) -> Trials:
        return Trials(self, image)

    def _made_with(self, data: bytes) -> Model:
        """Any: all decode alike."""
        return self._first


def create(variant: str | None = None) -> LearnedJpegCodec:
    """The codec `learned-jpeg`."""
    return LearnedJpegCodec(variant)
