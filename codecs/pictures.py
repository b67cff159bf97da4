"""Encoded files to sRGB pictures, uint8[H, W, 3]: nothing is truncated, flattened or guessed
silently.

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
more than 8 bits a channel        refused in an original; of a decoder rounded (noted)
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

import io
import warnings

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from codecs import deep
from codecs.base import MAX_PIXELS, Image, PictureRefused
from codecs.headers import bits_per_channel, check_png
from codecs.profiles import to_srgb
from codecs.wholeness import check_jpeg, check_tiff

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM")

_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_MODES = _ALPHA | {"1", "L", "P", "RGB"}
_ORIENTATION = 0x0112  # EXIF 2.3, 4.6.4


def decode_image(
    data: bytes, formats: tuple[str, ...] = FORMATS, *, round_deep: bool = False
) -> tuple[Image, tuple[str, ...]]:
    """Encoded file to picture and notes.  Raises `PictureRefused`.

    `round_deep`: more than 8 bits a channel are rounded (and noted) rather than refused.  That is
    for what a decoder writes: an original is converted once, by its owner, for all codecs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # bad metadata is not worth a word; sizes are checked
            with PillowImage.open(io.BytesIO(data), formats=formats) as image:
                bits = _check_header(data, image, 16 if round_deep else 8)
                # Before loading: Pillow itself turns TIFFs upright, and then forgets why.
                orientation, exif = _orientation(image)
                image.load()
                if bits <= 8:
                    picture, notes = _convert(image, orientation)
                    return picture, (*exif, *notes)
                picture, notes = _convert(deep.rounded(data, image), orientation)
                return picture, (f"its {bits} bits a channel were rounded to 8", *exif, *notes)
    except PictureRefused:
        raise
    except UnidentifiedImageError as error:
        raise PictureRefused(
            "is not a picture that can be read, or its header is damaged; "
            f"formats: {', '.join(formats)}"
        ) from error
    except PillowImage.DecompressionBombError as error:
        raise PictureRefused(f"declares more than the {MAX_PIXELS:,} pixels allowed") from error
    except Exception as error:
        # Pillow's parsers meet hostile bytes with exceptions of every kind, struct.error,
        # SyntaxError and TypeError among them: all mean that this file is no good.
        raise PictureRefused(f"cannot be decoded, it is truncated or damaged ({error})") from error


def _orientation(image: PillowImage.Image) -> tuple[int, tuple[str, ...]]:
    """EXIF's orientation, and a note where EXIF cannot be read: that harms no picture."""
    try:
        return image.getexif().get(_ORIENTATION, 1), ()
    except Exception:  # its parser meets hostile bytes as Pillow's others do
        return 1, ("its EXIF data is damaged and was not looked at",)


def _check_header(data: bytes, image: PillowImage.Image, most_bits: int) -> int:
    """Refuse what the header alone rules out; nothing is decoded yet.  Returns the bits of a
    channel."""
    if image.width * image.height > MAX_PIXELS:
        raise PictureRefused(
            f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are read: "
            "cut it into parts"
        )
    if getattr(image, "is_animated", False):
        raise PictureRefused("holds several pictures; extract one: magick 'INPUT[0]' OUTPUT.png")
    if image.format == "PNG":
        check_png(data)
    elif image.format in ("JPEG", "MPO"):
        check_jpeg(data)
    elif isinstance(image, TiffImageFile):
        check_tiff(data, image.tag_v2, image.width * image.height)
    bits = bits_per_channel(data, image)
    if bits > most_bits:
        raise PictureRefused(
            f"has {bits} bits a channel and would be truncated to 8; convert it: "
            "magick INPUT -depth 8 OUTPUT.png"
        )
    if bits <= 8 and image.mode not in _MODES:
        raise PictureRefused(
            f"is {image.mode}, not RGB; convert it: magick INPUT -colorspace sRGB OUTPUT.png"
        )
    return bits


def _convert(image: PillowImage.Image, orientation: int) -> tuple[Image, tuple[str, ...]]:
    notes: list[str] = []
    profile = image.info.get("icc_profile")
    upright = image
    if orientation in range(2, 9):
        upright = ImageOps.exif_transpose(image)
        notes.append(f"turned upright as its EXIF orientation ({orientation}) says")
    if upright.mode in _ALPHA or "transparency" in upright.info:
        if upright.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise PictureRefused(
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
