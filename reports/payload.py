"""What the page's script works with: one JSON document with the figures of the whole report.

Numbers are those of the static tables, rounded to more digits than any view shows.  Ratios of
rates are log10 in steps of `STEP`, given once for each pair of codecs: the other direction has the
other sign.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.verdict import spread
from bench.verdict.common import Mask
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult, Results
from reports import decisions, views, wording
from reports.cells import anchor_line
from reports.charts import CLIC_BUDGETS, Chart, styles
from reports.costs import Cost
from reports.pictures import Gallery, Shown
from reports.views import VerdictCell
from reports.wording import clean, digits_of, metric_text

SCHEMA = 1
STEP = 1e-5
_ESCAPES = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def as_script_text(document: object) -> str:
    """JSON that means nothing to an HTML parser, whatever names it holds."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def make(comparisons: Sequence[Comparison], charts: Sequence[Chart]) -> dict[str, Any]:
    """The document; `comparisons` has one entry for each anchor that can be chosen."""
    main = comparisons[0]
    results = main.results
    places = {codec.name: place for place, codec in enumerate(results.codecs)}
    style = styles(main)
    return {
        "schema": SCHEMA,
        "dataset": clean(results.dataset),
        "images": [
            {"name": clean(name), "width": size[0], "height": size[1]}
            for name, size in zip(results.images, results.sizes, strict=True)
        ],
        "metrics": [_metric(name, charts, places) for name in results.metrics],
        "codecs": [_codec(codec, style[codec.name], charts, results) for codec in results.codecs],
        "step": STEP,
        "budgets": CLIC_BUDGETS,
        "anchors": [_anchor(one, places) for one in comparisons],
        "pairs": {
            f"{places[a.name]}-{places[b.name]}": _pair(a, b, results)
            for a, b in itertools.combinations(results.codecs, 2)
        },
    }


def _metric(name: str, charts: Sequence[Chart], places: dict[str, int]) -> dict[str, Any]:
    text = metric_text(name)
    chart = next((one for one in charts if one.metric.name == name), None)
    return {
        "name": name,
        "label": clean(text.label),
        "unit": clean(text.unit),
        "rising": text.higher_is_better,
        "digits": digits_of(name),
        # Codec's place -> [point, bpp, value on the curve scale, plain value], low rate to high.
        "series": {
            places[one.codec]: [
                [p.name, _round(p.bpp, 5), _round(p.value, 5), _round(p.plain, 6)]
                for p in one.points
            ]
            for one in (chart.series if chart else ())
        },
        # Their points are in the table of published curves.
        "published": [
            {"id": one.facts.id, "label": clean(one.facts.label), "shown": one.facts.shown}
            for one in (chart.published if chart else ())
        ],
    }


def _codec(
    codec: CodecResult, style: int, charts: Sequence[Chart], results: Results
) -> dict[str, Any]:
    # The band goes with the curve that is drawn: the same images.
    drawn = {
        chart.metric.name: np.array([name not in chart.left_out for name in results.images])
        for chart in charts
        if any(one.codec == codec.name for one in chart.series)
    }
    return {
        "name": clean(codec.name),
        "label": clean(codec.label),
        "style": style,
        "tuned": clean(", ".join(metric_text(name).label for name in codec.tuned_for)),
        "points": [clean(point) for point in codec.points],
        "bands": {
            name: band
            for name in results.metrics
            if name in drawn and (band := _quality_band(codec, name, drawn[name]))
        },
    }


def _quality_band(codec: CodecResult, metric: str, images: Mask) -> dict[str, Any] | None:
    rising = metric_text(metric).higher_is_better
    band = spread.quality_band(codec, metric, rising, images)
    if band is None:
        return None
    return {
        "from": _round(float(band.at[0]), 4),
        "to": _round(float(band.at[-1]), 4),
        "low": _list(band.low, 4),
        "high": _list(band.high, 4),
    }


def _anchor(comparison: Comparison, places: dict[str, int]) -> dict[str, Any]:
    rows = views.verdict_rows(comparison)
    return {
        "name": clean(comparison.anchor),
        "label": wording.anchor_label(comparison),
        "title": clean(anchor_line(comparison)),
        "rows": [
            {
                "codec": places[row.codec],
                "against": places.get(shown.against),
                "sentence": clean(row.sentence),
                "cells": [_cell(cell) for cell in row.cells],
            }
            for row, shown in zip(rows, comparison.rows, strict=True)
        ],
    }


def _cell(cell: VerdictCell) -> list[Any]:
    """Value, interval, overlap, remark, tone and status as text; BD-rate and its interval."""
    texts = (cell.value, cell.interval, cell.overlap, cell.remark, cell.tone, cell.status)
    return [*map(clean, texts), *(_round(percent, 4) for percent in cell.figures)]


def _pair(first: CodecResult, second: CodecResult, results: Results) -> dict[str, Any]:
    """log10(rate of second / rate of first), by picture and over quality."""
    found = {}
    for name in results.metrics:
        rising = metric_text(name).higher_is_better
        images = spread.rate_by_image(first, second, name, rising)
        band = spread.relative_rate(first, second, name, rising)
        if np.isfinite(images).any() or band:
            found[name] = {
                "images": _steps(images),
                "curve": band
                and {
                    "from": _round(float(band.at[0]), 5),
                    "to": _round(float(band.at[-1]), 5),
                    "value": _steps(band.value),
                    "low": _steps(band.low),
                    "high": _steps(band.high),
                },
            }
    return found


def gallery(shown: Gallery, results: Results) -> dict[str, Any]:
    """Which operating point is shown where; `chosen[image][rate][codec]`, null where none is."""
    images, codecs = range(len(results.images)), range(len(results.codecs))
    return {
        "rates": shown.rates,
        "images": [picture.image for picture in shown.pictures],
        "decided": [
            place
            for place, codec in enumerate(results.codecs)
            if any(decisions.read(m) for m in codec.measurements.values())
        ],
        "chosen": [
            [[shown.chosen.get((i, r, c)) for c in codecs] for r in range(len(shown.rates))]
            for i in images
        ],
    }


def picture(shown: Shown, gallery: Gallery, results: Results) -> dict[str, Any]:
    """The files of one picture, by `codec-point`; parsed by the page when it is looked at."""
    crops = shown.crops
    shown_points = {
        f"{codec}-{point}": results.codecs[codec].measurements[point, image]
        for (image, _, codec), point in gallery.chosen.items()
        if image == shown.image
    }
    names = {m.key: name for name, m in shown_points.items()}
    return {
        # Bits per pixel and the metrics' plain values.
        "values": {
            name: _list([m.bpp, *(m.metric(metric) for metric in results.metrics)], 5)
            for name, m in shown_points.items()
        },
        "decisions": {
            name: found for name, m in shown_points.items() if (found := decisions.payload(m))
        },
        "box": crops.box,
        "crops": {
            "original": crops.original,
            **{names[key]: uri for key, uri in crops.crops.items()},
        },
        "preview": crops.preview,
        "variances": crops.variances,
        "files": {names.get(key, key): file for key, file in shown.files.items()},
    }


def cost(one: Cost) -> dict[str, float | None]:
    """Seconds and megapixels a second of one codec."""
    return {
        "encode": _round(one.encode[0], 4),
        "decode": _round(one.decode[0], 4),
        "encode_speed": _round(one.encode_speed, 5),
        "decode_speed": _round(one.decode_speed, 5),
    }


def _steps(values: ArrayLike) -> list[int | None]:
    return [
        round(value / STEP) if math.isfinite(value) else None
        for value in np.asarray(values).tolist()
    ]


def _list(values: ArrayLike, digits: int) -> list[float | None]:
    return [_round(float(value), digits) for value in np.asarray(values).tolist()]


def _round(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
