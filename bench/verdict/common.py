"""Which operating points and images codecs are compared on: those that all have a value of.

A run is seldom whole.  A measurement fails, an image is too small for a metric or black, a point
is lossless and its PSNR infinite.  None of that may cost the figures of all the rest, and none of
it may be left out in silence.  One rule serves verdicts, curves and spreads:

1. Points without a value on any image go, then images on which a codec has no value at all:
   nothing could be computed from them.
2. While values are missing, the point or image goes that lacks the largest share of what is
   left of it; an image before a point that lacks as much, the first before a later one.  A codec
   keeps two points, where it has them.

What remains is whole, and every codec is judged on the same images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.base import INFINITE
from bench.verdict.curve import on_scale
from bench.verdict.results import CodecResult, Grid

Mask = NDArray[np.bool_]
_SHOWN = 3
"""Names in a message before the rest is counted."""


@dataclass(frozen=True, eq=False)
class Part:
    """What some codecs are compared on."""

    points: tuple[Mask, ...]
    """For each codec, its points that count: bool[points]."""
    images: Mask
    """The images that count, the same for all codecs: bool[images]."""
    left_out: str
    """`1 of 6 points of webp (quality 100: infinite), 2 of 24 pictures (...)`; empty: nothing."""
    reason: str
    """Why nothing can be compared, in words; empty where something can."""

    def of(self, place: int, grid: Grid) -> Grid:
        """A codec's [points, images] without what is left out."""
        return grid[np.ix_(self.points[place], self.images)]


def shared(codecs: Sequence[CodecResult], metric: str) -> Part:
    """The points and images on which all `codecs` have a rate and a finite `metric`."""
    grids = [np.isfinite(comparable(codec, metric)) for codec in codecs]
    points, images = _whole(grids)
    left_out = [
        _points_left_out(codec, grid, kept, images, metric)
        for codec, grid, kept in zip(codecs, grids, points, strict=True)
    ]
    left_out.append(_images_left_out(codecs, points, images, metric))
    said = ", ".join(filter(None, left_out))
    reason = ""
    if not images.any() or not all(kept.any() for kept in points):
        reason = _nothing(codecs, grids, metric)
    return Part(tuple(points), images, said, reason)


def comparable(codec: CodecResult, metric: str) -> Grid:
    """The metric on its curve scale, [points, images]; NaN where a rate or value is missing or
    infinite."""
    with np.errstate(invalid="ignore"):
        grid = on_scale(metric, codec.metric(metric))
    usable = np.isfinite(codec.bpp) & np.isfinite(grid)
    return np.where(usable, grid, np.nan)


def _whole(grids: Sequence[Mask]) -> tuple[list[Mask], Mask]:
    """Points (of each codec) and images that count, from where there are values."""
    points = _any_value(grids)
    images = np.ones(grids[0].shape[1] if grids else 0, dtype=np.bool_)
    for grid, kept in zip(grids, points, strict=True):
        if kept.any():
            images &= grid.any(axis=0)
    while images.any() and all(kept.any() for kept in points):
        table = np.vstack([g[k] for g, k in zip(grids, points, strict=True)])
        lacking = np.where(images, 1 - table.mean(axis=0), -1.0)
        worst = int(lacking.argmax())
        share, place, row = -1.0, 0, 0
        for codec, (grid, kept) in enumerate(zip(grids, points, strict=True)):
            if kept.sum() > 2:
                gaps = np.where(kept, 1 - grid[:, images].mean(axis=1), -1.0)
                if gaps.max() > share:
                    share, place, row = float(gaps.max()), codec, int(gaps.argmax())
        if max(share, lacking[worst]) <= 0:
            break
        if lacking[worst] >= share:
            images[worst] = False
        else:
            points[place][row] = False
    return points, images


def _any_value(grids: Sequence[Mask]) -> list[Mask]:
    """Of each codec, the points that have a value on some image."""
    return [np.asarray(grid.any(axis=1)) for grid in grids]


def _cause(codec: CodecResult, metric: str, point: int, image: int) -> str:
    """Why there is no value at one point on one image; empty where there is one."""
    m = codec.measurements.get((point, image))
    if m is None:
        return "not measured"
    if m.status != "ok":
        return m.reason or m.status
    score = m.metrics.get(metric)
    value = m.metric(metric)
    if score is None or (math.isnan(value) and not score.reason):
        return "not measured"
    if math.isnan(value):
        return INFINITE if score.is_infinite else score.reason
    if math.isfinite(m.bpp) and np.isfinite(on_scale(metric, np.array(value))):
        return ""
    return INFINITE


def _points_left_out(codec: CodecResult, has: Mask, kept: Mask, images: Mask, metric: str) -> str:
    gone = np.flatnonzero(~kept)
    if not len(gone):
        return ""

    def cause(row: int) -> str:
        # Images that count show best what the point itself lacks.
        lacks = ~has[row] & (images if (~has[row] & images).any() else True)
        return _first(_cause(codec, metric, row, int(image)) for image in np.flatnonzero(lacks))

    what = _grouped([int(row) for row in gone], lambda row: codec.points[row], cause)
    return f"{len(gone)} of {len(kept)} points of {codec.name} ({what})"


def _images_left_out(
    codecs: Sequence[CodecResult], points: Sequence[Mask], images: Mask, metric: str
) -> str:
    gone = np.flatnonzero(~images)
    if not len(gone):
        return ""

    def cause(image: int) -> str:
        return _first(
            f"{codec.name}: {why}" if (why := _cause(codec, metric, int(row), image)) else ""
            for codec, kept in zip(codecs, points, strict=True)
            for row in np.flatnonzero(kept)
        )

    what = _grouped([int(image) for image in gone], lambda image: codecs[0].images[image], cause)
    return f"{len(gone)} of {len(images)} picture{'s' * (len(images) > 1)} ({what})"


def _first(causes: Iterable[str]) -> str:
    return next(filter(None, causes), "no value")


def _grouped(places: Sequence[int], name: Callable[[int], str], cause: Callable[[int], str]) -> str:
    """`a.png, b.png: encode failed; c.png: too small`"""
    groups: dict[str, list[str]] = {}
    for place in places:
        groups.setdefault(cause(place), []).append(name(place))
    return "; ".join(f"{listed(names)}: {why}" for why, names in groups.items())


def listed(names: Sequence[str]) -> str:
    """`a.png, b.png, c.png and 4 more`"""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _nothing(codecs: Sequence[CodecResult], grids: Sequence[Mask], metric: str) -> str:
    """Why no point and image is left."""
    if not codecs:
        return "no codec has a finite value"
    for codec, grid in zip(codecs, grids, strict=True):
        if not grid.any():
            causes = dict.fromkeys(
                _cause(codec, metric, row, image)
                for row in range(grid.shape[0])
                for image in range(grid.shape[1])
            )
            return f"{codec.name} has no finite value on any picture: {listed(list(causes))}"
    names = " and ".join(codec.name for codec in codecs)
    lacking = _images_left_out(
        codecs,
        _any_value(grids),
        np.zeros(grids[0].shape[1], dtype=np.bool_),
        metric,
    )
    return f"no picture has a finite value at two points of {names} each: {lacking}"
