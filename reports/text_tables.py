"""The verdicts as text to read: LaTeX, Markdown, a terminal.

Names come from outside: each format escapes what would be an instruction in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple
from textwrap import wrap

from bench.comparison import Cell, Comparison
from reports import wording
from reports.cells import (
    RATE_HEADINGS,
    RateLine,
    anchor_line,
    cell_lines,
    metric_texts,
    notes,
    rate_lines,
)
from reports.provenance import Provenance
from reports.wording import clean

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


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(LATEX_SPECIAL.get(character, character) for character in clean(text))


def as_latex(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """A `table` in booktabs style for each comparison; needs the packages named on top."""
    parts = [r"% \usepackage{booktabs}, \usepackage[T1]{fontenc}, \usepackage{textcomp}", ""]
    for comparison in comparisons:
        head = [text.label for text in metric_texts(comparison)]
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_escape(anchor_line(comparison))}.}}",
            rf"\begin{{tabular}}{{l{'r' * len(head)}}}",
            r"\toprule",
            " & ".join(["Codec", *(latex_escape(text) for text in head)]) + r" \\",
            r"\midrule",
        ]
        for row in comparison.rows:
            cells = [_latex_cell(row.cells.get(name)) for name in comparison.results.metrics]
            parts.append(" & ".join([latex_escape(row.label), *cells]) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}"]
        parts += [r"\end{table}", ""]
        if lines := rate_lines(comparison):
            parts += _latex_rates(comparison, lines)
    return "\n".join(parts)


def _latex_cell(cell: Cell | None) -> str:
    if cell is None or not wording.is_defined(cell.verdict):
        return "--" if cell is None else latex_escape(wording.status(cell.verdict))
    text = f"${wording.percent(wording.figures(cell.verdict)[0])}$"
    limits = wording.interval(cell.verdict)
    return f"{text} {{\\scriptsize $ {limits} $}}" if limits else text


def _latex_rates(comparison: Comparison, lines: Sequence[RateLine]) -> list[str]:
    anchor = latex_escape(wording.anchor_label(comparison))
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{Where BD-rate is undefined: quality at equal rate and rate at equal quality; "
        rf"the anchor is {anchor}.}}",
        r"\begin{tabular}{llrrrrr}",
        r"\toprule",
        " & ".join(latex_escape(text) for text in RATE_HEADINGS) + r" \\",
        r"\midrule",
        *(" & ".join(latex_escape(text) for text in _values(line)) + r" \\" for line in lines),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def _values(line: RateLine) -> list[str]:
    return list(astuple(line))


def markdown_escape(text: str) -> str:
    """Text that Markdown prints as it is, inside a table cell too, and that stays readable.

    Brackets act only before another bracket or a colon, colons only before slashes.
    """
    escaped = re.sub(r"([\\`*_|~$@#]|\](?=[\[(:])|:(?=//))", r"\\\1", clean(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_markdown(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """Tables to paste into a review."""
    blocks = []
    for comparison in comparisons:
        metrics = comparison.results.metrics
        blocks.append(f"**{markdown_escape(anchor_line(comparison))}**")
        head = ["codec", *(text.heading for text in metric_texts(comparison))]
        body = [
            [row.label, *("; ".join(cell_lines(row.cells.get(name))) for name in metrics)]
            for row in comparison.rows
        ]
        blocks.append(_markdown_table(head, body))
        blocks += [markdown_escape(note) for note in notes(comparison)]
        if lines := rate_lines(comparison):
            blocks.append("Where BD-rate is undefined:")
            blocks.append(_markdown_table(RATE_HEADINGS, [_values(line) for line in lines]))
    if provenance is not None and provenance.command:
        blocks.append(f"Measured by {markdown_escape(provenance.command)}.")
    return "\n\n".join(blocks) + "\n"


def _markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [_markdown_row(head), "|" + "---|" * len(head), *map(_markdown_row, body)]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_escape(cell) for cell in cells) + " |"


def as_text(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """Aligned columns for a terminal."""
    blocks = []
    for comparison in comparisons:
        metrics = comparison.results.metrics
        head = ["", *(text.heading for text in metric_texts(comparison))]
        body = [
            [[clean(row.codec)], *(cell_lines(row.cells.get(name)) for name in metrics)]
            for row in comparison.rows
        ]
        blocks.append(f"{anchor_line(comparison)}\n\n{_columns(head, body)}")
        blocks += notes(comparison)
        if lines := rate_lines(comparison):
            table = _columns(RATE_HEADINGS, [[[v] for v in _values(line)] for line in lines])
            blocks.append(f"Where BD-rate is undefined:\n\n{table}")
        for name, why in comparison.results.unavailable.items():
            blocks.append(f"{clean(name)}: unavailable: {clean(why)}")
    return "\n\n".join(blocks)


CELL_WIDTH = 30
"""Characters of a terminal column; longer remarks are broken."""


def _columns(head: Sequence[str], body: Sequence[Sequence[Sequence[str]]]) -> str:
    """Rows of cells of lines, as aligned text."""
    wrapped = [
        [[part for line in cell for part in wrap(line, CELL_WIDTH)] for cell in row] for row in body
    ]
    widths = [
        max([len(title), *(len(line) for row in wrapped for line in row[place])])
        for place, title in enumerate(head)
    ]

    def pad(cells: Sequence[str]) -> str:
        padded = (text.ljust(width) for text, width in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    lines = [pad(head), pad(["-" * width for width in widths])]
    for row in wrapped:
        for depth in range(max(1, *(len(cell) for cell in row))):
            lines.append(pad([cell[depth] if depth < len(cell) else "" for cell in row]))
    return "\n".join(lines)
