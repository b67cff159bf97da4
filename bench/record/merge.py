"""Runs of one data set put together, as if one machine had measured them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from bench.record.manifest import Ladder, Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store, StoreError
from codecs.base import Point
from datasets.cache import write_atomically

SHOWN = 5
"""Conflicts that an error names."""


@dataclass(frozen=True)
class Merged:
    """What a merge brought."""

    added: int
    """Measurements that the target did not have, or had as failed ones."""
    completed: int
    """Those that got metrics, or a stream, that they lacked."""


def merge(sources: Sequence[Path], target: Path) -> Merged:
    """Bring the measurements, streams and codecs of run directories into `target`.

    Everything is compared before anything is written.  Raises `StoreError`: other pictures, a
    codec of two versions, and measurements of one key with different streams, which no choice of
    ours would make right.
    """
    store = Store(target)
    with store.locked():
        held = Manifest.earlier(target)
        manifests = [*([held] if held else []), *(Manifest.read(source) for source in sources)]
        manifest = _merged(manifests)
        before = {m.key: m for m in store}
        wanted, origins = dict(before), dict.fromkeys(before, store)
        conflicts: list[str] = []
        for source in map(Store, sources):
            for m in source:
                known = wanted.get(m.key)
                if known is not None and _conflict(known, m):
                    conflicts.append(f"{m.codec} {m.point.label} of {m.image}")
                elif known is None or (known.status != "ok" and m.status == "ok"):
                    wanted[m.key], origins[m.key] = m, source
                else:
                    wanted[m.key] = _completed(known, m)
                    if m.status == "ok" and origins[m.key].kept(m) is None:
                        origins[m.key] = source
        if conflicts:
            more = f" and {len(conflicts) - SHOWN} more" if len(conflicts) > SHOWN else ""
            raise StoreError(
                "the same codec, version and settings made different streams: "
                f"{', '.join(conflicts[:SHOWN])}{more}.  Nothing was merged; find out which run is "
                "wrong (an encoder that is not deterministic, or changed without a new version)"
            )
        return _write(store, manifest, before, wanted, origins)


def _write(
    store: Store,
    manifest: Manifest,
    before: dict[str, Measurement],
    wanted: dict[str, Measurement],
    origins: dict[str, Store],
) -> Merged:
    added = completed = 0
    for key, m in wanted.items():
        known, origin = before.get(key), origins[key]
        kept = origin.kept(m) if origin is not store else None
        if kept is not None:
            write_atomically(store.stream_path(key), kept.read_bytes(), sync=False)
        if m != known:
            store.append(m)
            fresh = known is None or (known.status != "ok" and m.status == "ok")
            added, completed = added + fresh, completed + (not fresh)
    manifest.write(store.directory)
    return Merged(added, completed)


def _conflict(one: Measurement, other: Measurement) -> bool:
    both = one.status == other.status == "ok"
    return both and one.stream_digest != other.stream_digest


def _completed(known: Measurement, other: Measurement) -> Measurement:
    """A measurement with the metrics that only another one of the same stream has."""
    if known.status != "ok" or other.status != "ok":
        return known
    lacking = {
        name: score
        for name, score in other.metrics.items()
        if (score.value is not None or score.is_infinite)
        and (name not in known.metrics or known.metrics[name].value is None)
        and not (name in known.metrics and known.metrics[name].is_infinite)
    }
    if not lacking:
        return known
    rescored = dict(known.rescored)
    if other.reconstruction_digest != known.reconstruction_digest:
        found = str(other.reconstruction_digest)
        rescored |= {name: other.rescored.get(name, found) for name in lacking}
    return replace(known, metrics={**known.metrics, **lacking}, rescored=rescored)


def _merged(manifests: Sequence[Manifest]) -> Manifest:
    """The manifest of the run with the most pictures, with what the others have besides."""
    largest = max(manifests, key=lambda m: len(m.pictures))
    pictures = {picture.digest for picture in largest.pictures}
    for m in manifests:
        if others := [p.name for p in m.pictures if p.digest not in pictures]:
            raise StoreError(
                f"{m.label} has pictures that {largest.label} has not, such as {others[0]}: only "
                "runs of one data set, or of a part of it, are merged"
            )
    rest = [m for m in manifests if m is not largest]
    ladders = reduce(_ladders, (dict(m.ladders) for m in manifests))
    whole = reduce(lambda one, other: one.joined_by(other), rest, largest)
    missing = {
        name: why
        for m in manifests
        for name, why in m.unavailable.items()
        if m.codec_named(name) not in ladders
    }
    return replace(whole, ladders=ladders, unavailable=missing)


def _ladders(held: dict[str, Ladder], others: dict[str, Ladder]) -> dict[str, Ladder]:
    joined = dict(held)
    for name, ladder in others.items():
        known = held.get(name, ladder)
        if (known.version, known.settings) != (ladder.version, ladder.settings):
            what = "versions" if known.version != ladder.version else "settings"
            raise StoreError(
                f"{name} was run with other {what} in another of these runs ({known.version}; "
                f"{ladder.version}), and cannot be one codec of a report: measure it anew in one "
                "of them"
            )
        joined[name] = replace(known, points=_points(known.points, ladder.points))
    return joined


def _points(held: tuple[Point, ...], others: tuple[Point, ...]) -> tuple[Point, ...]:
    """All points, low rate to high, by the order that the ladders have."""
    new = [point for point in others if point not in held]
    if not new:
        return held
    if set(held) <= set(others):
        return others
    numbers = {p: p.value for p in (*held, *new) if isinstance(p.value, int | float)}
    if len(numbers) == len(held) + len(new) > 2 and len(held) > 1:
        falling = numbers[held[0]] > numbers[held[-1]]
        return tuple(sorted(numbers, key=numbers.__getitem__, reverse=falling))
    return (*held, *new)
