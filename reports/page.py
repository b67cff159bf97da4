"""The report as one self-contained HTML file: no script, no request, nothing that acts.

A content security policy in the page forbids both, whatever a hostile name might contain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.comparison import Comparison
from reports import literature, palette, svg, views, wording
from reports.cautions import find_cautions
from reports.cells import anchor_line, metric_texts
from reports.charts import Chart, PublishedSeries
from reports.literature import Published
from reports.provenance import Provenance
from reports.scales import MINUS
from reports.wording import clean

_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(
    comparisons: Sequence[Comparison], charts: Sequence[Chart], provenance: Provenance
) -> str:
    """The page; with no comparison, a page that says so and why."""
    shared = {
        "provenance": provenance,
        "policy": CONTENT_POLICY,
        "colours": Markup(colour_rules()),
    }
    template = _environment().get_template("report.html" if comparisons else "empty.html")
    if not comparisons:
        return template.render(shared)
    main = comparisons[0]
    return template.render(
        shared,
        main=main,
        anchor=wording.anchor_label(main),
        subtitle=anchor_line(main),
        metrics=metric_texts(main),
        rows=views.verdict_rows(main),
        charts=[_chart(chart, place) for place, chart in enumerate(charts)],
        rate_tables=views.rate_tables(main),
        others=[(wording.anchor_label(one), views.verdict_rows(one)) for one in comparisons[1:]],
        pooling=views.pooling_rows(main),
        codecs=[
            (codec, views.image_rows(codec, main.results.metrics)) for codec in main.results.codecs
        ],
        failures=views.failures(main),
        facts=views.codec_facts(main),
        metric_versions=views.metric_versions(main),
        measured=views.measured_facts(main),
        cautions=find_cautions(main, charts, provenance),
        images=list(
            zip(main.results.images, main.results.sizes, main.results.digests, strict=True)
        ),
        other_set=_other_image_set(main),
    )


def _chart(chart: Chart, place: int) -> dict[str, Any]:
    uid = f"c{place}"
    return {
        "uid": uid,
        "metric": chart.metric,
        "digits": wording.digits_of(chart.metric.name),
        "chart": chart,
        # Drawn by us, every name in it escaped by `svg`.
        "linear": Markup(svg.render(chart, f"{uid}n", log=False)),
        "log": Markup(svg.render(chart, f"{uid}g", log=True)),
        "toggles": Markup(_toggle_rules(chart, uid)),
        "published": [(one, _points(one, chart)) for one in chart.published],
    }


def _toggle_rules(chart: Chart, uid: str) -> str:
    """Style rules by which check boxes show and hide published curves without a script."""
    return "".join(
        f"#{uid}:has(#{uid}-{one.facts.id}:checked) .p-{one.facts.id}{{display:inline}}"
        f"#{uid}:has(#{uid}-{one.facts.id}:not(:checked)) .p-{one.facts.id}{{display:none}}"
        for one in chart.published
    )


def _points(one: PublishedSeries, chart: Chart) -> str:
    """The published points within the rates of the chart, as text."""
    highest = max(point.bpp for series in chart.series for point in series.points)
    digits = 2 if chart.metric.unit == "dB" else 4
    return "; ".join(f"{r:.3f}: {v:.{digits}f}" for r, v in one.points if r <= highest * 1.03)


def _other_image_set(comparison: Comparison) -> list[tuple[Published, str]]:
    """Curves of the CLIC 2022 test set, to mention beside results on its validation set."""
    sets = {m.dataset for c in comparison.results.codecs for m in c.measurements.values()}
    if sets != {"clic22"}:
        return []
    return [
        (
            curve,
            "; ".join(f"{r:.3f}: {v:.2f}" for r, v in zip(curve.bpp, curve.values, strict=True)),
        )
        for metric in ("psnr", "ms-ssim")
        for curve in literature.curves(literature.CLIC22_TEST, metric)
    ]


def colour_rules() -> str:
    """The palette as custom properties, light and dark, and one class per curve colour."""

    def properties(colours: Sequence[str], ink: str, background: str) -> str:
        curves = "".join(f"--s{place}:{colour};" for place, colour in enumerate(colours))
        return f"--ink:{ink};--paper:{background};{curves}"

    light = properties(palette.LIGHT, palette.LIGHT_INK, palette.LIGHT_BACKGROUND)
    dark = properties(palette.DARK, palette.DARK_INK, palette.DARK_BACKGROUND)
    classes = "".join(f".s{i}{{--curve:var(--s{i})}}" for i in range(len(palette.LIGHT)))
    return (
        f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f".anchor{{--curve:var(--ink)}}{classes}"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["typeset"] = _typeset
    environment.filters["fixed"] = wording.number
    return environment


def _typeset(text: str) -> str:
    """Figures as print has them: a true minus, and no line break before the percent sign."""
    return _MINUS.sub(MINUS, text).replace(" %", "\N{NO-BREAK SPACE}%")


def _shown(value: object) -> object:
    """What an expression prints: never `None` or `nan`, and no characters that act."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return wording.NOT_MEASURED
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return clean(value)
