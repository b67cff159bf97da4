"""What entropy models save for the same latents: the table that `python -m bench.entropy` left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.entropy import MEASURED


@dataclass(frozen=True)
class Share:
    """Bits in percent of another model's, all rates together, with the 95 % interval."""

    value: str
    interval: str
    of: str = ""
    """The other model."""


@dataclass(frozen=True)
class EntropyRow:
    """One entropy model."""

    model: str
    parameters: int
    shares: tuple[Share, ...]
    """Of the first model, on each set of pictures."""
    additions: tuple[Share | None, ...]
    """Of the model that it adds something to, on each set."""


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
            tuple(_share(found["models"][model]["all_rates"]) for found in sets.values()),
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


def _addition(steps: list[Any], model: str) -> Share | None:
    step = next((step for step in steps if step["model"] == model), None)
    return _share(step["percent"], step["of"]) if step else None


def _share(found: Mapping[str, float], of: str = "") -> Share:
    low, high = (f"{found[end]:.1f}" for end in ("low", "high"))
    return Share(f"{found['value']:.1f}", f"[{low}, {high}]", of)
