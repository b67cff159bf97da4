"""The table: bits of each entropy model in percent of the factorised one, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.verdict.bootstrap import limits, resamples

Floats = NDArray[np.float64]

BASE = "factorised"
"""The model that all are compared with."""
STEPS = (
    ("hyperprior", "factorised"),
    ("mean-scale", "hyperprior"),
    *((name, "mean-scale") for name in ("hu2020", "lee2019", "minnen", "mixture")),
)
"""(model, the one that it adds something to)."""


@dataclass(frozen=True)
class Percent:
    """Bits in percent of another model's, with the middle 95 % of resamples over pictures."""

    value: float
    low: float
    high: float

    @property
    def figure(self) -> str:
        return f"{self.value:.1f}"

    @property
    def interval(self) -> str:
        return f"[{self.low:.1f}, {self.high:.1f}]"

    def __str__(self) -> str:
        return f"{self.figure} {self.interval}"


def percent(bits: Floats, of: Floats) -> tuple[list[Percent], Percent]:
    """(at each quality, over all) of bits [pictures, qualities]: those of all pictures together;
    over all qualities the geometric mean."""
    weights = resamples(len(bits))
    whole = np.full((1, len(bits)), 1 / len(bits))
    ratios = [100 * (w @ bits) / (w @ of) for w in (whole, weights)]
    means = [np.exp(np.log(r).mean(1, keepdims=True)) for r in ratios]
    value, spread = (np.concatenate(pair, 1) for pair in zip(ratios, means, strict=True))
    low, high = limits(spread)
    each = [Percent(*map(float, row)) for row in zip(value[0], low, high, strict=True)]
    return each[:-1], each[-1]


def tabulate(sizes: Mapping[str, Mapping[str, Sequence[int]]], pixels: Mapping[str, int]) -> Any:
    """JSON of one set: `sizes` of each model, bytes of each picture at each quality."""
    names = sorted(pixels)
    bits = {model: np.array([of[name] for name in names]) * 8.0 for model, of in sizes.items()}
    area = sum(pixels[name] for name in names)
    rows = {}
    for model, ours in bits.items():
        each, all_rates = percent(ours, bits[BASE])
        rows[model] = {
            "bpp": [float(b) for b in ours.sum(0) / area],
            "percent": [vars(p) for p in each],
            "all_rates": vars(all_rates),
        }
    steps = [
        {"model": model, "of": of, "percent": vars(percent(bits[model], bits[of])[1])}
        for model, of in STEPS
        if model in bits and of in bits
    ]
    return {"pictures": len(names), "models": rows, "steps": steps}


def markdown(report: Mapping[str, Any]) -> str:
    """The tables of a report as `bench.entropy` writes it."""
    trained = report["trained"]
    lines = [
        "# Entropy models on the same latents",
        "",
        f"Bits in percent of `{BASE}`, of real files, all of the same integers: the latents of "
        f"`{report['trunk']}`, whose transforms stay as they are. Each entropy model was trained "
        f"from nothing for {report['minutes']:g} minutes of one core, on latents of the same "
        f"{report['crops']:,} crops of {report['data']}; [95 %] over pictures. Made by "
        "`python -m bench.entropy` (`bench/entropy`).",
    ]
    for name, found in report["sets"].items():
        base = found["models"][BASE]["bpp"]
        lines += ["", f"## {name}, {found['pictures']} pictures", ""]
        lines += [
            "| entropy model | all rates | " + " | ".join(f"{b:.3f} bpp" for b in base) + " |"
        ]
        lines += ["|" + "---|" * (len(base) + 2)]
        for model, row in found["models"].items():
            cells = [f"{p['value']:.1f}" for p in row["percent"]]
            lines.append(f"| `{model}` | {Percent(**row['all_rates'])} | {' | '.join(cells)} |")
        lines += ["", "| | in percent of | bits, all rates |", "|---|---|---|"]
        for step in found["steps"]:
            lines.append(f"| `{step['model']}` | `{step['of']}` | {Percent(**step['percent'])} |")
    lines += ["", "| entropy model | steps | parameters |", "|---|---|---|"]
    for model, facts in trained.items():
        lines.append(f"| `{model}` | {facts['steps']:,} | {facts['parameters']:,} |")
    return "\n".join(lines) + "\n"
