"""What changed between two runs besides their figures: settings, versions, machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.record.manifest import Manifest
from bench.verdict.comparison import Comparison
from bench.verdict.results import CodecResult


@dataclass(frozen=True)
class Change:
    """One fact that is not the same in both runs."""

    subject: str
    """A codec's label, `machine`, `packages`, `metrics`, `command`."""
    what: str
    before: str
    after: str


NOTHING = "not there"


def find_changes(comparison: Comparison, before: Manifest, after: Manifest) -> tuple[Change, ...]:
    """Codecs first, in the order of the comparison; a codec without a change has no row."""
    return tuple(_changes(comparison, before, after))


def _changes(comparison: Comparison, before: Manifest, after: Manifest) -> Iterator[Change]:
    for row in comparison.rows:
        later, earlier = (comparison.results.codec(name) for name in (row.codec, row.against))
        subject = later.label.removesuffix(" (after)")
        yield from _differences(subject, _facts(earlier), _facts(later))
    yield from _differences("metrics", before.metrics, after.metrics)
    yield from _differences("packages", before.packages, after.packages)
    yield from _differences("machine", before.host, after.host)
    yield from _differences("run", {"command": before.command}, {"command": after.command})


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
