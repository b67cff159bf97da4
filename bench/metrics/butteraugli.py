"""Butteraugli (Alakuijala et al., Google), by the program `butteraugli_main` of libjxl on the PATH.

Debian and Ubuntu have it in the package libjxl-devtools.  It takes the pictures for sRGB, seen on a
screen of 80 nits, its default.
"""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.packaged import require_size
from codecs import fingerprint, process
from codecs.base import Image

PROGRAM = "butteraugli_main"
NITS = 80
SMALLEST = 8
"""Pixels that a side must have: the program says 0 of smaller pictures, whatever is in them."""
SECONDS, SECONDS_PER_PIXEL = 60.0, 5e-5


class Butteraugli(Metric):
    """The largest local difference; below 1 hardly anybody sees any."""

    name, label, higher_is_better = "butteraugli", "Butteraugli", False
    seconds_per_pixel = 2.5e-6
    norm: ClassVar[int] = 0
    """Which of the program's two figures."""

    def __init__(self) -> None:
        found = shutil.which(PROGRAM)
        if found is None:
            raise MetricUnavailable(
                f"{PROGRAM} of libjxl is not on the PATH: on Debian and Ubuntu, apt install "
                "libjxl-devtools"
            )
        self._program = found
        self.version = f"{PROGRAM} ({fingerprint.program(found)}), sRGB, {NITS} nits"

    def prepare(self, reference: Image) -> bytes:
        require_size(self, reference, SMALLEST)
        return _ppm(reference)

    def score(self, prepared: bytes, decoded: Image) -> float:
        return _norms(self._program, prepared, _ppm(decoded), decoded.shape[:2])[self.norm]


class Butteraugli3(Butteraugli):
    """The 3-norm of the local differences, nearer to what people say of whole pictures."""

    name, label = "butteraugli-3", "Butteraugli 3-norm"
    norm = 1


@functools.lru_cache(maxsize=1)
def _norms(
    program: str, original: bytes, decoded: bytes, shape: tuple[int, int]
) -> tuple[float, float]:
    """Maximum and 3-norm; the program runs once for both."""
    with tempfile.TemporaryDirectory(prefix="butteraugli-") as folder:
        directory = Path(folder)
        (directory / "original.ppm").write_bytes(original)
        (directory / "decoded.ppm").write_bytes(decoded)
        arguments = ["original.ppm", "decoded.ppm", "--intensity_target", str(NITS)]
        output = process.run(
            [program, *arguments],
            seconds=SECONDS + SECONDS_PER_PIXEL * shape[0] * shape[1],
            directory=directory,
        )
    found = re.fullmatch(r"([\d.]+)\s+3-norm: ([\d.]+)", output.stdout.strip())
    if not found:
        raise process.ProcessError(f"{PROGRAM} printed no score: {output.stdout[-500:]}")
    return float(found[1]), float(found[2])


def _ppm(image: Image) -> bytes:
    height, width, _ = image.shape
    return b"P6 %d %d 255\n" % (width, height) + image.tobytes()
