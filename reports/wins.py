"""Which codec wins on which picture: the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.verdict.comparison import Comparison
from reports import wording
from reports.pictures import Gallery
from reports.wording import clean, metric_text


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


def win_table(
    comparison: Comparison, pairs: Mapping[str, Mapping[str, Any]], step: float, gallery: Gallery
) -> WinTable | None:
    """From the ratios of rates in the page's data; None where no metric has any."""
    results = comparison.results
    places = {codec.name: place for place, codec in enumerate(results.codecs)}
    columns = [(row.codec, places[row.codec], places[row.against]) for row in comparison.rows]
    known = [name for name in results.metrics if any(name in pair for pair in pairs.values())]
    if not columns or not known:
        return None
    thumbnails = {shown.image: shown.crops.thumbnail for shown in gallery.pictures}

    def value(image: int, codec: int, against: int) -> str:
        pair = pairs[f"{min(codec, against)}-{max(codec, against)}"].get(known[0])
        steps = pair["images"][image] if pair else None
        if steps is None:
            return "undefined"
        ratio = steps * step
        return wording.percent(100 * (10 ** (ratio if against < codec else -ratio) - 1))

    rows = tuple(
        WinRow(
            place,
            name,
            thumbnails.get(place, ""),
            _thumbnail_size(results.sizes[place]),
            tuple(value(place, codec, against) for _, codec, against in columns),
        )
        for place, name in enumerate(results.images)
    )
    codecs = tuple((place, clean(name)) for name, place, _ in columns)
    return WinTable(metric_text(known[0]).label, codecs, rows)


def _thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = 48 / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
