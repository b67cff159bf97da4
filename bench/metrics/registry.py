"""The metrics there are, by name.

To add a metric, write a class that fulfils `bench.metrics.base.Metric` and name it in `_CLASSES`.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.lpips import LpipsAlex, LpipsVgg
from bench.metrics.ms_ssim import MsSsim
from bench.metrics.psnr import Psnr, PsnrLuma
from codecs.naming import suggestion

_CLASSES: dict[str, type[Metric]] = {
    metric.name: metric for metric in (Psnr, PsnrLuma, MsSsim, LpipsAlex, LpipsVgg)
}


def names() -> tuple[str, ...]:
    """All metrics, in table order."""
    return tuple(_CLASSES)


def info(name: str) -> type[Metric]:
    """Its class, which knows label, unit and direction.  Raises `KeyError` for an unknown name."""
    try:
        return _CLASSES[name]
    except KeyError:
        raise KeyError(f"unknown metric {name!r}{suggestion(name, _CLASSES)}") from None


def create(name: str) -> Metric:
    """A metric ready for use.

    Raises `KeyError` for an unknown name and `MetricUnavailable` when its weights cannot be had.
    """
    return info(name)()


def versions(wanted: Iterable[str]) -> dict[str, str]:
    """Version of each metric, or `unavailable: why`.

    Weights are looked for, downloaded where they are missing, and hashed; torch is not imported
    unless a download must be converted.
    """
    found = {}
    for name in wanted:
        try:
            found[name] = create(name).version
        except MetricUnavailable as error:
            found[name] = f"unavailable: {error}"
    return found
