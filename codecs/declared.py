"""What codecs from outside say of themselves, checked before it becomes keys, tables and JSON.

Names and versions are text that UTF-8 can write, numbers are finite: NaN has no JSON, is no place
on an axis, and would end a run long after the codec that brought it was made.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from codecs.base import CodecError, Point

LARGEST = 2**53
"""Whole numbers up to here are exact wherever reports draw or write them."""
_NO_POINTS = "it has no points: a tuple of codecs.base.Point, low rate first"


def text(value: Any, what: str) -> str:
    """`value`, or `CodecError` where it is no text, is empty or cannot be written in UTF-8."""
    if not isinstance(value, str) or not value:
        raise CodecError(f"its {what} is {_shown(value)}; expected a text that is not empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CodecError(f"its {what} {value!r} cannot be written in UTF-8") from error
    return value


def points(values: Iterable[Any]) -> tuple[Point, ...]:
    """The rate ladder, or `CodecError` where a point is none, is no finite number or occurs twice.

    Points are compared as tables show them: 1 and 1.0 are one value to a reader who sorts them.
    """
    found = choices(values)
    if not found:
        raise CodecError(_NO_POINTS)
    twice = [point for number, point in enumerate(found) if point in found[:number]]
    if twice:
        raise CodecError(f"a value occurs twice: {twice[0].label}")
    return found


def choices(values: Iterable[Any]) -> tuple[Point, ...]:
    """Points, or none; `CodecError` where one is none or no finite number."""
    found = tuple(values)
    if not all(isinstance(point, Point) for point in found):
        raise CodecError(_NO_POINTS)
    for point in found:
        text(point.parameter, "points' parameter")
        if isinstance(point.value, str):
            text(point.value, "point")
        elif not isinstance(point.value, (int, float)):
            raise CodecError(f"its point {_shown(point.value)} is neither number nor text")
        elif isinstance(point.value, int) and abs(point.value) > LARGEST:
            raise CodecError(f"a point's {point.parameter} is above 2^53")
        elif not math.isfinite(point.value):
            raise CodecError(f"its point {point.label} is no finite number: leave it out")
    return found


def settings(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The settings as plain JSON, or `CodecError` where they have none, as NaN has not."""
    try:
        line = json.dumps(dict(values), allow_nan=False, ensure_ascii=False)
        line.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"its settings are no plain text and finite numbers: {error}") from error
    plain: dict[str, Any] = json.loads(line)
    return plain


def seconds(value: Any, point: Point) -> float:
    """An estimate of time, or `CodecError` where it is none."""
    try:
        estimate = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"it estimates {_shown(value)} seconds at {point.label}") from error
    if not 0 <= estimate < math.inf:
        raise CodecError(
            f"it estimates {estimate} seconds at {point.label}; expected a finite number, 0 or more"
        )
    return estimate


def command(value: Any, point: Point) -> str | None:
    """A command line for the report, or None; `CodecError` for anything else."""
    return None if value is None else text(value, f"command at {point.label}")


def spelled(name: str) -> str:
    """A text that may hold a path, with escapes for the bytes of it that are no UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _shown(value: Any) -> str:
    """For messages: `nan`, `None`, `[1, 2]`; at most 60 characters, whatever it is."""
    try:
        return repr(value)[:60]
    except Exception:  # a whole number of 5000 digits, or somebody's own class
        return f"a {type(value).__name__}"
