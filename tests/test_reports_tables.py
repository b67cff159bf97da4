"""The verdicts as JSON, CSV, LaTeX, Markdown and text."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from bench.metrics.base import MetricValue
from bench.verdict.bd import Status, Verdict
from reports import tables, wording
from reports.latex import latex_escape
from reports.marks import OF_STATUS, marks
from reports.text_tables import markdown_escape
from reports.wording import MetricText
from tests.reports_cases import PROVENANCE, comparison, ladder, made_up, plain

PSNR = MetricText("psnr", "PSNR", "dB", True)
LPIPS = MetricText("lpips-alex", "LPIPS", "", False)


def verdict(value, low=None, high=None, status=Status.OK, message="", overlap=1.0):
    return Verdict(value, status, message, "pchip", low, high, overlap)


def apart():
    """LPIPS without overlap, PSNR as usual."""
    poor = [
        made_up("poor", i, o, efficiency=1.5, metrics={"lpips-alex": 0.9 - 0.01 * o})
        for i in ("a.png", "b.png")
        for o in range(5)
    ]
    return comparison([*poor, *ladder("vvenc", images=("a.png", "b.png"))])


def hostile(label: str):
    return comparison([*ladder(label, 2.0, label=label), *ladder("vvenc", label=label)])


def test_json_has_every_figure_at_full_precision():
    compared = plain()
    document = json.loads(
        tables.as_json([compared], PROVENANCE), parse_constant=lambda name: pytest.fail(name)
    )
    shown = document["comparisons"][0]
    assert shown["anchor"] == "vvenc"
    assert [image["name"] for image in shown["images"]] == ["a.png", "b.png", "c.png"]
    for row, expected in zip(shown["rows"], compared.rows, strict=True):
        for metric, cell in expected.cells.items():
            found = row["cells"][metric]["bd_rate_percent"]
            assert found["value"] == cell.verdict.value  # bit for bit
            assert found["low"] == cell.verdict.low
            assert found["status"] == "ok"
            pooled = row["cells"][metric]["bd_rate_percent_pooled"]
            assert pooled["value"] == cell.pooled.value
            for at, point in zip(row["cells"][metric]["equal_rate"], cell.equal_rate, strict=True):
                expected_quality = point.quality if math.isfinite(point.quality) else None
                assert at["quality"] == expected_quality
    assert document["provenance"]["title"] == PROVENANCE.title


def test_json_has_null_for_what_is_undefined():
    document = json.loads(tables.as_json([apart()]))
    cells = document["comparisons"][0]["rows"][0]["cells"]
    assert cells["lpips-alex"]["bd_rate_percent"]["value"] is None
    assert cells["lpips-alex"]["bd_rate_percent"]["status"] == "no overlap"
    assert cells["psnr"]["bd_rate_percent"]["value"] is not None


def test_csv_comes_back_as_it_was():
    compared = plain()
    rows = list(csv.DictReader(io.StringIO(tables.as_csv([compared]))))
    rates = {(r["codec"], r["metric"]): r for r in rows if r["quantity"] == "bd_rate_percent"}
    assert len(rates) == 6
    for row in compared.rows:
        for metric, cell in row.cells.items():
            found = rates[row.codec, metric]
            assert float(found["value"]) == pytest.approx(cell.verdict.value, abs=5.1e-4)
            assert float(found["high"]) == pytest.approx(cell.verdict.high, abs=5.1e-4)
            assert found["status"] == "ok"
    at = [r for r in rows if r["quantity"] == "quality_difference" and r["at_bpp"] == "0.6"]
    point = compared.rows[0].cells["psnr"].equal_rate[3]
    assert point.rate == 0.6
    assert float(at[0]["value"]) == pytest.approx(point.quality - point.anchor_quality, abs=5.1e-5)


@pytest.mark.parametrize("name", ["=1+2", "+1", "-1", "@SUM(A1)", " =x", "\t=x", "=a,b\n\"c'"])
def test_no_csv_cell_is_a_formula_and_none_breaks_its_row(name):
    rows = list(csv.reader(io.StringIO(tables.as_csv([hostile(name)]))))
    assert {len(row) for row in rows} == {len(rows[0])}
    for row in rows[1:]:
        for cell in row:
            is_number = re.fullmatch(r"-?\d+(\.\d+)?", cell)
            assert is_number or cell.lstrip()[:1] not in {"=", "+", "-", "@"}


def test_latex_escapes_every_special_character():
    text = latex_escape("\\ { } $ & # % _ ^ ~ < > \" | ` '")
    bare = re.sub(r"\\[{}$&#%_]|\\text\w+\{\}", "", text)
    assert not re.search(r"[\\{}$&#%_^~<>\"|`']", bare)


def test_latex_rows_have_as_many_cells_as_columns():
    text = tables.as_latex([hostile("a & b \\\\ % \\input{/etc/passwd}"), apart()])
    assert text.count(r"\toprule") == 3  # two comparisons, and the rates of what is undefined
    for block in re.findall(r"\\begin\{tabular\}\{(.*?)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in block[1].splitlines() if line.endswith(r" \\")]
        assert rows
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) == len(block[0]) - 1
    assert r"\input" not in text
    assert "$+100.0$" in text


UNDEFINED = {
    Status.UNAVAILABLE,
    Status.INVALID,
    Status.TOO_FEW,
    Status.NO_OVERLAP,
    Status.TOUCHING,
}
CODECS = ("rdonet-msssim:full", "minnen-mse", "hevc", "jpeg2000", "my-codec")


def many(status: Status, metrics=("psnr", "ms-ssim", "lpips-alex", "lpips-vgg")):
    """Five codecs, all of whose verdicts have one status and wide figures."""
    rows = [row for name in (*CODECS, "vvenc") for row in ladder(name, metrics={"lpips-vgg": 0.1})]
    compared = comparison(rows, metrics=metrics)
    value = None if status in UNDEFINED else -123.4
    verdicts = verdict(value, -130.2, -110.9, status, "as it is" if status != Status.OK else "")
    return replace(
        compared,
        rows=tuple(
            replace(row, cells={n: replace(c, verdict=verdicts) for n, c in row.cells.items()})
            for row in compared.rows
        ),
    )


@pytest.mark.parametrize("status", [status for status in Status if status != Status.OK])
def test_every_caveat_has_a_mark_that_each_format_explains(status):
    mark = OF_STATUS[status]
    compared = many(status)
    for text in (tables.as_text([compared]), tables.as_markdown([compared])):
        assert text.count(mark.symbol) == 5 * 4 + 1
        assert mark.meaning[:40] in text
    text = tables.as_latex([compared])
    table = text[: text.index(r"\end{table")]
    assert table.count(f"^{{{mark.latex}}}$") == 5 * 4 + 1
    assert latex_escape(mark.meaning) in table
    assert not [m for s, m in OF_STATUS.items() if s != status and m.meaning in table]


def test_a_figure_with_two_caveats_has_two_marks():
    crossing = verdict(5.0, status=Status.CROSSING, message="which is ahead depends on quality")
    crossing = replace(crossing, left_out="1 of 6 points of webp")
    # crossing, a part only, no interval
    assert [mark.symbol for mark in marks(crossing)] == ["†", "¶", "∥"]
    assert marks(verdict(5.0, 4.0, 6.0)) == ()


def test_marks_are_told_apart():
    signs = [(mark.symbol, mark.latex, mark.meaning) for mark in OF_STATUS.values()]
    assert all(len(set(column)) == len(signs) for column in zip(*signs, strict=True))
    assert set(OF_STATUS) == set(Status) - {Status.OK}


def test_nothing_is_explained_where_all_is_well():
    for write in (tables.as_text, tables.as_markdown, tables.as_latex):
        text = write([plain()])
        assert not any(mark.meaning in text for mark in OF_STATUS.values())
    assert r"\parbox" not in tables.as_latex([plain()])


def test_latex_tables_go_across_both_columns_where_they_must():
    wide = tables.as_latex([many(Status.CROSSING)])
    assert r"\begin{table*}" in wide
    assert r"\resizebox" not in wide
    one = comparison([*ladder("jpeg", 2.0), *ladder("vvenc")], metrics=("psnr",))
    assert r"\begin{table}" in tables.as_latex([one])
    long = hostile("a codec whose name is longer than a paper is wide " * 3)
    assert r"\resizebox{\linewidth}" in tables.as_latex([long])


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles_and_fits_a_paper_of_two_columns(tmp_path):
    name = "]]_^~$%&#{}\\`'\"<|> é \N{EN DASH} …"
    five = ("psnr", "psnr-y", "ms-ssim", "lpips-alex", "lpips-vgg")
    table = tables.as_latex(
        [
            hostile(name),
            apart(),
            comparison([*ladder("jpeg", 2.0), *ladder("vvenc")], metrics=("psnr",)),
            *(many(status) for status in (Status.OK, Status.CROSSING, Status.NO_OVERLAP)),
            many(Status.NARROW, five),
        ]
    )
    (tmp_path / "table.tex").write_text(table, encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx,textcomp}"
        r"\usepackage[T1]{fontenc}\setlength{\textwidth}{506pt}\setlength{\columnwidth}{241pt}"
        r"\setlength{\columnsep}{24pt}\setlength{\oddsidemargin}{0pt}"
        r"\begin{document}\input{table.tex}\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log


@pytest.mark.parametrize("name", ["a|b", "<script>", "![x](http://y)", "*b* `c`", "a\nb", "@all"])
def test_markdown_tables_keep_their_shape(name):
    text = tables.as_markdown([hostile(name)], PROVENANCE)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 3
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert cells == {5}  # four columns
    assert not re.search(r"<|(?<!\\)\]\(|(?<!\\)[*`@]", "".join(table))


def test_markdown_reads_well_where_nothing_is_hostile():
    text = tables.as_markdown([plain()])
    assert re.search(r"\| JPEG \| \+100\.0 % \[\+[\d.]+, \+[\d.]+\]; overlap \d+ % \|", text)
    assert markdown_escape("VVenC slower, 4:2:0 10 bit") == "VVenC slower, 4:2:0 10 bit"


def test_text_is_aligned_and_silent():
    text = tables.as_text([apart(), hostile("\x1b[31mred\x07\u202egnp")])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    lines = text.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    start = [match.start() for match in re.finditer(r"-+", lines[rule])]
    assert lines[rule - 1][start[1] :].startswith("PSNR (dB)")
    assert lines[rule + 1][start[1] :].startswith("+")
    assert lines[rule + 1][start[3] :].startswith("undefined")


def test_rates_stand_in_for_an_undefined_bd_rate():
    compared = apart()
    point = compared.rows[0].cells["lpips-alex"].own_points[2]
    for text in (tables.as_text([compared]), tables.as_markdown([compared])):
        assert "Where BD-rate is undefined" in text
        assert f"{point.anchor_quality:.4f}" in text
        assert f"{point.quality - point.anchor_quality:+.4f}" in text
    assert "Where BD-rate is undefined" not in tables.as_text([plain()])


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (
            [(PSNR, verdict(-12.34, -14.0, -10.5)), (LPIPS, verdict(3.0, 2.0, 4.0))],
            "needs 12.3 % [10.5, 14.0] fewer bits than VVenC at equal PSNR, "
            "3.0 % [2.0, 4.0] more at equal LPIPS.",
        ),
        (
            [(PSNR, verdict(0.3, -0.5, 1.2)), (LPIPS, verdict(160.04))],
            "cannot be told from VVenC at equal PSNR (+0.3 % [-0.5, +1.2]), "
            "needs 160.0 % more bits than it at equal LPIPS.",
        ),
        (
            [(PSNR, verdict(None, status=Status.NO_OVERLAP, message="nothing shared."))],
            "has no BD-rate against VVenC at equal PSNR (no overlap: nothing shared).",
        ),
        (
            [
                (PSNR, verdict(5.0, 4.0, 6.0)),
                (LPIPS, verdict(None, status=Status.INVALID, message="no weights")),
            ],
            "needs 5.0 % [4.0, 6.0] more bits than VVenC at equal PSNR; "
            "has no BD-rate at equal LPIPS (no weights).",
        ),
        (
            [
                (PSNR, verdict(5.0, 4.0, 6.0, status=Status.CROSSING, message="depends")),
                (LPIPS, verdict(0.3, -0.5, 1.2, status=Status.CROSSING, message="depends")),
            ],
            "needs 5.0 % [4.0, 6.0] more bits than VVenC at equal PSNR (the curves cross), "
            "cannot be told from it at equal LPIPS (+0.3 % [-0.5, +1.2]; the curves cross).",
        ),
        (
            [(PSNR, verdict(-5.0, -6.0, -4.0, status=Status.NARROW, message="only 4 % compared"))],
            "needs 5.0 % [4.0, 6.0] fewer bits than VVenC at equal PSNR (only 4 % compared).",
        ),
        ([], "was compared on no metric."),
    ],
)
def test_sentences(verdicts, expected):
    assert wording.sentence(verdicts, "VVenC") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-12.34, "-12.3"), (0.04, "0.0"), (-0.04, "0.0"), (999.96, "+1000"), (160.0, "+160.0")],
)
def test_percentages(value, expected):
    assert wording.percent(value) == expected


def test_a_bound_next_to_zero_shows_on_which_side_it_is():
    near = verdict(-0.45, -0.93, -0.04)
    assert wording.bd_rate(near) == "-0.5 % [-0.9, -0.04]"
    assert "0.5 % [0.04, 0.9] fewer" in wording.sentence([(PSNR, near)], "VVenC")
    assert wording.interval(verdict(0.02, 0.0, 0.06)) == "[0.0, +0.1]"


def test_a_doubtful_figure_keeps_its_doubt():
    doubtful = verdict(5.0, 4.0, 6.0, Status.CROSSING, "which is ahead depends on quality")
    assert wording.remark(doubtful) == "crossing: which is ahead depends on quality"
    assert wording.bd_rate(doubtful) == "+5.0 % [+4.0, +6.0]"


def test_one_encoder_under_two_names_is_called_identical():
    compared = comparison([*ladder("twin"), *ladder("vvenc")], metrics=("psnr",))
    cell = compared.rows[0].cells["psnr"]
    assert (cell.verdict.status, cell.pooled.status) == ("identical", "identical")
    assert (cell.verdict.value, cell.verdict.low, cell.verdict.high) == (0, 0, 0)
    assert "0.0 %≡ [0.0, 0.0]" in tables.as_text([compared])
    said = wording.sentence([(PSNR, cell.verdict), (LPIPS, verdict(3.0, 2.0, 4.0))], "VVenC")
    assert said == (
        "is identical to VVenC in rate and PSNR, needs 3.0 % [2.0, 4.0] more bits than it at "
        "equal LPIPS."
    )


def test_one_byte_more_is_not_identical():
    rows = ladder("twin")
    rows[0] = replace(rows[0], bytes=(rows[0].bytes or 0) + 1)
    compared = comparison([*rows, *ladder("vvenc")], metrics=("psnr",))
    assert compared.rows[0].cells["psnr"].verdict.status is Status.OK


def test_the_mark_and_the_remark_of_crossing_curves_say_the_same():
    rows = [
        made_up("jpeg", image, order, efficiency=0.8 + 0.1 * order)
        for image in ("a.png", "b.png")
        for order in range(5)
    ]
    anchor = ladder("vvenc", images=("a.png", "b.png"))
    compared = comparison([*rows, *anchor], metrics=("psnr",))
    found = compared.rows[0].cells["psnr"].verdict
    assert found.status is Status.CROSSING
    assert found.message in OF_STATUS[Status.CROSSING].meaning


def test_the_reason_of_an_unavailable_metric_stands_once_below_the_table():
    reason = (
        "unavailable: the weights are missing; "
        + "put them into a folder of which this tells you; " * 4
    )
    rows = [
        made_up(c, i, o, metrics={"lpips-alex": None})
        for c in ("jpeg", "vvenc")
        for i in ("a.png", "b.png")
        for o in range(5)
    ]
    for row in rows:
        row.metrics["lpips-alex"] = MetricValue(None, "", f"unavailable: {reason.strip()}")  # type: ignore[index]
    compared = comparison(rows)
    for text in (tables.as_text([compared]), tables.as_markdown([compared])):
        assert text.count(reason.strip()) == 1
        above, _ = text.split(reason.strip())
        line = next(line for line in above.splitlines() if "undefined" in line or "0.0 %" in line)
        assert line.rstrip(" |").endswith("unavailable" + OF_STATUS[Status.UNAVAILABLE].symbol)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (
            ["RDONet, zero-pass (preliminary weights)", "RDONet, full (preliminary weights)"],
            ["RDONet, zero-pass", "RDONet, full"],
        ),
        (["AVIF 4:4:4 (libaom, speed 6)", "HEVC (x265; in BPG)"], ["AVIF 4:4:4", "HEVC"]),
        (["VVenC slower, 4:2:0 10 bit", "VVenC slower, QPA"], None),
        (["VVenC", "VVenC faster, 4:2:0"], ["VVenC", "VVenC faster"]),
        (["JPEG (before)", "JPEG (after)"], None),
        (["(odd)", "x, y"], ["(odd)", "x"]),
        (["same", "same"], ["codec0", "codec1"]),
    ],
)
def test_a_short_label_is_as_much_of_a_label_as_tells_it_from_the_others(labels, expected):
    rows = [row for i, label in enumerate(labels) for row in ladder(f"codec{i}", label=label)]
    short = wording.short_labels(comparison(rows, "codec0").results)
    assert [short[f"codec{i}"] for i in range(len(labels))] == (expected or labels)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (verdict(-12.34, -15.2, -9.1), "needs 12 % fewer bits than VVenC (-15 to -9.1)"),
        (verdict(160.04), "needs 160 % more bits than VVenC"),
        (verdict(0.3, -0.5, 1.2), "cannot be told from VVenC (-0.5 to +1.2)"),
        (verdict(0.0, 0.0, 0.0, status=Status.IDENTICAL), "is identical to VVenC"),
        (verdict(None, status=Status.TOO_FEW), "has no BD-rate: too few points"),
    ],
)
def test_one_verdict_is_one_short_sentence(verdict, expected):
    assert wording.brief(verdict, "VVenC") == expected


def test_the_best_figure_of_a_latex_table_is_bold():
    rows = [*ladder("best", 0.5), *ladder("good", 0.8), *ladder("bad", 2.0), *ladder("vvenc")]
    table = tables.as_latex([comparison(rows)])
    lines = {line.split(" &")[0]: line for line in table.splitlines() if " & " in line}
    assert lines["best"].count(r"$\mathbf{-50.0}") == 3
    assert r"\mathbf" not in lines["good"] + lines["bad"]
    # Nothing is bold where none is better than the anchor.
    assert r"\mathbf" not in tables.as_latex([comparison([*ladder("bad", 2.0), *ladder("vvenc")])])
