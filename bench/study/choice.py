"""Which measurement of each codec on each picture stands for it in a study at one rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.record.measurement import Measurement
from bench.verdict.results import CodecResult, Results
from codecs.selection import to_rate


@dataclass(frozen=True)
class Chosen:
    """One codec at the rate."""

    codec: str
    label: str
    measurements: Mapping[int, Measurement]
    """Place of a picture -> the measurement nearest in rate."""
    off: Mapping[int, float]
    """How far that is from the rate, as a part of it; of all pictures together where one point was
    to meet the rate for all (`:corpus`)."""


def choose(results: Results, rate: float, wanted: Sequence[str] = ()) -> tuple[Chosen, ...]:
    """The codecs of a run, or those `wanted`, at `rate` bits per pixel.

    What was coded to a rate (`vvenc@0.15bpp`) stands for its codec (`vvenc`) wherever it is nearer
    than the codec's own points; under a name of its own it is only taken when it is wanted.  A
    point that was to meet the rate over all pictures (`:corpus`) is never nearer on each: it must
    be wanted, or all that there is of its codec.
    """
    groups: dict[str, list[CodecResult]] = {}
    for codec in results.codecs:
        groups.setdefault(codec.name if codec.name in wanted else _base(codec.name), []).append(
            codec
        )
    names = wanted or tuple(groups)
    return tuple(_chosen(name, groups[name], rate) for name in names if name in groups)


def _chosen(name: str, group: Sequence[CodecResult], rate: float) -> Chosen:
    members = [one for one in group if not _of_corpus(one.name)] or group
    own = next((one for one in members if one.name == name), members[0])
    found: dict[int, Measurement] = {}
    off: dict[int, float] = {}
    for image in range(len(own.images)):
        near = [m for one in members for m in _measured(one, image)]
        if near:
            found[image] = min(near, key=lambda m: abs(np.log(m.bpp / rate)))
            off[image] = abs(found[image].bpp / rate - 1)
    if _of_corpus(own.name) and found:
        pixels = [m.width * m.height for m in found.values()]
        mean = np.average([m.bpp for m in found.values()], weights=pixels)
        off = dict.fromkeys(found, abs(float(mean) / rate - 1))
    return Chosen(name, own.label, found, off)


def _measured(codec: CodecResult, image: int) -> Iterator[Measurement]:
    for (_, place), m in sorted(codec.measurements.items()):
        if place == image and m.status == "ok" and m.bpp > 0:
            yield m


def _base(name: str) -> str:
    """The codec whose streams these are."""
    base, rates = to_rate(name)
    return base if rates else name


def _of_corpus(name: str) -> bool:
    return to_rate(name)[1] == "corpus"
