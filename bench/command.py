"""`codec-bench`, the command of an installed package: see setup.py."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """`python -m bench`, with `bench` and its neighbours found where they were installed."""
    # The processes that it starts inherit the search path.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from bench.__main__ import main as bench

    return bench()
