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


SHAPES = {
    "circle": "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0 -8.4 0z",
    "square": "M-3.7 -3.7h7.4v7.4h-7.4z",
    "triangle": "M0 -4.9L4.7 3.5H-4.7z",
    "wedge": "M0 4.9L4.7 -3.5H-4.7z",
    "diamond": "M0 -5.2L5.2 0L0 5.2L-5.2 0z",
    "plus": "M-1.6 -4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
    "cross": "M-4.6 -2.6L-2.6 -4.6L0 -2L2.6 -4.6L4.6 -2.6L2 0L4.6 2.6L2.6 4.6L0 2L-2.6 4.6"
    "L-4.6 2.6L-2 0z",
    "pentagon": "M0 -4.9L4.7 -1.5L2.9 4H-2.9L-4.7 -1.5z",
    "bar": "M-5 -1.8h10v3.6h-10z",
}
"""Paths of the markers, centred on the origin."""


def style_class(style: int) -> str:
    """The class that gives a curve its colour, and from the ninth on its dashes."""
    if style < 0:
        return "anchor"
    again = " again" if style >= len(MARKERS) else ""
    return f"s{colour_index(style)}{again}"


def marker(style: int) -> str:
    """Path of a codec's marker."""
    return SHAPES["circle" if style < 0 else MARKERS[marker_index(style)]]
