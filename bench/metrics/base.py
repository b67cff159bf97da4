"""The contract of a full-reference quality metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from codecs import declared
from codecs.base import CodecError, Image

INFINITE = "infinite"
"""How the reason of a score begins that is infinite, as PSNR of identical images is."""


@dataclass(frozen=True)
class MetricValue:
    """A metric's value, or why there is none; stale when the metric's version changes."""

    value: float | None
    version: str
    """Empty where something went wrong that another attempt may put right."""
    reason: str = ""

    @property
    def is_infinite(self) -> bool:
        """Whether it is infinite, which JSON cannot hold."""
        return self.value is None and self.reason.startswith(INFINITE)


@dataclass(frozen=True)
class MetricInfo:
    """What reports must know of a metric; its class has the same names."""

    label: str
    unit: str
    higher_is_better: bool

    @classmethod
    def of(cls, metric: Metric | type[Metric]) -> MetricInfo:
        return cls(metric.label, metric.unit, metric.higher_is_better)

    @classmethod
    def checked(cls, label: Any, unit: Any, higher_is_better: Any) -> MetricInfo:
        """Raises `CodecError` for what somebody's metric, or a stored run, may not say."""
        if not isinstance(higher_is_better, bool):
            raise CodecError("its higher_is_better is neither True nor False")
        if unit != "":
            declared.text(unit, "unit")
        return cls(declared.text(label, "label"), unit, higher_is_better)


class MetricUnavailable(Exception):
    """The metric cannot be computed here (missing weights) or for this image (too small)."""


class Metric(ABC):
    """A full-reference metric whose reference-side work is separated out.

    `prepare` does everything that depends on the original alone and is called once per image;
    `score` is called once per operating point.  Both may raise `MetricUnavailable`.
    """

    name: str
    """Identifier in measurements: `lpips-alex`."""
    label: str
    """What tables show: `LPIPS (AlexNet)`."""
    unit: str = ""
    """`dB`, or empty."""
    higher_is_better: bool
    version: str
    """Package version and weights digest: a score is stale when this changes."""
    uses_torch: ClassVar[bool] = False
    """Whether it needs PyTorch, which takes seconds to load."""
    seconds_per_pixel: ClassVar[float] = 0.0
    """About, on one core, where it counts: for estimates of a run's length."""

    def prepare(self, reference: Image) -> Any:
        """Everything that depends on the original alone.  uint8[H, W, 3] -> opaque; by default
        the original itself."""
        return reference

    @abstractmethod
    def score(self, prepared: Any, decoded: Image) -> float:
        """The metric of `decoded` (uint8[H, W, 3]) against the prepared original."""
