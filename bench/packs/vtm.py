"""Makes the pack of VTM's streams of Kodak out of the raw streams, and scores nothing.

    python -m bench.packs.vtm STREAMS

STREAMS has `kodimNN.qpQQ.266`, VTM 23.13, 4:4:4, 10 bit, all-intra (`encoder_intra_vtm.cfg`), one
frame, from Kodak's pictures converted as `codecs.reference` does it; the command of each is in the
pack.  Each is decoded here, by FFmpeg, before it is taken.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from bench.metrics.base import MetricValue
from bench.record.manifest import Ladder, Manifest, RunImage
from bench.record.measurement import Measurement, digest, measurement_key, now
from bench.record.pack import SUFFIX, write_pack
from bench.record.store import Store
from bench.run.packs import SHIPPED
from codecs import framing, registry
from codecs.base import Point
from datasets.loading import load_ref
from datasets.registry import open_dataset

VERSION = "VTM 23.13, encoder_intra_vtm.cfg; stream 1"
SETTINGS = {
    "encoder": "EncoderAppStatic, version 23.13",
    "configuration": "encoder_intra_vtm.cfg",
    "frames": "1, intra, internal bit depth 10, no picture hash",
    "colour": "BT.709, full range, float conversion, rounded to 10 bit",
    "chroma": "4:4:4",
    "decoder": "FFmpeg vvc",
}
COMMAND = (
    "EncoderAppStatic -c encoder_intra_vtm.cfg -i in.yuv -b out.266 -o rec.yuv -wdt {width} "
    "-hgt {height} -fr 1 -f 1 -q {qp} --InputBitDepth=10 --OutputBitDepth=10 "
    "--InternalBitDepth=10 --InputChromaFormat=444 --ChromaFormatIDC=444 "
    "--ConformanceWindowMode=1 --SEIDecodedPictureHash=0"
)


def make(streams: Path, target: Path) -> int:
    """The pack of all streams of a folder; returns how many."""
    from bench.metrics import MetricsEngine

    dataset = open_dataset("kodak")
    engine, decoder = MetricsEngine(("psnr",)), registry.create("vtm", encoding=False)
    if not streams.is_dir() or not any(streams.glob("*.qp*.266")):
        raise SystemExit(f"{streams} has no streams named kodimNN.qpQQ.266")
    qps: set[int] = set()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        with store.locked():
            for image in dataset.images:
                original = load_ref(image)
                prepared = engine.prepare(original)
                for path in sorted(streams.glob(f"{Path(image.name).stem}.qp*.266")):
                    qp = int(re.findall(r"qp(\d+)", path.name)[0])
                    qps.add(qp)
                    height, width = original.shape[:2]
                    data = framing.pack(framing.VTM, height, width, path.read_bytes())
                    decoded = decoder.decode(data)
                    point = Point("qp", qp)
                    key = measurement_key("vtm", VERSION, SETTINGS, point, image.digest)
                    psnr: MetricValue = engine.score(prepared, decoded)["psnr"]
                    store.stream_path(key).write_bytes(data)
                    store.append(
                        Measurement(
                            key=key,
                            status="ok",
                            codec="vtm",
                            label="VTM 23.13 intra, 4:4:4 10 bit",
                            version=VERSION,
                            settings=SETTINGS,
                            parameter=point.parameter,
                            value=point.value,
                            dataset="kodak",
                            image=image.name,
                            image_digest=image.digest,
                            width=width,
                            height=height,
                            command=COMMAND.format(width=width, height=height, qp=qp),
                            bytes=len(data),
                            stream_digest=digest(data),
                            reconstruction_digest=digest(decoded.data),
                            metrics={"psnr": psnr},
                            time=now(),
                        )
                    )
            points = tuple(Point("qp", qp) for qp in sorted(qps, reverse=True))
            Manifest(
                dataset="kodak",
                label="Kodak (24 images)",
                source=dataset.source,
                pictures=tuple(RunImage.of(image) for image in dataset.images),
                skipped=(),
                notes=(),
                quick=False,
                names={"vtm": "vtm"},
                ladders={"vtm": Ladder("vtm", VERSION, SETTINGS, points)},
                unavailable={},
                metrics={"psnr": "1"},
                command="python -m bench.packs.vtm",
                host={"processor": "encoded elsewhere"},
                packages={},
                started=now(),
                argument="kodak",
            ).write(Path(scratch))
            return write_pack(Path(scratch), target)


if __name__ == "__main__":
    out = SHIPPED / f"kodak-vtm{SUFFIX}"
    print(f"{make(Path(sys.argv[1]), out)} streams, {out.stat().st_size:,} bytes: {out}")
