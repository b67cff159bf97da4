"""What a codec with block partitions decided: levels, bits, cost and coding runs of its streams.

Read from the diagnostics that are stored with each measurement (RDONet's: see
`codecs.rdonet.diagnostics.describe`).  These are a codec's own words: what does not have the shape
that is described there is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.record.measurement import Measurement
from bench.verdict.results import CodecResult, Results
from reports.wording import clean

CTU = 64
CELL = 16
LEVELS = (1, 2, 3)
_SIDE = CTU // CELL


@dataclass(frozen=True)
class Decisions:
    """Of one stream."""

    levels: NDArray[np.int8]
    """int8[4h, 4w], the level (1 finest) of each 16 x 16 block of h x w CTUs."""
    ctu_bits: NDArray[np.float64]
    """float64[h, w]: estimated bits of each 64 x 64 block."""
    cost: float
    """J = Λ·D + R of the real file; NaN where it is not told, as for the others."""
    runs: float
    """Coding runs, the coding itself included."""
    estimated: tuple[float, float]
    """J that the search started from and that it found, estimated."""
    mask_bytes: float


def read(m: Measurement) -> Decisions | None:
    """None for a stream without partition, or with a damaged description."""
    facts = m.diagnostics
    rows, columns = -(-m.height // CTU), -(-m.width // CTU)
    try:
        table = [[int(digit) for digit in row] for row in facts["levels"]]
        levels = np.array(table, dtype=np.int8)
        bits = np.array(facts["bits_per_ctu"], dtype=np.float64)
        if levels.shape != (_SIDE * rows, _SIDE * columns) or bits.shape != (rows, columns):
            return None
        if not np.isin(levels, LEVELS).all() or not np.isfinite(bits).all():
            return None
        estimated = facts.get("estimated_cost") or {}
        sections = facts.get("bytes") or {}
        masks = [v for k, v in sections.items() if "mask" in str(k)]
        return Decisions(
            levels,
            bits,
            cost=number((facts.get("cost") or {}).get("J")),
            runs=number(facts.get("coding_runs")),
            estimated=(number(estimated.get("start")), number(estimated.get("found"))),
            mask_bytes=number(masks[0]) if masks else math.nan,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def number(value: Any) -> float:
    """A number of somebody's diagnostics; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


@dataclass(frozen=True)
class Summary:
    """A codec's decisions at one operating point: means over the pictures."""

    label: str
    point: str
    shares: tuple[float, float, float]
    """Share of the area at levels 1, 2 and 3."""
    cost: float
    runs: float
    gain: float
    """Estimated J found by the search over that of its start, minus 1; NaN without a search."""


def summaries(results: Results) -> list[Summary]:
    """A row for each codec with partitions and each of its operating points."""
    rows = []
    for codec in results.codecs:
        for place, point in enumerate(codec.points):
            found = [d for d in _of_point(codec, place) if d is not None]
            if found:
                rows.append(_summary(clean(codec.label), clean(point), found))
    return rows


def _of_point(codec: CodecResult, place: int) -> list[Decisions | None]:
    return [
        read(codec.measurements[place, image])
        for image in range(len(codec.images))
        if (place, image) in codec.measurements
    ]


def _summary(label: str, point: str, found: Sequence[Decisions]) -> Summary:
    blocks = np.concatenate([one.levels.ravel() for one in found])
    shares = [float(np.mean(blocks == level)) for level in LEVELS]
    gains = [d.estimated[1] / d.estimated[0] - 1 for d in found if d.estimated[0] > 0]
    return Summary(
        label,
        point,
        (shares[0], shares[1], shares[2]),
        _mean([d.cost for d in found]),
        _mean([d.runs for d in found]),
        _mean(gains),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def payload(m: Measurement) -> dict[str, Any] | None:
    """What the page draws of one stream.

    Partitions are one letter for each CTU: `q` for level 3, else `a` plus a bit for each quadrant
    (rows first) that is split again.
    """
    found = read(m)
    if found is None:
        return None
    return {
        "columns": found.ctu_bits.shape[1],
        "partitions": _letters(found.levels),
        "bits": [round(float(b)) for b in found.ctu_bits.ravel()],
        "cost": _or_none(found.cost),
        "runs": _or_none(found.runs),
        "estimated": [_or_none(value) for value in found.estimated],
        "mask_bytes": _or_none(found.mask_bytes),
    }


def _letters(levels: NDArray[np.int8]) -> str:
    corners = levels[::2, ::2]  # one block of each quadrant
    letters = []
    for row in range(0, corners.shape[0], 2):
        for column in range(0, corners.shape[1], 2):
            quadrants = corners[row : row + 2, column : column + 2].ravel()
            if quadrants[0] == 3:
                letters.append("q")
            else:
                split = sum(1 << k for k, level in enumerate(quadrants) if level == 1)
                letters.append(chr(ord("a") + split))
    return "".join(letters)


def _or_none(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
