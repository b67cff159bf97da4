"""Rate ladders: building them, and reading a point's value with its limits."""

from __future__ import annotations

from collections.abc import Iterable

from codecs.base import EncodeError, Point


def ladder(parameter: str, values: Iterable[int | float | str]) -> tuple[Point, ...]:
    """One point per value, in the given order: low rate first."""
    return tuple(Point(parameter, value) for value in values)


def integer(point: Point, parameter: str, low: int, high: int) -> int:
    """The value of a point that turns `parameter` in whole steps; `EncodeError` for any other.

    Encoders tend to cut 31.5 down to 31 in silence, which would put a wrong number in a table.
    """
    value = point.value
    if type(value) is not int or not low <= value <= high or point.parameter != parameter:
        raise EncodeError(f"{point.label}: expected {parameter} as an integer from {low} to {high}")
    return value


def number(point: Point, parameter: str, low: float, high: float) -> float:
    """The value of a point that turns `parameter` continuously; `EncodeError` for any other."""
    value = point.value
    if type(value) not in (int, float) or point.parameter != parameter:
        raise EncodeError(f"{point.label}: expected {parameter} as a number")
    if not low <= float(value) <= high:
        raise EncodeError(f"{point.label}: expected {parameter} from {low:g} to {high:g}")
    return float(value)
