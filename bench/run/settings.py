"""What a run is asked for, and the defaults of what was not said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import metrics as metrics_package
from codecs.naming import suggestion
from codecs.selection import split
from datasets.registry import available

DEFAULT_CODECS = (
    *("rdonet", "rdonet-msssim", "minnen"),
    *("jpeg", "jpeg2000", "webp", "avif", "jxl", "hevc", "vvenc"),
)
QUICK_IMAGES = 4
QUICK_ENDING = "-quick"
QUICK_CODECS = {"vvenc": "vvenc:medium"}
"""What `--quick` codes instead: a preset 7 times faster, 3 % worse in rate (one Kodak image)."""


@dataclass(frozen=True)
class RunSettings:
    """What a run was asked for."""

    codecs: tuple[str, ...]
    dataset: str
    directory: Path
    metrics: tuple[str, ...]
    jobs: int
    quick: bool = False
    limit: int | None = None
    retry: bool = False
    retime: bool = False
    time_limit: float | None = None


def quick_name(name: str) -> str:
    """The codec that stands in for `name` in the quick tier, at the same points."""
    base, _ = split(name)
    return QUICK_CODECS.get(base, base) + name.removeprefix(base)


def apply_quick(settings: RunSettings) -> RunSettings:
    """The small tier: fewer images, a faster VVC preset.  Labelled as such everywhere."""
    return replace(
        settings,
        codecs=tuple(dict.fromkeys(map(quick_name, settings.codecs))),
        limit=min(settings.limit or QUICK_IMAGES, QUICK_IMAGES),
    )


def default_directory(dataset: str, quick: bool) -> Path:
    """`runs/kodak`: the name of a set, or of a folder beside `runs`.

    Other folders, and those whose name could be taken for something else, get a digest of where
    they are as well: two sets never share a directory.
    """
    path = Path(dataset).expanduser().absolute()
    name = dataset
    if dataset not in dict(available()):
        name = path.name
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".")
        taken = name.lower() in dict(available()) or name.endswith(QUICK_ENDING)
        if safe != name or taken or path.parent != Path.cwd():
            name = f"{safe or 'images'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    return Path("runs") / (name + (QUICK_ENDING if quick else ""))


def wanted_metrics(names: Sequence[str] | None) -> tuple[str, ...]:
    """All metrics, or those asked for, in any case and with spaces or commas between.

    Raises `ValueError` for an unknown name.
    """
    known = metrics_package.names()
    if names is None:
        return known
    asked = [part.strip().lower() for name in names for part in name.split(",") if part.strip()]
    for name in asked:
        if name not in known:
            raise ValueError(f"unknown metric {name!r}{suggestion(name, known)}")
    if not asked:
        raise ValueError(f"--metrics names no metric: there are {', '.join(known)}")
    return tuple(name for name in known if name in asked)
