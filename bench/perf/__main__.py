"""`make perf`: what the harness itself costs, as ratios of things measured side by side in one run.

Machines differ and are noisy, so each figure is a ratio, or wall time of a whole command as a
user would wait for it; each is the median of several runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from bench.metrics import DEFAULT
from bench.perf import Figure, growth, learned
from bench.perf import metrics as perf_metrics
from bench.run.execute import execute
from bench.run.progress import Progress
from bench.run.settings import RunSettings

RERUN_CODECS = ("jpeg", "jpeg2000", "webp", "avif", "hevc")
OVERHEAD_CODECS = ("jpeg", "webp", "avif", "hevc", "vvenc:faster")
OVERHEAD_METRICS = tuple(name for name in DEFAULT if name != "lpips-vgg")
"""VGG-16 takes seconds an image: half an hour in all, beside which no overhead would show."""


def main() -> int:
    """Print each figure as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf", description=__doc__)
    parser.add_argument(
        "--growth",
        type=int,
        metavar="PICTURES",
        help="only what a run of so many pictures costs, 160 measurements each",
    )
    pictures = parser.parse_args().growth
    print(Figure("what", "measured", "asked"))
    all_others = (metrics_engine, overhead, nothing_to_do, start_up, learned.measure)
    of_size = (lambda: growth.measure(pictures or 100),)
    for measure in of_size if pictures else (*all_others, *of_size):
        for figure in measure():
            print(figure, flush=True)
    return 0


def metrics_engine() -> Iterator[Figure]:
    """Our metrics against plain calls of the packages, six-point ladder, 768 x 512, one thread."""
    rows = perf_metrics.measure()
    for name, ours, plain in rows:
        yield Figure(f"{name}: plain / ours", f"{plain:.2f} s / {ours:.2f} s")
    ours, plain = sum(row[1] for row in rows), sum(row[2] for row in rows)
    yield Figure("all of these: plain / ours", f"{plain / ours:.2f} x", ">= 2.5 x")


def overhead() -> Iterator[Figure]:
    """Share of a run that is neither codec nor metric time, start of the processes included:
    24 images of Kodak's size (the samples, enlarged and flipped), fast codecs, all metrics but
    the slowest, all cores."""
    from datasets.registry import open_dataset

    jobs = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        folder.mkdir()
        for image in open_dataset("samples").images:
            with PillowImage.open(image.path) as picture:
                enlarged = picture.resize((768, 512))
            mirrored, flipped = ImageOps.mirror(enlarged), ImageOps.flip(enlarged)
            for i, each in enumerate((enlarged, mirrored, flipped, ImageOps.mirror(flipped))):
                each.save(folder / f"{i}-{image.path.name}")
        settings = RunSettings(
            codecs=OVERHEAD_CODECS,
            dataset=str(folder),
            directory=Path(scratch, "run"),
            metrics=OVERHEAD_METRICS,
            jobs=jobs,
        )
        outcome = execute(settings, Progress(quiet=True))
        if outcome.failed:
            raise RuntimeError(f"{outcome.failed} of {len(outcome.plan.tasks)} measurements failed")
        share = 1 - outcome.busy / (jobs * outcome.wall)
        name = f"harness overhead, {len(outcome.plan.tasks)} measurements in {outcome.wall:.0f} s"
        yield Figure(name, f"{100 * share:.1f} %", "<= 5 %")


def nothing_to_do() -> Iterator[Figure]:
    """A run that finds everything done: 24 images, 5 codecs, their whole ladders."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        folder.mkdir()
        for i in range(24):
            noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            PillowImage.fromarray(noise).save(folder / f"{i}.png")
        command = [sys.executable, "-m", "bench", "run", *RERUN_CODECS, "--dataset", str(folder)]
        command += ["--run", str(Path(scratch, "run")), "--metrics", "psnr", "--quiet"]
        subprocess.run(command, check=True, capture_output=True)
        count = Path(scratch, "run", "measurements.jsonl").read_bytes().count(b"\n")
        for extra, what in (([], "with its report"), (["--no-report"], "without a report")):
            seconds = _median([*command, *extra])
            name = f"nothing-to-do re-run of {count} measurements, {what}"
            yield Figure(name, f"{seconds:.2f} s", "<= 3 s")


def start_up() -> Iterator[Figure]:
    """What a user waits for before anything happens."""
    seconds = _median([sys.executable, "-m", "bench", "--help"])
    yield Figure("python -m bench --help", f"{seconds:.2f} s", "<= 0.5 s")
    seconds = _median([sys.executable, "-m", "bench", "list"])
    yield Figure("python -m bench list", f"{seconds:.2f} s", "<= 0.3 s")


def _median(command: list[str], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
