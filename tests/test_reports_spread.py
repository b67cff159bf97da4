"""Where codecs differ along a curve and from picture to picture, against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from bench.verdict import spread
from bench.verdict.bd import bd_rate
from bench.verdict.curve import Curve
from tests.reports_cases import comparison, failed, ladder, made_up


def two(factor: float = 1.5, images=("a.png", "b.png", "c.png")):
    rows = [*ladder("test", factor, images=images), *ladder("vvenc", images=images)]
    results = comparison(rows).results
    return results.codec("vvenc"), results.codec("test")


@pytest.mark.parametrize(("metric", "rising"), [("psnr", True), ("lpips-alex", False)])
def test_a_constant_factor_is_found_everywhere(metric, rising):
    anchor, test = two(1.5)
    band = spread.relative_rate(anchor, test, metric, rising)
    assert band is not None
    np.testing.assert_allclose(10**band.value, 1.5, rtol=2e-3)  # files are whole bytes
    known = np.isfinite(band.low)
    assert known.sum() >= 8
    assert (band.low[known] <= band.value[known] + 1e-4).all()
    assert (band.high[known] >= band.value[known] - 1e-4).all()
    images = spread.rate_by_image(anchor, test, metric, rising)
    np.testing.assert_allclose(10**images, 1.5, rtol=2e-3)


def test_curves_are_read_off_as_scipy_does():
    anchor, test = two()
    test.bpp[2] *= 1.17  # no constant factor
    band = spread.relative_rate(anchor, test, "psnr", True)
    assert band is not None
    read = [
        PchipInterpolator(c.metric("psnr").mean(axis=1), np.log10(c.bpp.mean(axis=1)))(band.at)
        for c in (anchor, test)
    ]
    np.testing.assert_allclose(band.value, read[1] - read[0], atol=1e-12)


def test_by_image_it_is_bd_rate_dips_and_all():
    rng = np.random.default_rng(0)
    rows = [
        made_up(codec, image, order, metrics={"psnr": 27 + 2.5 * order + rng.normal(0, 1.6)})
        for codec in ("test", "vvenc")
        for image in [f"{i}.png" for i in range(30)]
        for order in range(6)
    ]
    results = comparison(rows).results
    anchor, test = results.codec("vvenc"), results.codec("test")
    found = spread.rate_by_image(anchor, test, "psnr", True)
    dips = 0
    for image, ratio in enumerate(found):
        curves = [Curve(c.bpp[:, image], c.metric("psnr")[:, image]) for c in (anchor, test)]
        dips += any((np.diff(curve.quality) < 0).any() for curve in curves)
        expected = bd_rate(*curves)
        if expected.value is None:
            assert np.isnan(ratio)
        else:
            assert 100 * (10**ratio - 1) == pytest.approx(expected.value, rel=1e-9)
    assert dips > 5


def test_swapping_the_codecs_changes_the_sign_alone():
    anchor, test = two()
    there = spread.relative_rate(anchor, test, "ms-ssim", True)
    back = spread.relative_rate(test, anchor, "ms-ssim", True)
    assert there is not None
    assert back is not None
    np.testing.assert_allclose(there.value, -back.value, atol=1e-12)
    np.testing.assert_allclose(there.low, -back.high, atol=1e-12)
    np.testing.assert_allclose(
        spread.rate_by_image(anchor, test, "psnr", True),
        -spread.rate_by_image(test, anchor, "psnr", True),
        atol=1e-12,
    )


def test_the_interval_of_a_mean_covers_it_at_the_expected_width():
    images = [f"{i}.png" for i in range(40)]
    rng = np.random.default_rng(1)
    offsets = dict(zip(images, rng.normal(0, 2, 40), strict=True))
    rows = [
        made_up("vvenc", i, o, bytes=100 * 2**o, metrics={"psnr": 30 + 3 * o + offsets[i]})
        for i in images
        for o in range(5)
    ]
    codec = comparison(rows).results.codec("vvenc")
    band = spread.quality_band(codec, "psnr", True)
    assert band is not None
    # Rates are the same for all, so this is the interval of a mean: 1.96 s / sqrt(n).
    half = 1.96 * np.std(list(offsets.values()), ddof=1) / np.sqrt(40)
    middle = len(band.at) // 2
    assert band.low[middle] < band.value[middle] < band.high[middle]
    assert (band.high[middle] - band.low[middle]) / 2 == pytest.approx(half, rel=0.12)


def test_what_is_missing_costs_itself_alone_and_what_is_apart_has_no_curve():
    rows = [*ladder("test", 1.5), *ladder("vvenc")]
    rows[0] = failed("test", "a.png", 0, "broken")
    results = comparison(rows).results
    anchor, test = results.codec("vvenc"), results.codec("test")
    # One point on one picture of three: the others have curves and figures all the same.
    band = spread.relative_rate(anchor, test, "psnr", True)
    assert band is not None
    np.testing.assert_allclose(10**band.value, 1.5, rtol=2e-3)
    assert spread.quality_band(test, "psnr", True) is not None
    images = spread.rate_by_image(anchor, test, "psnr", True)
    np.testing.assert_allclose(10**images, 1.5, rtol=2e-3)
    poor = [
        made_up("poor", i, o, metrics={"psnr": 5.0 + o})
        for i in ("a.png", "b.png")
        for o in range(5)
    ]
    apart = comparison([*poor, *ladder("vvenc", images=("a.png", "b.png"))]).results
    assert spread.relative_rate(apart.codec("vvenc"), apart.codec("poor"), "psnr", True) is None
    one, other = two(images=("a.png",))
    band = spread.relative_rate(one, other, "psnr", True)
    assert band is not None
    assert np.isnan(band.low).all()  # one image says nothing about others
