"""HEVC intra 4:4:4 by x265: the coder inside BPG, with BPG's settings.

bpgenc 0.9.8 runs x265 with preset veryslow, tune ssim, constant QP, no information SEI, on
full-range BT.601 Y'CbCr, 8 bit.  So does this codec; what it does not share is BPG's container
(which replaces the parameter sets) and the version of x265.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codecs import colour, ffmpeg, framing
from codecs.base import Codec, Image, Point, check_image
from codecs.ladder import integer, ladder
from codecs.naming import UnknownCodec, variants_of

BITS = 8
PIXEL_FORMAT = "yuv444p"
SMALLEST = 16
"""x265 refuses a picture that is less wide or high."""
VARIANTS = ("bt601", "bt709")
PARAMETERS = "keyint=1:info=0:pools=none:frame-threads=1:log-level=error"


def codec(variant: str | None = None) -> Codec:
    """`hevc` (the same as `hevc:bt601`), or `hevc:bt709` with the matrix that `vvenc` uses."""
    parts = variants_of("hevc", variant, VARIANTS)
    if len(parts) > 1:
        raise UnknownCodec("hevc takes one matrix")
    return Hevc(bt709="bt709" in parts)


class Hevc(Codec):
    """x265 as BPG runs it; see the module."""

    warm_up = False
    points = ladder("qp", range(50, 22, -4))
    choices = ladder("qp", range(51, -1, -1))

    def __init__(self, *, bt709: bool) -> None:
        self._matrix = colour.BT709 if bt709 else colour.BT601
        self.name = "hevc:bt709" if bt709 else "hevc"
        self.label = "HEVC intra 4:4:4 (x265; the coder inside BPG)"
        if bt709:
            self.label += ", BT.709"
        self.version = f"{ffmpeg.encoder_version('libx265')}; {ffmpeg.version()}; stream 1"
        self.settings: Mapping[str, str] = {
            "encoder": "libx265 in FFmpeg",
            "preset": "veryslow",
            "tune": "ssim",
            "frames": "1, intra, constant QP, no SEI",
            "colour": f"{self._matrix.name}, full range, float conversion, rounded to {BITS} bit",
            "chroma": "4:4:4",
            "small sizes": f"edge repeated to {SMALLEST}, cropped after decoding",
            "decoder": "FFmpeg hevc",
        }

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        height, width = image.shape[:2]
        rows, columns = max(height, SMALLEST), max(width, SMALLEST)
        planes = planes_of(colour.pad_edges(image, rows, columns), self._matrix)
        stream = ffmpeg.encode(
            b"".join(plane.tobytes() for plane in planes),
            "in.yuv",
            self._arguments(columns, rows, point),
            "out.265",
            pixels=rows * columns,
        )
        return framing.pack(framing.HEVC, height, width, stream)

    def decode(self, data: bytes) -> Image:
        height, width, stream = framing.unpack(framing.HEVC, data)
        rows, columns = max(height, SMALLEST), max(width, SMALLEST)
        raw = ffmpeg.decode(stream, "hevc", PIXEL_FORMAT, rows, columns, size=rows * columns * 3)
        y, cb, cr = np.frombuffer(raw, np.uint8).reshape(3, rows, columns)
        image = colour.to_rgb(
            colour.luma(y, BITS), colour.chroma(cb, BITS), colour.chroma(cr, BITS), self._matrix
        )
        return image[:height, :width].copy()

    def command(self, point: Point) -> str:
        return " ".join(["ffmpeg", *ffmpeg.QUIET, *self._arguments("W", "H", point)])

    def seconds(self, pixels: int, point: Point) -> float:
        return 0.2 + pixels * 1.5e-6

    def _arguments(self, width: int | str, height: int | str, point: Point) -> list[str]:
        qp = integer(point, "qp", 0, 51)
        out = ["-f", "rawvideo", "-pix_fmt", PIXEL_FORMAT, "-s", f"{width}x{height}", "-r", "25"]
        out += ["-i", "in.yuv", "-frames:v", "1", "-c:v", "libx265", "-threads", "1"]
        out += ["-preset", "veryslow", "-tune", "ssim", "-x265-params", f"qp={qp}:{PARAMETERS}"]
        return [*out, "-f", "hevc", "-y", "out.265"]


def planes_of(
    image: Image, matrix: colour.Matrix
) -> tuple[colour.Samples, colour.Samples, colour.Samples]:
    """Y', Cb, Cr as the encoder sees them: 8 bit full range, each uint8[H, W]."""
    y, cb, cr = colour.to_ycbcr(image, matrix)
    return (
        colour.quantise_luma(y, BITS),
        colour.quantise_chroma(cb, BITS),
        colour.quantise_chroma(cr, BITS),
    )
