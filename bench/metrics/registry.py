"""The metrics there are, by name.

To add a metric, write a class that fulfils `bench.metrics.base.Metric` and name it in `_OPTIONAL`.
Others come from outside: see `bench.metrics.foreign`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.metrics import foreign
from bench.metrics.base import Metric, MetricInfo, MetricUnavailable
from bench.metrics.butteraugli import Butteraugli, Butteraugli3
from bench.metrics.dists import Dists
from bench.metrics.lpips import LpipsAlex, LpipsVgg
from bench.metrics.ms_ssim import MsSsim, MsSsimLuma
from bench.metrics.packaged import Ciede2000, Fsim, IwSsim, Nlpd, PsnrHvsM, Vifp
from bench.metrics.psnr import Psnr, PsnrLuma
from bench.metrics.ssimulacra2 import Ssimulacra2
from bench.metrics.vmaf import Vmaf
from codecs.base import CodecUnavailable
from codecs.naming import suggestion

_DEFAULT = (Psnr, PsnrLuma, MsSsim, LpipsAlex, LpipsVgg)
_JPEG_AI = (MsSsimLuma, IwSsim, Vifp, Fsim, Nlpd, PsnrHvsM, Vmaf)
_OPTIONAL = (*_JPEG_AI, Ssimulacra2, Dists, Butteraugli, Butteraugli3, Ciede2000)
_CLASSES: dict[str, type[Metric]] = {metric.name: metric for metric in (*_DEFAULT, *_OPTIONAL)}

DEFAULT = tuple(metric.name for metric in _DEFAULT)
"""What is measured where nothing else is asked for."""
SETS = {
    "default": DEFAULT,
    "jpeg-ai": tuple(metric.name for metric in _JPEG_AI),
}
"""Names for several metrics: `jpeg-ai` has those of JPEG AI's common test conditions."""

_DECLARED: dict[str, MetricInfo] = {}
"""What is known of metrics from outside that this process has met, in a run or on the command
line; their code is not needed to report what they have measured."""


def names() -> tuple[str, ...]:
    """All metrics that come with the harness, in table order."""
    return tuple(_CLASSES)


def info(name: str) -> MetricInfo:
    """Its label, unit and direction.  Raises `KeyError` for an unknown name."""
    if name in _CLASSES:
        return MetricInfo.of(_CLASSES[name])
    try:
        return _DECLARED[name]
    except KeyError:
        raise _unknown(name) from None


def declare(name: str, known: MetricInfo) -> None:
    """Have `info` know a metric from outside."""
    _DECLARED[name] = known


def create(source: str) -> Metric:
    """The metric of that name, or of the file or entry point that `source` names, ready for use.

    Raises `KeyError` for an unknown name, `MetricUnavailable` when its weights cannot be had, and
    `CodecUnavailable` for somebody's broken code.
    """
    if source in _CLASSES:
        return _CLASSES[source]()
    if foreign.is_foreign(source):
        return foreign.load(source)
    raise _unknown(source)


def resolve(source: str) -> str:
    """The own name of what `create` makes, which `info` knows from then on.

    Raises as `create` does, and `CodecUnavailable` where it has the name of one that comes with the
    harness.
    """
    if source in _CLASSES:
        return source
    made = create(source)
    if made.name in _CLASSES:
        raise CodecUnavailable(f"{source}: the name {made.name!r} belongs to a built-in metric")
    declare(made.name, MetricInfo.of(made))
    return made.name


def versions(wanted: Iterable[str], sources: Mapping[str, str] | None = None) -> dict[str, str]:
    """Version of each metric, or `unavailable: why`; `sources` has what creates those from outside.

    Weights are looked for, downloaded where they are missing, and hashed; torch is not imported
    unless a download must be converted.
    """
    found = {}
    for name in wanted:
        try:
            found[name] = create((sources or {}).get(name, name)).version
        except MetricUnavailable as error:
            found[name] = f"unavailable: {error}"
    return found


def seconds_per_pixel(wanted: Iterable[str]) -> float:
    """Seconds for each pixel that those take together which take long, about, on one core."""
    return sum(_CLASSES[name].seconds_per_pixel for name in wanted if name in _CLASSES)


def uses_torch(wanted: Iterable[str]) -> bool:
    """Whether any of those that come with the harness needs PyTorch."""
    return any(_CLASSES[name].uses_torch for name in wanted if name in _CLASSES)


def check_name(source: str) -> None:
    """Raise `KeyError` unless `create` may know `source`.  Loads nothing."""
    if source not in _CLASSES and not foreign.is_foreign(source):
        raise _unknown(source)


def _unknown(name: str) -> KeyError:
    if name.lower() in ("fid", "kid"):
        return KeyError(f"{name} is of sets, not of a picture: after the run, bench fid RUN")
    known = (*_CLASSES, *SETS, *foreign.installed())
    return KeyError(f"unknown metric {name!r}{suggestion(name, known)}")
