"""What entropy models save for the same latents: the table that `python -m bench.entropy` left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.entropy import MEASURED
from bench.entropy.table import Percent


@dataclass(frozen=True)
class Step:
    """What a model leaves of the bits of the one that it adds something to."""

    percent: Percent
    of: str
    """The other model."""


@dataclass(frozen=True)
class EntropyRow:
    """One entropy model."""

    model: str
    parameters: int
    shares: tuple[Percent, ...]
    """Bits in percent of the first model's, all rates together, on each set of pictures."""
    additions: tuple[Step | None, ...]
    """On each set."""


@dataclass(frozen=True)
class EntropyTable:
    """All entropy models, on all sets."""

    trunk: str
    """Whose latents all coded."""
    base: str
    minutes: float
    sets: tuple[tuple[str, int], ...]
    """(name, pictures) of each."""
    rows: tuple[EntropyRow, ...]


def entropy_table(path: Path = MEASURED) -> EntropyTable | None:
    """The table at `path`; None where nothing was measured."""
    if not path.is_file():
        return None
    report = json.loads(path.read_text(encoding="utf-8"))
    sets = report["sets"]
    models = list(next(iter(sets.values()))["models"])
    rows = (
        EntropyRow(
            model,
            report["trained"][model]["parameters"],
            tuple(Percent(**found["models"][model]["all_rates"]) for found in sets.values()),
            tuple(_addition(found["steps"], model) for found in sets.values()),
        )
        for model in models
    )
    return EntropyTable(
        report["trunk"],
        models[0],
        report["minutes"],
        tuple((name, found["pictures"]) for name, found in sets.items()),
        tuple(rows),
    )


def _addition(steps: list[Any], model: str) -> Step | None:
    step = next((step for step in steps if step["model"] == model), None)
    return Step(Percent(**step["percent"]), step["of"]) if step else None
