"""`python -m bench.entropy --data DIR --pictures DIR`: what each entropy model saves."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.entropy import MEASURED
from bench.entropy.models import MODELS, TRUNK
from bench.entropy.table import BASE, markdown, tabulate
from codecs.training_command import add_folders, told


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.entropy",
        description="Train entropy models for the latents of one trained network, whose transforms "
        "stay as they are, code pictures by each, and write a table. The same command resumes.",
    )
    add_folders(p, "data")
    p.add_argument(
        "--pictures", type=Path, nargs="+", required=True, help="folders to code, a table for each"
    )
    p.add_argument("--models", default=",".join(MODELS), help="default: %(default)s")
    p.add_argument("--minutes", type=float, default=20, help="of a core, for each model")
    p.add_argument("--crops", type=int, default=4000, help="whose latents are kept in --out")
    p.add_argument("--trunk", type=Path, default=TRUNK, help="weights of minnen, of many rates")
    p.add_argument("--out", type=Path, default=Path("checkpoints/entropy"))
    p.add_argument(
        "--page", type=Path, default=Path("docs/entropy-models.md"), help="default: %(default)s"
    )
    p.add_argument("--json", type=Path, default=MEASURED, help="default: where reports find it")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the table is written; 2: cannot go on."""
    options = parser().parse_args(arguments)
    return told(lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    import torch

    from bench.entropy.coding import code, pixels
    from bench.entropy.models import load_trunk, on_trunk
    from bench.entropy.training import latents_of_crops, train
    from codecs.learned.pixels import pad, to_tensor
    from codecs.learned.training.data import Pictures, load_pictures
    from codecs.learned.training.errors import TrainingError

    names = options.models.split(",")
    unknown = [name for name in names if name not in MODELS]
    if unknown or BASE not in names:
        raise TrainingError(f"--models {options.models}: {BASE} and any of {', '.join(MODELS)}")
    if options.minutes <= 0 or options.crops < 2:
        raise TrainingError("--minutes must be more than 0, --crops at least 2")
    torch.set_num_threads(1)  # so that seconds of the processor are seconds of one core
    trunk = load_trunk(options.trunk)
    data = load_pictures(options.data, options.cache)
    latents = latents_of_crops(trunk, data, options.crops, options.out / "latents.npy", _say)
    trained: dict[str, Any] = {}
    files: dict[str, Path] = {}
    for name in names:
        _say(name)
        network = on_trunk(name, trunk.network)
        parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
        progress = train(network, latents, 60 * options.minutes, options.out / name, _say)
        trained[name] = {**vars(progress), "parameters": parameters}
        files[name] = options.out / name / "model.safetensors"

    @torch.inference_mode()
    def analyse(pictures: Pictures, number: int) -> torch.Tensor:
        x = pad(to_tensor(pictures[number], "cpu"), trunk.network.stride)
        y: torch.Tensor = trunk.network.g_a(x)
        return y

    sets = {}
    for folder in options.pictures:
        pictures = load_pictures([folder], options.cache)
        _say(f"{folder.name}, {len(pictures)} pictures")
        analysed = functools.cache(functools.partial(analyse, pictures))
        sizes = {}
        for name, file in files.items():
            kept = options.out / name / f"{pictures.digest[:16]}.json"
            sizes[name] = code(name, file, pictures, analysed, kept, _say)
        sets[folder.name] = tabulate(sizes, pixels(pictures))
    report = {
        "trunk": options.trunk.parent.name,
        "trunk_sha256": trunk.digest,
        "minutes": options.minutes,
        "crops": options.crops,
        "data": " + ".join(folder.name for folder in options.data),
        "data_sha256": data.digest,
        "trained": trained,
        "sets": sets,
    }
    page = markdown(report)
    for path, text in ((options.json, json.dumps(report, indent=1) + "\n"), (options.page, page)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    _say(page)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
