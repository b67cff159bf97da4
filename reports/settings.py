"""What was measured, to the letter: codecs, versions, commands, times and machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bench.run.sandbox import KINDS
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult
from reports.wording import clean, metric_text


@dataclass(frozen=True)
class CodecFacts:
    """What a codec was, to the letter."""

    name: str
    label: str
    is_anchor: bool
    facts: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
    """(operating point, command line)."""


def codec_facts(comparison: Comparison) -> list[CodecFacts]:
    return [_facts(codec, comparison.anchor) for codec in comparison.results.codecs]


def _facts(codec: CodecResult, anchor: str) -> CodecFacts:
    commands: dict[str, str] = {}
    for (point, _), m in sorted(codec.measurements.items()):
        if m.command:
            commands.setdefault(codec.points[point], m.command)
    facts = [
        ("version", codec.version),
        ("device", codec.device),
        ("operating points", ", ".join(codec.points)),
        *codec.settings.items(),
    ]
    if codec.tuned_for:
        facts.append(("trained for", ", ".join(codec.tuned_for)))
    if sandboxed := _sandboxed(codec):
        facts.append(("sandbox", sandboxed))
    return CodecFacts(
        codec.name, codec.label, codec.name == anchor, tuple(facts), tuple(commands.items())
    )


def _sandboxed(codec: CodecResult) -> str:
    """How many measurements were made where the codec sees neither pictures nor the run."""
    counts = Counter(m.sandbox for m in codec.measurements.values())
    total = counts.total()
    return "; ".join(
        f"{KINDS.get(kind, clean(kind))}, {count} of {total} measurements"
        for kind, count in sorted(counts.items())
        if kind
    )


def measured_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """When, where and in what company the measurements were made: by themselves, since one
    directory may hold the work of several commands."""
    rows = [m for c in comparison.results.codecs for m in c.measurements.values()]
    times = sorted(m.time for m in rows if m.time)
    jobs = sorted({m.jobs for m in rows})
    hosts = sorted({clean(m.host) for m in rows if m.host})
    facts = []
    if times:
        facts.append(("Measured", times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"))
    if hosts:
        facts.append(("Host" if len(hosts) == 1 else "Hosts", ", ".join(hosts)))
    if jobs:
        facts.append(("Side by side", " or ".join(map(str, jobs))))
    return facts


def metric_versions(comparison: Comparison) -> list[tuple[str, str]]:
    """(metric, version) as recorded in the measurements; several when they were mixed."""
    seen: dict[str, dict[str, None]] = {name: {} for name in comparison.results.metrics}
    for codec in comparison.results.codecs:
        for m in codec.measurements.values():
            for name in seen.keys() & m.metrics.keys():
                seen[name][clean(m.metrics[name].version)] = None
    return [(metric_text(name).label, version) for name, found in seen.items() for version in found]
