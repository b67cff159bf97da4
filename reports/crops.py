"""Parts of pictures as files: where codecs differ most, without loss, within a budget of bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from codecs.base import Image

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
PREVIEW = 384
"""Pixels of the longer side of a preview (WebP with loss)."""
THUMBNAIL = 88
SMALLEST = 32
"""Pixels of a crop's side below which it does not shrink."""


@dataclass(frozen=True)
class Crops:
    """The files of one picture as data URIs."""

    box: Box
    original: str
    crops: Mapping[str, str]
    """By what names the reconstruction."""
    preview: str
    """The whole original, small and with loss: for orientation, not for judging."""
    thumbnail: str


def make_crops(
    picture: Image, images: Mapping[str, Image], size: tuple[int, int], budget: int
) -> Crops:
    """Crops of at most `size` (width, height; turned for a portrait) of all reconstructions.

    They shrink until all files of the picture together keep to `budget` bytes in base64.
    """
    height, width, _ = picture.shape
    preview, thumbnail = _small(picture, PREVIEW, 72), _small(picture, THUMBNAIL, 60)
    left = budget * 3 // 4 - len(preview) - len(thumbnail)
    longer, shorter = size
    w, h = (longer, shorter) if width >= height else (shorter, longer)
    w, h = min(w, width), min(h, height)
    while True:
        box = most_different(list(images.values()), (w, h)) if images else (0, 0, w, h)
        x, y, w, h = box
        part = np.s_[y : y + h, x : x + w]
        original = lossless(picture[part])
        crops = {key: lossless(image[part]) for key, image in images.items()}
        total = len(original) + sum(map(len, crops.values()))
        if total <= left or max(w, h) <= SMALLEST:
            break
        factor = min(0.94, math.sqrt(max(left, 1) / total))
        w, h = (max(min(side, SMALLEST), int(side * factor) // 4 * 4) for side in (w, h))
    return Crops(
        box,
        _data(original),
        {key: _data(data) for key, data in crops.items()},
        _data(preview),
        _data(thumbnail),
    )


def most_different(images: Sequence[Image], size: tuple[int, int]) -> Box:
    """The window in which reconstructions of one picture differ most from one another.

    Measured by the variance of each sample over the reconstructions, summed over the window.
    """
    total, squares = (np.zeros(images[0].shape, np.float32) for _ in range(2))
    for image in images:  # one at a time: pictures may be large
        samples = image.astype(np.float32)
        total += samples
        squares += samples * samples
    mean = total / len(images)
    variance = (squares / len(images) - mean * mean).sum(axis=2, dtype=np.float64)
    sums = np.zeros((variance.shape[0] + 1, variance.shape[1] + 1))
    sums[1:, 1:] = variance.cumsum(axis=0).cumsum(axis=1)
    w, h = min(size[0], variance.shape[1]), min(size[1], variance.shape[0])
    window: NDArray[np.float64] = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    top, left = np.unravel_index(int(np.argmax(window)), window.shape)
    return int(left), int(top), w, h


def lossless(image: Image, method: int = 4) -> bytes:
    """The same pixels as WebP."""
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, "WEBP", lossless=True, quality=70, method=method, exact=True)
    return out.getvalue()


def _small(image: Image, longer: int, quality: int) -> bytes:
    out = io.BytesIO()
    small = Pillow.fromarray(image)
    small.thumbnail((longer, longer), Pillow.Resampling.LANCZOS)
    small.save(out, "WEBP", quality=quality, method=6)
    return out.getvalue()


def _data(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")
