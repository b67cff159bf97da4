"""The verdicts as data: JSON at full precision, CSV rounded for reading.

Names come from outside: what would be a formula in a spreadsheet is made plain text.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.verdict.bd import Verdict
from bench.verdict.comparison import Cell, Comparison, Row
from bench.verdict.lossless import LosslessPoint, compare_lossless
from bench.verdict.plausible import unlikely_rates
from reports import wording
from reports.costs import speed
from reports.provenance import Provenance
from reports.verdicts import Written
from reports.wording import clean, metric_text

SCHEMA = 1


def as_json(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """Everything at full precision; null where there is no value."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "comparisons": [_comparison_object(one) for one in comparisons],
    }
    if lossless := compare_lossless(comparisons[0].results):
        document["lossless"] = {
            "images": lossless.images,
            "left_out": lossless.left_out,
            "smallest": lossless.smallest.codec.name,
            "rows": [
                {
                    "codec": point.codec.name,
                    "label": point.codec.label,
                    "point": point.point,
                    **_lossless_figures(point),
                    "low": point.low,
                    "high": point.high,
                }
                for point in lossless.points
            ],
        }
    if provenance is not None:
        document["provenance"] = asdict(provenance)
    return json.dumps(_finite(document), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _comparison_object(comparison: Comparison) -> dict[str, Any]:
    results = comparison.results
    codecs = {codec.name: codec for codec in results.codecs}
    return {
        "anchor": comparison.anchor,
        "dataset": results.dataset,
        "images": [
            {"name": name, "sha256": digest, "width": size[0], "height": size[1]}
            for name, digest, size in zip(
                results.images, results.digests, results.sizes, strict=True
            )
        ],
        "metrics": {name: asdict(metric_text(name)) for name in results.metrics},
        "codecs": {
            name: {
                "label": codec.label,
                "version": codec.version,
                "settings": dict(codec.settings),
                "device": codec.device,
                "points": list(codec.points),
                "tuned_for": list(codec.tuned_for),
            }
            for name, codec in codecs.items()
        },
        "unavailable": dict(results.unavailable),
        "published": {
            one.name: {"label": one.label, "curves": [asdict(curve) for curve in one.curves]}
            for one in results.quoted
        },
        "cautions": [
            {"codec": found.codec, "message": wording.unlikely_rate(found)}
            for found in unlikely_rates(results)
        ],
        "rows": [
            {
                "codec": row.codec,
                "label": row.label,
                "cells": {
                    name: {
                        "bd_rate_percent": asdict(cell.verdict),
                        "bd_rate_percent_pooled": asdict(cell.pooled),
                        "equal_rate": [asdict(point) for point in cell.equal_rate],
                        "own_points": [asdict(point) for point in cell.own_points],
                    }
                    for name, cell in row.cells.items()
                },
            }
            for row in comparison.rows
        ],
    }


def _lossless_figures(point: LosslessPoint) -> dict[str, float]:
    """What the table of lossless codecs says of one; `low` and `high` are of its last quantity."""
    return {
        "bpp": point.bpp,
        "encode_megapixels_per_second": speed(point.measurements, "encode"),
        "decode_megapixels_per_second": speed(point.measurements, "decode"),
        "percent_of_raw": point.percent_of_raw,
        "percent_larger_than_smallest": point.percent_larger,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


FIGURES = ("value", "low", "high")
CSV_FIELDS = (
    "anchor",
    "codec",
    "label",
    "metric",
    "quantity",
    "at_bpp",
    *FIGURES,
    "overlap",
    "status",
    "message",
)


def as_csv(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """One figure a line.  `quantity` is one of

    `bd_rate_percent` (mean curves), `bd_rate_percent_pooled`, `quality_difference` (codec minus
    anchor at `at_bpp`), `bpp_for_anchor_quality` (of the anchor's quality at `at_bpp`) and, at
    operating points where BD-rate is undefined, `rate_change_percent` (at equal quality).

    Points without loss have no anchor and no metric: `lossless_bpp`, `lossless_percent_of_raw`,
    `lossless_percent_larger_than_smallest` (of these points), `lossless_encode_megapixels_...`.
    `caution`: what `message` says of a codec whose rates cannot be true.
    """
    lines = [
        head | line
        for comparison in comparisons
        for row in comparison.rows
        for name, cell in row.cells.items()
        for head in [_csv_head(comparison, row, name)]
        for line in _csv_lines(cell)
    ]
    lossless = compare_lossless(comparisons[0].results)
    for point in lossless.points if lossless else ():
        for quantity, figure in _lossless_figures(point).items():
            line = {
                "codec": _csv_text(point.codec.name),
                "label": _csv_text(point.codec.label),
                "quantity": f"lossless_{quantity}",
                "at_bpp": f"{point.bpp:.5f}",
                "value": _csv_number(figure, 5 if quantity == "bpp" else 3),
                "message": _csv_text(point.point),
            }
            if quantity == "percent_larger_than_smallest":
                line["low"] = _csv_number(point.low, 3)
                line["high"] = _csv_number(point.high, 3)
            lines.append(line)
    lines += _csv_cautions(comparisons[0])
    return _csv([dict(zip(CSV_FIELDS, CSV_FIELDS, strict=True)), *lines])


def csv_verdicts(comparison: Comparison) -> Written:
    """The BD-rates alone, a line for each metric of a codec; below them what cannot be true."""
    rows = [
        _csv(
            _csv_head(comparison, row, name) | _csv_lines(cell)[0]
            for name, cell in row.cells.items()
        )
        for row in comparison.rows
    ]
    cautions = _csv(_csv_cautions(comparison)).rstrip("\n")
    return Written(",".join(CSV_FIELDS), tuple(row.rstrip("\n") for row in rows), cautions)


def _csv_cautions(comparison: Comparison) -> list[dict[str, str]]:
    return [
        {
            "codec": _csv_text(found.codec),
            "label": _csv_text(found.label),
            "quantity": "caution",
            "message": _csv_text(wording.unlikely_rate(found)),
        }
        for found in unlikely_rates(comparison.results)
    ]


def _csv(lines: Iterable[Mapping[str, str]]) -> str:
    out = io.StringIO()
    csv.DictWriter(out, CSV_FIELDS, restval="", lineterminator="\n").writerows(lines)
    return out.getvalue()


def _csv_head(comparison: Comparison, row: Row, metric: str) -> dict[str, str]:
    texts = (comparison.anchor, row.codec, row.label, metric)
    return dict(zip(CSV_FIELDS, map(_csv_text, texts), strict=False))


def _csv_lines(cell: Cell) -> list[dict[str, str]]:
    lines = [
        {"quantity": quantity, **_csv_verdict(verdict)}
        for quantity, verdict in (
            ("bd_rate_percent", cell.verdict),
            ("bd_rate_percent_pooled", cell.pooled),
        )
    ]
    for point in cell.equal_rate:
        at = {"at_bpp": f"{point.rate:g}"}
        lines.append(
            at
            | {
                "quantity": "quality_difference",
                "value": _csv_number(point.quality - point.anchor_quality, 4),
                "low": _csv_number(point.low, 4),
                "high": _csv_number(point.high, 4),
            }
        )
        needed = _csv_number(point.rate_at_anchor_quality, 5)
        lines.append(at | {"quantity": "bpp_for_anchor_quality", "value": needed})
    for own in cell.own_points:
        at = {"at_bpp": f"{own.rate:.5f}"}
        for quantity, digits, figures in (
            ("quality_difference", 4, (own.quality - own.anchor_quality, own.low, own.high)),
            ("rate_change_percent", 3, (own.rate_change, own.rate_low, own.rate_high)),
        ):
            shown = [_csv_number(figure, digits) for figure in figures]
            lines.append(at | {"quantity": quantity, **dict(zip(FIGURES, shown, strict=True))})
    return lines


def _csv_verdict(verdict: Verdict) -> dict[str, str]:
    figures = wording.figures(verdict)
    return {
        **{name: _csv_number(figure, 3) for name, figure in zip(FIGURES, figures, strict=True)},
        "overlap": _csv_number(verdict.overlap, 3),
        "status": _csv_text(wording.status(verdict)),
        "message": _csv_text(verdict.message),
    }


def _csv_number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


def _csv_text(text: str) -> str:
    """Spreadsheets take a cell that starts like this for a formula; an apostrophe prevents it."""
    text = clean(text)
    return f"'{text}" if text.lstrip()[:1] in {"=", "+", "-", "@", "|", "%"} else text
