"""Scores images by several metrics; the original's share of the work is done once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.metrics import registry
from bench.metrics.base import INFINITE, Metric, MetricUnavailable, MetricValue
from codecs.base import Image, check_image


@dataclass(frozen=True)
class MetricFailure:
    """Why a metric has nothing for an image."""

    reason: str
    lasting: bool
    """The image's or the metric's nature: another attempt would end the same way."""


@dataclass(frozen=True)
class Prepared:
    """An original with what each metric made of it."""

    shape: tuple[int, ...]
    parts: Mapping[str, Any]
    """Metric name -> what its `prepare` returned, or a `MetricFailure`."""

    @property
    def nbytes(self) -> int:
        """Memory held, about: what the parts say of themselves."""
        return sum(getattr(part, "nbytes", 0) for part in self.parts.values())


class MetricsEngine:
    """Several metrics as one.  A metric that fails has no value, nothing more.

    Names are what `registry.create` takes, and what scores are found under.

    Raises `KeyError` for an unknown metric.
    """

    def __init__(self, names: Sequence[str]) -> None:
        for name in names:
            registry.check_name(name)
        self._metrics: dict[str, Metric | MetricFailure] = {
            name: _attempt(registry.create, name) for name in names
        }

    def prepare(self, reference: Image) -> Prepared:
        """uint8[H, W, 3].  Raises `ValueError` for anything else."""
        check_image(reference)
        parts = {
            name: metric
            if isinstance(metric, MetricFailure)
            else _attempt(metric.prepare, reference)
            for name, metric in self._metrics.items()
        }
        return Prepared(reference.shape, parts)

    def score(self, prepared: Prepared, decoded: Image) -> dict[str, MetricValue]:
        """Every metric of `decoded`, an image of the original's shape, else `ValueError`."""
        check_image(decoded)
        if decoded.shape != prepared.shape:
            raise ValueError(
                f"the decoded picture is {_size(decoded.shape)}, the original "
                f"{_size(prepared.shape)}: nothing to compare"
            )
        return {name: self._score(name, part, decoded) for name, part in prepared.parts.items()}

    def _score(self, name: str, part: Any, decoded: Image) -> MetricValue:
        metric = self._metrics[name]
        if isinstance(metric, MetricFailure):
            return MetricValue(None, "", metric.reason)
        value = part if isinstance(part, MetricFailure) else _attempt(metric.score, part, decoded)
        if isinstance(value, MetricFailure):
            return MetricValue(None, metric.version if value.lasting else "", value.reason)
        if math.isnan(value):
            return MetricValue(None, metric.version, f"{metric.label} is not a number here")
        if math.isinf(value):
            return MetricValue(None, metric.version, f"{INFINITE}: the pictures are identical")
        return MetricValue(value, metric.version)


def _attempt(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result, or a `MetricFailure`: what goes wrong in one metric must not cost the others."""
    try:
        return work(*arguments)
    except MetricUnavailable as error:
        return MetricFailure(str(error), lasting=True)
    except (Exception, SystemExit) as error:
        return MetricFailure(f"{type(error).__name__}: {error}", lasting=False)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
