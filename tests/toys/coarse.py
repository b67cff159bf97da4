"""A codec in one small file: keeps the upper bits of every sample, then deflates them.

Its behaviour can be spoiled through the environment, to see what the harness makes of it.
"""

from __future__ import annotations

import errno
import math
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codecs.base import BitstreamError, Codec, CodecUnavailable, Image, Point


class Coarse(Codec):
    name = "coarse"
    label = "Upper bits, deflated"
    version = os.environ.get("TOY_VERSION", "1")
    points = tuple(Point("bits", bits) for bits in (1, 2, 3, 4, 5, 6))
    warm_up = False

    def encode(self, image: Image, point: Point) -> bytes:
        spoil(os.environ.get("TOY_ENCODE", ""), image, point)
        if log := os.environ.get("TOY_LOG"):
            with open(log, "a") as lines:
                lines.write(f"{point.value} {image.shape} {os.getpid()}\n")
        shift = 8 - int(point.value)
        size = np.array([*image.shape[:2], shift], "<u4").tobytes()
        return size + zlib.compress((image >> shift).tobytes())

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        how = os.environ.get("TOY_DIAGNOSTICS")
        if how == "raise":
            raise RuntimeError("no diagnostics")
        odd: dict[str | None, Any] = {"nan": math.nan, "array": image, "huge": "x" * 2_000_000}
        return {"bits": odd[how]} if how in odd else {}

    def seconds(self, pixels: int, point: Point) -> float:
        if os.environ.get("TOY_PLAN") == "seconds":
            raise RuntimeError("who knows")
        return super().seconds(pixels, point)

    def command(self, point: Point) -> str | None:
        if os.environ.get("TOY_PLAN") == "command":
            raise RuntimeError("no command")
        return None

    def decode(self, data: bytes) -> Image:
        spoil(os.environ.get("TOY_DECODE", ""), None, None)
        try:
            height, width, shift = (int(v) for v in np.frombuffer(data[:12], "<u4"))
            samples = zlib.decompress(data[12:], bufsize=1)
            image = np.frombuffer(samples, np.uint8).reshape(height, width, 3)
        except (ValueError, zlib.error) as error:
            raise BitstreamError(f"not a coarse stream: {error}") from error
        middle = (1 << shift) >> 1
        decoded = ((image.astype(int) << shift) + middle).astype(np.uint8)
        # Another processor may round a few samples otherwise.
        decoded.ravel()[: int(os.environ.get("TOY_ROUNDED_UP", "0"))] += 1
        return decoded


def spoil(how: str, image: Image | None, point: Point | None) -> None:
    """Misbehave at 3 bits (and always when decoding)."""
    if point is not None and point.value != 3:
        return
    if how == "hang":
        time.sleep(3600)
    if how == "hang with a child":
        marker = os.environ["TOY_MARKER"]
        os.spawnlp(os.P_WAIT, "sh", "sh", "-c", f"echo $$ > {marker}; sleep 3600")
    if how == "die":
        os.kill(os.getpid(), 9)
    if how == "exit":
        os._exit(3)
    if how == "raise":
        raise RuntimeError("<script>alert(1)</script>")
    if how == "fill the disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "flood":
        print("x" * 5_000_000)
    if how == "unavailable":
        raise CodecUnavailable("the toy shop is closed; build your own")
    if how == "peek":
        # A decoder that looks for the photograph it was encoded from finds none in its process.
        import gc

        arrays = [a for a in gc.get_objects() if isinstance(a, np.ndarray) and a.dtype == np.uint8]
        Path(os.environ["TOY_MARKER"]).write_text(str(sum(a.nbytes > 10_000 for a in arrays)))


def codec(variant: str | None = None) -> Codec:
    """The factory that the registry calls."""
    if os.environ.get("TOY_ENCODE") == "not here":
        raise CodecUnavailable("toy tool not found; install toys")
    made = Coarse()
    if os.environ.get("TOY_PLAN") == "settings":
        made.settings = {"strength": np.float32(1)}  # type: ignore[dict-item]
    return made
