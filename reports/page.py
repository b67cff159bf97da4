"""The report as one self-contained HTML file.

Tables and curves stand in the page as text and drawings; a script, if it may run, lets the reader
choose anchor, metric and codecs, and compare pictures.  A content security policy admits only
that script and pictures in or beside the file, whatever a hostile name might contain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.verdict.comparison import Comparison
from reports import (
    claims,
    costs,
    decisions,
    literature,
    palette,
    payload,
    script,
    svg,
    views,
    wins,
    wording,
)
from reports.cautions import find_cautions
from reports.cells import anchor_line, metric_texts
from reports.charts import Chart, styles
from reports.literature import Published
from reports.lossless import lossless_text
from reports.pictures import Gallery
from reports.provenance import Provenance
from reports.scales import MINUS
from reports.wording import clean

_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
SECTIONS = {
    "changes": "What changed",
    "verdict": "Verdict",
    "lossless": "Lossless codecs",
    "curves": "Curves",
    "rates": "At given rates",
    "wins": "Image by image",
    "look": "Look",
    "decisions": "Block decisions",
    "cost": "Cost",
    "claims": "Claims",
    "images": "Measurements",
    "failures": "Failures",
    "settings": "Settings",
    "provenance": "Provenance",
}
"""What the table of contents lists, by the heading's id."""


def render(
    comparisons: Sequence[Comparison],
    charts: Sequence[Chart],
    provenance: Provenance,
    gallery: Gallery | None = None,
    anchors: Sequence[Comparison] = (),
) -> str:
    """The page; with no comparison, a page that says so and why.

    `anchors` has a comparison for each anchor that a reader can choose, the first that of the
    tables (default: `comparisons`).
    """
    gallery = gallery or Gallery()
    style = script.style(colour_rules())
    shared = {
        "provenance": provenance,
        "policy": script.policy(style),
        "style": Markup(style),
    }
    if not comparisons:
        return _environment().get_template("empty.html").render(shared)
    main = comparisons[0]
    document = payload.make(anchors or comparisons, charts)
    document["gallery"] = payload.gallery(gallery, main.results)
    spent = costs.costs(main.results)
    tested = claims.claim_rows(anchors or comparisons)
    by_image = wins.win_table(main, document["pairs"], document["step"], gallery)
    decided = decisions.summaries(main.results)
    rates = views.rate_tables(main)
    lossless = lossless_text(main.results)
    present = {
        "changes": bool(provenance.before),
        "lossless": lossless is not None,
        "rates": bool(rates),
        "wins": by_image is not None,
        "look": bool(gallery.pictures),
        "decisions": bool(decided),
        "claims": bool(tested),
    }
    document["costs"] = [payload.cost(one) for one in spent]
    text = (
        _environment()
        .get_template("report.html")
        .render(
            shared,
            main=main,
            anchor=wording.anchor_label(main),
            subtitle=anchor_line(main),
            metrics=metric_texts(main),
            rows=views.verdict_rows(main),
            lossless=lossless,
            anchors=[wording.anchor_label(one) for one in anchors or comparisons],
            codec_looks=_looks(main),
            charts=[_chart(chart, place) for place, chart in enumerate(charts)],
            published=_published(charts),
            rate_tables=rates,
            others=[
                (wording.anchor_label(one), views.verdict_rows(one)) for one in comparisons[1:]
            ],
            wins=by_image,
            decision_rows=decided,
            costs=spent,
            busy=any(cost.company not in {"alone", wording.NOT_MEASURED} for cost in spent),
            machine=_machine(provenance),
            claims=tested,
            pooling=views.pooling_rows(main),
            codecs=[
                (codec, measured, views.by_image(codec, measured))
                for codec in main.results.codecs
                for measured in [views.measured_metrics(codec, main.results.metrics)]
            ],
            failures=views.failures(main),
            facts=views.codec_facts(main),
            metric_versions=views.metric_versions(main),
            measured=views.measured_facts(main),
            cautions=find_cautions(main, charts, provenance, gallery),
            images=list(
                zip(main.results.images, main.results.sizes, main.results.digests, strict=True)
            ),
            other_set=_other_image_set(main),
            sections=[(id_, name) for id_, name in SECTIONS.items() if present.get(id_, True)],
            whole_pictures=any(picture.files for picture in gallery.pictures),
            data=Markup(payload.as_script_text(document)),
            picture_data=[
                {
                    "index": picture.image,
                    "data": Markup(
                        payload.as_script_text(payload.picture(picture, gallery, main.results))
                    ),
                }
                for picture in gallery.pictures
            ],
            script=Markup(script.script()),
        )
    )
    return _without_end_tags(text)


def _without_end_tags(text: str) -> str:
    """Leave out what HTML lets one leave out: there are thousands of cells."""
    page, mark, scripts = text.partition("<script")
    for tag in ("td", "th", "tr", "li", "dt", "dd", "option"):
        page = page.replace(f"</{tag}>", "")
    return page + mark + scripts


@dataclass(frozen=True)
class _Look:
    style: str
    marker: str


def _looks(main: Comparison) -> list[tuple[Any, _Look]]:
    places = styles(main)
    return [
        (codec, _Look(svg.style_class(places[codec.name]), svg.marker(places[codec.name])))
        for codec in main.results.codecs
    ]


def _chart(chart: Chart, place: int) -> dict[str, Any]:
    uid = f"c{place}"
    return {
        "uid": uid,
        "metric": chart.metric,
        "digits": wording.digits_of(chart.metric.name),
        "chart": chart,
        "drawing": Markup(svg.render(chart, uid)),  # every name in it escaped by `svg`
    }


@dataclass(frozen=True)
class _PublishedRow:
    """A published curve with its points as text, `bpp: value` within the rates of the charts."""

    facts: Published
    psnr: str
    ms_ssim: str


def _published(charts: Sequence[Chart]) -> list[_PublishedRow]:
    found: dict[str, dict[str, str]] = {}
    facts = {}
    for chart in charts:
        highest = max(point.bpp for series in chart.series for point in series.points)
        for one in chart.published:
            facts[one.facts.id] = one.facts
            near = [(r, v) for r, v in one.points if r <= highest * 1.03]
            found.setdefault(one.facts.id, {})[chart.metric.name] = "; ".join(
                f"{r:.3f}: {v:.2f}" for r, v in near
            )
    return [
        _PublishedRow(facts[id_], texts.get("psnr", ""), texts.get("ms-ssim", ""))
        for id_, texts in found.items()
    ]


def _machine(provenance: Provenance) -> str:
    facts = [provenance.host.get(name, "") for name in ("processor", "system")]
    text = ", ".join(clean(fact) for fact in facts if fact)
    return f"Machine of the last command: {text}." if text else ""


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
    environment.filters["figures"] = costs.significant
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
