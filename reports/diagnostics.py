"""What codecs tell of their streams: numbers, and maps over the picture.

Read from the diagnostics that are stored with each measurement: `Codec.diagnostics` says in which
form.  These are a codec's own words: what does not have that form is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.record.measurement import Measurement
from bench.verdict.results import CodecResult, Results
from reports.wording import clean

APART = {"model", "maps"}
"""Of the network's size and cost the section on cost tells."""
MOST_NUMBERS = 60
"""Of one stream."""


@dataclass(frozen=True)
class LegendEntry:
    """One entry of a map's legend."""

    value: float
    text: str
    block: float
    """Side in pixels of the blocks that have this value."""


@dataclass(frozen=True)
class StreamMap:
    """A value for each cell of a picture."""

    name: str
    cell: float
    """Pixels a side of what one value is about."""
    values: NDArray[np.float64]
    """float64[rows, columns]."""
    legend: tuple[LegendEntry, ...]
    """Of levels; empty where the values are amounts."""
    unit: str


def number(value: Any) -> float:
    """A number of somebody's diagnostics; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def scalars(m: Measurement) -> dict[str, float]:
    """`coding_runs`, `bytes: mask` ...: the finite numbers, alone or in nested mappings."""
    told = {str(name): value for name, value in m.diagnostics.items() if name not in APART}
    found = [(name, value) for name, value in _numbers(told, ()) if math.isfinite(value)]
    return dict(found[:MOST_NUMBERS])


def _numbers(told: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for name, value in told.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and len(path) < 4:
            yield from _numbers(value, path)
        else:
            yield ": ".join(path), number(value)


def maps(m: Measurement) -> list[StreamMap]:
    """The sound ones."""
    told = m.diagnostics.get("maps")
    return [found for one in told if (found := _map(one, m))] if isinstance(told, list) else []


def map_names(codec: CodecResult) -> list[str]:
    return list(dict.fromkeys(one.name for m in codec.measurements.values() for one in maps(m)))


def _map(told: Any, m: Measurement) -> StreamMap | None:
    try:
        cell = number(told["cell"])
        values = np.array([list(map(float, row)) for row in told["rows"]], dtype=np.float64)
        legend = tuple(
            LegendEntry(number(value), clean(str(text)), number(block))
            for value, text, block in told.get("legend", ())
        )
        found = StreamMap(
            clean(str(told["name"])), cell, values, legend, clean(str(told.get("unit", "")))
        )
        covered = [
            (size - 1) // cell < count
            for size, count in zip((m.height, m.width), values.shape, strict=True)
        ]
        sizes_known = all(level.block >= cell for level in legend) and cell >= 1
        known = not legend or np.isin(values, [level.value for level in legend]).all()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError):
        return None
    return found if known and all(covered) and sizes_known and np.isfinite(values).all() else None


@dataclass(frozen=True)
class Told:
    """What one codec tells, by operating point."""

    label: str
    points: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]
    """(name, mean over the pictures at each point); NaN where nothing is told."""


def tell(results: Results) -> list[Told]:
    """A table for each codec that tells something: shares of the area of levels, then numbers."""
    return [found for codec in results.codecs if (found := _told(codec)).rows]


def _told(codec: CodecResult) -> Told:
    columns: list[dict[str, list[float]]] = [{} for _ in codec.points]
    for (point, _), m in sorted(codec.measurements.items()):
        for name, value in (*_shares(maps(m)), *scalars(m).items()):
            columns[point].setdefault(name, []).append(value)
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [
        (clean(n.replace("_", " ")), tuple(_mean(c.get(n, ())) for c in columns)) for n in names
    ]
    return Told(clean(codec.label), tuple(map(clean, codec.points)), tuple(rows))


def _shares(found: Sequence[StreamMap]) -> Iterator[tuple[str, float]]:
    for one in found:
        for level in one.legend:
            yield (
                f"{one.name}: {level.text}, % of the area",
                100 * float(np.mean(one.values == level.value)),
            )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def payload(m: Measurement) -> list[dict[str, Any]]:
    """The maps of a stream, as the page draws them: levels by their place in the legend."""
    return [
        {
            "name": one.name,
            "cell": one.cell,
            "unit": one.unit,
            "legend": [[level.text, level.block] for level in one.legend],
            "rows": _places(one) if one.legend else _amounts(one),
        }
        for one in maps(m)
    ]


def _places(one: StreamMap) -> list[list[int]]:
    values = [level.value for level in one.legend]
    return [[values.index(value) for value in row] for row in one.values.tolist()]


def _amounts(one: StreamMap) -> list[list[float]]:
    return [[float(f"{value:.3g}") for value in row] for row in one.values.tolist()]
