"""`python -m bench check`: does this installation measure what it says it measures?

Each check compares with something known beforehand (a closed form, a published number, another
implementation, another process), never with an earlier output of ours.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import codecs.registry as registry
from bench import metrics
from bench.bd import Curve, bd_rate
from bench.executors import Worker
from bench.metrics.weights import package_model
from codecs.base import CodecError, CodecUnavailable, Image
from datasets.base import DatasetError


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: `ok`, `missing` (an optional part is not here) or `wrong`."""

    name: str
    status: str
    detail: str


def run_checks() -> int:
    """Print every finding; exit status 1 when something is wrong, 0 otherwise."""
    wrong = 0
    for check in CHECKS:
        try:
            findings = list(check())
        except Exception as error:  # a check that cannot run is a finding, too
            findings = [Finding(check.__name__, "wrong", f"{type(error).__name__}: {error}")]
        for finding in findings:
            wrong += finding.status == "wrong"
            print(f"{finding.status:8}{finding.name}: {finding.detail}", flush=True)
    print(f"{wrong} wrong" if wrong else "all that is here works")
    return 1 if wrong else 0


def _verdict(name: str, holds: bool, detail: str) -> Finding:
    return Finding(name, "ok" if holds else "wrong", detail)


def photograph() -> Image:
    """A natural picture that comes with scikit-image, 256 x 240."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:240, 100:356])


def psnr_known_answers() -> Iterator[Finding]:
    """Every sample wrong by one: 20 log10(255) = 48.1308 dB."""
    image = np.full((192, 200, 3), 100, np.uint8)
    value = _score("psnr", image, image + np.uint8(1))
    expected = 20 * math.log10(255)
    yield _verdict("PSNR", abs(value - expected) < 1e-9, f"{value:.4f} dB, known {expected:.4f}")


def metrics_equal_the_packages() -> Iterator[Finding]:
    """Our scores against plain calls of the packages."""
    import torch
    from pytorch_msssim import ms_ssim

    reference = photograph()
    noise = np.random.default_rng(0).normal(0, 8, reference.shape)
    decoded = np.clip(reference + noise, 0, 255).astype(np.uint8)

    def tensor(image: Image) -> torch.Tensor:
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255

    ours = _score("ms-ssim", reference, decoded)
    plain = float(ms_ssim(tensor(reference), tensor(decoded), data_range=1))
    yield _verdict("MS-SSIM", math.isclose(ours, plain, rel_tol=1e-5), f"{ours:.6f}, {plain:.6f}")
    for net in ("alex", "vgg"):
        label = metrics.info(f"lpips-{net}").label
        version = metrics.versions((f"lpips-{net}",))[f"lpips-{net}"]
        if version.startswith("unavailable"):
            yield Finding(label, "missing", version)
            continue
        ours = _score(f"lpips-{net}", reference, decoded)
        with torch.inference_mode():
            package = package_model(net)(tensor(reference), tensor(decoded), normalize=True)
        plain = float(package)
        holds = math.isclose(ours, plain, rel_tol=1e-5)
        yield _verdict(label, holds, f"{ours:.6f}, {plain:.6f} ({version})")


def bd_known_answers() -> Iterator[Finding]:
    """A tenth off every rate is -10 %; swapping the two curves gives 1/0.9 - 1."""
    rate, quality = np.array([0.1, 0.2, 0.4, 0.8, 1.2]), np.array([28.0, 30.5, 33, 36, 37.5])
    anchor, test = Curve(rate, quality), Curve(0.9 * rate, quality)
    forward, backward = bd_rate(anchor, test).value, bd_rate(test, anchor).value
    holds = (
        forward is not None
        and backward is not None
        and abs(forward + 10) < 1e-9
        and abs(backward - 100 / 9) < 1e-9
    )
    yield _verdict("BD-rate", holds, f"{forward} % and {backward} %, known -10 and 11.11")


def colour_round_trip() -> Iterator[Finding]:
    """8-bit RGB -> YCbCr 4:4:4 -> RGB, rounded: 52 dB or more; truncation would give 44."""
    from codecs.colour import round_trip_444

    image = photograph()
    value = _score("psnr", image, round_trip_444(image))
    yield _verdict("colour round trip", value >= 52, f"{value:.2f} dB at 8 bit, 52 or more known")


def codecs_decode_in_another_process() -> Iterator[Finding]:
    """Encode here, decode from the file in a process that never saw the picture."""
    image = photograph()
    worker = Worker("decode")
    with tempfile.TemporaryDirectory() as scratch:
        stream, pixels = Path(scratch, "stream"), Path(scratch, "pixels.npy")
        for entry in registry.available():
            name = "vvenc:faster" if entry.name == "vvenc" else entry.name
            try:
                codec = registry.create(name)
                point = codec.points[len(codec.points) // 2]
                data = codec.encode(image, point)
                stream.write_bytes(data)
                worker.call((name, stream, pixels), 300)
                there = np.load(pixels, allow_pickle=False)
            except CodecUnavailable as error:
                yield Finding(name, "missing", str(error))
                continue
            except CodecError as error:
                yield Finding(name, "wrong", str(error))
                continue
            equal = np.array_equal(codec.decode(data), there)
            score = _score("psnr", image, there)
            bpp = 8 * len(data) / image[..., 0].size
            detail = f"{point.label}: {bpp:.3f} bpp, {score:.2f} dB; {codec.version}"
            yield _verdict(name, equal and score > 25, detail)
    worker.kill()


def data_sets_present() -> Iterator[Finding]:
    """The samples must be there; the others are downloaded on demand."""
    from datasets.registry import open_dataset

    try:
        count = len(open_dataset("samples").images)
        yield _verdict("samples", count > 0, f"{count} pictures")
    except DatasetError as error:
        yield Finding("samples", "wrong", str(error))


def room_to_work() -> Iterator[Finding]:
    """Free space for streams and reconstructions."""
    free = shutil.disk_usage(".").free / 2**30
    yield Finding("disk", "ok" if free > 1 else "wrong", f"{free:.1f} GiB free here")
    yield Finding("Python", "ok", sys.version.split()[0])


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    room_to_work,
    psnr_known_answers,
    metrics_equal_the_packages,
    bd_known_answers,
    colour_round_trip,
    codecs_decode_in_another_process,
    data_sets_present,
)


def _score(name: str, reference: Image, decoded: Image) -> float:
    metric = metrics.create(name)
    return metric.score(metric.prepare(reference), decoded)
