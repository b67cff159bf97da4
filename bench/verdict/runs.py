"""Several runs of the same codecs: before and after a change, or the history of a codec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.record.manifest import Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store, StoreError, Streams
from bench.verdict import comparison
from bench.verdict.common import listed
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult, Results, collect

BEFORE, AFTER = "before", "after"
# An encoder may have changed unnoticed by its key: then several runs have measurements of one key.
_MARK = "-run"


@dataclass(frozen=True)
class Run:
    """One of the runs that are compared."""

    label: str
    directory: Path
    manifest: Manifest

    def entry(self, name: str) -> str:
        """The name, among all results, of what this run holds of a codec."""
        return f"{name} ({self.label})"


Lineage = Mapping[str, str]
"""Label of a run -> the name that one and the same codec has there."""


def before_and_after(before: Path, after: Path) -> tuple[Run, Run]:
    """Two runs.  Raises `StoreError` when they were made on different pictures."""
    runs = (
        Run(BEFORE, before, Manifest.read(before)),
        Run(AFTER, after, Manifest.read(after)),
    )
    _require_equal_images(runs)
    return runs


def history(directories: Sequence[Path]) -> tuple[Run, ...]:
    """Runs from the oldest to the newest, named by their folders.

    Raises `StoreError`: fewer than two, one named twice, different pictures.
    """
    if len(directories) < 2:
        raise StoreError("a history takes two runs or more, the newest last")
    if len({path.resolve() for path in directories}) < len(directories):
        raise StoreError("a history takes each run once")
    short = Counter(path.name for path in directories)
    labels = [path.name if short[path.name] == 1 else str(path) for path in directories]
    found = zip(labels, directories, strict=True)
    runs = tuple(Run(label, path, Manifest.read(path)) for label, path in found)
    _require_equal_images(runs)
    return runs


def lineages(
    runs: Sequence[Run], codecs: Sequence[str], renamed: Mapping[str, str]
) -> list[Lineage]:
    """What to compare: each codec under the names that it has in the runs that hold it.

    `codecs` by their names in the last run (default: all that it shares with another); `renamed`
    maps earlier names to later ones.  Raises `StoreError` where a codec that was asked for is
    missing, and when the runs share none.
    """
    last = runs[-1]
    earlier_names = {last.manifest.codec_named(new): old for old, new in renamed.items()}
    for old, new in renamed.items():
        if not any(run.manifest.codec_named(old) in run.manifest.ladders for run in runs[:-1]):
            raise StoreError(f"{old} is in no earlier run. {_holdings(runs[:-1])}")
        if last.manifest.codec_named(new) not in last.manifest.ladders:
            raise StoreError(f"{new} is not in the run {last.label}. {_holdings([last])}")
    found: list[Lineage] = []
    for typed in (*codecs, *renamed.values()) if codecs else last.manifest.ladders:
        name = typed
        for run in runs:  # an alias may be known to some only
            name = run.manifest.codec_named(name)
        old = earlier_names.get(name, name)
        held = {
            run.label: own
            for run in runs
            # What was renamed goes first: an earlier run may have another codec of the new name.
            if (own := _held(run, *((name,) if run is last else (old, name)))) is not None
        }
        missing = [run.label for run in runs if run.label not in held]
        if missing and codecs:
            raise StoreError(
                f"{typed} is not in the run {' nor in the run '.join(missing)}. {_holdings(runs)}"
            )
        if last.label in held and len(held) > 1 and held not in found:
            found.append(held)
    if not found:
        raise StoreError(f"the runs share no codec. {_holdings(runs)}")
    return found


def compare_runs(
    runs: Sequence[Run], lines: Sequence[Lineage], metrics: Sequence[str]
) -> Comparison:
    """Two runs: each codec after a change against itself before.

    More than two, or two that are no before and after: what earlier runs needed against the last.
    Raises `StoreError` where a codec could not be run.
    """
    last = runs[-1]
    results = {}
    for place, run in enumerate(runs):
        names = [line[run.label] for line in lines if run.label in line]
        results[run.label] = found = _results(run, names, last.manifest, metrics)
        for name in names:
            if name in found.unavailable:
                raise StoreError(f"{name} in the run {run.label}: {found.unavailable[name]}")
        marked = "" if run is last else f"{_MARK}{place}"
        results[run.label] = replace(
            found, codecs=tuple(_labelled(codec, run, marked) for codec in found.codecs)
        )
    newest_first = list(reversed(runs))
    codecs = [
        results[run.label].codec(run.entry(line[run.label]))
        for line in lines
        for run in newest_first
        if run.label in line
    ]
    both = replace(results[last.label], codecs=tuple(codecs))
    now = {id(line): last.entry(line[last.label]) for line in lines}
    before = [
        (now[id(line)], run.entry(line[run.label]))
        for line in lines
        for run in newest_first[1:]
        if run.label in line
    ]
    if last.label == AFTER:
        return comparison.compare_pairs(both, f"each codec's own run {BEFORE}", before)
    anchor = now[id(lines[0])] if len(lines) == 1 else f"each codec's own run {last.label}"
    return comparison.compare_pairs(both, anchor, [(old, new) for new, old in before])


def kept_streams(runs: Sequence[Run]) -> Streams:
    """Where the streams of `compare_runs`' measurements lie."""
    stores = [Store(run.directory) for run in runs]

    def find(m: Measurement) -> Path | None:
        key, marked, place = m.key.rpartition(_MARK)
        if marked:
            return stores[int(place)].kept(replace(m, key=key))
        return stores[-1].kept(m)

    return find


def _held(run: Run, *names: str) -> str | None:
    """The first of the names under which the run has measurements of a codec."""
    own = (run.manifest.codec_named(name) for name in names)
    return next((name for name in own if name in run.manifest.ladders), None)


def _holdings(runs: Sequence[Run]) -> str:
    held = (f"the run {run.label} holds {', '.join(run.manifest.ladders)}" for run in runs)
    return "; ".join(held).capitalize()


def _require_equal_images(runs: Sequence[Run]) -> None:
    last = runs[-1]
    held = {run.label: {p.digest: p.name for p in run.manifest.pictures} for run in runs}
    for run in runs[:-1]:
        for one, other in ((run, last), (last, run)):
            only = [n for digest, n in held[one.label].items() if digest not in held[other.label]]
            if only:
                raise StoreError(
                    f"the runs were made on different pictures: only the run {one.label} has "
                    f"{listed(only)}; make both on the same data set"
                )


def _results(run: Run, names: Sequence[str], last: Manifest, metrics: Sequence[str]) -> Results:
    """One run's curves, under the last run's names of images."""
    return collect(
        Store(run.directory),
        [run.manifest.ladders[name] for name in names],
        last.pictures,
        metrics=metrics,
        dataset=last.label,
    )


def _labelled(codec: CodecResult, run: Run, marked: str) -> CodecResult:
    cells = codec.measurements.items()
    return replace(
        codec,
        name=run.entry(codec.name),
        label=run.entry(codec.label),
        measurements={cell: replace(m, key=m.key + marked) for cell, m in cells},
    )
