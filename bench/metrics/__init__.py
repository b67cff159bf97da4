"""Full-reference quality metrics, and an engine that scores images by several of them."""

from bench.metrics.base import Metric, MetricUnavailable, MetricValue
from bench.metrics.engine import MetricsEngine, Prepared
from bench.metrics.registry import create, info, names, versions

__all__ = [
    "Metric",
    "MetricUnavailable",
    "MetricValue",
    "MetricsEngine",
    "Prepared",
    "create",
    "info",
    "names",
    "versions",
]
