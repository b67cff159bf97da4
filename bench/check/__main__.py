"""`python -m bench.check` is `python -m bench check`."""

import sys

from bench.__main__ import main

sys.exit(main(["check", *sys.argv[1:]]))
