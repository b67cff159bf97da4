"""Full-reference quality metrics, and an engine that scores pictures by several of them."""

from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.engine import MetricsEngine, Prepared, Score
from bench.metrics.registry import MetricInfo, create, info, names, versions

__all__ = [
    "Metric",
    "MetricInfo",
    "MetricUnavailable",
    "MetricsEngine",
    "Prepared",
    "Score",
    "create",
    "info",
    "names",
    "versions",
]
