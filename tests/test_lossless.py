"""Codecs that lose nothing: known as such, and compared by size and speed."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench import __main__ as bench_main
from bench.metrics.base import MetricValue
from bench.record.measurement import Measurement, Timing
from bench.verdict.lossless import compare_lossless
from codecs import registry
from codecs.base import BitstreamError, EncodeError, Point
from reports import tables
from reports.charts import make_charts
from tests.reports_cases import Page, comparison, failed, ladder, made_up, written

IMAGES = ("a.png", "b.png", "c.png")
SIZES = {"flate": (9000, 12000, 15000), "squeeze": (6000, 6000, 12000)}
"""Bytes of the pictures of 8000 pixels: 12 bpp and 8 bpp on average."""
CODECS = ("png", "webp:lossless", "jxl:lossless")


def kept(codec: str, image: str, order: int = 0, **changes: object) -> Measurement:
    """A measurement without loss."""
    row = made_up(codec, image, order, **changes)  # type: ignore[arg-type]
    values = {"ms-ssim": 1.0, "lpips-alex": 0.0}
    scores = {name: MetricValue(value, "1") for name, value in values.items()}
    psnr = MetricValue(None, "1", "infinite: the pictures are identical")
    return replace(row, metrics={**scores, "psnr": psnr})


def lossless(codec: str) -> list[Measurement]:
    return [kept(codec, i, bytes=size) for i, size in zip(IMAGES, SIZES[codec], strict=True)]


def two_and_lossy(*more: Measurement):
    rows = [*lossless("flate"), *lossless("squeeze"), *ladder("jpeg", 2.0), *ladder("vvenc")]
    return comparison([*rows, *more])


def words(text: str) -> str:
    return " ".join(text.split())


def test_sizes_are_held_against_raw_pictures_and_the_smallest():
    table = compare_lossless(two_and_lossy().results)
    assert table is not None
    flate, squeeze = table.points
    assert (flate.bpp, squeeze.bpp) == (12.0, 8.0)
    assert (flate.percent_of_raw, flate.percent_larger) == (50.0, pytest.approx(50.0))
    assert table.smallest is squeeze
    assert squeeze.percent_larger == 0.0
    # No resample can leave the range of the pictures' own ratios, 1.25 to 2.
    assert 25 <= flate.low < 50 < flate.high <= 100


@pytest.mark.parametrize("write", [tables.as_text, tables.as_markdown, tables.as_latex])
def test_tables_to_read_have_a_lossless_table_and_no_undefined_row(write):
    text = words(write([two_and_lossy()]).replace("\\", "").replace("|", "").replace("&", ""))
    assert "undefined" not in text
    assert "infinite" not in text
    assert re.search(r"flate 12\.000 50\.0 % .?.?50\.0 %", text.replace("+", ""))
    assert re.search(r"squeeze 8\.000 33\.3 % smallest 0\.016\d? 0\.064", text)
    assert re.search(r"against squeeze .?\[.?95 %", text)
    assert "timed alone" in text


@pytest.mark.parametrize("write", [tables.as_text, tables.as_markdown])
def test_one_line_says_where_lossless_codecs_are(write):
    text = words(write([two_and_lossy()]))
    assert text.count("flate, squeeze code without loss, so that they have no BD-rate") == 1


def test_data_have_the_figures_of_lossless_codecs():
    compared = two_and_lossy()
    lines = list(csv.DictReader(io.StringIO(tables.as_csv([compared]))))
    found = {(r["codec"], r["quantity"]): r for r in lines if not r["anchor"]}
    assert float(found["squeeze", "lossless_bpp"]["value"]) == 8.0
    assert float(found["flate", "lossless_percent_of_raw"]["value"]) == 50.0
    larger = found["flate", "lossless_percent_larger_than_smallest"]
    assert float(larger["low"]) < float(larger["value"]) < float(larger["high"])
    speed = found["flate", "lossless_decode_megapixels_per_second"]["value"]
    assert float(speed) == pytest.approx(0.008 / 0.125)
    assert {r["codec"] for r in lines if r["anchor"]} == {"jpeg"}
    document = json.loads(tables.as_json([compared]))
    assert document["lossless"]["smallest"] == "squeeze"
    assert [row["bpp"] for row in document["lossless"]["rows"]] == [12.0, 8.0]
    assert [row["codec"] for row in document["comparisons"][0]["rows"]] == ["jpeg"]


def test_the_page_has_the_table_a_caution_and_no_trace_of_the_infinite(tmp_path):
    _, page = written(tmp_path, two_and_lossy())
    rows = page.table(id="lossless-table")
    assert [row[0] for row in rows] == ["FLATEflate", "SQUEEZEsqueeze"]
    assert [row[1] for row in rows] == ["12.000", "8.000"]
    assert [row[0] for row in page.table(id="verdict-table")] == ["JPEGjpeg"]
    assert "flate, squeeze code without loss" in page.text
    assert "has no curve" not in page.text
    assert "unavailable" not in page.text
    assert all(
        row[0] not in {"FLATE", "SQUEEZE"} for table in page.all_tables("numbers") for row in table
    )


def test_without_a_lossless_point_there_is_no_such_table(tmp_path):
    compared = comparison([*ladder("jpeg", 2.0), *ladder("vvenc")])
    _, page = written(tmp_path, compared)
    assert "ossless" not in page.text
    for write in (tables.as_text, tables.as_markdown, tables.as_latex, tables.as_csv):
        assert "ossless" not in write([compared])
    assert "lossless" not in json.loads(tables.as_json([compared]))


def test_a_lossless_point_of_a_lossy_codec_is_in_both_tables(tmp_path):
    top = [kept("jpeg", image, 5, bytes=9000) for image in IMAGES]
    compared = comparison([*ladder("jpeg", 2.0), *top, *ladder("vvenc")])
    assert compared.rows[0].cells["psnr"].verdict.value == pytest.approx(100, abs=0.1)
    text = words(tables.as_text([compared]))
    assert "against jpeg [95 %]" in text
    assert "jpeg qp 25 9.000 37.5 % smallest" in text
    assert "without loss, so" not in text
    _, page = written(tmp_path, compared)
    assert page.measurements("jpeg")[5][4] == "infinite"
    assert "unavailable" not in page.text  # an infinite value is no failure


def test_a_point_that_loses_on_one_picture_is_not_lossless():
    mostly = [kept("mostly", i) for i in IMAGES[:2]] + [made_up("mostly", "c.png", 0)]
    compared = comparison([*mostly, *ladder("vvenc")])
    assert compare_lossless(compared.results) is None
    assert len(compared.rows) == 1


def test_where_psnr_was_not_measured_nothing_is_known_to_be_lossless():
    rows = [replace(m, metrics={"ms-ssim": MetricValue(1.0, "1")}) for m in lossless("flate")]
    results = comparison([*rows, *ladder("vvenc")], metrics=("ms-ssim",)).results
    assert compare_lossless(results) is None


def test_a_failure_costs_that_picture_and_the_table_says_so():
    rows = [*lossless("flate")[:2], failed("flate", "c.png", 0, "boom"), *lossless("squeeze")]
    compared = comparison([*rows, *ladder("vvenc")])
    table = compare_lossless(compared.results)
    assert table is not None
    assert [point.bpp for point in table.points] == [10.5, 6.0]
    text = words(tables.as_text([compared]))
    assert "mean size over 2 images" in text
    assert "Left out, for lack of a stream of each codec: c.png." in text


def test_points_that_share_no_picture_are_named():
    rows = [lossless("flate")[0], *lossless("squeeze")[1:]]
    table = compare_lossless(comparison([*rows, *ladder("vvenc")]).results)
    assert table is not None
    assert [point.codec.name for point in table.points] == ["squeeze"]
    assert table.left_out == ("a.png", "flate qp 50")


def test_times_taken_side_by_side_are_said_to_be():
    rows = [replace(m, jobs=2, encode=Timing(1.0, 1.0)) for m in lossless("flate")]
    text = words(tables.as_text([comparison([*rows, *ladder("vvenc")])]))
    assert "flate 12.000 50.0 % smallest 0.00800 0.0640" in text
    assert "timed 2 side by side" in text


def test_one_picture_gives_no_interval():
    rows = [lossless("flate")[0], lossless("squeeze")[0], *ladder("vvenc", images=IMAGES[:1])]
    assert "+50.0 %   " in tables.as_text([comparison(rows)])


def test_codecs_that_lose_nothing_have_no_curve_and_are_no_anchor_to_choose(tmp_path):
    compared = two_and_lossy()
    for chart in make_charts(compared, quick=False):
        assert {one.codec for one in chart.series} == {"jpeg", "vvenc"}
        assert chart.absent == ()
    text, _ = written(tmp_path, compared)
    (choice,) = re.findall(r'<select id="anchor">(.*?)</select>', text)
    assert re.findall(r">(\w+)<?", choice) == ["VVENC", "JPEG"]


def test_a_lossless_anchor_is_told_of_and_leaves_no_empty_table(tmp_path):
    compared = comparison([*lossless("flate"), *ladder("vvenc")], anchor="flate")
    assert compared.rows == ()
    text = tables.as_text([compared])
    assert "flate has no quality at which others could be held against it" in words(text)
    assert "BD-rate against" not in text
    assert r"\caption{BD-rate" not in tables.as_latex([compared])
    _, page = written(tmp_path, compared)
    assert len(page.table(id="lossless-table")) == 1
    assert "Only the anchor was measured" not in page.text


def test_where_all_codecs_are_lossless_no_other_anchor_is_asked_for():
    compared = comparison([*lossless("flate"), *lossless("squeeze")], anchor="flate")
    text = words(tables.as_text([compared]))
    assert "--anchor" not in text
    assert "Compare them by size" in text


@pytest.fixture
def folder(tmp_path, photo):
    path = tmp_path / "pictures"
    path.mkdir()
    for place in range(2):
        crop = np.ascontiguousarray(photo[40 * place : 40 * place + 40, :48])
        PillowImage.fromarray(crop).save(path / f"{place}.png")
    return path


def test_a_run_with_a_lossless_codec_last_takes_another_anchor(folder, tmp_path, capsys):
    where = ["--dataset", str(folder), "--run", str(tmp_path / "run"), "--metrics", "psnr"]
    assert (
        bench_main.main(["run", "jpeg", "webp", "png", *where, "--no-pictures", "--jobs", "1"]) == 0
    )
    shown = words(capsys.readouterr().out)
    assert "BD-rate against WebP" in shown
    assert "png codes without loss" in shown
    size = sum(
        len(
            registry.create("png").encode(np.array(PillowImage.open(p)), Point("compress_level", 9))
        )
        for p in folder.iterdir()
    )
    assert f"png {8 * size / (2 * 40 * 48):.3f} " in shown
    page = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert len(page.table(id="lossless-table")) == 1


@pytest.mark.parametrize("name", CODECS)
def test_lossless_codecs_give_back_every_sample(name, photo):
    codec = registry.create(name)
    assert codec.name == name
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (9, 14, 3), np.uint8)
    for image in (photo[:48, :64], photo[:1, :1], photo[:1, :17], photo[:33, :1], noise, noise * 0):
        for point in codec.points:
            data = codec.encode(image, point)
            assert data == codec.encode(np.ascontiguousarray(image), point)
            assert np.array_equal(codec.decode(data), image)


@pytest.mark.parametrize("name", CODECS)
def test_damaged_lossless_streams_and_odd_points_are_refused(name, photo):
    codec = registry.create(name)
    (point,) = codec.points
    data = codec.encode(photo[:48, :64], point)
    for stream in (b"", data[:7], data[: len(data) // 2], bytes(300)):
        with pytest.raises(BitstreamError):
            codec.decode(stream)
    for value in (-1, 1_000_000, "0", True):
        with pytest.raises(EncodeError, match="expected"):
            codec.encode(photo[:16, :16], Point(point.parameter, value))


def test_lossless_codecs_have_names_of_their_own():
    assert registry.create("jxl:lossless:effort-3").name == "jxl:effort-3:lossless"
    with pytest.raises(EncodeError, match="expected distance"):
        registry.create("jxl").encode(np.zeros((8, 8, 3), np.uint8), Point("distance", 0))


def test_the_check_says_that_nothing_is_lost(capsys):
    assert bench_main.main(["check", "png"]) == 0
    shown = words(capsys.readouterr().out)
    assert "without loss" in shown
    assert "inf" not in re.sub(r"inform\w*|infer\w*", "", shown)
