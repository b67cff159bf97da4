"""What the page's script works with: one JSON document with the figures of the whole report.

Numbers are those of the static tables, rounded to more digits than any view shows.  Ratios of
rates are log10 in steps of `STEP`, given once for each pair of codecs: the other direction has the
other sign.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.verdict import spread
from bench.verdict.common import Mask
from bench.verdict.results import CodecResult, Results
from reports import diagnostics
from reports.charts import CLIC_BUDGETS
from reports.costs import Cost
from reports.model import Anchor, Report, ShownCodec
from reports.pictures import Gallery, Shown
from reports.wins import STEP
from reports.wording import MetricText, clean, digits_of, metric_text

SCHEMA = 2
_ESCAPES = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def as_script_text(document: object) -> str:
    """JSON that means nothing to an HTML parser, whatever names it holds."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def make(report: Report) -> dict[str, Any]:
    """The document."""
    results = report.main.results
    places = {codec.name: place for place, codec in enumerate(results.codecs)}
    return {
        "schema": SCHEMA,
        "images": [
            {"name": clean(name), "width": size[0], "height": size[1]}
            for name, size in zip(results.images, results.sizes, strict=True)
        ],
        "metrics": [_metric(text, report, places) for text in report.metrics],
        "codecs": [_codec(codec, report) for codec in report.codecs],
        "step": STEP,
        "budgets": CLIC_BUDGETS,
        "anchors": [_anchor(one, places) for one in report.anchors],
        "pairs": report.pairs,
        "costs": [_cost(one) for one in report.costs],
        "gallery": _gallery(report.gallery, results),
    }


def _metric(text: MetricText, report: Report, places: dict[str, int]) -> dict[str, Any]:
    chart = next((one for one in report.charts if one.metric.name == text.name), None)
    return {
        "name": text.name,
        "label": clean(text.label),
        "unit": clean(text.unit),
        "rising": text.higher_is_better,
        "digits": digits_of(text.name),
        # Codec's place -> [point, bpp, value on the curve scale, plain value], low rate to high.
        "series": {
            places[one.codec]: [
                [p.name, _round(p.bpp, 5), _round(p.value, 5), _round(p.plain, 6)]
                for p in one.points
            ]
            for one in (chart.series if chart else ())
        },
        "published": [
            {
                "id": one.facts.id,
                "label": clean(one.facts.label),
                "shown": one.facts.shown,
                "points": [
                    [round(r, 3), round(v, digits_of(text.name))] for r, v in one.points[text.name]
                ],
            }
            for one in report.published
            if text.name in one.points
        ],
    }


def _codec(codec: ShownCodec, report: Report) -> dict[str, Any]:
    # The band goes with the curve that is drawn: the same images.
    drawn = {
        chart.metric.name: np.array([i not in chart.left_out for i in report.main.results.images])
        for chart in report.charts
        if any(one.codec == codec.result.name for one in chart.series)
    }
    return {
        "name": codec.name,
        "label": codec.label,
        "short": codec.short,
        "look": codec.look,
        "shape": codec.marker,
        "points": [clean(point) for point in codec.result.points],
        "bands": {
            name: band
            for name, images in drawn.items()
            if (band := _quality_band(codec.result, name, images))
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


def _anchor(anchor: Anchor, places: dict[str, int]) -> dict[str, Any]:
    """The figures of the table of verdicts; its texts stand in the page itself."""
    found = anchor.verdicts
    return {
        "name": anchor.name,
        "label": found.label,
        "rows": [
            {
                "codec": places.get(row.codec),
                "against": places.get(row.against),
                # BD-rate and its interval in percent, by metric.
                "percent": [_list(cell.figures, 4) for cell in row.cells],
            }
            for row in found.rows
        ],
        # [head, a text for each row, tail]
        "copies": {name: [c.head, c.rows, c.tail] for name, c in anchor.copies.items()},
    }


def _gallery(shown: Gallery, results: Results) -> dict[str, Any]:
    """What is shown where: `chosen[image][rate][codec]`, `codec-point`, null where nothing is."""
    images, codecs = range(len(results.images)), range(len(results.codecs))
    return {
        "rates": shown.rates,
        "images": [picture.image for picture in shown.pictures],
        # Codec's place -> names of its maps.
        "mapped": {
            place: names
            for place, codec in enumerate(results.codecs)
            if (names := diagnostics.map_names(codec))
        },
        "chosen": [
            [
                [_file(shown.chosen.get((i, rate, codec))) for codec in codecs]
                for rate in range(len(shown.rates))
            ]
            for i in images
        ],
    }


def _file(chosen: tuple[int, int] | None) -> str | None:
    return None if chosen is None else f"{chosen[0]}-{chosen[1]}"


def picture(shown: Shown, gallery: Gallery, results: Results) -> dict[str, Any]:
    """The files of one picture, by `codec-point`; parsed by the page when it is looked at."""
    crops = shown.crops
    shown_points = {
        f"{codec}-{point}": results.codecs[codec].measurements[point, image]
        for (image, *_), (codec, point) in gallery.chosen.items()
        if image == shown.image
    }
    names = {m.key: name for name, m in shown_points.items()}
    return {
        # Bits per pixel and the metrics' plain values.
        "values": {
            name: _list([m.bpp, *(m.metric(metric) for metric in results.metrics)], 5)
            for name, m in shown_points.items()
        },
        "maps": {
            name: found for name, m in shown_points.items() if (found := diagnostics.payload(m))
        },
        "box": crops.box,
        "crops": {
            "original": crops.original,
            **{names[key]: uri for key, uri in crops.crops.items()},
        },
        "preview": crops.preview,
        "files": {names.get(key, key): file for key, file in shown.files.items()},
    }


def _cost(one: Cost) -> dict[str, float | None]:
    """Seconds and megapixels a second of one codec."""
    return {
        "encode": _round(one.encode[0], 4),
        "decode": _round(one.decode[0], 4),
        "encode_speed": _round(one.encode_speed, 5),
        "decode_speed": _round(one.decode_speed, 5),
    }


def _list(values: ArrayLike, digits: int) -> list[float | None]:
    return [_round(float(value), digits) for value in np.asarray(values).tolist()]


def _round(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
