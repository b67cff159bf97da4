"""Files of a data set to sRGB pictures, uint8[H, W, 3]; what is accepted: `codecs.pictures`."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codecs import pictures
from codecs.base import Image, PictureRefused
from datasets.base import MAX_FILE_BYTES, DatasetError, ImageRef, ImageRefused, shown_name


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
        return pictures.decode_image(data)
    except PictureRefused as error:
        raise ImageRefused(error.reason) from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before the reason of a refusal."""
    try:
        yield
    except ImageRefused as error:
        raise ImageRefused(error.reason, shown_name(path)) from error
