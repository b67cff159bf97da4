"""`python -m bench check`: does this installation measure what it says it measures?

Each check compares with something known beforehand (a closed form, a published number, another
implementation, another process), never with an earlier output of ours.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

import codecs.registry as registry
from bench import metrics
from bench.check.finding import Finding, photograph, score
from bench.check.round_trip import check_codecs
from bench.metrics.weights import package_model
from bench.run.settings import DEFAULT_CODECS
from bench.terminal import clean
from bench.verdict.bd import bd_rate
from bench.verdict.curve import Curve
from codecs.base import Image
from codecs.selection import at_rates
from datasets.base import DatasetError
from datasets.cache import cache_folder, data_folder


def run_checks(codecs: Sequence[str] = ()) -> int:
    """Print every finding as it is made; exit status 1 when something is wrong, 0 otherwise.

    Names of codecs (or their files) restrict the check to them, look at them closely, and make
    what is missing wrong; rates to code to are tried after the codec's own points.  What belongs
    to a codec is indented below its line.
    """
    codecs = list(dict.fromkeys(name for typed in codecs for name in at_rates(typed)))
    findings = check_codecs(codecs, wanted=codecs, closely=True) if codecs else _findings()
    counts = tell(findings)
    if counts["missing"]:
        print("What is missing is optional; its line says how to get it. All else works without.")
    if counts["wrong"] and not codecs:
        print("Do not trust what is wrong. `make clean && make check` installs everything anew.")
    return 1 if counts["wrong"] else 0


def tell(findings: Iterable[Finding]) -> Counter[str]:
    """Print findings as they are made, then how many there are of each status."""
    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        indent = "        " if finding.of else ""
        said = clean(f"{finding.name}: {finding.detail}")
        print(f"{indent}{finding.status:8}{said}", flush=True)
    counts = _counts(found)
    print(f"\n{counts['ok']} ok, {counts['missing']} missing, {counts['wrong']} wrong")
    return counts


def _counts(findings: Sequence[Finding]) -> Counter[str]:
    """How many are ok, missing and wrong; a codec counts once, with the worst of its parts."""
    spoiled = {f.of for f in findings if f.of and f.status == "wrong"}
    whole = [f for f in findings if not f.of]
    return Counter("wrong" if f.name in spoiled else f.status for f in whole)


def _findings() -> Iterator[Finding]:
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:  # a check that cannot run is a finding, too
            name = check.__name__.replace("_", " ")
            yield Finding(name, "wrong", f"cannot be checked: {type(error).__name__}: {error}")


def _verdict(name: str, holds: bool, detail: str) -> Finding:
    return Finding(name, "ok" if holds else "wrong", detail)


def psnr_known_answers() -> Iterator[Finding]:
    """Every sample wrong by one: 20 log10(255) = 48.1308 dB."""
    image = np.full((192, 200, 3), 100, np.uint8)
    value = score("psnr", image, image + np.uint8(1))
    expected = 20 * math.log10(255)
    detail = f"{value:.4f} dB where every sample is wrong by 1; 20 log10(255) = {expected:.4f}"
    yield _verdict("PSNR", abs(value - expected) < 1e-9, detail)


def metrics_equal_the_packages() -> Iterator[Finding]:
    """Our scores against plain calls of the packages."""
    import torch
    from pytorch_msssim import ms_ssim

    reference = photograph()
    noise = np.random.default_rng(0).normal(0, 8, reference.shape)
    decoded = np.clip(reference + noise, 0, 255).astype(np.uint8)

    def tensor(image: Image) -> torch.Tensor:
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255

    def compared(label: str, package: str, ours: float, plain: float, version: str) -> Finding:
        detail = f"{ours:.6f} on a noisy photograph; {package} itself gives {plain:.6f}{version}"
        return _verdict(label, math.isclose(ours, plain, rel_tol=1e-5), detail)

    ours = score("ms-ssim", reference, decoded)
    plain = float(ms_ssim(tensor(reference), tensor(decoded), data_range=1))
    yield compared("MS-SSIM", "pytorch-msssim", ours, plain, "")
    for net in ("alex", "vgg"):
        label = metrics.info(f"lpips-{net}").label
        version = metrics.versions((f"lpips-{net}",))[f"lpips-{net}"]
        if version.startswith("unavailable"):
            yield Finding(label, "missing", version.removeprefix("unavailable: "))
            continue
        ours = score(f"lpips-{net}", reference, decoded)
        with torch.inference_mode():
            package = package_model(net)(tensor(reference), tensor(decoded), normalize=True)
        yield compared(label, "lpips", ours, float(package), f"; {version}")


def optional_metrics() -> Iterator[Finding]:
    """Known answers of those that are here: of identical pictures, or of flat ones."""
    reference = photograph()
    black, dull, bright = (np.full((128, 128, 3), value, np.uint8) for value in (0, 128, 178))
    shifted = 20 * math.log10(255 / (3 * 1.608443))  # the weight of the mean of a block
    pairs = {
        "nlpd": (reference, reference, 1e-5, "identical pictures"),
        "vmaf": (reference, reference, 97.43, "identical stills"),
        "psnr-hvs-m": (black, black + np.uint8(3), shifted, "3 more everywhere"),
        "ssimulacra2": (dull, bright, -9.82, "50 more everywhere, by the authors' program"),
        "ciede2000": (black, black + np.uint8(255), 100.0, "black and white"),
    }
    for name in metrics.names():
        if name in metrics.DEFAULT:
            continue
        label = metrics.info(name).label
        version = metrics.versions((name,))[name]
        if version.startswith("unavailable"):
            yield Finding(label, "missing", version.removeprefix("unavailable: "))
            continue
        best = float(metrics.info(name).higher_is_better)
        a, b, known, what = pairs.get(name, (reference, reference, best, "identical pictures"))
        value = score(name, a, b)
        detail = f"{value:.4f} of {what}, known {known:g}; {version}"
        yield _verdict(label, math.isclose(value, known, rel_tol=3e-3, abs_tol=1e-4), detail)


def bd_known_answers() -> Iterator[Finding]:
    """Shifted curves, and straight ones that spread: their BD-rates have closed forms."""
    rate, quality = np.array([0.1, 0.2, 0.4, 0.8, 1.2]), np.array([28.0, 30.5, 33, 36, 37.5])
    anchor, test = Curve(rate, quality), Curve(0.9 * rate, quality)
    yield _bd("BD-rate, a tenth fewer bits", anchor, test, -10)
    yield _bd("BD-rate, the same turned round", test, anchor, 100 / 9)
    # log10(rate) is -1 + t at the anchor and -1 + 0.8 t here, t from 0 to 1: 0.1 less on average.
    t = np.linspace(0, 1, 5)
    steep, flat = 10 ** (-1 + t), 10 ** (-1 + 0.8 * t)
    mean = 100 * (10**-0.1 - 1)
    rising, falling = 28 + 10 * t, 0.5 - 0.4 * t
    yield _bd("BD-rate, curves that spread", Curve(steep, rising), Curve(flat, rising), mean)
    yield _bd(
        "BD-rate, a falling metric", Curve(steep, falling), Curve(flat, falling), mean, rises=False
    )


def _bd(name: str, anchor: Curve, test: Curve, known: float, *, rises: bool = True) -> Finding:
    verdict = bd_rate(anchor, test, higher_is_better=rises)
    if verdict.value is None:
        return Finding(name, "wrong", f"{verdict.status}: {verdict.message}; known {known:.6f} %")
    holds = math.isclose(verdict.value, known, rel_tol=1e-9)
    return _verdict(name, holds, f"{verdict.value:.6f} %, known {known:.6f} %")


def colour_round_trip() -> Iterator[Finding]:
    """8-bit RGB -> YCbCr 4:4:4 -> RGB, rounded: 52 dB or more; truncation would give 44."""
    from codecs.colour import round_trip_444

    image = photograph()
    value = score("psnr", image, round_trip_444(image))
    detail = f"{value:.2f} dB through 8-bit YCbCr 4:4:4; 52 or more if rounded, 44 if truncated"
    yield _verdict("colour round trip", value >= 52, detail)


def codecs_decode_in_other_processes() -> Iterator[Finding]:
    """All codecs that have a name; those of the default run must be there."""
    names = [entry.name for entry in registry.available()]
    yield from check_codecs(names, wanted=DEFAULT_CODECS)


def data_sets() -> Iterator[Finding]:
    """Those that are on this machine, verified; nothing is downloaded."""
    from datasets.registry import available, open_dataset

    for name, description in available():
        try:
            given, cache = data_folder(name), cache_folder(name)
            if name != "samples" and given is None and not any(cache.glob("[!.]*")):
                yield Finding(
                    name,
                    "missing",
                    f"{description}. Downloaded by the first `make bench DATASET={name}` to "
                    f"{cache}; or put it into DIR/{name} and set BENCH_DATA=DIR",
                )
                continue
            found = open_dataset(name)
            yield _verdict(name, bool(found.images), f"{len(found.images)} pictures, verified")
        except DatasetError as error:
            yield Finding(name, "wrong", str(error))


def surroundings() -> Iterator[Finding]:
    """The interpreter, and free space for streams and reconstructions."""
    yield Finding("Python", "ok", sys.version.split()[0])
    free = shutil.disk_usage(".").free / 2**30
    yield _verdict("disk", free > 1, f"{free:.1f} GiB free here; runs need 1 or more")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    surroundings,
    psnr_known_answers,
    metrics_equal_the_packages,
    optional_metrics,
    bd_known_answers,
    colour_round_trip,
    codecs_decode_in_other_processes,
    data_sets,
)
