"""The contract of a full-reference quality metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from codecs.base import Image

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


class MetricUnavailable(Exception):
    """The metric cannot be computed here (missing weights) or for this image (too small)."""


class Metric(ABC):
    """A full-reference metric whose reference-side work is separated out.

    `prepare` does everything that depends on the original alone and is called once per image;
    `score` is called once per operating point.  Both may raise `MetricUnavailable`.
    """

    name: ClassVar[str]
    """Identifier in measurements: `lpips-alex`."""
    label: ClassVar[str]
    """What tables show: `LPIPS (AlexNet)`."""
    unit: ClassVar[str]
    """`dB`, or empty."""
    higher_is_better: ClassVar[bool]
    version: str
    """Package version and weights digest: a score is stale when this changes."""

    @abstractmethod
    def prepare(self, reference: Image) -> Any:
        """Everything that depends on the original alone.  uint8[H, W, 3] -> opaque."""

    @abstractmethod
    def score(self, prepared: Any, decoded: Image) -> float:
        """The metric of `decoded` (uint8[H, W, 3]) against the prepared original."""
