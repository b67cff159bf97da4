"""`python -m bench run | compare | report | list | check`.

Nothing heavy is imported before a command runs: `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import terminal
from bench.cli.options import bench_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all measured, 1 something failed or is missing, 2 wrong use."""
    terminal.prepare()
    options = bench_parser().parse_args(arguments)
    from bench.cli import commands

    return commands.guarded(commands.COMMANDS[options.command], options)


if __name__ == "__main__":
    sys.exit(main())
