"""`python -m bench.compare rdonet vvenc`: tests first, anchor last."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import terminal
from bench.cli.options import compare_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as `python -m bench`."""
    terminal.prepare()
    options = compare_parser().parse_args(arguments)
    from bench.cli import commands

    return commands.guarded(commands.compare, options)


if __name__ == "__main__":
    sys.exit(main())
