"""VVC by VVenC: one intra picture, 4:2:0 10 bit, decoded by FFmpeg's own VVC decoder.

Encoder: libvvenc inside FFmpeg, or the program vvencapp when the variant `vvencapp` is named or
the environment variable VVENCAPP holds its path.  With equal settings both write equal bytes.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from codecs import colour, ffmpeg, fingerprint, framing, process
from codecs.base import (
    BitstreamError,
    Codec,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    check_image,
)
from codecs.ladder import integer, ladder
from codecs.naming import UnknownCodec, variants_of

BITS = 10
MATRIX = colour.BT709
PIXEL_FORMAT = "yuv420p10le"
SMALLEST = 32
"""FFmpeg reserves one byte a pixel for libvvenc's output: too little for a tiny picture's headers
(8x8 fails, 18x6 works), so smaller sides are padded up to this."""
LARGEST = 25328
"""Pixels of a side that FFmpeg's decoder takes; the encoder takes more."""
PRESETS = ("faster", "fast", "medium", "slow", "slower")
CHROMA_OFFSETS = ("chroma-3", "chroma-6")
VARIANTS = (*PRESETS, "qpa", *CHROMA_OFFSETS, "vvencapp")

# CPU seconds of one core for 768x512 pixels: a mean over Kodak with preset slower, and the time
# of the other presets relative to it (on one picture at QP 37).
_SECONDS = {22: 60.0, 27: 48.0, 32: 34.0, 37: 24.0, 42: 15.0, 47: 8.0, 52: 3.0, 57: 1.3}
_RELATIVE = {"slower": 1.0, "slow": 0.5, "medium": 1 / 7, "fast": 1 / 25, "faster": 1 / 100}


@dataclass(frozen=True, slots=True)
class VvcSettings:
    """What the variants choose."""

    preset: str = "slower"
    qpa: bool = False
    chroma_qp_offset: int = 0
    app: bool = False

    @property
    def name(self) -> str:
        """The name with its variants in one fixed order, so that one codec has one name."""
        parts = ["vvenc"]
        parts += [self.preset] if self.preset != "slower" else []
        parts += ["qpa"] if self.qpa else []
        parts += [f"chroma{self.chroma_qp_offset}"] if self.chroma_qp_offset else []
        parts += ["vvencapp"] if self.app else []
        return ":".join(parts)


def codec(variant: str | None = None) -> Codec:
    """`vvenc` with any of `VARIANTS` joined by colons: `vvenc:medium:qpa`."""
    parts = variants_of("vvenc", variant, VARIANTS)
    preset = _at_most_one(parts, PRESETS, "slower")
    offset = _at_most_one(parts, CHROMA_OFFSETS, "chroma0")
    return Vvenc(
        VvcSettings(preset, "qpa" in parts, int(offset.removeprefix("chroma")), "vvencapp" in parts)
    )


def _at_most_one(parts: frozenset[str], choices: tuple[str, ...], default: str) -> str:
    chosen = sorted(parts.intersection(choices))
    if len(chosen) > 1:
        raise UnknownCodec(f"vvenc takes one of {' and '.join(chosen)}, not both")
    return chosen[0] if chosen else default


class Vvenc(Codec):
    """VVenC; see the module."""

    warm_up = False
    points = ladder("qp", range(57, 21, -5))
    choices = ladder("qp", range(63, -1, -1))

    def __init__(self, settings: VvcSettings) -> None:
        self._settings = settings
        self._app = vvencapp() if settings.app or os.environ.get("VVENCAPP") else None
        if self._app:
            encoder = f"{self._app.version} ({fingerprint.program(self._app.path)})"
        else:
            encoder = ffmpeg.encoder_version("libvvenc")
        self.name = settings.name
        self.label = " ".join(
            ["VVenC", settings.preset]
            + (["QPA"] if settings.qpa else [])
            + ([f"chroma QP {settings.chroma_qp_offset:+d}"] if settings.chroma_qp_offset else [])
        )
        self.label += ", 4:2:0 10 bit"
        self.version = f"{encoder}; {ffmpeg.version()}; stream 1"
        self.settings: Mapping[str, str] = {
            "encoder": "vvencapp" if self._app else "libvvenc in FFmpeg",
            "preset": settings.preset,
            "frames": "1, intra, profile main_10_still_picture, no HRD",
            "perceptual QP adaptation": "on" if settings.qpa else "off",
            "chroma QP offset": str(settings.chroma_qp_offset),
            "colour": f"{MATRIX.name}, full range, float conversion, rounded to {BITS} bit",
            "chroma": "4:2:0, sited in the middle of 2x2 luma samples",
            "chroma down": "2x2 mean",
            "chroma up": "cubic convolution (a = -1/2)",
            "odd and small sizes": f"edge repeated to even and to {SMALLEST}, cropped at the end",
            "decoder": "FFmpeg vvc",
        }

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        height, width = image.shape[:2]
        if max(padded_size(height, width)) > LARGEST:
            raise EncodeError(
                f"vvenc: FFmpeg decodes at most {LARGEST} pixels a side, got {width} x {height}"
            )
        planes = planes_of(image)
        rows, columns = planes[0].shape
        picture = b"".join(plane.astype("<u2").tobytes() for plane in planes)
        arguments = self._arguments(columns, rows, qp_of(point))
        if self._app:
            (stream,) = ffmpeg.encode_with(
                self._app.path, picture, "in.yuv", arguments, "out.266", pixels=rows * columns
            )
        else:
            stream = ffmpeg.encode(picture, "in.yuv", arguments, "out.266", pixels=rows * columns)
        return framing.pack(framing.VVC, height, width, stream)

    def decode(self, data: bytes) -> Image:
        height, width, stream = framing.unpack(framing.VVC, data)
        rows, columns = padded_size(height, width)
        raw = ffmpeg.decode(stream, "vvc", PIXEL_FORMAT, rows, columns, size=rows * columns * 3)
        samples = np.frombuffer(raw, "<u2")
        if samples.max() >> BITS:
            raise BitstreamError(f"decoded samples do not fit {BITS} bit")
        return image_of(samples, rows, columns)[:height, :width].copy()

    def command(self, point: Point) -> str:
        tool = "vvencapp" if self._app else " ".join(["ffmpeg", *ffmpeg.QUIET])
        # W and H are kept as placeholders, for the size of the padded picture.
        return " ".join([tool, *self._arguments("W", "H", qp_of(point))])

    def seconds(self, pixels: int, point: Point) -> float:
        qps = sorted(_SECONDS)
        slower = float(np.interp(qp_of(point), qps, [_SECONDS[qp] for qp in qps]))
        size = pixels / (768 * 512)
        return 0.1 + size * (0.3 + slower * _RELATIVE[self._settings.preset])

    def _arguments(self, width: int | str, height: int | str, qp: int) -> list[str]:
        chosen = self._settings
        qpa = str(int(chosen.qpa))
        offset = chosen.chroma_qp_offset
        offsets = [f"{key}={offset}" for key in ("cbqpoffset", "crqpoffset", "cbcrqpoffset")]
        if self._app:
            # Automatic GOP and a rate of 60 would write headers for a video around the picture.
            out = ["-i", "in.yuv", "-s", f"{width}x{height}", "-c", "yuv420_10", "-r", "1"]
            out += ["-f", "1", "--preset", chosen.preset, "--qp", str(qp), "--qpa", qpa]
            out += ["-ip", "1", "-t", "1", "-hrd", "0"]
            additional = list(self._app.additional) + (offsets if offset else [])
            out += list(self._app.extra)
            out += ["--additional", ":".join(additional)] if additional else []
            return [*out, "-o", "out.266"]
        parameters = ["intraperiod=1", "hrdparameterspresent=0", "profile=main_10_still_picture"]
        parameters += offsets if offset else []
        out = ["-f", "rawvideo", "-pix_fmt", PIXEL_FORMAT, "-s", f"{width}x{height}", "-r", "1"]
        out += ["-i", "in.yuv", "-frames:v", "1", "-c:v", "libvvenc", "-preset", chosen.preset]
        out += ["-qp", str(qp), "-qpa", qpa, "-threads", "1"]
        out += ["-vvenc-params", ":".join(parameters)]
        # Without the access unit delimiter, which says nothing in a file of one picture.
        out += ["-bsf:v", "filter_units=remove_types=20", "-f", "vvc", "-y", "out.266"]
        return out


def qp_of(point: Point) -> int:
    """The QP of a point; `EncodeError` unless it is an integer (VVenC cuts 31.5 to 31)."""
    return integer(point, "qp", 0, 63)


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The size that is coded: even, and not below `SMALLEST`."""
    return max(height + height % 2, SMALLEST), max(width + width % 2, SMALLEST)


def planes_of(image: Image) -> tuple[colour.Samples, colour.Samples, colour.Samples]:
    """Y', Cb, Cr as the encoder sees them: padded, chroma halved, 10 bit full range."""
    padded = colour.pad_edges(image, *padded_size(image.shape[0], image.shape[1]))
    y, cb, cr = colour.to_ycbcr(padded, MATRIX)
    return (
        colour.quantise_luma(y, BITS),
        colour.quantise_chroma(colour.halve(cb), BITS),
        colour.quantise_chroma(colour.halve(cr), BITS),
    )


def image_of(samples: colour.Samples, height: int, width: int) -> Image:
    """The inverse of `planes_of` for planes in one row, height and width even."""
    y, cb, cr = np.split(samples, (height * width, height * width * 5 // 4))
    half = (height // 2, width // 2)
    return colour.to_rgb(
        colour.luma(y.reshape(height, width), BITS),
        colour.double(colour.chroma(cb.reshape(half), BITS)),
        colour.double(colour.chroma(cr.reshape(half), BITS)),
        MATRIX,
    )


@dataclass(frozen=True, slots=True)
class App:
    """A vvencapp, and the options that its version needs for a still picture."""

    path: str
    version: str
    extra: tuple[str, ...]
    additional: tuple[str, ...]


def vvencapp() -> App:
    """The vvencapp at $VVENCAPP or on the search path.  Raises `CodecUnavailable`."""
    wanted = os.environ.get("VVENCAPP") or "vvencapp"
    path = shutil.which(wanted)
    if path is None:
        raise CodecUnavailable(
            f"{wanted} not found: put vvencapp on the search path or its path into VVENCAPP"
        )
    return _inspect(os.path.abspath(path))


@functools.cache
def _inspect(path: str) -> App:
    try:
        output = process.run([path, "--version"], seconds=60, environment=ffmpeg.ENVIRONMENT)
    except process.ProcessError as error:
        raise CodecUnavailable(f"{path} does not say its version: {error}") from error
    found = re.search(r"\d+\.\d+(\.\d+)?\S*", output.stdout + output.stderr)
    if not found:
        raise CodecUnavailable(f"{path} does not say its version: is it vvencapp?")
    major, minor = (int(part) for part in found[0].split(".")[:2])
    # Older versions have no multi-threading profile, and need the GOP size said.
    old = (major, minor) < (1, 4)
    extra = () if old else ("--mtprofile", "0")
    additional = ("gopsize=1",) if old else ()
    return App(path, f"vvencapp {found[0]}", extra, additional)
