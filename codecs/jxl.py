"""JPEG XL by the libjxl inside FFmpeg, a bare codestream without container: VarDCT and XYB, or
without loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from codecs import ffmpeg
from codecs.base import (
    MAX_PIXELS,
    BitstreamError,
    Codec,
    EncodeError,
    Image,
    Point,
    check_image,
)
from codecs.ladder import ladder, number
from codecs.naming import UnknownCodec, variants_of

EFFORTS = tuple(f"effort-{effort}" for effort in range(3, 10))
SIGNATURE = b"\xff\x0a"


def codec(variant: str | None = None) -> Codec:
    """`jxl`, or with another effort than 7: `jxl:effort-9`; `jxl:lossless`, with any effort."""
    parts = variants_of("jxl", variant, (*EFFORTS, "lossless"))
    efforts = parts - {"lossless"}
    if len(efforts) > 1:
        raise UnknownCodec("jxl takes one effort")
    effort = int(next(iter(efforts), "effort-7").removeprefix("effort-"))
    return Jxl(effort, lossless="lossless" in parts)


class Jxl(Codec):
    """libjxl; see the module.

    The ladder ends at distance 9.5, about 0.2 to 0.5 bpp on photographs: from distance 10 up
    libjxl codes at half the resolution, and three Kodak pictures then got more bytes and 1.8 dB
    less than at 9.9.
    """

    warm_up = False
    points = ladder("distance", (9.5, 7.0, 5.0, 3.5, 2.2, 1.4, 0.9))
    choices = ladder("distance", (step / 100 for step in range(1500, 4, -1)))

    def __init__(self, effort: int, *, lossless: bool = False) -> None:
        ffmpeg.require_encoder("libjxl")
        self._effort = effort
        if lossless:
            self.points = self.choices = ladder("distance", (0,))
        self._lossless = lossless
        self.name = "jxl" if effort == 7 else f"jxl:effort-{effort}"
        self.name += ":lossless" if lossless else ""
        self.label = f"JPEG XL{', lossless' if lossless else ''} (libjxl, effort {effort})"
        self.version = f"libjxl; {ffmpeg.version()}"
        self.settings: Mapping[str, str] = {
            "encoder": "libjxl in FFmpeg",
            "mode": "lossless, RGB" if lossless else "VarDCT, XYB",
            "effort": str(effort),
            "container": "none (bare codestream)",
        }

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        height, width = image.shape[:2]
        data = ffmpeg.encode(
            np.ascontiguousarray(image).tobytes(),
            "in.rgb",
            self._arguments(width, height, point),
            "out.jxl",
            pixels=height * width,
        )
        if data[:2] != SIGNATURE or size_of(data) != (height, width):
            raise EncodeError("libjxl wrote something else than the codestream of this picture")
        return data

    def decode(self, data: bytes) -> Image:
        height, width = size_of(data)
        raw = ffmpeg.decode(data, "jpegxl_pipe", "rgb24", height, width, size=height * width * 3)
        return np.frombuffer(raw, np.uint8).reshape(height, width, 3).copy()

    def command(self, point: Point) -> str:
        return " ".join(["ffmpeg", *ffmpeg.QUIET, *self._arguments("W", "H", point)])

    def seconds(self, pixels: int, point: Point) -> float:
        per_pixel = 4e-6 if self._lossless else 6e-7
        return 0.1 + pixels * (per_pixel if self._effort <= 7 else 10 * per_pixel)

    def _arguments(self, width: int | str, height: int | str, point: Point) -> list[str]:
        # Distance 0 is lossless, another codec; below 0.05 libjxl codes as at 0.05.
        low, high = (0, 0) if self._lossless else (0.05, 15)
        distance = number(point, "distance", low, high)
        out = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "1"]
        out += ["-i", "in.rgb", "-frames:v", "1", "-c:v", "libjxl", "-threads", "1"]
        out += ["-effort", str(self._effort), "-distance", f"{distance:g}"]
        return [*out, "-f", "image2pipe", "-y", "out.jxl"]


_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def size_of(data: bytes) -> tuple[int, int]:
    """(height, width) from the SizeHeader of a bare codestream (ISO/IEC 18181-1, annex D.2).

    Read before a decoder allocates anything.  Raises `BitstreamError`.
    """
    if data[:2] != SIGNATURE or len(data) < 12:
        raise BitstreamError("not a JPEG XL codestream")
    bits = int.from_bytes(data[2:12], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def side(small: int) -> int:
        if small:
            return (take(5) + 1) * 8
        return 1 + take((9, 13, 18, 30)[take(2)])

    small = take(1)
    height = side(small)
    ratio = take(3)
    if ratio:
        numerator, denominator = _RATIOS[ratio]
        width = height * numerator // denominator
    else:
        width = side(small)
    if not 0 < height * width <= MAX_PIXELS:
        raise BitstreamError(f"the header promises {width} x {height} pixels")
    return height, width
