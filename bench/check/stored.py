"""Is what a run shows true?  Every stream of it is decoded again, isolated; some are scored again.

The decoders see neither the pictures nor the run, and beside a codec's own file nothing that has
come there since its encoder began.
"""

from __future__ import annotations

import calendar
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import metrics
from bench.check.finding import Finding
from bench.record.manifest import Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store
from bench.run.corpus import Sizes
from bench.run.decoding import Decoded, Decoders, decoders
from bench.run.replay import same_score
from bench.run.sandboxed import Walls, stream_alone
from bench.verdict.common import listed
from codecs.base import CodecError
from codecs.selection import CORPUS
from datasets.base import ImageRef

BATCH = 8
"""Pictures held in memory at once."""
SHOWN = 20
"""Differences of one codec that are told one by one."""


def verify(
    run: Path, originals: Mapping[str, ImageRef], sample: int, jobs: int
) -> Iterator[Finding]:
    """A finding for each codec, then one for each thing that is wrong of it.

    `originals` by digest, for what is scored: `sample` measurements of each codec, drawn.  Metrics
    that cannot be computed here as they were then come first.  Raises `StoreError`.
    """
    manifest, store = Manifest.read(run), Store(run)
    stored = {m.key: m for m in store}
    typed = {own: name for name, own in manifest.names.items()}
    versions = metrics.versions(tuple(n for n in manifest.known_metrics if n in metrics.names()))
    yield from _not_scored(manifest, versions, originals)
    walls = Walls.around(run, originals.values(), _since(store, manifest, typed))
    shown: set[str] = set()
    with store.locked(), decoders(store, typed, jobs, walls=walls) as pool:
        for name, ladder in manifest.ladders.items():
            keys = [key for picture in manifest.pictures for key in ladder.keys(picture)]
            shown.update(keys)
            rows = [stored[key] for key in keys if key in stored and stored[key].status == "ok"]
            scored = [m for m in rows if m.image_digest in originals]
            drawn = random.sample(scored, min(sample, len(scored)))
            rescore = {m.key: _comparable(m, versions) for m in drawn}
            yield from _codec(name, rows, pool, originals, rescore, walls, typed.get(name, name))
    if others := sum(m.status == "ok" and m.key not in shown for m in stored.values()):
        what = (
            f"{others} stored beside these, of points, pictures or versions that the last command"
        )
        yield Finding(
            "the rest", "note", f"{what} did not ask for, are in no report and not verified"
        )


def _codec(
    name: str,
    rows: Sequence[Measurement],
    pool: Decoders,
    originals: Mapping[str, ImageRef],
    rescore: Mapping[str, tuple[str, ...]],
    walls: Walls,
    typed: str,
) -> Iterator[Finding]:
    wrong: list[Finding] = []
    unavailable, near, scores = "", 0, 0
    for start in range(0, len(rows), BATCH):
        for found in pool.decode(rows[start : start + BATCH], originals, rescore):
            if found.unavailable:
                unavailable = found.reason
                continue
            where = f"{found.measurement.point.label} of {found.measurement.image}"
            wrong += [Finding(where, "wrong", what, name) for what in _differences(found)]
            near += not found.exact
            scores += len(found.scores)
        if unavailable:
            yield Finding(name, "missing", f"cannot be decoded here: {unavailable}")
            return
    one = len(rows) == 1
    count = f"{len(rows)} stream{'' if one else 's'}"
    if wrong:
        places = len({finding.name for finding in wrong})
        are = "is" if places == 1 else "are"
        yield Finding(name, "wrong", f"{places} of {count} {are} not what was measured")
        yield from wrong[:SHOWN]
        if len(wrong) > SHOWN:
            yield Finding("and", "wrong", f"{len(wrong) - SHOWN} more", name)
        yield Finding("the decoder", "note", _alone(walls, typed), name)
        return
    how = "decodes to the measured picture" if one else "decode to the measured pictures"
    how += f", {near} of them but for rounding" if near else ""
    yield Finding(name, "ok", f"{count} {how}; {scores} scores made again are the same")


def _differences(found: Decoded) -> Iterator[str]:
    """What is not as it was measured."""
    m = found.measurement
    if found.image is None:
        yield found.reason
    elif found.size != m.bytes:
        yield f"the stream has {found.size} bytes, and {m.bytes} are stored"
    for name, score in found.scores.items():
        stored = m.metrics[name]
        if score.version == stored.version and not same_score(name, stored.value, score.value):
            yield f"{metrics.info(name).label} is {score.value}, and {stored.value} is stored"


def _alone(walls: Walls, typed: str) -> str:
    """What a decoder had to do without."""
    try:
        beside = [path.name for path in walls.hiding(typed) if path not in walls.hidden]
    except CodecError:
        beside = []
    text = stream_alone([]).removeprefix("; it")
    if beside:
        text += f"; hidden as newer than the run: {listed(beside)}"
    return f"it{text}. What needs more than its stream here was not measured by its size."


def _comparable(m: Measurement, versions: Mapping[str, str]) -> tuple[str, ...]:
    """The metrics whose scores of this measurement must be the same here."""
    return tuple(
        name
        for name, version in versions.items()
        if name in m.metrics and m.metrics[name].version == version and name not in m.rescored
    )


def _not_scored(
    manifest: Manifest, versions: Mapping[str, str], originals: Mapping[str, ImageRef]
) -> Iterator[Finding]:
    """What is not scored again, and why."""
    if lacking := [p.name for p in manifest.pictures if p.digest not in originals]:
        yield Finding("pictures", "missing", f"{listed(lacking)}: not scored again")
    for name in manifest.known_metrics:
        here, then = versions.get(name), manifest.metrics.get(name)
        if here is None:
            yield Finding(name, "note", "from outside: not scored again")
        elif here.startswith("unavailable"):
            label, why = metrics.info(name).label, here.removeprefix("unavailable: ")
            yield Finding(label, "missing", f"not scored again: {why}")
        elif here != then:
            why = f"not scored again: measured by {then}, here is {here}"
            yield Finding(metrics.info(name).label, "note", why)


def _since(store: Store, manifest: Manifest, typed: Mapping[str, str]) -> dict[str, float]:
    """What the user typed -> when a codec first encoded on this machine for what now counts."""
    versions = {name: ladder.version for name, ladder in manifest.ladders.items()}
    host, found = os.uname().nodename, dict[str, float]()
    for m in store.history():
        if m.host == host and m.version == versions.get(m.codec):
            begun = float(calendar.timegm(time.strptime(m.time, "%Y-%m-%dT%H:%M:%SZ")))
            name = typed.get(m.codec, m.codec)
            found[name] = min(begun, found.get(name, begun))
    searched = Sizes(store).begun
    return {n: min(t, searched) if n.endswith(CORPUS) else t for n, t in found.items()}
