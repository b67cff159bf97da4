"""Full-reference quality metrics, and an engine that scores images by several of them."""

from bench.metrics.base import Metric, MetricInfo, MetricUnavailable, MetricValue
from bench.metrics.engine import MetricsEngine, Prepared
from bench.metrics.foreign import installed, is_file
from bench.metrics.registry import (
    DEFAULT,
    SETS,
    create,
    declare,
    info,
    names,
    resolve,
    seconds_per_pixel,
    uses_torch,
    versions,
)

__all__ = [
    "DEFAULT",
    "SETS",
    "Metric",
    "MetricInfo",
    "MetricUnavailable",
    "MetricValue",
    "MetricsEngine",
    "Prepared",
    "create",
    "declare",
    "info",
    "installed",
    "is_file",
    "names",
    "resolve",
    "seconds_per_pixel",
    "uses_torch",
    "versions",
]
