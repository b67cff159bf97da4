"""What a run is asked for, and the defaults of what was not said."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import metrics as metrics_package

DEFAULT_CODECS = (
    *("rdonet", "rdonet-msssim", "minnen"),
    *("jpeg", "jpeg2000", "webp", "avif", "jxl", "hevc", "vvenc"),
)
QUICK_IMAGES = 4
QUICK_CODECS = {"vvenc": "vvenc:medium"}
"""What `--quick` codes instead: a preset 7 times faster, 3 % worse in rate (one Kodak image)."""


@dataclass(frozen=True)
class Settings:
    """What a run was asked for."""

    codecs: tuple[str, ...]
    dataset: str
    directory: Path
    metrics: tuple[str, ...]
    jobs: int
    quick: bool = False
    limit: int | None = None
    retry: bool = False
    time_limit: float | None = None


def apply_quick(settings: Settings) -> Settings:
    """The small tier: fewer images, a faster VVC preset.  Labelled as such everywhere."""
    return replace(
        settings,
        codecs=tuple(dict.fromkeys(QUICK_CODECS.get(name, name) for name in settings.codecs)),
        limit=min(settings.limit or QUICK_IMAGES, QUICK_IMAGES),
    )


def default_directory(dataset: str, quick: bool) -> Path:
    """`runs/kodak`; for a folder of images its own name and a digest of where it is."""
    name = dataset
    if os.sep in dataset or dataset == ".":
        path = Path(dataset).resolve()
        name = f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".") or "images"
    return Path("runs") / (safe + ("-quick" if quick else ""))


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
            near = [k for k in known if k.startswith(name)]
            near = near or difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"unknown metric {name!r}: {hint}")
    if not asked:
        raise ValueError(f"--metrics names no metric: there are {', '.join(known)}")
    return tuple(name for name in known if name in asked)
