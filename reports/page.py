"""The report as one self-contained HTML file.

Tables, the ranking and figures stand in the page as text and drawings; a script, if it may run,
lets the reader choose anchor, metric and codecs, and compare pictures.  A content security policy
admits only that script and pictures in or beside the file, whatever a hostile name might contain.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import costs, palette, payload, script, targets, wording
from reports.model import Report
from reports.provenance import Provenance
from reports.wording import clean

_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
SECTIONS = {
    "changes": "What changed",
    "verdict": "Verdict",
    "lossless": "Lossless codecs",
    "curves": "Curves",
    "rates": "At given rates",
    "targets": "Coded to a rate",
    "wins": "Image by image",
    "look": "Look",
    "preferred": "What people preferred",
    "streams": "Inside the streams",
    "cost": "Cost",
    "learned": "Learned codecs",
    "claims": "Claims",
    "images": "Measurements",
    "failures": "Failures",
    "settings": "Settings",
    "provenance": "Provenance",
}
"""What the table of contents lists, by the heading's id."""


def render(report: Report, figures: Mapping[str, bytes]) -> str:
    """The page; `figures` has the drawing (SVG) of each chart, by metric, for where no script
    runs."""
    results = report.main.results
    present = {
        "changes": bool(report.provenance.before),
        "lossless": report.lossless is not None,
        "rates": bool(report.rate_tables),
        "targets": bool(report.targets),
        "wins": report.wins is not None,
        "look": bool(report.gallery.pictures),
        "preferred": bool(report.preferred),
        "streams": bool(report.told),
        "learned": report.learned is not None,
        "claims": bool(report.claims),
    }
    busy = {"alone", wording.NOT_MEASURED}
    text = _render(
        "report.html",
        report.provenance,
        report=report,
        anchor=report.anchors[0].verdicts.label,
        drawings={name: _data_uri(svg) for name, svg in figures.items()},
        busy=any(cost.company not in busy for cost in report.costs),
        machine=_machine(report.provenance),
        images=list(zip(results.images, results.sizes, results.digests, strict=True)),
        sections=[(id_, name) for id_, name in SECTIONS.items() if present.get(id_, True)],
        whole_pictures=any(picture.files for picture in report.gallery.pictures),
        data=Markup(payload.as_script_text(payload.make(report))),
        picture_data=[
            (
                picture.image,
                Markup(payload.as_script_text(payload.picture(picture, report.gallery, results))),
            )
            for picture in report.gallery.pictures
        ],
        target_headings=targets.HEADINGS[1:],
        target_note=targets.NOTE,
        script=Markup(script.script()),
    )
    return _without_end_tags(text)


def render_empty(provenance: Provenance) -> str:
    """A page that says that nothing could be compared, and why."""
    return _render("empty.html", provenance)


def _render(template: str, provenance: Provenance, **values: object) -> str:
    style = script.style(colour_rules())
    found = environment().get_template(template)
    return found.render(
        values,
        provenance=provenance,
        policy=script.policy(style, script.script()),
        style=Markup(style),
    )


def _without_end_tags(text: str) -> str:
    """Leave out what HTML lets one leave out: there are thousands of cells."""
    page, mark, scripts = text.partition("<script")
    for tag in ("td", "th", "tr", "li", "dt", "dd", "option"):
        page = page.replace(f"</{tag}>", "")
    return page + mark + scripts


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def _machine(provenance: Provenance) -> str:
    facts = [provenance.host.get(name, "") for name in ("processor", "system")]
    text = ", ".join(clean(fact) for fact in facts if fact)
    return f"Machine of the last command: {text}." if text else ""


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
def environment() -> Environment:
    """What renders templates: all text escaped, nothing printed that acts."""
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
    environment.filters["points"] = _points
    environment.globals["digits_of"] = wording.digits_of
    return environment


def _typeset(text: str) -> str:
    """Figures as print has them: a true minus, and no line break before the percent sign."""
    return _MINUS.sub("\N{MINUS SIGN}", text).replace(" %", "\N{NO-BREAK SPACE}%")


def _points(points: Iterable[tuple[float, float]], digits: int = 2) -> str:
    """Points of a curve as text, `bpp: value; ...`."""
    return "; ".join(f"{rate:.3f}: {value:.{digits}f}" for rate, value in points)


def _shown(value: object) -> object:
    """What an expression prints: never `None` or `nan`, and no characters that act."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return wording.NOT_MEASURED
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return clean(value)
