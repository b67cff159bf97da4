"""The report as its readers use it."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage
from playwright.sync_api import Page, expect

from bench.record.measurement import MetricValue
from bench.verdict.comparison import compare, compare_pairs
from reports import palette, wording, write_report
from reports.changes import Change
from reports.tables import as_csv, as_latex, as_markdown
from reports.wording import clean
from tests.reports_cases import PROVENANCE, comparison, ladder
from tests.reports_gallery import HOSTILE, NAMES, coded, original, pictured, written_with_pictures
from tests.test_reports_safety import hostile


def figures(page: Page) -> list[list[float]]:
    """The BD-rates of the verdict table."""
    cells = page.locator("#verdict-table tbody tr:visible").all()
    return [
        [float(text.replace("\N{MINUS SIGN}", "-").replace("%", "")) for text in row]
        for row in (cell.locator(".figure").all_inner_texts() for cell in cells)
    ]


def expected(compared, anchor: str) -> list[list[float]]:
    return [
        [float(wording.percent(cell.verdict.value or 0)) for cell in row.cells.values()]
        for row in compare(compared.results, anchor).rows
    ]


def test_the_script_changes_nothing_before_the_reader_does(visit, report):
    path, compared = report
    texts = []
    for scripted in (True, False):
        page = visit(path, java_script_enabled=scripted)
        texts.append(page.locator("#verdict-table").inner_text().split())
    assert texts[0] == texts[1]
    assert figures(page) == expected(compared, "vvenc")


def test_another_anchor_gives_its_own_verdicts_and_back_again(visit, report):
    path, compared = report
    page = visit(path)
    first = page.locator("#verdict-table").inner_text()
    for name in ("vvenc:faster", "jpeg"):
        place = [codec.name for codec in compared.results.codecs].index(name)
        label = compared.results.codecs[place].label
        page.get_by_label("Anchor").select_option(label=label)
        assert figures(page) == expected(compared, name)
        assert label in page.locator("#verdict-table caption").inner_text()
        assert label in page.locator("#verdict-body .note").first.inner_text()
    expect(page).to_have_url(re.compile("#anchor=jpeg$"))
    page.get_by_label("Anchor").select_option(label="VVENC")
    assert page.locator("#verdict-table").inner_text() == first


def order(page: Page) -> list[str]:
    return page.locator(".ranking li:visible .who").all_inner_texts()


def test_the_first_picture_follows_metric_anchor_and_codecs(visit, tmp_path):
    better = [
        replace(row, metrics={**row.metrics, "ms-ssim": MetricValue(1 - (1 - value) / 4, "1")})
        for row in ladder("a", 2.0)
        for value in [row.metric("ms-ssim")]
    ]
    rows = [*better, *ladder("b", 1.5), *ladder("vvenc")]
    compared = comparison(rows, metrics=("psnr", "ms-ssim"))
    page = visit(write_report(tmp_path, [compared], PROVENANCE))
    by_metric = {
        name: sorted(
            (row.cells[name].verdict.value, row.label)
            for row in compared.rows
            if row.cells[name].verdict.value is not None
        )
        for name in ("psnr", "ms-ssim")
    }
    assert order(page) == [label for _, label in by_metric["psnr"]] == ["B", "A"]
    page.get_by_role("radio", name="MS-SSIM").click()
    shown = [label for _, label in by_metric["ms-ssim"]]
    assert order(page)[: len(shown)] == shown
    assert shown == ["A", "B"]
    page.get_by_role("radio", name="PSNR").click()
    page.get_by_label("Anchor").select_option(label="A")
    assert order(page) == ["VVENC", "B"]
    assert page.locator(".ranking .scale text.name:visible").text_content() == "A"
    page.get_by_role("checkbox", name="b", exact=True).click()
    assert order(page) == ["VVENC"]


def test_names_beside_curves_stand_whole(visit, tmp_path):
    labels = {
        "a": "A codec, searched at great length over all block sizes (preliminary weights)",
        "b": "A codec, not searched (preliminary weights)",
        "vvenc": "VVenC slower, 4:2:0 10 bit",
    }
    rows = [row for name, label in labels.items() for row in ladder(name, label=label)]
    page = visit(write_report(tmp_path, [comparison(rows)], PROVENANCE))
    names = page.locator("figure.chart:visible .chartbox").first.locator(".label")
    shown = {" ".join(one.locator("tspan").all_text_contents()) for one in names.all()}
    assert shown == {
        "A codec, searched at great length over all block sizes",
        "A codec, not searched",
        "VVenC slower",
    }
    right = page.locator("svg.live").first.bounding_box()
    for one in names.locator("tspan").all():
        box = one.bounding_box()
        assert box["x"] + box["width"] <= right["x"] + right["width"] + 1


def test_codecs_are_switched_off_and_on(visit, report):
    path, _ = report
    page = visit(path)
    curves = page.locator("figure.chart:not(.aside) .chartbox").first.locator(".curve")
    assert curves.count() == 5
    page.get_by_role("checkbox", name="jpeg", exact=True).click()
    assert curves.count() == 4
    assert "JPEG" not in page.locator("#verdict-table tbody").inner_text()
    assert "JPEG" not in page.locator(".ranking").inner_text()
    assert "jpeg" not in page.locator("#win-table").inner_text()
    expect(page).to_have_url(re.compile("#hidden=jpeg$"))
    page.get_by_role("checkbox", name="jpeg", exact=True).click()
    assert curves.count() == 5


def test_a_metric_is_one_chart_on_the_axes_that_are_asked_for(visit, report):
    path, _ = report
    page = visit(path)
    page.get_by_role("radio", name="MS-SSIM").click()
    figure = page.locator("figure.chart:visible")
    assert figure.count() == 1
    assert "MS-SSIM (dB)" in figure.locator("svg.live").first.inner_html()
    figure.get_by_role("radio", name="index").click()
    figure.get_by_role("radio", name="log").click()
    assert "MS-SSIM (dB)" not in figure.locator("svg.live").first.inner_html()
    figure.get_by_text("intervals").click()
    figure.get_by_role("radio", name="dB").click()
    assert figure.locator(".chartbox").first.locator(".band").count() == 5
    expect(page).to_have_url(re.compile("#metric=ms-ssim&rate=log&band=1$"))


def test_points_tell_their_figures_to_pointer_and_keyboard(visit, report):
    path, compared = report
    page = visit(path)
    chart = page.locator("figure.chart:visible .chartbox").first
    marks = chart.locator(".mark path")
    codec = compared.results.codecs[0]
    marks.first.hover()
    tip = chart.locator(".tip")
    shown = f"{codec.bpp[0].mean():.4f} bpp"
    assert shown in tip.inner_text()
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    marks.first.focus()
    assert shown in tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert f"{codec.bpp[1].mean():.4f} bpp" in tip.inner_text()
    page.keyboard.press("ArrowDown")
    assert compared.results.codecs[1].label in tip.inner_text()
    assert chart.locator("[tabindex='0']").count() == 1


def test_an_image_is_opened_from_the_table_that_sorts(visit, report):
    path, _ = report
    page = visit(path)
    order = page.locator("#win-table tbody .name")
    assert order.all_inner_texts() == list(NAMES)
    heading = page.locator("#win-table thead button", has_text="jpeg")
    heading.click()
    gains = page.locator("#win-table tbody tr td:nth-child(3)").all_inner_texts()
    values = [float(text.replace("\N{MINUS SIGN}", "-").rstrip("%\xa0")) for text in gains]
    assert values == sorted(values)
    assert heading.locator("..").get_attribute("aria-sort") == "ascending"
    heading.click()
    assert page.locator("#win-table tbody tr td:nth-child(3)").all_inner_texts() == gains[::-1]
    page.locator("#win-table").get_by_role("button", name="c.png").click()
    expect(page.locator("#viewer").get_by_role("combobox", name="Image")).to_have_value("2")
    expect(page).to_have_url(re.compile("image=c.png"))


def pixels(page: Page, pane: int = 0) -> np.ndarray:
    """What a canvas of the viewer holds, uint8[H, W, 4]."""
    page.locator(".stage canvas").nth(pane).wait_for()
    page.wait_for_timeout(250)
    address = page.locator(".stage canvas").nth(pane).evaluate("c => c.toDataURL('image/png')")
    return np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def contains(canvas: np.ndarray, crop: np.ndarray) -> bool:
    """Whether the crop, pixel for pixel, is in the middle of a canvas."""
    h, w = crop.shape[:2]
    for top in range((canvas.shape[0] - h) // 2 - 1, (canvas.shape[0] - h) // 2 + 3):
        for left in range((canvas.shape[1] - w) // 2 - 1, (canvas.shape[1] - w) // 2 + 3):
            if np.array_equal(canvas[top : top + h, left : left + w, :3], crop):
                return True
    return False


def crop_of(page: Page, place: int, picture: np.ndarray) -> np.ndarray:
    left, top, width, height = page.evaluate(
        f"JSON.parse(document.getElementById('picture-{place}').textContent).box"
    )
    return picture[top : top + height, left : left + width]


def test_flipping_shows_the_very_pixels_of_both_codecs_and_of_the_original(visit, report):
    path, compared = report
    page = visit(path, "#image=a.png&a=jpeg&b=vvenc&at=0.3&mode=flip&zoom=1")
    page.locator("#look").scroll_into_view_if_needed()
    shown = []
    for name in ("jpeg", "vvenc"):
        place = [codec.name for codec in compared.results.codecs].index(name)
        point = int(np.argmin(np.abs(np.log(compared.results.codecs[place].bpp[:, 0] / 0.3))))
        shown.append(coded(0, 10 + 12 * point + 3 * place))
    for picture in (*shown, original(0)):
        assert contains(pixels(page), crop_of(page, 0, picture))
        page.locator(".stage canvas").focus()
        page.keyboard.press("f")
    text = page.locator("#viewer table").inner_text()
    assert "JPEG" in text
    assert f"{compared.results.codecs[0].bpp[:, 0].min():.1f}"[:2] in text


def test_panes_zoom_and_move_together(visit, report):
    path, _ = report
    page = visit(path, "#image=a.png&mode=side&zoom=1")
    page.locator("#look").scroll_into_view_if_needed()
    before = [pixels(page, pane) for pane in range(3)]
    page.locator("#viewer").get_by_role("button", name="Zoom in").click()
    expect(page.locator("#viewer output")).to_have_text("200\xa0%")
    after = [pixels(page, pane) for pane in range(3)]
    for small, large in zip(before, after, strict=True):
        assert not np.array_equal(small, large)
    page.locator(".stage canvas").nth(1).focus()
    page.keyboard.press("ArrowRight")
    moved = [pixels(page, pane) for pane in range(3)]
    for still, shifted in zip(after, moved, strict=True):
        assert np.array_equal(still[:, 48:, :3][:, :100], shifted[:, :-48, :3][:, :100])
    expect(page).to_have_url(re.compile("zoom=2&x="))


def test_an_address_restores_the_view(visit, report):
    path, compared = report
    fragment = (
        "#anchor=vvenc%3Afaster&metric=lpips-alex&hidden=jpeg&rate=log&sort=-rdonet&image=c.png"
        "&a=rdonet&b=original&at=0.3&mode=side&zoom=3&x=100&y=90"
    )
    page = visit(path, fragment)
    assert page.locator("#anchor option:checked").inner_text() == "VVENC:FASTER"
    assert page.locator("#metric input:checked").get_attribute("value") == "lpips-alex"
    assert page.locator("#codecs input:not(:checked)").count() == 1
    viewer = page.locator("#viewer")
    expect(viewer.get_by_role("combobox", name="A", exact=True)).to_have_value("rdonet")
    expect(viewer.get_by_role("combobox", name="B", exact=True)).to_have_value("original")
    expect(viewer.locator("output")).to_have_text("300\xa0%")
    assert page.locator(".stage.side canvas").count() == 3
    assert figures(page) == expected(compared, "vvenc:faster")[1:]
    page.get_by_role("checkbox", name="rdonet:full", exact=True).click()
    for part in fragment[1:].split("&"):
        if not part.startswith("hidden"):
            expect(page).to_have_url(re.compile(re.escape(part)))


@pytest.mark.parametrize(
    "fragment",
    [
        "#%E0%A4%A",
        "#anchor=none&metric=%00&zoom=1e9&x=NaN&at=-1&image=%22%3E",
        "#hidden=%E0%A4%A&mode=<svg>&a=__proto__",
        "#constructor=1&sort=nobody",
    ],
)
def test_a_broken_address_is_no_obstacle(visit, report, fragment):
    path, compared = report
    page = visit(path, fragment)
    page.locator("#look").scroll_into_view_if_needed()
    page.wait_for_timeout(200)
    assert figures(page) == expected(compared, "vvenc")
    page.get_by_role("radio", name="MS-SSIM").click()
    expect(page).to_have_url(re.compile("metric=ms-ssim"))


def test_the_table_is_copied_as_csv_markdown_and_latex(visit, report):
    path, compared = report
    page = visit(path, "#anchor=jpeg", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="CSV").click()
    expect(page.locator("#copied")).to_have_text("CSV copied.")
    text = page.evaluate("navigator.clipboard.readText()")
    rows = list(csv.DictReader(io.StringIO(text)))
    found = iter(rows)
    for row in compare(compared.results, "jpeg").rows:
        for name, cell in row.cells.items():
            line = next(found)
            assert (line["anchor"], line["codec"], line["metric"]) == ("jpeg", row.codec, name)
            assert line["quantity"] == "bd_rate_percent"
            assert float(line["value"]) == pytest.approx(cell.verdict.value, abs=6e-4)
            assert float(line["low"]) == pytest.approx(cell.verdict.low, abs=6e-4)
            assert line["status"] == cell.verdict.status
    alone = compare(compared.results, "jpeg")
    for name, exported in (
        ("CSV", "\n".join(one for one in as_csv([alone]).splitlines() if "rate_percent," in one)),
        ("Markdown", as_markdown([alone])),
        ("LaTeX", as_latex([alone]).partition("\n\n")[2]),
    ):
        page.get_by_role("button", name=name).click()
        expect(page.locator("#copied")).to_have_text(f"{name} copied.")
        copied = page.evaluate("navigator.clipboard.readText()").strip()
        assert exported.strip() in copied if name == "CSV" else copied == exported.strip()
    page.get_by_role("checkbox", name="rdonet", exact=True).click()
    page.get_by_role("button", name="Markdown").click()
    without = page.evaluate("navigator.clipboard.readText()").strip().splitlines()
    every = as_markdown([alone]).strip().splitlines()
    assert without == [line for line in every if not line.startswith("| RDONET |")]


def test_without_a_script_there_are_tables_and_curves(visit, report):
    path, compared = report
    page = visit(path, java_script_enabled=False)
    assert page.locator("#controls").is_hidden()
    drawings = page.locator(".chartbox img:visible")
    assert drawings.count() == 3
    for drawing in drawings.all():
        assert drawing.bounding_box()["width"] > 500
    assert page.locator("#win-table tbody tr").count() == 3
    assert page.locator("#win-table img").count() == 3
    assert page.locator("table.told").count() == 2
    assert page.get_by_text("needs JavaScript").is_visible()
    assert page.locator("[data-scripted]:visible").count() == 0
    assert figures(page) == expected(compared, "vvenc")


def test_maps_of_streams_are_drawn_as_they_were_told(visit, report):
    path, _ = report
    page = visit(path, "#image=a.png&at=0.15")
    view = page.locator("#stream-view")
    maps = view.locator(".map")
    assert maps.count() == 2
    # 160 x 128 are 3 x 2 CTUs, two at each level: 64 px, or four of 32 px, or sixteen of 16 px.
    for level, blocks in ((2, 2), (1, 8), (0, 32)):
        path_data = maps.first.locator(f".level{level}").get_attribute("d")
        assert path_data.count("M") == blocks
    assert view.locator(".key-line").inner_text().split("px")[:3] == ["16 ", " 32 ", " 64 "]
    view.get_by_role("radio", name="bits", exact=True).click()
    heat = maps.first.locator(".heat title")
    assert heat.all_text_contents() == [f"{100 + 10 * k} bits" for k in range(1, 7)]
    assert "darkest" in view.locator(".key-line").inner_text()


def test_whole_pictures_beside_the_report_are_used_and_may_be_missing(visit, tmp_path):
    path, _ = written_with_pictures(tmp_path, whole=True)
    fragment = "#image=c.png&a=jpeg&mode=flip&zoom=1"
    page = visit(path, fragment)
    page.locator("#look").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    assert "crop" not in page.locator("#viewer .note").first.inner_text()
    page.close()
    alone = tmp_path / "mailed"
    alone.mkdir()
    (alone / "report.html").write_bytes(path.read_bytes())
    page = visit(alone / "report.html", fragment, quiet=False)  # the browser notes what is missing
    page.locator("#look").scroll_into_view_if_needed()
    expect(page.locator("#viewer .note").first).to_contain_text(
        re.compile("The crop is 96 . 72 pixels")
    )


def test_names_that_mean_harm_do_none(visit, tmp_path):
    compared, provenance = hostile()
    path = write_report(tmp_path, [compared], provenance)
    page = visit(path)
    page.locator("#anchor").select_option(index=1)
    page.locator("#codecs label").first.click()
    for name in ("Markdown", "CSV", "LaTeX"):
        page.get_by_role("button", name=name).click()
    assert page.locator("body img").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 2  # data and ours
    assert "<script>alert(1)</script>" in page.locator("#verdict-table").inner_text()


def test_a_hostile_picture_name_is_looked_at_like_any_other(visit, report):
    path, _ = report
    page = visit(path)
    page.locator("#win-table").get_by_role("button", name=HOSTILE).click()
    expect(page.locator("#viewer").get_by_role("combobox", name="Image")).to_have_value("1")
    page.wait_for_timeout(200)
    address = page.url
    page.close()
    page = visit(path, "#" + address.partition("#")[2])
    expect(page.locator("#viewer").get_by_role("combobox", name="Image")).to_have_value("1")


def test_a_report_without_pictures_says_nothing_of_them(visit, tmp_path):
    page = visit(write_report(tmp_path, [pictured()], PROVENANCE))
    assert page.locator("#viewer").count() == 0
    assert page.get_by_role("link", name="Look", exact=True).count() == 0
    assert page.locator("#win-table tbody tr").count() == 3


def test_before_and_after_are_read_like_any_comparison(visit, tmp_path):
    rows = [
        row
        for name, change in (("jpeg", 0.9), ("webp", 1.2))
        for run, factor in (("after", change), ("before", 1.0))
        for row in ladder(f"{name} ({run})", 2 * factor)
    ]
    results = comparison(rows, anchor="jpeg (before)").results
    pairs = [(f"{name} (after)", f"{name} (before)") for name in ("jpeg", "webp")]
    compared = compare_pairs(results, "each codec's own run before", pairs)
    change = Change("JPEG", "version", "1", HOSTILE)
    provenance = replace(PROVENANCE, before="runs/a", changes=(change,))
    page = visit(write_report(tmp_path, [compared], provenance, name="before-after"))
    assert HOSTILE in page.locator("#change-table").inner_text()
    assert [round(row[0], -1) for row in figures(page)] == [-10, 20]
    heads = page.locator("#win-table thead button").all_inner_texts()
    assert heads[1:] == ["jpeg (after)", "webp (after)"]
    assert page.locator("figure.chart:visible .relative .curve").count() == 2
    page.get_by_label("Anchor").select_option(label="JPEG (BEFORE)")
    assert len(figures(page)) == 3
    page.get_by_label("Anchor").select_option(label="each codec's own run before")
    assert [round(row[0], -1) for row in figures(page)] == [-10, 20]


def test_every_colour_scheme_has_its_paper(visit, report):
    for scheme, paper in (("light", palette.LIGHT_BACKGROUND), ("dark", palette.DARK_BACKGROUND)):
        page = visit(report[0], color_scheme=scheme)
        rgb = ", ".join(str(int(paper[i : i + 2], 16)) for i in (1, 3, 5))
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == f"rgb({rgb})"


def test_it_prints_all_charts_and_no_controls(visit, report):
    page = visit(report[0])
    page.emulate_media(media="print")
    assert page.locator("figure.chart:visible").count() == 3
    for selector in ("#controls", "nav", "#copy", ".tools"):
        assert page.locator(f"{selector}:visible").count() == 0
    assert clean(page.locator("#verdict-table").inner_text())


def test_nothing_moves_by_itself(visit, report):
    """So reduced motion is respected; and a jump to a section lands there, whatever loads."""
    page = visit(report[0], reduced_motion="no-preference")
    moving = """[...document.querySelectorAll('*')].filter(e => {
        const style = getComputedStyle(e)
        return style.scrollBehavior === 'smooth' || style.animationName !== 'none'
            || style.transitionDuration.split(',').some(t => parseFloat(t) > 0)
    }).length"""
    assert page.evaluate(moving) == 0
    for name in ("Inside the streams", "Cost", "Verdict"):
        page.get_by_role("link", name=name, exact=True).first.click()
        heading = page.get_by_role("heading", name=name, exact=True)
        page.wait_for_timeout(300)
        box = heading.bounding_box()
        assert box
        assert 0 <= box["y"] < page.viewport_size["height"] / 2
