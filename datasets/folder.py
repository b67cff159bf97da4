"""Any folder of pictures, or one picture, as a data set."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from codecs.pictures import FORMATS
from datasets.base import (
    SUFFIXES,
    Dataset,
    DatasetError,
    ImageRef,
    ImageRefused,
    natural,
    shown_name,
)
from datasets.loading import read_ref

_FOREIGN_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jxl", "heic", "heif", "jp2", "j2k", "jph", "gif", "exr", "hdr", "pfm", "tga", "bpg"),
        *("qoi", "psd", "svg", "dng", "cr2", "cr3", "nef", "arw", "raf"),
    )
)
"""Pictures that are not read: worth a word, where a text file is not."""


def open_folder(folder: Path, limit: int | None = None) -> Dataset:
    """The pictures of a folder (not of its sub-folders) in natural order of their names.

    Each is decoded once.  A refused one is listed with its reason and does not count towards
    `limit`; hidden files and files that are no pictures are passed over.  Raises `DatasetError`
    when no picture is left.
    """
    name = shown_name(folder.absolute())
    images, skipped = read_images(list_pictures(folder), limit)
    if not images:
        if skipped:
            first, reason = skipped[0]
            raise DatasetError(
                f"no picture in {folder} can be used; {len(skipped)} refused, the first: "
                f"{first} {reason}"
            )
        raise DatasetError(f"no pictures in {folder} (formats: {', '.join(FORMATS)})")
    return Dataset(name, name, images, str(folder), skipped, path=folder.absolute())


def open_file(path: Path) -> Dataset:
    """One picture as a data set.  Raises `ImageRefused`."""
    image = read_ref(path)
    return Dataset(image.name, image.name, (image,), str(path), path=path.absolute())


def list_pictures(folder: Path) -> list[Path]:
    """Files of a folder that look like pictures by their names, in natural order."""
    try:
        paths = [path for path in folder.iterdir() if _looks_like_picture(path)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    return sorted(paths, key=lambda path: natural(path.name))


def read_images(
    paths: Iterable[Path], limit: int | None = None
) -> tuple[tuple[ImageRef, ...], tuple[tuple[str, str], ...]]:
    """The first `limit` good pictures, and (name, reason) of the bad ones met on the way."""
    images: list[ImageRef] = []
    skipped: list[tuple[str, str]] = []
    for path in paths:
        if limit is not None and len(images) >= limit:
            break
        try:
            if path.suffix.lower() in _FOREIGN_SUFFIXES:
                raise ImageRefused(
                    f"{path.suffix.lower()} is not read; convert it: magick INPUT OUTPUT.png"
                )
            images.append(read_ref(path))
        except ImageRefused as error:
            skipped.append((shown_name(path), error.reason))
    return tuple(images), tuple(skipped)


def _looks_like_picture(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES | _FOREIGN_SUFFIXES:
        return False
    return not path.is_dir()  # a link to nowhere stays: it is refused with its reason
