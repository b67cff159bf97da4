"""What a process shares among all that runs in it, put back after other people's code has run.

Their code keeps what it has set up: a folder that it has changed to while it was loaded is the
working directory of its later calls, too, and of nothing else.  What cannot be listed (modules
that it patches, say) is kept from other codecs by processes of their own.
"""

from __future__ import annotations

import locale
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

Values = dict[tuple[str, str], Any]
"""(kind, name of a variable where there are several) -> value, None for none."""


OWN_MODULES: set[str] = set()
"""Names of the modules that somebody's file has imported from its own folder: to each file they
are those of its folder."""


class Surroundings:
    """What somebody's code has changed around it, which is there again whenever it runs."""

    def __init__(self) -> None:
        self._changes: Values = {}

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run some code in them; whatever happens, what was there before comes back."""
        before = _taken()
        _put(self._changes)
        try:
            yield
        finally:
            after = _taken()
            self._changes = _differences(before, after)
            _put(_differences(after, before))


def _taken() -> Values:
    values: Values = {(kind, ""): take() for kind, (take, _) in _SHARED.items()}
    values.update({("environment", name): value for name, value in os.environ.items()})
    return values


def _differences(old: Values, new: Values) -> Values:
    return {key: new.get(key) for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


def _put(values: Values) -> None:
    for (kind, name), value in values.items():
        if kind != "environment":
            _SHARED[kind][1](value)
        elif value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # somebody has removed it
        return None


def _change_directory(path: str | None) -> None:
    if path is not None:
        with suppress(OSError):
            os.chdir(path)


def _set_search_path(folders: list[str]) -> None:
    sys.path[:] = folders


def _own_modules() -> dict[str, Any]:
    return {name: sys.modules[name] for name in OWN_MODULES if name in sys.modules}


def _set_own_modules(modules: dict[str, Any] | None) -> None:
    for name in OWN_MODULES:
        sys.modules.pop(name, None)
    sys.modules.update(modules or {})


def _numpy_random() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    name, keys, *rest = state
    return name, keys.tolist(), *rest


def _set_warning_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # for modules that remember what the filters said
    warnings.filters[:] = filters  # type: ignore[index]


def _pillow() -> tuple[Any, ...]:
    """Pillow's switches: what it refuses, and what it lets pass."""
    from PIL import Image, ImageFile

    return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES


def _set_pillow(switches: tuple[Any, ...]) -> None:
    from PIL import Image, ImageFile

    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = switches


_SHARED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "working directory": (_directory, _change_directory),
    "search path": (lambda: list(sys.path), _set_search_path),
    "own modules": (_own_modules, _set_own_modules),
    "warnings": (lambda: list(warnings.filters), _set_warning_filters),
    "locale": (
        lambda: locale.setlocale(locale.LC_ALL),
        lambda name: locale.setlocale(locale.LC_ALL, name),
    ),
    "random": (random.getstate, random.setstate),
    "numpy's random": (_numpy_random, np.random.set_state),
    "numpy's errors": (np.geterr, lambda errors: np.seterr(**errors)),
    "numpy's printing": (np.get_printoptions, lambda options: np.set_printoptions(**options)),
    "Pillow": (_pillow, _set_pillow),
}
"""How each thing is taken down, and how it is put back; variables of the environment besides."""
