"""`python -m codecs.pack --data DIR --valid DIR`: what training needs, small enough to travel.

For machines that are lent for minutes and reach nothing: crops as arrays, and the LPIPS backbone
that gives a gradient, all into one folder (`docs/recipes/lease.sh` looks there).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from codecs.training_command import add_folders, told


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m codecs.pack")
    add_folders(p, "data", "valid")
    p.add_argument("--into", type=Path, default=Path("checkpoints/lease"))
    p.add_argument("--side", type=int, default=256, help="of the crops, in pixels")
    p.add_argument("--megabytes", type=int, default=48, help="of training crops")
    p.add_argument("--valid-count", type=int, default=24, help="crops to validate on")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0: packed; 2: cannot pack."""
    options = parser().parse_args(arguments)
    return told(lambda: _pack(options))


def _pack(options: argparse.Namespace) -> None:
    from codecs.learned.training.data import load_pictures, pack
    from codecs.learned.training.errors import TrainingError
    from codecs.learned.training.losses import backbone_file

    side = options.side
    count = int(options.megabytes * 1e6 / (3 * side**2)) if side > 0 else 0
    if min(count, options.valid_count) < 1:
        raise TrainingError("side, megabytes and the count must leave at least one crop")
    options.into.mkdir(parents=True, exist_ok=True)
    parts = (("train", options.data, count), ("valid", options.valid, options.valid_count))
    for name, folders, number in parts:
        pictures = load_pictures(folders, options.cache).at_least(side)
        path = options.into / f"{name}.npy"
        pack(pictures, path, number, side)
        print(f"{path}: {number} crops of {len(pictures)} pictures, {path.stat().st_size:,} bytes")
    try:
        file = backbone_file("squeeze")
    except TrainingError as error:
        print(f"no stage with LPIPS can be trained there: {error}", file=sys.stderr)
        return
    lpips = options.into / "lpips"
    lpips.mkdir(exist_ok=True)
    if not (lpips / file.name).exists():
        print(shutil.copy(file, lpips))


if __name__ == "__main__":
    sys.exit(main())
