"""Phases of training as data, and the plan that lays them out over steps.

A plan has a trunk, trained once, and one branch per target rate that starts from the trunk's end:
Table 1 of Brand et al., CLIC 2022, is phases 1 to 5 (trunk) and 6 to 7 (branches).
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import accumulate, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from codecs.learned.training.errors import TrainingError
from codecs.learned.training.losses import LossWeights

MASKS = ("finest", "random", "variance", "mixed")


@dataclass(frozen=True)
class Phase:
    """One row of the schedule."""

    share: float
    """Part of the steps that one finished model sees; all shares add up to 1."""
    lr: float
    """Adam's learning rate at the start of the phase."""
    lr_end: float | None = None
    """At its end, reached geometrically; `None`: constant."""
    label: float | None = None
    """λ as printed in the paper: a label only, Λ comes from `ratecontrol`."""
    mse: float = 1.0
    ms_ssim: float = 0.0
    lpips: float = 0.0
    features: float = 0.0
    """A second critic of another make, `features.FeatureDistance`."""
    views: bool = False
    """Both of random views (`views.random_view`): networks learn to fool a backbone without."""
    grain: float = 0.0
    """Strongest noise added to crops, a standard deviation of 255; see `data.crops`."""
    shrink: float = 1.0
    """Largest factor by which crops are scaled down; see `data.crops`."""
    gan: float = 0.0
    gan_lr: float = 1e-4
    """The discriminator's learning rate; it falls in proportion to `lr`."""
    gan_delay: float = 0.0
    """Part of the phase, at most 1000 steps, in which the discriminator learns alone."""
    mask: str = "random"
    """Block partitions of codecs that have them, see `PartitionedNetwork`."""
    jitter: float = 0.3
    """Variance thresholds are multiplied by e^u, u uniform in ± this, at each step."""
    per_rate: bool = False
    """Part of the branches, not of the trunk."""
    control: bool = False
    """Λ follows the target rate during this phase; otherwise it is frozen."""
    thresholds: bool | tuple[float, float] = False
    """When the phase begins, calibrate the variance thresholds, or set them to (64 x 64, 32 x 32);
    from there they follow Λ."""
    deepen: bool = False
    """When the phase begins, begin the deeper levels anew, as what the finest has learned.  During
    it all transforms stay, and entropy models learn alone."""
    frozen: bool = False
    """Keep what `transform_parameters` names as its average is, and train the rest, such as entropy
    models, in half the time."""
    rounded: bool = False
    """Latents are rounded instead of made noisy, and what makes them stays: `Rounding.SETTLED`."""
    reset: bool = False
    """Reset Adam's state when the phase begins: for phases that change the loss."""
    warm_up: int = 0
    """Steps over which the learning rate rises from 0, at most a tenth of the phase."""
    rate_warm_up: float = 0.0
    """Part of the phase in which the rate's weight rises from 0.1 to 1."""
    below_target: float = 1.0
    """Factor of the rate's weight while the rate is below its target: λ' of Mentzer et al. 2020,
    where it is 2^-7.  Of a network for a range of rates, each quality has a target of its own."""

    @property
    def weights(self) -> LossWeights:
        return LossWeights(self.mse, self.ms_ssim, self.lpips, self.gan, self.features)


_RANDOM: Mapping[str, Any] = {"ms_ssim": 0.1, "label": 0.02, "mask": "random"}
_FULL: Mapping[str, Any] = {"ms_ssim": 0.05, "lpips": 0.015, "gan": 1e-4, "mask": "variance"}
"""Loss weights and masks of phases 1 to 3 and of phases 4 to 7."""


def _paper() -> tuple[Phase, ...]:
    """Table 1 of the CLIC 2022 paper; epochs become shares of 4750."""
    return (
        Phase(400 / 4750, 1e-4, **_RANDOM, reset=True, control=True, rate_warm_up=0.01),
        Phase(800 / 4750, 1e-5, **_RANDOM, control=True),
        Phase(800 / 4750, 1e-6, **_RANDOM),
        Phase(
            *(1850 / 4750, 3e-5),
            **_FULL,
            label=0.02,
            reset=True,
            control=True,
            thresholds=True,
            gan_delay=0.01,
        ),
        Phase(150 / 4750, 3e-6, **_FULL, label=0.02, gan_lr=1e-5),
        Phase(600 / 4750, 3e-5, **_FULL, per_rate=True, reset=True, control=True),
        Phase(150 / 4750, 3e-6, **_FULL, per_rate=True, thresholds=True, gan_lr=1e-5),
    )


def _trunk(share: float) -> tuple[Phase, ...]:
    """MSE and MS-SSIM at one rate, for `share` of a model's steps.

    Blocks of 16 x 16 alone come first: with them the way from picture to latents and back learns
    several times as fast as with random partitions, and the deeper levels then only have to join.
    They do so at lower learning rates: at 8e-4 random partitions made RDONet diverge.
    """
    loss: Mapping[str, Any] = {"ms_ssim": 0.1, "control": True}
    finest: Mapping[str, Any] = {**loss, "mask": "finest", "warm_up": 50, "rate_warm_up": 0.2}
    return (
        Phase(0.42 * share, 1e-3, 8e-4, **finest, reset=True),
        Phase(0.06 * share, 3e-4, **loss, mask="random", reset=True, warm_up=30),
        Phase(0.52 * share, 6e-4, 4e-4, **loss, mask="variance", thresholds=True),
    )


def _branches(share: float) -> tuple[Phase, ...]:
    """From the trunk to each rate, for `share` of a model's steps.

    MS-SSIM weighs as in the trunk, which is twice what Table 1 has here; LPIPS and PatchGAN keep
    their proportion to it.
    """
    loss: Mapping[str, Any] = {"ms_ssim": 0.1, "lpips": 0.03, "views": True, "gan": 2e-4}
    common: Mapping[str, Any] = {**loss, "mask": "variance", "per_rate": True}
    return (
        Phase(0.65 * share, 6e-4, 2e-4, **common, control=True, gan_delay=0.05),
        Phase(0.35 * share, 2e-4, 5e-6, **common, thresholds=True),
    )


def _quick() -> tuple[Phase, ...]:
    """Minutes on a CPU: one loss, one fall of the learning rate."""
    common: Mapping[str, Any] = {"ms_ssim": 0.1, "per_rate": True, "control": True}
    start: Mapping[str, Any] = {"reset": True, "warm_up": 50, "rate_warm_up": 0.2}
    return (
        Phase(0.45, 1e-3, 7e-4, **common, **start, mask="finest"),
        Phase(0.10, 3e-4, **common, mask="random"),
        Phase(0.45, 6e-4, 2e-5, **common, mask="variance", thresholds=True),
    )


PRESETS: Mapping[str, tuple[Phase, ...]] = MappingProxyType(
    {
        "paper": _paper(),
        "compact": (*_trunk(0.75), *_branches(0.25)),
        "trunk": (*_trunk(0.98), Phase(0.02, 1e-4, ms_ssim=0.1, mask="variance", per_rate=True)),
        "branches": _branches(1.0),
        "quick": _quick(),
    }
)
"""`compact` re-divides the paper's order for a few ten thousand steps.  `trunk` and `branches` are
its two parts, so that several distortions can share a trunk (`--from`)."""

DISTORTIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "mse": frozenset({"ms_ssim", "lpips", "features", "gan"}),
        "ms-ssim": frozenset({"lpips", "features", "gan"}),
        "lpips": frozenset({"gan"}),
        "perceptual": frozenset(),
    }
)
"""Terms that each choice of distortion takes out of the phases."""


def load_phases(preset: str) -> tuple[Phase, ...]:
    """The phases of a preset or of a TOML file with tables `[[phase]]` of `Phase`'s fields; those
    of a recipe's stage are `FILE.toml:STAGE`."""
    if preset in PRESETS:
        return PRESETS[preset]
    name, stage = preset.rsplit(":", 1) if ".toml:" in preset else (preset, None)
    path = Path(name)
    if path.suffix != ".toml":
        raise TrainingError(
            f"no preset {preset!r}: give {', '.join(PRESETS)} or a .toml file of phases"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        if stage is not None:
            tables = {row["name"]: row for row in tables["stage"]}[stage]
        rows = tables["phase"]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise TypeError("phase is no list of tables")
        phases = tuple(_phase(row) for row in rows)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        names = ", ".join(f.name for f in fields(Phase))
        raise TrainingError(
            f"{path} is not a schedule ({error}): it needs [[phase]] tables with {names}"
        ) from error
    check_phases(phases)
    return phases


_KINDS: Mapping[str, type | tuple[type, ...]] = MappingProxyType(
    {"float": (int, float), "float | None": (int, float), "int": int, "str": str, "bool": bool}
)
"""A field's annotation -> what TOML has for it."""


def _phase(row: Mapping[str, Any]) -> Phase:
    for field in fields(Phase):
        kind, value = _KINDS.get(str(field.type)), row.get(field.name)
        if value is None or kind is None:
            continue
        wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{field.name} = {value!r} is no {str(field.type).split()[0]}")
    match row.get("thresholds", False):
        case bool():
            return Phase(**row)
        case [int() | float() as t64, int() | float() as t32] if math.isfinite(t64 + t32):
            return Phase(**{**row, "thresholds": (float(t64), float(t32))})
        case other:
            raise TypeError(f"thresholds are true, false or [t64, t32], not {other!r}")


def phases_digest(phases: Sequence[Phase]) -> str:
    """SHA-256 of all that is not a field's default, so that a new field changes no old run's."""
    rows = [
        {f.name: getattr(p, f.name) for f in fields(p) if getattr(p, f.name) != f.default}
        for p in phases
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check_phases(phases: Sequence[Phase]) -> None:
    """Raise `TrainingError` for a schedule that cannot be laid out."""
    if not phases or abs(sum(p.share for p in phases) - 1) > 1e-6:
        raise TrainingError("the shares of the phases must add up to 1")
    if [p.per_rate for p in phases] != sorted(p.per_rate for p in phases):
        raise TrainingError("phases with per_rate = true must come last")
    if not phases[-1].per_rate:
        raise TrainingError("the last phase must have per_rate = true: it makes the models")
    for phase in phases:
        if phase.mask not in MASKS:
            raise TrainingError(f"no mask {phase.mask!r}; there are {', '.join(MASKS)}")
        if phase.share <= 0 or phase.lr <= 0 or (phase.lr_end is not None and phase.lr_end <= 0):
            raise TrainingError("shares and learning rates must be positive")
        if not (0 <= phase.grain <= 128 and 1 <= phase.shrink <= 16):
            raise TrainingError("grain must be within 0...128 and shrink within 1...16")
        if min(astuple(phase.weights)) < 0 or not max(
            phase.mse, phase.ms_ssim, phase.lpips, phase.features
        ):
            raise TrainingError(
                "weights of the loss must not be negative, and one of mse, ms_ssim, lpips and "
                "features must be positive"
            )
        if min(phase.warm_up, phase.rate_warm_up, phase.gan_delay, phase.jitter) < 0:
            raise TrainingError("warm_up, rate_warm_up, gan_delay and jitter must not be negative")
        if not 0 <= phase.below_target <= 1:
            raise TrainingError("below_target must be within 0...1")


def restrict(
    phases: Sequence[Phase], distortion: str, mask: str | None = None
) -> tuple[Phase, ...]:
    """The phases without the terms that `distortion` excludes, and with one kind of mask only."""
    if distortion not in DISTORTIONS:
        raise TrainingError(f"no distortion {distortion!r}; there are {', '.join(DISTORTIONS)}")
    without: dict[str, Any] = dict.fromkeys(DISTORTIONS[distortion], 0.0)
    changed = (replace(phase, **without) for phase in phases)
    if mask is None:
        return tuple(changed)
    return tuple(
        replace(p, mask=mask, thresholds=p.thresholds if mask == "variance" else False)
        for p in changed
    )


def scale_lr(phases: Sequence[Phase], factor: float) -> tuple[Phase, ...]:
    """The phases with other learning rates; the discriminator's stay."""
    return tuple(
        replace(p, lr=p.lr * factor, lr_end=None if p.lr_end is None else p.lr_end * factor)
        for p in phases
    )


@dataclass(frozen=True)
class Segment:
    """One phase of the trunk or of one branch, at its place in the run."""

    phase: Phase
    number: int
    """The phase's number in the schedule, from 1."""
    start: int
    stop: int
    branch: int | None
    """Index of the target rate; `None` in the trunk."""
    first: bool
    """First of its branch (or of the trunk)."""
    last: bool
    """Last of its branch: a model is finished at `stop`."""

    def lr(self, step: int) -> float:
        """Learning rate of step `start` <= step < `stop`."""
        position = (step - self.start) / max(1, self.stop - self.start - 1)
        end = self.phase.lr if self.phase.lr_end is None else self.phase.lr_end
        rate = self.phase.lr * (end / self.phase.lr) ** position
        rising = min(self.phase.warm_up, (self.stop - self.start) // 10)
        return rate * min(1.0, (step - self.start + 1) / (rising + 1))

    def rate_weight(self, step: int) -> float:
        """The factor of R in the loss: rises geometrically from 0.1 to 1."""
        rising = self.phase.rate_warm_up * (self.stop - self.start)
        if step - self.start >= rising:
            return 1.0
        return 0.1 ** (1 - (step - self.start) / rising)

    def gan_weight(self, step: int) -> float:
        """Weight of the adversarial term: 0 while the discriminator learns alone."""
        alone = min(1000.0, self.phase.gan_delay * (self.stop - self.start))
        return self.phase.gan if step - self.start >= alone else 0.0


def plan(phases: Sequence[Phase], steps: int, rates: Sequence[float]) -> tuple[Segment, ...]:
    """Segments of a run in which each finished model sees `steps` steps.

    The run has steps·(trunk share) + steps·(branch share)·len(rates) steps in all.
    """
    check_phases(phases)
    if not rates:
        raise TrainingError("give at least one target rate (--rates 0.15)")
    # Rounding the borders rather than the lengths makes the lengths add up to `steps`.
    bounds = [round(steps * share) for share in accumulate((p.share for p in phases), initial=0.0)]
    lengths = [after - before for before, after in pairwise(bounds)]
    if min(lengths) < 1:
        raise TrainingError(f"{steps} steps are too few for {len(phases)} phases")
    segments: list[Segment] = []
    position = 0
    trunk = sum(not p.per_rate for p in phases)
    rows: list[tuple[int | None, range]] = [(None, range(trunk))]
    rows += [(branch, range(trunk, len(phases))) for branch in range(len(rates))]
    for branch, numbers in rows:
        for i in numbers:
            stop = position + lengths[i]
            first, last = i == numbers[0], branch is not None and i == numbers[-1]
            segments.append(Segment(phases[i], i + 1, position, stop, branch, first, last))
            position = stop
    return tuple(segments)


def segment_at(segments: Sequence[Segment], step: int) -> Segment:
    """The segment that contains `step`."""
    return next(s for s in segments if s.start <= step < s.stop)
