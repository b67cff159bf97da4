"""The benchmarking harness: plans, runs, measures and compares image codecs."""

from pathlib import Path as _Path

import codecs as _codecs

# The folder `codecs/` shares its name with a module of the standard library that the interpreter
# has loaded before any of our code runs.  Giving that module a search path makes it a package as
# well: `import codecs.base` then finds our files and `codecs.lookup` stays what it was.  `make`
# puts the same line into the virtual environment, so that `python -m codecs...` works there.
_codecs.__path__ = [str(_Path(__file__).resolve().parent.parent / "codecs")]
