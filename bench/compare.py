"""`python -m bench.compare rdonet vvenc`: tests first, anchor last."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.cli.options import compare_parser
from bench.cli.start import start


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status as `python -m bench`."""
    return start(compare_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
