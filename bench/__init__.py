"""The benchmarking harness: plans, runs, measures and compares image codecs."""

from pathlib import Path as _Path
from typing import Any as _Any

import codecs as _codecs

# The folder `codecs/` shares its name with a module of the standard library that the interpreter
# has loaded before any of our code runs.  Giving that module a search path makes it a package as
# well: `import codecs.base` then finds our files and `codecs.lookup` stays what it was.  `make`
# puts the same line into the virtual environment, so that `python -m codecs...` works there.
_codecs.__path__ = [str(_Path(__file__).resolve().parent.parent / "codecs")]

__version__ = "0.1.0"


def __getattr__(name: str) -> _Any:
    """`bench.load(run)` is `bench.export.load`, imported when somebody asks for it."""
    if name == "load":
        from bench.export import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
