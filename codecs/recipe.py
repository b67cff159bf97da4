"""`python -m codecs.recipe minnen-mse --data DIR --valid DIR`: the weights of a set, from nothing.

A recipe, `docs/recipes/SET.toml`, is a chain of stages, each a training of its own (`codecs.train`)
that begins where the one before ended, or a stage of another set (`from`), which is then trained
first. The last stage is published (`codecs.publish`). Whatever was finished is not done again, and
whatever was interrupted goes on: the same command resumes.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codecs import publish, registry, train
from codecs.base import CodecError
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.stopping import Ending
from codecs.training_command import add_folders, told

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "docs" / "recipes"


class RecipeError(CodecError):
    """A recipe cannot be read or followed."""


@dataclass(frozen=True)
class Stage:
    """One training."""

    path: Path
    """Of its recipe."""
    network: str
    name: str
    steps: int
    share: float
    """Of the steps of its recipe."""
    options: Mapping[str, Any]
    """Of `codecs.train`, without the dashes."""

    @property
    def label(self) -> str:
        return f"{self.path.stem}/{self.name}"

    @property
    def cost(self) -> float:
        """About the pixels that it sees, and how long the network takes for each."""
        crop, batch = self.options["crop"], self.options["batch"]
        return self.steps * batch * crop**2 * registry.network(self.network).effort


@dataclass(frozen=True)
class Recipe:
    """How the weights of a set are made."""

    path: Path
    start: str
    """The stage of another set that the first begins with, `SET/STAGE`; empty: from nothing."""
    calibrate: int
    """Validation pictures on which thresholds are chosen."""
    note: str
    """What cards and reports say of the weights."""
    stages: tuple[Stage, ...]


def load(name: str) -> Recipe:
    """The recipe of a set, or of the file of that path; raises `RecipeError`."""
    from codecs.learned.training.schedule import load_phases

    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        rows = [{**table.get("options", {}), **row} for row in table["stage"]]
        _check(table, rows)
        total = sum(row["steps"] for row in rows)
        stages = []
        for row in rows:
            name, steps, _ = (row.pop(key) for key in ("name", "steps", "phase"))
            load_phases(f"{path}:{name}")
            stages.append(Stage(path, table["network"], name, steps, steps / total, row))
        start, calibrate = table.get("from", ""), table.get("calibrate", 0)
        return Recipe(path, start, calibrate, table.get("note", ""), tuple(stages))
    except TrainingError as error:
        raise RecipeError(f"{path}, stage {name}: {error}") from error
    except FileNotFoundError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"no recipe {name}: there are {known}, or give a .toml file") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{path} is no recipe ({error!r}): it needs network and [[stage]] tables with name, "
            "steps and [[stage.phase]] tables, and batch and crop there or in [options]"
        ) from error


def _check(table: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ValueError`, or `KeyError` or `TypeError`, for what a recipe must not hold."""
    names = [row["name"] for row in rows]
    if not all(re.fullmatch(r"\w[\w-]*", name) for name in names) or len(set(names)) < len(names):
        raise ValueError("a stage's name has letters, digits and hyphens, and no two have the same")
    numbers = [row[key] for row in rows for key in ("steps", "batch", "crop")]
    if not numbers or not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError("steps, batch and crop are whole numbers above 0")
    if not re.fullmatch(r"|[^/]+/[^/]+", table.get("from", "")):
        raise ValueError("from is SET/STAGE")
    if type(count := table.get("calibrate", 0)) is not int or count < 0:
        raise ValueError("calibrate is a count of pictures")
    if not isinstance(table.get("note", ""), str):
        raise ValueError("note is text")


def chain(recipe: Recipe, behind: Sequence[Path] = ()) -> Iterator[tuple[Stage, Stage | None]]:
    """Each stage that leads to the recipe's last, with the one that it begins with.

    `behind` are the recipes that begin with this one.  Raises `RecipeError`.
    """
    before: Stage | None = None
    if recipe.path in behind:
        raise RecipeError(f"{recipe.path} begins with itself: change `from`, or that of its set")
    if recipe.start:
        other, _, last = recipe.start.partition("/")
        for stage, earlier in chain(load(other), [*behind, recipe.path]):
            yield stage, earlier
            if stage.label == recipe.start:
                before = stage
                break
        if before is None:
            raise RecipeError(f"{recipe.path}: there is no stage {last} of {other}")
    for stage in recipe.stages:
        yield stage, before
        before = stage


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m codecs.recipe",
        description="Train, calibrate, validate and publish the weights of one or more sets. "
        "Further options are those of codecs.train (--threads 1, --device cuda, --batch 32 ...).",
    )
    p.add_argument("sets", nargs="+", metavar="SET", help="a recipe of docs/recipes, or a .toml")
    add_folders(p, "data", "valid")
    instead = p.add_mutually_exclusive_group()
    instead.add_argument("--steps", type=int, help="so many for each set, to try the chain out")
    instead.add_argument("--minutes", type=float, help="as many as fit into these, for all sets")
    p.add_argument("--out", type=Path, default=Path("checkpoints/recipes"), help="for the stages")
    p.add_argument(
        "--into",
        type=Path,
        help="for the weights, a folder for each set; default: codecs/weights, but published/ in "
        "--out with --steps or --minutes",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0: published; 3: out of time, 4: told to stop, both resumable; 2: cannot go on."""
    options, more = parser().parse_known_args(arguments)
    return told(lambda: _follow(options, more))


def _follow(options: argparse.Namespace, more: Sequence[str]) -> int:
    """Train and publish each set."""
    if not all(given is None or given > 0 for given in (options.steps, options.minutes)):
        raise RecipeError("--steps and --minutes must be more than 0")
    recipes = [load(name) for name in options.sets]
    chains = [list(chain(recipe)) for recipe in recipes]
    every = {stage.label: stage for each in chains for stage, _ in each}
    total = sum(stage.cost for stage in every.values())
    trainings = [[(s, [*_training(s, b, options, total), *more]) for s, b in c] for c in chains]
    for stage, given in itertools.chain(*trainings):
        # A mistake is told now, not when the stages before have taken a day.
        checking = train.parser()
        checking.prog = stage.label
        checking.parse_args(given)
    for recipe, each in zip(recipes, trainings, strict=True):
        for stage, given in each:
            print(f"{stage.label} in {options.out / stage.label}", flush=True)
            code = train.main(given)
            # Minutes that were too few for a stage are no reason to leave out the next.
            if code and not (code == Ending.OUT_OF_TIME and options.minutes is not None):
                return code
        _publish(recipe, options)
    return 0


def _training(
    stage: Stage, before: Stage | None, options: argparse.Namespace, total: float
) -> list[str]:
    """The command line of a stage; `total` is the cost of all."""
    out = options.out / stage.label
    given = [stage.network, "--preset", f"{stage.path}:{stage.name}", "--out", str(out)]
    given += ["--data", *map(str, options.data), "--valid", *map(str, options.valid)]
    given += ["--cache", str(options.cache)]
    if before is not None:
        given += ["--from", str(options.out / before.label / "checkpoint.safetensors")]
    if options.minutes is not None:
        given += ["--minutes", f"{options.minutes * stage.cost / total:g}"]
    else:
        steps = stage.steps
        if options.steps is not None:
            steps = max(10, round(options.steps * stage.share))
            given += ["--valid-every", str(steps + 1)]
        given += ["--steps", str(steps)]
    for name, value in stage.options.items():
        if value is not False:
            given += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return given


def _publish(recipe: Recipe, options: argparse.Namespace) -> None:
    """The last stage's model, alone in the folder of the set."""
    trial = options.steps is not None or options.minutes is not None
    into: Path = options.into or (options.out / "published" if trial else ROOT / "codecs/weights")
    folder = into / recipe.path.stem
    run = options.out / recipe.stages[-1].label
    given = [str(run), "--into", str(folder), "--cache", str(options.cache)]
    given += ["--valid", *map(str, options.valid)]
    if recipe.note:
        given += ["--note", recipe.note]
    if options.minutes is not None:
        given += ["--unfinished"]
    if recipe.calibrate:
        given += ["--calibrate", str(recipe.calibrate)]
    if publish.main(given):
        raise RecipeError(f"{run} could not be published")
    made = {path.stem for path in run.glob("*.safetensors")}
    for old in [*folder.glob("*.safetensors"), *folder.glob("*.json")]:
        if old.stem not in made:
            old.unlink()


if __name__ == "__main__":
    sys.exit(main())
