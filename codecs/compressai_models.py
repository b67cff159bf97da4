"""CompressAI's models as codecs, with its weights or with one's own: `compressai:mbt2018`,
`compressai:cheng2020-attn`, `compressai:mbt2018@./ckpt-{value}.pth` ...

Pictures become bytes through CompressAI's own `compress` and `decompress`.  As in its evaluation
(`compressai.utils.eval_model`), a picture is centred in a black frame whose sides are multiples of
64 and cut out again after decoding.

A stream is the container of `codecs.learned.bitstream`: `flags` is the place of the point in the
ladder, from 1 (the quality of CompressAI's own weights), `model` begins the SHA-256 of the
network's state, the sections are CompressAI's strings (y; then z where there is a hyperprior), and
the checksum covers header and sections.  It catches damage, but not a decoder whose floating-point
sums differ from the encoder's: CompressAI's probabilities depend on them, so both sides run on one
thread, and on the same kind of device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from codecs import checkpoints, fingerprint
from codecs import compressai_zoo as zoo
from codecs.base import MAX_PIXELS, BitstreamError, Codec, EncodeError, Image, Point, check_image
from codecs.device import chosen
from codecs.ladder import expected, ladder
from codecs.learned import bitstream
from codecs.learned.bands import single_thread
from codecs.learned.bitstream import BLOCK, Header
from codecs.naming import UnknownCodec, variants_of

MAGIC = b"CA"
VERSION = 1
QUALITIES = {
    "mbt2018": 8,
    "mbt2018-mean": 8,
    "bmshj2018-hyperprior": 8,
    "bmshj2018-factorized": 8,
    "cheng2020-anchor": 6,
    "cheng2020-attn": 6,
}
"""Architecture -> number of operating points: qualities 1 (lowest rate) to this."""
ARCHITECTURES = (*QUALITIES, "bmshj2018-factorized-relu")
"""What one's own weights may be of; there are none of CompressAI's for the last."""
MS_SSIM = "ms-ssim"
_STRIDE = 16
_AUTOREGRESSIVE = ("mbt2018", "cheng2020-anchor", "cheng2020-attn")


Loader = Callable[[int], Any]
"""Makes the network of a place in the ladder, from 1, in evaluation mode."""


class CompressAICodec(Codec):
    """The adapter of one architecture; networks are loaded when their point is first used."""

    def __init__(
        self,
        architecture: str,
        metric: str,
        loader: Loader,
        weights: str,
        points: tuple[Point, ...] = (),
        own: str = "",
    ) -> None:
        """`weights` names them in the version; `points` and `own`, a name, are given with weights
        that are not CompressAI's."""
        self.architecture = architecture
        self.name = f"compressai:{architecture}" + (f":{MS_SSIM}" if metric == MS_SSIM else "")
        self.label = f"CompressAI {architecture}" + (", MS-SSIM" if metric == MS_SSIM else "")
        if own:
            self.name, self.label = f"{self.name}:{own}", f"{self.label}, weights {own}"
        self.version = (
            f"stream {VERSION}, compressai {zoo.version()}, weights {weights}, "
            f"torch {torch.__version__}"
        )
        self.points = points or ladder("quality", range(1, QUALITIES[architecture] + 1))
        self.settings = {
            "trained for": metric if not own or metric == MS_SSIM else "not said",
            "padding": "centred, black, to multiples of 64",
        }
        self.tuned_for = (metric,) if metric == MS_SSIM else ()
        self.device = chosen()
        self._loader = loader
        self._loaded: dict[int, tuple[Any, bytes]] = {}

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        if point not in self.points:
            known = expected(self.points)
            raise EncodeError(f"{self.name} has no weights for {point.label}: {known}")
        place = 1 + self.points.index(point)
        height, width, _ = image.shape
        if height * width > MAX_PIXELS:
            raise EncodeError(f"the picture has more than {MAX_PIXELS} pixels")
        model, digest = self._model(place)
        left, right, top, bottom = _frame(height, width)
        x = torch.from_numpy(image.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        with single_thread(), torch.inference_mode():
            coded = model.compress(functional.pad(x, (left, right, top, bottom)))
        sections = [strings[0] for strings in coded["strings"]]
        header = Header(MAGIC, VERSION, digest, place, height, width)
        return bitstream.pack(header, sections, _for_checksum(sections))

    def decode(self, data: bytes) -> Image:
        header, _ = bitstream.read_header(data, MAGIC, VERSION)
        if not 1 <= header.flags <= len(self.points):
            raise BitstreamError(f"{self.name} has no point number {header.flags}")
        stream = bitstream.unpack(data, MAGIC, VERSION, self._sections())
        # Before weights are loaded for it, and before CompressAI's decoder, which trusts its input.
        stream.verify(_for_checksum(stream.sections))
        model, digest = self._model(header.flags)
        bitstream.check_model(header, digest, f"{self.name}, point {header.flags}")
        blocks = -(-header.height // BLOCK), -(-header.width // BLOCK)
        side = BLOCK // _STRIDE if self._sections() == 1 else 1
        shape = torch.Size((blocks[0] * side, blocks[1] * side))
        symbols = bitstream.blocks(header.height, header.width) * (BLOCK // _STRIDE) ** 2 * model.M
        try:
            with single_thread(), torch.inference_mode():
                strings = [[_guarded(part, symbols)] for part in stream.sections]
                x = model.decompress(strings=strings, shape=shape)["x_hat"]
        except Exception as error:
            raise BitstreamError(f"CompressAI cannot decode this: {error}") from error
        return _picture(x.cpu(), header)

    def seconds(self, pixels: int, point: Point) -> float:
        return 0.5 + pixels * (6e-5 if self.architecture in _AUTOREGRESSIVE else 4e-6)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """Bytes of the sections."""
        stream = bitstream.unpack(data, MAGIC, VERSION, self._sections())
        return {
            "bytes": {name: len(part) for name, part in zip("yz", stream.sections, strict=False)}
        }

    def _sections(self) -> int:
        return 1 if self.architecture.startswith("bmshj2018-factorized") else 2

    def _model(self, place: int) -> tuple[Any, bytes]:
        """The network and the first bytes of its digest."""
        if place not in self._loaded:
            model = self._loader(place)
            model.update()  # keeps stored tables, makes missing ones
            digest = state_digest(model.state_dict())[: bitstream.MODEL_BYTES]
            self._loaded[place] = model.to(self.device), digest
        return self._loaded[place]


def state_digest(state: Mapping[str, Tensor]) -> bytes:
    """SHA-256 of all parameters and tables, in the order of their names."""
    sha = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.numpy().tobytes())
    return sha.digest()


def create(variant: str | None = None) -> CompressAICodec:
    """`compressai:ARCHITECTURE[:ms-ssim]`; `mbt2018` where none is named.

    Raises `CodecUnavailable` without the package, or where weights cannot be downloaded: all files
    of the ladder are fetched here, so that a run does not stop half-way.
    """
    architecture, metric = _chosen(variant)
    if architecture not in QUALITIES:
        raise UnknownCodec(
            f"CompressAI has no weights of {architecture}: name yours, as in "
            f"compressai:{architecture}@./ckpt-{{value}}.pth"
        )
    files = {q: zoo.fetch(url) for q, url in zoo.urls(architecture, metric).items()}
    weights = " ".join(_digits(files[quality]) for quality in sorted(files))

    def load(quality: int) -> Any:
        return zoo.load(architecture, files[quality])

    return CompressAICodec(architecture, metric, load, weights)


def from_files(variant: str | None, pattern: str) -> CompressAICodec:
    """`compressai:ARCHITECTURE[:ms-ssim]@PATTERN`: the files that fit (`codecs.checkpoints`), each
    a state dict of that architecture, of any width, or the checkpoint of a training that holds one.

    Raises `UnknownCodec` where there are none, `CodecUnavailable` without the package, or for files
    of something else: the first is loaded here.
    """
    architecture, metric = _chosen(variant)
    files = checkpoints.found(pattern)
    paths = list(files.values())
    codec = CompressAICodec(
        architecture,
        metric,
        lambda place: zoo.load(architecture, paths[place - 1]),
        "see their digests",
        points=tuple(files),
        own=checkpoints.short_name(pattern),
    )
    codec.settings = {**codec.settings, fingerprint.SETTING: fingerprint.described(paths)}
    codec._model(1)
    return codec


def _chosen(variant: str | None) -> tuple[str, str]:
    """Architecture and metric."""
    parts = variants_of("compressai", variant, (*ARCHITECTURES, MS_SSIM))
    named = sorted(parts - {MS_SSIM}) or ["mbt2018"]
    if len(named) > 1:
        raise UnknownCodec(f"compressai:{variant} names two models: it takes one")
    return named[0], MS_SSIM if MS_SSIM in parts else "mse"


def _digits(path: Path) -> str:
    """The digits of the SHA-256 in a file's name, four of them."""
    return path.name.partition(".")[0].rpartition("-")[2][:4]


def _frame(height: int, width: int) -> tuple[int, int, int, int]:
    """Rows and columns around a picture: left, right, top, bottom (`compute_padding` there)."""
    across, down = -width % BLOCK, -height % BLOCK
    return across // 2, across - across // 2, down // 2, down - down // 2


def _picture(x: Tensor, header: Header) -> Image:
    left, _, top, _ = _frame(header.height, header.width)
    x = x[0, :, top : top + header.height, left : left + header.width]
    pixels = x.clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _guarded(section: bytes, symbols: int) -> bytes:
    """The string with zeros behind it.

    CompressAI's rANS decoder does not know where its string ends.  A symbol takes at most 16 bits,
    or some 32 more as an escape; an escape's length, up to 15 further nibbles for each nibble of
    the string, is told by the string itself.
    """
    return section + bytes(16 * symbols + 128 * len(section) + 4096)


def _for_checksum(sections: Sequence[bytes]) -> list[NDArray[np.uint8]]:
    return [np.frombuffer(section, np.uint8) for section in sections]
