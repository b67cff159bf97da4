"""Rate-distortion points for other programs: CSV, CompressAI's JSON, pgfplots, pandas."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.record.manifest import Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store
from bench.verdict import common
from bench.verdict.results import Results, collect

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "compressai", "pgfplots")
COMPRESSAI = {"psnr": "psnr-rgb", "ms-ssim": "ms-ssim-rgb"}
_TEX = {c: "\\" + c for c in "&%$#_{}"} | {"\\": "", "^": r"\textasciicircum{}", "~": " "}


def load(run: str | Path) -> pd.DataFrame:
    """The measurements of a run directory: a row for each codec, operating point and picture.

    Columns: `dataset`, `codec`, `label`, `version`, `device`, `parameter`, `value` (of the
    operating point), `image`, `sha256` (of its file), `width`, `height` (pixels), `bytes` (of the
    stream), `bpp` (bits per pixel), each metric of the run by its name (`psnr` in dB, `ms-ssim` the
    index, `lpips-alex` ...), `encode_seconds`, `decode_seconds` (CPU), `encode_wall`,
    `decode_wall` (seconds), `jobs` (measurements side by side), `status` (`ok`, `failed` ...),
    `reason`, `key` (the stream is `streams/KEY.bin`).  What is missing is NaN.

    Raises `bench.record.store.StoreError` for a folder that holds no run.
    """
    import pandas as pd

    manifest, results = _results(Path(run))

    def row(m: Measurement) -> dict[str, Any]:
        times = {
            f"{what}_{name}": getattr(getattr(m, what), clock, math.nan)
            for what in ("encode", "decode")
            for name, clock in (("seconds", "cpu"), ("wall", "wall"))
        }
        return {
            "dataset": manifest.dataset,
            **{name: getattr(m, name) for name in ("codec", "label", "version", "device")},
            **{name: getattr(m, name) for name in ("parameter", "value", "image")},
            "sha256": m.image_digest,
            **{name: getattr(m, name) for name in ("width", "height", "bytes", "bpp")},
            **{name: m.metric(name) for name in results.metrics},
            **times,
            **{name: getattr(m, name) for name in ("jobs", "status", "reason", "key")},
        }

    return pd.DataFrame([row(m) for m in measured(Path(run))])


def export(run: Path, form: str) -> dict[str, str]:
    """Name of a file -> its text, in one of `FORMATS`.

    `csv`: `points.csv`, the means in the form that `bench.literature.files` reads, with the
    operating point, the pictures averaged and CPU seconds; `pictures.csv`, the table of `load`.
    `compressai`: a JSON file for each codec.  `pgfplots`: `curves.tex`, an axis for each metric.
    Means are of the metric's own values, over the pictures that have one at every point; points
    without loss have no PSNR to average and are left out.
    """
    manifest, results = _results(run)
    points = list(_points(manifest, results))
    if form == "csv":
        return {"points.csv": _csv(points), "pictures.csv": load(run).to_csv(index=False)}
    if form == "compressai":
        names = dict.fromkeys(point["codec"] for point in points)
        return {f"{safe_name(name)}.json": _compressai(name, points) for name in names}
    return {"curves.tex": _pgfplots(points)}


def measured(run: Path) -> list[Measurement]:
    """All measurements that count, by codec, operating point and picture."""
    _, results = _results(run)
    return [m for codec in results.codecs for _, m in sorted(codec.measurements.items())]


def safe_name(text: str) -> str:
    """Text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_+=-]+", "-", text).strip("-") or "_"


def _results(run: Path) -> tuple[Manifest, Results]:
    manifest = Manifest.read(run)
    results = collect(
        Store(run),
        list(manifest.ladders.values()),
        manifest.pictures,
        metrics=manifest.known_metrics,
        dataset=manifest.label,
    )
    return manifest, results


def _points(manifest: Manifest, results: Results) -> Iterator[dict[str, Any]]:
    """A mean of one metric at one operating point each, low rate first."""
    for codec in results.codecs:
        for metric in results.metrics:
            part = common.shared((codec,), metric)
            if part.reason:
                continue
            columns = [codec.bpp, codec.metric(metric)]
            columns += [codec.seconds(what) for what in ("encode", "decode")]
            means = np.array([part.of(0, grid).mean(axis=1) for grid in columns]).T
            labels = [codec.points[row] for row in np.flatnonzero(part.points[0])]
            images = int(part.images.sum())
            dataset = manifest.dataset
            if not manifest.whole or images < len(manifest.pictures):
                # Not the name of the set: nobody shall compare these means with the whole of it.
                dataset = f"{dataset} ({images} {'image' if images == 1 else 'images'})"
            for label, mean in zip(labels, means.tolist(), strict=True):
                yield {
                    "dataset": dataset,
                    "metric": metric,
                    **dict(zip(("bpp", "value"), mean[:2], strict=True)),
                    "name": codec.label,
                    "codec": codec.name,
                    "point": label,
                    "images": images,
                    **dict(zip(("encode_seconds", "decode_seconds"), mean[2:], strict=True)),
                }


def _csv(points: list[dict[str, Any]]) -> str:
    import pandas as pd

    return pd.DataFrame(points).to_csv(index=False)


def _compressai(name: str, points: list[dict[str, Any]]) -> str:
    """One codec; a metric that lacks some of the points is left out, as all lists are as long."""
    own = [point for point in points if point["codec"] == name]
    by_metric: dict[str, list[dict[str, Any]]] = {}
    for point in own:
        by_metric.setdefault(point["metric"], []).append(point)
    first = max(by_metric.values(), key=len)
    same = {
        metric: [p["value"] for p in found]
        for metric, found in by_metric.items()
        if [p["bpp"] for p in found] == [p["bpp"] for p in first]
    }
    document = {
        "name": own[0]["name"],
        "description": f"{name}, mean over {first[0]['images']} images; CPU seconds",
        "dataset": own[0]["dataset"],
        "results": {
            "bpp": [p["bpp"] for p in first],
            **{COMPRESSAI.get(metric, metric): values for metric, values in same.items()},
            "encoding_time": [_finite(p["encode_seconds"]) for p in first],
            "decoding_time": [_finite(p["decode_seconds"]) for p in first],
        },
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pgfplots(points: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    out.write("% \\usepackage{pgfplots}\n")
    for metric in dict.fromkeys(point["metric"] for point in points):
        here = [point for point in points if point["metric"] == metric]
        sets = dict.fromkeys(point["dataset"] for point in here)
        out.write(f"% means over {_tex(' and '.join(sets))}\n")
        out.write("\\begin{tikzpicture}\n\\begin{axis}[xlabel={bits per pixel}, ")
        out.write(f"ylabel={{{_tex(metric)}}}, grid=major, legend pos=outer north east]\n")
        for name in dict.fromkeys(point["codec"] for point in here):
            own = [point for point in here if point["codec"] == name]
            pairs = " ".join(f"({p['bpp']:.5f},{p['value']:.5f})" for p in own)
            out.write(f"\\addplot+ coordinates {{{pairs}}};\n")
            out.write(f"\\addlegendentry{{{_tex(own[0]['name'])}}}\n")
        out.write("\\end{axis}\n\\end{tikzpicture}\n")
    return out.getvalue()


def _tex(text: str) -> str:
    from bench.terminal import clean

    return "".join(_TEX.get(character, character) for character in clean(text))
