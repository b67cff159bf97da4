"""Data sets by their descriptions: found on this machine, or downloaded, verified and unpacked.

A picture is verified against its SHA-256 at every use.  So is an archive before it is unpacked;
where no digest is published, the first one that unpacks well is trusted: its SHA-256 is pinned in
a file in the cache, and any archive seen later must match it.  Unpacked pictures are verified at
every use against a manifest written when they were unpacked.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from datasets.archives import extract_images
from datasets.base import MAX_FILE_BYTES, Dataset, DatasetError, ImageRef
from datasets.cache import cache_folder, data_folder, file_digest, locked, write_atomically
from datasets.description import Description, RemoteFile
from datasets.download import fetch
from datasets.folder import list_pictures, open_folder, read_images
from datasets.loading import read_ref

MAX_ARCHIVE_BYTES = 1 << 30
_MANIFEST = "manifest.json"


def open_described(
    described: Description, limit: int | None = None, *, own: Path | None = None
) -> Dataset:
    """From `$BENCH_DATA/name`, the cache, or the network, in this order.

    `own` is the file of a user's description: two of one name do not share a cache.  Raises
    `DatasetError`: no network, wrong digest, no usable picture.
    """
    given = data_folder(described.name)
    cache = cache_folder(described.name if own is None else _own_cache(described))
    by_archive = not described.files or any(file.is_archive for file in described.files)
    if by_archive and (found := _taken_as_they_are(described, given, cache, limit)) is not None:
        images, skipped, source, notes = found
    else:
        images, skipped, notes = _verified(described, given, cache, limit)
        source = described.source or described.files[0].url
    licence = (f"licence: {described.licence}",) if described.licence else ()
    return Dataset(
        described.name, described.label, images, source, skipped, (*notes, *licence), path=own
    )


def _own_cache(described: Description) -> str:
    addresses = "\n".join(file.url for file in described.files)
    return f"{described.name}-{hashlib.sha256(addresses.encode()).hexdigest()[:8]}"


_Pictures = tuple[ImageRef, ...]
_Skipped = tuple[tuple[str, str], ...]


def _taken_as_they_are(
    described: Description, given: Path | None, cache: Path, limit: int | None
) -> tuple[_Pictures, _Skipped, str, tuple[str, ...]] | None:
    """The pictures that the user put into place, if there are any."""
    by_hand = [folder for folder in (given, None if described.files else cache) if folder]
    for folder in by_hand:
        if list_pictures(folder):
            found = open_folder(folder, limit)
            count = None if limit else len(found.images)  # a limit stops the reading
            notes = ("taken as they are: not verified", *_count_note(described, count))
            return found.images, found.skipped, str(folder), notes
    if not described.files:
        raise DatasetError(
            f"{described.label} has no public address.  Get it from {described.source} and put "
            f"its pictures into {cache}, or set BENCH_DATA to a folder that has them in "
            f"{described.name}/."
        )
    return None


def _verified(
    described: Description, given: Path | None, cache: Path, limit: int | None
) -> tuple[_Pictures, _Skipped, tuple[str, ...]]:
    """Pictures and refused files in the order of the description, and what was trusted."""
    images: list[ImageRef] = []
    skipped: list[tuple[str, str]] = []
    notes: list[str] = []
    for file in described.files:
        if limit is not None and len(images) >= limit:
            break
        if file.is_archive:
            with locked(cache):
                folder, note = _unpacked(described, file, given, cache)
            more, refused, left_out = _read_manifest(folder)
            images += more
            skipped += refused
            notes.append(note if len(described.files) == 1 else f"{file.name}: {note}")
            if left_out:
                notes.append(f"{file.name}: no pictures, left out: {', '.join(left_out)}")
        else:
            images.append(read_ref(_located(described, file, given, cache)))
    if any(file.is_archive for file in described.files):
        notes += _count_note(described, None if limit else len(images))
    return tuple(images[:limit]), tuple(skipped), tuple(notes)


def _fetch(described: Description, file: RemoteFile, cache: Path, digest: str | None) -> None:
    pictures = ", or the pictures themselves," if file.is_archive else ""
    others = " and the others" if len(described.files) > 1 else ""
    fetch(
        file.url,
        cache / file.name,
        digest=digest,
        max_bytes=MAX_ARCHIVE_BYTES if file.is_archive else MAX_FILE_BYTES,
        by_hand=f"Put {file.name}{others} into {cache}, or set BENCH_DATA to a folder that has "
        f"it{pictures} in {described.name}/.",
    )


def _located(described: Description, file: RemoteFile, given: Path | None, cache: Path) -> Path:
    """A picture, verified: the user's, the cached, or the downloaded one."""
    if given is not None and (given / file.name).exists():
        found = file_digest(given / file.name)
        if found != file.digest:
            raise DatasetError(
                f"{given / file.name} is not the {file.name} of {described.label}: its SHA-256 "
                f"is {found}, not {file.digest}; replace it, or remove it to have it downloaded"
            )
        return given / file.name
    path = cache / file.name
    if path.exists() and file_digest(path) == file.digest:
        return path
    with locked(cache):  # `fetch` looks again: another process may have been here meanwhile
        _fetch(described, file, cache, file.digest)
    return path


def _unpacked(
    described: Description, file: RemoteFile, given: Path | None, cache: Path
) -> tuple[Path, str]:
    """The folder of unpacked pictures, made when missing, and what was trusted."""
    pin_file = cache / f"{file.name}.sha256"
    pin = file.digest or (pin_file.read_text().strip() if pin_file.exists() else None)
    pinned = "" if file.digest else ", pinned at first use"
    archive = cache / file.name
    if given is not None and (given / file.name).exists():
        archive = given / file.name
    elif pin is not None and (_folder(cache, file, pin) / _MANIFEST).exists():
        return _folder(cache, file, pin), f"verified against SHA-256 {pin}{pinned}"

    fetched = not archive.exists()
    if fetched:
        _fetch(described, file, cache, pin)
    digest = file_digest(archive)
    if pin is not None and digest != pin:
        raise DatasetError(
            f"{archive} has SHA-256 {digest}, not {pin}: remove it to have it downloaded"
            if file.digest
            else f"{archive} has SHA-256 {digest}, but the first one used here had {pin}: remove "
            f"it, or remove {pin_file} to trust it instead"
        )
    folder = _folder(cache, file, digest)
    if not (folder / _MANIFEST).exists():
        try:
            _unpack(archive, folder, file.folder)
        except DatasetError:
            if fetched:  # an error page that came with status 200 must not stay
                archive.unlink()
            raise
    if pin is not None:
        return folder, f"verified against SHA-256 {pin}{pinned}"
    write_atomically(pin_file, f"{digest}\n".encode())
    return folder, f"no checksum is published: trusted at first use, SHA-256 {digest} now pinned"


def _folder(cache: Path, file: RemoteFile, digest: str) -> Path:
    part = f"-{hashlib.sha256(file.folder.encode()).hexdigest()[:8]}" if file.folder else ""
    return cache / f"images-{digest[:16]}{part}"


def _unpack(archive: Path, folder: Path, inner: str | None) -> None:
    """Unpack and decode once, then appear under the final name in one step."""
    for stale in folder.parent.glob("unpack-*"):  # left by a killed run; we hold the lock
        shutil.rmtree(stale)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix="unpack-"))
    try:
        left_out = extract_images(archive, work, inner)
        images, skipped = read_images(list_pictures(work))
        if not images:
            raise DatasetError(f"{archive} holds no usable picture; is it the right file?")
        records = [asdict(image) | {"path": image.path.name} for image in images]
        manifest = {"images": records, "skipped": skipped, "left_out": left_out}
        (work / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read_manifest(folder: Path) -> tuple[_Pictures, _Skipped, tuple[str, ...]]:
    """Images, refused files and what is no picture, as found when unpacking.

    Verifies the digest of each image.
    """
    again = f"remove {folder} to unpack it again"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        images = tuple(
            ImageRef(**record | {"path": folder / record["path"], "notes": tuple(record["notes"])})
            for record in manifest["images"]
        )
        skipped = tuple((name, reason) for name, reason in manifest["skipped"])
        left_out = tuple(map(str, manifest["left_out"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder / _MANIFEST} is damaged ({error}); {again}") from error
    for image in images:
        if file_digest(image.path) != image.digest:
            raise DatasetError(f"{image.path} has changed since it was unpacked; {again}")
    return images, skipped, left_out


def _count_note(described: Description, count: int | None) -> tuple[str, ...]:
    if count is None or described.count in (None, count):
        return ()
    return (f"{count} images, where the published set has {described.count}",)
