"""The verdicts as text to read: Markdown, a terminal.

Names come from outside: each format escapes what would be an instruction in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import wrap

from bench.verdict.comparison import Comparison
from reports.lossless import lossless_text
from reports.provenance import Provenance
from reports.rates import RATE_HEADINGS, rate_lines
from reports.targets import HEADINGS, NOTE, TITLE, target_rows
from reports.verdicts import Verdicts, Written, verdicts
from reports.wording import clean


def markdown_escape(text: str) -> str:
    """Text that Markdown prints as it is, inside a table cell too, and that stays readable.

    Brackets act only before another bracket or a colon, colons only before slashes.
    """
    escaped = re.sub(r"([\\`*_|~$@#]|\](?=[\[(:])|:(?=//))", r"\\\1", clean(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_markdown(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """Tables to paste into a review."""
    blocks = []
    lossless = lossless_text(comparisons[0].results)
    for comparison in comparisons:
        found = verdicts(comparison)
        if found.rows or not lossless:
            blocks.append(str(markdown_verdicts(found)))
        blocks += [markdown_escape(note) for note in found.notes]
        if lines := rate_lines(comparison):
            blocks.append("Where BD-rate is undefined:")
            blocks.append(markdown_table(RATE_HEADINGS, [line.values() for line in lines]))
    if rows := target_rows(comparisons[0].results):
        blocks.append(f"**{TITLE}**")
        blocks.append(markdown_table(HEADINGS, [row.cells for row in rows]))
        blocks.append(NOTE)
    if lossless:
        blocks.append(f"**{markdown_escape(lossless.title)}**")
        blocks.append(markdown_table(lossless.headings, lossless.rows))
        blocks.append(markdown_escape(lossless.note))
    if provenance is not None and provenance.command:
        blocks.append(f"Measured by {markdown_escape(provenance.command)}.")
    return "\n\n".join(blocks) + "\n"


def markdown_verdicts(found: Verdicts) -> Written:
    """The table of one anchor, and what its marks mean."""
    head = ["codec", *(metric.heading for metric in found.metrics)]
    rows = [[row.label, *("; ".join(cell.lines) for cell in row.cells)] for row in found.rows]
    return Written(
        f"**{markdown_escape(found.title)}**\n\n{markdown_table(head, [])}",
        tuple(map(_markdown_row, rows)),
        f"\n{markdown_escape(found.legend)}" if found.legend else "",
    )


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of texts, each escaped; `head` has as many cells as every row of `body`."""
    lines = [_markdown_row(head), "|" + "---|" * len(head), *map(_markdown_row, body)]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown_escape(cell) for cell in cells) + " |"


def as_text(comparisons: Sequence[Comparison], provenance: Provenance | None = None) -> str:
    """Aligned columns for a terminal."""
    blocks = []
    lossless = lossless_text(comparisons[0].results)
    for comparison in comparisons:
        found = verdicts(comparison)
        head = ["", *(metric.heading for metric in found.metrics)]
        body = [[[clean(row.codec)], *(cell.lines for cell in row.cells)] for row in found.rows]
        if body or not lossless:
            blocks.append(f"{found.title}\n\n{columns(head, body)}")
        if found.legend:
            blocks.append("\n".join(wrap(found.legend, LEGEND_WIDTH)))
        blocks += found.notes
        if lines := rate_lines(comparison):
            table = columns(RATE_HEADINGS, cells(line.values() for line in lines))
            blocks.append(f"Where BD-rate is undefined:\n\n{table}")
        for name, why in comparison.results.unavailable.items():
            blocks.append(f"{clean(name)}: unavailable: {clean(why)}")
    if rows := target_rows(comparisons[0].results):
        table = columns(HEADINGS, cells(row.cells for row in rows))
        blocks += [f"{TITLE}\n\n{table}", "\n".join(wrap(NOTE, LEGEND_WIDTH))]
    if lossless:
        table = columns(lossless.headings, cells(lossless.rows))
        blocks += [f"{lossless.title}\n\n{table}", "\n".join(wrap(lossless.note, LEGEND_WIDTH))]
    return "\n\n".join(blocks)


LEGEND_WIDTH = 100
"""Characters of a line of the legend in a terminal."""
CELL_WIDTH = 30
"""Characters of a terminal column; longer remarks are broken."""


def cells(rows: Iterable[Sequence[str]]) -> list[list[list[str]]]:
    """Rows of cells of one line each."""
    return [[[cell] for cell in row] for row in rows]


def columns(head: Sequence[str], body: Sequence[Sequence[Sequence[str]]]) -> str:
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
