"""Pictures of more than 8 bits a channel, rounded to 8: value * 255 / largest, to the nearest.

Pillow cuts 16-bit PNGs to their high bytes, 0.5 steps too dark on average.  It can be told,
though, to take the low bytes instead; the two together are the samples as they were written.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from codecs.base import PictureRefused
from codecs.headers import ppm_header

_PNG_COLOUR = 25
"""Where a PNG states its colour type (third edition, 11.2.1)."""
_PNG_MODES = {0: "L", 2: "RGB", 6: "RGBA"}
"""Its colour type -> the mode of the same channels."""


def rounded(data: bytes, image: PillowImage.Image) -> PillowImage.Image:
    """The picture of a PNG or a binary PPM or PGM, as L, RGB or RGBA of 8 bits.

    `image` is the file as Pillow has opened it.  Opaque stays opaque, and nothing else becomes
    so.  Raises `PictureRefused` for what cannot be read without loss.
    """
    if image.format == "PNG":
        mode, samples, largest = *_png_samples(data, image), 65535
    else:
        mode, samples, largest = _ppm_samples(data)
    levels = np.arange(largest + 1)
    values = ((510 * levels + largest) // (2 * largest)).astype(np.uint8)[samples]
    if mode == "RGBA":
        values[..., 3] = np.where(samples[..., 3] == largest, 255, np.minimum(values[..., 3], 254))
    eight = PillowImage.fromarray(values)
    eight.info = dict(image.info)
    return eight


def _png_samples(data: bytes, image: PillowImage.Image) -> tuple[str, NDArray[np.uint16]]:
    if data[_PNG_COLOUR] not in _PNG_MODES or "transparency" in image.info:
        raise PictureRefused(
            "has 16 bits a channel and a transparency that cannot be read as deep as it is; "
            "write grey, RGB or RGBA, or 8 bits a channel"
        )
    mode = _PNG_MODES[data[_PNG_COLOUR]]
    if mode == "L":
        return mode, np.array(image, np.uint16)
    high = np.array(image).astype(np.uint16)
    with PillowImage.open(io.BytesIO(data), formats=["PNG"]) as again:
        again.tile = [t._replace(args=str(t.args).replace("16B", "16L")) for t in again.tile]
        return mode, high << 8 | np.array(again)


def _ppm_samples(data: bytes) -> tuple[str, NDArray[np.uint16], int]:
    """Netpbm, raw: width x height x channels big-endian samples of two bytes."""
    kind, (width, height, largest), start = ppm_header(data)
    channels = {b"P5": 1, b"P6": 3}.get(kind)
    if channels is None:
        raise PictureRefused("has more than 8 bits a channel as text; write P6 or P5")
    if largest > 65535:
        raise PictureRefused(f"states {largest} as its largest sample; Netpbm allows 65535")
    count = width * height * channels
    if len(data) < start + 2 * count:
        raise PictureRefused("is truncated: samples are missing")
    samples = np.frombuffer(data, ">u2", count, start).astype(np.uint16)
    if samples.max() > largest:
        raise PictureRefused(f"has samples above {largest}, which it states as its largest")
    shape = (height, width) if channels == 1 else (height, width, 3)
    return "L" if channels == 1 else "RGB", samples.reshape(shape), largest
