"""A report with pictures, made up: photographs, coded as JPEG, under names that mean harm."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image as PillowImage

from bench.verdict.comparison import Comparison
from codecs.base import Image
from reports import write_report
from reports.crops import lossless, make_crops
from reports.pictures import Gallery, Shown, make_plan
from tests.reports_cases import PROVENANCE, comparison, ladder

HOSTILE = "b\"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;.png"
NAMES = ("a.png", HOSTILE, "c.png")
SIZES = ((160, 128), (128, 192), (256, 192))
CODECS = {"jpeg": 2.0, "rdonet": 1.2, "rdonet:full": 1.15, "vvenc:faster": 1.1, "vvenc": 1.0}


def original(place: int) -> Image:
    width, height = SIZES[place]
    picture = np.asarray(skimage.data.astronaut())
    return np.ascontiguousarray(picture[40 * place :, 60 + 50 * place :][:height, :width])


def coded(place: int, quality: int) -> Image:
    """A reconstruction; the lower the quality, the worse."""
    file = io.BytesIO()
    PillowImage.fromarray(original(place)).save(file, "JPEG", quality=quality)
    return np.asarray(PillowImage.open(file))


def partition(width: int, height: int, order: int, runs: int) -> dict[str, Any]:
    """Diagnostics as `codecs.rdonet.diagnostics.describe` writes them; the CTUs go through levels
    3, 2 and 1."""
    rows, columns = -(-height // 64), -(-width // 64)
    ctus = np.arange(rows * columns).reshape(rows, columns) + order
    levels = np.kron(3 - ctus % 3, np.ones((4, 4), dtype=int))
    return {
        "bytes": {"mask": 3, "level 3": 40, "level 2": 60, "level 1": 90},
        "bits": {"y1": 100.0},
        "cost": {"J": 1.25 - order / 10, "lambda": 45.0, "D": 0.01, "R": 0.2},
        "squared_error": {"border": 0.0013, "inside": 0.001},
        "coding_runs": runs,
        "maps": [
            {
                "name": "levels",
                "cell": 16,
                "rows": ["".join(map(str, row)) for row in levels.tolist()],
                "legend": [[1, "16 px", 16], [2, "32 px", 32], [3, "64 px", 64]],
            },
            {
                "name": "bits",
                "cell": 64,
                "rows": [[float(100 + 10 * ctu) for ctu in row] for row in ctus.tolist()],
                "unit": "bits",
            },
        ],
        **({"estimated_cost": {"start": 1.3, "found": 1.2}} if runs > 1 else {}),
    }


def pictured() -> Comparison:
    """Five codecs, three pictures of three shapes; `rdonet` and `rdonet:full` with partitions."""
    rows = []
    for name, efficiency in CODECS.items():
        for place, image in enumerate(NAMES):
            width, height = SIZES[place]
            for row in ladder(name, efficiency, images=(image,), width=width, height=height):
                if name.startswith("rdonet"):
                    order = (50 - int(row.value)) // 5
                    runs = 7 if name == "rdonet:full" else 1
                    row.__dict__["diagnostics"] = partition(width, height, order, runs)
                rows.append(row)
    return comparison(rows)


def gallery(compared: Comparison, folder: Path | None = None) -> Gallery:
    """The pictures of `pictured`; whole ones go to `folder`."""
    results = compared.results
    plan = make_plan(results, whole=folder is not None)
    shown = []
    for place in range(len(NAMES)):
        images = {
            results.codecs[codec].measurements[point, image].key: coded(
                image, 10 + 12 * point + 3 * codec
            )
            for (image, *_), (codec, point) in plan.chosen.items()
            if image == place
        }
        files = {}
        if folder:
            folder.mkdir(exist_ok=True)
            for i, (key, image) in enumerate({"original": original(place), **images}.items()):
                (folder / f"{place}-{i}.webp").write_bytes(lossless(image))
                files[key] = f"{folder.name}/{place}-{i}.webp"
        crops = make_crops(original(place), images, (96, 72), plan.share)
        shown.append(Shown(place, crops, files))
    return Gallery(plan.rates, plan.chosen, tuple(shown))


def written_with_pictures(directory: Path, *, whole: bool = False) -> tuple[Path, Comparison]:
    compared = pictured()
    folder = directory / "report_files" if whole else None
    path = write_report(directory, [compared], PROVENANCE, gallery=gallery(compared, folder))
    return path, compared
