"""Embedded ICC profiles to sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from codecs.base import PictureRefused

_TOLERANCE = 2
"""Steps of 255.  The common sRGB profiles differ by 1 from one another; Adobe RGB by 143."""
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(image: PillowImage.Image, profile: bytes) -> tuple[PillowImage.Image, str | None]:
    """Convert an `L` or `RGB` picture from its embedded profile to sRGB.

    Returns the picture and a note, or the picture as it was and None where the profile is sRGB
    already.  That is found by trying the profile on a lattice of colours: its name proves
    nothing.  Relative colorimetric, with black-point compensation.  Raises `PictureRefused` for
    a profile that cannot be applied.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == "RGB":
            image = image.convert("RGB")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            _FLAGS,
        )
        lattice = _lattice(image.mode)
        moved = ImageCms.applyTransform(lattice, transform)
        assert moved is not None  # None is for work in place only
        distance = np.abs(np.asarray(moved, int) - np.asarray(lattice.convert("RGB"), int)).max()
        if distance <= _TOLERANCE:
            return image, None
        converted = ImageCms.applyTransform(image, transform)
        assert converted is not None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        raise PictureRefused(
            f"its ICC profile cannot be applied ({str(error).strip()}); convert it to sRGB, or "
            "remove the profile if it is wrong: magick INPUT +profile icc OUTPUT.png"
        ) from error
    return converted, f"converted from ICC profile '{_description(source)}' to sRGB"


def _lattice(mode: str) -> PillowImage.Image:
    """All 256 greys, or 17^3 colours, in one row."""
    if mode == "L":
        return PillowImage.fromarray(np.arange(256, dtype=np.uint8)[None, :])
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    return PillowImage.fromarray(colours)


def _description(profile: ImageCms.ImageCmsProfile) -> str:
    """The profile's own name, cut and without control characters: it is a stranger's text."""
    try:
        text = ImageCms.getProfileDescription(profile)
    except ImageCms.PyCMSError:
        text = ""
    return "".join(c for c in text if c.isprintable()).strip()[:60] or "without a name"
