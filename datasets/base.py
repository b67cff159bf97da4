"""What a data set is: named pictures on disk, each with its digest and size."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".bmp"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
MAX_FILE_BYTES = 1 << 29
"""Largest file that is read: `MAX_PIXELS` uncompressed take 403 MB."""


class DatasetError(Exception):
    """A data set cannot be had; the message names the cause and the next step."""


class ImageRefused(DatasetError):
    """A file is no picture that can be compared; `reason` says why and how to convert it."""

    def __init__(self, reason: str, name: str | None = None) -> None:
        super().__init__(reason if name is None else f"{name}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class ImageRef:
    """A picture by reference: what a worker process needs to load it and to name it."""

    name: str
    """File name within the data set, for people: opaque text, never used as a path."""
    path: Path
    digest: str
    """SHA-256 of the file, in hexadecimal."""
    width: int
    """Pixels, after the EXIF orientation is applied."""
    height: int
    notes: tuple[str, ...] = ()
    """What loading converts: colour profile, orientation, grey, palette ..."""


@dataclass(frozen=True)
class Dataset:
    """Pictures in natural order of their names, and the files that were refused."""

    name: str
    """What users type; for a folder, the folder's own name."""
    label: str
    """What reports show."""
    images: tuple[ImageRef, ...]
    source: str
    """Where the pictures come from: an address, a package, a folder."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(file name, reason) of each file that looks like a picture and was refused."""
    notes: tuple[str, ...] = ()
    """What the user should be told about this data set."""
    path: Path | None = None
    """The folder or the picture that the user brought, absolute; None for a set known by name."""

    @property
    def argument(self) -> str:
        """What opens the set again, in any working directory."""
        return self.name if self.path is None else str(self.path)


def shown_name(path: Path) -> str:
    """A file's name as text that can be written anywhere: bytes that are no UTF-8 are escaped."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key of names of pictures: `img2` before `img10`, whatever the case.

    Text and numbers alternate, so keys always compare.
    """
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
