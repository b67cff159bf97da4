"""Two runs of the same codecs, before and after a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import comparison
from bench.comparison import Comparison
from bench.results import collect
from bench.run import Manifest
from bench.store import Measurement, Store, StoreError

BEFORE, AFTER = "before", "after"


def compare_runs(before: Path, after: Path, codecs: Sequence[str]) -> Comparison:
    """Each codec of the later run against the same codec of the earlier one.

    `codecs` restricts the comparison (default: all that both runs hold).  Raises `StoreError`
    when the runs share no codec, `UnequalImages` when they were made on different pictures.
    """
    manifests = {BEFORE: Manifest.read(before), AFTER: Manifest.read(after)}
    rows = {BEFORE: list(Store(before)), AFTER: list(Store(after))}
    held = {label: {m.codec for m in rows[label]} for label in rows}
    ordered = dict.fromkeys(m.codec for m in rows[AFTER])
    names = [name for name in codecs or ordered if name in held[BEFORE] & held[AFTER]]
    missing = [name for name in codecs if name not in names]
    if missing or not names:
        raise StoreError(
            f"{', '.join(missing) or 'no codec'} is in both runs: {before} holds "
            f"{', '.join(sorted(held[BEFORE]))}; {after} holds {', '.join(sorted(held[AFTER]))}"
        )
    renamed = [
        _renamed(m, label)
        for label in (BEFORE, AFTER)
        for m in rows[label]
        if m.image in manifests[label].images
    ]
    results = collect(
        renamed,
        codecs=[f"{name} ({label})" for name in names for label in (AFTER, BEFORE)],
        metrics=tuple(manifests[AFTER].metrics),
        dataset=manifests[AFTER].label,
    )
    return comparison.compare_pairs(
        results,
        anchor=f"each codec's own run {BEFORE}",
        pairs=[(f"{name} ({AFTER})", f"{name} ({BEFORE})") for name in names],
    )


def _renamed(measurement: Measurement, label: str) -> Measurement:
    return replace(
        measurement,
        codec=f"{measurement.codec} ({label})",
        label=f"{measurement.label} ({label})",
    )
