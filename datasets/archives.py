"""Pictures out of a zip file that nobody has vouched for."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from datasets.base import MAX_FILE_BYTES, SUFFIXES, DatasetError

MAX_MEMBERS = 10_000
MAX_TOTAL_BYTES = 1 << 32
MAX_RATIO = 100
"""Unpacked over packed size, above 1 MiB: photographs in PNG or JPEG hardly shrink at all."""
_RATIO_FREE_BYTES = 1 << 20
_CHUNK = 1 << 20


def extract_images(archive: Path, folder: Path, inner: str | None = None) -> tuple[str, ...]:
    """Unpack the pictures of a zip file flat into an existing, empty folder.

    With `inner`, only those that lie directly in folders of this name.  Returns the names of
    members that are no pictures and were left out.  Raises `DatasetError`,
    maybe after some files were written, for anything that an honest archive of photographs does
    not contain: names that lead out of the folder, links, equal names, encryption, sizes or
    counts without measure, damaged data.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if len(members) > MAX_MEMBERS:
                raise DatasetError(f"{len(members)} members; at most {MAX_MEMBERS} are unpacked")
            chosen, left_out = _choose(members, inner)
            if sum(member.file_size for member in chosen.values()) > MAX_TOTAL_BYTES:
                raise DatasetError(f"it unpacks to more than {MAX_TOTAL_BYTES:,} bytes")
            for name, member in chosen.items():
                _unpack(opened, member, folder / name)
    except DatasetError as error:
        raise DatasetError(f"{archive} is not unpacked: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise DatasetError(f"{archive} is damaged ({error}); delete it and try again") from error
    return left_out


def _choose(
    members: list[zipfile.ZipInfo], inner: str | None
) -> tuple[dict[str, zipfile.ZipInfo], tuple[str, ...]]:
    """File name -> member for the pictures, and the names of what is left out."""
    chosen: dict[str, zipfile.ZipInfo] = {}
    left_out: list[str] = []
    taken: set[str] = set()
    for member in members:
        _check(member)
        path = PurePosixPath(member.filename)
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        if member.is_dir() or (inner is not None and path.parent.name != inner):
            continue
        if hidden or path.suffix.lower() not in SUFFIXES:
            left_out.append(member.filename)
            continue
        if path.name.lower() in taken:
            raise DatasetError(f"two members are called {path.name!r}")
        taken.add(path.name.lower())
        chosen[path.name] = member
    return chosen, tuple(left_out)


def _check(member: zipfile.ZipInfo) -> None:
    """Refuse what no honest archive of photographs contains."""
    name = member.filename
    if re.search(r"^/|\\|^[A-Za-z]:|[\x00-\x1f]", name) or ".." in PurePosixPath(name).parts:
        raise DatasetError(f"the name {name!r} leads out of the folder")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DatasetError(f"{name!r} is a link or a special file")
    if member.flag_bits & 0x1:
        raise DatasetError(f"{name!r} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DatasetError(f"{name!r} is packed by an uncommon method ({member.compress_type})")
    if member.file_size > MAX_FILE_BYTES:
        raise DatasetError(f"{name!r} unpacks to {member.file_size:,} bytes")
    if member.file_size > max(_RATIO_FREE_BYTES, MAX_RATIO * member.compress_size):
        raise DatasetError(f"{name!r} unpacks to more than {MAX_RATIO} times its size")


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write one member; the archive's own word on its size is not trusted."""
    written = 0
    with archive.open(member) as source, target.open("xb") as file:
        while piece := source.read(_CHUNK):
            written += len(piece)
            if written > member.file_size:
                raise DatasetError(f"{member.filename!r} is longer than the archive says")
            file.write(piece)
    if written != member.file_size:
        raise DatasetError(f"{member.filename!r} is shorter than the archive says")
