"""What codecs are compared on where a run is not whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.metrics.base import MetricValue
from bench.verdict import common, spread
from bench.verdict.bd import Status, bd_rate
from bench.verdict.curve import Curve
from reports import tables
from reports.charts import make_charts
from tests.reports_cases import comparison, failed, ladder, made_up

IMAGES = tuple(f"{name}.png" for name in "abcdefghijklmn")
INFINITE = MetricValue(None, "1", "infinite: the pictures are identical")


def rows_with(changes, codec="test", efficiency=1.5, points=6):
    """A ladder on fourteen pictures with some cells replaced: (image, order) -> measurement."""
    kept = {
        (image, order): made_up(codec, image, order, efficiency=efficiency)
        for image in IMAGES
        for order in range(points)
    }
    return list((kept | changes).values())


def infinite(image, order):
    row = made_up("test", image, order, efficiency=1.5)
    return replace(row, metrics={**row.metrics, "psnr": INFINITE})


def against_whole(changes, metric="psnr"):
    """The verdict beside a whole anchor, and the results."""
    rows = [*rows_with(changes), *ladder("vvenc", images=IMAGES, points=6)]
    compared = comparison(rows, metrics=("psnr",))
    return compared.rows[0].cells[metric].verdict, compared


def direct(results, points, images):
    """BD-rate of the mean PSNR curves over so many points (of the test) and pictures."""
    curves = []
    for name, rows in (("vvenc", range(6)), ("test", points)):
        codec = results.codec(name)
        part = np.ix_(list(rows), [codec.images.index(i) for i in images])
        curves.append(Curve(codec.bpp[part].mean(axis=1), codec.metric("psnr")[part].mean(axis=1)))
    return bd_rate(*curves).value


def test_two_failed_measurements_cost_two_pictures_and_not_the_verdict():
    verdict, compared = against_whole(
        {
            ("b.png", 1): failed("test", "b.png", 1, "encode failed"),
            ("e.png", 4): failed("test", "e.png", 4, "encode failed"),
        }
    )
    left = [image for image in IMAGES if image not in {"b.png", "e.png"}]
    assert verdict.value == direct(compared.results, range(6), left)
    assert verdict.low is not None
    assert verdict.status is Status.PARTIAL
    assert "left out: 2 of 14 pictures (b.png, e.png: test: encode failed)" in verdict.message


def test_a_lossless_point_costs_that_point_alone():
    verdict, compared = against_whole({(i, 5): infinite(i, 5) for i in IMAGES})
    assert verdict.value == direct(compared.results, range(5), IMAGES)
    assert verdict.status is Status.PARTIAL
    assert "1 of 6 points of test (qp 25: infinite)" in verdict.message


def test_a_point_that_is_lossless_on_most_pictures_goes_rather_than_the_pictures():
    verdict, compared = against_whole({(i, 5): infinite(i, 5) for i in IMAGES[:8]})
    assert verdict.value == direct(compared.results, range(5), IMAGES)
    assert verdict.left_out == "1 of 6 points of test (qp 25: infinite)"


def test_a_picture_without_loss_at_every_point_costs_that_picture_alone():
    verdict, compared = against_whole({("c.png", o): infinite("c.png", o) for o in range(6)})
    left = [image for image in IMAGES if image != "c.png"]
    assert verdict.value == direct(compared.results, range(6), left)
    assert verdict.left_out == "1 of 14 pictures (c.png: test: infinite)"


def test_what_two_of_all_pictures_have_is_compared_when_a_run_was_stopped():
    rows = rows_with({})[: 2 * 6]
    compared = comparison([*ladder("vvenc", images=IMAGES, points=6), *rows], metrics=("psnr",))
    verdict = compared.rows[0].cells["psnr"].verdict
    assert verdict.value == direct(compared.results, range(6), IMAGES[:2])
    assert (
        "12 of 14 pictures (c.png, d.png, e.png and 9 more: test: not measured)" in verdict.message
    )


def test_an_undisturbed_comparison_leaves_out_nothing():
    verdict, _ = against_whole({})
    assert (verdict.status, verdict.message, verdict.left_out) == (Status.OK, "", "")


def test_a_codec_without_any_finite_value_is_undefined_and_told_why():
    small = {"psnr": MetricValue(None, "1", "the picture is too small")}
    verdict, _ = against_whole(
        {(i, o): replace(infinite(i, o), metrics=small) for i in IMAGES for o in range(6)}
    )
    assert verdict.value is None
    assert verdict.message == "test has no finite value on any picture: the picture is too small"
    assert verdict.status is Status.INVALID


def test_two_points_are_kept_where_a_codec_has_no_more():
    rows = [*rows_with({}, points=2), *ladder("vvenc", images=IMAGES, points=6)]
    for place in range(0, 24, 2):  # one of the two points, on all but two pictures
        rows[place] = replace(rows[place], metrics={"psnr": INFINITE})
    results = comparison(rows, metrics=("psnr",)).results
    part = common.shared([results.codec("vvenc"), results.codec("test")], "psnr")
    assert part.points[1].all()
    assert part.images.sum() == 2


@pytest.mark.parametrize("write", [tables.as_text, tables.as_markdown, tables.as_csv])
def test_every_table_says_what_was_left_out(write):
    _, compared = against_whole({(i, 5): infinite(i, 5) for i in IMAGES})
    text = " ".join(write([compared]).split())
    assert "partial" in text
    assert "left out: 1 of 6" in text


def test_json_has_what_was_left_out():
    _, compared = against_whole({("c.png", 0): failed("test", "c.png", 0, "boom")})
    assert '"left_out": "1 of 14 pictures (c.png: test: boom)"' in tables.as_json([compared])


def test_charts_leave_out_the_lossless_point_and_keep_the_codec():
    _, compared = against_whole({(i, 5): infinite(i, 5) for i in IMAGES})
    (chart,) = make_charts(compared, quick=False)
    drawn = {one.codec: one for one in chart.series}
    assert [point.name for point in drawn["test"].points] == [f"qp {50 - 5 * o}" for o in range(5)]
    assert chart.points_left_out == ("test qp 25",)
    assert chart.left_out == chart.absent == ()


def test_a_codec_that_has_hardly_begun_costs_the_others_no_picture_of_the_chart():
    begun = ladder("begun", 1.2, images=IMAGES[:2], points=6)
    rows = [*rows_with({}), *begun, *ladder("vvenc", images=IMAGES, points=6)]
    (chart,) = make_charts(comparison(rows, metrics=("psnr",)), quick=False)
    assert {one.codec for one in chart.series} == {"test", "vvenc"}
    assert chart.absent == ("BEGUN",)
    assert chart.images == len(IMAGES)


def test_savings_along_the_curve_and_by_picture_leave_out_the_lossless_point():
    _, compared = against_whole({(i, 5): infinite(i, 5) for i in IMAGES})
    anchor, test = compared.results.codec("vvenc"), compared.results.codec("test")
    band = spread.relative_rate(anchor, test, "psnr", True)
    assert band is not None
    np.testing.assert_allclose(10**band.value, 1.5, rtol=2e-3)
    images = spread.rate_by_image(anchor, test, "psnr", True)
    np.testing.assert_allclose(10**images, 1.5, rtol=2e-3)
