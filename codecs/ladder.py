"""Rate ladders: building them, and reading a point's value with its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from codecs.base import CodecError, EncodeError, Point

BETWEEN = 256
"""Values that are tried between two points of a ladder, at most."""


def ladder(parameter: str, values: Iterable[int | float | str]) -> tuple[Point, ...]:
    """One point per value, in the given order: low rate first."""
    return tuple(Point(parameter, value) for value in values)


def scale(points: Sequence[Point]) -> list[int | float]:
    """The values of points; raises `CodecError` where they are no ordered numbers of one
    parameter."""
    values = [p.value for p in points if isinstance(p.value, int | float)]
    ups = {a < b for a, b in pairwise(values)}
    if len(values) < len(points) or len(set(values)) < len(values) or len(ups) > 1:
        raise CodecError(f"its points are no ordered numbers: {_listed(points)}")
    if len({p.parameter for p in points}) > 1:
        raise CodecError(f"its points turn several parameters: {_listed(points)}")
    return values


def filled(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points and what lies between them, in their order: integers alone between two integers.

    Raises `CodecError` as `scale`.
    """
    values = scale(points)
    found = [*points[:1]]
    for (a, b), point in zip(pairwise(values), points[1:], strict=True):
        found += [*ladder(point.parameter, _between(a, b)), point]
    return tuple(found)


def _between(a: float, b: float) -> Iterator[int | float]:
    whole = isinstance(a, int) and isinstance(b, int)
    steps = min(abs(b - a), BETWEEN) if whole else BETWEEN
    for i in range(1, int(steps)):
        value = a + (b - a) * i / steps
        yield round(value) if whole else float(f"{value:.6g}")


def _listed(points: Sequence[Point]) -> str:
    shown = ", ".join(point.label for point in points[:8])
    return shown + (", ..." if len(points) > 8 else "")


def expected(points: Sequence[Point], choices: Sequence[Point] = ()) -> str:
    """What else to ask for, for messages: the range of `choices` where these are more, else the
    points; both as a codec has them."""
    if len(choices) <= len(points):
        return f"expected {_listed(points)}"
    try:
        values = scale(choices)
    except CodecError:
        return f"expected {_listed(choices)}"
    whole = all(isinstance(value, int) for value in values)
    return _range(choices[0].parameter, min(values), max(values), whole=whole)


def _range(parameter: str, low: float, high: float, *, whole: bool) -> str:
    return (
        f"expected {parameter} as {'an integer' if whole else 'a number'} from {low:g} to {high:g}"
    )


def integer(point: Point, parameter: str, low: int, high: int) -> int:
    """The value of a point that turns `parameter` in whole steps; `EncodeError` for any other.

    Encoders tend to cut 31.5 down to 31 in silence, which would put a wrong number in a table.
    """
    value = point.value
    if type(value) is not int or not low <= value <= high or point.parameter != parameter:
        raise EncodeError(f"{point.label}: {_range(parameter, low, high, whole=True)}")
    return value


def number(point: Point, parameter: str, low: float, high: float) -> float:
    """The value of a point that turns `parameter` continuously; `EncodeError` for any other."""
    value = point.value
    is_number = type(value) in (int, float) and point.parameter == parameter
    if not is_number or not low <= float(value) <= high:
        raise EncodeError(f"{point.label}: {_range(parameter, low, high, whole=False)}")
    return float(value)
