"""A codec that leaves nothing around it as it was: a stand-in for code that thinks it is alone."""

from __future__ import annotations

import os
import random
import struct
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageFile

from codecs.base import Codec, Image, Point

os.chdir("/")
os.environ["MEDDLED"] = "yes"
sys.path.insert(0, "/meddled")
random.seed(1)
np.random.seed(1)
np.seterr(all="raise")
np.set_printoptions(precision=1)
ImageFile.LOAD_TRUNCATED_IMAGES = True
PillowImage.MAX_IMAGE_PIXELS = 1


class Meddler(Codec):
    """Works in place, and has Pillow write every JPEG and WebP with quality 1 from now on."""

    name, label, version, warm_up = "meddler", "Meddler", "1", True
    points = (Point("step", 64),)

    def encode(self, image: Image, point: Point) -> bytes:
        assert os.environ["MEDDLED"] == "yes", "what it has set up is there when it works"
        assert os.getcwd() == "/"
        image //= 64
        image *= 64
        _spoil_pillow()
        return struct.pack("<HH", *image.shape[:2]) + zlib.compress(image.tobytes())

    def decode(self, data: bytes) -> Image:
        _spoil_pillow()
        height, width = struct.unpack("<HH", data[:4])
        return np.frombuffer(zlib.decompress(data[4:]), np.uint8).reshape(height, width, 3)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        seen = int((image % 64).max())
        image[:] = 0
        return {"finest level in the picture": seen}


def _spoil_pillow() -> None:
    save = PillowImage.Image.save
    if save.__name__ != "spoiled":

        def spoiled(self: PillowImage.Image, *arguments: Any, **options: Any) -> None:
            save(self, *arguments, **{**options, "quality": 1})

        PillowImage.Image.save = spoiled  # type: ignore[method-assign]


def codec(variant: str | None = None) -> Codec:
    return Meddler()
