"""Reports: what measurements say, for people and for papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.cache import write_atomically
from reports.provenance import Caution, Provenance

if TYPE_CHECKING:
    from bench.study.outcome import Outcome
    from bench.verdict.comparison import Comparison
    from reports.pictures import Gallery

__all__ = ["Caution", "Provenance", "write_report"]


def write_report(
    directory: Path,
    comparisons: Sequence[Comparison],
    provenance: Provenance,
    *,
    name: str = "report",
    gallery: Gallery | None = None,
    outcomes: Sequence[Outcome] = (),
) -> Path:
    """Write a comparison as a page, figures and tables; returns the page's path.

    `comparisons[0]` is what the report is about; the others have other anchors and appear in one
    compact table.  A reader can choose any codec as the anchor.  `gallery` has the pictures to
    look at, `outcomes` what people said of some.  Beside `<name>.html` come `curves/*.svg|pdf` (one
    per metric) and `tables/verdicts.csv|tex|md|json`; a `name` other than `report` prefixes the two
    folders.
    """
    from reports import page, tables
    from reports.figures import write_figures
    from reports.model import make_report

    path = directory / f"{name}.html"
    if not comparisons:
        _write(path, page.render_empty(provenance))
        return path
    report = make_report(comparisons, provenance, gallery, _all_anchors(comparisons), outcomes)
    prefix = "" if name == "report" else f"{name}-"
    figures = write_figures(report.charts, directory / f"{prefix}curves")
    _write(path, page.render(report, figures))
    folder = directory / f"{prefix}tables"
    folder.mkdir(parents=True, exist_ok=True)
    formats = {
        "csv": tables.as_csv,
        "tex": tables.as_latex,
        "md": tables.as_markdown,
        "json": tables.as_json,
    }
    for suffix, render in formats.items():
        _write(folder / f"verdicts.{suffix}", render(comparisons, provenance))
    return path


def _all_anchors(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The first comparison, then one with each other codec as the anchor that can be one."""
    from bench.verdict.comparison import compare

    known = {one.anchor: one for one in comparisons}
    results = comparisons[0].results
    rest = [
        codec.name
        for codec in results.codecs
        if codec.name != comparisons[0].anchor and not codec.is_lossless
    ]
    return [comparisons[0], *(known.get(name) or compare(results, name) for name in rest)]


def _write(path: Path, text: str) -> None:
    """Replace a file in one step: a reader never sees half a report."""
    write_atomically(path, text.encode())
