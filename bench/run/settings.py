"""What a run is asked for, and the defaults of what was not said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import metrics as metrics_package
from codecs.selection import split
from datasets.registry import NAMES

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
    own_metrics: Mapping[str, str] = field(default_factory=dict)
    """Those of `metrics` that come from outside -> what creates each, in any working directory."""
    packs: tuple[Path, ...] = ()
    """Files of measurements made elsewhere."""
    shipped_packs: bool = True
    """Whether those that come with the harness count."""
    verify_pack: int = 3
    """Measurements of each pack that are made here as well."""
    cluster: str = ""
    """Where to measure, as `bench.run.cluster.parse` takes it; empty for this machine."""
    sandbox: bool = False
    """Whether codecs run where they see neither pictures nor the run: `bench.run.sandboxed`."""


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
    if dataset not in NAMES:
        name = path.name
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".")
        taken = name.lower() in NAMES or name.endswith(QUICK_ENDING)
        if safe != name or taken or path.parent != Path.cwd():
            name = f"{safe or 'images'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    return Path("runs") / (name + (QUICK_ENDING if quick else ""))


def wanted_metrics(names: Sequence[str] | None) -> dict[str, str]:
    """Metric -> what creates it, in any working directory: the default ones, or those asked for, in
    table order; names of metrics and of sets in any case and with commas between.  Those from
    outside are loaded.

    Raises `KeyError` for an unknown name, `ValueError` for none or two of one name, `CodecError`
    for a metric from outside that is broken.
    """
    known = metrics_package.names()
    if names is None:
        return {name: name for name in metrics_package.DEFAULT}
    found: dict[str, str] = {}
    for source in _spelled(names, known):
        own = metrics_package.resolve(source)
        if found.setdefault(own, source) != source:
            raise ValueError(f"{found[own]} and {source} have one name, {own!r}: rename one")
    if not found:
        raise ValueError(f"--metrics names no metric: there are {', '.join(known)}")
    first = {name: found.pop(name) for name in known if name in found}
    return {**first, **found}


def _spelled(names: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """What `bench.metrics.create` takes, of what was typed."""
    for typed in names:
        for part in [typed] if Path(typed).is_file() else typed.split(","):
            name = part.strip()
            if name.lower() in metrics_package.SETS:
                yield from metrics_package.SETS[name.lower()]
            elif name.lower() in known:
                yield name.lower()
            elif name.endswith(".py"):
                yield str(Path(name).resolve())
            elif name:
                yield name
