"""Two runs of the same codecs, before and after a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.record.manifest import Ladder, Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store, StoreError, Streams
from bench.verdict import comparison
from bench.verdict.common import listed
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult, Results, collect

BEFORE, AFTER = "before", "after"
# An encoder may have changed unnoticed by its key: then both runs have measurements of one key.
_EARLIER = "-before"


def compare_runs(before: Path, after: Path, codecs: Sequence[str]) -> Comparison:
    """Each codec of the later run against the same codec of the earlier one.

    `codecs` restricts the comparison (default: all that both runs hold).  Raises `StoreError`
    when the runs share no codec or were made on different images.
    """
    manifests = {BEFORE: Manifest.read(before), AFTER: Manifest.read(after)}
    _require_equal_images(manifests)
    names = _shared(manifests, codecs)
    runs = {
        label: _results(directory, [manifests[label].ladders[name] for name in names], manifests)
        for label, directory in ((BEFORE, before), (AFTER, after))
    }
    for name in names:
        for label, run in runs.items():
            if name in run.unavailable:
                raise StoreError(f"{name} in the run {label}: {run.unavailable[name]}")
    both = [
        _labelled(runs[label].codec(name), label) for name in names for label in (AFTER, BEFORE)
    ]
    return comparison.compare_pairs(
        replace(runs[AFTER], codecs=tuple(both)),
        anchor=f"each codec's own run {BEFORE}",
        pairs=[(f"{name} ({AFTER})", f"{name} ({BEFORE})") for name in names],
    )


def _require_equal_images(manifests: Mapping[str, Manifest]) -> None:
    held = {label: {p.digest: p.name for p in m.pictures} for label, m in manifests.items()}
    for label, other in ((BEFORE, AFTER), (AFTER, BEFORE)):
        only = [name for digest, name in held[label].items() if digest not in held[other]]
        if only:
            raise StoreError(
                f"the runs were made on different pictures: only the run {label} has "
                f"{listed(only)}; make both on the same data set"
            )


def _shared(manifests: Mapping[str, Manifest], codecs: Sequence[str]) -> list[str]:
    """The codecs to compare, by their own names."""
    held = {label: manifest.ladders for label, manifest in manifests.items()}
    typed = {
        name: manifests[AFTER].codec_named(manifests[BEFORE].codec_named(name))
        for name in codecs or held[AFTER]
    }
    for name, own in typed.items():
        missing = [label for label in (BEFORE, AFTER) if own not in held[label]]
        if missing and codecs:
            raise StoreError(
                f"{name} is not in the run {' nor in the run '.join(missing)}: the run {BEFORE} "
                f"holds {', '.join(held[BEFORE])}; the run {AFTER} holds {', '.join(held[AFTER])}"
            )
    names = [own for own in typed.values() if own in held[BEFORE] and own in held[AFTER]]
    if not names:
        raise StoreError(
            f"the runs share no codec: the run {BEFORE} holds {', '.join(held[BEFORE])}; "
            f"the run {AFTER} holds {', '.join(held[AFTER])}"
        )
    return list(dict.fromkeys(names))


def _results(directory: Path, ladders: list[Ladder], manifests: Mapping[str, Manifest]) -> Results:
    """One run's curves, under the later run's names of images."""
    after = manifests[AFTER]
    return collect(
        Store(directory), ladders, after.pictures, metrics=after.known_metrics, dataset=after.label
    )


def _labelled(codec: CodecResult, label: str) -> CodecResult:
    cells = codec.measurements.items()
    suffix = _EARLIER if label == BEFORE else ""
    return replace(
        codec,
        name=f"{codec.name} ({label})",
        label=f"{codec.label} ({label})",
        measurements={cell: replace(m, key=m.key + suffix) for cell, m in cells},
    )


def kept_streams(before: Path, after: Path) -> Streams:
    """Where the streams of `compare_runs`' measurements lie."""
    earlier, later = Store(before), Store(after)

    def find(m: Measurement) -> Path | None:
        key = m.key.removesuffix(_EARLIER)
        return later.kept(m) if key == m.key else earlier.kept(replace(m, key=key))

    return find
