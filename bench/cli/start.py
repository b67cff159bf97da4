"""From what was typed to its command, with no more imported than it needs."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Callable, Sequence

from bench import terminal
from bench.terminal import say


def start(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Carry out a command line; expected errors become one line and exit status 2."""
    terminal.prepare()
    options = parser.parse_args(arguments)
    try:
        return _command(options.command)(options)
    except _expected() as error:
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


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    match name:
        case "list":
            return list_names
        case "check":
            from bench.check.installation import run_checks

            return lambda options: run_checks(options.codecs)
        case "verify":
            from bench.cli.verifying import verify

            return verify
        case "report":
            from bench.cli.reporting import report

            return report
        case "export" | "export-images":
            from bench.cli import exporting

            return exporting.points if name == "export" else exporting.images
        case "import" | "merge":
            from bench.cli import joining

            return joining.bring if name == "import" else joining.merge
        case "fid":
            from bench.cli.fid import fid

            return fid
        case "study":
            from bench.cli.studying import study

            return study
        case "run":
            from bench.cli.measuring import run

            return run
        case _:
            from bench.cli.measuring import compare

            return compare


def _expected() -> tuple[type[Exception], ...]:
    """Errors that are nobody's fault here: their messages say what to do."""
    from bench.cli.options import UsageError
    from bench.literature.files import PointsError
    from bench.record.store import StoreError
    from bench.run.cluster import ClusterError
    from codecs.base import CodecError
    from datasets.base import DatasetError

    return (
        UsageError,
        terminal.OutputLost,
        PointsError,
        StoreError,
        ClusterError,
        CodecError,
        DatasetError,
    )


def list_names(options: argparse.Namespace) -> int:
    """Print what there is to choose from."""
    import codecs.registry as registry
    from bench import metrics
    from codecs import selection
    from datasets.registry import available

    if options.what in (None, "codecs"):
        print("codecs (also: a .toml or .py file, or a package with an entry point):")
        for entry in registry.available():
            names = ", ".join((entry.name, *(f"{entry.name}:{v}" for v in entry.variants)))
            alias = f" (also {', '.join(entry.aliases)})" if entry.aliases else ""
            lack = f" (no weights yet: make weights SET={entry.name})"
            summary = f"{entry.summary}{lack if registry.lacks_weights(entry) else ''}"
            print(f"  {names}{alias}\n      {summary}")
        print(f"after a name: {selection.HELP}")
    if options.what in (None, "datasets"):
        print("data sets (also: any folder of images):")
        for name, description in available():
            print(f"  {name}\n      {description}")
    if options.what in (None, "metrics"):
        print("metrics (also: a .py file, or a package with an entry point):")
        for name in metrics.names():
            print(f"  {name}\n      {metrics.info(name).label}")
        for name, members in metrics.SETS.items():
            print(f"  {name}\n      the set of {', '.join(members)}")
        for name, point in metrics.installed().items():
            print(f"  {name}\n      from package {point.dist.name if point.dist else '?'}")
    if options.what is None:
        print("published curves, as published:NAME: python -m bench list published")
    if options.what == "published":
        _list_published()
    return 0


def _list_published() -> None:
    """The curves that ship, those of one codec together."""
    from bench import literature

    codecs: dict[str, list[literature.Published]] = {}
    for curve in literature.load():
        codecs.setdefault(curve.id, []).append(curve)
    print("published curves, quoted and not measured here (also: points of your own, ./mine.csv):")
    for id_, curves in codecs.items():
        sets: dict[str, list[str]] = {}
        for curve in curves:
            sets.setdefault(curve.dataset, []).append(curve.metric)
        known = "; ".join(f"{name}: {', '.join(metrics)}" for name, metrics in sets.items())
        facts = curves[0]
        print(f"  published:{id_}\n      {facts.work}\n      {known} ({facts.source.title})")
