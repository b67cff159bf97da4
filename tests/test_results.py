"""Arranging measurements as curves."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bench.metrics.base import MetricValue
from bench.record.manifest import Ladder, RunImage
from bench.verdict.bd import Status
from bench.verdict.comparison import compare
from bench.verdict.curve import on_scale, pooled
from bench.verdict.results import collect
from codecs.base import Point
from datasets.folder import list_pictures
from tests.helpers import collected, measurement

LADDER = Ladder("jpeg", "1", {}, tuple(Point("quality", value) for value in (10, 50, 90)))
PICTURES = tuple(RunImage(name, name, 100, 80) for name in ("a10.png", "a2.png"))


def grid_of(rows, ladders=(LADDER,), pictures=PICTURES, **kwargs):
    return collect(rows, ladders, pictures, metrics=("psnr",), dataset="test", **kwargs)


def ladder(codec: str, images=("a2.png", "a10.png")):
    return [
        measurement(codec, image, value, size=100 * (i + 1) + column)
        for column, image in enumerate(images)
        for i, value in enumerate((10, 50, 90))
    ]


def test_rates_and_metrics_land_in_their_cells_whatever_the_order():
    rows = ladder("jpeg")
    result = grid_of(reversed(rows)).codec("jpeg")
    assert result.points == ("quality 10", "quality 50", "quality 90")
    assert result.images == ("a2.png", "a10.png")  # natural order
    expected = np.array([[100, 101], [200, 201], [300, 301]]) * 8 / 8000
    np.testing.assert_allclose(result.bpp, expected)
    assert result.metric("psnr").shape == (3, 2)
    assert (result.seconds("encode", "wall") == 0.1).all()


def test_pictures_are_in_the_order_of_their_folder(tmp_path):
    for name in ("b2.png", "A10.png", "a9.png"):
        (tmp_path / name).touch()
    listed = tuple(path.name for path in list_pictures(tmp_path))
    assert listed == ("a9.png", "A10.png", "b2.png")
    rows = [row for name in listed for row in ladder("jpeg", (name,))]
    found = grid_of(rows, pictures=[RunImage(name, name, 100, 80) for name in reversed(listed)])
    assert found.images == listed


def test_a_failed_cell_is_nan_and_its_image_is_named():
    rows = ladder("jpeg")
    rows[4] = measurement("jpeg", "a10.png", 50, status="failed", reason="boom")
    result = grid_of(rows).codec("jpeg")
    assert math.isnan(result.bpp[1, 1])
    assert [m.reason for m in result.failures] == ["boom"]


def test_only_the_pictures_of_the_run_count_by_digest_and_under_their_present_name():
    rows = [*ladder("jpeg"), *ladder("jpeg", ("other.png",))]
    renamed = (RunImage("z.png", "a2.png", 100, 80),)
    results = grid_of(rows, pictures=renamed)
    assert results.images == ("z.png",)
    codec = results.codec("jpeg")
    assert {m.image for m in codec.measurements.values()} == {"z.png"}
    assert codec.bpp.shape == (3, 1)
    # A different picture that has taken over the name is another picture.
    assert grid_of(rows, pictures=(RunImage("a2.png", "new", 100, 80),)).codecs == ()


def test_the_version_that_was_run_counts_even_if_another_was_measured_later():
    newer = [
        measurement("jpeg", "a2.png", value, version="2", time="2026-02-01T00:00:00Z", size=7)
        for value in (10, 50, 90)
    ]
    result = grid_of([*ladder("jpeg"), *newer]).codec("jpeg")
    assert result.version == "1"
    assert {m.version for m in result.measurements.values()} == {"1"}


def test_the_ladder_that_was_run_counts_and_orders_the_points():
    changed = Ladder("jpeg", "1", {}, (Point("quality", 90), Point("quality", 10)))
    result = grid_of(ladder("jpeg"), ladders=(changed,)).codec("jpeg")
    assert result.points == ("quality 90", "quality 10")
    np.testing.assert_allclose(result.bpp[:, 0], [0.3, 0.1])


def test_what_is_not_measured_yet_is_an_empty_cell_or_an_unavailable_codec():
    webp = Ladder("webp", "1", {}, LADDER.points)
    results = grid_of(ladder("jpeg", ("a2.png",)), ladders=(webp, LADDER))
    assert [codec.name for codec in results.codecs] == ["jpeg"]
    assert "not measured yet" in results.unavailable["webp"]
    assert np.isnan(results.codec("jpeg").bpp).any(axis=0).tolist() == [False, True]


def test_codecs_come_in_the_order_asked_for():
    webp = Ladder("webp", "1", {}, LADDER.points)
    rows = [*ladder("jpeg"), *ladder("webp")]
    assert [c.name for c in grid_of(rows, ladders=(webp, LADDER)).codecs] == ["webp", "jpeg"]
    assert [c.name for c in grid_of(rows, ladders=(LADDER, webp)).codecs] == ["jpeg", "webp"]


def test_values_of_different_versions_of_a_metric_are_not_compared():
    old = [
        replace(m, metrics={"psnr": MetricValue(30.0 + m.value / 10, "0.9")})
        for m in ladder("webp")
    ]
    compared = compare(collected([*old, *ladder("jpeg")], metrics=("psnr",), dataset=""), "jpeg")
    verdict = compared.rows[0].cells["psnr"].verdict
    assert verdict.status is Status.INVALID
    assert "0.9 (webp)" in verdict.message
    assert "1 (jpeg)" in verdict.message


def test_ms_ssim_goes_to_decibel_and_other_metrics_stay():
    np.testing.assert_allclose(on_scale("ms-ssim", np.array([0.9, 0.99])), [10, 20])
    np.testing.assert_allclose(on_scale("psnr", np.array([30.0])), [30])


def test_pooled_psnr_is_that_of_the_mean_squared_error():
    mse = np.array([[4.0, 100.0]])
    psnr = 10 * np.log10(255**2 / mse)
    np.testing.assert_allclose(pooled("psnr", psnr), 10 * np.log10(255**2 / mse.mean(axis=1)))
    np.testing.assert_allclose(pooled("ms-ssim", np.array([[0.9, 0.98]])), -10 * np.log10(0.06))
    np.testing.assert_allclose(pooled("lpips-alex", np.array([[0.1, 0.3]])), [0.2])
