"""Curves for papers, and for pages where no script runs."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

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
