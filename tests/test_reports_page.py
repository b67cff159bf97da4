"""The report's page: its numbers are the measurements, and nothing in it acts."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from xml.etree import ElementTree

import bjontegaard
import numpy as np
import pytest

from bench import literature
from bench.verdict.comparison import Comparison, compare
from bench.verdict.curve import on_scale
from reports import write_report
from tests import test_lossless
from tests.reports_cases import (
    IMAGES,
    PROVENANCE,
    close,
    comparison,
    data_of,
    drawings,
    failed,
    figure,
    kodak,
    ladder,
    made_up,
    plain,
    plainly_written,
    written,
)


def test_the_verdict_table_shows_the_verdicts():
    compared = plain()
    _, page = plainly_written()
    rows = page.table(id="verdict-table")
    assert len(rows) == 2
    for shown, row in zip(rows, compared.rows, strict=True):
        assert row.codec in shown[0]
        for cell, metric in zip(shown[1:], compared.results.metrics, strict=True):
            verdict = row.cells[metric].verdict
            value, low, high = (float(x) for x in re.findall(r"[-+]\d+\.\d", cell)[:3])
            assert math.isclose(value, verdict.value or math.nan, abs_tol=0.0501)
            assert math.isclose(low, verdict.low or 0.0, abs_tol=0.0501)
            assert math.isclose(high, verdict.high or 0.0, abs_tol=0.0501)
            assert f"overlap {100 * verdict.overlap:.0f} %" in cell
    assert figure(rows[0][1]) == 100.0  # twice the bits, known beforehand
    assert figure(rows[1][1]) == 50.0


def test_the_sentence_names_the_anchor_and_the_figures():
    _, page = plainly_written()
    assert re.search(
        r"JPEG needs 100\.0 % \[[\d.]+, [\d.]+\] more bits than VVENC at equal PSNR, 100\.0 % ",
        page.text,
    )


def test_the_numbers_of_each_chart_are_means_of_the_measurements():
    compared = plain()
    _, page = plainly_written()
    tables = page.all_tables("numbers")
    assert len(tables) == 3
    for table, metric in zip(tables, compared.results.metrics, strict=True):
        rows = iter(table)
        for codec in compared.results.codecs:
            for place, point in enumerate(codec.points):
                row = next(rows)
                values = codec.metric(metric)[place]
                assert row[:2] == [codec.label, point]
                assert close(row[2], codec.bpp[place].mean(), 4)
                digits = 4 if metric == "lpips-alex" else 2
                assert close(row[3], on_scale(metric, values).mean(), digits)
                if metric == "ms-ssim":
                    assert close(row[4], values.mean(), 5)
                    assert close(row[5], -10 * math.log10(1 - values.mean()), 2)
                if metric == "psnr":
                    assert close(row[4], -10 * math.log10(np.mean(10 ** (-values / 10))), 2)


def test_every_measurement_is_in_the_page_as_stored():
    compared = plain()
    _, page = plainly_written()
    for codec in compared.results.codecs:
        rows = page.measurements(codec.name)
        stored = {(m.image, m.point.label): m for m in codec.measurements.values()}
        assert len(rows) == len(stored) == len(IMAGES) * 5
        for row in rows:
            m = stored[row[0], row[1]]
            assert int(row[2]) == m.bytes
            assert close(row[3], m.bpp, 4)
            for cell, metric in zip(row[4:7], compared.results.metrics, strict=True):
                assert close(cell, m.metric(metric), 3 if metric == "psnr" else 4)
            assert row[7] == f"{m.encode.wall:.3f}"  # type: ignore[union-attr]
            assert row[8:] == ["0.125", "1"]


def ranking(text: str) -> list[ElementTree.Element]:
    """The items of the first anchor's picture, as XML."""
    found = re.search(r'<div class="ranking">.*?</div>', text, re.DOTALL)
    assert found
    closed = re.sub(r"(<li .*?)(?=<li |</ol>)", r"\1</li>", found.group(), flags=re.DOTALL)
    return list(ElementTree.fromstring(closed).iter("li"))


def shown(item: ElementTree.Element) -> list[ElementTree.Element]:
    return [one for one in item.iter() if "hidden" not in one.attrib]


def test_the_first_picture_has_the_codecs_in_order_with_value_and_interval(tmp_path):
    rows = [*ladder("worst", 3.0), *ladder("best", 0.8), *ladder("jpeg", 2.0), *ladder("vvenc")]
    compared = comparison(rows)
    text, _ = written(tmp_path, compared)
    _, *items, rule = ranking(text)
    assert "hidden" in rule.attrib
    names = [compared.results.codecs[int(one.attrib["data-codec"])].name for one in items]
    assert names == ["best", "jpeg", "worst"]
    dots, ends = [], []
    for name, item in zip(names, items, strict=True):
        verdict = next(r for r in compared.rows if r.codec == name).cells["psnr"].verdict
        track = next(
            one for one in shown(item) if one.tag == "svg" and "track" in one.attrib["class"]
        )
        zero, whisker, dot = track
        dots.append((math.log1p((verdict.value or 0) / 100), float(dot.attrib["cx"].rstrip("%"))))
        ends += [
            (math.log1p((end or 0) / 100), float(whisker.attrib[x].rstrip("%")))
            for end, x in ((verdict.low, "x1"), (verdict.high, "x2"))
        ]
        dots.append((0.0, float(zero.attrib["x1"].rstrip("%"))))
        words = " ".join("".join(item.itertext()).split())
        assert f"{verdict.value:+.1f}".replace("-", "\N{MINUS SIGN}") in words
    ratios, places = np.array([*dots, *ends]).T
    np.testing.assert_allclose(np.polyval(np.polyfit(ratios, places, 1), ratios), places, atol=0.02)
    assert 0 <= min(places) < max(places) <= 100
    words = " ".join("".join(shown(one)[0].itertext()) for one in shown(items[0]))
    assert "needs 20\xa0% fewer bits than VVENC" in words


def test_what_has_no_figure_stands_below_the_axis_with_a_word(tmp_path):
    partial = [*ladder("part", 0.5)[:-1], failed("part", "c.png", 4, "ran out of time")]
    rows = [*partial, *ladder("jpeg", 2.0), *test_lossless.lossless("flate"), *ladder("vvenc")]
    rows += ladder("one", points=1)
    compared = comparison(rows, unavailable={"jxl": "no JPEG XL here; install it"})
    text, _ = written(tmp_path, compared)
    items = ["".join(item.itertext()).strip() for item in ranking(text)]
    place = next(i for i, words in enumerate(items) if words == "Not in the order")
    assert [words.split()[0] for words in items[1:place]] == ["JPEG"]
    below = dict(zip(("PART", "ONE", "FLATE", "jxl"), items[place + 1 :], strict=True))
    assert all(words.startswith(name) for name, words in below.items())
    for name, word in {"ONE": "undefined", "FLATE": "lossless", "jxl": "not run"}.items():
        assert word in below[name]
    assert "¶" in below["PART"]
    assert "no JPEG XL here" in below["jxl"]


def test_the_script_has_the_figures_of_every_anchor():
    compared = plain()
    text, _ = plainly_written()
    data = data_of(text)
    codecs = compared.results.codecs
    assert [one["name"] for one in data["anchors"]] == ["vvenc", "jpeg", "worse"]
    for shown in data["anchors"]:
        expected = compare(compared.results, shown["name"])
        for row, one in zip(shown["rows"], expected.rows, strict=True):
            assert codecs[row["codec"]].name == one.codec
            assert codecs[row["against"]].name == shown["name"]
            for percent, verdict in zip(row["percent"], one.cells.values(), strict=True):
                found = verdict.verdict
                assert percent == pytest.approx([found.value, found.low, found.high], abs=1e-4)
    for name, metric in zip(compared.results.metrics, data["metrics"], strict=True):
        for place, points in metric["series"].items():
            codec = codecs[int(place)]
            assert [p[1] for p in points] == pytest.approx(codec.bpp.mean(axis=1), abs=1e-5)
            assert [p[3] for p in points] == pytest.approx(
                codec.metric(name).mean(axis=1), abs=1e-6
            )


def test_rates_by_image_are_the_bd_rates_of_each_image():
    compared = plain()
    text, page = plainly_written()
    data = data_of(text)
    codecs = compared.results.codecs
    for pair, metrics in data["pairs"].items():
        first, second = (codecs[int(place)] for place in pair.split("-"))
        for name, found in metrics.items():
            values = [on_scale(name, codec.metric(name)) for codec in (first, second)]
            for image, steps in enumerate(found["images"]):
                expected = (
                    bjontegaard.bd_rate(
                        first.bpp[:, image],
                        values[0][:, image],
                        second.bpp[:, image],
                        values[1][:, image],
                        method="pchip",
                        require_matching_points=False,
                    )
                    if name != "lpips-alex"
                    else bjontegaard.bd_rate(
                        first.bpp[:, image],
                        -values[0][:, image],
                        second.bpp[:, image],
                        -values[1][:, image],
                        method="pchip",
                        require_matching_points=False,
                    )
                )
                assert 100 * (10 ** (steps * data["step"]) - 1) == pytest.approx(expected, abs=0.01)
    assert [row[0] for row in page.table(id="win-table")] == list(IMAGES)
    ratio = data["pairs"]["0-2"]["psnr"]["images"][0] * data["step"]  # jpeg, vvenc
    assert close(page.table(id="win-table")[0][1], 100 * (10**-ratio - 1), 1)
    assert 99 < figure(page.table(id="win-table")[0][1]) < 101


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]+", text))


def no_overlap() -> Comparison:
    poor = [
        made_up("poor", i, o, metrics={"lpips-alex": 0.9 - 0.01 * o})
        for i in IMAGES
        for o in range(5)
    ]
    return comparison([*poor, *ladder("vvenc")])


def broken() -> Comparison:
    rows = [*ladder("jpeg", 2.0), *ladder("vvenc")]
    rows[4] = failed("jpeg", "a.png", 4, "ran out of time")
    return comparison(rows, unavailable={"jxl": "no JPEG XL here; install it"})


def all_failed() -> Comparison:
    rows = [failed("jpeg", i, o, "no such tool") for i in IMAGES for o in range(5)]
    return comparison([*rows, *ladder("vvenc")])


def without_metric() -> Comparison:
    nothing = {"lpips-alex": None}
    return comparison([*ladder("jpeg", 2.0, metrics=nothing), *ladder("vvenc", metrics=nothing)])


def lossless() -> Comparison:
    same = {"psnr": math.inf, "ms-ssim": 1.0, "lpips-alex": 0.0}
    return comparison([*ladder("png", 3.0, metrics=same), *ladder("vvenc")])


CASES = {
    "no overlap": no_overlap,
    "one failure": broken,
    "all failed": all_failed,
    "metric unavailable": without_metric,
    "lossless": lossless,
    "one image": lambda: comparison(
        [*ladder("jpeg", 2.0, images=("a.png",)), *ladder("vvenc", images=("a.png",))]
    ),
    "one point": lambda: comparison([*ladder("jpeg", points=1), *ladder("vvenc", points=1)]),
    "anchor alone": lambda: comparison(ladder("vvenc")),
    "one measurement": lambda: comparison(ladder("vvenc", images=("a.png",), points=1)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_undefined_is_said_in_words(tmp_path, case):
    text, page = written(tmp_path, case(), drawn=True)
    assert not {"nan", "NaN", "None", "inf", "undefinedError"} & words(page.text)
    for drawing in drawings(text):
        attributes = " ".join(v for e in drawing.iter() for v in e.attrib.values())
        assert not {"nan", "inf", "None"} & words(attributes)
    for path in (tmp_path / "tables").iterdir():
        assert not {"nan", "NaN", "None", "Infinity"} & words(path.read_text())


def test_undefined_bd_rate_gives_way_to_rates(tmp_path):
    compared = no_overlap()
    _, page = written(tmp_path, compared)
    cell = page.table(id="verdict-table")[0][3]
    assert cell.startswith("undefined")
    assert "no overlap" in cell
    opened = [a for t, a in page.tags if t == "details" and "open" in a]
    assert len(opened) == 2  # the table of LPIPS at given rates, and the anchor's settings
    point = compared.rows[0].cells["lpips-alex"].own_points[2]
    assert f"{point.anchor_quality:.4f}" in page.text
    assert f"{point.quality:.4f}" in page.text


def test_failures_are_rows_with_their_reasons(tmp_path):
    _, page = written(tmp_path, broken())
    rows = page.table(id="failure-table")
    assert ["jxl", "every image", "unavailable", "no JPEG XL here; install it"] in rows
    assert ["JPEG", "a.png, qp 30", "failed", "ran out of time"] in rows
    measured = page.measurements("jpeg")
    assert ["a.png", "qp 30", "failed: ran out of time"] in measured
    assert "leave out jpeg qp 30: no finite value on some images" in page.text


def test_an_unavailable_metric_has_its_reason_once(tmp_path):
    _, page = written(tmp_path, without_metric())
    rows = page.table(id="failure-table")
    assert rows == [["LPIPS (AlexNet)", "30 measurements", "unavailable", "weights are missing"]]
    assert len(page.all_tables("numbers")) == 2


def test_a_picture_too_small_for_a_metric_is_left_out_for_all(tmp_path):
    rows = [
        made_up(c, i, o, metrics={"ms-ssim": None} if i == "a.png" else None)
        for c in ("jpeg", "vvenc")
        for i in IMAGES
        for o in range(5)
    ]
    compared = comparison(rows)
    _, page = written(tmp_path, compared)
    psnr, ms_ssim, _ = page.all_tables("numbers")
    codec = compared.results.codecs[0]
    assert close(psnr[0][2], codec.bpp[0].mean(), 4)
    assert close(ms_ssim[0][2], codec.bpp[0, 1:].mean(), 4)
    assert "leave out 1 image without a value from every codec: a.png" in page.text


def test_published_curves_stand_beside_the_full_set_only(tmp_path):
    rows = kodak({"jpeg": 2.0, "vvenc": 1.0})
    whole = comparison(rows)
    text, page = written(tmp_path, whole)
    assert "VTM 18.0" in page.text
    assert "published, not measured here" in page.text
    published = {one["id"]: one for one in data_of(text)["metrics"][0]["published"]}
    assert {"vtm-18.0", "bpg444"} <= {id_ for id_, one in published.items() if one["shown"]}
    (vtm,) = (c for c in literature.curves(literature.KODAK, "psnr") if c.id == "vtm-18.0")
    assert [p[1] for p in published["vtm-18.0"]["points"]] == pytest.approx(
        vtm.values[: len(published["vtm-18.0"]["points"])], abs=0.0051
    )
    rows_of = [r for table in page.all_tables("published-numbers") for r in table]
    assert len(rows_of) > 30
    assert any(re.fullmatch(r"(0\.\d{3}: \d\d\.\d\d(; )?)+", row[1]) for row in rows_of)
    subset = comparison([row for row in rows if row.image != "kodim24.png"])
    quick = replace(PROVENANCE, quick=True)
    other = comparison(kodak({"jpeg": 2.0, "vvenc": 1.0}, mirrored=True))
    for compared, provenance in ((subset, PROVENANCE), (whole, quick), (other, PROVENANCE)):
        _, page = written(tmp_path, compared, provenance=provenance)
        assert "VTM 18.0" not in page.text


def test_the_clic_test_set_is_mentioned_but_never_drawn(tmp_path):
    rows = [replace(row, dataset="clic22") for row in (*ladder("jpeg", 2.0), *ladder("vvenc"))]
    text, page = written(tmp_path, comparison(rows))
    assert "other images than these" in page.text
    assert 'class="published' not in text


def test_both_averages_are_shown_where_they_disagree(tmp_path):
    def spread(codec: str, uneven: float):
        return [
            made_up(codec, i, o, metrics={"psnr": 27 + 2.9 * o + uneven * (2 * k - 2)})
            for k, i in enumerate(IMAGES)
            for o in range(5)
        ]

    compared = comparison([*spread("uneven", 4.0), *spread("vvenc", 0.1)])
    cell = compared.rows[0].cells["psnr"]
    assert cell.pooled.value is not None
    assert cell.verdict.value is not None
    _, page = written(tmp_path, compared)
    row = next(r for r in page.table(id="pooling-table") if r[1] == "PSNR")
    assert close(row[2], cell.verdict.value, 1)
    assert close(row[3], cell.pooled.value, 1)
    assert close(row[4], cell.pooled.value - cell.verdict.value, 1)


def test_other_anchors_have_a_table(tmp_path):
    rows = [*ladder("jpeg", 2.0), *ladder("vvenc:faster", 1.25), *ladder("vvenc")]
    others = comparison(rows, anchor="vvenc:faster")
    _, page = written(tmp_path, comparison(rows), others)
    shown = page.table(id="anchor-table")
    assert shown[0][:2] == ["VVENC:FASTER", "JPEG"]
    assert figure(shown[0][2]) == 60.0  # 2 / 1.25 - 1


def test_timings_say_whether_they_were_taken_alone(tmp_path):
    rows = [replace(row, jobs=4) for row in (*ladder("jpeg", 2.0), *ladder("vvenc"))]
    _, page = written(tmp_path, comparison(rows))
    assert {row[-1] for row in page.measurements("jpeg")} == {"4"}
    assert {row[-1] for row in page.table(id="cost-table")} == {"4 side by side"}
    assert "up to 4 measurements side by side" in page.text


def test_when_where_and_in_what_company_is_told_by_the_measurements(tmp_path):
    rows = [
        replace(row, jobs=4, host="<b>one", time="2026-01-02T03:04:05Z")
        for row in (*ladder("jpeg", 2.0), *ladder("vvenc"))
    ]
    rows[0] = replace(rows[0], jobs=1, host="two", time="2026-02-03T04:05:06Z")
    _, page = written(tmp_path, comparison(rows))
    assert "2026-01-02T03:04:05Z to 2026-02-03T04:05:06Z" in page.text
    assert "<b>one, two" in page.text
    assert "1 or 4" in page.text


def test_settings_versions_and_commands_are_there_to_the_letter(tmp_path):
    command = "ffmpeg -i in.yuv -c:v libvvenc  -qp 37 'out file.266'"
    rows = [*ladder("jpeg", 2.0), *ladder("vvenc", command=command)]
    provenance = replace(
        PROVENANCE, quick=True, command="python -m bench run", packages={"torch": "2.9.1"}
    )
    _text, page = written(tmp_path, comparison(rows), provenance=provenance)
    for expected in ("lib 1.2; weights 0f3a", "4:2:0", "torch 2.9.1", "digest of b.png"):
        assert expected in page.text
    assert " ".join(command.split()) in page.text
    assert "Quick run" in page.text


def test_no_comparison_still_gives_a_page_with_the_reasons(tmp_path):
    provenance = replace(PROVENANCE, unavailable={"vvenc": "no libvvenc in this FFmpeg"})
    _, page = written(tmp_path, provenance=provenance)
    assert "no libvvenc in this FFmpeg" in page.text


def test_a_second_report_leaves_the_first_alone(tmp_path):
    write_report(tmp_path, [plain()], PROVENANCE)
    path = write_report(tmp_path, [plain()], PROVENANCE, name="before-after")
    assert path.name == "before-after.html"
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "before-after-tables" / "verdicts.csv").exists()


def test_a_full_kodak_report_is_built_in_ten_seconds(tmp_path):
    codecs = {"a": 2.0, "b": 1.7, "c": 1.5, "d": 1.3, "e": 1.1, "vvenc": 1.0}
    compared = comparison(kodak(codecs))
    start = time.process_time()  # one thread: wall time on a machine with nothing else to do
    text, _ = written(tmp_path, compared)
    assert time.process_time() - start < 10
    assert len(text) < 500_000  # of characters, nearly all of one byte


def test_what_was_converted_of_a_decoder_s_pictures_is_told(tmp_path):
    rows = ladder("jpeg") + [
        replace(m, notes=("its 16 bits <were> rounded",)) for m in ladder("vvenc")
    ]
    _, page = written(tmp_path, comparison(rows))
    assert re.search(
        r"decoder of VVENC writes is converted .*compared: its 16 bits <were> rounded", page.text
    )
