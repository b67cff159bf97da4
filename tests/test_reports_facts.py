"""Claims, costs, what codecs tell, and what changed between two runs."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import __main__ as bench_main
from bench import compare as bench_compare
from bench import literature
from bench.record.measurement import Measurement
from bench.verdict.comparison import compare
from codecs.rdonet.diagnostics import describe
from codecs.registry import check_name
from reports import claims, costs, diagnostics
from reports.claims_page import write_claims
from reports.claims_rules import ABSENT, FAILS, HOLDS, OPEN
from reports.settings import codec_facts
from tests.conftest import ROOT
from tests.rdonet_toys import crop, toy
from tests.reports_cases import (
    PROVENANCE,
    Page,
    comparison,
    figure,
    ladder,
    made_up,
    plain,
    plainly_written,
    written,
)
from tests.reports_gallery import partition, pictured


def judged(**efficiency: float) -> dict[str, claims.ClaimRow]:
    names = {name: name.replace("__", ":").replace("_", "-") for name in efficiency}
    rows = [row for name, x in efficiency.items() for row in ladder(names[name], x)]
    rows += [] if "vvenc" in efficiency else ladder("vvenc")
    results = comparison(rows).results
    found = claims.claim_rows([compare(results, codec.name) for codec in results.codecs])
    return {row.text: row for row in found}


def about(rows: dict[str, claims.ClaimRow], words: str) -> claims.ClaimRow:
    return next(row for text, row in rows.items() if words in text)


def test_without_rdonet_there_are_no_claims():
    assert claims.claim_rows([plain()]) == []
    _, page = plainly_written()
    assert "Claims" not in page.text


def test_claims_are_judged_by_their_intervals():
    rows = judged(rdonet=0.7, rdonet_msssim=0.7, minnen=1.0, rdonet_msssim__full=0.66)
    assert about(rows, "than Minnen").verdict == HOLDS
    assert "-30.0 %" in about(rows, "than Minnen").figure
    assert about(rows, "at equal PSNR").verdict == FAILS  # it needs fewer
    assert about(rows, "at most 10 %").verdict == HOLDS
    assert about(rows, "One-pass").verdict == ABSENT
    assert about(rows, "One-pass").figure == "needs rdonet-msssim:one-pass"
    assert about(rows, "One-pass").command == (
        "python -m bench.compare rdonet-msssim:one-pass rdonet-msssim:full --dataset kodak"
    )
    worse = judged(rdonet=1.3, rdonet_msssim=1.3, minnen=1.0, rdonet_msssim__full=1.0)
    assert about(worse, "than Minnen").verdict == FAILS
    assert about(worse, "at most 10 %").verdict == FAILS
    assert about(worse, "at equal PSNR").verdict == HOLDS


def test_an_interval_on_both_sides_decides_nothing():
    rows = []
    for k, image in enumerate(("a.png", "b.png", "c.png")):
        rows += ladder("rdonet", (0.8, 1.0, 1.25)[k], images=(image,))
        rows += ladder("vvenc", images=(image,))
    results = comparison(rows).results
    found = claims.claim_rows([compare(results, name) for name in ("rdonet", "vvenc")])
    assert about({row.text: row for row in found}, "at equal PSNR").verdict == OPEN


def test_a_figure_over_little_of_the_curves_decides_nothing():
    high = [
        made_up("rdonet-msssim", image, order, efficiency=0.7)
        for image in ("a.png", "b.png", "c.png")
        for order in range(3, 8)
    ]
    results = comparison([*high, *ladder("minnen"), *ladder("vvenc")]).results
    found = claims.claim_rows([compare(results, c.name) for c in results.codecs])
    row = about({row.text: row for row in found}, "than Minnen")
    assert row.figure.startswith("-30.0 %")
    assert row.figure.endswith("(narrow overlap: only 25 % of the narrower curve compared)")
    assert row.verdict == OPEN


def test_what_leaves_out_pictures_decides_nothing():
    rows = ladder("rdonet-msssim", 0.7)
    for cut, verdict in ((rows, HOLDS), (rows[:-1], OPEN)):
        results = comparison([*cut, *ladder("minnen")], anchor="minnen").results
        found = claims.claim_rows([compare(results, c.name) for c in results.codecs])
        row = about({row.text: row for row in found}, "than Minnen")
        assert row.figure.startswith("-30.0 %")
        assert row.verdict == verdict


def test_where_curves_cross_neither_is_ahead_but_they_may_be_near():
    def crossing(name: str, gains: tuple[float, ...]):
        return [
            made_up(name, image, order, efficiency=gain)
            for image in ("a.png", "b.png", "c.png")
            for order, gain in enumerate(gains)
        ]

    rows = crossing("rdonet-msssim", (0.9, 0.9, 0.99, 1.02, 1.02))
    rows += [*ladder("minnen"), *ladder("vvenc"), *ladder("rdonet-msssim:full")]
    results = comparison(rows).results
    found = claims.claim_rows([compare(results, c.name) for c in results.codecs])
    texts = {row.text: row for row in found}
    ahead, near = about(texts, "than Minnen"), about(texts, "at most 10 %")
    assert ahead.figure.startswith("-")
    assert "crossing" in ahead.figure
    assert ahead.verdict == OPEN
    assert near.verdict == HOLDS


def test_pictures_of_one_block_size_say_nothing_of_the_bits_of_partitions():
    rows = [
        replace(row, diagnostics=partition(100, 80, 0, 1) | {"bytes": {"mask": order}})
        for order, row in enumerate(ladder("rdonet", points=3, images=("a.png",)))
    ]
    found = {row.text: row for row in claims.claim_rows([comparison([*rows, *ladder("vvenc")])])}
    assert about(found, "partition").figure == "3.00 bits, at most 4.00"  # 1 and 2 bytes, 4 CTUs


@pytest.mark.parametrize(("metric", "net"), [("lpips-alex", "AlexNet"), ("lpips-vgg", "VGG16")])
def test_lpips_must_be_lower_at_all_three_rates(metric, net):
    def codec(name: str, gains: tuple[float, ...]):
        return [
            made_up(name, i, o, metrics={metric: 0.5 - 0.06 * o - gains[o]}, bytes=50 * 2**o)
            for i in ("a.png", "b.png")
            for o in range(6)
        ]

    anchor = codec("vvenc", (0.0,) * 6)
    for gains, verdict in (((0.05,) * 6, HOLDS), ((0.05, 0.05, -0.05, -0.05, 0, 0), FAILS)):
        results = comparison([*codec("rdonet", gains), *anchor], metrics=(metric,)).results
        rows = claims.claim_rows([compare(results, "vvenc")])
        row = about({row.text: row for row in rows}, f"({net}) than VVenC slower")
        assert row.verdict == verdict, row
        assert row.figure.count("bpp:") == 3


def test_streams_coded_to_a_rate_decide_before_curves():
    rates = (0.075, 0.15, 0.3)

    def coded(name: str, gain: float):
        return [
            made_up(
                f"{name}@0.075,0.15,0.3bpp:corpus",
                *(image, order),
                metrics={"lpips-alex": 0.5 - 0.06 * order - gain - number / 100},
            )
            for number, image in enumerate(("a.png", "b.png", "c.png"))
            for order, _ in enumerate(rates)
        ]

    rows = [*ladder("rdonet"), *ladder("vvenc"), *coded("rdonet", 0.02), *coded("vvenc", 0)]
    compared = [compare(comparison(rows, metrics=("lpips-alex",)).results, "vvenc")]
    found = {row.text: row for row in claims.claim_rows(compared)}
    row = about(found, "(AlexNet) than VVenC slower")
    assert row.figure.split("; ") == [
        f"{rate:g} bpp, coded to it: -0.0200 [-0.0200, -0.0200]" for rate in rates
    ]
    assert row.verdict == HOLDS
    del rows[-1]  # of one picture the highest rate
    compared = [compare(comparison(rows, metrics=("lpips-alex",)).results, "vvenc")]
    found = {row.text: row for row in claims.claim_rows(compared)}
    assert about(found, "(AlexNet) than VVenC slower").verdict == OPEN


def test_claims_stand_in_the_page(tmp_path):
    _, page = written(tmp_path, pictured())
    rows = page.table(id="claim-table")
    assert len(rows) == len(claims.RDONET_CLAIMS)
    assert {row[2] for row in rows} <= {HOLDS, FAILS, OPEN, ABSENT}
    mask = next(row for row in rows if "partition" in row[0])
    assert mask[1:3] == ["3.33 bits, at most 4.00", HOLDS]  # 3 bytes for 6, 6 and 12 CTUs
    borders = next(row for row in rows if "blocks meet" in row[0])
    assert borders[1:3] == ["at most 1.300", FAILS]


def test_costs_are_medians_of_what_was_measured(tmp_path):
    rows = [*ladder("jpeg", 2.0), *ladder("vvenc")]
    model = {"kmac_per_pixel": 412.5, "bytes": 12_300_000, "parameters": 6e6}
    rows = [
        replace(row, diagnostics={"model": model}) if row.codec == "jpeg" else row for row in rows
    ]
    compared = comparison(rows)
    jpeg, _ = costs.costs(compared.results)
    seconds = compared.results.codec("jpeg").seconds("encode", "wall")
    assert jpeg.encode == pytest.approx(np.percentile(seconds, (50, 25, 75)))
    assert jpeg.encode_speed == pytest.approx(np.median(100 * 80 / 1e6 / seconds))
    _, page = written(tmp_path, compared)
    shown = page.table(id="cost-table")
    assert shown[0][1].startswith(costs.significant(float(np.median(seconds))))
    assert shown[0][5:7] == ["412" if costs.significant(412.5) == "412" else "413", "12.3"]
    assert shown[1][5:7] == ["\N{EN DASH}"] * 2


def learned(name: str, efficiency: float, **model: float) -> list[Measurement]:
    return [replace(m, diagnostics={"model": model}) for m in ladder(name, efficiency)]


def test_learned_codecs_stand_beside_each_other_with_what_they_cost(tmp_path):
    rows = learned("hyperprior", 2.0, kmac_per_pixel=100.0, bytes=1_500_000, training_hours=1.02)
    rows += learned("lee2019", 1.5, kmac_per_pixel=200.0, bytes=1e6)
    results = comparison([*rows, *ladder("vvenc"), *ladder("jpeg", 3.0)]).results
    compared = [compare(results, name) for name in ("vvenc", "hyperprior")]
    _, page = written(tmp_path, *compared)
    hyperprior, lee = page.table(id="learned-table")
    assert [round(figure(cell)) for cell in lee[5:]] == [50, 50, 50, -25, -25, -25]
    assert lee[1:5] == ["\N{EN DASH}", "200", "0.125", "1.00"]
    assert round(figure(hyperprior[5])) == 100
    assert hyperprior[1:5] == ["1.02", "100", "0.125", "1.50"]
    assert hyperprior[8:] == ["reference"] * 3
    one = comparison([*rows[:15], *ladder("vvenc")])
    assert 'id="learned-table"' not in written(tmp_path, one)[0]


def test_the_claims_page_has_the_learned_codecs(tmp_path):
    rows = [*learned("hyperprior", 2.0, kmac_per_pixel=100.0), *learned("rdonet", 1.5)]
    rows = [replace(m, diagnostics={"model": {"kmac_per_pixel": 100.0}}) for m in rows]
    page = tmp_path / "claims.md"
    write_claims(page, comparison([*rows, *ladder("vvenc")]), PROVENANCE)
    text = page.read_text()
    assert "| weights, MB | PSNR against VVENC | MS-SSIM against VVENC |" in text
    assert re.search(r"\| RDONET \| .* \| 100 \| 0.125 \| .*\+50.0 % \[.*\| -25.0 % \[", text)
    assert "the curves cross" not in text
    bent = [
        replace(m, bytes=(m.bytes or 0) // (2 if float(m.point.value) > 36 else 1))
        if m.codec == "rdonet"
        else m
        for m in rows
    ]
    write_claims(page, comparison([*bent, *ladder("vvenc")]), PROVENANCE)
    text = page.read_text()
    assert re.search(r"\| RDONET .* %† \[", text)
    assert "\n\n† the curves cross: which is ahead depends on quality.\n\n" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (1.005, "1.00"), (12.34, "12.3"), (1234.0, "1234"), (0.0, "0")],
)
def test_three_figures(value, text):
    assert costs.significant(value) == text


def of_stream(**facts: object):
    """A measurement of 160 x 128 pixels whose codec tells these facts."""
    return replace(made_up("x", "a.png", 2, width=160, height=128), diagnostics=facts)


LEVELS: dict[str, Any] = {
    "name": "levels",
    "cell": 32,
    "rows": ["00011", "00011", "01111", "11111"],
    "legend": [[0, "fine", 32], [1, "coarse", 64]],
}
HEAT = {"name": "bits", "cell": 64, "rows": [[1.5, 2, 3], [4, 5, 6]], "unit": "bits"}


def test_numbers_of_any_depth_are_read_under_their_names():
    facts = {
        "runs": 7,
        "bytes": {"header": 3, "body": {"y": 4.5}},
        "maps": [HEAT],
        "model": {"a": 1},
    }
    odd = {"text": "7", "truth": True, "none": None, "large": 10**400, "list": [1], "nan": math.nan}
    told = diagnostics.scalars(of_stream(**facts, **odd))
    assert told == {"runs": 7, "bytes: header": 3, "bytes: body: y": 4.5}


def test_maps_of_any_codec_are_read_as_they_were_told():
    levels, heat = diagnostics.maps(of_stream(maps=[LEVELS, HEAT]))
    assert levels.values.tolist() == [list(map(float, row)) for row in LEVELS["rows"]]
    assert [(one.text, one.block) for one in levels.legend] == [("fine", 32), ("coarse", 64)]
    assert heat.values.tolist() == HEAT["rows"]
    assert (heat.legend, heat.unit) == ((), "bits")
    shown = diagnostics.payload(of_stream(maps=[LEVELS | {"legend": [[1, "c", 64], [0, "f", 32]]}]))
    assert shown[0]["rows"][2] == [1, 0, 0, 0, 0]  # places in the legend


@pytest.mark.parametrize(
    "damage",
    [
        {"rows": ["00011"]},
        {"rows": ["00012"] * 4},
        {"rows": ["000"] * 4},
        {"rows": [["x"] * 5] * 4},
        {"rows": ["00011", "0"]},
        {"rows": [[float("inf")] * 5] * 4, "legend": []},
        {"rows": None},
        {"cell": 0},
        {"cell": "16"},
        {"legend": [[0, "fine"]]},
        {"legend": 7},
        {"legend": [[0, "fine", 0], [1, "coarse", 64]]},
    ],
)
def test_damaged_maps_are_passed_over(damage):
    (sound,) = diagnostics.maps(of_stream(maps=[LEVELS | damage, None, 3, HEAT]))
    assert sound.name == "bits"
    assert diagnostics.maps(of_stream(maps=damage)) == []


def test_what_a_codec_tells_has_a_table_of_every_point(tmp_path):
    _, page = written(tmp_path, pictured())
    tables = page.all_tables("told")
    assert len(tables) == 2  # only they tell anything
    first, full = ({row[0]: row[1:] for row in rows} for rows in tables)
    for side in (16, 32, 64):
        shares = [float(cell) for cell in first[f"levels: {side} px, % of the area"]]
        assert shares == pytest.approx([33.3] * 5, abs=0.1)
    assert first["cost: J"] == ["1.25", "1.15", "1.05", "0.950", "0.850"]
    assert first["coding runs"] == ["1.00"] * 5
    assert full["estimated cost: found"] == ["1.20"] * 5
    assert "estimated cost: found" not in first


def test_before_and_after_says_what_changed(tmp_path, photo, monkeypatch, capsys):
    from PIL import Image as PillowImage

    folder = tmp_path / "pictures"
    folder.mkdir()
    PillowImage.fromarray(photo[:80, :90]).save(folder / "one.png")
    PillowImage.fromarray(photo[80:, :90]).save(folder / "two.png")
    monkeypatch.chdir(tmp_path)
    toy = ROOT / "tests" / "toys" / "coarse.py"
    for name, release in (("a", "1.0"), ("b", "2.0 <b>")):
        codec = tmp_path / f"toy-{name}" / "coarse.py"
        codec.parent.mkdir()
        codec.write_text(toy.read_text(encoding="utf-8"))
        monkeypatch.setenv("TOY_VERSION", release)
        arguments = ["--dataset", str(folder), "--metrics", "psnr", "--quiet", "--no-report"]
        assert bench_main.main(["run", str(codec), *arguments, "--run", name]) == 0
    assert bench_compare.main(["--before", "a", "--after", "b"]) == 0
    page = Page((tmp_path / "b" / "before-after.html").read_text())
    changes = page.table(id="change-table")
    version = next(row for row in changes if row[1] == "version")
    assert "1.0" in version[2]
    assert "2.0 <b>" in version[3]
    assert not [row for row in changes if row[0] in {"machine", "packages", "metrics"}]
    headings = [a["id"] for t, a in page.tags if t == "h2" and "id" in a]
    assert headings[0] == "changes"


def test_what_rdonet_itself_tells_is_understood():
    data = toy().encode(crop(100, 150))
    facts = describe(toy().coder, crop(100, 150), data) | {"coding_runs": 1}
    row = made_up("rdonet", "a.png", 0, width=150, height=100, diagnostics=facts)
    read_back = Measurement.from_json(row.to_json())
    levels, bits = diagnostics.maps(read_back)
    masks = toy().coder.decode(data).masks
    assert np.array_equal(levels.values, masks.levels()[0].numpy())
    assert [one.block for one in levels.legend] == [16, 32, 64]
    assert bits.values.shape == (2, 3)
    told = diagnostics.scalars(read_back)
    assert told["cost: J"] == pytest.approx(facts["cost"]["J"])
    assert told["coding_runs"] == 1
    assert told["bytes: mask"] == facts["bytes"]["mask"]


@pytest.mark.parametrize(
    ("gain", "verdict", "figure"), [(1.115, HOLDS, "+11.5 %"), (1.3, OPEN, "+30.0 %")]
)
def test_minnen_is_compared_with_the_published_curve_of_vtm(monkeypatch, gain, verdict, figure):
    monkeypatch.setattr(literature, "is_full_kodak", lambda digests: True)
    vtm = next(c for c in literature.curves(literature.KODAK, "psnr") if c.id == claims.VTM)
    rows = [
        made_up(
            *("minnen-mse", image, order),
            metrics={"psnr": psnr + shift},
            bytes=round(1e5 * gain * bpp),
            width=1000,
            height=800,
        )
        for order, (bpp, psnr) in enumerate(zip(vtm.bpp, vtm.values, strict=True))
        for image, shift in (("a.png", -1.0), ("b.png", 1.0))
    ]
    rows += ladder("rdonet", images=("a.png", "b.png"))
    found = claims.claim_rows([comparison(rows, "rdonet")])
    row = about({row.text: row for row in found}, "trained for MSE")
    assert (row.verdict, row.figure.split(" bits")[0]) == (verdict, figure)


@pytest.mark.parametrize("error", [10**400, True, "1", None, -1.0, float("inf")])
def test_what_is_no_error_of_borders_is_passed_over(error):
    rows = ladder("rdonet") + ladder("vvenc")
    rows = [
        replace(row, diagnostics={"squared_error": {"border": error, "inside": 0.1}})
        for row in rows
    ]
    found = {row.text: row for row in claims.claim_rows([comparison(rows)])}
    assert about(found, "blocks meet").verdict == ABSENT


def test_each_claim_can_be_measured_by_its_command():
    for claim in claims.CLAIMS:
        if not claim.codecs:
            assert claim.command == "python -m reports.tutorial"
            continue
        names = claim.command.removeprefix("python -m bench.compare ").split(" --")[0].split()
        assert len(set(names)) >= 2
        for name in names:
            check_name(name)


def test_the_page_says_how_many_measurements_were_made_in_a_sandbox():
    alone = [*ladder("rdonet", sandbox="bwrap"), *ladder("vvenc")]
    alone[0] = replace(alone[0], sandbox="")
    found = {codec.name: dict(codec.facts) for codec in codec_facts(comparison(alone))}
    assert found["rdonet"]["sandbox"] == "namespaces by bubblewrap, 14 of 15 measurements"
    assert "sandbox" not in found["vvenc"]
