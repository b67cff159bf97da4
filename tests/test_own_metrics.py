"""Metrics from outside: a Python file or an entry point, and what goes wrong in them."""

from __future__ import annotations

import csv
import importlib
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from bench import __main__ as bench_main
from bench import metrics
from bench.metrics import MetricsEngine
from bench.record.manifest import Manifest
from bench.record.store import Store
from codecs.base import CodecUnavailable
from tests.conftest import ROOT

TOY = str(ROOT / "tests" / "toys" / "coarse.py")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLE = next(
    found
    for found in re.findall(r"```python\n(.*?)```", CONTRIBUTING, re.DOTALL)
    if "Metric" in found
)
"""Of the largest error of any sample."""

PLAIN = """
import math, os, time
import numpy as np
from bench.metrics import Metric

class Mine(Metric):
    name, version, higher_is_better = "mine", "1", True

    def score(self, original, decoded):
        {body}

metric = Mine
"""


@pytest.fixture
def folder(tmp_path, photo, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i in range(2):
        Pillow.fromarray(photo[i : i + 40, :50]).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path


def write(folder: Path, text: str, name: str = "Mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def plain(folder: Path, body: str, name: str = "Mine.py") -> Path:
    return write(folder, PLAIN.format(body=body), name)


def run(*arguments: str) -> int:
    given = ["--dataset", "pictures", "--run", "run", "--quiet", "--jobs", "1", "--no-pictures"]
    return bench_main.main(["run", *arguments, *given])


def rows():
    return list(Store(Path("run")))


def largest_error(row) -> float:
    """By our own arithmetic: what `tests/toys/coarse.py` cuts off of each sample."""
    original = np.asarray(Pillow.open(f"pictures/{row.image}"), int)
    shift = 8 - int(row.value)
    middle = (1 << shift) >> 1
    return float(np.abs((original >> shift << shift) + middle - original).max())


def test_kept_streams_are_scored_by_a_file_and_again_when_it_changes(folder, monkeypatch):
    assert run(TOY, "--metrics", "psnr", "--no-report") == 0
    before = {row.key: row for row in rows()}
    monkeypatch.setenv("TOY_LOG", str(folder / "log"))  # of what is encoded
    path = write(folder, EXAMPLE)
    assert run(TOY, "--metrics", "psnr", "./Mine.py", "--no-report") == 0
    assert {row.key: row.metric("largest-error") for row in rows()} == {
        row.key: largest_error(row) for row in rows()
    }
    versions = {row.metrics["largest-error"].version for row in rows()}
    assert versions == {Manifest.read(Path("run")).metrics["largest-error"]}
    assert re.fullmatch(r"1 \(Mine\.py [0-9a-f]{16}\)", *versions)

    path.write_text(EXAMPLE.replace(".max()", ".max() + 1000"))
    assert run(TOY, "--metrics", "./Mine.py", "--no-report") == 0
    assert {row.key: row.metric("largest-error") - 1000 for row in rows()} == {
        row.key: largest_error(row) for row in rows()
    }
    assert {row.key: row.encode for row in rows()} == {k: row.encode for k, row in before.items()}
    assert not (folder / "log").exists()


def test_a_report_of_such_scores_needs_no_file(folder, capsys):
    path = write(folder, EXAMPLE.replace('label = "', 'label = "<b>'))
    other = Path(TOY).read_text().replace('name = "coarse"', 'name = "also"').replace("2, 3, ", "")
    write(folder, other, "also.py")
    asked = ["./also.py", TOY, "--metrics", "psnr", str(path)]
    assert run(*asked, "--anchor", TOY) == 0
    assert "<b>largest error" in capsys.readouterr().out
    path.unlink()
    metrics.registry._DECLARED.clear()
    assert bench_main.main(["report", "run", "--no-pictures"]) == 0
    page = Path("run/report.html").read_text()
    assert "&lt;b&gt;largest error" in page
    assert "<b>largest" not in page
    lines = Path("run/tables/verdicts.csv").read_text().splitlines()
    figures = {row["metric"]: row for row in csv.DictReader(lines)}
    assert figures["largest-error"]["status"] == figures["psnr"]["status"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return float('nan')", "mine is not a number here"),
        ("return '3'", "TypeError: mine returned a str; expected a number"),
        ("return np.ones(3)", "TypeError: mine returned a ndarray; expected a number"),
        ("return None", "TypeError: mine returned a NoneType; expected a number"),
        ("return True", "TypeError: mine returned a bool; expected a number"),
        ("return math.inf", "mine is inf of pictures that differ"),
        ("return -math.inf", "mine is -inf of pictures that differ"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_score_says_why(tmp_path, photo, body, reason):
    engine = MetricsEngine(["psnr", source := str(plain(tmp_path, body))])
    scores = engine.score(engine.prepare(photo), 255 - photo)
    assert (scores[source].value, scores[source].reason) == (None, reason)
    assert scores["psnr"].value is not None


@pytest.mark.parametrize(
    ("value", "expected"), [("np.float32(0.5)", 0.5), ("np.array(2)", 2.0), ("7", 7.0)]
)
def test_what_counts_as_a_number(tmp_path, photo, value, expected):
    engine = MetricsEngine([source := str(plain(tmp_path, f"return {value}"))])
    assert engine.score(engine.prepare(photo), photo)[source].value == expected


def test_infinite_is_right_for_identical_pictures_alone(tmp_path, photo):
    engine = MetricsEngine([source := str(plain(tmp_path, "return math.inf"))])
    assert engine.score(engine.prepare(photo), photo)[source].is_infinite


def test_pictures_are_the_metrics_own(tmp_path, photo):
    """What it does to them does not reach the next score, of its own or of others."""
    lines = (
        "assert original.dtype == decoded.dtype == 'uint8'",
        "found = int(original.sum() + decoded.sum())",
        "original[:] = decoded[:] = 0",
        "return found",
    )
    path = plain(tmp_path, "\n        ".join(lines))
    engine = MetricsEngine([str(path), "psnr"])
    before, prepared = photo.copy(), engine.prepare(photo)
    scores = [engine.score(prepared, photo) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0][str(path)].value == 2 * int(before.sum())
    assert (photo == before).all()


@pytest.mark.parametrize(
    ("body", "reason"),
    [("time.sleep(99)", "longer than 2 s: stopped"), ("os._exit(4)", "died (exit status 4)")],
)
def test_a_metric_that_hangs_or_dies_costs_only_itself(folder, body, reason):
    plain(folder, body)
    write(folder, EXAMPLE, "good.py")
    asked = ["--metrics", "psnr", "./Mine.py", "good.py", "--no-report", "--images", "1"]
    assert run(f"{TOY}@1,6", *asked, "--time-limit", "2") == 1
    assert len(rows()) == 2
    for row in rows():
        assert reason in row.metrics["mine"].reason
        assert row.metric("psnr") > 0
        assert row.metric("largest-error") == largest_error(row)
    plain(folder, "return 1.0")
    assert run(f"{TOY}@1,6", *asked) == 0
    assert [row.metric("mine") for row in rows()] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("import nothing_of_this_name\nmetric = 1", "nothing_of_this_name.* install what it needs"),
        ("x = 1\nmetric = 1 / 0", r"ZeroDivisionError: division by zero \(line 2\)"),
        ("metric = 3", "needs a function or class metric"),
        ("def metric():\n    return 3", "expected a bench.metrics.Metric, got int"),
        (PLAIN.replace("{body}", "x").replace('"mine"', "3"), "its name is 3"),
        (PLAIN.replace("{body}", "x").replace('"mine"', '"a b"'), "'a b' cannot name"),
        (PLAIN.replace("{body}", "x").replace('"mine"', '"psnr"'), "belongs to a built-in"),
        (PLAIN.replace("{body}", "x").replace("True", "1"), "neither True nor False"),
        (PLAIN.replace("{body}", "x").replace(", higher_is_better", ", other"), "neither True"),
        (PLAIN.replace("{body}", "x").replace("version,", "other,"), "has no version"),
        ("metric = (", r"SyntaxError: '\('"),
    ],
)
def test_a_file_that_is_no_metric_is_refused_before_anything_is_measured(
    folder, capsys, text, hint
):
    path = write(folder, text)
    assert bench_main.main(["run", TOY, "--dataset", "pictures", f"--metrics={path}"]) == 2
    said = capsys.readouterr().err
    assert "Mine.py" in said
    assert re.search(hint, said)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "hint"), [("gone.py", "gone.py: cannot be read: No such"), ("psmr", "did you mean")]
)
def test_a_metric_that_is_not_there(folder, capsys, name, hint):
    assert run(TOY, "--metrics", "psnr", name) == 2
    assert hint in capsys.readouterr().err


def test_two_metrics_of_one_name_are_refused(folder, capsys):
    for name in ("a.py", "b.py"):
        plain(folder, "return 1", name)
    assert run(TOY, "--metrics", "a.py,b.py") == 2
    assert "have one name, 'mine': rename one" in capsys.readouterr().err


def test_metric_files_are_told_from_codec_files(folder):
    write(folder, EXAMPLE)
    assert run("--metrics", "PSNR", "Mine.py", f"{TOY}@1,6", "--no-report") == 0
    manifest = Manifest.read(Path("run"))
    assert list(manifest.metrics) == ["psnr", "largest-error"]
    assert manifest.codecs == ("coarse",)


def test_an_entry_point(folder, monkeypatch, capsys):
    info = folder / "metric_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: metric-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench.metrics]\nbig = metric_package:LargestError\n")
    write(folder, EXAMPLE, "metric_package.py")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    assert bench_main.main(["list", "metrics"]) == 0
    assert "big\n      from package metric-package" in capsys.readouterr().out
    assert "metric_package" not in sys.modules
    try:
        made = metrics.create("big")
        assert made.name == "largest-error"
        assert made.version.startswith("1 (metric_package.py ")
        black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
        assert made.score(made.prepare(black), white) == 255
    finally:
        sys.modules.pop("metric_package", None)


def test_what_its_constructor_lacks_is_the_reason(tmp_path):
    text = PLAIN.replace("{body}", "x").replace(
        "metric = Mine", "def metric():\n    raise MetricUnavailable('no weights')"
    )
    path = write(tmp_path, text.replace("import Metric", "import Metric, MetricUnavailable"))
    with pytest.raises(CodecUnavailable, match="no weights"):
        metrics.create(str(path))


def test_a_metric_without_a_value_of_one_picture_says_so_itself(tmp_path, photo):
    body = "from bench.metrics import MetricUnavailable; raise MetricUnavailable('too small')"
    engine = MetricsEngine([source := str(plain(tmp_path, body))])
    score = engine.score(engine.prepare(photo), photo)[source]
    assert (score.reason, bool(score.version)) == ("too small", True)  # not tried again
    assert not math.isfinite(math.nan if score.value is None else score.value)
