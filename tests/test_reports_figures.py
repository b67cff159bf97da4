"""Curves for papers, and the axes that pages and papers share."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import scales
from reports.charts import make_charts
from reports.figures import write_figures
from tests.reports_cases import comparison, ladder, plain


def test_figures_are_vector_drawings_that_need_no_fonts(tmp_path):
    write_figures(make_charts(plain(), quick=False), tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [
        f"{metric}.{kind}"
        for metric in ("lpips-alex", "ms-ssim", "psnr")
        for kind in ("pdf", "svg")
    ]
    for path in paths:
        data = path.read_bytes()
        if path.suffix == ".pdf":
            assert data.startswith(b"%PDF")
            assert b"/FontFile2" in data  # TrueType, embedded
            assert b"/Type3" not in data
        else:
            tags = {element.tag.split("}")[1] for element in ElementTree.fromstring(data).iter()}
            assert "path" in tags
            assert not {"text", "image", "script"} & tags


def test_the_same_data_gives_the_same_bytes(tmp_path):
    charts = make_charts(plain(), quick=False)
    assert write_figures(charts, tmp_path / "a") == write_figures(charts, tmp_path / "b")
    folders = (sorted((tmp_path / name).iterdir()) for name in "ab")
    for one, other in zip(*folders, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert not re.search(rb"20\d\d-\d\d-\d\d|CreationDate", one.read_bytes())


@pytest.mark.parametrize("label", ["$\\frac{", "_hidden", "a_b^c", "$x$", "汉字 \u202e", ""])
def test_labels_are_text_and_not_mathematics(tmp_path, label):
    compared = comparison([*ladder("x", 2.0, label=label), *ladder("vvenc")], metrics=("psnr",))
    inline = write_figures(make_charts(compared, quick=False), tmp_path)["psnr"]
    ElementTree.fromstring(inline)
    drawing = (tmp_path / "psnr.svg").read_text()
    ElementTree.fromstring(drawing)
    legend = drawing[drawing.index('id="legend_1"') :]
    assert len(re.findall(r'<g id="text_\d+">', legend)) == 2  # both curves are named


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(3, 10))
def test_ticks_are_round_and_inside(low, width, wanted):
    values = scales.ticks(low, low + width, wanted)
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= value <= low + width + slack for value in values)
    assert 1 <= len(values) <= wanted + 1
    labels = [scales.label(value, values) for value in values]
    assert len(set(labels)) == len(labels)


@given(st.lists(st.floats(0, 400), max_size=20))
def test_labels_are_spread_in_order_and_within_bounds(wanted):
    placed = scales.spread(wanted, 17, 10, 390)
    gap = min(17, 380 / max(1, len(wanted) - 1))
    ordered = sorted(placed)
    assert all(b - a >= gap - 0.5 for a, b in itertools.pairwise(ordered))
    assert all(10 - 0.5 <= position <= 390.5 for position in placed)
    by_wish = [p for _, p in sorted(zip(wanted, placed, strict=True), key=lambda pair: pair[0])]
    assert all(b >= a - 20 for a, b in itertools.pairwise(by_wish))


def test_labels_that_have_room_stay_where_they_are():
    assert scales.spread([300.0, 20.0, 100.0], 17, 10, 390) == [300.0, 20.0, 100.0]
