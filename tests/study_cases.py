"""Studies made up for tests: two codecs and more on the pictures of `tests.reports_gallery`."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.study.choice import Chosen, choose
from bench.study.design import ORIGINAL, PAGE, Study, design
from bench.verdict.results import Results
from codecs.base import Image
from reports import study_page
from tests.reports_gallery import NAMES, coded, original, pictured

CODECS = ("jpeg", "rdonet", "vvenc")


@functools.cache
def known() -> tuple[Results, tuple[Chosen, ...]]:
    """Results, and the three codecs at one rate."""
    results = pictured().results
    return results, choose(results, 0.4, CODECS)


def designed(seed: int = 1, trials: int = 40, **options: Any) -> Study:
    """Three codecs on three pictures, of which each codec makes what others do not."""
    results, chosen = known()
    facts: dict[str, Any] = {
        "rate": 0.4,
        "tolerance": 0.1,
        "places": range(len(NAMES)),
        "count": len(NAMES),
        "trials": trials,
        "seed": seed,
        **options,
    }
    return design(results, chosen, "vvenc", **facts)


def decoded(study: Study) -> tuple[list[Image], dict[str, Image]]:
    """The originals, and what the codecs made of them."""
    places = [NAMES.index(picture.name) for picture in study.pictures]
    order = list(study.codecs)
    return [original(place) for place in places], {
        name: coded(places[item.picture], 20 + 20 * order.index(item.codec))
        for name, item in study.items.items()
        if item.codec in order
    }


def written(run: Path, **options: Any) -> tuple[Study, Path]:
    """The key of a study and its page, in a run's folder."""
    first = designed(**options)
    study, text = study_page.page(first, *decoded(first))
    path = study.write(run) / PAGE
    path.write_text(text, encoding="utf-8")
    return study, path


def ballot(
    study: Study,
    code: str = "AAAAAAAA",
    choose: Callable[[str, str], str] = max,
    *,
    attentive: bool = True,
    **changes: Any,
) -> dict[str, Any]:
    """What a participant sends back who knows the codecs and prefers `choose(one, other)`."""
    random_ = random.Random(code)
    votes = []
    for pair in [*(pair for block in study.blocks for pair in block), *study.checks]:
        left, right = random_.sample(pair, 2)
        named: Mapping[str, str] = {study.items[name].codec: name for name in pair}
        wanted = ORIGINAL if attentive else next(iter(named.keys() - {ORIGINAL}))
        chosen = named[wanted if ORIGINAL in named else choose(*named)]
        votes.append(
            {"left": left, "right": right, "chosen": chosen, "milliseconds": 1500, "scale": 1.0}
        )
    found = {"kind": "codec-bench votes", "format": 1, "study": study.id, "participant": code}
    return {**found, "seed": 1, "votes": votes, **changes}


def saved(path: Path, ballot: object) -> Path:
    path.write_text(json.dumps(ballot), encoding="utf-8")
    return path
