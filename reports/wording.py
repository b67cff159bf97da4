"""Numbers and verdicts as text: the same words in every table, page and sentence."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from bench import metrics
from bench.bd import Verdict
from bench.comparison import Comparison
from bench.quality import unit

NOT_MEASURED = "not measured"
_BREAKS = re.compile(r"\s+")


@dataclass(frozen=True)
class MetricText:
    """How a metric is called where curves are compared (MS-SSIM in dB)."""

    name: str
    label: str
    unit: str
    higher_is_better: bool

    @property
    def heading(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


def metric_text(name: str) -> MetricText:
    """Label and unit of a metric, the bare name for one that this version does not know."""
    try:
        info = metrics.info(name)
    except (KeyError, ValueError):
        return MetricText(name, name, unit(name, ""), not name.startswith("lpips"))
    return MetricText(name, info.label, unit(name, info.unit), info.higher_is_better)


def clean(text: object) -> str:
    """Text without characters that act: control and direction marks are spelled out.

    Names come from files and other people's codecs.  An escape sequence must not reach a
    terminal, a NUL not an XML file, a right-to-left override not a table.
    """
    return "".join(_visible(c) for c in _BREAKS.sub(" ", str(text)))


def _visible(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}:
        return f"\\u{{{ord(character):x}}}"
    return character


def shorten(text: str, length: int) -> str:
    """At most `length` characters, an ellipsis included."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def number(value: float | None, digits: int) -> str:
    """Fixed-point text; says so where there is no value or an infinite one."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "unbounded"
    return f"{value:.{digits}f}"


def digits_of(metric: str) -> int:
    """Digits after the point that a metric is shown with."""
    return 4 if metric.startswith("lpips") else 2


def percent(value: float) -> str:
    """`-12.3`, `+160`, `+0.04`: signed, three figures or one digit after the point."""
    rounded = f"{value:+.1f}" if abs(value) < 999.95 else f"{value:+.0f}"
    return "0.0" if float(rounded) == 0 else rounded


def is_defined(verdict: Verdict) -> bool:
    return verdict.value is not None and math.isfinite(verdict.value)


def interval(verdict: Verdict) -> str:
    """`[-14.0, -10.5]`, or nothing where no interval could be had."""
    low, high = verdict.low, verdict.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{percent(low)}, {percent(high)}]"


def bd_rate(verdict: Verdict) -> str:
    """`-12.3 % [-14.0, -10.5]`, or `undefined`."""
    if not is_defined(verdict):
        return "undefined"
    return f"{percent(verdict.value)} % {interval(verdict)}".rstrip()


def status(verdict: Verdict) -> str:
    """The status in words: `ok`, `no overlap` ..."""
    return clean(str(verdict.status).replace("_", " ").replace("-", " "))


def remark(verdict: Verdict) -> str:
    """What a reader must know beside the figure: nothing where all is well."""
    return clean(verdict.message or ("" if is_defined(verdict) else status(verdict)))


def overlap(verdict: Verdict) -> str:
    """`overlap 93 %` of the quality ranges."""
    share = verdict.overlap
    return "" if share is None or math.isnan(share) else f"overlap {100 * share:.0f} %"


def anchor_label(comparison: Comparison) -> str:
    """The anchor's label; before/after comparisons name no single codec."""
    labels = {codec.name: codec.label for codec in comparison.results.codecs}
    return clean(labels.get(comparison.anchor, comparison.anchor))


def sentence(verdicts: Sequence[tuple[MetricText, Verdict]], anchor: str) -> str:
    """One codec against the anchor in plain words, without the subject.

    `needs 12.3 % [10.5, 14.0] fewer bits than VVenC at equal PSNR; 3.1 % ... at equal MS-SSIM.`
    """
    clauses = [
        _clause(verdict, metric, anchor if place == 0 else "it")
        for place, (metric, verdict) in enumerate(verdicts)
    ]
    return "; ".join(clauses) + "." if clauses else "was compared on no metric."


def _clause(verdict: Verdict, metric: MetricText, anchor: str) -> str:
    at = f"at equal {metric.label}"
    if not is_defined(verdict):
        return f"has no BD-rate against {anchor} {at} ({remark(verdict).rstrip('.')})"
    value, limits = verdict.value, interval(verdict)
    if limits and verdict.low < 0 < verdict.high:
        return f"cannot be told from {anchor} {at} ({percent(value)} % {limits})"
    if percent(value) == "0.0":
        return f"needs as many bits as {anchor} {at}"
    low, high = sorted((abs(verdict.low), abs(verdict.high))) if limits else (0.0, 0.0)
    span = f" [{_plain(low)}, {_plain(high)}]" if limits else ""
    more = "more" if value > 0 else "fewer"
    return f"needs {_plain(abs(value))} %{span} {more} bits than {anchor} {at}"


def _plain(value: float) -> str:
    return percent(value).lstrip("+")
