"""Full-reference quality metrics, and an engine that scores pictures by several of them."""

from bench.metrics.base import Metric, MetricUnavailable, MetricValue
from bench.metrics.engine import MetricsEngine, Prepared
from bench.metrics.registry import MetricInfo, create, info, names, versions

__all__ = [
    "Metric",
    "MetricInfo",
    "MetricUnavailable",
    "MetricValue",
    "MetricsEngine",
    "Prepared",
    "create",
    "info",
    "names",
    "versions",
]
