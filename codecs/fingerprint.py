"""Which files are behind somebody's codec, by digest: a rebuilt encoder is another codec."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from codecs.base import CodecUnavailable
from codecs.declared import spelled

SETTING = "file digests"
"""The setting under which measurements are keyed by them."""
WHOLE = 512 << 20
"""The largest file (512 MiB) that is read, in about half a second."""

_WORD = re.compile(r"""(?<![^\s"'=;|&(,<])(?<!>\s)/[^\s"'=;|&(),<>]+""")
"""An absolute path within a text, but for one behind `>`."""


def described(paths: Iterable[Path]) -> str:
    """`encoder 0123456789abcdef, weights.bin fedcba9876543210`; a file that is named twice once."""
    return ", ".join(f"{spelled(p.name)} {fingerprint(p)}" for p in dict.fromkeys(paths))


def fingerprint(path: Path) -> str:
    """The first 16 hexadecimal digits of a file's SHA-256.

    For files above `WHOLE` and for those that may be run but not read, size and time of the last
    change stand in.  Raises `CodecUnavailable` for a file that is not there.
    """
    try:
        status = path.stat()
        if status.st_size <= WHOLE and os.access(path, os.R_OK):
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CodecUnavailable(f"{path}: {error.strerror or error}") from error
    changed = datetime.fromtimestamp(status.st_mtime, UTC).isoformat()
    return f"({status.st_size} bytes, changed {changed})"


@functools.cache
def program(path: str) -> str:
    """`fingerprint` of a program, read once in a process: FFmpeg has 80 MB."""
    return fingerprint(Path(path))


def together(paths: Iterable[Path]) -> str:
    """One fingerprint of several files, in the order of their names."""
    parts = "".join(f"{path.name} {fingerprint(path)}\n" for path in sorted(paths))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def named_files(arguments: Iterable[str]) -> list[Path]:
    """The files that a command names by absolute path, also as `--weights=FILE` and, but for what
    is written (`> FILE`), within the text of an argument: `sh -c "FILE ... | FILE ..."`.

    Relative paths are passed over: commands run in a folder of their own.
    """
    texts = (text for each in arguments for text in (*whole(each), *_WORD.findall(each)))
    return [
        Path(text) for text in dict.fromkeys(texts) if os.path.isabs(text) and os.path.isfile(text)
    ]


def whole(argument: str) -> tuple[str, str]:
    """What an argument may be the path of a file by: all of it, and what follows `=`."""
    return argument, argument.partition("=")[2]
