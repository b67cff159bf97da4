"""Claims, costs, block decisions, and what changed between two runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import __main__ as bench_main
from bench import compare as bench_compare
from bench.record.measurement import Measurement
from bench.verdict.comparison import compare
from codecs.rdonet.diagnostics import describe
from codecs.registry import check_name
from reports import claims, costs, decisions, literature
from reports.claims import ABSENT, FAILS, HOLDS, OPEN
from tests.conftest import ROOT
from tests.rdonet_toys import crop, toy
from tests.reports_cases import Page, comparison, ladder, made_up, plain, plainly_written, written
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


def test_claims_stand_in_the_page(tmp_path):
    _, page = written(tmp_path, pictured())
    rows = page.table(id="claim-table")
    assert len(rows) == len(claims.CLAIMS)
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


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01234, "0.0123"), (1.005, "1.00"), (12.34, "12.3"), (1234.0, "1234"), (0.0, "0")],
)
def test_three_figures(value, text):
    assert costs.significant(value) == text


def test_decisions_are_read_as_they_were_told():
    row = made_up("rdonet", "a.png", 2, width=160, height=128)
    row = replace(row, diagnostics=partition(160, 128, 0, 7))
    found = decisions.read(row)
    assert found is not None
    assert found.levels.shape == (8, 12)
    assert found.ctu_bits.tolist() == [[100, 110, 120], [130, 140, 150]]
    assert (found.runs, found.mask_bytes, found.estimated) == (7, 3, (1.3, 1.2))
    shown = decisions.payload(row)
    assert shown is not None
    # Levels 3, 2, 1, 3, 2, 1: whole, no quadrant split, all four split.
    assert shown["partitions"] == "q" + "a" + "p" + "q" + "a" + "p"


def test_each_quadrant_has_its_bit():
    facts = partition(64, 64, 1, 1)
    facts["levels"] = ["2211", "2211", "2222", "2222"]  # the upper right one is split
    row = replace(made_up("rdonet", "a.png", 0, width=64, height=64), diagnostics=facts)
    shown = decisions.payload(row)
    assert shown is not None
    assert shown["partitions"] == chr(ord("a") + 0b0010)


@pytest.mark.parametrize(
    "damage",
    [
        {"levels": ["33"]},
        {"levels": ["4" * 12] * 8},
        {"levels": "333"},
        {"levels": [["x"] * 12] * 8},
        {"levels": None},
        {"bits_per_ctu": [[1.0]]},
        {"bits_per_ctu": [["a", 1, 2], [1, 2, 3]]},
        {"bits_per_ctu": [[float("nan")] * 3] * 2},
        {"cost": "much"},
        {"bytes": 7},
    ],
)
def test_damaged_diagnostics_are_passed_over(damage):
    facts = partition(160, 128, 0, 7) | damage
    row = replace(made_up("rdonet", "a.png", 0, width=160, height=128), diagnostics=facts)
    assert decisions.read(row) is None
    assert decisions.read(replace(row, diagnostics={})) is None


def test_a_table_of_decisions_has_every_point(tmp_path):
    _, page = written(tmp_path, pictured())
    rows = page.table(id="decision-table")
    assert [row[:2] for row in rows[:2]] == [["RDONET", "qp 50"], ["RDONET", "qp 45"]]
    for row in rows:
        assert [cell.rstrip("%\xa0 ") for cell in row[2:5]] == ["33"] * 3
    assert rows[0][5:] == ["1.2500", "1.0", "no search"]
    assert rows[-1][6:] == ["7.0", "\N{MINUS SIGN}7.69 %"]


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
    found = decisions.read(Measurement.from_json(row.to_json()))
    assert found is not None
    masks = toy().coder.decode(data).masks
    assert np.array_equal(found.levels, masks.levels()[0].numpy())
    assert found.cost == pytest.approx(facts["cost"]["J"])
    assert found.runs == 1
    assert found.mask_bytes == facts["bytes"]["mask"]


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
        names = claim.command.removeprefix("python -m bench.compare ").split(" --")[0].split()
        assert len(set(names)) >= 2
        for name in names:
            check_name(name)
