"""`python -m bench.run` is `python -m bench run`."""

import sys

from bench.__main__ import main

sys.exit(main(["run", *sys.argv[1:]]))
