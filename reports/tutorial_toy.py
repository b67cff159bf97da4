"""The tutorial's example of three entropy models: what somebody drinks on three days.

Hot or cold, coffee or tea, on days of 10, 15 and 30 degrees.  Below 20 degrees drinks are hot, else
cold; never coffee, nor tea, on two days running.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, product

DRINKS = tuple(product(("hot", "cold"), ("coffee", "tea")))
DEGREES = (10, 15, 30)
Week = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Toy:
    """An entropy model that gives each of its `possible` days-in-a-row the same probability."""

    name: str
    knows: str
    possible: tuple[Week, ...]

    @property
    def bits(self) -> float:
        """Expected, of three drinks: the entropy, for all that can happen is equally likely."""
        p = 1 / len(self.possible)
        return sum(-p * math.log2(p) for _ in self.possible)


def _fits(week: Week) -> bool:
    return all(
        heat == ("hot" if degrees < 20 else "cold")
        for (heat, _), degrees in zip(week, DEGREES, strict=True)
    )


def _alternates(week: Week) -> bool:
    return all(before != after for (_, before), (_, after) in pairwise(week))


def _models() -> Iterable[Toy]:
    every = tuple(product(DRINKS, repeat=len(DEGREES)))
    warm = tuple(filter(_fits, every))
    yield Toy("factorised", "nothing but the four drinks", every)
    yield Toy("hyperprior", "the weather as well", warm)
    yield Toy("context", "and what was drunk the day before", tuple(filter(_alternates, warm)))


MODELS = tuple(_models())
