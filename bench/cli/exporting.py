"""From what is stored to files for other programs."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

from PIL import Image as Pillow

from bench.cli.options import UsageError
from bench.cli.reporting import every_original, note_part, unlikely, wanted_codecs
from bench.export import export, measured, safe_name
from bench.record.manifest import Manifest
from bench.record.pack import SUFFIX, write_pack
from bench.record.store import Store
from bench.run.decoding import decoders
from bench.terminal import program, say
from codecs.base import Image
from datasets.cache import write_atomically
from reports.showing import originals

BATCH = 8
"""Pictures held in memory at once."""


def points(options: argparse.Namespace) -> int:
    """Rate-distortion points, or the whole run as a pack."""
    if options.out:
        return _pack(options)
    if options.with_pictures:
        raise UsageError("--with-pictures is for --out FILE")
    folder = options.to or options.run / "export"
    note_part(options.run)
    texts = export(options.run, options.format)
    _make(folder)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
        say(f"{folder / name}")
    for sentence in unlikely(options.run):
        say(sentence)
    return 0


def _pack(options: argparse.Namespace) -> int:
    out: Path = options.out
    if not out.name.endswith(SUFFIX):
        raise UsageError(f"a pack is called FILE{SUFFIX}, not {out.name}")
    manifest = Manifest.read(options.run)
    pictures = None
    if options.with_pictures:
        pictures = {picture.digest: picture.path for picture in every_original(manifest)}
    with Store(options.run).locked():
        count = write_pack(options.run, out, pictures)
    say(f"{count} measurements and their streams, {out.stat().st_size / 1e6:.1f} MB: {out}")
    say(f"elsewhere: {program()} import {out.name}")
    return 0


def images(options: argparse.Namespace) -> int:
    """`kodim01.vvenc.qp37.png` and `.bin` for each measurement, and `manifest.csv`."""
    folder = options.to or options.run / "images"
    manifest, store = Manifest.read(options.run), Store(options.run)
    wanted = wanted_codecs(manifest, options)
    note_part(options.run)
    rows = [m for m in measured(options.run) if m.codec in wanted and m.status == "ok"]
    typed = {own: name for name, own in manifest.names.items()}
    _make(folder)
    table: list[dict[str, object]] = []
    failed = 0
    taken: set[str] = set()
    known = originals(manifest)  # to score what this machine decodes a little otherwise
    with store.locked(), decoders(store, typed, options.jobs) as pool:
        for start in range(0, len(rows), BATCH):
            for found in pool.decode(rows[start : start + BATCH], known):
                m = found.measurement
                stem = _stem(m.image, m.codec, f"{m.parameter}{m.value}", taken)
                if found.image is None:
                    failed += 1
                    say(f"{stem}: {found.reason}")
                    continue
                write_atomically(folder / f"{stem}.png", _png(found.image))
                stream = store.kept(m)
                if stream is not None:
                    write_atomically(folder / f"{stem}.bin", stream.read_bytes())
                table.append(
                    {
                        "file": f"{stem}.png",
                        "stream": f"{stem}.bin",
                        "image": m.image,
                        "codec": m.codec,
                        "point": m.point.label,
                        "bytes": m.bytes,
                        "bpp": m.bpp,
                        **{name: m.metric(name) for name in manifest.known_metrics},
                        "stream_sha256": m.stream_digest,
                    }
                )
    text = io.StringIO()
    if table:
        writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    write_atomically(folder / "manifest.csv", text.getvalue().encode())
    say(f"{len(table)} pictures and streams, manifest.csv: {folder}")
    return int(failed > 0)


def _stem(image: str, codec: str, point: str, taken: set[str]) -> str:
    """`kodim01.vvenc.qp37`, with a number where that is taken already."""
    plain = ".".join(map(safe_name, (Path(image).stem, codec, point)))
    stem, count = plain, 1
    while stem.lower() in taken:
        count += 1
        stem = f"{plain}.{count}"
    taken.add(stem.lower())
    return stem


def _png(image: Image) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, "PNG")
    return out.getvalue()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; give another --to") from error
