"""Files to sRGB pictures, uint8[H, W, 3]: nothing is truncated, flattened or guessed silently.

================================  ==========================================================
Input                             What happens
================================  ==========================================================
any width and height from 1 x 1   kept, odd sizes and portraits too
grey, black and white             replicated to R = G = B (noted)
palette                           looked up (noted)
EXIF orientation                  applied (noted)
ICC profile that is sRGB          accepted (at most 2 of 255 steps off anywhere)
any other RGB or grey profile     converted to sRGB (noted); refused when it cannot be read
alpha, opaque everywhere          dropped (noted)
alpha, anything else              refused
more than 8 bits a channel        refused
CMYK, Lab, YCbCr, float           refused
several pictures, animation       refused
truncated, empty, damaged         refused
more than `MAX_PIXELS`            refused from the header, before decoding
any other format                  refused: PNG, JPEG, WebP, AVIF, TIFF, BMP, PPM are read
================================  ==========================================================

Untagged files are taken as sRGB; colour tags outside ICC (PNG gAMA, cHRM and cICP) are not
looked at.
"""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from codecs.base import MAX_PIXELS, Image
from datasets.base import DatasetError, ImageRef, ImageRefused, shown_name
from datasets.colour import to_srgb
from datasets.headers import bits_per_channel, check_png

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM")
SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".bmp"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
MAX_FILE_BYTES = 1 << 29
"""Largest file that is read: `MAX_PIXELS` uncompressed take 403 MB."""

_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_MODES = _ALPHA | {"1", "L", "P", "RGB"}
_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4


def load_image(path: Path) -> Image:
    """The picture as uint8[H, W, 3], sRGB.  Raises `ImageRefused`."""
    return load_image_with_notes(path)[0]


def load_image_with_notes(path: Path) -> tuple[Image, tuple[str, ...]]:
    """The picture and what was converted to make it one.  Raises `ImageRefused`."""
    with _naming(path):
        return decode_image(read_file(path))


def load_ref(ref: ImageRef) -> Image:
    """The picture of a data set.  Raises `DatasetError` when the file is no longer the same."""
    with _naming(ref.path):
        data = read_file(ref.path)
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise DatasetError(f"{ref.name} has changed since the data set was opened; run again")
    with _naming(ref.path):
        return decode_image(data)[0]


def read_ref(path: Path) -> ImageRef:
    """Digest, size and notes of a picture, decoded once.  Raises `ImageRefused`."""
    with _naming(path):
        data = read_file(path)
        pixels, notes = decode_image(data)
    height, width, _ = pixels.shape
    return ImageRef(shown_name(path), path, hashlib.sha256(data).hexdigest(), width, height, notes)


def read_file(path: Path) -> bytes:
    """The bytes of a regular, not too large file.  Raises `ImageRefused`."""
    try:
        status = path.stat()  # before opening: opening a named pipe waits for its writer
        if not stat.S_ISREG(status.st_mode):
            raise ImageRefused("is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageRefused(f"has {status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageRefused(f"cannot be opened: {reason}") from error
    if not data:
        raise ImageRefused("is empty (0 bytes): copy or download it again")
    return data


def decode_image(data: bytes) -> tuple[Image, tuple[str, ...]]:
    """Encoded file to picture and notes.  Raises `ImageRefused` without a file name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bad metadata is not worth a word; sizes are checked
            with PillowImage.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(data, image)
                # Before loading: Pillow itself turns TIFFs upright, and then forgets why.
                orientation = image.getexif().get(_ORIENTATION, 1)
                image.load()
                return _convert(image, orientation)
    except ImageRefused:
        raise
    except UnidentifiedImageError as error:
        raise ImageRefused(
            "is not a picture that can be read, or its header is damaged; "
            f"formats: {', '.join(FORMATS)}"
        ) from error
    except PillowImage.DecompressionBombError as error:
        raise ImageRefused(f"declares more than the {MAX_PIXELS:,} pixels allowed") from error
    except Exception as error:
        # Pillow's parsers meet hostile bytes with exceptions of every kind, struct.error,
        # SyntaxError and TypeError among them: all mean that this file is no good.
        raise ImageRefused(f"cannot be decoded, it is truncated or damaged ({error})") from error


def _check_header(data: bytes, image: PillowImage.Image) -> None:
    """Refuse what the header alone rules out; nothing is decoded yet."""
    if image.width * image.height > MAX_PIXELS:
        raise ImageRefused(
            f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read: "
            "cut it into parts"
        )
    if getattr(image, "is_animated", False):
        raise ImageRefused("holds several pictures; extract one: magick 'INPUT[0]' OUTPUT.png")
    if image.format == "PNG":
        check_png(data)
    bits = bits_per_channel(data, image)
    if bits > 8:
        raise ImageRefused(
            f"has {bits} bits a channel and would be truncated to 8; convert it: "
            "magick INPUT -depth 8 OUTPUT.png"
        )
    if image.mode not in _MODES:
        raise ImageRefused(
            f"is {image.mode}, not RGB; convert it: magick INPUT -colorspace sRGB OUTPUT.png"
        )


def _convert(image: PillowImage.Image, orientation: int) -> tuple[Image, tuple[str, ...]]:
    notes: list[str] = []
    profile = image.info.get("icc_profile")
    upright = image
    if orientation in range(2, 9):
        upright = ImageOps.exif_transpose(image)
        notes.append(f"turned upright as its EXIF orientation ({orientation}) says")
    if upright.mode in _ALPHA or "transparency" in upright.info:
        if upright.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise ImageRefused(
                "is partly transparent; choose its background: "
                "magick INPUT -background white -alpha remove -alpha off OUTPUT.png"
            )
        notes.append("an alpha channel that is opaque everywhere was dropped")
    if upright.mode in ("P", "PA"):
        notes.append("its palette was looked up")
    grey = upright.mode in ("1", "L", "LA", "La")
    if grey:
        notes.append("grey was replicated to R = G = B")
    flat = _as_mode(upright, "L" if grey else "RGB")

    if profile:
        flat, note = to_srgb(flat, profile)
        notes += [note] if note else []
    return np.array(_as_mode(flat, "RGB")), tuple(notes)


def _as_mode(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """Convert where needed: Pillow's `convert` copies even where nothing changes."""
    return image if image.mode == mode else image.convert(mode)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before the reason of a refusal."""
    try:
        yield
    except ImageRefused as error:
        raise ImageRefused(error.reason, shown_name(path)) from error
