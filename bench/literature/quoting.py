"""Rate-distortion points that somebody else measured, as codecs of a comparison.

`published:qarv`      a curve that ships with the harness (see `bench list published`)
`./elic.csv`          points in a file: see `bench.literature.files`
`./points.csv:ELIC`   one of several codecs in a file

They have means over a whole set of pictures and nothing else: no pictures, no streams, no seconds,
and so no interval.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import literature
from bench.literature import Published, files
from bench.literature.files import PointsError
from codecs.naming import suggestion

PREFIX = "published:"
_FILE = re.compile(r"(?P<path>.+\.(?:csv|json))(?::(?P<codec>[^/]+))?", re.IGNORECASE)


@dataclass(frozen=True)
class Quoted:
    """A codec whose points on one set of pictures are quoted."""

    name: str
    """As typed: `published:qarv`, `./elic.csv`."""
    curves: tuple[Published, ...]
    """One for each metric; not empty."""

    is_lossless = False

    @property
    def label(self) -> str:
        return f"{self.curves[0].label} (published)"

    @property
    def dataset(self) -> str:
        return self.curves[0].dataset

    def curve(self, metric: str) -> Published | None:
        return next((curve for curve in self.curves if curve.metric == metric), None)


def is_quoted(name: str) -> bool:
    """Whether the name is one of those above.  Reads nothing."""
    return name.startswith(PREFIX) or _FILE.fullmatch(name) is not None


def quote(name: str, dataset: str) -> Quoted:
    """The codec called `name` on the pictures of `dataset` (`kodak`).

    Raises `PointsError` where there are no such points.
    """
    found = _FILE.fullmatch(name)
    if name.startswith(PREFIX) or found is None:
        curves: Sequence[Published] = _shipped(name.removeprefix(PREFIX))
    else:
        curves = _of_one(files.read(Path(found["path"])), name, found["codec"])
    here = tuple(curve for curve in curves if curve.dataset == dataset)
    if not here:
        known = ", ".join(dict.fromkeys(curve.dataset for curve in curves))
        hint = '; JSON without a "dataset" takes the name of its folder' if ".json" in name else ""
        raise PointsError(
            f"{name} has points on {known}, and this comparison is on {dataset or 'other pictures'}"
            f": points on other pictures cannot be compared (--dataset names the set{hint})"
        )
    return Quoted(name, here)


def data_set_named(name: str, digests: Sequence[str], *, whole: bool) -> str:
    """What points must be named for, to be compared with measurements on these pictures; empty
    where no points can be.

    Kodak is known by the digests of its 24 files; other sets by `name`, where they are `whole`.
    """
    if literature.is_full_kodak(tuple(digests)):
        return literature.KODAK
    lowered = name.lower()
    return lowered if whole and lowered != literature.KODAK else ""


def _shipped(id_: str) -> list[Published]:
    found = [curve for curve in literature.load() if curve.id == id_]
    if not found:
        hint = suggestion(id_, list(dict.fromkeys(curve.id for curve in literature.load())))
        raise PointsError(f"no published curve {id_!r}{hint}; see: python -m bench list published")
    return found


def _of_one(curves: Sequence[Published], name: str, codec: str | None) -> list[Published]:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    if codec is None and len(labels) > 1:
        raise PointsError(
            f"{name} holds points of {', '.join(labels)}: name one, as in {name}:{labels[0]}"
        )
    kept = [curve for curve in curves if codec in (None, curve.label)]
    if not kept:
        raise PointsError(f"{name}: the file holds points of {', '.join(labels)} only")
    return kept
