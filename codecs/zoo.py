"""`python -m codecs.zoo`: names of the learned codecs that have weights, for `make zoo`."""

from __future__ import annotations

import sys

from codecs import registry
from codecs.base import CodecUnavailable


def main() -> int:
    """Print the names on one line, and to stderr a line for each codec that is skipped."""
    usable = []
    for name in registry.learned():
        try:
            registry.create(name)
        except CodecUnavailable as error:
            print(f"skipped: {error}", file=sys.stderr)
        else:
            usable.append(name)
    print(*usable)
    return 0


if __name__ == "__main__":
    sys.exit(main())
