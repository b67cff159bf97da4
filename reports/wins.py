"""Which codec wins on which picture: the rows of a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.verdict import spread
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult, Results
from reports import wording
from reports.pictures import Gallery
from reports.wording import clean, metric_text

STEP = 1e-5
"""Of log10 of a ratio of rates."""
MAX_RATIOS = 150_000
"""Of single pictures in the page, a megabyte; beyond it only those against the first anchor."""
MAX_ROWS = 300
"""Pictures in the table; beyond it those on which the codecs differ most."""


@dataclass(frozen=True)
class WinRow:
    """One picture: the BD-rate of each codec on it, as text."""

    place: int
    name: str
    thumbnail: str
    """A data URI; empty where pictures are not shown."""
    size: tuple[int, int]
    """Width and height at which the thumbnail is shown."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class WinTable:
    """Which codec wins on which picture, on one metric."""

    metric: str
    codecs: tuple[tuple[int, str], ...]
    """(place in the results, name) of each column."""
    rows: tuple[WinRow, ...]
    left_out: int
    """Pictures without a row."""


Pairs = Mapping[str, Mapping[str, Any]]
"""`first-second` (places of codecs) -> metric -> ratios of rates, in steps of `STEP`."""


def all_pairs(comparison: Comparison) -> Pairs:
    """Each pair of codecs once: the other direction has the other sign."""
    results = comparison.results
    pairs = list(itertools.combinations(range(len(results.codecs)), 2))
    few = len(pairs) * len(results.metrics) * len(results.images) <= MAX_RATIOS
    against = {frozenset((row.codec, row.against)) for row in comparison.rows}
    found = {}
    for i, k in pairs:
        first, second = results.codecs[i], results.codecs[k]
        by_image = few or frozenset((first.name, second.name)) in against
        found[f"{i}-{k}"] = _pair(first, second, results, by_image=by_image)
    return found


def _pair(
    first: CodecResult, second: CodecResult, results: Results, *, by_image: bool
) -> dict[str, Any]:
    """log10(rate of second / rate of first), by picture and over quality."""
    found = {}
    for name in results.metrics:
        rising = metric_text(name).higher_is_better
        images = spread.rate_by_image(first, second, name, rising) if by_image else np.empty(0)
        band = spread.relative_rate(first, second, name, rising)
        if np.isfinite(images).any() or band:
            found[name] = {
                "images": _steps(images) if by_image else None,
                "curve": band
                and {
                    "from": round(float(band.at[0]), 5),
                    "to": round(float(band.at[-1]), 5),
                    "value": _steps(band.value),
                    "low": _steps(band.low),
                    "high": _steps(band.high),
                },
            }
    return found


def _steps(values: ArrayLike) -> list[int | None]:
    return [
        round(value / STEP) if math.isfinite(value) else None
        for value in np.asarray(values).tolist()
    ]


def win_table(comparison: Comparison, pairs: Pairs, gallery: Gallery) -> WinTable | None:
    """From the ratios of rates in the page's data; None where no metric has any."""
    results = comparison.results
    places = {codec.name: place for place, codec in enumerate(results.codecs)}
    columns = [
        (row.codec, places[row.codec], places[row.against])
        for row in comparison.rows
        if {row.codec, row.against} <= places.keys()
    ]
    known = [name for name in results.metrics if any(name in pair for pair in pairs.values())]
    if not columns or not known:
        return None
    thumbnails = {shown.image: shown.crops.thumbnail for shown in gallery.pictures}

    def ratio(image: int, codec: int, against: int) -> float:
        pair = pairs[f"{min(codec, against)}-{max(codec, against)}"].get(known[0])
        steps = pair["images"][image] if pair else None
        return math.nan if steps is None else (steps if against < codec else -steps) * STEP

    def value(found: float) -> str:
        return "undefined" if math.isnan(found) else wording.percent(100 * (10**found - 1))

    ratios = [[ratio(i, *pair) for _, *pair in columns] for i in range(len(results.images))]
    shown = _telling(ratios)
    rows = tuple(
        WinRow(
            place,
            name,
            thumbnails.get(place, ""),
            _thumbnail_size(results.sizes[place]),
            tuple(map(value, ratios[place])),
        )
        for place, name in enumerate(results.images)
        if place in shown
    )
    codecs = tuple((place, clean(name)) for name, place, _ in columns)
    return WinTable(metric_text(known[0]).label, codecs, rows, len(ratios) - len(rows))


def _telling(ratios: list[list[float]]) -> set[int]:
    """The pictures to show: all, or those on which the codecs differ most."""

    def spread_of(image: int) -> float:
        known = [ratio for ratio in (*ratios[image], 0.0) if math.isfinite(ratio)]
        return max(known) - min(known)

    return set(sorted(range(len(ratios)), key=spread_of, reverse=True)[:MAX_ROWS])


def _thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = 48 / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
