"""Points and pictures of a run for other programs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import bench
from bench import __main__ as bench_main
from bench import compare as bench_compare
from bench.export import safe_name
from bench.literature import files
from bench.record.measurement import digest
from tests.helpers import run_alone
from tests.test_commands import pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory, photo) -> Path:
    base = tmp_path_factory.mktemp("export")
    folder = pictures(base, photo).rename(base / "holiday")
    run_alone(folder, base / "run", "jpeg@30,60,90", "png")
    return base / "run"


def test_a_run_as_a_table_of_pandas(run):
    table = bench.load(run)
    lines = [json.loads(line) for line in (run / "measurements.jsonl").read_text().splitlines()]
    assert len(table) == len(lines)
    assert {"codec", "image", "bpp", "psnr", "encode_seconds", "status"} <= set(table.columns)
    stored = {m["key"]: m for m in lines}
    for row in table.itertuples():
        m = stored[row.key]
        assert row.bpp == pytest.approx(8 * m["bytes"] / (m["width"] * m["height"]))
        assert row.encode_seconds == m["encode"]["cpu"]
        assert row.decode_wall == m["decode"]["wall"]


def test_means_as_csv_are_points_that_are_read_in_again(run, tmp_path, capsys):
    assert bench_main.main(["export", str(run), "--to", str(tmp_path)]) == 0
    table = bench.load(run)
    jpeg = table[table.codec == "jpeg"].groupby("value")[["bpp", "psnr"]].mean()
    (curve,) = [c for c in files.read(tmp_path / "points.csv") if c.label == jpeg_label(table)]
    assert curve.dataset == "holiday"
    assert curve.bpp == pytest.approx(jpeg.bpp.tolist())
    assert curve.values == pytest.approx(jpeg.psnr.tolist())
    assert len((tmp_path / "pictures.csv").read_text().splitlines()) == len(table) + 1


def test_means_of_a_part_of_a_set_do_not_pass_for_the_set(run, tmp_path, capsys, monkeypatch):
    """A codec on one picture would else be compared with another on all of them."""
    monkeypatch.chdir(tmp_path)
    folder = str(run.parent / "holiday")
    one = ["jpeg@30,60,90", "--dataset", folder, "--metrics", "psnr", "--images", "1"]
    assert bench_main.main(["run", *one, "--run", "one", "--no-report"]) == 0
    assert bench_main.main(["export", "one", "--to", "csv"]) == 0
    assert bench_main.main(["export", "one", "--to", "json", "--format", "compressai"]) == 0
    for path in ("csv/points.csv", "json/jpeg.json"):
        (curve,) = files.read(tmp_path / path)
        assert curve.dataset == "holiday (1 image)"
    capsys.readouterr()
    both = ["./csv/points.csv", "jpeg@30,60,90", "--dataset", folder, "--metrics", "psnr"]
    assert bench_compare.main([*both, "--run", "all", "--no-report"]) == 2
    assert "has points on holiday (1 image)" in capsys.readouterr().err


def test_it_is_said_when_a_run_has_shrunk_to_fewer_pictures(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "run")
    asked = ["jpeg@30,60,90", "--dataset", str(run.parent / "holiday"), "--metrics", "psnr"]
    asked += ["--run", str(tmp_path / "run"), "--no-report", "--quiet"]
    assert bench_main.main(["run", *asked]) == 0
    assert "covers" not in capsys.readouterr().err
    assert bench_main.main(["run", *asked, "--images", "1"]) == 0
    assert "this covers 1 of the 2 pictures" in capsys.readouterr().err
    assert bench_main.main(["export", str(tmp_path / "run"), "--format", "pgfplots"]) == 0
    assert "this covers 1 of the 2 pictures" in capsys.readouterr().err
    assert "% means over holiday (1 image)" in (tmp_path / "run/export/curves.tex").read_text()
    assert bench_main.main(["study", str(tmp_path / "run"), "--at", "1bpp"]) == 2  # of one codec
    assert "this covers 1 of the 2 pictures" in capsys.readouterr().err


def jpeg_label(table) -> str:
    return table[table.codec == "jpeg"].label.iloc[0]


def test_means_as_compressai_writes_them(run, tmp_path):
    assert (
        bench_main.main(["export", str(run), "--format", "compressai", "--to", str(tmp_path)]) == 0
    )
    results = json.loads((tmp_path / "jpeg.json").read_text())["results"]
    assert results.keys() == {"bpp", "psnr-rgb", "encoding_time", "decoding_time"}
    assert {len(values) for values in results.values()} == {3}
    (curve,) = files.read(tmp_path / "jpeg.json")
    assert curve.values == pytest.approx(results["psnr-rgb"])


def test_curves_for_pgfplots(run, tmp_path):
    assert bench_main.main(["export", str(run), "--format", "pgfplots", "--to", str(tmp_path)]) == 0
    text = (tmp_path / "curves.tex").read_text()
    assert text.count(r"\begin{axis}") == text.count(r"\end{axis}") == 1
    line = next(line for line in text.splitlines() if line.startswith(r"\addplot"))
    table = bench.load(run)
    bpp = table[(table.codec == "jpeg") & (table.value == 30)].bpp.mean()
    assert f"({bpp:.5f}," in line
    assert line.count("(") == 3


def test_pictures_and_streams_under_plain_names(run, tmp_path):
    assert bench_main.main(["export-images", str(run), "jpeg", "--to", str(tmp_path)]) == 0
    rows = list(csv.DictReader((tmp_path / "manifest.csv").open()))
    table = bench.load(run)
    jpeg = table[table.codec == "jpeg"]
    assert len(rows) == len(jpeg)
    name = safe_name(Path(jpeg.image.iloc[0]).stem)
    assert (tmp_path / f"{name}.jpeg.quality30.png").is_file()
    for row in rows:
        stream = (tmp_path / row["stream"]).read_bytes()
        assert digest(stream) == row["stream_sha256"]
        assert len(stream) == int(row["bytes"])
        with (
            Pillow.open(tmp_path / row["file"]) as shown,
            Pillow.open(tmp_path / row["stream"]) as coded,
        ):
            assert np.array_equal(np.asarray(shown), np.asarray(coded.convert("RGB")))


def test_what_is_no_run_is_said(tmp_path, capsys):
    assert bench_main.main(["export", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
