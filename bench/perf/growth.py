"""What a large run costs the harness: a made-up store of 20 codecs with 8 points each.

Seconds are CPU time: all of this is one thread, and machines are shared.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from bench.metrics import versions
from bench.metrics.base import MetricValue
from bench.perf import Figure
from bench.record.measurement import Measurement, Timing, digest, key_of
from bench.record.store import Store
from bench.run.plan import make_plan
from codecs import registry
from datasets.base import Dataset
from datasets.registry import open_dataset

POINTS = "@0:70:10"
CODECS = (
    *("jpeg@10:80:10", f"webp{POINTS}"),
    *(
        "avif" + "".join(parts) + POINTS
        for parts in itertools.product(
            ("", ":420"), ("", ":speed-2", ":speed-4"), ("", ":ssim", ":iq")
        )
    ),
)
METRICS = ("psnr", "ms-ssim", "lpips-alex")


def measure(pictures: int) -> Iterator[Figure]:
    """Plan, a run with nothing to do, and a report, of `pictures` x 20 x 8 measurements."""
    count = f"{pictures * 160:,} measurements"
    with tempfile.TemporaryDirectory() as scratch:
        folder, run = Path(scratch, "pictures"), Path(scratch, "run")
        _make_pictures(folder, pictures)
        dataset = open_dataset(str(folder))
        run.mkdir()
        _fill(Store(run), dataset)
        start = time.process_time()
        plan = make_plan(CODECS, dataset, Store(run), versions(METRICS, {}))
        if plan.tasks:
            raise RuntimeError(f"{len(plan.tasks)} measurements would be made, not none")
        yield Figure(f"{count}: plan", f"{time.process_time() - start:.1f} s", "<= 15 s")
        options = ["--dataset", str(folder), "--run", str(run), "--quiet", "--no-report"]
        arguments = ["run", *CODECS, *options, "--metrics", *METRICS]
        yield Figure(f"{count}: nothing to do", f"{_seconds(arguments):.1f} s", "<= 15 s")
        seconds = _seconds(["report", str(run), "--no-pictures"])
        yield Figure(f"{count}: report", f"{seconds:.1f} s", "<= 60 s")
        page = (run / "report.html").stat().st_size
        yield Figure(f"{count}: page", f"{page / 1e6:.2f} MB", "<= 3 MB")
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        yield Figure(f"{count}: memory", f"{most:.2f} GiB", "<= 2 GiB")


def _seconds(arguments: list[str]) -> float:
    start = _children()
    subprocess.run([sys.executable, "-m", "bench", *arguments], check=True, capture_output=True)
    return _children() - start


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _make_pictures(folder: Path, count: int) -> None:
    """Small ones, for only their number counts here; each is another file."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        PillowImage.fromarray(pixels).save(folder / f"{i:04}.png")


def _fill(store: Store, dataset: Dataset) -> None:
    """Curves that rise and differ from codec to codec and from picture to picture."""
    known = versions(METRICS, {})
    with store.path.open("w", encoding="utf-8") as lines:
        for place, codec in enumerate(map(registry.create, CODECS)):
            for step, point in enumerate(codec.points):
                for number, image in enumerate(dataset.images):
                    quality = 25 + 2.5 * step + number % 17 / 10
                    values = (quality, 1 - 10 ** (-quality / 25), 0.7 * 0.8**step)
                    pairs = zip(METRICS, values, strict=True)
                    m = Measurement(
                        key=key_of(codec, point, image),
                        status="ok",
                        codec=codec.name,
                        label=codec.label,
                        version=codec.version,
                        settings=dict(codec.settings),
                        parameter=point.parameter,
                        value=point.value,
                        dataset=dataset.name,
                        image=image.name,
                        image_digest=image.digest,
                        width=image.width,
                        height=image.height,
                        bytes=int(2 ** (step + 3) * (1 + place / 40) * (1 + number % 13 / 50)),
                        stream_digest=digest(b"stream"),
                        reconstruction_digest=digest(b"picture"),
                        metrics={name: MetricValue(v, known[name]) for name, v in pairs},
                        encode=Timing(0.1, 0.1),
                        decode=Timing(0.1, 0.1),
                        jobs=2,
                    )
                    lines.write(m.to_json() + "\n")
