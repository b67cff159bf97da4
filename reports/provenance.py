"""Where a report's figures come from: what was run, on what, when and with which versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.terminal import clean

if TYPE_CHECKING:
    from bench.record.manifest import Manifest
    from reports.changes import Change


@dataclass(frozen=True)
class Caution:
    """A warning as a value: what to bear in mind, and what removes the reason for it."""

    message: str
    remedy: str


@dataclass(frozen=True)
class Provenance:
    """Everything a reader needs to repeat the measurements."""

    title: str
    dataset: str
    """The data set with what was left out of it: `Kodak (first 6 images)`."""
    source: str = ""
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    """(file name, reason) of pictures that were left out."""
    quick: bool = False
    command: str = ""
    started: str = ""
    finished: str = ""
    host: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Metric name -> version, or `unavailable: why`."""
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Codecs that were asked for and could not run -> why."""
    cautions: tuple[Caution, ...] = ()
    before: str = ""
    """Of two runs: where and when the earlier one was made."""
    changes: tuple[Change, ...] = ()
    """What differs between the two."""


def from_manifest(manifest: Manifest) -> Provenance:
    """The provenance of a stored run."""
    return Provenance(
        title=f"Image codecs on {manifest.label}",
        dataset=manifest.label,
        source=manifest.source,
        notes=tuple(manifest.notes),
        skipped=tuple(manifest.skipped),
        quick=manifest.quick,
        command=manifest.command,
        started=manifest.started,
        finished=manifest.finished,
        host=manifest.host,
        packages=manifest.packages,
        metrics=manifest.metrics,
        unavailable=manifest.unavailable,
        cautions=tuple(_cautions(manifest)),
    )


def _cautions(manifest: Manifest) -> Iterator[Caution]:
    if unknown := manifest.unknown_metrics:
        yield Caution(
            f"Left out: {clean(', '.join(unknown))}: values that the run holds, of metrics that "
            "this version of codec-bench does not know.",
            "Write the report with the version that made the run.",
        )
