"""Rates that codecs were to meet, and what they reached, as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.verdict.results import CodecResult, Results
from codecs.naming import UnknownCodec
from codecs.selection import Selection, split
from reports.wording import clean, number

TITLE = "Coded to a rate: what was asked and what was reached, in bits per pixel"
HEADINGS = ("codec", "pictures", "asked", "reached", "off", "at most")
NOTE = (
    "With :corpus one point serves all pictures, whose bits together count over their pixels "
    "together; without, each picture has a point of its own: the means of its rate and of how far "
    "it is off, either way, and the largest."
)


@dataclass(frozen=True)
class TargetRow:
    """One codec at one rate, as many cells as `HEADINGS`."""

    label: str
    cells: tuple[str, ...]


def target_rows(results: Results) -> tuple[TargetRow, ...]:
    """Of all codecs that were to meet rates; the name of such a codec says so."""
    found = []
    for codec in results.codecs:
        try:
            _, selection = split(codec.name)
        except UnknownCodec:  # of a stored run, which may hold anything
            continue
        if selection and selection.are_rates and len(selection.values) == len(codec.points):
            found += [TargetRow(clean(codec.label), cells) for cells in _rows(codec, selection)]
    return tuple(found)


def _rows(codec: CodecResult, selection: Selection) -> Iterator[tuple[str, ...]]:
    pixels = codec.grid(lambda m: m.width * m.height)
    for place, rate in enumerate(map(float, selection.values)):
        there = np.isfinite(codec.bpp[place])
        if not there.any():
            continue
        bpp = codec.bpp[place][there]
        largest = "-"
        if selection.corpus:
            reached = float(np.average(bpp, weights=pixels[place][there]))
            off = 100 * abs(reached / rate - 1)
        else:
            each = 100 * np.abs(bpp / rate - 1)
            reached, off, largest = float(bpp.mean()), float(each.mean()), f"{each.max():.2f} %"
        yield (
            clean(codec.name),
            f"{len(bpp)} of {len(there)}",
            f"{rate:g}",
            number(reached, 4),
            f"{off:.2f} %",
            largest,
        )
