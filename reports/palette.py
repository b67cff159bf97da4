"""Colours, markers and dashes of curves.

Every colour has a contrast of 4.5:1 or more with its background, and no two curves differ by
colour alone: markers and direct labels carry the same distinction.
"""

from __future__ import annotations

LIGHT_BACKGROUND, DARK_BACKGROUND = "#ffffff", "#14171c"
LIGHT_INK, DARK_INK = "#16191d", "#eceff3"

LIGHT = (
    "#0b5fa5",
    "#b5410a",
    "#0a7350",
    "#8c3a86",
    "#7a5a00",
    "#b0194b",
    "#2d6f7e",
    "#6b4c3b",
)
DARK = (
    "#74b5f2",
    "#ff9d66",
    "#4fd0a0",
    "#dd9fd8",
    "#e0b84a",
    "#ff90b0",
    "#72cfe0",
    "#cfae9c",
)
MARKERS = ("square", "triangle", "diamond", "wedge", "plus", "cross", "pentagon", "bar")
"""Of the codecs that are compared; the anchor's is a circle."""
MATPLOTLIB_MARKERS = ("s", "^", "D", "v", "P", "X", "p", "_")


def colour_index(style: int) -> int:
    return style % len(LIGHT)


def marker_index(style: int) -> int:
    """Shifted by one each time that the colours start anew, so that no pair repeats."""
    return (style + style // len(LIGHT)) % len(MARKERS)
