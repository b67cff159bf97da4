"""The 30 validation images of CLIC 2022 (Challenge on Learned Image Compression).

No checksum is published.  The first archive that unpacks well is trusted: its SHA-256 is pinned
in a file in the cache, and any archive seen later must match it.  The unpacked images are
verified at every use against a manifest written when they were unpacked.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from datasets.archives import extract_images
from datasets.base import Dataset, DatasetError, ImageRef
from datasets.cache import cache_folder, data_folder, file_digest, locked, write_atomically
from datasets.download import fetch
from datasets.folder import list_pictures, open_folder, read_images

URL = "https://storage.googleapis.com/clic2022_public/validation_sets/images.zip"
COUNT = 30
MAX_BYTES = 1 << 30
_LABEL = "CLIC 2022 validation"
_ARCHIVE = "images.zip"
_PIN = "images.zip.sha256"
_MANIFEST = "manifest.json"


def open_dataset(limit: int | None = None) -> Dataset:
    """From `$BENCH_DATA/clic22` (the images, or `images.zip`), the cache, or the network."""
    given = data_folder("clic22")
    if given is not None and list_pictures(given):
        found = open_folder(given, limit)
        count = COUNT if limit else len(found.images)  # not known where a limit stops the reading
        notes = ("taken as they are: no checksum is published", *_count_note(count))
        return Dataset("clic22", _LABEL, found.images, str(given), found.skipped, notes)

    cache = cache_folder("clic22")
    with locked(cache):
        folder, note = _unpacked(given, cache)
    images, skipped = _read_manifest(folder)
    facts = (note, *_count_note(len(images)))
    return Dataset("clic22", _LABEL, images[:limit], URL, skipped, facts)


def _unpacked(given: Path | None, cache: Path) -> tuple[Path, str]:
    """The folder of unpacked images, made when missing, and what was trusted."""
    pin_file = cache / _PIN
    pin = pin_file.read_text().strip() if pin_file.exists() else None
    archive = cache / _ARCHIVE
    if given is not None and (given / _ARCHIVE).exists():
        archive = given / _ARCHIVE
    elif pin is not None and (_folder(cache, pin) / _MANIFEST).exists():
        return _folder(cache, pin), f"verified against SHA-256 {pin}, pinned at first use"

    fetched = not archive.exists()
    if fetched:
        fetch(
            URL,
            archive,
            digest=pin,
            max_bytes=MAX_BYTES,
            by_hand=f"Put {_ARCHIVE} into {cache}, or set BENCH_DATA to a folder that has it, or "
            "the images themselves, in clic22/.",
        )
    digest = file_digest(archive)
    if pin is not None and digest != pin:
        raise DatasetError(
            f"{archive} has SHA-256 {digest}, but the first one used here had {pin}: remove it, "
            f"or remove {pin_file} to trust it instead"
        )
    folder = _folder(cache, digest)
    if not (folder / _MANIFEST).exists():
        try:
            _unpack(archive, folder)
        except DatasetError:
            if fetched:  # an error page that came with status 200 must not stay
                archive.unlink()
            raise
    if pin is not None:
        return folder, f"verified against SHA-256 {pin}, pinned at first use"
    write_atomically(pin_file, f"{digest}\n".encode())
    return folder, f"no checksum is published: trusted at first use, SHA-256 {digest} now pinned"


def _folder(cache: Path, digest: str) -> Path:
    return cache / f"images-{digest[:16]}"


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack and decode once, then appear under the final name in one step."""
    for stale in folder.parent.glob("unpack-*"):  # left by a killed run; we hold the lock
        shutil.rmtree(stale)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix="unpack-"))
    try:
        left_out = extract_images(archive, work)
        images, skipped = read_images(list_pictures(work))
        if not images:
            raise DatasetError(f"{archive} holds no usable picture; is it the right file?")
        records = [asdict(image) | {"path": image.path.name} for image in images]
        manifest = {"images": records, "skipped": skipped, "left_out": left_out}
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_manifest(folder: Path) -> tuple[tuple[ImageRef, ...], tuple[tuple[str, str], ...]]:
    """Images and refused files as found when unpacking.  Verifies the digest of each image."""
    again = f"remove {folder} to unpack it again"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        images = tuple(
            ImageRef(**record | {"path": folder / record["path"], "notes": tuple(record["notes"])})
            for record in manifest["images"]
        )
        skipped = [(name, reason) for name, reason in manifest["skipped"]]
        skipped += [(name, "is no picture, left out") for name in manifest["left_out"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder / _MANIFEST} is damaged ({error}); {again}") from error
    for image in images:
        if file_digest(image.path) != image.digest:
            raise DatasetError(f"{image.path} has changed since it was unpacked; {again}")
    return images, tuple(skipped)


def _count_note(count: int) -> tuple[str, ...]:
    return () if count == COUNT else (f"{count} images, where the published set has {COUNT}",)
