"""What a data set consists of, from a TOML file: the sets known by name, and users' own.

label = "Our photographs"
licence = "CC0"
[files."photos.zip"]
url = "https://example.org/photos.zip"
sha256 = "..."       # left out: trusted at first use, then pinned
folder = "large"     # of a zip: only what lies in folders of this name
[files]
"one.png" = { url = "https://example.org/one.png", sha256 = "..." }
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datasets.base import SUFFIXES, DatasetError

ARCHIVE = ".zip"
MAX_FILES = 10_000
_MAX_DESCRIPTION = 1 << 22


@dataclass(frozen=True)
class RemoteFile:
    """A picture, or a zip file of pictures, on the network."""

    name: str
    url: str
    digest: str | None = None
    """SHA-256; None where none is published."""
    folder: str | None = None
    """Of an archive: only pictures in folders of this name belong to the set."""

    @property
    def is_archive(self) -> bool:
        return self.name.lower().endswith(ARCHIVE)


@dataclass(frozen=True)
class Description:
    """A data set before anything of it is here."""

    name: str
    label: str
    about: str
    """One line for the list of sets."""
    source: str
    """Where it is published."""
    licence: str
    files: tuple[RemoteFile, ...]
    """None: the pictures have to be put into place by hand."""
    count: int | None = None
    """Pictures in the published set, where it comes in archives."""


def read(path: Path) -> Description:
    """The description in a TOML file.  Raises `DatasetError` that names the file and the key."""
    try:
        if path.stat().st_size > _MAX_DESCRIPTION:
            raise DatasetError(f"{path} has more than {_MAX_DESCRIPTION:,} bytes")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    try:
        return _description(path.stem, table)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def _description(name: str, table: dict[str, Any]) -> Description:
    for key in ("encode", "decode", "command"):
        if key in table:
            raise DatasetError(f"{key} is a codec's; give a codec among the codecs' names")
    _refuse_unknown(table, {"label", "about", "source", "licence", "count", "files"}, "")
    texts = {key: _text(table, key) for key in ("label", "about", "source", "licence")}
    count = table.get("count")
    if count is not None and (type(count) is not int or count < 1):
        raise DatasetError("count must be a number of pictures")
    files = table.get("files", {})
    if not isinstance(files, dict) or len(files) > MAX_FILES:
        raise DatasetError(f"[files] must be a table of at most {MAX_FILES:,} files")
    if not files and not texts["source"]:
        raise DatasetError('it needs [files], such as "one.png" = { url = ..., sha256 = ... }')
    found = tuple(_file(key, value) for key, value in files.items())
    if len({file.name.lower() for file in found}) < len(found):
        raise DatasetError("[files] names a file twice (small and capital letters are the same)")
    texts["label"] = texts["label"] or name
    return Description(name=name, files=found, count=count, **texts)


def _file(name: str, value: Any) -> RemoteFile:
    where = f'[files]: "{name}"'
    if re.search(r"[/\\\x00-\x1f]|^\.", name) or not name:
        raise DatasetError(f"{where} must be a file name, without a folder")
    if Path(name).suffix.lower() not in SUFFIXES | {ARCHIVE}:
        raise DatasetError(f"{where} is no picture that is read, nor a {ARCHIVE} file")
    if not isinstance(value, dict):
        raise DatasetError(f"{where} must be a table with url and sha256")
    _refuse_unknown(value, {"url", "sha256", "folder"}, f"{where}: ")
    url, digest, folder = (_text(value, key) for key in ("url", "sha256", "folder"))
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise DatasetError(f"{where}: url must begin with https:// or http://")
    if digest and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise DatasetError(f"{where}: sha256 must be 64 hexadecimal digits")
    file = RemoteFile(name, url, digest.lower() or None, folder or None)
    if not file.is_archive:
        if folder:
            raise DatasetError(f"{where}: folder is for {ARCHIVE} files")
        if file.digest is None:
            raise DatasetError(f"{where} needs its sha256: `sha256sum {name}` prints it")
    return file


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str) or len(value) > 2000:
        raise DatasetError(f"{key} must be a text")
    return value.strip()


def _refuse_unknown(table: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise DatasetError(f"{where}{unknown[0]} is not known; known: {', '.join(sorted(known))}")
