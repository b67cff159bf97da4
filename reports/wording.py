"""Numbers and verdicts as text: the same words in every table, page and sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench import metrics
from bench.terminal import clean
from bench.verdict.bd import Status, Verdict
from bench.verdict.comparison import Comparison
from bench.verdict.curve import unit
from bench.verdict.plausible import FEWEST_BPP, GOOD_PSNR, Unlikely
from bench.verdict.results import Results

NOT_MEASURED = "not measured"


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
    # A metric from outside has named itself.
    label, own_unit = clean(info.label), clean(info.unit)
    return MetricText(name, label, unit(name, own_unit), info.higher_is_better)


def shorten(text: str, length: int) -> str:
    """At most `length` characters, an ellipsis included; words are kept whole if possible."""
    if len(text) <= length:
        return text
    head = text[: length - 1]
    whole, _, cut = head.rpartition(" ")
    return (whole if whole and len(cut) < 20 else head).rstrip(" ,;:.(") + "…"


def number(value: float | None, digits: int) -> str:
    """Fixed-point text; says so where there is no value or an infinite one."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    if math.isinf(value):
        return "unbounded"
    return f"{value:.{digits}f}"


def digits_of(metric: str) -> int:
    """Digits after the point that a metric is shown with."""
    return 2 if metric_text(metric).unit == "dB" else 4


def percent(value: float) -> str:
    """`-12.3`, `+160.0`, `+1000`: signed, one digit after the point, none from 1000 on."""
    rounded = f"{value:+.1f}" if abs(value) < 999.95 else f"{value:+.0f}"
    return "0.0" if float(rounded) == 0 else rounded


def figures(verdict: Verdict) -> tuple[float, float, float]:
    """BD-rate and the ends of its interval, in percent; NaN for what is undefined."""
    given = (verdict.value, verdict.low, verdict.high)
    value, low, high = (math.nan if number is None else number for number in given)
    return value, low, high


def is_defined(verdict: Verdict) -> bool:
    return math.isfinite(figures(verdict)[0])


def interval(verdict: Verdict) -> str:
    """`[-14.0, -10.5]`, or nothing where no interval could be had."""
    _, low, high = figures(verdict)
    return limits(low, high)


def limits(low: float, high: float) -> str:
    """The interval of a change in percent, `[-14.0, -10.5]`; nothing where there is none."""
    return f"[{_bound(low)}, {_bound(high)}]" if math.isfinite(high - low) else ""


def _bound(value: float) -> str:
    """One next to zero keeps its sign, `-0.04`: that decides whether a claim holds."""
    text = percent(value)
    return f"{value:+.1g}" if text == "0.0" and abs(value) >= 0.001 else text


def bd_rate(verdict: Verdict) -> str:
    """`-12.3 % [-14.0, -10.5]`, or `undefined`, or `unavailable`."""
    if verdict.status is Status.UNAVAILABLE:
        return "unavailable"
    if not is_defined(verdict):
        return "undefined"
    return f"{percent(figures(verdict)[0])} % {interval(verdict)}".rstrip()


def status(verdict: Verdict) -> str:
    """The status in words: `ok`, `no overlap` ..."""
    return clean(verdict.status)


def remark(verdict: Verdict) -> str:
    """What a reader must know beside the figure: nothing where all is well."""
    if not verdict.message:
        return "" if is_defined(verdict) else status(verdict)
    # "invalid values" adds nothing to a sentence that says which value is missing and why.
    prefix = "" if verdict.status is Status.INVALID else f"{verdict.status}: "
    return clean(f"{prefix}{verdict.message}")


def overlap(verdict: Verdict) -> str:
    """`overlap 93 %` of the quality ranges."""
    return "" if math.isnan(verdict.overlap) else f"overlap {100 * verdict.overlap:.0f} %"


def anchor_label(comparison: Comparison) -> str:
    """The anchor's label; before/after comparisons name no single codec."""
    labels = {codec.name: codec.label for codec in comparison.results.entries}
    return clean(labels.get(comparison.anchor, comparison.anchor))


def short_labels(results: Results) -> dict[str, str]:
    """Codec's name -> its label as far as no other codec's begins the same, without what stands in
    brackets: `RDONet, zero-pass` of `RDONet, zero-pass (preliminary weights)`."""
    labels = {codec.name: clean(codec.label) for codec in results.codecs}
    found = {}
    for name, label in labels.items():
        others = [other for key, other in labels.items() if key != name]
        bare = re.sub(r"\s*\([^()]*\)", "", label).split(", ")
        heads = [", ".join(bare[: count + 1]) for count in range(len(bare))]
        told = (head for head in heads if head and not any(o.startswith(head) for o in others))
        found[name] = next(told, clean(name) if label in others else label)
    return found


def brief(verdict: Verdict, anchor: str) -> str:
    """The shortest sentence on one verdict, without the subject: `needs 12 % fewer bits than VVenC
    (-15 to -9)`.  A status that is not `ok` has its mark elsewhere."""
    if not is_defined(verdict):
        return f"has no BD-rate: {status(verdict)}"
    value, low, high = figures(verdict)
    known = math.isfinite(high - low)
    ends = [_rounded(low, sign=True), _rounded(high, sign=True)] if known else ["", ""]
    span = f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else ""
    if verdict.status is Status.IDENTICAL:
        return f"is identical to {anchor}"
    if is_level(verdict):
        return f"cannot be told from {anchor}{span}"
    direction = "more" if value > 0 else "fewer"
    return f"needs {_rounded(abs(value))} % {direction} bits than {anchor}{span}"


def _rounded(value: float, *, sign: bool = False) -> str:
    """Without a digit after the point from ten on."""
    text = f"{value:+.0f}" if abs(value) >= 9.95 else _bound(value)
    return text if sign else text.lstrip("+")


def sentence(verdicts: Sequence[tuple[MetricText, Verdict]], anchor: str) -> str:
    """One codec against the anchor in plain words, without the subject.

    `needs 12.3 % [10.5, 14.0] fewer bits than VVenC at equal PSNR, 3.1 % [2.0, 4.4] more at equal
    MS-SSIM; has no BD-rate at equal LPIPS (the curves share no quality).`  Where the curves cross,
    or little of them was compared, one figure is not the whole story, and the sentence says so.
    """
    clauses: list[str] = []
    undefined: dict[str, list[str]] = {}
    other, counting = anchor, False
    for metric, verdict in verdicts:
        if verdict.status is Status.UNAVAILABLE:
            continue
        if not is_defined(verdict):
            why = shorten(remark(verdict), 90).rstrip(".")
            undefined.setdefault(why, []).append(metric.label)
            continue
        at = f"at equal {metric.label}"
        doubt = _doubt(verdict)
        if verdict.status is Status.IDENTICAL:
            clauses.append(f"is identical to {other} in rate and {metric.label}")
            counting = False
        elif is_level(verdict):
            aside = "; ".join(filter(None, (bd_rate(verdict), doubt)))
            clauses.append(f"cannot be told from {other} {at} ({aside})")
            counting = False
        else:
            bits = "" if counting else f" bits than {other}"
            aside = f" ({doubt})" if doubt else ""
            clauses.append(f"{'' if counting else 'needs '}{_amount(verdict)}{bits} {at}{aside}")
            counting = True
        other = "it"
    parts = [", ".join(clauses)] if clauses else []
    if undefined:
        gaps = "; ".join(f"{' and '.join(labels)} ({why})" for why, labels in undefined.items())
        against = "" if clauses else f" against {anchor}"
        parts.append(f"has no BD-rate{against} at equal {gaps}")
    return "; ".join(parts) + "." if parts else "was compared on no metric."


def _doubt(verdict: Verdict) -> str:
    """What stands between brackets behind a figure: nothing where all is well."""
    if verdict.status is Status.CROSSING:
        left_out = f"left out: {verdict.left_out}" if verdict.left_out else ""
        return shorten(clean("; ".join(filter(None, ("the curves cross", left_out)))), 90)
    return shorten(clean(verdict.message), 90)


def is_level(verdict: Verdict) -> bool:
    """Whether the interval holds zero, or the figure rounds to it."""
    value, low, high = figures(verdict)
    return low < 0 < high or percent(value) == "0.0"


def _amount(verdict: Verdict) -> str:
    """`12.3 % [10.5, 14.0] fewer`."""
    value, low, high = figures(verdict)
    ends = sorted((abs(low), abs(high))) if interval(verdict) else []
    span = f" [{', '.join(_bound(end).lstrip('+') for end in ends)}]" if ends else ""
    amount = percent(abs(value)).lstrip("+")
    return f"{amount} %{span} {'more' if value > 0 else 'fewer'}"


def unlikely_rate(found: Unlikely) -> str:
    """A sentence on a rate that cannot be true."""
    return (
        f"{clean(found.label)} at {clean(found.point)} reaches {found.psnr:.1f} dB with "
        f"{found.bpp:.4f} bpp on average: below {FEWEST_BPP:g} bpp no codec is known to reach "
        f"{GOOD_PSNR:.0f} dB on photographs, so something but the stream may hold the picture."
    )
