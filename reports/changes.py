"""What changed between runs besides their figures: settings, versions, machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult
from bench.verdict.runs import Lineage, Run


@dataclass(frozen=True)
class Change:
    """One fact that is not the same in two runs that follow each other."""

    subject: str
    """A codec's label, `machine`, `packages`, `metrics`, `command`; of several runs, also which."""
    what: str
    before: str
    after: str


NOTHING = "not there"


def find_changes(
    comparison: Comparison, runs: Sequence[Run], lines: Sequence[Lineage]
) -> tuple[Change, ...]:
    """Codecs first, in the order of the comparison; a codec without a change has no row."""
    found: list[Change] = []
    for earlier, later in pairwise(runs):
        which = "" if len(runs) == 2 else f", {earlier.label} to {later.label}"
        found += _changes(comparison, earlier, later, lines, which)
    return tuple(found)


def _changes(
    comparison: Comparison, earlier: Run, later: Run, lines: Sequence[Lineage], which: str
) -> Iterator[Change]:
    for line in lines:
        if earlier.label not in line or later.label not in line:
            continue
        old, new = (
            comparison.results.codec(run.entry(line[run.label])) for run in (earlier, later)
        )
        subject = new.label.removesuffix(f" ({later.label})") + which
        renamed = {"name": line[earlier.label]}, {"name": line[later.label]}
        yield from _differences(subject, renamed[0] | _facts(old), renamed[1] | _facts(new))
    before, after = earlier.manifest, later.manifest
    yield from _differences(f"metrics{which}", before.metrics, after.metrics)
    yield from _differences(f"packages{which}", before.packages, after.packages)
    yield from _differences(f"machine{which}", before.host, after.host)
    commands = {"command": before.command}, {"command": after.command}
    yield from _differences(f"run{which}", *commands)


def _facts(codec: CodecResult) -> dict[str, str]:
    commands = {
        f"command at {m.point.label}": m.command for m in codec.measurements.values() if m.command
    }
    first = next(iter(commands.items()), None)
    return {
        "version": codec.version,
        "device": codec.device,
        "operating points": ", ".join(codec.points),
        **{name: str(value) for name, value in codec.settings.items()},
        **(dict([first]) if first and first[1] else {}),
    }


def _differences(
    subject: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[Change]:
    for what in dict.fromkeys((*after, *before)):
        old, new = str(before.get(what, NOTHING)), str(after.get(what, NOTHING))
        if old != new:
            yield Change(subject, what, old, new)
