"""Our metrics engine against plain calls of the packages, side by side in one run."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable

import numpy as np

from bench.metrics import MetricsEngine, MetricUnavailable
from bench.metrics.weights import package_model
from codecs.base import Image

HEIGHT, WIDTH = 512, 768  # a Kodak image
QUALITIES = (5, 15, 30, 50, 75, 92)
TOLERANCE = 1e-5
"""Largest relative difference allowed between our values and the packages'."""

PlainCall = Callable[[Image, Image], float]


def measure(repeats: int = 3) -> list[tuple[str, float, float]]:
    """Time PSNR, MS-SSIM and LPIPS over the six-point ladder of one 768x512 image, one thread.

    Returns (metric, our seconds, plain seconds), each the median of `repeats` runs that take
    turns.  LPIPS is left out where its weights are missing.  Raises `RuntimeError` when a value
    is not the package's: a faster wrong answer is no answer.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # numpy's own threads are held by OMP_NUM_THREADS=1
    try:
        original, ladder = _ladder()
        return [
            (name, *_compare(name, plain, original, ladder, repeats))
            for name, plain in _plain_calls().items()
        ]
    finally:
        torch.set_num_threads(threads)


def _compare(
    name: str, plain: PlainCall, original: Image, ladder: list[Image], repeats: int
) -> tuple[float, float]:
    """(our seconds, plain seconds), after one untimed run of both."""
    engine = MetricsEngine([name])

    def ours() -> list[float | None]:
        prepared = engine.prepare(original)
        return [engine.score(prepared, decoded)[name].value for decoded in ladder]

    def theirs() -> list[float | None]:
        return [plain(original, decoded) for decoded in ladder]

    for mine, reference in zip(ours(), theirs(), strict=True):
        if mine is None or reference is None or abs(mine / reference - 1) > TOLERANCE:
            raise RuntimeError(f"{name} is {mine}, the package says {reference}")
    runs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _ladder() -> tuple[Image, list[Image]]:
    """A photograph of Kodak's size, and what six JPEG qualities make of it."""
    from PIL import Image as Pillow
    from skimage import data

    photo = Pillow.fromarray(np.concatenate([data.coffee(), data.coffee()[:, ::-1]], axis=1))
    photo = photo.crop((0, 0, 1152, 400)).resize((WIDTH, HEIGHT), Pillow.Resampling.BICUBIC)
    decoded = []
    for quality in QUALITIES:
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=quality)
        decoded.append(np.asarray(Pillow.open(file)))
    return np.asarray(photo), decoded


def _plain_calls() -> dict[str, PlainCall]:
    """What a user of the packages would write for each metric."""
    import pytorch_msssim
    import torch
    from skimage.metrics import peak_signal_noise_ratio

    def tensor(image: Image) -> torch.Tensor:
        return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()

    def ms_ssim(a: Image, b: Image) -> float:
        return float(pytorch_msssim.ms_ssim(tensor(a), tensor(b), data_range=255))

    def lpips_call(net: str) -> PlainCall:
        model = package_model(net)

        def distance(a: Image, b: Image) -> float:
            with torch.no_grad():
                return float(model(tensor(a) / 127.5 - 1, tensor(b) / 127.5 - 1))

        return distance

    calls: dict[str, PlainCall] = {
        "psnr": lambda a, b: float(peak_signal_noise_ratio(a, b)),
        "ms-ssim": ms_ssim,
    }
    with contextlib.suppress(MetricUnavailable):
        calls["lpips-alex"] = lpips_call("alex")
    return calls
