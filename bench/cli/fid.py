"""FID and KID of what a run has stored, for each codec and point over the whole set."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from bench.cli.options import UsageError
from bench.cli.reporting import every_original, note_part, wanted_codecs
from bench.export import measured
from bench.metrics import MetricUnavailable, inception
from bench.metrics.inception import Extractor, Features
from bench.record.manifest import Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store
from bench.run.decoding import Decoders, decoders
from bench.terminal import say, show
from datasets.base import ImageRef
from datasets.cache import write_atomically
from datasets.loading import load_ref

BATCH = 8
"""Pictures held in memory at once."""
NAME = "fid.csv"
COLUMNS = ("codec", "point", "bpp", "fid", "kid", "patches", "reason", "computed_by")


def fid(options: argparse.Namespace) -> int:
    """Print a table and write it beside the measurements; status 1 where a point has no value."""
    try:
        extract = inception.extractor()
    except MetricUnavailable as error:
        raise UsageError(f"FID and KID are unavailable: {error}") from error
    manifest, store = Manifest.read(options.run), Store(options.run)
    note_part(options.run)
    wanted = wanted_codecs(manifest, options)
    pictures = every_original(manifest)
    reference = [extract(inception.patches(load_ref(picture))) for picture in pictures]
    if (count := sum(map(len, reference))) < 2:
        raise UsageError(
            f"{manifest.label} gives {count} patches of {inception.PATCH} x {inception.PATCH}: "
            "too few for a distance of sets"
        )
    typed = {own: name for name, own in manifest.names.items()}
    rows = []
    with store.locked(), decoders(store, typed, options.jobs) as pool:
        for group in _points(m for m in measured(options.run) if m.codec in wanted):
            rows.append(_row(group, pictures, reference, extract, pool))
            show(" ".join(_shown(rows[-1])))
    write_atomically(options.run / NAME, _csv(rows))
    say(f"{options.run / NAME}")
    return int(any(row["reason"] for row in rows))


def _points(rows: Iterator[Measurement]) -> list[list[Measurement]]:
    """The measurements of each codec and point, in the order of the rows."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for m in rows:
        groups.setdefault((m.codec, m.point.label), []).append(m)
    return list(groups.values())


def _row(
    group: Sequence[Measurement],
    pictures: Sequence[ImageRef],
    reference: Sequence[Features],
    extract: Extractor,
    pool: Decoders,
) -> dict[str, object]:
    """One line of the table; with a reason instead of values unless all pictures are there."""
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row |= {"codec": group[0].codec, "point": group[0].point.label}
    row |= {"computed_by": inception.version(), "bpp": float(np.mean([m.bpp for m in group]))}
    by_digest = {m.image_digest: m for m in group if m.status == "ok"}
    if lacking := [p.name for p in pictures if p.digest not in by_digest]:
        return row | {"reason": f"{len(lacking)} pictures were not coded, such as {lacking[0]}"}
    features = []
    for start in range(0, len(pictures), BATCH):
        ours = pictures[start : start + BATCH]
        known = {picture.digest: picture for picture in ours}
        for found in pool.decode([by_digest[picture.digest] for picture in ours], known):
            if found.image is None:
                return row | {"reason": f"{found.measurement.image}: {found.reason}"}
            features.append(extract(inception.patches(found.image)))
    whole = np.concatenate(reference)
    distances = inception.distances(whole, np.concatenate(features))
    shown = "" if distances.fid is None else distances.fid
    return row | {"fid": shown, "kid": distances.kid, "patches": len(whole)}


def _shown(row: dict[str, object]) -> Iterator[str]:
    yield f"{row['codec']} {row['point']}: {row['bpp']:.4f} bpp,"
    if row["reason"]:
        yield f"no value: {row['reason']}"
        return
    yield f"FID {row['fid']:.3f}," if row["fid"] != "" else "no FID (too few patches),"
    yield f"KID {row['kid']:.6f} over {row['patches']} patches"


def _csv(rows: Sequence[dict[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
