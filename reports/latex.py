"""The verdicts as LaTeX: tables that fit a paper of two columns, with their caveats.

Names come from outside: whatever would be an instruction is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.verdict.bd import Verdict
from bench.verdict.comparison import Cell, Comparison
from reports import wording
from reports.cells import RateLine, anchor_line, metric_texts, rate_lines
from reports.lossless import lossless_text
from reports.marks import Mark, marks, used
from reports.provenance import Provenance
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
        if comparison.rows or not lossless:
            parts += _verdicts(comparison)
        if lines := rate_lines(comparison):
            parts += _rates(comparison, lines)
    if lossless:
        caption = latex_escape(f"{lossless.title}. {lossless.note}".removesuffix("."))
        left = 1 + ("point" in lossless.headings)
        parts += _plain(caption, left, lossless.headings, lossless.rows)
    return "\n".join(parts)


def _verdicts(comparison: Comparison) -> list[str]:
    """Intervals stand beside their figures where there is room, and below them where not."""
    names = comparison.results.metrics
    head = ["Codec", *(text.label for text in metric_texts(comparison))]
    codecs = [row.codec for row in comparison.rows]
    columns = [[row.cells.get(name) for row in comparison.rows] for name in names]

    def width(*, beside: bool) -> float:
        first = max(_width(clean(text), NORMAL) for text in ["Codec", *codecs])
        pairs = zip(head[1:], columns, strict=True)
        return _table_width([first, *(_cells_width(*pair, beside=beside) for pair in pairs)])

    beside = width(beside=True) <= PAGE
    rows: list[list[str]] = []
    for place, codec in enumerate(codecs):
        cells = [_latex_cell(column[place]) for column in columns]
        if beside:
            rows.append([latex_escape(codec), *(" ".join(filter(None, cell)) for cell in cells)])
        else:
            rows.append([latex_escape(codec), *(figure for figure, _ in cells)])
            if any(interval for _, interval in cells):
                rows.append(["", *(interval for _, interval in cells)])
    return _table(
        latex_escape(anchor_line(comparison)),
        "l" + "r" * len(names),
        [latex_escape(text) for text in head],
        rows,
        width(beside=beside),
        used(comparison),
    )


def _rates(comparison: Comparison, lines: Sequence[RateLine]) -> list[str]:
    anchor = latex_escape(wording.anchor_label(comparison))
    caption = (
        "Where BD-rate is undefined, at operating points: quality at equal rate, and the change in "
        f"rate at equal quality; the anchor is {anchor}"
    )
    return _plain(caption, 2, RATE_HEADINGS, [line.values() for line in lines])


def _plain(
    caption: str, left: int, headings: Sequence[str], body: Sequence[Sequence[str]]
) -> list[str]:
    """A table of texts that are not yet LaTeX, as the caption is; the first `left` columns hold
    names, the others figures."""
    columns = zip(headings, *body, strict=True)
    width = _table_width([max(_width(text, NORMAL) for text in column) for column in columns])
    rows = [[latex_escape(text) for text in row] for row in body]
    heads = [latex_escape(text) for text in headings]
    aligned = "l" * left + "r" * (len(headings) - left)
    return _table(caption, aligned, heads, rows, width, ())


def _table(
    caption: str,
    columns: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: float,
    explained: Sequence[Mark],
) -> list[str]:
    """All texts as LaTeX; `width` in points, as estimated."""
    environment = "table" if width <= COLUMN else "table*"
    squeeze = width > PAGE
    legend = "; ".join(f"$^{{{m.latex}}}$ {latex_escape(m.meaning)}" for m in explained)
    return [
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\caption{{{caption}.}}",
        rf"\small\setlength{{\tabcolsep}}{{{GAP:g}pt}}",
        *([r"\resizebox{\linewidth}{!}{%"] if squeeze else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}" + ("}" if squeeze else ""),
        *(
            [rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {legend}.}}"]
            if explained
            else []
        ),
        rf"\end{{{environment}}}",
        "",
    ]


def _latex_cell(cell: Cell | None) -> tuple[str, str]:
    """Figure with its marks, and interval."""
    if cell is None:
        return "not compared", ""
    signs = " ".join(mark.latex for mark in marks(cell.verdict))
    raised = f"^{{{signs}}}" if signs else ""
    if not wording.is_defined(cell.verdict):
        return f"--${raised}$" if raised else "--", ""
    limits = wording.interval(cell.verdict)
    interval = f"{{\\scriptsize ${limits}$}}" if limits else ""
    return f"${_figure(cell.verdict)}{raised}$", interval


def _figure(verdict: Verdict) -> str:
    return wording.percent(wording.figures(verdict)[0])


def _cells_width(title: str, cells: Sequence[Cell | None], *, beside: bool) -> float:
    """Points of a column of verdicts."""
    widest = _width(title, NORMAL)
    for cell in cells:
        if cell is None:
            widest = max(widest, _width("not compared", NORMAL))
            continue
        figure = _figure(cell.verdict) if wording.is_defined(cell.verdict) else "--"
        value = _width(figure, NORMAL) + 0.6 * SMALL * len(marks(cell.verdict))
        limits = _width(wording.interval(cell.verdict), SMALL)
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
