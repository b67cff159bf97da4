"""The commands behind `python -m bench`."""

from __future__ import annotations

import argparse
import os
import shlex
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import codecs.registry as registry
from bench import metrics
from bench.record.manifest import Manifest
from bench.record.store import Store, StoreError, Streams
from bench.run.execute import Outcome, execute
from bench.run.progress import Progress
from bench.run.settings import (
    DEFAULT_CODECS,
    RunSettings,
    apply_quick,
    default_directory,
    wanted_metrics,
)
from bench.terminal import OutputLost, clean, say, show
from bench.verdict import before_after, comparison
from bench.verdict.comparison import Comparison
from bench.verdict.results import collect
from codecs import device
from codecs.base import CodecError
from datasets.base import DatasetError

if TYPE_CHECKING:
    from reports.pictures import Gallery
    from reports.provenance import Caution


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do."""


EXPECTED = (UsageError, OutputLost, StoreError, CodecError, DatasetError)


def guarded(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; expected errors become one line and exit status 2."""
    try:
        return command(options)
    except EXPECTED as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("")
        say("stopped; nothing is lost: the same command goes on from here")
        return 130
    except BrokenPipeError:
        return 141
    except Exception:
        traceback.print_exc()
        say(
            "error: a fault of codec-bench, shown above; what was measured is kept, and the same "
            "command goes on from there (--no-report measures without a report)"
        )
        return 1


def run(options: argparse.Namespace) -> int:
    """Measure, report, print the table."""
    _part_metrics_from_codecs(options)
    codecs = tuple(options.codecs or DEFAULT_CODECS)
    if options.anchor and options.anchor not in codecs:
        codecs = (*codecs, options.anchor)
    settings = _settings(options, codecs)
    outcome = execute(settings, Progress(quiet=options.quiet))
    if not options.no_report:
        anchor = options.anchor and apply_quick_name(options.anchor, settings)
        comparisons = _comparisons(settings.directory, None, anchor)
        _write_report(settings.directory, comparisons, options)
        if comparisons:
            from reports import tables

            show(tables.as_text(comparisons[:1]))
    return _status(outcome, settings.directory, options)


def compare(options: argparse.Namespace) -> int:
    """Measure what is missing and print one table; or compare two stored runs."""
    if options.before or options.after:
        if not (options.before and options.after):
            raise UsageError("give both --before DIR and --after DIR")
        _note_unknown_metrics(options.after)
        comparisons = [before_after.compare_runs(options.before, options.after, options.codecs)]
        if not options.no_report:
            path = _write_pair_report(comparisons, options)
            say(f"report: {path}")
        _print_tables(options, comparisons)
        return int(any(codec.failures for codec in comparisons[0].results.codecs))
    _part_metrics_from_codecs(options)
    codecs = tuple(options.codecs)
    anchor = options.anchor or (codecs[-1] if codecs else None)
    if anchor is None or len({registry.unaliased(name) for name in (*codecs, anchor)}) < 2:
        raise UsageError(
            "name two different codecs, the anchor last: python -m bench.compare jpeg vvenc"
        )
    settings = _settings(options, tuple(dict.fromkeys((*codecs, anchor))))
    outcome = execute(settings, Progress(quiet=options.quiet))
    main = apply_quick_name(anchor, settings)
    comparisons = _comparisons(settings.directory, settings.codecs, main, settings.metrics)
    if not comparisons:
        raise UsageError(f"the anchor {anchor} has no measurements: see the reasons above")
    if not options.no_report:
        # What else was measured in this directory, by other metrics too, stays in its report.
        _write_report(settings.directory, _comparisons(settings.directory, None, main), options)
    _print_tables(options, comparisons)
    return _status(outcome, settings.directory, options)


def report(options: argparse.Namespace) -> int:
    """Write the report of a run again, from what is stored."""
    comparisons = _comparisons(options.run, tuple(options.codecs) or None, options.anchor)
    if options.anchor and not comparisons:
        raise UsageError(
            f"the anchor {options.anchor} has no measurements in {options.run}: "
            "the report was left as it is"
        )
    _note_unknown_metrics(options.run)
    show(clean(_write_report(options.run, comparisons, options)))
    if options.claims:
        _write_claims(options.claims, comparisons, options.run)
    return 0


def _write_claims(path: Path, comparisons: Sequence[Comparison], directory: Path) -> None:
    from reports.claims_page import NoClaims, write_claims
    from reports.provenance import from_manifest

    if not comparisons:
        raise UsageError(f"nothing was measured in {directory}: there is nothing to write of it")
    try:
        write_claims(path, comparisons[0], from_manifest(Manifest.read(directory)))
    except (NoClaims, OSError, UnicodeDecodeError) as error:
        raise UsageError(str(error)) from error


def list_names(options: argparse.Namespace) -> int:
    """Print what there is to choose from."""
    from datasets.registry import available

    if options.what in (None, "codecs"):
        print("codecs (also: a .toml or .py file, or a package with an entry point):")
        for entry in registry.available():
            names = ", ".join((entry.name, *(f"{entry.name}:{v}" for v in entry.variants)))
            alias = f" (also {', '.join(entry.aliases)})" if entry.aliases else ""
            print(f"  {names}{alias}\n      {entry.summary}")
    if options.what in (None, "datasets"):
        print("data sets (also: any folder of images):")
        for name, description in available():
            print(f"  {name}\n      {description}")
    if options.what in (None, "metrics"):
        print("metrics:")
        for name in metrics.names():
            print(f"  {name}\n      {metrics.info(name).label}")
    return 0


def check(options: argparse.Namespace) -> int:
    """Verify the installation."""
    from bench.check.installation import run_checks

    return run_checks(options.codecs)


COMMANDS = {"run": run, "compare": compare, "report": report, "list": list_names, "check": check}


def apply_quick_name(name: str, settings: RunSettings) -> str:
    """The codec that stands in for `name` in the quick tier."""
    return apply_quick(replace(settings, codecs=(name,))).codecs[0] if settings.quick else name


def _part_metrics_from_codecs(options: argparse.Namespace) -> None:
    """Give the codecs that follow `--metrics psnr` on the command line back to `codecs`."""
    named = options.metrics or []
    first = next((i for i, name in enumerate(named) if _is_codec(name)), len(named))
    options.codecs = [*(options.codecs or []), *named[first:]]
    if named:
        options.metrics = named[:first]


def _is_codec(name: str) -> bool:
    try:
        registry.check_name(name)
    except CodecError:
        return False
    return True


def _settings(options: argparse.Namespace, codecs: tuple[str, ...]) -> RunSettings:
    try:
        names = wanted_metrics(options.metrics)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for name in codecs:
        registry.check_name(name)
    if options.device:
        os.environ[device.VARIABLE] = options.device  # for the processes that code and score
    device.chosen()
    settings = RunSettings(
        codecs=codecs,
        dataset=options.dataset,
        directory=options.run or default_directory(options.dataset, options.quick),
        metrics=names,
        jobs=options.jobs,
        quick=options.quick,
        limit=options.images,
        retry=options.retry,
        retime=options.retime,
        time_limit=options.time_limit,
    )
    return apply_quick(settings) if options.quick else settings


def _comparisons(
    directory: Path,
    codecs: Sequence[str] | None,
    anchor: str | None,
    wanted: Sequence[str] | None = None,
) -> list[Comparison]:
    """The comparison with the anchor, then with each other VVC variant measured.

    `codecs` and `wanted` metrics None: all that were ever run in this directory.  The anchor given
    is shown among them, named there or not; without one it is `vvenc` or what comes closest to it.
    Empty when the anchor given, or everything, is unavailable.
    """
    manifest = Manifest.read(directory)
    typed = (*(manifest.codecs if codecs is None else codecs), *filter(None, [anchor]))
    own = dict.fromkeys(manifest.codec_named(name) for name in typed)
    for name in manifest.unavailable:
        # What was measured when it could run is still true.
        if manifest.codec_named(name) not in manifest.ladders:
            own.pop(manifest.codec_named(name), None)
    if missing := [name for name in own if name not in manifest.ladders]:
        place = ["--dataset", manifest.dataset_argument, "--run", str(directory)]
        command = shlex.join(["python", "-m", "bench", "run", *missing, *place])
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
    names = tuple(codec.name for codec in results.codecs)
    lossy = tuple(codec.name for codec in results.codecs if not codec.is_lossless)
    main = manifest.codec_named(anchor) if anchor else _default_anchor(lossy or names)
    if main not in names:
        return []
    others = [name for name in names if name != main and name.split(":")[0] == "vvenc"]
    return [comparison.compare(results, name) for name in (main, *others)]


def _note_unknown_metrics(directory: Path) -> None:
    if unknown := Manifest.read(directory).unknown_metrics:
        say(f"left out, unknown to this version: {', '.join(unknown)}")


def _default_anchor(names: Sequence[str]) -> str | None:
    """VVenC *slower* where it was measured, else another VVC, else the last codec of `names`."""
    vvc = [name for name in names if name.split(":")[0] == "vvenc"]
    return "vvenc" if "vvenc" in vvc else next(iter((*vvc, *names[-1:])), None)


def _write_report(
    directory: Path, comparisons: Sequence[Comparison], options: argparse.Namespace
) -> Path:
    from reports import write_report
    from reports.provenance import from_manifest

    manifest = Manifest.read(directory)
    gallery, cautions = _pictures(directory, manifest, comparisons, options)
    provenance = from_manifest(manifest)
    provenance = replace(provenance, cautions=(*provenance.cautions, *cautions))
    return write_report(directory, comparisons, provenance, gallery=gallery)


def _pictures(
    directory: Path,
    manifest: Manifest,
    comparisons: Sequence[Comparison],
    options: argparse.Namespace,
    streams: Streams | None = None,
) -> tuple[Gallery | None, tuple[Caution, ...]]:
    if not comparisons or options.no_pictures:
        return None, ()
    from reports.showing import show_pictures

    return show_pictures(
        directory,
        manifest,
        comparisons[0].results,
        options.pictures,
        _jobs(options),
        say,
        streams,
    )


def _jobs(options: argparse.Namespace) -> int:
    """As many as the run had; `report` has no such option and takes all cores."""
    return getattr(options, "jobs", None) or len(os.sched_getaffinity(0))


def _write_pair_report(comparisons: Sequence[Comparison], options: argparse.Namespace) -> Path:
    from reports import write_report
    from reports.changes import find_changes
    from reports.provenance import from_manifest

    before, after = options.before, options.after
    earlier, later = Manifest.read(before), Manifest.read(after)
    gallery, cautions = _pictures(
        after,
        replace(later, names={**earlier.names, **later.names}),
        comparisons,
        options,
        before_after.kept_streams(before, after),
    )
    provenance = from_manifest(later)
    provenance = replace(
        provenance,
        cautions=(*provenance.cautions, *cautions),
        title=f"Before and after: image codecs on {later.label}",
        before=f"{before}, {earlier.finished or earlier.started}",
        changes=find_changes(comparisons[0], earlier, later),
    )
    return write_report(after, comparisons, provenance, gallery=gallery, name="before-after")


def _print_tables(options: argparse.Namespace, comparisons: Sequence[Comparison]) -> None:
    from reports import tables

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


def _status(outcome: Outcome, directory: Path, options: argparse.Namespace) -> int:
    problems = outcome.failed + len(outcome.plan.unavailable)
    if problems:
        say(
            f"{outcome.failed} measurements failed, {len(outcome.plan.unavailable)} codecs are "
            "unavailable: the report gives the reasons; what will not pass by itself is tried "
            "again with --retry"
        )
    if not options.no_report:
        say(f"report: {directory / 'report.html'}")
    return 1 if problems else 0
