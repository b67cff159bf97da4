"""Rate-distortion optimisation of the partition: the searches of one-pass and full RDO.

Brand et al. (arXiv 2201.01586) name three modes: the variance partition alone (zero-pass), one
pass of decisions that starts from it, and passes until nothing changes (full).  The search itself
is not published; here it is as follows, a *coding run* being one evaluation of LS-Units and
synthesis and a CTU a coding tree unit of 64 x 64 pixels.

* **one-pass** evaluates the variance partition and the three uniform ones, decides bottom-up for
  every block which level is cheapest where it lies, mixes what is best locally, and then tries to
  merge or split every CTU, half of them at a time like the fields of a chessboard.  10 runs.
* **full** continues with sweeps: CTUs are divided into P² colours; for one colour at a time each
  of five toggles (split of the CTU, of its quadrants) is evaluated in all CTUs of that colour,
  every CTU takes its best one, and one more run verifies the choice.  The windows of a colour's
  CTUs are disjoint and cover the picture, so that one run tries all of them.

What local differences promise is only accepted after a run has shown a lower J of the whole
picture: J never rises, and full starts from what one-pass found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from codecs.rdonet.cost import CostModel, Evaluation
from codecs.rdonet.masks import LEVELS, Masks, up2

ONE_PASS_RUNS = 9
MAX_RUNS = 48
"""Coding runs after which the full search stops."""
TOGGLES = range(5)
"""0 splits or merges a CTU; 1 to 4 split or merge one of its quadrants."""
_ENOUGH = 1e-3
"""A sweep that lowers J by less than this share is the last with its colours."""
_MAX_SWEEPS = 5
_CTU_FLAGS = 4
"""Flags that splitting a CTU adds; each is reckoned as one bit in local decisions."""


@dataclass(frozen=True)
class SearchResult:
    """The partition found, its J, that of the partition the search began with, and the runs."""

    masks: Masks
    cost: float
    start_cost: float
    runs: int


def one_pass(model: CostModel, start: Masks) -> SearchResult:
    """One pass of decisions over all blocks; `start` is the variance partition."""
    best, first = _one_pass(model, start)
    return SearchResult(best.masks, best.cost, first.cost, model.runs)


def full(model: CostModel, start: Masks, max_runs: int = MAX_RUNS) -> SearchResult:
    """Passes until nothing changes, or until `max_runs` runs are made (at least one-pass's)."""
    best, first = _one_pass(model, start)
    for period in (2, 3):
        for _ in range(_MAX_SWEEPS):
            before = best.cost
            best = sweep(model, best, start, period, max_runs)
            if best.cost > before * (1 - _ENOUGH):
                break
    return SearchResult(best.masks, best.cost, first.cost, model.runs)


def worth(model: CostModel, start: Masks) -> dict[str, float]:
    """What the deeper levels are worth: `used32`, `used64`, the shares of the area that the
    partition `start` codes at 32 and at 64 pixels; `best32`, `best64`, the same where each block
    has the level that is cheapest if its neighbours have it too; and J of these two partitions,
    `cost_used` and `cost_best`, as parts of J of blocks of 16 alone."""
    uniform = [model.evaluate(masks) for masks in _uniform(start)]
    best = decide_bottom_up([e.density for e in uniform], model.pixels)
    found: dict[str, float] = {}
    for name, masks in (("used", start), ("best", best)):
        levels = masks.levels()
        found |= {f"{name}{8 << k}": float((levels == k).float().mean()) for k in LEVELS[1:]}
        found[f"cost_{name}"] = model.evaluate(masks).cost / uniform[0].cost
    return found


def _uniform(like: Masks) -> list[Masks]:
    """All blocks at one level, for each of `LEVELS`."""
    return [Masks.uniform(level, 1, *like.shape).to(like.s64.device) for level in LEVELS]


def _one_pass(model: CostModel, start: Masks) -> tuple[Evaluation, Evaluation]:
    """(best, first) evaluation."""
    tried = [model.evaluate(masks) for masks in (start, *_uniform(start))]
    tried.append(model.evaluate(decide_bottom_up([e.density for e in tried[1:]], model.pixels)))
    tried.append(model.evaluate(mixed(tried)))
    best = min(tried, key=lambda e: e.cost)
    rows, columns = _coordinates(start)
    trials = [((rows + columns) % 2 == colour, 0) for colour in (0, 1)]
    return _try(model, best, start, trials, margin=1, max_runs=ONE_PASS_RUNS), tried[0]


def sweep(
    model: CostModel, best: Evaluation, start: Masks, period: int, max_runs: int
) -> Evaluation:
    """One pass over the colours of `period`; the result's J is not above that of `best`.

    CTUs that are split anew take their quadrants' flags from `start`.
    """
    rows, columns = _coordinates(best.masks)
    for i in range(period):
        for j in range(period):
            field = (rows % period == i) & (columns % period == j)
            trials = [(field, k) for k in TOGGLES]
            best = _try(model, best, start, trials, 2 * (period - 1), max_runs)
    return best


def _try(
    model: CostModel,
    best: Evaluation,
    start: Masks,
    trials: Sequence[tuple[Tensor, int]],
    margin: int,
    max_runs: int,
) -> Evaluation:
    """Let each CTU take the toggle that pays most in its window, and verify by another run.

    A trial is a toggle and the CTUs [h, w] that it is tried in.
    """
    gains = torch.zeros(best.masks.shape, dtype=torch.float64, device=best.density.device)
    target = best.masks
    for field, k in trials:
        # One run must be left to verify.
        if model.runs + 1 >= max_runs:
            break
        masks = toggled(best.masks, start, field, k)
        changed = differs(best.masks, masks)
        if not changed.any():
            continue
        after = model.evaluate(masks)
        gain = window_sums(best.density - after.density, margin)
        if k == 0:
            sign = torch.where(best.masks.s64[0, 0], 1, -1)
            gain = gain + sign * (_CTU_FLAGS / model.pixels)
        better = changed & (gain > gains)
        gains = torch.where(better, gain, gains)
        target = composed(target, masks, better)
    accepted = gains > 0
    for _ in range(2):
        if not accepted.any() or model.runs >= max_runs:
            break
        after = model.evaluate(composed(best.masks, target, accepted))
        if after.cost < best.cost:
            return after
        # Windows leak: keep the half that promised most and try once more.
        accepted = gains > gains[accepted].median()
    return best


def toggled(masks: Masks, start: Masks, field: Tensor, k: int) -> Masks:
    """`masks` with toggle `k` applied to all CTUs of `field` [h, w]."""
    s64, s32 = masks.s64, masks.s32
    if k == 0:
        split_anew = up2(field & ~s64)
        return Masks(s64 ^ field, torch.where(split_anew, start.s32, s32))
    s32 = s32.clone()
    s32[:, :, (k - 1) // 2 :: 2, (k - 1) % 2 :: 2] ^= field & s64
    return Masks(s64, s32)


def composed(base: Masks, other: Masks, where: Tensor) -> Masks:
    """The CTUs of `other` where `where` [h, w] is set, those of `base` elsewhere."""
    s32 = torch.where(up2(where), other.s32, base.s32)
    return Masks(torch.where(where, other.s64, base.s64), s32)


def differs(a: Masks, b: Masks) -> Tensor:
    """CTUs [h, w] whose partitions differ."""
    quadrants = (a.s32 ^ b.s32).float()
    return ((a.s64 ^ b.s64) | (avg_pool2d(quadrants, 2) > 0))[0, 0]


def window_sums(density: Tensor, margin: int) -> Tensor:
    """Sum [h, w] over each CTU and `margin` blocks of 16 pixels around it, of [4h, 4w]."""
    size = 4 + 2 * margin
    return avg_pool2d(density[None], size, stride=4, padding=margin)[0] * (size * size)


def decide_bottom_up(densities: Sequence[Tensor], pixels: int) -> Masks:
    """The partition that is cheapest if blocks cost what they cost in the uniform partitions.

    `densities` are the cost densities [4h, 4w] of uniform partitions at levels 1, 2, 3.
    """
    finest, middle, coarsest = densities

    def sums(x: Tensor) -> Tensor:
        return avg_pool2d(x[None], 2)[0] * 4

    s32 = sums(finest) < sums(middle)
    split = sums(torch.minimum(sums(finest), sums(middle))) + _CTU_FLAGS / pixels
    s64 = split < sums(sums(coarsest))
    return Masks(s64[None, None], s32[None, None])


def mixed(tried: Sequence[Evaluation]) -> Masks:
    """For each CTU the partition of the evaluation in which it was cheapest."""
    costs = torch.stack([window_sums(e.density, 0) for e in tried])
    which = costs.argmin(0)
    masks = tried[0].masks
    for i, evaluation in enumerate(tried):
        masks = composed(masks, evaluation.masks, which == i)
    return masks


def _coordinates(masks: Masks) -> tuple[Tensor, Tensor]:
    """Row numbers [h, 1] and column numbers [w] of the CTUs."""
    rows, columns = masks.shape
    device = masks.s64.device
    return torch.arange(rows, device=device)[:, None], torch.arange(columns, device=device)
