"""What the commands around training share: folders of pictures, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from codecs.base import CodecError

_FOLDERS = {
    "data": "folders of training pictures, drawn from in equal parts; DIR[:-24] leaves out the "
    "last 24, DIR[-24:] has only these",
    "valid": "folders of validation pictures",
}


def add_folders(p: argparse.ArgumentParser, *names: str) -> None:
    """`--data`, `--valid`, and where decoded pictures are kept."""
    for name in names:
        p.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=_FOLDERS[name])
    p.add_argument("--cache", type=Path, default=Path("checkpoints/cache"), help="of pictures")


def told(work: Callable[[], int | None]) -> int:
    """The exit status of `work`, 0 where it returns none; 2, and the reason, where it cannot go
    on."""
    try:
        return work() or 0
    except CodecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
