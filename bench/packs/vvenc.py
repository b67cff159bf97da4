"""Makes the pack of VVenC's streams of Kodak out of a run.

    python -m bench run vvenc vvenc:qpa --dataset kodak --metrics psnr --run RUN
    python -m bench.packs.vvenc RUN

Times are left out, for the machine was shared, and of scores all but PSNR, by which a decoder is
told that gives other pictures.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.record.manifest import Manifest
from bench.record.pack import SUFFIX, write_pack
from bench.record.store import Store
from bench.run.packs import SHIPPED

CODECS = ("vvenc", "vvenc:qpa")


def make(run: Path, target: Path) -> int:
    """The pack of what a run has of both; returns how many streams."""
    manifest, store = Manifest.read(run), Store(run)
    with tempfile.TemporaryDirectory() as scratch:
        packed = Store(Path(scratch))
        with packed.locked():
            for m in store:
                kept = store.kept(m) if m.codec in CODECS and m.status == "ok" else None
                if kept is not None:
                    shutil.copy(kept, packed.stream_path(m.key))
                    scores = {"psnr": m.metrics["psnr"]}
                    packed.append(
                        replace(m, metrics=scores, encode=None, decode=None, rescored={}, host="")
                    )
            replace(
                manifest,
                names={name: name for name in CODECS},
                ladders={name: manifest.ladders[name] for name in CODECS},
                metrics={"psnr": manifest.metrics["psnr"]},
                command="python -m bench run vvenc vvenc:qpa --dataset kodak --metrics psnr",
            ).write(Path(scratch))
            return write_pack(Path(scratch), target)


if __name__ == "__main__":
    out = SHIPPED / f"kodak-vvenc{SUFFIX}"
    print(f"{make(Path(sys.argv[1]), out)} streams, {out.stat().st_size:,} bytes: {out}")
