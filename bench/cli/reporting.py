"""From what is stored to reports and tables."""

from __future__ import annotations

import argparse
import shlex
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cli.options import UsageError
from bench.literature.quoting import Quoted, data_set_named, is_quoted, quote
from bench.record.manifest import Manifest
from bench.record.store import Store, StoreError, Streams
from bench.study.design import studies
from bench.study.outcome import Outcome, outcome
from bench.terminal import clean, program, say, show
from bench.verdict import runs
from bench.verdict.comparison import Comparison, compare
from bench.verdict.plausible import unlikely_rates
from bench.verdict.results import collect
from datasets.base import ImageRef
from reports import tables, write_report
from reports.changes import find_changes
from reports.claims_page import NoClaims, write_claims
from reports.provenance import Caution, Provenance, from_manifest
from reports.showing import originals, show_pictures
from reports.wording import unlikely_rate


def report(options: argparse.Namespace) -> int:
    """Write the report of a run again, from what is stored."""
    codecs = tuple(name for name in options.codecs if not is_quoted(name))
    quoted = tuple(name for name in options.codecs if is_quoted(name))
    if options.anchor and is_quoted(options.anchor):
        raise UsageError("the anchor of a report must be measured; bench.compare prints any table")
    comparisons = comparisons_of(options.run, codecs or None, options.anchor, quoted=quoted)
    if options.anchor and not comparisons:
        raise UsageError(
            f"the anchor {options.anchor} has no measurements in {options.run}: "
            "the report was left as it is"
        )
    _note_unknown_metrics(options.run)
    note_part(options.run)
    show(clean(report_run(options.run, comparisons, options)))
    if options.claims:
        _write_claims(options.claims, comparisons, options.run)
    return 0


def compare_runs(options: argparse.Namespace, metrics: Sequence[str] | None) -> int:
    """Stored runs, by these metrics (None: all): one table, and a report beside the latest one."""
    compared = _runs(options)
    last = compared[-1]
    known = last.manifest.known_metrics
    if missing := [name for name in metrics or () if name not in known]:
        raise UsageError(
            f"{', '.join(missing)}: not measured in {last.directory}, which has {', '.join(known)}"
        )
    _note_unknown_metrics(last.directory)
    lines = runs.lineages(compared, options.codecs, dict(options.pair))
    comparison = runs.compare_runs(compared, lines, metrics or known)
    if not options.no_report:
        *earlier, later = (run.manifest for run in compared)
        name = "history" if options.history else "before-after"
        kind = "History" if options.history else "Before and after"
        provenance = replace(
            from_manifest(later),
            title=f"{kind}: image codecs on {later.label}",
            before="; ".join(
                f"{run.directory}, {run.manifest.finished or run.manifest.started}"
                for run in compared[:-1]
            ),
            changes=find_changes(comparison, compared, lines),
        )
        names = ChainMap(dict(later.names), *(dict(each.names) for each in reversed(earlier)))
        both = replace(later, names=dict(names))
        streams = runs.kept_streams(compared)
        path = _write(last.directory, both, [comparison], provenance, options, name, streams)
        say(f"report: {path}")
    print_tables(options, [comparison])
    return int(any(codec.failures for codec in comparison.results.codecs))


def _runs(options: argparse.Namespace) -> tuple[runs.Run, ...]:
    if options.history:
        if options.before or options.after:
            raise UsageError("give --history, or --before and --after")
        return runs.history(options.history)
    if not (options.before and options.after):
        raise UsageError("give both --before DIR and --after DIR")
    return runs.before_and_after(options.before, options.after)


def report_run(
    directory: Path, comparisons: Sequence[Comparison], options: argparse.Namespace
) -> Path:
    """Write the report of one run; returns the page's path."""
    manifest = Manifest.read(directory)
    provenance = from_manifest(manifest)
    found: list[Outcome] = []
    for folder in studies(directory):
        try:
            found += filter(None, [outcome(folder)])
        except StoreError as error:
            caution = Caution(
                f"Votes of people are not shown: {clean(error)}.",
                "Put that right, then write the report again.",
            )
            provenance = replace(provenance, cautions=(*provenance.cautions, caution))
    return _write(directory, manifest, comparisons, provenance, options, outcomes=found)


def _write(
    directory: Path,
    manifest: Manifest,
    comparisons: Sequence[Comparison],
    provenance: Provenance,
    options: argparse.Namespace,
    name: str = "report",
    streams: Streams | None = None,
    outcomes: Sequence[Outcome] = (),
) -> Path:
    gallery = None
    if comparisons and not options.no_pictures:
        asked, jobs = options.pictures, options.jobs
        gallery, cautions = show_pictures(
            directory, manifest, comparisons[0].results, asked, jobs, say, streams
        )
        provenance = replace(provenance, cautions=(*provenance.cautions, *cautions))
    return write_report(
        directory, comparisons, provenance, name=name, gallery=gallery, outcomes=outcomes
    )


def _write_claims(path: Path, comparisons: Sequence[Comparison], directory: Path) -> None:
    if not comparisons:
        raise UsageError(f"nothing was measured in {directory}: there is nothing to write of it")
    try:
        write_claims(path, comparisons[0], from_manifest(Manifest.read(directory)))
    except (NoClaims, OSError, UnicodeDecodeError) as error:
        raise UsageError(str(error)) from error


def comparisons_of(
    directory: Path,
    codecs: Sequence[str] | None,
    anchor: str | None,
    wanted: Sequence[str] | None = None,
    quoted: Sequence[str] = (),
) -> list[Comparison]:
    """The comparison with the anchor, then with each other VVC variant measured.

    `codecs` and `wanted` metrics None: all that were ever run in this directory.  The anchor given
    is shown among them, named there or not; without one it is `vvenc` or what comes closest to it.
    `quoted` names published codecs to show beside them; the anchor may be one of these.
    Empty when the anchor given, or everything, is unavailable.
    """
    manifest = Manifest.read(directory)
    measured_anchor = [anchor] if anchor and anchor not in quoted else []
    typed = (*(manifest.codecs if codecs is None else codecs), *measured_anchor)
    own = dict.fromkeys(manifest.codec_named(name) for name in typed)
    for name in manifest.unavailable:
        # What was measured when it could run is still true.
        if manifest.codec_named(name) not in manifest.ladders:
            own.pop(manifest.codec_named(name), None)
    if missing := [name for name in own if name not in manifest.ladders]:
        place = ["--dataset", manifest.dataset_argument, "--run", str(directory)]
        command = f"{program()} run {shlex.join([*missing, *place])}"
        raise UsageError(
            f"{', '.join(missing)} was not measured in {directory}, which holds "
            f"{', '.join(manifest.ladders)}; measure it: {command}"
        )
    results = collect(
        Store(directory),
        [manifest.ladders[name] for name in own],
        manifest.pictures,
        metrics=[n for n in manifest.known_metrics if wanted is None or n in wanted],
        dataset=manifest.label,
        unavailable=manifest.unavailable,
    )
    results = replace(results, quoted=_quoted(manifest, quoted), packs=manifest.packs)
    names = tuple(codec.name for codec in results.codecs)
    if anchor and anchor in quoted:
        return [compare(results, anchor)]
    lossy = tuple(codec.name for codec in results.codecs if not codec.is_lossless)
    main = manifest.codec_named(anchor) if anchor else _default_anchor(lossy or names)
    if main not in names:
        return []
    others = [name for name in names if name != main and _is_vvc(name)]
    return [compare(results, name) for name in (main, *others)]


def wanted_codecs(manifest: Manifest, options: argparse.Namespace) -> set[str]:
    """The codecs of a run that were named, by their own names; all where none was."""
    wanted = {manifest.codec_named(name) for name in options.codecs} or set(manifest.ladders)
    if unknown := wanted - manifest.ladders.keys():
        raise UsageError(f"{', '.join(sorted(unknown))}: not in {options.run}")
    return wanted


def every_original(manifest: Manifest) -> list[ImageRef]:
    """The pictures of a run, in its order; raises `UsageError` where one cannot be found."""
    known = originals(manifest)
    if lacking := [p.name for p in manifest.pictures if p.digest not in known]:
        raise UsageError(f"{len(lacking)} pictures cannot be found, such as {lacking[0]}")
    return [known[p.digest] for p in manifest.pictures]


def unlikely(directory: Path) -> list[str]:
    """A sentence on each codec of a run whose rates cannot be true."""
    return [
        unlikely_rate(found)
        for comparison in comparisons_of(directory, None, None)[:1]
        for found in unlikely_rates(comparison.results)
    ]


def _quoted(manifest: Manifest, names: Sequence[str]) -> tuple[Quoted, ...]:
    """Published codecs for the pictures of a run."""
    digests = [picture.digest for picture in manifest.pictures]
    dataset = data_set_named(manifest.dataset, digests, whole=manifest.whole)
    return tuple(quote(name, dataset or f"a part of {manifest.dataset}") for name in names)


def _default_anchor(names: Sequence[str]) -> str | None:
    """VVenC *slower* where it was measured, else another VVC, else the last codec of `names`."""
    vvc = [name for name in names if _is_vvc(name)]
    return "vvenc" if "vvenc" in vvc else next(iter((*vvc, *names[-1:])), None)


def _is_vvc(name: str) -> bool:
    return name.partition("@")[0].partition(":")[0] == "vvenc"


def note_part(directory: Path) -> None:
    """Say so where the last command was for fewer pictures than were measured in its directory."""
    manifest = Manifest.read(directory)
    if manifest.whole:  # the store, which may be large, need not be read
        return
    measured = len({m.image_digest for m in Store(directory)})
    if len(manifest.pictures) < measured:
        say(
            f"this covers {len(manifest.pictures)} of the {measured} pictures that were measured "
            f"in {directory}, those of its last command; for all, run it again without --images"
        )


def _note_unknown_metrics(directory: Path) -> None:
    if unknown := Manifest.read(directory).unknown_metrics:
        say(f"left out, unknown to this version: {', '.join(unknown)}")


def print_tables(options: argparse.Namespace, comparisons: Sequence[Comparison]) -> None:
    asked = {
        "json": tables.as_json,
        "csv": tables.as_csv,
        "latex": tables.as_latex,
        "markdown": tables.as_markdown,
    }
    to_standard_output = False
    for name, render in asked.items():
        target = getattr(options, name)
        if target == "-":
            show(render(comparisons[:1]))
            to_standard_output = True
        elif target:
            Path(target).write_text(render(comparisons[:1]), encoding="utf-8")
    if not to_standard_output:
        show(tables.as_text(comparisons[:1]))
