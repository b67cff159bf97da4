"""What may follow a codec's name: the points to run, or rates to code to.

vvenc@27,32,37,42            these points in the place of the ladder's
jpeg@50:95:5                 from 50 to 95 in steps of 5
rdonet@0.15bpp               for each picture the point whose file is nearest to the rate
minnen@0.075,0.15bpp:corpus  for each rate the one point that meets it over all pictures

Weights of one's own stand before that (`compressai:mbt2018@./ckpt-{value}.pth@0.15bpp`) and are
part of the name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from codecs.naming import LONGEST_NAME, UnknownCodec

CORPUS = ":corpus"
HELP = "@27,32,37,42 (points), @50:95:5 (from, to, step), @0.15bpp (a rate), @0.15bpp:corpus"
MOST = 256
"""Points of one selection."""
LOWEST, HIGHEST = 1e-6, 1e6
"""Rates, in bits per pixel."""
_SELECTED = re.compile(r"(?P<name>.+)@(?P<selection>[^@/]*)")
_FILE = re.compile(r".+\.(?:py|toml)(?::.+)?")
_WEIGHTS = re.compile(r".+\.(?:pth|pt|ckpt|tar)")


@dataclass(frozen=True, slots=True)
class Selection:
    """See the module."""

    values: tuple[int | float | str, ...]
    """Of the codec's own parameter, or bits per pixel, rising."""
    are_rates: bool = False
    corpus: bool = False

    @property
    def suffix(self) -> str:
        """What it adds to a codec's own name: nothing for points, filed as the codec's own."""
        if not self.are_rates:
            return ""
        rates = ",".join(map(str, self.values))
        return f"@{rates}bpp{CORPUS if self.corpus else ''}"


def to_rate(name: str) -> tuple[str, str]:
    """A codec's name without a rate that it was to meet, and for what: `picture`, each by itself,
    `corpus`, or nothing."""
    try:
        base, selection = split(name)
    except UnknownCodec:  # of a stored run, which may hold anything
        return name, ""
    if selection is None or not selection.are_rates:
        return name, ""
    return base, "corpus" if selection.corpus else "picture"


def split(name: str) -> tuple[str, Selection | None]:
    """A codec's name without its selection, and that.  Raises `UnknownCodec` for one that is none.

    An `@` in the path of a file is part of it, and so is a file of weights of a built-in codec.
    """
    found = _SELECTED.fullmatch(name)
    if found is None or _FILE.fullmatch(found["selection"]):
        return name, None
    if _WEIGHTS.fullmatch(found["selection"]) and not _FILE.fullmatch(found["name"]):
        return name, None
    try:
        return found["name"], _parsed(found["selection"])
    except (ValueError, ArithmeticError) as error:
        raise UnknownCodec(f"{name[:120]!r}: {error}; what may follow a name: {HELP}") from error


def at_rates(name: str) -> list[str]:
    """The codec by its own points, then at each of the rates asked for, for one picture; other
    names as they are."""
    base, selection = split(name)
    if selection is None or not selection.are_rates:
        return [name]
    return [base, *(f"{base}@{rate}bpp" for rate in selection.values)]


def _parsed(text: str) -> Selection:
    corpus = text.endswith(f"bpp{CORPUS}")
    listed = text.removesuffix(CORPUS) if corpus else text
    are_rates = listed.endswith("bpp")
    if "bpp:" in listed:
        raise ValueError("variants of a codec stand before the @")
    values = [value for part in listed.removesuffix("bpp").split(",") for value in _values(part)]
    if len(values) > MOST:
        raise ValueError(f"these are more than {MOST} points")
    if len(set(values)) < len(values):
        raise ValueError("a value occurs twice")
    if not are_rates:
        return Selection(tuple(values))
    rates = [value for value in values if not isinstance(value, str)]
    if len(rates) < len(values) or not LOWEST <= min(rates) <= max(rates) <= HIGHEST:
        raise ValueError(f"rates are numbers from {LOWEST:g} to {HIGHEST:g}")
    selection = Selection(tuple(sorted(rates)), True, corpus)
    if len(selection.suffix) > LONGEST_NAME:
        raise ValueError("these are too many rates for one name")
    return selection


def _values(text: str) -> Iterator[int | float | str]:
    """Those of one part between commas: a number, `low:high:step`, or a text."""
    if text.count(":") != 2:
        number = _number(text)
        if number is None and (not text or ":" in text):
            raise ValueError(f"{text!r} is no value")
        yield text if number is None else _plain(number)
        return
    low, high, step = map(_number, text.split(":"))
    if low is None or high is None or step is None or step <= 0 or high < low:
        raise ValueError(f"{text!r} is no range")
    if (high - low) / step >= MOST:
        raise ValueError(f"{text!r} are more than {MOST} points")
    for i in range(int((high - low) / step) + 1):
        yield _plain(low + i * step)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if math.isfinite(float(number)) else None


def _plain(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)
