"""The verdicts as LaTeX: tables that fit a paper of two columns, with their caveats.

Names come from outside: whatever would be an instruction is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.verdict.comparison import Comparison
from reports import wording
from reports.lossless import lossless_text
from reports.marks import Mark
from reports.provenance import Provenance
from reports.rates import RateLine, rate_lines
from reports.verdicts import VerdictCell, Verdicts, Written, verdicts
from reports.wording import clean

COLUMN, PAGE = 240.0, 500.0
"""Points that a table may be wide, in one column and across both, of ACM's and IEEE's layouts."""
GAP = 3.0
"""Points on each side of a column."""
NORMAL, SMALL = 9.0, 7.0
"""Points of `small` and `scriptsize` at ten points."""
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "\N{EN DASH}": "--",
    "…": r"\dots{}",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "[": "{[}",  # after \\ a bare bracket is an optional argument
    "]": "{]}",
}
RATE_HEADINGS = ("Codec", "Metric", "bpp", "Anchor", "Codec's", "Difference [95 %]", "Rate [95 %]")
PACKAGES = r"% \usepackage{booktabs,graphicx,textcomp}, \usepackage[T1]{fontenc}"


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in clean(text))


def as_latex(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """A table in booktabs style for each comparison; needs the packages named on top."""
    parts = [PACKAGES, ""]
    lossless = lossless_text(comparisons[0].results)
    for comparison in comparisons:
        found = verdicts(comparison)
        if found.rows or not lossless:
            parts.append(str(latex_verdicts(found)))
        if lines := rate_lines(comparison):
            parts.append(_rates(comparison, lines))
    if lossless:
        caption = latex_escape(f"{lossless.title}. {lossless.note}".removesuffix("."))
        left = 1 + ("point" in lossless.headings)
        parts.append(_plain(caption, left, lossless.headings, lossless.rows))
    return "\n".join(parts)


def latex_verdicts(found: Verdicts) -> Written:
    """The figure of the codec that needs the fewest bits is bold, where that is fewer than the
    anchor's.  Intervals stand beside their figures where there is room, and below them where not.
    """
    head = ["Codec", *(metric.label for metric in found.metrics)]
    columns = [[row.cells[i] for row in found.rows] for i in range(len(found.metrics))]

    def width(*, beside: bool) -> float:
        first = max(
            _width(clean(text), NORMAL) for text in ["Codec", *(r.codec for r in found.rows)]
        )
        pairs = zip(head[1:], columns, strict=True)
        return _table_width([first, *(_cells_width(*pair, beside=beside) for pair in pairs)])

    beside = width(beside=True) <= PAGE
    best = [min((c.figures[0] for c in column if c.has_figure), default=0.0) for column in columns]
    rows = []
    for row in found.rows:
        cells = [
            _latex_cell(cell, bold=cell.figures[0] == least < 0)
            for cell, least in zip(row.cells, best, strict=True)
        ]
        if beside:
            lines = [[latex_escape(row.codec), *(" ".join(filter(None, cell)) for cell in cells)]]
        else:
            lines = [[latex_escape(row.codec), *(figure for figure, _ in cells)]]
            if any(interval for _, interval in cells):
                lines.append(["", *(interval for _, interval in cells)])
        rows.append("\n".join(map(_latex_row, lines)))
    return _table(
        latex_escape(found.title),
        "l" + "r" * len(columns),
        [latex_escape(text) for text in head],
        rows,
        width(beside=beside),
        found.marks,
        found.cautions,
    )


def _rates(comparison: Comparison, lines: Sequence[RateLine]) -> str:
    anchor = latex_escape(wording.anchor_label(comparison))
    caption = (
        "Where BD-rate is undefined, at operating points: quality at equal rate, and the change in "
        f"rate at equal quality; the anchor is {anchor}"
    )
    return _plain(caption, 2, RATE_HEADINGS, [line.values() for line in lines])


def _plain(caption: str, left: int, headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of texts that are not yet LaTeX, as the caption is; the first `left` columns hold
    names, the others figures."""
    columns = zip(headings, *body, strict=True)
    width = _table_width([max(_width(text, NORMAL) for text in column) for column in columns])
    rows = [_latex_row([latex_escape(text) for text in row]) for row in body]
    heads = [latex_escape(text) for text in headings]
    aligned = "l" * left + "r" * (len(headings) - left)
    return str(_table(caption, aligned, heads, rows, width, ()))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _table(
    caption: str,
    columns: str,
    head: Sequence[str],
    rows: Sequence[str],
    width: float,
    explained: Sequence[Mark],
    cautions: Sequence[str] = (),
) -> Written:
    """All texts as LaTeX; `width` in points, as estimated."""
    environment = "table" if width <= COLUMN else "table*"
    squeeze = width > PAGE
    legend = "; ".join(f"$^{{{m.latex}}}$ {latex_escape(m.meaning)}" for m in explained)
    above = [
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{caption}.}}",
        rf"\small\setlength{{\tabcolsep}}{{{GAP:g}pt}}",
        *([r"\resizebox{\linewidth}{!}{%"] if squeeze else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(head),
        r"\midrule",
    ]
    below = [
        r"\bottomrule",
        r"\end{tabular}" + ("}" if squeeze else ""),
        *([_below(f"{legend}.")] * bool(explained)),
        *(_below(latex_escape(caution)) for caution in cautions),
        rf"\end{{{environment}}}",
        "",
    ]
    return Written("\n".join(above), tuple(rows), "\n".join(below))


def _below(text: str) -> str:
    return rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {text}}}"


def _latex_cell(cell: VerdictCell, *, bold: bool) -> tuple[str, str]:
    """Figure with its marks, and interval."""
    if not cell.marks and not cell.has_figure:
        return cell.value, ""
    signs = " ".join(mark.latex for mark in cell.marks)
    raised = f"^{{{signs}}}" if signs else ""
    if not cell.has_figure:
        return f"--${raised}$", ""
    interval = f"{{\\scriptsize ${cell.interval}$}}" if cell.interval else ""
    figure = rf"\mathbf{{{_figure(cell)}}}" if bold else _figure(cell)
    return f"${figure}{raised}$", interval


def _figure(cell: VerdictCell) -> str:
    if cell.has_figure:
        return cell.value.removesuffix(" %")
    return "--" if cell.marks else cell.value


def _cells_width(title: str, cells: Sequence[VerdictCell], *, beside: bool) -> float:
    """Points of a column of verdicts."""
    widest = _width(title, NORMAL)
    for cell in cells:
        value = _width(_figure(cell), NORMAL) + 0.6 * SMALL * len(cell.marks)
        limits = _width(cell.interval, SMALL)
        widest = max(widest, value + limits + 3 if beside else max(value, limits))
    return widest


def _table_width(columns: Sequence[float]) -> float:
    return sum(columns) + 2 * GAP * len(columns)


def _width(text: str, size: float) -> float:
    """Points that a line takes in Computer Modern, about; other faces are narrower."""
    return size * sum(map(_ems, text))


def _ems(character: str) -> float:
    if character in "+-\N{MINUS SIGN}":
        return 0.78
    if character in ".,:;'[]()!| il":
        return 0.3
    return 0.75 if character.isupper() or character in "mwMW%@" else 0.53
