"""JPEG, JPEG 2000, WebP, AVIF and PNG by the libraries inside Pillow."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image as PillowImage
from PIL import ImageFile, features

from codecs import fingerprint
from codecs.base import (
    MAX_PIXELS,
    BitstreamError,
    Codec,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    check_image,
)
from codecs.ladder import integer, ladder, number
from codecs.naming import UnknownCodec, variants_of

STEP = 0.004
"""Between two ratios that are tried, in their logarithm."""


@dataclass(frozen=True, slots=True)
class Format:
    """How one format is written: what differs between the codecs of this module."""

    name: str
    label: str
    pillow: str
    """Pillow's name of the format."""
    feature: str
    """Pillow's name of the library."""
    library: str
    """The library's own name."""
    files: tuple[str, ...]
    """What it is made of: beginnings of names of Pillow's own modules and of its libraries."""
    points: tuple[Point, ...]
    """Their parameter is an argument of Pillow's `save`, but for `ratio`."""
    limits: tuple[float, float]
    """Smallest and largest value of the parameter."""
    longest_side: int
    """Pixels that encoder and decoder take."""
    seconds_per_pixel: float
    settings: Mapping[str, str]
    """For the report."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of Pillow's `save`, the same at all points."""

    @property
    def parameter(self) -> str:
        return self.points[0].parameter

    def choices(self) -> tuple[Point, ...]:
        """All that a file of some size may be coded with, low rate to high."""
        low, high = self.limits
        if self.parameter == "ratio":
            count = math.ceil(math.log(high / low) / STEP)
            ratios = [float(f"{high * math.exp(-STEP * i):.4g}") for i in range(count)]
            return ladder("ratio", (*ratios, low))
        return ladder(self.parameter, range(int(low), int(high) + 1))


@functools.cache
def _digest(files: tuple[str, ...]) -> str:
    """Of the compiled code behind a format: versions stay the same when a library is rebuilt.

    Wheels keep their libraries beside the package; a Pillow that links the system's has none.
    """
    package = Path(PIL.__file__).parent
    folders = (package, package.parent / "pillow.libs")
    return fingerprint.together(
        p for d in folders for name in files for p in d.glob(f"{name}*.so*")
    )


@contextlib.contextmanager
def roomy(samples: int) -> Iterator[None]:
    """Room for any file of so many samples: libjpeg cannot make tables of a picture's own unless
    the whole of it fits Pillow's buffer, which is otherwise a byte for each pixel."""
    before = ImageFile.MAXBLOCK
    ImageFile.MAXBLOCK = max(before, 2 * samples)
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = before


class PillowCodec(Codec):
    """A format that Pillow reads and writes."""

    def __init__(self, form: Format) -> None:
        version = features.version(form.feature) if features.check(form.feature) else None
        if version is None:
            raise CodecUnavailable(
                f"{form.name}: this Pillow has no {form.library}; "
                "install the wheel of Pillow >= 11.3"
            )
        self._form = form
        self.name, self.label, self.points = form.name, form.label, form.points
        digest = _digest(form.files)
        self.version = f"Pillow {PIL.__version__}, {form.library} {version} ({digest})"
        self.settings = form.settings
        if len(form.points) > 1:
            self.choices = form.choices()

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        form = self._form
        if max(image.shape) > form.longest_side:
            raise EncodeError(
                f"{form.name} takes at most {form.longest_side} pixels a side, "
                f"got {image.shape[1]} x {image.shape[0]}"
            )
        options = self._options(point)
        out = io.BytesIO()
        try:
            # Only for JPEG: PNG's chunks are as long as the buffer.
            with roomy(image.size if form.pillow == "JPEG" else 0):
                PillowImage.fromarray(image).save(out, form.pillow, **options)
        except Exception as error:
            # Each library has its own ways to fail.
            raise EncodeError(f"{form.library} failed: {error}") from error
        return out.getvalue()

    def decode(self, data: bytes) -> Image:
        form = self._form
        try:
            # Pillow warns of large pictures below our own limit.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                opened = PillowImage.open(io.BytesIO(data), formats=[form.pillow])
            with opened as picture:
                width, height = picture.size
                if not 0 < width * height <= MAX_PIXELS or picture.mode != "RGB":
                    raise BitstreamError(
                        f"the header promises {width} x {height} pixels of {picture.mode}"
                    )
                image = np.array(picture)
        except BitstreamError:
            raise
        except Exception as error:
            # Damaged data raises about everything: OSError, SyntaxError, struct.error ...
            raise BitstreamError(f"not decodable as {form.name}: {error}") from error
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise BitstreamError(f"decoded to {image.dtype}{list(image.shape)}")
        return image

    def command(self, point: Point) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self._options(point).items())
        return f"PIL.Image.save('out', {self._form.pillow!r}, {options})"

    def seconds(self, pixels: int, point: Point) -> float:
        return 0.01 + pixels * self._form.seconds_per_pixel

    def _options(self, point: Point) -> dict[str, Any]:
        form = self._form
        low, high = form.limits
        value: int | float
        if form.parameter == "ratio":
            value = number(point, "ratio", low, high)
            return {**form.options, "quality_layers": [value]}
        value = integer(point, form.parameter, int(low), int(high))
        return {**form.options, form.parameter: value}


def jpeg(variant: str | None = None) -> Codec:
    """`jpeg` (4:2:0, standard Huffman tables, as CompressAI's published curve), `jpeg:444`,
    `jpeg:optimised` (Huffman tables of the picture's own)."""
    parts = variants_of("jpeg", variant, ("420", "444", "optimised"))
    if {"420", "444"} <= parts:
        raise UnknownCodec("jpeg takes one chroma format")
    chroma = "4:4:4" if "444" in parts else "4:2:0"
    tables = "of the picture's own" if "optimised" in parts else "standard"
    return PillowCodec(
        Format(
            name=_name("jpeg", parts, ("444", "optimised")),
            label=f"JPEG {chroma}" + (", optimised tables" if "optimised" in parts else ""),
            pillow="JPEG",
            feature="libjpeg_turbo",
            library="libjpeg-turbo",
            files=("_imaging.", "libjpeg-"),
            points=ladder("quality", (5, 10, 20, 35, 60, 80)),
            limits=(1, 100),
            longest_side=65500,
            seconds_per_pixel=3e-8,
            settings={"chroma": chroma, "Huffman tables": tables, "mode": "baseline"},
            options={
                "subsampling": chroma,
                "optimize": "optimised" in parts,
            },
        )
    )


def jpeg2000(variant: str | None = None) -> Codec:
    """`jpeg2000`: 9/7 wavelet, one quality layer at a compression ratio, bare codestream."""
    variants_of("jpeg2000", variant, ())
    return PillowCodec(
        Format(
            name="jpeg2000",
            label="JPEG 2000 (OpenJPEG)",
            pillow="JPEG2000",
            feature="jpg_2000",
            library="OpenJPEG",
            files=("_imaging.", "libopenjp2-"),
            points=ladder("ratio", (480, 240, 120, 60, 32, 16)),
            limits=(1, 10000),
            longest_side=65535,
            seconds_per_pixel=2.5e-7,
            settings={
                "wavelet": "9/7, irreversible",
                "colour": "irreversible component transform",
                "container": "none (bare codestream)",
                "rate control": "24 bits a pixel divided by ratio",
            },
            options={
                "quality_mode": "rates",
                "irreversible": True,
                "mct": 1,
                "no_jp2": True,
            },
        )
    )


def webp(variant: str | None = None) -> Codec:
    """`webp`: lossy, method 6 (the slowest).  Pillow does not offer sharp down-sampling.

    `webp:lossless` is another coder, whose quality is how hard it tries.
    """
    lossless = "lossless" in variants_of("webp", variant, ("lossless",))
    settings = {"mode": "lossy", "method": "6", "chroma": "4:2:0"}
    return PillowCodec(
        Format(
            name="webp:lossless" if lossless else "webp",
            label="WebP, lossless" if lossless else "WebP",
            pillow="WEBP",
            feature="webp",
            library="libwebp",
            files=("_webp.", "libwebp", "libsharpyuv-"),
            points=ladder("quality", (100,) if lossless else (0, 1, 4, 15, 45, 70, 85)),
            limits=(0, 100),
            longest_side=16383,
            seconds_per_pixel=3e-5 if lossless else 2e-7,
            settings={"mode": "lossless", "method": "6"} if lossless else settings,
            options={"method": 6, **({"lossless": True} if lossless else {})},
        )
    )


def png(variant: str | None = None) -> Codec:
    """`png`: without loss, the highest level of zlib, filters as libpng's heuristic has them."""
    variants_of("png", variant, ())
    return PillowCodec(
        Format(
            name="png",
            label="PNG",
            pillow="PNG",
            feature="zlib",
            library="zlib",
            files=("_imaging.",),
            points=ladder("compress_level", (9,)),
            limits=(0, 9),
            longest_side=(1 << 31) - 1,
            seconds_per_pixel=1e-6,
            settings={"mode": "lossless", "filters": "adaptive"},
        )
    )


AVIF_TUNES = ("psnr", "ssim", "iq")
AVIF_SPEEDS = {"speed-2": 2, "speed-4": 4, "speed-6": 6}
AVIF_DEFAULTS = ("444", "speed-6", "psnr")


def avif(variant: str | None = None) -> Codec:
    """`avif`: libaom, one thread, 4:4:4, speed 6, tune psnr.

    Variants: `420`, a slower speed (`speed-4`, `speed-2`), another tune (`ssim`; `iq`, which is
    libavif's own default and made for viewers, not for PSNR).
    """
    known = ("420", "444", *AVIF_SPEEDS, *AVIF_TUNES)
    parts = variants_of("avif", variant, known)
    if any(len(parts & set(kind)) > 1 for kind in (("420", "444"), AVIF_SPEEDS, AVIF_TUNES)):
        raise UnknownCodec("avif takes one chroma format, one speed and one tune")
    chroma = "4:2:0" if "420" in parts else "4:4:4"
    speed = next((AVIF_SPEEDS[part] for part in AVIF_SPEEDS if part in parts), 6)
    tune = next((part for part in AVIF_TUNES if part in parts), "psnr")
    return PillowCodec(
        Format(
            name=_name("avif", parts - set(AVIF_DEFAULTS), known),
            label=f"AVIF {chroma} (libaom, speed {speed}, tune {tune})",
            pillow="AVIF",
            feature="avif",
            library="libavif",
            files=("_avif.", "libavif-"),
            points=ladder("quality", (0, 4, 12, 24, 38, 52, 68)),
            limits=(0, 99),
            longest_side=32768,
            seconds_per_pixel={6: 8e-7, 4: 4e-6, 2: 1.2e-5}[speed],
            settings={
                "encoder": "libaom",
                "speed": str(speed),
                "tune": tune,
                "threads": "1",
                "chroma": chroma,
                "range": "full, 8 bit",
            },
            options={
                "codec": "aom",
                "speed": speed,
                "max_threads": 1,
                "autotiling": False,
                "subsampling": chroma,
                "range": "full",
                "advanced": {"tune": tune},
            },
        )
    )


def _name(codec: str, parts: frozenset[str], order: tuple[str, ...]) -> str:
    return ":".join([codec, *(part for part in order if part in parts)])
