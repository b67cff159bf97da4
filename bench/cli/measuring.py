"""The commands that measure: run, and compare."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

import codecs.registry as registry
from bench.cli import reporting
from bench.cli.options import OF_MEASURING, UsageError, compare_parser, names_codec
from bench.literature.quoting import is_quoted, quote
from bench.metrics import is_file, names
from bench.run import cluster
from bench.run.execute import RunOutcome, execute
from bench.run.progress import Progress
from bench.run.settings import (
    DEFAULT_CODECS,
    RunSettings,
    apply_quick,
    default_directory,
    quick_name,
    wanted_metrics,
)
from bench.terminal import say, show
from bench.verdict import comparison
from bench.verdict.results import Results
from codecs import device
from datasets.registry import NAMES, SAMPLES
from reports import tables


def run(options: argparse.Namespace) -> int:
    """Measure, report, print the table."""
    _prepare(options)
    quoted = _checked(filter(is_quoted, options.codecs), options)
    codecs = tuple(name for name in options.codecs if name not in quoted) or DEFAULT_CODECS
    if options.anchor and options.anchor not in codecs:
        codecs = (*codecs, options.anchor)
    settings = _settings(options, codecs)
    outcome = _measure(settings, options)
    if not options.no_report:
        anchor = options.anchor and _in_tier(options.anchor, options)
        comparisons = reporting.comparisons_of(settings.directory, None, anchor, quoted=quoted)
        reporting.report_run(settings.directory, comparisons, options)
        if comparisons:
            show(tables.as_text(comparisons[:1]))
    return _status(outcome, settings.directory, options)


def compare(options: argparse.Namespace) -> int:
    """Measure what is missing and print one table; or compare stored runs."""
    if options.before or options.after or options.history:
        return _compare_stored(options)
    if options.pair:
        raise UsageError("--pair is for stored runs: give --before and --after, or --history")
    _prepare(options)
    codecs = tuple(options.codecs)
    anchor = options.anchor or (codecs[-1] if codecs else None)
    if anchor is None or len({registry.unaliased(name) for name in (*codecs, anchor)}) < 2:
        raise UsageError(
            "name two different codecs, the anchor last: python -m bench.compare jpeg vvenc"
        )
    named = tuple(dict.fromkeys((*codecs, anchor)))
    quoted = _checked(filter(is_quoted, named), options)
    if len(quoted) == len(named):
        return _compare_published(options, quoted, anchor)
    settings = _settings(options, tuple(name for name in named if name not in quoted))
    outcome = _measure(settings, options)
    main, directory = _in_tier(anchor, options), settings.directory
    asked = reporting.comparisons_of(directory, settings.codecs, main, settings.metrics, quoted)
    if not asked:
        raise UsageError(f"the anchor {anchor} has no measurements: see the reasons above")
    if not options.no_report:
        # What else was measured in this directory, by other metrics too, stays in its report.
        shown = None if main in quoted else main
        whole = reporting.comparisons_of(directory, None, shown, quoted=quoted)
        reporting.report_run(directory, whole, options)
    reporting.print_tables(options, asked)
    return _status(outcome, settings.directory, options)


def _compare_published(options: argparse.Namespace, names: tuple[str, ...], anchor: str) -> int:
    """One table of published codecs alone: nothing is measured, and there is no report."""
    quoted = tuple(quote(name, _data_set(options)) for name in names)
    metrics = tuple(
        metric
        for metric in _metrics(options)
        if any(one.curve(metric) for one in quoted if one.name == anchor)
    )
    results = Results(quoted[0].dataset, (), (), (), (), metrics, quoted=quoted)
    reporting.print_tables(options, [comparison.compare(results, anchor)])
    return 0


def _checked(names: Iterable[str], options: argparse.Namespace) -> tuple[str, ...]:
    """Published codecs; raises before anything is measured where they do not fit what will be."""
    quoted = tuple(dict.fromkeys(names))
    if quoted and (options.quick or options.images):
        raise UsageError(
            f"{quoted[0]}: published points are of whole sets: leave out --quick and --images"
        )
    for name in quoted:
        if options.dataset in NAMES:
            quote(name, _data_set(options))
    return quoted


def _data_set(options: argparse.Namespace) -> str:
    """The name under which published points are looked for."""
    return Path(options.dataset).name.lower()


def _in_tier(name: str, options: argparse.Namespace) -> str:
    """The codec that stands in for `name` in the quick tier."""
    return quick_name(name) if options.quick else name


def _compare_stored(options: argparse.Namespace) -> int:
    """Refuses what could not be heeded, for nothing is measured."""
    usual = compare_parser().parse_args([])
    for name in (*OF_MEASURING, "anchor"):
        if getattr(options, name) != getattr(usual, name):
            raise UsageError(
                f"--{name.replace('_', '-')} is for measuring: leave it out beside --before and "
                "--after, or --history, which compare what is stored"
            )
    _part_metrics_from_codecs(options)
    return reporting.compare_runs(options, tuple(_metrics(options)) if options.metrics else None)


def _prepare(options: argparse.Namespace) -> None:
    options.dataset = options.dataset or SAMPLES
    _part_metrics_from_codecs(options)


def _part_metrics_from_codecs(options: argparse.Namespace) -> None:
    """Give the codecs that follow `--metrics psnr` on the command line back to `codecs`."""
    named = options.metrics or []
    first = next((i for i, name in enumerate(named) if _is_codec(name)), len(named))
    options.codecs = [*(options.codecs or []), *named[first:]]
    if named:
        options.metrics = named[:first]


def _is_codec(name: str) -> bool:
    return not is_file(name) and (is_quoted(name) or names_codec(name))


def _settings(options: argparse.Namespace, codecs: tuple[str, ...]) -> RunSettings:
    sources = _metrics(options)
    for name in codecs:
        registry.check_name(name)
    if options.device:
        os.environ[device.VARIABLE] = options.device  # for the processes that code and score
    device.chosen()
    if options.cluster:
        _check_cluster(options)
    settings = RunSettings(
        codecs=codecs,
        dataset=options.dataset,
        directory=options.run or default_directory(options.dataset, options.quick),
        metrics=tuple(sources),
        own_metrics={name: source for name, source in sources.items() if name not in names()},
        jobs=options.jobs,
        quick=options.quick,
        limit=options.images,
        retry=options.retry,
        retime=options.retime,
        time_limit=options.time_limit,
        packs=tuple(options.pack),
        shipped_packs=not options.no_pack,
        verify_pack=options.verify_pack,
        cluster=options.cluster,
        sandbox=options.sandbox,
    )
    return apply_quick(settings) if options.quick else settings


def _check_cluster(options: argparse.Namespace) -> None:
    """Before anything else is done."""
    try:
        cluster.parse(options.cluster)
    except cluster.ClusterError as error:
        raise UsageError(str(error)) from error
    if options.retime:
        raise UsageError("--retime takes timings on this machine: leave --cluster out")
    if options.sandbox:
        raise UsageError(
            "--sandbox is for this machine alone: leave --cluster out, or check the streams when "
            "they are here, with bench verify"
        )


def _metrics(options: argparse.Namespace) -> dict[str, str]:
    """Metric -> what creates it."""
    try:
        return wanted_metrics(options.metrics)
    except (KeyError, ValueError) as error:
        raise UsageError(error.args[0]) from error


def _measure(settings: RunSettings, options: argparse.Namespace) -> RunOutcome:
    """Measure, then say what went wrong, `--quiet` or not: there need not be a report."""
    outcome = execute(settings, Progress(quiet=options.quiet))
    for codec, reasons in outcome.failures.items():
        say(f"failed measurements of {codec}: {len(reasons)}, the first: {reasons[0]}")
    if outcome.failures:
        say("what will not pass by itself is tried again with --retry")
    for name, why in outcome.plan.unavailable.items():
        say(f"{name} is unavailable: {why}")
    if outcome.refused:
        name, why = outcome.refused[0]
        say(f"refused pictures: {len(outcome.refused)}, the first: {name}: {why}")
    reporting.note_part(settings.directory)
    return outcome


def _status(outcome: RunOutcome, directory: Path, options: argparse.Namespace) -> int:
    if not options.no_report:
        say(f"report: {directory / 'report.html'}")
    return int(bool(outcome.failures or outcome.plan.unavailable or outcome.refused))
