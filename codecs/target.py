"""A codec with a selection of points: named ones, or those that meet a rate (`codecs.selection`).

The point that meets a rate is looked for by size: among the points of the ladder first, which lie
sensibly apart, then by interpolating log size between two of them.  Where sizes are estimates, as
learned codecs give them, the file of the point found is coded, and the search corrected by what the
estimates were off, until the file itself is near enough.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from codecs import ladder
from codecs.base import Codec, CodecError, EncodeError, Image, Point, Trials, check_image
from codecs.selection import Selection

SEARCH = "1"
"""Version of the search: another one may find other points."""
NEAR = 0.01
"""How far a file may be off its rate before the search is corrected."""
CORPUS_NEAR = 0.005
"""The same of all files together."""
CORRECTIONS = 2
TRIALS, ESTIMATE = 8, 0.2
"""Of one search, about, and the time of one where sizes are estimated, relative to a file's."""
_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found."""

    point: Point
    bits: float
    """Of a pixel, in the file or files."""
    trials: int
    """Sizes that were estimated, and files that were coded."""


def search(
    estimate: Callable[[Point], float],
    coded: Callable[[Point], float],
    choices: Sequence[Point],
    points: Sequence[Point],
    rate: float,
    pixels: int,
    near: float,
) -> Found:
    """The point of `choices` whose file is nearest to `rate` bits per pixel.

    `estimate` and `coded` give bytes at a point, estimated and real; `points` are the ladder.
    Raises `EncodeError` where `rate` is out of reach by more than `near`, or a size is none.
    """
    wanted = rate * pixels / 8
    guesses: dict[int, float] = {}
    files: dict[int, float] = {}
    refused: dict[int, EncodeError] = {}
    """Choices that cannot be coded: their files, which must be large, count as larger than any."""

    def tried(known: dict[int, float], size: Callable[[Point], float], place: int) -> float:
        if refused and place >= min(refused):
            return math.inf
        if place not in known:
            try:
                known[place] = _size(size, choices[place])
            except EncodeError as error:
                refused[place] = error
                return math.inf
        return known[place]

    def guess(place: int) -> float:
        return tried(guesses, estimate, place)

    def file(place: int) -> float:
        return tried(files, coded, place)

    marks = _marks(choices, points)
    factor = 1.0  # of the file to its estimate
    for _ in range(1 + CORRECTIONS):
        place = _nearest(guess, marks, wanted / factor, near / 4)
        if place in files or abs(file(place) / wanted - 1) <= near:
            break
        if place in files:
            factor = file(place) / guess(place)
    if guesses and not files:  # the most that can be coded may be near enough
        low = -1
        while min(refused) - low > 1:
            middle = (low + min(refused)) // 2
            if file(middle) < math.inf:
                low = middle
    if not files:
        raise refused[min(refused)]
    best = min(files, key=lambda place: abs(math.log(files[place] / wanted)))
    off = files[best] / wanted - 1
    last = min(refused, default=len(choices)) - 1
    if (best == 0 and off > near) or (best == last and off < -near):
        end = f"{8 * files[best] / pixels:.4g} bpp ({choices[best].label})"
        which = "least" if off > 0 else "most"
        raise EncodeError(f"{rate:g} bpp is out of reach here: {end} is the {which}")
    return Found(choices[best], 8 * files[best] / pixels, len(guesses) + len(files))


def _size(size: Callable[[Point], float], point: Point) -> float:
    """Bytes at a point, at least one."""
    found = size(point)
    if not 0 <= found < math.inf:
        raise EncodeError(f"the size at {point.label} is no number of bytes: {found}")
    return max(found, 1.0)


def _marks(choices: Sequence[Point], points: Sequence[Point]) -> list[int]:
    """The places in `choices` of the ladder's points and of both ends, in order."""
    values = ladder.scale(choices)
    ends = {0, len(values) - 1}
    within = [float(p.value) for p in points if isinstance(p.value, int | float)]
    nearest = (min(range(len(values)), key=lambda i: abs(values[i] - v)) for v in within)
    return sorted(ends.union(nearest))


def _nearest(size: Callable[[int], float], marks: Sequence[int], wanted: float, near: float) -> int:
    """The place of the size nearest to `wanted`, which rises with the place; an end where all are
    above it or below."""
    tried: dict[int, float] = {}

    def above(place: int) -> float:
        """By how much the size there exceeds what is wanted, in its logarithm."""
        tried[place] = math.log(size(place) / wanted)
        return tried[place]

    def closest() -> int:
        return min(tried, key=lambda place: abs(tried[place]))

    low, high = -1, len(marks)
    while high - low > 1:
        middle = (low + high) // 2
        if above(marks[middle]) <= 0:
            low = middle
        else:
            high = middle
        if abs(tried[closest()]) <= near:
            return closest()
    if low < 0 or high == len(marks):
        return closest()
    a, b = marks[low], marks[high]
    at_a, at_b = tried[a], tried[b]
    moved, slow = 0, 0
    while b - a > 1 and abs(tried[closest()]) > near:
        share = at_a / (at_a - at_b) if slow < 3 and at_b < math.inf else 0.5
        place = min(max(a + round(share * (b - a)), a + 1), b - 1)
        width, value = b - a, above(place)
        # An end that stays twice counts half (the Illinois method): it might stay for ever.
        if value <= 0:
            a, at_a, at_b = place, value, at_b / 2 if moved < 0 else at_b
        else:
            b, at_b, at_a = place, value, at_a / 2 if moved > 0 else at_a
        moved = -1 if value <= 0 else 1
        slow = slow + 1 if 2 * (b - a) > width else 0
    return closest()


def select(codec: Codec, selection: Selection) -> Codec:
    """The codec with the points selected.

    Raises `CodecError` where it has no such points, or none that could be searched.
    """
    if not selection.are_rates:
        return Chosen(codec, selection.values)
    return (Corpus if selection.corpus else Target)(codec, selection)


class _Around(Codec):
    """A codec that is another one but for its points."""

    def __init__(self, inner: Codec) -> None:
        self.inner = inner
        self.name, self.label, self.version = inner.name, inner.label, inner.version
        self.points, self.settings = inner.points, inner.settings
        self.device, self.warm_up = inner.device, inner.warm_up
        self.tuned_for, self.estimates = inner.tuned_for, inner.estimates

    def encode(self, image: Image, point: Point) -> bytes:
        return self.inner.encode(image, point)

    def decode(self, data: bytes) -> Image:
        image = self.inner.decode(data)
        self.decoded_notes = self.inner.decoded_notes
        return image

    def trials(self, image: Image) -> Trials:
        return self.inner.trials(image)

    def command(self, point: Point) -> str | None:
        return self.inner.command(point)

    def seconds(self, pixels: int, point: Point) -> float:
        return self.inner.seconds(pixels, point)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        return self.inner.diagnostics(image, data)


class Chosen(_Around):
    """A codec at other points than its ladder's; measurements are filed as the codec's own."""

    def __init__(self, inner: Codec, values: Sequence[int | float | str]) -> None:
        super().__init__(inner)
        numbers = [p.value for p in inner.points if isinstance(p.value, int | float)]
        parameters = {p.parameter for p in inner.points}
        is_scale = len(numbers) == len(inner.points) and len(parameters) == 1
        # A point of the ladder stays as it is: by 7 and 7.0 two measurements would be keyed.
        known: dict[int | float | str, Point] = {str(p.value): p for p in inner.points}
        known |= {point.value: point for point in inner.points}
        found = []
        for value in values:
            point = known.get(value, known.get(str(value)))
            if point is None and (isinstance(value, str) or not is_scale):
                known_ones = ladder.expected(inner.points, inner.choices)
                more = ", or another number" if is_scale and not inner.choices else ""
                raise CodecError(f"{inner.name} has no point {value!r}: {known_ones}{more}")
            if point is None:
                whole = all(isinstance(number, int) for number in numbers)
                point = Point(inner.points[0].parameter, value if whole else float(value))
            found.append(point)
        if is_scale:
            found.sort(key=lambda point: float(point.value), reverse=numbers[0] > numbers[-1])
        else:
            found.sort(key=inner.points.index)
        self.points = tuple(found)


class _ToRates(_Around):
    """A codec that is turned until it meets a rate."""

    def __init__(self, inner: Codec, selection: Selection) -> None:
        super().__init__(inner)
        try:
            self.choices = tuple(inner.choices) or ladder.filled(inner.points)
            ladder.scale(self.choices)
        except CodecError as error:
            raise CodecError(f"{inner.name} cannot be coded to a rate: {error}") from error
        self.rates = tuple(float(value) for value in selection.values)
        self.name += selection.suffix
        ends = f"{self.choices[0].label} to {self.choices[-1].value}, search {SEARCH}"
        which = "one point for all pictures" if selection.corpus else "a point for each picture"
        self.settings = {**inner.settings, "coded to a rate": f"{which}, {ends}"}


class Target(_ToRates):
    """Its points are rates: for each picture the point is found that comes nearest."""

    def __init__(self, inner: Codec, selection: Selection) -> None:
        super().__init__(inner, selection)
        self.label += ", each picture at the rate asked for"
        self.points = ladder.ladder("bpp", self.rates)
        self._found: OrderedDict[bytes, tuple[float, Found]] = OrderedDict()

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        rate = ladder.number(point, "bpp", 0, math.inf)
        if not rate:
            raise EncodeError("a rate of 0 bpp cannot be coded to")
        trials = self.inner.trials(image)
        pixels = image.shape[0] * image.shape[1]
        found = search(
            trials.size,
            lambda point: len(trials.encode(point)),
            *(self.choices, self.inner.points, rate, pixels, NEAR),
        )
        data = trials.encode(found.point)
        self._found[hashlib.sha256(data).digest()] = rate, found
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return data

    def command(self, point: Point) -> None:
        """Each picture has another one."""

    def seconds(self, pixels: int, point: Point) -> float:
        each = [self.inner.seconds(pixels, point) for point in self.inner.points]
        files = 1 + ESTIMATE * TRIALS if self.inner.estimates else TRIALS
        return files * sum(each) / len(each)

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """The codec's own, with what was asked and reached for streams made here."""
        told = dict(self.inner.diagnostics(image, data))
        key = hashlib.sha256(data).digest()
        if key in self._found:
            rate, found = self._found[key]
            told["target"] = {
                "asked_bpp": rate,
                "reached_bpp": found.bits,
                "deviation_percent": 100 * abs(found.bits / rate - 1),
                "trials": found.trials,
                found.point.parameter: found.point.value,
            }
        return told


class Corpus(_ToRates):
    """Its points are those of the codec, one for each rate, which all pictures together meet: they
    are known only when a data set has been searched (`at`)."""

    def __init__(self, inner: Codec, selection: Selection) -> None:
        super().__init__(inner, selection)
        self.label += ", all pictures together at the rate asked for"
        self.points = ()

    def find(
        self,
        rate: float,
        pixels: int,
        estimate: Callable[[Point], float],
        coded: Callable[[Point], float],
    ) -> Found:
        """The point for one rate; see `search`, with the bytes and pixels of all pictures."""
        points = self.inner.points
        return search(estimate, coded, self.choices, points, rate, pixels, CORPUS_NEAR)
