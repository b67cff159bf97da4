"""The command line: what can be asked for.  Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bench import __version__
from bench.terminal import ArgumentParser, program

EXAMPLES = """\
examples:
  python -m bench run                             a short run on the samples, with a report
  python -m bench run --dataset kodak --quick     a small, labelled tier
  python -m bench compare jpeg hevc vvenc         the last one is the anchor
  python -m bench compare mycodec.toml vvenc      your own codec, given by two command lines
  python -m bench compare rdonet@0.15bpp vvenc@0.15bpp   each picture at this rate
  python -m bench report runs/kodak               a report from what is stored
  python -m bench study runs/kodak --at 0.15bpp   a page that asks people, blind
"""


CODECS = (
    "codec names (see: list), with points or a rate after an @: vvenc@27,32,37,42, rdonet@0.15bpp; "
    "points of others: published:qarv, ./elic.csv"
)
CORES = len(os.sched_getaffinity(0))
OF_MEASURING = (
    *("dataset", "run", "quick", "images", "cluster", "time_limit", "retry", "device", "retime"),
    *("pack", "no_pack", "verify_pack", "sandbox"),
)
"""Options that say what to measure and how: all others are of stored runs, too."""


class UsageError(Exception):
    """The command cannot be carried out as given; the message says what to do."""


def bench_parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog=program(),
        description="Measure image codecs against VVC: real bytes, independent decoding, verdicts.",
        epilog=EXAMPLES.replace("python -m bench", program()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"codec-bench {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure codecs on a data set and write the report")
    run.add_argument("codecs", nargs="*", default=None, help=CODECS)
    run.add_argument("--anchor", help="codec that the others are compared with (default: vvenc)")
    add_run_options(run)

    compare = commands.add_parser("compare", help="compare codecs with an anchor, or two runs")
    add_compare_arguments(compare)

    report = commands.add_parser("report", help="write the report of a run from what is stored")
    report.add_argument("run", type=Path, help="run directory, such as runs/kodak")
    report.add_argument("codecs", nargs="*", help="codecs to show (default: all in the run)")
    report.add_argument("--anchor", help="codec that the others are compared with")
    report.add_argument(
        "--claims",
        type=Path,
        metavar="FILE",
        help="also write what the run says of the papers' claims into this Markdown page, such as "
        "docs/claims.md",
    )
    add_picture_options(report)
    report.set_defaults(jobs=CORES)

    export = commands.add_parser("export", help="points of a run for other programs")
    export.add_argument("run", type=Path, help="run directory, such as runs/kodak")
    export.add_argument(
        "--format",
        choices=("csv", "compressai", "pgfplots"),
        default="csv",
        help="csv (default): means, and a table of every picture; compressai: JSON for each codec; "
        "pgfplots: curves",
    )
    export.add_argument("--to", type=Path, metavar="DIR", help="default: export/ in the run")
    export.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="instead: the whole run, measurements and streams, in one file such as kodak.tar.zst, "
        "for `import` elsewhere",
    )
    export.add_argument(
        "--with-pictures", action="store_true", help="with --out: the pictures of the set as well"
    )

    bring = commands.add_parser("import", help="take over what `export --out` packed")
    bring.add_argument("pack", type=Path, help="the file, such as kodak.tar.zst")
    bring.add_argument(
        "--run", type=Path, metavar="DIR", help="run directory to add it to (default: runs/SET)"
    )

    merge = commands.add_parser("merge", help="put runs of one data set together")
    merge.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    merge.add_argument(
        "--run", type=Path, metavar="DIR", required=True, help="where to: a new run, or an old one"
    )

    verify = commands.add_parser(
        "verify", help="decode the streams of a run again, isolated, and compare"
    )
    verify.add_argument("run", type=Path, help="run directory, such as runs/kodak")
    verify.add_argument(
        "--sample",
        type=count,
        default=3,
        metavar="N",
        help="measurements of each codec that are also scored again (default: 3)",
    )
    verify.add_argument(
        "--jobs",
        type=positive,
        default=CORES,
        metavar="N",
        help="side by side (default: all cores)",
    )

    images = commands.add_parser(
        "export-images", help="decoded pictures and streams of a run under plain names"
    )
    images.add_argument("run", type=Path, help="run directory, such as runs/kodak")
    images.add_argument("codecs", nargs="*", help="codecs to export (default: all in the run)")
    images.add_argument("--to", type=Path, metavar="DIR", help="default: images/ in the run")
    images.set_defaults(jobs=CORES)

    fid = commands.add_parser("fid", help="FID and KID of a run, for generative codecs")
    fid.add_argument("run", type=Path, help="run directory, such as runs/clic20")
    fid.add_argument("codecs", nargs="*", help="codecs to compare (default: all in the run)")
    fid.set_defaults(jobs=CORES)

    study = commands.add_parser("study", help="ask people which codec they prefer, blind")
    study.add_argument("run", type=Path, help="run directory, such as runs/kodak")
    study.add_argument(
        "votes", nargs="*", type=Path, help="files that came back: they replace those read before"
    )
    study.add_argument(
        "--at", type=bits_per_pixel, metavar="RATE", help="make a page at this rate, as 0.15bpp"
    )
    study.add_argument(
        "--codecs", nargs="+", default=(), metavar="CODEC", help="these only (default: all)"
    )
    study.add_argument(
        "--pictures",
        dest="count",
        type=positive,
        default=10,
        metavar="N",
        help="pictures of the run, drawn (default: 10)",
    )
    study.add_argument(
        "--trials",
        type=positive,
        default=40,
        metavar="N",
        help="pairs that one participant is shown, besides attention checks (default: 40)",
    )
    study.add_argument(
        "--tolerance",
        type=percent,
        default=10,
        metavar="PERCENT",
        help="leave out pictures whose files are further off the rate (default: 10)",
    )
    study.add_argument(
        "--seed", type=int, metavar="N", help="the same study again (default: drawn, and told)"
    )
    study.set_defaults(jobs=CORES, pictures=None, no_pictures=False)

    listing = commands.add_parser("list", help="codecs, data sets and metrics that exist here")
    listing.add_argument("what", nargs="?", choices=("codecs", "datasets", "metrics", "published"))

    check = commands.add_parser("check", help="verify the installation as a sceptic would")
    check.add_argument("codecs", nargs="*", help="check these codecs only, such as ./mine.toml")
    return parser


def compare_parser() -> argparse.ArgumentParser:
    """The command line of `python -m bench.compare`."""
    parser = ArgumentParser(
        prog="python -m bench.compare",
        description="Compare codecs with an anchor (the last one named), or two runs of a codec. "
        "Measures what is missing, prints one table, writes the report.",
    )
    add_compare_arguments(parser)
    parser.set_defaults(command="compare")
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of every command that measures."""
    parser.add_argument(
        "--dataset",
        metavar="SET",
        help="samples (default), kodak, clic22 ..., a folder of images, or a set's .toml",
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help="where measurements and streams are kept (default: runs/SET)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few images, vvenc:medium; labelled as such"
    )
    parser.add_argument("--images", type=positive, metavar="N", help="only the first N images")
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="METRIC",
        help="names, sets such as jpeg-ai, or a file of your own such as ./mine.py (default: PSNR, "
        "MS-SSIM, LPIPS)",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        default=CORES,
        metavar="N",
        help="measurements side by side (default: all cores; 1 for timings taken alone)",
    )
    parser.add_argument(
        "--cluster",
        default="",
        metavar="WHERE",
        help="measure on a Dask cluster: tcp://host:8786, local:4, or a batch system's slurm.toml",
    )
    parser.add_argument(
        "--time-limit",
        type=seconds,
        metavar="S",
        help="seconds that one encode, decode or metric of your own may take",
    )
    parser.add_argument("--retry", action="store_true", help="try again what failed earlier")
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="where learned codecs, LPIPS and DISTS run: cpu (default), cuda, cuda:1; streams are "
        "the same everywhere (or by the variable BENCH_DEVICE)",
    )
    parser.add_argument(
        "--retime",
        action="store_true",
        help="time again what was timed with another number of --jobs or on another --device; "
        "scores are kept",
    )
    parser.add_argument(
        "--pack",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="use the streams of a pack (`export --out`) where codec and picture are the same",
    )
    parser.add_argument(
        "--no-pack",
        action="store_true",
        help="encode all, also what comes with the harness as a pack (VVenC on Kodak)",
    )
    parser.add_argument(
        "--verify-pack",
        type=count,
        default=3,
        metavar="N",
        help="measurements of each pack that are made here too and must be the same (default: 3)",
    )
    parser.add_argument(
        "--sandbox",
        action="store_true",
        help="run codecs where they see neither pictures nor the run nor a network, and find "
        "nothing that another process has left (Linux namespaces)",
    )
    parser.add_argument("--no-report", action="store_true", help="measure only")
    add_picture_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """What the report shows of the images themselves."""
    parser.add_argument(
        "--pictures",
        choices=("crops", "full"),
        help="show crops in the report whatever decoding them takes; full: also write whole "
        "pictures beside it, without loss (default: crops, of at most 30 pictures that decode in "
        "two minutes)",
    )
    parser.add_argument(
        "--no-pictures", action="store_true", help="no pictures in the report, only figures"
    )


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m bench.compare`."""
    parser.add_argument("codecs", nargs="*", help=f"codecs to judge, the anchor last; {CODECS}")
    parser.add_argument("--anchor", help="the anchor, if it is not the last codec")
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="compare two runs: the earlier run directory"
    )
    parser.add_argument("--after", type=Path, metavar="DIR", help="... and the later one")
    parser.add_argument(
        "--history",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="what each earlier run of a codec needs against the last run named",
    )
    parser.add_argument(
        "--pair",
        action="append",
        default=[],
        type=renaming,
        metavar="OLD=NEW",
        help="with stored runs: a codec that was called OLD earlier and NEW in the last run",
    )
    for name in ("json", "csv", "latex", "markdown"):
        parser.add_argument(
            f"--{name}",
            nargs="?",
            const="-",
            type=table_file,
            metavar="FILE",
            help=f"the table as {name}, to FILE or standard output",
        )
    add_run_options(parser)


def count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def renaming(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not (old and new):
        raise argparse.ArgumentTypeError("must be OLD=NEW, such as mine=mine-v2")
    return old, new


def bits_per_pixel(text: str) -> float:
    return _above_zero(text.removesuffix("bpp"))


def percent(text: str) -> float:
    return _above_zero(text.removesuffix("%"))


def seconds(text: str) -> float:
    return _above_zero(text)


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return number


def names_codec(text: str) -> bool:
    from codecs import registry
    from codecs.base import CodecError

    try:
        registry.check_name(text)
    except CodecError:
        return False
    return True


def table_file(text: str) -> str:
    """A file for a table, or `-`: not a codec that was meant to be compared."""
    path = Path(text)
    if path.suffix in (".toml", ".py"):
        raise argparse.ArgumentTypeError(
            f"{text} is a codec, not a file for a table; give - for standard output, as in "
            f"--csv - {text}"
        )
    if path.is_file() and _holds_points(path):
        raise argparse.ArgumentTypeError(
            f"{text} holds points of a codec, which a table would replace; give - for standard "
            f"output, as in --csv - {text}"
        )
    if path.name == text != "-" and not path.suffix and names_codec(text):
        raise argparse.ArgumentTypeError(
            f"{text} is a codec, not a file for a table; give - for standard output, as in "
            f"--csv - {text}, or a name such as {text}.csv"
        )
    if text != "-" and not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.absolute().parent}")
    return text


def _holds_points(path: Path) -> bool:
    from bench.literature import files

    try:
        return bool(files.read(path))
    except files.PointsError:
        return False


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
