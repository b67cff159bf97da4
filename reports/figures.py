"""Rate-distortion curves for papers: SVG and PDF, one per metric, by matplotlib.

Plain style, one column wide, vector fonts inside the file, the same bytes for the same data.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.charts import Chart, Series
from reports.palette import LIGHT, LIGHT_INK, MATPLOTLIB_MARKERS, colour_index, marker_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: Any = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],
    "font.size": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.direction": "out",
    "grid.linewidth": 0.4,
    "grid.color": "#d8d8d8",
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType: text stays text
    "svg.fonttype": "path",  # glyphs as outlines: looks the same everywhere
    "svg.hashsalt": "codec-bench",
    "text.usetex": False,
}
SIZE = (6.2, 3.2)
"""Inches; the legend stands beside the axes."""
LEGEND = 36
"""Characters of a line of the legend."""
NOTHING = {"Date": None, "Creator": None}
DASHES = ((4, 2), (1, 1.5), (6, 2, 1, 2), (2, 1), (6, 2, 1, 2, 1, 2))
"""Of the published curves, in points: drawn, left out, drawn ..."""


def write_figures(charts: Sequence[Chart], directory: Path) -> dict[str, bytes]:
    """Write `<metric>.svg` and `<metric>.pdf` for each chart; returns, by metric, the same
    drawing for a page: its text stays text, which makes it a quarter as long."""
    import matplotlib

    directory.mkdir(parents=True, exist_ok=True)
    drawings = {}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A label may hold characters that the font lacks; boxes in their place are fine.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        for chart in charts:
            stem = re.sub(r"[^a-z0-9-]+", "_", chart.metric.name)
            drawings[chart.metric.name] = _write(chart, directory / stem)
    return drawings


def _write(chart: Chart, stem: Path) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    values = [p.value for one in chart.series for p in one.points]
    margin = 0.05 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 1
    right = max(p.bpp for one in chart.series for p in one.points) * 1.03
    lines = [_measured(axes, one) for one in chart.series]
    names = [textwrap.fill(one.short, LEGEND) for one in chart.series]
    # Published MS-SSIM is averaged before the decibels, ours after: a page can say so, an axis
    # in a paper cannot.
    drawn = [one for one in chart.published if one.facts.shown and one.facts.metric == "psnr"]
    for place, one in enumerate(drawn):
        lines.append(_published(axes, one.points, DASHES[place % len(DASHES)]))
        names.append(textwrap.fill(f"{one.facts.label} (published)", LEGEND))
    axes.set_xlim(0, right)
    axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.set_xlabel("bits per pixel")
    axes.set_ylabel(chart.metric.heading, parse_math=False)
    axes.grid(True)
    axes.set_axisbelow(True)
    # matplotlib leaves out names that start with an underscore.
    names = [name.lstrip("_") or " " for name in names]
    legend = figure.legend(
        lines, names, loc="outside right center", handlelength=2.6, labelspacing=0.45
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    pdf, for_page = stem.with_suffix(".pdf"), io.BytesIO()
    figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    figure.set_layout_engine(None)  # what it has found stays; looking takes as long as drawing
    figure.savefig(stem.with_suffix(".svg"), metadata=NOTHING)
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(for_page, format="svg", metadata=NOTHING)
    return for_page.getvalue()


def _measured(axes: Axes, series: Series) -> Any:
    anchor = series.style < 0
    return axes.plot(
        [point.bpp for point in series.points],
        [point.value for point in series.points],
        color=LIGHT_INK if anchor else LIGHT[colour_index(series.style)],
        marker="o" if anchor else MATPLOTLIB_MARKERS[marker_index(series.style)],
        linestyle="--" if series.style >= len(LIGHT) else "-",
        linewidth=1.6 if anchor else 1.1,
        zorder=3 if anchor else 2,
    )[0]


def _published(axes: Axes, points: Sequence[tuple[float, float]], dashes: Any) -> Any:
    rates, values = zip(*points, strict=True)
    return axes.plot(rates, values, color="#777777", linestyle=(0, dashes), linewidth=0.9)[0]
