"""Cuts of photographs that come inside the scikit-image package: a data set without a download.

Small, so that VVenC's slow presets need minutes and not hours; chosen for a face and plain
walls, wood and specular light, fur (odd size), a night sky (portrait), machinery, clutter.

astronaut: NASA, public domain.  coffee: R. Michetti, CC0.  chelsea: S. van der Walt, CC0.
rocket: SpaceX, public domain.  motorcycle: Middlebury stereo data set (D. Scharstein et al.,
GCPR 2014).  Pixel values are taken as scikit-image gives them, without regard to rocket's
Adobe RGB profile, so that no version of a colour library changes them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from codecs.base import Image
from datasets.base import Dataset, DatasetError, ImageRef
from datasets.cache import cache_folder, file_digest, write_atomically


@dataclass(frozen=True)
class Cut:
    """A rectangle of a photograph, in pixels, and the SHA-256 of our PNG of it."""

    name: str
    photograph: str
    left: int
    top: int
    width: int
    height: int
    digest: str


# fmt: off
CUTS = (
    Cut("astronaut.png", "astronaut.png", 88, 4, 256, 272,
        "b5f52b8faf36e4dd66da317cd9254415a4d41c4a517f11c8b79b95a359b3d3d8"),
    Cut("chelsea.png", "chelsea.png", 70, 50, 301, 227,
        "96d81c67f35ef104cdd901de4a6ee39350585962221f57e8c2a40c3fe9c1395f"),
    Cut("coffee.png", "coffee.png", 150, 60, 304, 240,
        "b08f8076c4e065616832662fd3cab35d122fa0f3b5a0c6d6b7b368836f913115"),
    Cut("engine.png", "motorcycle_left.png", 300, 150, 304, 240,
        "fab0e2a109561a6c1fd2544d7521b31363d620865539851252b44f839a9db15d"),
    Cut("rocket.png", "rocket.jpg", 200, 112, 208, 315,
        "cec7844813f2b5174308e3c1778e255990714b3843a1d47ad8d5ded7525c3df9"),
    Cut("workshop.png", "motorcycle_right.png", 256, 0, 304, 224,
        "2a8eb1dbe97e5edf6e61c89a7190046b14b3bf03bd87198d73060a8977ed609d"),
)
# fmt: on


def open_dataset(limit: int | None = None) -> Dataset:
    """Cut what is missing in the cache.  Raises `DatasetError` if scikit-image does not fit."""
    cache = cache_folder("samples")
    images = []
    for cut in CUTS[:limit]:
        path = cache / f"{cut.digest[:16]}-{cut.name}"
        if not path.exists() or file_digest(path) != cut.digest:
            write_atomically(path, make_png(cut))
        images.append(ImageRef(cut.name, path, cut.digest, cut.width, cut.height))
    return Dataset("samples", "Samples (cuts)", tuple(images), "photographs in scikit-image")


def make_png(cut: Cut) -> bytes:
    """The cut as a file, verified against its digest."""
    data = encode_png(_pixels(cut))
    digest = hashlib.sha256(data).hexdigest()
    if digest != cut.digest:
        raise DatasetError(
            f"the cut {cut.name} of scikit-image's {cut.photograph} comes out different here "
            f"(SHA-256 {digest}, not {cut.digest}): install the locked scikit-image and Pillow"
        )
    return data


def _pixels(cut: Cut) -> Image:
    # find_spec does not import the package, whose own loader would go to the network.
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise DatasetError("scikit-image is not installed; run `make`, or use another data set")
    photograph = Path(package.submodule_search_locations[0]) / "data" / cut.photograph
    try:
        with PillowImage.open(io.BytesIO(photograph.read_bytes())) as image:
            box = (cut.left, cut.top, cut.left + cut.width, cut.top + cut.height)
            return np.array(image.convert("RGB").crop(box))
    except OSError as error:
        raise DatasetError(f"scikit-image's {cut.photograph} cannot be read: {error}") from error


def encode_png(pixels: Image) -> bytes:
    """An uncompressed PNG whose bytes depend on the pixels alone.

    Every zlib, and every version of it, compresses to other bytes; digests of these files must
    be equal on all machines, or measurements could not be compared.  RFC 1950, RFC 1951 3.2.4.
    """
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # filter type 0: none
    blocks = [rows[at : at + 0xFFFF] for at in range(0, len(rows), 0xFFFF)]
    stored = b"".join(
        struct.pack("<BHH", i == len(blocks), len(block), len(block) ^ 0xFFFF) + block
        for i, block in enumerate(blocks, 1)
    )
    stream = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bit, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
