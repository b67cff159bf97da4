"""Where data lies on this machine: the user's own folder, the cache, locks and atomic writes."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.base import DatasetError


def cache_folder(name: str) -> Path:
    """`$BENCH_CACHE/name`, by default `~/.cache/codec-bench/name`; made when missing."""
    root = os.environ.get("BENCH_CACHE") or "~/.cache/codec-bench"
    try:
        folder = Path(root).expanduser().resolve() / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder, or a loop of links
        raise DatasetError(
            f"the cache folder {root} cannot be used ({error}); set BENCH_CACHE to a folder "
            "that can be written"
        ) from error
    return folder


def data_folder(name: str) -> Path | None:
    """`$BENCH_DATA/name` if there is one.  Raises `DatasetError` for a wrong `BENCH_DATA`."""
    root = os.environ.get("BENCH_DATA")
    if not root:
        return None
    if not Path(root).expanduser().is_dir():
        raise DatasetError(f"BENCH_DATA={root} is not a folder; correct it or unset it")
    folder = Path(root).expanduser() / name
    return folder if folder.is_dir() else None


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def write_atomically(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a whole file or nothing: other processes never see a part of it.

    Without `sync` (8 ms here) that holds for a killed process, but not for a power cut.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise DatasetError(f"{path} cannot be written: {error.strerror or error}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that fill the same cache folder waiting.

    The kernel drops the lock when its holder dies, so a killed run never blocks the next one.
    """
    import fcntl

    try:
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another process that fills {folder}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
