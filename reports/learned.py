"""Learned codecs side by side: what each saves, and what training, operations and time it takes.

Codecs that were trained on the same data for about as long differ in their ideas: the table answers
which idea buys how many bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.verdict.comparison import Comparison
from reports.claims import LEARNED_REFERENCE
from reports.costs import Cost, significant
from reports.marks import legend
from reports.verdicts import VerdictCell, verdicts
from reports.wording import MetricText, metric_text, short_labels

COSTS = ("trained, core h", "kMAC/px", "decode, s", "weights, MB")


@dataclass(frozen=True)
class LearnedRow:
    """One learned codec."""

    label: str
    cells: tuple[VerdictCell | None, ...]
    """BD-rates on each metric against each reference, in this order; None against itself."""
    figures: tuple[float, float, float, float]
    """Those of `COSTS`; NaN if unknown."""


@dataclass(frozen=True)
class LearnedTable:
    """All learned codecs of a run."""

    columns: tuple[tuple[str, MetricText], ...]
    """(short label of the reference, metric) of each cell."""
    rows: tuple[LearnedRow, ...]

    @property
    def heading(self) -> list[str]:
        return [
            "codec",
            *COSTS,
            *(f"{metric.label} against {label}" for label, metric in self.columns),
        ]

    def texts(self) -> list[list[str]]:
        """The cells of each row as plain text."""
        return [
            [
                row.label,
                *map(significant, row.figures),
                *(cell.lines[0] if cell else "reference" for cell in row.cells),
            ]
            for row in self.rows
        ]

    @property
    def legend(self) -> str:
        """`† the curves cross ...`, or nothing."""
        return legend(
            mark for row in self.rows for cell in row.cells if cell for mark in cell.marks
        )


def learned_table(comparisons: Sequence[Comparison], costs: Sequence[Cost]) -> LearnedTable | None:
    """The table of a run, from its comparisons with several anchors: against that of the first one
    and against `LEARNED_REFERENCE`.  None where it has fewer than two learned codecs."""
    learned = [cost for cost in costs if math.isfinite(cost.kmac)]
    if len(learned) < 2:
        return None
    names = dict.fromkeys([comparisons[0].anchor, LEARNED_REFERENCE])
    by_anchor = {comparison.anchor: comparison for comparison in comparisons}
    found = [verdicts(by_anchor[name]) for name in names if name in by_anchor]
    metrics = [metric_text(name) for name in comparisons[0].results.metrics]
    rows = []
    for cost in learned:
        cells: list[VerdictCell | None] = []
        for one in found:
            row = next((row for row in one.rows if row.codec == cost.codec), None)
            cells += row.cells if row else [None] * len(metrics)
        figures = cost.training_hours, cost.kmac, cost.decode[0], cost.model_bytes / 1e6
        rows.append(LearnedRow(cost.label, tuple(cells), figures))
    short = short_labels(comparisons[0].results)
    columns = tuple(
        (short.get(one.anchor, one.label), metric) for one in found for metric in metrics
    )
    return LearnedTable(columns, tuple(rows))
