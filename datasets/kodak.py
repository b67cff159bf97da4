"""The Kodak set: 24 photographs of 768 x 512, the field's oldest common test images."""

from __future__ import annotations

from pathlib import Path

from datasets.base import Dataset, DatasetError, ImageRef
from datasets.cache import cache_folder, data_folder, file_digest, locked
from datasets.download import fetch

URL = "https://r0k.us/graphics/kodak/kodak/"
MAX_BYTES = 4 << 20


def open_dataset(limit: int | None = None) -> Dataset:
    """Every file is verified against its SHA-256.  Raises `DatasetError` for one that differs.

    A file is taken from `$BENCH_DATA/kodak`, from the cache, or from the network, in this order.
    """
    given, cache = data_folder("kodak"), cache_folder("kodak")
    table = [line.split() for line in _TABLE.read_text().splitlines() if line[0] != "#"]
    images = []
    for digest, width, height, name in table[:limit]:
        path = _locate(name, digest, given, cache)
        images.append(ImageRef(name, path, digest, int(width), int(height)))
    return Dataset("kodak", "Kodak", tuple(images), URL)


_TABLE = Path(__file__).with_name("kodak.txt")


def _locate(name: str, digest: str, given: Path | None, cache: Path) -> Path:
    if given is not None and (given / name).exists():
        found = file_digest(given / name)
        if found != digest:
            raise DatasetError(
                f"{given / name} is not Kodak's {name}: its SHA-256 is {found}, not {digest}; "
                "replace it, or remove it to have it downloaded"
            )
        return given / name
    path = cache / name
    if path.exists() and file_digest(path) == digest:
        return path
    with locked(cache):  # `fetch` looks again: another process may have been here meanwhile
        fetch(
            URL + name,
            path,
            digest=digest,
            max_bytes=MAX_BYTES,
            by_hand=f"Put kodim01.png to kodim24.png into {cache}, or set BENCH_DATA to a folder "
            "that has them in kodak/.",
        )
    return path
