"""Runs of other machines: packs that are brought here, and runs put together."""

from __future__ import annotations

import argparse
import shlex
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.record.manifest import Manifest
from bench.record.merge import Merged
from bench.record.merge import merge as merge_runs
from bench.record.pack import unpack
from bench.record.store import SCRATCH, StoreError
from bench.run.settings import default_directory
from bench.terminal import program, say


def bring(options: argparse.Namespace) -> int:
    """Check a pack, unpack it beside the run, and add it."""
    parent = options.run.parent if options.run else Path("runs")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=parent) as scratch:
            manifest = unpack(options.pack, Path(scratch))
            target = options.run or default_directory(manifest.dataset, manifest.quick)
            merged = merge_runs([Path(scratch)], target)
            _keep_pictures(Path(scratch), target)
    except OSError as error:
        raise StoreError(f"{options.pack} cannot be unpacked: {error}") from error
    _tell(merged, target)
    return 0


def merge(options: argparse.Namespace) -> int:
    """Add runs to one that exists, or begin a new one with them."""
    for run in options.runs:
        if run.resolve() == options.run.resolve():
            raise StoreError(f"{run} is where the others are to go: name it once, with --run")
    _tell(merge_runs(options.runs, options.run), options.run)
    return 0


def _keep_pictures(scratch: Path, target: Path) -> None:
    if not (scratch / "pictures").is_dir():
        return
    folder = target / "pictures"
    folder.mkdir(exist_ok=True)
    for picture in (scratch / "pictures").iterdir():
        picture.replace(folder / picture.name)
    held = Manifest.read(target)
    if not Path(held.dataset_argument).exists():
        replace(held, argument=str(folder.resolve())).write(target)
    say(f"the pictures: {folder}")


def _tell(merged: Merged, target: Path) -> None:
    say(f"{merged.added} measurements added, {merged.completed} completed: {target}")
    say(f"see them: {program()} report {shlex.quote(str(target))}")
