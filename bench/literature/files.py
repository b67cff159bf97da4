"""Rate-distortion points from a file: CSV, or JSON as CompressAI's evaluation writes it.

CSV has a header and a line for each point and metric:

    dataset,metric,bpp,value,name,source,year
    kodak,psnr,0.1120,28.71,ELIC,https://arxiv.org/abs/2203.10886,2022

`name` (default: that of the file), `source` and `year` may be left out; other columns are passed
over.  `metric` is one of `bench list metrics` (`psnr` in dB, `ms-ssim` the index), `psnr-rgb` and
`ms-ssim-rgb` as CompressAI calls them, or `ms-ssim-db`.  Values are means over the whole set.

JSON is `{"name": ..., "dataset": "kodak", "results": {"bpp": [...], "psnr-rgb": [...]}}`.
CompressAI names no data set but keeps files in a folder for each: where the file does not name
one, its folder does.

Files come from others: size, counts and numbers are checked before they are used.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import metrics
from bench.literature import Published, Source

LARGEST = 2**20
"""Bytes of a file."""
MOST = 10_000
"""Points of a file."""
LONGEST = 200
"""Characters of a text in it."""
NEEDED = ("dataset", "metric", "bpp", "value")
ALIASES = {"psnr-rgb": "psnr", "ms-ssim-rgb": "ms-ssim", "ms-ssim-db-rgb": "ms-ssim-db"}


class PointsError(Exception):
    """Points that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class _Row:
    dataset: str
    metric: str
    bpp: float
    value: float
    name: str
    source: str = ""
    year: str = ""


def read(path: Path) -> tuple[Published, ...]:
    """The curves of a file.  Raises `PointsError`."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise PointsError(f"{path} is larger than {LARGEST} bytes: it is no file of points")
        text = data.decode("utf-8-sig")
        parse = _from_json if path.suffix.lower() == ".json" else _from_csv
        rows = list(_counted(parse(text, path)))
        return tuple(_curves(rows, path))
    except OSError as error:
        raise PointsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, csv.Error, RecursionError) as error:
        raise PointsError(f"{path}: {error}") from error


def _counted(rows: Iterator[_Row]) -> Iterator[_Row]:
    for count, row in enumerate(rows):
        if count == MOST:
            raise ValueError(f"more than {MOST} points")
        yield row


def _from_csv(text: str, path: Path) -> Iterator[_Row]:
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns = [(name or "").strip().lower() for name in table.fieldnames or ()]
    if lacking := [name for name in NEEDED if name not in columns]:
        raise ValueError(
            f"no column {', '.join(lacking)}: the first line must name {', '.join(NEEDED)}, and "
            "may name name, source, year"
        )
    table.fieldnames = columns
    for line in table:
        where = f"line {table.line_num}"
        cells = {name: _text(line.get(name) or "", where) for name in _Row.__dataclass_fields__}
        numbers = [_number(cells[name], f"{where}: {name}") for name in ("bpp", "value")]
        yield _row({**cells, "name": cells["name"] or path.stem}, numbers, where)


def _from_json(text: str, path: Path) -> Iterator[_Row]:
    document = json.loads(text)
    results = document.get("results") if isinstance(document, dict) else None
    if not isinstance(results, dict) or not isinstance(results.get("bpp"), list):
        raise ValueError('no "results" with a list "bpp": see CompressAI\'s results/ for the form')
    folder = path.resolve().parent.name
    dataset = document.get("dataset") or document.get("test-set") or folder
    cells = {
        "dataset": dataset,
        "name": document.get("name") or path.stem,
        "source": document.get("source") or "",
        "year": str(document.get("year") or ""),
    }
    texts = {key: _text(value, f'"{key}"') for key, value in cells.items()}
    rates = results["bpp"]
    for metric, values in results.items():
        if not _known(_metric(metric)):
            continue  # seconds and the like
        if not isinstance(values, list) or len(values) != len(rates):
            raise ValueError(f'"{metric[:LONGEST]}" must be a list of as many numbers as "bpp"')
        for place, pair in enumerate(zip(rates, values, strict=True)):
            where = f'"{metric}", number {place + 1}'
            yield _row({**texts, "metric": metric}, [_number(v, where) for v in pair], where)


def _row(cells: Mapping[str, str], numbers: Sequence[float], where: str) -> _Row:
    bpp, value = numbers
    metric = _metric(cells["metric"])
    if not _known(metric):
        names = ", ".join((*metrics.names(), "ms-ssim-db"))
        raise ValueError(f"{where}: the metric {metric!r} is none of {names}")
    if not 0 < bpp < 1000:
        raise ValueError(f"{where}: {bpp:g} are no bits per pixel")
    if metric == "ms-ssim-db":
        metric, value = "ms-ssim", 1 - 10 ** (-value / 10)
    if metric in ("ms-ssim", "ms-ssim-y") and not 0 <= value < 1:
        raise ValueError(f"{where}: MS-SSIM is below 1; call decibels ms-ssim-db")
    dataset = cells["dataset"].lower()
    if not dataset:
        raise ValueError(f"{where}: the data set has no name")
    return _Row(dataset, metric, bpp, value, cells["name"], cells["source"], cells["year"])


def _metric(name: str) -> str:
    lowered = name.strip().lower()
    return ALIASES.get(lowered, lowered)


def _known(metric: str) -> bool:
    return metric == "ms-ssim-db" or metric in metrics.names()


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST:
        raise ValueError(f"{where}: must be a text of at most {LONGEST} characters")
    return value.strip()


def _number(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} is no number") from None
    if not math.isfinite(number):
        raise ValueError(f"{where} is not finite")
    return number


def _curves(rows: Sequence[_Row], path: Path) -> Iterator[Published]:
    if not rows:
        raise ValueError(f"no points of a metric that is known: {', '.join(metrics.names())}")
    grouped: dict[tuple[str, str, str], list[_Row]] = {}
    for row in rows:
        grouped.setdefault((row.name, row.dataset, row.metric), []).append(row)
    for (name, dataset, metric), group in grouped.items():
        ordered = sorted(group, key=lambda row: (row.bpp, row.value))
        source, year = group[0].source, group[0].year
        is_address = re.fullmatch(r"https?://[^\s\"'<>]+", source) is not None
        title = source or "a file of points"
        yield Published(
            id="own-" + re.sub(r"[^a-z0-9.]+", "-", f"{path.stem} {name}".lower()).strip("-"),
            label=name,
            source=Source(title, source if is_address else "", "Figures quoted", "not said"),
            dataset=dataset,
            metric=metric,
            bpp=tuple(row.bpp for row in ordered),
            values=tuple(row.value for row in ordered),
            work=", ".join(filter(None, (name, year))),
            optimised_for="what its authors say",
        )
