"""What a study shows to whom, and the key that says which codec is behind each picture.

The key never leaves the run: `RUN/study/<id>/key.json`.  The page beside it knows pictures by
random names alone.  Everything random follows from one seed, so that the same command with the same
seed makes the same study.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.record.store import StoreError
from bench.study.choice import Chosen
from bench.verdict.results import Results
from datasets.cache import write_atomically

FORMAT = 1
FOLDER, KEY, PAGE, VOTES = "study", "key.json", "study.html", "votes.json"
ID = re.compile(r"[0-9a-f]{12}")
ORIGINAL, SPOILT = "original", "spoilt"
"""What an item of an attention check is, in the place of a codec's name."""
FEWEST_CHECKS, TRIALS_TO_A_CHECK = 3, 10
SIDE = 512
"""Pixels of a part's sides, at most."""

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""
Pair = tuple[str, str]
"""Names of two items."""


@dataclass(frozen=True)
class Item:
    """One picture that a participant is shown."""

    picture: int
    """Place in `Study.pictures`."""
    codec: str
    """Or `ORIGINAL` or `SPOILT`, of an attention check."""
    measurement: str = ""
    """Its key in the run."""
    bpp: float = 0.0


@dataclass(frozen=True)
class Picture:
    """A picture of the run, and the part of it that is shown."""

    name: str
    digest: str
    box: Box


@dataclass(frozen=True)
class Study:
    """A study and its key."""

    rate: float
    """Bits per pixel."""
    tolerance: float
    """How far from the rate files may be, as a part of it."""
    seed: int
    trials: int
    """Pairs of codecs for one participant."""
    anchor: str
    labels: Mapping[str, str]
    """Codec -> its label; in the order of the results."""
    pictures: tuple[Picture, ...]
    items: Mapping[str, Item]
    """Name that the page knows -> what it is."""
    blocks: tuple[tuple[Pair, ...], ...]
    """Every pair of codecs on every picture; in each block every pair of codecs once."""
    checks: tuple[Pair, ...]
    """(original, spoilt) of the attention checks, all of which a participant is shown."""

    @property
    def id(self) -> str:
        """Digest of all that a study is."""
        return hashlib.sha256(self._text().encode()).hexdigest()[:12]

    @property
    def codecs(self) -> tuple[str, ...]:
        return tuple(self.labels)

    @property
    def pairs(self) -> frozenset[frozenset[str]]:
        """All that a participant may be asked."""
        return frozenset(map(frozenset, (*itertools.chain(*self.blocks), *self.checks)))

    def folder(self, run: Path) -> Path:
        return run / FOLDER / self.id

    def write(self, run: Path) -> Path:
        """Write the key; returns its folder."""
        folder = self.folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / KEY, self._text().encode())
        return folder

    def _text(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Raises `StoreError` for a key that was changed or is of another version."""
        path = folder / KEY
        try:
            raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if raw.pop("format") != FORMAT:
                raise ValueError("another format")
            pairs = [[_pair(pair) for pair in block] for block in (*raw["blocks"], raw["checks"])]
            raw |= {
                "pictures": tuple(Picture(**{**p, "box": _box(p["box"])}) for p in raw["pictures"]),
                "items": {name: Item(**item) for name, item in raw["items"].items()},
                "blocks": tuple(map(tuple, pairs[:-1])),
                "checks": tuple(pairs[-1]),
            }
            study = cls(**raw)
            if study.id != folder.name:
                raise ValueError("it is not as it was written")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{path} cannot be used ({error}): put the file back that was written with the page"
            ) from error
        return study


def _pair(raw: Sequence[str]) -> Pair:
    one, other = map(str, raw)
    return one, other


def _box(raw: Sequence[int]) -> Box:
    left, top, width, height = map(int, raw)
    return left, top, width, height


def studies(run: Path) -> Iterator[Path]:
    """The folders of a run's studies."""
    for path in sorted((run / FOLDER).glob(f"*/{KEY}")):
        if ID.fullmatch(path.parent.name):
            yield path.parent


def design(
    results: Results,
    chosen: Sequence[Chosen],
    anchor: str,
    *,
    rate: float,
    tolerance: float,
    places: Sequence[int],
    count: int,
    trials: int,
    seed: int,
) -> Study:
    """A study with `count` of the pictures at `places`, a part of each where chance has it.

    What codecs made of the pictures plays no role in it.
    """
    random_ = random.Random(seed)
    places = sorted(random_.sample(list(places), min(count, len(places))))
    pictures = tuple(
        Picture(results.images[i], results.digests[i], _part(results.sizes[i], random_))
        for i in places
    )
    combinations = list(itertools.combinations(range(len(chosen)), 2))
    trials = min(trials, len(combinations) * len(pictures))
    checks = max(FEWEST_CHECKS, math.ceil(trials / TRIALS_TO_A_CHECK))
    checked = [random_.randrange(len(pictures)) for _ in range(checks)]
    count = len(pictures) * len(chosen) + 2 * checks
    names = iter(f"{number:05x}" for number in random_.sample(range(16**5), count))
    shown = [
        [Item(p, one.codec, (m := one.measurements[i]).key, round(m.bpp, 6)) for one in chosen]
        for p, i in enumerate(places)
    ]
    named = [[(next(names), item) for item in row] for row in shown]
    asked = [[(next(names), Item(p, kind)) for kind in (ORIGINAL, SPOILT)] for p in checked]
    blocks = [
        [
            _shuffled((row[i][0], row[j][0]), random_)
            for row, (i, j) in zip(
                itertools.cycle(named[block:] + named[:block]), combinations, strict=False
            )
        ]
        for block in range(len(pictures))
    ]
    return Study(
        rate=rate,
        tolerance=tolerance,
        seed=seed,
        trials=trials,
        anchor=anchor,
        labels={one.codec: one.label for one in chosen},
        pictures=pictures,
        items=dict(sorted(itertools.chain(*named, *asked))),
        blocks=tuple(tuple(sorted(block)) for block in blocks),
        checks=tuple((original[0], spoilt[0]) for original, spoilt in asked),
    )


def _part(size: tuple[int, int], random_: random.Random) -> Box:
    width, height = (min(SIDE, side) for side in size)
    return random_.randint(0, size[0] - width), random_.randint(0, size[1] - height), width, height


def _shuffled(pair: Pair, random_: random.Random) -> Pair:
    return pair if random_.random() < 0.5 else pair[::-1]


def shrunk(study: Study, factor: float) -> Study:
    """The same study with smaller parts of the pictures, about the same middle."""

    def smaller(box: Box) -> Box:
        left, top, width, height = box
        w, h = (max(1, int(side * factor)) for side in (width, height))
        return left + (width - w) // 2, top + (height - h) // 2, w, h

    return replace(study, pictures=tuple(replace(p, box=smaller(p.box)) for p in study.pictures))
