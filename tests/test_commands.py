"""The commands as a user types them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import bjontegaard
import numpy as np
import pytest
from PIL import Image as PillowImage

from bench import __main__ as bench_main
from bench import compare as bench_compare
from bench.record.manifest import Manifest
from bench.record.store import Store
from bench.run.progress import Progress
from bench.run.settings import default_directory
from tests.conftest import ROOT
from tests.helpers import begin_with
from tests.reports_cases import Page

TOY = str(ROOT / "tests" / "toys" / "coarse.py")


@pytest.fixture
def folder(tmp_path, photo, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return pictures(tmp_path, photo)


def pictures(parent: Path, photo) -> Path:
    folder = parent / "<b>pictures"
    folder.mkdir()
    for i, name in enumerate(("one.png", "<script>alert(1)<&>.png")):
        PillowImage.fromarray(photo[i : i + 80, :90]).save(folder / name)
    return folder


@pytest.fixture
def measured(folder, photo, once) -> Callable[..., None]:
    """`measured(run, "jpeg", "webp")` puts into a run directory, or into the usual one (None), what
    these codecs give on the pictures; so that only what follows is left to do."""

    def make(parent: Path) -> None:
        arguments = [*where(pictures(parent, photo)), "--run", str(parent / "run"), "--no-report"]
        assert bench_main.main(["run", TOY, "jpeg", "webp", *arguments]) == 0

    def put(run: str | Path | None, *codecs: str) -> None:
        into = default_directory(str(folder), False) if run is None else Path(run)
        begin_with(into, once("commands", make) / "run", *codecs)

    return put


def where(folder: Path) -> list[str]:
    return ["--dataset", str(folder), "--metrics", "psnr", "--jobs", "1", "--quiet"]


def test_compare_measures_prints_and_reports(folder, capsys):
    assert bench_compare.main([TOY, "jpeg", *where(folder)]) == 0
    printed = capsys.readouterr().out
    assert "coarse" in printed
    assert "PSNR" in printed
    page = next((folder.parent / "runs").glob("*/report.html")).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("option", "check"),
    [
        ("--json", lambda text: json.loads(text)),
        ("--csv", lambda text: list(csv.DictReader(io.StringIO(text)))),
        ("--latex", lambda text: re.search(r"\\begin\{tabular", text)),
        ("--markdown", lambda text: text.startswith("|") or "\n|" in text),
    ],
)
def test_tables_go_to_standard_output_or_a_file(folder, measured, capsys, option, check):
    measured(None, "coarse", "jpeg")
    arguments = [TOY, "jpeg", *where(folder), "--no-report", option]
    assert bench_compare.main(arguments) == 0
    printed = capsys.readouterr().out
    assert check(printed)
    assert bench_compare.main([*arguments, "table.txt"]) == 0
    assert Path("table.txt").read_text().strip() == printed.strip()


def test_the_json_table_holds_the_figure_that_follows_from_the_stored_lines(
    folder, measured, capsys
):
    measured(None, "coarse", "webp")
    assert bench_compare.main([TOY, "webp", *where(folder), "--no-report", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    curves: dict[str, dict[float, list[tuple[float, float]]]] = {"coarse": {}, "webp": {}}
    for row in Store(next((folder.parent / "runs").iterdir())):
        value = row.bpp, row.metric("psnr")
        curves[row.codec].setdefault(float(row.value), []).append(value)
    means = {
        name: np.array([np.mean(ladder[value], axis=0) for value in sorted(ladder)]).T
        for name, ladder in curves.items()
    }
    expected = bjontegaard.bd_rate(
        *means["webp"], *means["coarse"], method="pchip", require_matching_points=False
    )
    row = table["comparisons"][0]["rows"][0]
    assert row["cells"]["psnr"]["bd_rate_percent"]["value"] == pytest.approx(expected, rel=1e-9)


def test_two_runs_of_one_codec_are_compared(folder, measured, capsys):
    for name in ("before", "after"):
        measured(name, "webp")
        assert bench_main.main(["run", "webp", *where(folder), "--run", name, "--no-report"]) == 0
    capsys.readouterr()
    assert bench_compare.main(["--before", "before", "--after", "after", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert "webp (after)" in json.dumps(rows)
    assert (folder.parent / "after" / "before-after.html").exists()
    assert not (folder.parent / "after" / "report.html").exists()


def test_two_runs_are_compared_by_alias_and_under_new_names_of_pictures(folder, capsys):
    assert bench_main.main(["run", "hevc", *where(folder), "--run", "a", "--no-report"]) == 0
    (folder / "one.png").rename(folder / "two.png")
    assert bench_main.main(["run", "hevc", *where(folder), "--run", "b", "--no-report"]) == 0
    capsys.readouterr()
    pair = ["--before", "a", "--after", "b"]
    assert bench_compare.main([*pair, "bpg", "--json", "--no-report"]) == 0
    row = json.loads(capsys.readouterr().out)["comparisons"][0]["rows"][0]
    assert row["cells"]["psnr"]["bd_rate_percent"]["value"] == pytest.approx(0, abs=1e-9)
    assert not Path("b/before-after.html").exists()
    assert bench_compare.main([*pair, "jpeg"]) == 2
    assert "jpeg is not in the run before nor in the run after" in capsys.readouterr().err
    (folder / "two.png").unlink()
    assert bench_main.main(["run", "hevc", *where(folder), "--run", "b", "--no-report"]) == 0
    capsys.readouterr()
    assert bench_compare.main(pair) == 2
    assert "only the run before has one.png" in capsys.readouterr().err


def test_a_report_names_the_codec_that_has_no_measurements_yet(folder, measured, capsys):
    measured("r", "webp", "jpeg")
    assert (
        bench_main.main(["run", "webp", "jpeg", *where(folder), "--run", "r", "--no-report"]) == 0
    )
    path = Path("r/measurements.jsonl")
    lines = [line for line in path.read_text().splitlines(True) if '"codec": "jpeg"' in line]
    path.write_text("".join(lines))
    assert bench_main.main(["report", "r"]) == 0
    assert "not measured yet" in Path("r/report.html").read_text()
    assert bench_main.main(["report", "r", "avif"]) == 2
    error = capsys.readouterr().err
    assert "avif was not measured in r" in error
    # The command that it gives is one that works.
    advice = shlex.split(error.split("python -m bench ")[1])
    assert bench_main.main([*advice, "--metrics", "psnr", "--no-report", "--quiet"]) == 0


def test_a_run_that_was_cut_off_says_what_it_lacks(folder, measured):
    measured("r", "webp", "jpeg")
    assert bench_main.main(["run", "webp", "jpeg", *where(folder), "--run", "r"]) == 0
    assert "Nothing failed and nothing was missing" in Path("r/report.html").read_text()
    path = Path("r/measurements.jsonl")
    lines = path.read_text().splitlines(True)
    path.write_text("".join(lines[:-3]))
    assert bench_main.main(["report", "r"]) == 0
    page = Path("r/report.html").read_text()
    assert "Nothing failed" not in page
    assert "--retry" not in page
    counts = re.findall(r"(\d+) of \d+ measurements", page)
    assert sum(map(int, counts)) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--time-limit", "-5"],
        ["--time-limit", "nan"],
        ["--time-limit", "0"],
        ["--csv", "./mine.toml"],
        ["--json", "no/such/folder/x.json"],
    ],
)
def test_options_that_would_spoil_a_run_are_refused_before_it(arguments, folder, capsys):
    Path("mine.toml").write_text("mine")
    with pytest.raises(SystemExit):
        bench_compare.main([*arguments, "jpeg", "webp", *where(folder), "--run", "r"])
    assert arguments[0] in capsys.readouterr().err
    assert Path("mine.toml").read_text() == "mine"
    assert not Path("r").exists()


def test_a_report_is_made_again_from_what_is_stored(folder, measured, capsys):
    measured(None, "coarse", "jpeg")
    assert bench_main.main(["run", TOY, "jpeg", "--anchor", "jpeg", *where(folder)]) == 0
    run = next((folder.parent / "runs").iterdir())
    first = (run / "tables" / "verdicts.csv").read_bytes()
    shutil.rmtree(run / "tables")
    assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
    assert (run / "tables" / "verdicts.csv").read_bytes() == first
    # The anchor is shown without being named twice, and a wrong one costs no report.
    assert bench_main.main(["report", str(run), TOY, "--anchor", "jpeg"]) == 0
    page = (run / "report.html").read_bytes()
    assert (run / "tables" / "verdicts.csv").read_bytes() == first
    assert bench_main.main(["report", str(run), TOY, "--anchor", "webp"]) == 2
    assert "webp was not measured" in capsys.readouterr().err
    assert bench_main.main(["report", str(run), "--anchor", "webp"]) == 2
    assert "webp was not measured" in capsys.readouterr().err
    assert (run / "report.html").read_bytes() == page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "jepg"], "did you mean.*jpeg"),
        (["run", "vvenc:mediun"], "medium"),
        (["run", "jpeg", "--dataset", "kodac"], "kodak"),
        (["run", "jpeg", "--dataset", "no/such/folder"], "no/such/folder"),
        (["run", "jpeg", "--metrics", "pnsr"], "psnr"),
        (["run", "no-such.toml"], "no file no-such.toml"),
        (["compare", "jpeg"], "anchor"),
        (["compare", "hevc", "bpg"], "two different codecs"),
        (["compare", "--before", "runs/a"], "--after"),
        (["report", "nowhere"], "holds no run"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(arguments, message, capsys, tmp_path):
    run = [] if arguments[0] == "report" else ["--run", str(tmp_path / "run"), "--quiet"]
    assert bench_main.main([*arguments, *run]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_a_failed_codec_shows_in_the_exit_status_and_the_report(folder, monkeypatch, capsys):
    monkeypatch.setenv("TOY_ENCODE", "raise")
    assert bench_main.main(["run", TOY, "jpeg", "--anchor", "jpeg", *where(folder)]) == 1
    first = r"failed measurements of coarse: 2, the first: bits 3 on .*RuntimeError"
    assert re.search(first, capsys.readouterr().err)
    page = next((folder.parent / "runs").glob("*/report.html")).read_text()
    assert "RuntimeError" in page
    assert "<script>alert" not in page
    assert bench_main.main(["run", TOY, *where(folder), "--no-report"]) == 1
    assert re.search(first, capsys.readouterr().err)  # of what failed earlier, too


def test_a_refused_picture_shows_in_the_exit_status_and_twins_do_not(folder, measured, capsys):
    measured("r", "jpeg")
    (folder / "twin.png").write_bytes((folder / "one.png").read_bytes())
    asked = ["run", "jpeg", *where(folder), "--run", "r", "--no-report"]
    assert bench_main.main(asked) == 0
    (folder / "half.png").write_bytes((folder / "one.png").read_bytes()[:-900])
    assert bench_main.main(asked) == 1
    assert "refused pictures: 1, the first: half.png: is a truncated PNG" in capsys.readouterr().err


def test_an_unavailable_anchor_is_said_and_nothing_is_lost(folder, monkeypatch, capsys):
    monkeypatch.setenv("TOY_ENCODE", "not here")
    assert bench_compare.main(["jpeg", TOY, *where(folder)]) == 2
    said = capsys.readouterr().err
    assert "no measurements" in said
    assert f"{TOY} is unavailable: toy tool not found" in said
    stored = list(Store(next((folder.parent / "runs").iterdir())))
    assert {row.codec for row in stored} == {"jpeg"}


def test_list_names_everything_and_imports_nothing_heavy(capsys):
    assert bench_main.main(["list"]) == 0
    listed = capsys.readouterr().out
    for name in ("vvenc", "hevc", "samples", "kodak", "clic22", "psnr", "lpips-vgg"):
        assert name in listed


def test_quick_is_smaller_and_says_so(folder, photo, capsys):
    for i in range(6):
        PillowImage.fromarray(photo[i : i + 40, 20:70]).save(folder / f"more{i}.png")
    assert bench_main.main(["run", "jpeg", "webp", "--quick", *where(folder), "--run", "q"]) == 0
    rows = list(Store(Path("q")))
    assert len({row.image for row in rows}) == 4
    assert "quick" in Path("q/report.html").read_text().lower()


def test_a_report_shows_all_codecs_of_the_run_whatever_the_last_command_named(
    folder, measured, capsys
):
    run = folder.parent / "runs" / "grows"
    measured(run, "coarse", "jpeg", "webp")
    options = [*where(folder), "--run", str(run), "--no-pictures"]

    def shown() -> set[str]:
        lines = (run / "tables" / "verdicts.csv").read_text().splitlines()
        return {row["codec"] for row in csv.DictReader(lines)}

    assert bench_main.main(["run", TOY, "jpeg", *options, "--anchor", "jpeg"]) == 0
    assert bench_main.main(["run", "webp", *options, "--anchor", "jpeg"]) == 0
    assert shown() == {"coarse", "webp"}
    assert bench_main.main(["report", str(run), "--anchor", "jpeg", "--no-pictures"]) == 0
    assert shown() == {"coarse", "webp"}
    assert bench_main.main(["compare", "webp", "jpeg", *options]) == 0
    assert shown() == {"coarse", "webp"}
    assert bench_main.main(["report", str(run), "webp", "--anchor", "jpeg", "--no-pictures"]) == 0
    assert shown() == {"webp"}


def test_a_report_shows_all_metrics_of_the_run_whatever_the_last_command_named(folder, capsys):
    run = folder.parent / "runs" / "grows"
    asked = ["--dataset", str(folder), "--quiet", "--run", str(run), "--no-pictures", "--jobs", "1"]

    def shown() -> list[str]:
        lines = (run / "tables" / "verdicts.csv").read_text().splitlines()
        return list(dict.fromkeys(row["metric"] for row in csv.DictReader(lines)))

    assert bench_main.main(["run", "jpeg", "webp", *asked, "--metrics", "psnr,psnr-y"]) == 0
    assert bench_main.main(["run", "jpeg", "webp", *asked, "--metrics", "psnr-y"]) == 0
    assert shown() == ["psnr", "psnr-y"]
    capsys.readouterr()
    assert bench_main.main(["compare", "jpeg", "webp", *asked, "--metrics", "psnr-y"]) == 0
    assert shown() == ["psnr", "psnr-y"]
    assert "PSNR (dB)" not in capsys.readouterr().out  # the table is of what was asked for
    stored = ["--before", str(run), "--after", str(run), "--metrics", "psnr-y", "--no-report"]
    assert bench_compare.main(stored) == 0
    said = capsys.readouterr().out
    assert "PSNR-Y (dB)" in said
    assert "PSNR (dB)" not in said


def test_a_run_directory_takes_no_other_data_set(folder, measured, capsys):
    run = folder.parent / "runs" / "one"
    measured(run, "jpeg")
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    assert bench_main.main(["run", "jpeg", *where(folder), "--run", str(run), "--no-report"]) == 0
    held = (run / "run.json").read_bytes()
    capsys.readouterr()

    def refuse() -> None:
        assert bench_main.main(["run", "jpeg", *where(other), "--run", str(run)]) == 2
        said = capsys.readouterr().err
        assert str(other) in said
        assert "--run" in said
        assert (run / "run.json").read_bytes() == held

    noise = np.random.default_rng(5).integers(0, 255, (16, 16, 3), np.uint8)
    PillowImage.fromarray(noise).save(other / "noise.png")
    refuse()  # all of the run's pictures and another one
    (other / "one.png").unlink()
    refuse()  # some of them
    (other / "noise.png").unlink()
    refuse()
    shutil.copy(folder / "one.png", other)
    assert bench_main.main(["run", "jpeg", *where(other), "--run", str(run), "--no-report"]) == 0


def test_metrics_are_told_from_codecs_and_found_in_any_spelling(folder):
    run = folder.parent / "runs" / "spelt"
    asked = ["--dataset", str(folder), "--quiet", "--no-report", "--run", str(run), "--jobs", "1"]
    assert bench_main.main(["run", *asked, "--metrics", "PSNR,ms-ssim", "jpeg", "webp"]) == 0
    manifest = Manifest.read(run)
    assert list(manifest.metrics) == ["psnr", "ms-ssim"]
    assert manifest.codecs == ("jpeg", "webp")


def test_a_metric_of_two_kinds_is_asked_about(folder, capsys):
    assert bench_main.main(["run", "jpeg", "--dataset", str(folder), "--metrics", "lpips"]) == 2
    assert "'lpips-alex' or 'lpips-vgg'?" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["bench.run", "bench.check"])
def test_modules_named_like_commands_are_the_commands(module):
    asked = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT)
    assert f"python -m {module.replace('.', ' ')}" in done.stdout


def test_a_closed_standard_error_ends_no_run(folder):
    asked = [sys.executable, "-m", "bench", "run", "jpeg", "--dataset", str(folder)]
    asked += [
        "--metrics",
        "psnr",
        "--jobs",
        "1",
        "--no-pictures",
        "--run",
        str(folder.parent / "closed"),
    ]
    line = f"{shlex.join(asked)} 2>&-"
    done = subprocess.run(line, shell=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert "jpeg" not in done.stdout.splitlines()[0]  # progress is not in the table's place
    assert Store(folder.parent / "closed").damaged == 0


@pytest.mark.parametrize("full", ["2>/dev/full", "2>/dev/full --no-report", ">/dev/full"])
def test_a_full_disk_behind_an_output_stream_ends_no_run(folder, full):
    run = folder.parent / "full"
    asked = [sys.executable, "-m", "bench", "run", "jpeg", "--dataset", str(folder)]
    asked += ["--metrics", "psnr", "--jobs", "1", "--no-pictures", "--run", str(run)]
    line = f"{shlex.join(asked)} {full}"
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert Manifest.read(run).finished
    assert (run / "report.html").exists() == ("--no-report" not in full)
    if full.startswith("2"):
        assert done.returncode == 0
    else:
        assert done.returncode == 2  # the table that was asked for is lost
        assert "error: standard output cannot be written (No space left" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_line_of_progress_that_cannot_be_written_is_lost():
    with open("/dev/full", "w") as full:
        Progress(stream=full).say("3 of 7")
        with contextlib.suppress(OSError):
            full.close()


def test_names_do_not_act_on_the_terminal(folder, capsys):
    (folder / "a\x1b[2Jb.png").write_bytes(b"no picture")
    where_to = ["--dataset", str(folder), "--metrics", "psnr", "--jobs", "1", "--no-report"]
    assert bench_main.main(["run", "jpeg", *where_to]) == 1
    assert bench_main.main(["run", "\x1b]0;mine\x07", *where_to]) == 2
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "u{1b}" in said.err
    run = str(folder.parent / "\x1b[2Jrun")
    assert bench_main.main(["run", "jpeg", *where_to[:-1], "--no-pictures", "--run", run]) == 1
    assert bench_main.main(["report", run, "--no-pictures"]) == 0
    assert bench_main.main(["compare", "--before", run, "--after", run, "--no-pictures"]) == 0
    for bad in (["run", "--jobs", "\x1b[2J"], ["\x1b[2J"], ["compare", "--csv", "\x1b.py"]):
        with pytest.raises(SystemExit):
            bench_main.main(bad)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert said.err.count("report: ") == 2


def test_a_metric_that_this_version_does_not_know_costs_no_report_and_is_noted(
    folder, measured, capsys
):
    run = folder.parent / "runs" / "newer"
    measured(run, "coarse", "jpeg")
    assert bench_main.main(["run", TOY, "jpeg", *where(folder), "--run", str(run)]) == 0
    manifest = json.loads((run / "run.json").read_text())
    manifest["metrics"]["beauty"] = "1"
    (run / "run.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert bench_main.main(["report", str(run), "--anchor", "jpeg"]) == 0
    assert "beauty" in capsys.readouterr().err
    assert "Left out: beauty" in (run / "report.html").read_text()
    assert bench_main.main(["compare", "--before", str(run), "--after", str(run)]) == 0
    assert "beauty" in capsys.readouterr().err
    loud = [option for option in where(folder) if option != "--quiet"]
    assert bench_main.main(["run", "jpeg", *loud, "--run", str(run), "--no-report"]) == 0
    assert "beauty" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        bench_main.main(["--version"])
    assert ended.value.code == 0
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"codec-bench {declared}\n"


def bd_rates(printed: str) -> dict[str, float]:
    (table,) = json.loads(printed)["comparisons"]
    return {row["label"]: row["cells"]["psnr"]["bd_rate_percent"]["value"] for row in table["rows"]}


@pytest.fixture
def three_runs(folder, measured, capsys):
    """`a` and `b` hold jpeg, `c` webp; and what jpeg needs against webp, from one run."""
    for name, codec in (("a", "jpeg"), ("b", "jpeg"), ("c", "webp")):
        measured(name, codec)
        assert bench_main.main(["run", codec, *where(folder), "--run", name, "--no-report"]) == 0
    measured("one", "jpeg", "webp")
    one = [*where(folder), "--run", "one", "--no-report", "--json"]
    capsys.readouterr()
    assert bench_compare.main(["jpeg", "webp", *one]) == 0
    needs = next(iter(bd_rates(capsys.readouterr().out).values()))
    assert bench_compare.main(["webp", "jpeg", *one]) == 0
    return needs, next(iter(bd_rates(capsys.readouterr().out).values()))


def test_history_tells_what_each_earlier_run_needs_against_the_last(three_runs, capsys):
    needs, _ = three_runs
    history = ["--history", "a", "b", "c", "--pair", "jpeg=webp"]
    assert bench_compare.main([*history, "--json"]) == 0
    rows = bd_rates(capsys.readouterr().out)
    assert [label[-3:] for label in rows] == ["(b)", "(a)"]
    assert list(rows.values()) == pytest.approx([needs, needs], rel=1e-9)
    page = Path("c/history.html").read_text()
    assert ", b to c" in page
    assert "History: image codecs" in page
    assert bench_compare.main(["--history", "a", "b", "--json", "--no-report"]) == 0
    assert list(bd_rates(capsys.readouterr().out).values()) == pytest.approx([0], abs=1e-9)


def test_a_renamed_codec_is_compared_with_itself_under_its_earlier_name(three_runs, capsys):
    _, gains = three_runs
    pair = ["--before", "a", "--after", "c"]
    assert bench_compare.main([*pair, "--pair", "jpeg=webp", "--json"]) == 0
    assert list(bd_rates(capsys.readouterr().out).values()) == pytest.approx([gains], rel=1e-9)
    changes = Page(Path("c/before-after.html").read_text()).table(id="change-table")
    assert ["name", "jpeg", "webp"] in [row[1:] for row in changes]
    assert bench_compare.main(pair) == 2
    assert "the runs share no codec" in capsys.readouterr().err
    # Also where the earlier run has a codec of the later name, too.
    assert bench_compare.main(["--before", "one", *pair[2:], "--pair", "jpeg=webp", "--json"]) == 0
    assert list(bd_rates(capsys.readouterr().out).values()) == pytest.approx([gains], rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--history", "a"], "two runs or more"),
        (["--history", "a", "./a"], "each run once"),
        (["--history", "a", "mine"], "mine"),
        (["--history", "a", "b", "--before", "a"], "--history, or --before"),
        (["--history", "a", "c", "--pair", "png=webp"], "png is in no earlier run. The run a"),
        (["--history", "a", "c", "--pair", "jpeg=png"], "png is not in the run c"),
        (["webp", "--history", "a", "c"], "webp is not in the run a. "),
        (["jpeg", "webp", "--pair", "jpeg=webp"], "--pair is for stored runs"),
        (["--history", "a", "b", "--pair", "jpeg"], "must be OLD=NEW"),
        (["--history", "a", "b", "--dataset", "samples"], "--dataset is for measuring: leave it"),
        (["--before", "a", "--after", "b", "--no-pack"], "--no-pack is for measuring: leave it"),
        (["--history", "a", "b", "--metrics", "ms-ssim"], "ms-ssim: not measured in b, which has"),
    ],
)
def test_wrong_histories_say_what_to_do(three_runs, capsys, arguments, reason):
    try:
        status: object = bench_compare.main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert reason in capsys.readouterr().err


def test_a_codec_is_not_taken_for_the_name_of_a_table(capsys):
    with pytest.raises(SystemExit) as stopped:
        bench_compare.main(["--markdown", "jpeg", "webp", "jpeg2000"])
    assert stopped.value.code == 2
    assert "jpeg is a codec, not a file for a table; give -" in capsys.readouterr().err
    assert not Path("jpeg").exists()
