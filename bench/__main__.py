"""`python -m bench run | compare | report | list | check`.

Nothing heavy is imported before a command runs: `--help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.cli.options import bench_parser
from bench.cli.start import start


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all measured, 1 something failed, is missing or was refused, 2 wrong use."""
    return start(bench_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
