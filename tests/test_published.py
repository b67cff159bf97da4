"""Points that somebody else measured, as codecs of a comparison."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as bench_main
from bench import compare as bench_compare
from bench.literature import files, quoting
from bench.literature.files import PointsError
from bench.verdict.comparison import compare
from tests.helpers import collected
from tests.reports_cases import IMAGES, Page, data_of, ladder
from tests.test_commands import pictures

KNOWN = {
    "compressai-mbt2018": 11.6,
    "compressai-cheng2020-anchor": 4.5,
    "qarv": -5.9,
    "cool-chic-5.0": -6.1,
    "hpcm-large": -19.4,
}
"""BD-rates on Kodak's PSNR against VTM 18.0, 4:4:4, known from the sources' own files."""


def as_points(
    rows: list[tuple[str, float, float]], dataset: str = "set", name: str = "ELIC"
) -> str:
    """A CSV file of (metric, bpp, value)."""
    lines = [f"{dataset},{metric},{bpp!r},{value!r},{name}" for metric, bpp, value in rows]
    return "\n".join(["dataset,metric,bpp,value,name", *lines]) + "\n"


def test_known_bd_rates_by_the_command(capsys):
    named = [f"published:{name}" for name in (*KNOWN, "vtm-18.0")]
    assert bench_compare.main([*named, "--dataset", "kodak", "--metrics", "psnr", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    cells = {row["codec"]: row["cells"]["psnr"]["bd_rate_percent"] for row in found["rows"]}
    assert cells.keys() == {f"published:{name}" for name in KNOWN}
    for name, expected in KNOWN.items():
        cell = cells[f"published:{name}"]
        assert cell["value"] == pytest.approx(expected, abs=0.2)
        assert (cell["low"], cell["high"], cell["published"]) == (None, None, True)


def test_points_of_ones_own_beside_measured_ones(tmp_path, photo, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = pictures(tmp_path, photo).rename(tmp_path / "holiday")
    common = ["--dataset", str(folder), "--run", "run", "--metrics", "psnr", "--quiet"]
    toy = "jpeg@30,50,70,90"
    assert bench_main.main(["run", toy, *common, "--no-report"]) == 0
    means = curve_of(Path("run"))
    twice = [("psnr", 2 * bpp, psnr) for bpp, psnr in means]
    Path("twice.csv").write_text(as_points(twice, "Holiday", "Twice"), encoding="utf-8")
    capsys.readouterr()
    outputs = ["--csv", "--markdown", "t.md", "--latex", "t.tex", "--json", "t.json"]
    assert bench_compare.main(["./twice.csv", toy, *common, *outputs]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    row = next(row for row in rows if row["quantity"] == "bd_rate_percent")
    assert (row["label"], row["low"], row["high"]) == ("Twice (published)", "", "")
    assert float(row["value"]) == pytest.approx(100, abs=1e-3)
    assert "| Twice (published) | +100.0 %ᵖ;" in Path("t.md").read_text(encoding="utf-8")
    assert "$+100.0^{p}$" in Path("t.tex").read_text(encoding="utf-8")
    assert json.loads(Path("t.json").read_text())["comparisons"][0]["published"].keys() == {
        "./twice.csv"
    }
    text = Path("run/report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.table(id="verdict-table")[-1][0].startswith("Twice (published)")
    (drawn,) = data_of(text)["metrics"][0]["published"]
    assert (drawn["label"], drawn["shown"]) == ("Twice", True)
    # A published curve may be the anchor of a table.
    assert bench_compare.main([toy, "./twice.csv", *common, "--json", "--no-report"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    (row,) = found["rows"]
    assert row["codec"] == "jpeg"
    assert bench_compare.main([toy, "./twice.csv", *common, "--markdown", "--no-report"]) == 0
    assert "95 % interval" not in capsys.readouterr().out
    assert row["cells"]["psnr"]["bd_rate_percent"]["value"] == pytest.approx(-50, abs=1e-3)
    # Only the same pictures are compared.
    assert bench_main.main(["report", "run", "published:qarv"]) == 2
    assert "published:qarv has points on kodak, clic2022-test, and this" in capsys.readouterr().err


def curve_of(directory: Path) -> list[tuple[float, float]]:
    """(bpp, PSNR) of the only codec of a run: means over its pictures."""
    points: dict[int, list[tuple[float, float]]] = {}
    for line in (directory / "measurements.jsonl").read_text().splitlines():
        m = json.loads(line)
        bpp = 8 * m["bytes"] / (m["width"] * m["height"])
        points.setdefault(m["value"], []).append((bpp, m["metrics"]["psnr"]["value"]))
    return [tuple(np.mean(pairs, axis=0).tolist()) for _, pairs in sorted(points.items())]


def test_ms_ssim_is_averaged_as_published(tmp_path):
    results = collected(ladder("vvenc"), metrics=("ms-ssim", "lpips-alex"), dataset="set")
    codec = results.codecs[0]
    index, bpp = codec.metric("ms-ssim").mean(axis=1), codec.bpp.mean(axis=1)
    rows = [("ms-ssim", b, v) for b, v in zip(bpp.tolist(), index.tolist(), strict=True)]
    path = tmp_path / "same.csv"
    path.write_text(as_points(rows))
    quoted = quoting.quote(str(path), "set")
    (row,) = compare(replace(results, quoted=(quoted,)), "vvenc").rows
    assert len(IMAGES) > 1
    assert row.cells.keys() == {"ms-ssim"}  # nothing is said of what was not published
    assert row.cells["ms-ssim"].verdict.value == pytest.approx(0, abs=1e-9)


def test_what_compressai_writes_is_read(tmp_path):
    folder = tmp_path / "kodak"
    folder.mkdir()
    document = {
        "name": "mine",
        "results": {
            "psnr-rgb": [33.0, 30.0],
            "ms-ssim-rgb": [0.98, 0.95],
            "bpp": [0.5, 0.2],
            "encoding_time": [1, 2],
        },
    }
    (folder / "mine.json").write_text(json.dumps(document))
    quoted = quoting.quote(str(folder / "mine.json"), "kodak")
    assert quoted.label == "mine (published)"
    psnr, ms_ssim = quoted.curves
    assert (psnr.bpp, psnr.values) == ((0.2, 0.5), (30.0, 33.0))
    assert (ms_ssim.metric, ms_ssim.values) == ("ms-ssim", (0.95, 0.98))
    document |= {"dataset": "tecnick"}
    (folder / "mine.json").write_text(json.dumps(document))
    with pytest.raises(
        PointsError,
        match=r"points on tecnick, and this comparison is on kodak.* name of its folder",
    ):
        quoting.quote(str(folder / "mine.json"), "kodak")


def test_one_of_several_codecs_in_a_file(tmp_path):
    path = tmp_path / "all.csv"
    both = as_points([("psnr", 0.1, 30.0)], name="A") + "set,psnr,0.2,31,B\n"
    path.write_text(both)
    assert quoting.quote(f"{path}:B", "set").curves[0].bpp == (0.2,)
    with pytest.raises(PointsError, match=r"holds points of A, B: name one, as in .*all\.csv:A"):
        quoting.quote(str(path), "set")
    with pytest.raises(PointsError, match="A, B only"):
        quoting.quote(f"{path}:C", "set")


HEAD = "dataset,metric,bpp,value\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "no column dataset, metric, bpp, value"),
        ("a.csv", "metric,bpp,value\n", "no column dataset"),
        ("a.csv", HEAD, "no points"),
        ("a.csv", HEAD + "set,psnr,0.1\n", "line 2: value is no number"),
        ("a.csv", HEAD + "set,psnr,nan,30\n", "bpp is not finite"),
        ("a.csv", HEAD + "set,psnr,0,30\n", "0 are no bits per pixel"),
        ("a.csv", HEAD + "set,ms-ssim-y,1,12\n", "MS-SSIM is below 1"),
        ("a.csv", HEAD + "set,vmaf2,0.1,30\n", "the metric 'vmaf2' is none of psnr"),
        ("a.csv", HEAD + "set,ms-ssim,0.1,13\n", "call decibels ms-ssim-db"),
        ("a.csv", HEAD + ",psnr,0.1,30\n", "the data set has no name"),
        ("a.csv", HEAD + "set,psnr,0.1,30\n" * 10_001, "more than 10000 points"),
        ("a.csv", "x" * (2**20 + 1), "larger than 1048576 bytes"),
        ("a.csv", HEAD + "s" * 201 + ",psnr,0.1,30\n", "at most 200 characters"),
        ("a.json", "[" * 100_000, "a.json"),
        ("a.json", "{}", 'no "results"'),
        ("a.json", '{"results": {"bpp": [1], "psnr": [1, 2]}}', "as many numbers"),
        ("a.json", '{"results": {"bpp": [1], "psnr": [1e999]}}', "not finite"),
        ("a.json", '{"results": {"bpp": [true], "psnr": [1]}}', "is no number"),
        ("a.json", '{"name": 5, "results": {"bpp": [1], "psnr": [1]}}', "must be a text"),
    ],
)
def test_files_that_hold_no_points_say_why(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PointsError) as caught:
        files.read(path)
    assert message in str(caught.value)


def test_no_address_but_the_webs_becomes_a_link(tmp_path):
    path = tmp_path / "a.csv"
    for source, url in (("javascript:alert(1)", ""), ("https://a.org/b", "https://a.org/b")):
        path.write_text(f"dataset,metric,bpp,value,source\nset,psnr,0.1,30,{source}\n")
        assert files.read(path)[0].source.url == url


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["published:qarf", "published:qarv"], "did you mean 'qarv'"),
        (["./none.csv", "jpeg"], "none.csv cannot be read: No such file"),
        (["published:qarv", "jpeg", "--quick"], "leave out --quick"),
        (["published:qarv", "jpeg", "--images", "3"], "leave out --quick and --images"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_measured(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert bench_compare.main([*arguments, "--dataset", "kodak"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_points_are_not_replaced_by_a_table(tmp_path, capsys):
    path = tmp_path / "elic.csv"
    path.write_text(as_points([("psnr", 0.1, 30.0)]))
    with pytest.raises(SystemExit):
        bench_compare.main(["jpeg", "vvenc", "--csv", str(path)])
    assert "holds points of a codec" in capsys.readouterr().err
    assert path.read_text().startswith("dataset,")


def test_the_curves_that_ship_are_listed(capsys):
    assert bench_main.main(["list", "published"]) == 0
    said = capsys.readouterr().out
    assert "published:hpcm-large" in said
    assert "kodak: psnr, ms-ssim, lpips-alex" in said
