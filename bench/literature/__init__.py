"""Published rate-distortion points: quoted from their sources, not measured here.

`sources.toml` says where each curve comes from and how its figures were made; the CSV files hold
the points.  `bench.literature.quoting` makes them codecs of a comparison.
"""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasets.registry import describe

KODAK = "kodak"
CLIC22_TEST = "clic2022-test"


@dataclass(frozen=True)
class Source:
    """Where published points were taken from."""

    title: str
    url: str
    """Empty where there is none to give."""
    licence: str
    averaging: str
    """What was averaged over the images, and when."""


@dataclass(frozen=True)
class Published:
    """One published curve on one image set and one metric."""

    id: str
    label: str
    source: Source
    dataset: str
    metric: str
    """`psnr` (dB), `ms-ssim` (the plain index, averaged over images), `lpips-alex` ..."""
    bpp: tuple[float, ...]
    """Rates, ascending."""
    values: tuple[float, ...]
    work: str
    """The codec, or the paper that describes it."""
    optimised_for: str
    precision: str = ""
    """Whether the scored pictures were rounded to 8 bit, where the source says so."""
    caveat: str = ""
    url: str = ""
    """The paper."""
    shown: bool = False
    """Drawn from the start; other curves are switched on by the reader."""
    listed: bool = True
    """Offered to the readers of every report; other curves only where they are asked for."""

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """The points."""
        return list(zip(self.bpp, self.values, strict=True))


@cache
def load() -> tuple[Published, ...]:
    """All published curves, in the order of `sources.toml`."""
    folder = Path(__file__).parent
    table = tomllib.loads((folder / "sources.toml").read_text(encoding="utf-8"))
    points: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    sources = {name: Source(**facts) for name, facts in table["source"].items()}
    for path in sorted(folder.glob("*.csv")):
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                key = row["curve"], row["dataset"], row["metric"]
                points.setdefault(key, []).append((float(row["bpp"]), float(row["value"])))
    curves = []
    for (id_, dataset, metric), pairs in points.items():
        facts = dict(table["curve"][id_])
        rates, values = zip(*sorted(pairs), strict=True)
        curves.append(
            Published(
                id=id_,
                dataset=dataset,
                metric=metric,
                bpp=rates,
                values=values,
                source=sources[facts.pop("source")],
                **facts,
            )
        )
    order = {id_: place for place, id_ in enumerate(table["curve"])}
    return tuple(sorted(curves, key=lambda curve: order[curve.id]))


def curves(dataset: str, metric: str) -> tuple[Published, ...]:
    """The published curves on an image set for a metric; empty when there are none."""
    return tuple(c for c in load() if (c.dataset, c.metric) == (dataset, metric))


@cache
def _kodak_digests() -> frozenset[str]:
    return frozenset(file.digest for file in describe(KODAK).files if file.digest)


def is_full_kodak(digests: tuple[str, ...]) -> bool:
    """Whether the pictures are exactly Kodak's 24 files.

    Which images were coded moves BD-rate by tens of points, so a published curve is drawn beside
    measured ones only where both stand for the same set.
    """
    return len(digests) == len(_kodak_digests()) and frozenset(digests) == _kodak_digests()
