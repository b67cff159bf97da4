"""Arranging measurements as curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.quality import on_scale, pooled
from bench.results import UnequalImages, collect
from tests.helpers import measurement


def grid_of(rows, **kwargs):
    return collect(rows, metrics=("psnr",), dataset="test", **kwargs)


def ladder(codec: str, images=("a2.png", "a10.png")):
    return [
        measurement(codec, image, value, order=order, size=100 * (order + 1) + column)
        for column, image in enumerate(images)
        for order, value in enumerate((10, 50, 90))
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


def test_a_failed_cell_is_nan_and_its_image_is_named():
    rows = ladder("jpeg")
    rows[4] = measurement("jpeg", "a10.png", 50, order=1, status="failed", reason="boom")
    result = grid_of(rows).codec("jpeg")
    assert math.isnan(result.bpp[1, 1])
    assert result.incomplete_images == ("a10.png",)
    assert [m.reason for m in result.failures] == ["boom"]


def test_different_image_sets_are_refused_by_name():
    with pytest.raises(UnequalImages, match=r"b\.png"):
        grid_of([*ladder("jpeg"), *ladder("webp", ("a2.png", "b.png"))])


def test_a_new_codec_version_replaces_the_old_one():
    old = ladder("jpeg")
    new = measurement("jpeg", "a2.png", 10, version="2", time="2026-02-01T00:00:00Z")
    result = grid_of([*old, new]).codec("jpeg")
    assert result.version == "2"
    assert len(result.measurements) == 1


def test_codecs_come_in_the_order_asked_for_and_missing_ones_are_named():
    rows = [*ladder("jpeg"), *ladder("webp")]
    assert [c.name for c in grid_of(rows, codecs=["webp", "jpeg"]).codecs] == ["webp", "jpeg"]
    with pytest.raises(KeyError, match="avif"):
        grid_of(rows, codecs=["avif"])


def test_ms_ssim_goes_to_decibel_and_other_metrics_stay():
    np.testing.assert_allclose(on_scale("ms-ssim", np.array([0.9, 0.99])), [10, 20])
    np.testing.assert_allclose(on_scale("psnr", np.array([30.0])), [30])


def test_pooled_psnr_is_that_of_the_mean_squared_error():
    mse = np.array([[4.0, 100.0]])
    psnr = 10 * np.log10(255**2 / mse)
    np.testing.assert_allclose(pooled("psnr", psnr), 10 * np.log10(255**2 / mse.mean(axis=1)))
    np.testing.assert_allclose(pooled("ms-ssim", np.array([[0.9, 0.98]])), -10 * np.log10(0.06))
    np.testing.assert_allclose(pooled("lpips-alex", np.array([[0.1, 0.3]])), [0.2])
