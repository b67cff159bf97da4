"""Other people's metrics in Python: loaded from a file or a package, checked, tied to their code.

They come as codecs do (see `codecs.foreign`): a file with a function or class `metric`, or an entry
point in group `bench.metrics`.  Either is called without arguments and gives a `Metric`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import numbers
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.metrics.base import Metric, MetricInfo, MetricUnavailable
from codecs import declared, fingerprint, foreign
from codecs.base import CodecError, Image
from codecs.naming import check_spelling
from codecs.surroundings import Surroundings

GROUP = "bench.metrics"
FUNCTION = "metric"
_DEFINES = re.compile(r"^(?:(?:def|class|from\s.*|import\s.*)\s)?\s*metric\b", re.MULTILINE)

_SURROUNDINGS: dict[str, Surroundings] = {}
"""By file or entry point, as in `codecs.foreign`."""


def installed() -> Mapping[str, importlib.metadata.EntryPoint]:
    """The metrics of installed packages, none of which is loaded."""
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def is_file(name: str) -> bool:
    """Whether a name is the path of a Python file that looks as if it defined `metric`, as opposed
    to a codec.  Runs nothing."""
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        return False
    try:
        return _DEFINES.search(path.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False


def is_foreign(source: str) -> bool:
    """Whether a metric comes from a file or an installed package.  Loads nothing."""
    return source.endswith(".py") or source in installed()


def load(source: str) -> Metric:
    """The metric of the Python file, or of the entry point, that `source` names.

    Raises `CodecUnavailable` for everything that goes wrong in their code, and `MetricUnavailable`
    where the metric says so itself.
    """
    surroundings = _SURROUNDINGS.setdefault(source, Surroundings())
    file = Path(source) if source.endswith(".py") else None
    with foreign.reasons(source, file), surroundings.entered():
        if file:
            module, digest = foreign.loaded(file)
            files = f"{declared.spelled(file.name)} {digest}"
            metric = _called(module, FUNCTION)
        else:
            point = installed()[source]
            module = importlib.import_module(point.module)
            paths = fingerprint.named_files([getattr(module, "__file__", None) or ""])
            files = fingerprint.described(paths)
            metric = _called(module, point.attr or FUNCTION)
        return _Checked(metric, files, surroundings)


def _called(module: ModuleType, function: str) -> Any:
    found = foreign.attribute(module, function)
    if not callable(found):
        raise CodecError(f"needs a function or class {function} that gives a bench.metrics.Metric")
    try:
        return found()
    except MetricUnavailable as error:
        raise CodecError(str(error)) from error


@dataclass(frozen=True)
class _Prepared:
    original: Image
    part: Any
    """What the metric's own `prepare` made of it; None where it has none of its own."""

    @property
    def nbytes(self) -> int:
        return self.original.nbytes + int(getattr(self.part, "nbytes", 0))


class _Checked(Metric):
    """Somebody's metric, with what the harness relies on read once and made sure of.

    `files` joins the version: a changed file is scored anew, whatever version it claims.
    """

    def __init__(self, metric: Any, files: str, surroundings: Surroundings) -> None:
        if not isinstance(metric, Metric):
            raise CodecError(f"expected a bench.metrics.Metric, got {type(metric).__name__}")
        self._metric, self._surroundings = metric, surroundings
        self._prepares = type(metric).prepare is not Metric.prepare
        self.name = check_spelling(_text(metric, "name"))
        said = MetricInfo.checked(
            getattr(metric, "label", self.name),
            metric.unit,
            getattr(metric, "higher_is_better", None),
        )
        self.label, self.unit = said.label, said.unit
        self.higher_is_better = said.higher_is_better
        self.version = f"{_text(metric, 'version')} ({files})"

    def prepare(self, reference: Image) -> _Prepared:
        if not self._prepares:
            return _Prepared(reference, None)
        with self._entered():
            return _Prepared(reference, self._metric.prepare(reference.copy()))

    def score(self, prepared: _Prepared, decoded: Image) -> float:
        # What they do to a picture must not reach the next score.
        part = prepared.part if self._prepares else prepared.original.copy()
        with self._entered():
            value = self._metric.score(part, decoded.copy())
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"{self.name} returned a {type(value).__name__}; expected a number")
        if math.isinf(value) and not (
            self.higher_is_better and value > 0 and np.array_equal(prepared.original, decoded)
        ):
            raise MetricUnavailable(f"{self.name} is {float(value)} of pictures that differ")
        return float(value)

    def _entered(self) -> AbstractContextManager[None]:
        return self._surroundings.entered()


def _text(metric: Metric, attribute: str) -> str:
    if not hasattr(metric, attribute):
        raise CodecError(f"its metric has no {attribute}")
    return declared.text(getattr(metric, attribute), attribute)
