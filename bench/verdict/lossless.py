"""Operating points that give every image back to the last bit, compared by size.

There is no quality to compare them at, so that they have no BD-rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.record.measurement import Measurement
from bench.verdict.bootstrap import limits, resamples
from bench.verdict.results import CodecResult, Results

RAW_BPP = 24.0
"""Bits per pixel of 8-bit RGB that is not compressed."""


@dataclass(frozen=True)
class LosslessPoint:
    """One such point; means over the images of its table."""

    codec: CodecResult
    point: str
    bpp: float
    percent_of_raw: float
    """Of `RAW_BPP`."""
    percent_larger: float
    """Than the smallest point of the table: 0 for that one."""
    low: float
    """95 % interval of `percent_larger`; NaN for a single image."""
    high: float
    measurements: tuple[Measurement, ...]
    """On the images of the table."""


@dataclass(frozen=True)
class LosslessTable:
    """All such points of a run on the images that each of them has a stream of."""

    points: tuple[LosslessPoint, ...]
    """In the order of the run's codecs; one at least."""
    images: tuple[str, ...]
    left_out: tuple[str, ...]
    """Images without a stream from some point, and points that share no image."""

    @property
    def smallest(self) -> LosslessPoint:
        return min(self.points, key=lambda point: point.bpp)


def compare_lossless(results: Results) -> LosslessTable | None:
    """None where no point is without loss.  Intervals: a paired bootstrap over the images."""
    places = [(codec, int(i)) for codec in results.codecs for i in np.flatnonzero(codec.lossless)]
    if not places:
        return None
    grid = np.array([codec.bpp[i] for codec, i in places])
    kept = np.full(len(places), fill_value=True)
    while not (whole := np.isfinite(grid[kept]).all(axis=0)).any():
        # The point with the fewest images, for the sake of the others.
        kept[np.where(kept, np.isfinite(grid).sum(axis=1), np.inf).argmin()] = False
    bpp, used = grid[kept][:, whole], [place for place, k in zip(places, kept, strict=True) if k]
    smallest = bpp[bpp.mean(axis=1).argmin()]
    weights = resamples(len(smallest))
    points = []
    for (codec, i), rates in zip(used, bpp, strict=True):
        low, high = limits(100 * (weights @ rates / (weights @ smallest) - 1)[:, None])
        points.append(
            LosslessPoint(
                codec=codec,
                point=codec.points[i],
                bpp=float(rates.mean()),
                percent_of_raw=float(100 * rates.mean() / RAW_BPP),
                percent_larger=float(100 * (rates.mean() / smallest.mean() - 1)),
                low=float(low[0]),
                high=float(high[0]),
                measurements=tuple(codec.measurements[i, int(k)] for k in np.flatnonzero(whole)),
            )
        )
    absent = [f"{c.name} {c.points[i]}" for (c, i), k in zip(places, kept, strict=True) if not k]
    images = [name for name, k in zip(results.images, whole, strict=True) if not k]
    return LosslessTable(
        tuple(points),
        tuple(name for name, k in zip(results.images, whole, strict=True) if k),
        (*images, *absent),
    )
