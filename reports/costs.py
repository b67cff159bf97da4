"""What a codec costs: seconds, megapixels a second, and for learned codecs operations and size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.record.measurement import Measurement
from bench.verdict.results import CodecResult, Results
from reports.diagnostics import number
from reports.wording import NOT_MEASURED, clean


@dataclass(frozen=True)
class Cost:
    """Medians over all measurements of a codec; NaN where nothing was measured."""

    codec: str
    label: str
    encode: tuple[float, float, float]
    """Wall seconds of one picture: median, first and third quartile."""
    decode: tuple[float, float, float]
    encode_speed: float
    """Megapixels a second: median over the measurements."""
    decode_speed: float
    kmac: float
    """Thousand multiply-accumulates for each pixel, encoding and decoding; NaN where the codec
    does not tell: `model.kmac_per_pixel` in its diagnostics."""
    model_bytes: float
    """Size of the weights of one operating point: `model.bytes` in its diagnostics."""
    training_hours: float
    """Of a core, for the weights of one operating point, or of all where one file serves all:
    `model.training_hours` in its diagnostics."""
    device: str
    company: str
    """Beside how many other measurements the times were taken."""


def costs(results: Results) -> list[Cost]:
    return [_cost(codec) for codec in results.codecs]


def _cost(codec: CodecResult) -> Cost:
    good = [m for m in codec.measurements.values() if m.status == "ok"]
    return Cost(
        codec=codec.name,
        label=codec.label,
        encode=_quartiles([m.encode.wall for m in good if m.encode]),
        decode=_quartiles([m.decode.wall for m in good if m.decode]),
        encode_speed=speed(good, "encode"),
        decode_speed=speed(good, "decode"),
        kmac=_median([_fact(m, "kmac_per_pixel") for m in good]),
        model_bytes=_median([_fact(m, "bytes") for m in good]),
        training_hours=_median([_fact(m, "training_hours") for m in good]),
        device=clean(" or ".join(sorted({m.device for m in good}) or [codec.device])),
        company=company(good),
    )


def speed(measurements: Sequence[Measurement], what: str) -> float:
    """Megapixels a second of `encode` or `decode` (`what`): the median; NaN without times."""
    rows = [(m, getattr(m, what)) for m in measurements]
    timed = [(m, timing.wall) for m, timing in rows if timing and timing.wall > 0]
    return _median([m.width * m.height / 1e6 / wall for m, wall in timed])


def company(measurements: Sequence[Measurement]) -> str:
    """Beside how many others they were timed: `alone`, `2 or 4 side by side`."""
    jobs = sorted({m.jobs for m in measurements})
    if not jobs:
        return NOT_MEASURED
    return "alone" if jobs == [1] else f"{' or '.join(map(str, jobs))} side by side"


def _fact(m: Measurement, name: str) -> float:
    model = m.diagnostics.get("model")
    value = model.get(name) if isinstance(model, Mapping) else None
    return number(value)


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.median(known)) if known else math.nan


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if not values:
        return math.nan, math.nan, math.nan
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(middle), float(low), float(high)


def significant(value: float, digits: int = 3) -> str:
    """`0.0123`, `1.23`, `12.3`, `1230`: fixed point with so many figures."""
    if not math.isfinite(value):
        return NOT_MEASURED
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"
