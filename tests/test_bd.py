"""Bjøntegaard verdicts: published answers, exact identities, and every kind of bad curve."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.verdict.bd import METHODS, Status, bd_quality, bd_rate
from bench.verdict.curve import Curve, quality_at_rate, rate_at_quality
from tests.conftest import DATA

OWN = json.loads(Path(__file__).with_name("data").joinpath("bd_curves.json").read_text())
PUBLISHED = DATA / "published"

PSNR = Curve([0.1, 0.2, 0.4, 0.8, 1.6], [28.0, 31.0, 34.0, 37.0, 40.0])
LPIPS = Curve([0.1, 0.2, 0.4, 0.8, 1.6], [0.40, 0.25, 0.15, 0.08, 0.04])
BOTH = pytest.mark.parametrize(
    ("curve", "higher_is_better"), [(PSNR, True), (LPIPS, False)], ids=["psnr", "lpips"]
)


def on_scale(metric: str, values: list[float]) -> list[float]:
    return [-10 * math.log10(1 - v) for v in values] if metric == "ms-ssim" else values


def check_case(anchor: Curve, test: Curve, rate: dict, quality: dict) -> None:
    for method in METHODS:
        verdict = bd_rate(anchor, test, method=method)
        assert verdict.value == pytest.approx(rate[method], abs=1e-8)
        assert verdict.status in (Status.OK, Status.CROSSING), verdict.message
        assert bd_quality(anchor, test, method=method).value == pytest.approx(
            quality[method], abs=1e-8
        )


@pytest.mark.parametrize(
    "case", OWN["cases"], ids=lambda c: f"{c['test']}-vs-{c['anchor']}-{c['metric']}"
)
def test_published_curves(case):
    anchor, test = (
        Curve(curve["bpp"], on_scale(case["metric"], curve[case["metric"]]))
        for curve in (OWN["curves"][case["anchor"]], OWN["curves"][case["test"]])
    )
    check_case(anchor, test, case["bd_rate"], case["bd_quality"])


def published_cases() -> list[dict]:
    file = PUBLISHED / "bd_known_answers.json"
    return json.loads(file.read_text())["cases"] if file.is_file() else []


@pytest.mark.skipif(not published_cases(), reason="the published curves are not on this machine")
def test_all_published_curves():
    checked = 0
    for case in published_cases():
        files = [PUBLISHED / "compressai" / case[role] for role in ("anchor", "test")]
        if not all(file.is_file() for file in files):
            continue
        curves: list[Any] = []
        for file in files:
            result = json.loads(file.read_text())["results"]
            points = sorted(zip(result["bpp"], quality_of(result, case["metric"]), strict=True))
            if "points" in case:  # "indices 1..4 of both (ascending bpp)"
                first, last = map(int, case["points"].split()[1].split(".."))
                points = points[first : last + 1]
            curves.append(Curve([p[0] for p in points], [p[1] for p in points]))
        check_case(curves[0], curves[1], case["bd_rate"], case["bd_psnr"])
        checked += 1
    assert checked >= 20


def quality_of(result: dict, metric: str) -> list[float]:
    if metric == "psnr-rgb":
        return result["psnr-rgb"]
    return on_scale("ms-ssim", result["ms-ssim-rgb"])


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_a_tenth_less_rate_is_minus_ten_percent(curve, higher_is_better, method):
    cheaper = Curve(0.9 * curve.rate, curve.quality)
    verdict = bd_rate(curve, cheaper, higher_is_better=higher_is_better, method=method)
    assert verdict.value == pytest.approx(-10, abs=1e-9)
    assert (verdict.status, verdict.message) == (Status.OK, "")
    assert (verdict.overlap, verdict.n_anchor, verdict.n_test) == (1, 5, 5)
    back = bd_rate(cheaper, curve, higher_is_better=higher_is_better, method=method)
    assert back.value == pytest.approx(100 * (1 / 0.9 - 1), abs=1e-9)


@BOTH
def test_swapping_anchor_and_test(curve, higher_is_better):
    other = Curve(curve.rate * [0.8, 0.9, 1.0, 0.85, 0.95], curve.quality * 1.01)
    there = bd_rate(curve, other, higher_is_better=higher_is_better).value
    back = bd_rate(other, curve, higher_is_better=higher_is_better).value
    assert there is not None
    assert back is not None
    assert back / 100 == pytest.approx(1 / (1 + there / 100) - 1, abs=1e-12)


@BOTH
@pytest.mark.parametrize("method", METHODS)
def test_quality_delta_has_the_metrics_unit_and_direction(curve, higher_is_better, method):
    shifted = Curve(curve.rate, curve.quality + 0.02)
    verdict = bd_quality(curve, shifted, higher_is_better=higher_is_better, method=method)
    assert verdict.value == pytest.approx(0.02, abs=1e-9)
    assert verdict.common == pytest.approx((0.1, 1.6))


@BOTH
@given(order=st.permutations(range(5)), again=st.lists(st.integers(0, 4), max_size=3))
def test_order_and_repetition_of_points_do_not_matter(curve, higher_is_better, order, again):
    picked = [*order, *again]
    other = Curve(1.1 * curve.rate[picked], curve.quality[picked])
    verdict = bd_rate(curve, other, higher_is_better=higher_is_better)
    assert verdict.value == pytest.approx(10, abs=1e-9)
    assert (verdict.status, verdict.n_test) == (Status.OK, 5)


@BOTH
def test_disjoint(curve, higher_is_better):
    away = 100 if higher_is_better else -0.5
    verdict = bd_rate(
        curve, Curve(curve.rate, curve.quality + away), higher_is_better=higher_is_better
    )
    assert (verdict.value, verdict.status, verdict.overlap) == (None, Status.NO_OVERLAP, 0)
    assert "anchor 28 to 40" in verdict.message or "anchor 0.04 to 0.4" in verdict.message


@BOTH
def test_touching(curve, higher_is_better):
    reach = curve.quality[-1] - curve.quality[0]
    other = Curve(curve.rate, curve.quality + reach)
    verdict = bd_rate(curve, other, higher_is_better=higher_is_better)
    assert (verdict.value, verdict.status) == (None, Status.TOUCHING)


@BOTH
def test_narrow_overlap(curve, higher_is_better):
    part = 0.9 * (curve.quality[-1] - curve.quality[0])
    verdict = bd_rate(
        curve, Curve(curve.rate, curve.quality + part), higher_is_better=higher_is_better
    )
    assert verdict.status is Status.NARROW
    assert verdict.overlap == pytest.approx(0.1)
    assert verdict.value is not None
    assert "10 %" in verdict.message


@BOTH
def test_crossing(curve, higher_is_better):
    other = Curve(curve.rate * [0.8, 0.9, 1.0, 1.1, 1.2], curve.quality)
    verdict = bd_rate(curve, other, higher_is_better=higher_is_better)
    assert verdict.status is Status.CROSSING
    assert verdict.value is not None
    assert abs(verdict.value) < 10
    within_noise = Curve(curve.rate * [0.999, 1.001, 0.999, 1.001, 0.999], curve.quality)
    assert bd_rate(curve, within_noise, higher_is_better=higher_is_better).status is Status.OK


def test_one_encoder_measured_at_other_points_does_not_cross_itself():
    """WebP, method 6, means of six Kodak pictures at two sets of qualities."""
    seven = Curve(
        [0.2224, 0.3391, 0.4997, 0.7119, 0.9303, 1.5347, 2.8629],
        [27.858, 29.336, 30.957, 32.769, 34.277, 37.616, 41.754],
    )
    six = Curve(
        [0.2224, 0.3950, 0.6063, 0.8140, 1.2278, 2.8629],
        [27.858, 29.929, 31.929, 33.522, 36.094, 41.754],
    )
    verdict = bd_rate(seven, six)
    assert verdict.value == pytest.approx(0.2, abs=0.1)
    assert (verdict.status, verdict.message) == (Status.OK, "")
    assert bd_quality(seven, six).status is Status.OK


@BOTH
def test_curves_cross_where_one_is_clearly_and_the_other_a_little_ahead(curve, higher_is_better):
    other = Curve(curve.rate * [0.993, 1.0, 1.0, 1.0, 1.05], curve.quality)
    for anchor, test in ((curve, other), (other, curve)):
        assert bd_rate(anchor, test, higher_is_better=higher_is_better).status is Status.CROSSING


@BOTH
def test_one_useless_point_is_left_out_and_said(curve, higher_is_better):
    worse = -1 if higher_is_better else 1
    dip = Curve(
        np.append(curve.rate, 0.5), np.append(curve.quality, curve.quality[2] + worse * 0.01)
    )
    verdict = bd_rate(curve, dip, higher_is_better=higher_is_better)
    assert verdict.status is Status.NOT_MONOTONE
    assert verdict.value == pytest.approx(0, abs=1e-9)
    assert (verdict.anchor_monotone, verdict.test_monotone) == (True, False)
    assert (verdict.n_anchor, verdict.n_test) == (5, 5)
    assert "1 of 6 points" in verdict.message


@BOTH
def test_wrong_direction_gives_no_figure(curve, higher_is_better):
    verdict = bd_rate(curve, curve, higher_is_better=not higher_is_better)
    assert (verdict.value, verdict.status) == (None, Status.NOT_MONOTONE)
    assert "direction" in verdict.message


@BOTH
def test_zigzag_gives_no_figure(curve, higher_is_better):
    zigzag = Curve(curve.rate, curve.quality[[1, 0, 3, 2, 4]])
    assert bd_rate(curve, zigzag, higher_is_better=higher_is_better).value is None


@BOTH
def test_two_points_are_flagged(curve, higher_is_better):
    ends = [0, 4]
    two = Curve(curve.rate[ends], curve.quality[ends])
    cheaper = Curve(0.9 * two.rate, two.quality)
    for method in ("pchip", "akima"):
        verdict = bd_rate(two, cheaper, higher_is_better=higher_is_better, method=method)
        assert verdict.status is Status.FEW_POINTS
        assert verdict.value == pytest.approx(-10, abs=1e-9)
    verdict = bd_rate(two, cheaper, higher_is_better=higher_is_better, method="cubic")
    assert (verdict.value, verdict.status) == (None, Status.TOO_FEW)


@BOTH
@pytest.mark.parametrize("points", [0, 1])
def test_no_curve_at_all(curve, higher_is_better, points):
    stub = Curve(curve.rate[:points], curve.quality[:points])
    for pair in ((stub, curve), (curve, stub), (stub, stub)):
        verdict = bd_rate(*pair, higher_is_better=higher_is_better)
        assert (verdict.value, verdict.status) == (None, Status.TOO_FEW)


def test_the_codec_with_too_few_points_is_named():
    for points, said in ((3, "jpeg has 3 points"), (1, "jpeg has 1 point,")):
        short = Curve(PSNR.rate[:points], PSNR.quality[:points])
        verdict = bd_rate(PSNR, short, names=("vvenc", "jpeg"))
        assert said in verdict.message
        assert "4: add some" in verdict.message
        assert "vvenc" not in verdict.message


@BOTH
def test_one_point_measured_five_times_is_one_point(curve, higher_is_better):
    same = Curve([0.3] * 5, [curve.quality[2]] * 5)
    assert bd_rate(curve, same, higher_is_better=higher_is_better).status is Status.TOO_FEW


@BOTH
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["rate", "quality"])
def test_values_that_are_no_numbers(curve, higher_is_better, bad, where):
    rate, quality = curve.rate.copy(), curve.quality.copy()
    (rate if where == "rate" else quality)[2] = bad
    for delta in (bd_rate, bd_quality):
        verdict = delta(Curve(rate, quality), curve, higher_is_better=higher_is_better)
        assert (verdict.value, verdict.status) == (None, Status.INVALID)
        assert "anchor" in verdict.message


@pytest.mark.parametrize("rate", [0.0, -0.1])
def test_rates_that_are_none(rate):
    broken = Curve([rate, 0.2, 0.4, 0.8, 1.6], PSNR.quality)
    assert bd_rate(PSNR, broken).status is Status.INVALID


def test_rates_beyond_all_floats():
    tiny, huge = Curve(PSNR.rate * 1e-300, PSNR.quality), Curve(PSNR.rate * 1e300, PSNR.quality)
    verdict = bd_rate(tiny, huge)
    assert (verdict.value, verdict.status) == (None, Status.INVALID)


numbers = st.floats(width=32) | st.sampled_from([0.0, 0.1, 1.0, math.nan, math.inf])


@given(
    anchor=st.lists(st.tuples(numbers, numbers), max_size=7),
    test=st.lists(st.tuples(numbers, numbers), max_size=7),
    higher_is_better=st.booleans(),
    method=st.sampled_from(METHODS),
)
@pytest.mark.filterwarnings("error")
def test_never_an_exception_and_never_a_number_that_is_none(anchor, test, higher_is_better, method):
    curves = [Curve([p[0] for p in c], [p[1] for p in c]) for c in (anchor, test)]
    for delta in (bd_rate, bd_quality):
        verdict = delta(*curves, higher_is_better=higher_is_better, method=method)
        assert verdict.value is None or math.isfinite(verdict.value)
        assert verdict.status is Status.OK or verdict.message


def test_a_curve_must_be_a_curve():
    with pytest.raises(ValueError, match="one rate and one quality"):
        Curve([0.1, 0.2], [30.0])
    with pytest.raises(ValueError, match="unknown method 'spline'"):
        bd_rate(PSNR, PSNR, method="spline")


@BOTH
def test_reading_off(curve, higher_is_better):
    for rate, quality in zip(curve.rate, curve.quality, strict=True):
        assert rate_at_quality(curve, quality, higher_is_better=higher_is_better) == pytest.approx(
            rate
        )
        assert quality_at_rate(curve, rate, higher_is_better=higher_is_better) == pytest.approx(
            quality
        )
    assert math.isnan(quality_at_rate(curve, 0.05, higher_is_better=higher_is_better))
    assert math.isnan(quality_at_rate(curve, -1, higher_is_better=higher_is_better))
    assert math.isnan(rate_at_quality(curve, 1000, higher_is_better=higher_is_better))
    assert math.isnan(rate_at_quality(Curve([], []), 30, higher_is_better=higher_is_better))
    nothing = Curve([0.1, math.nan], [1, 2])
    assert math.isnan(quality_at_rate(nothing, 0.1, higher_is_better=higher_is_better))


def test_reading_off_between_points():
    line = Curve([0.1, 1.0], [30.0, 40.0])  # straight over log rate
    assert quality_at_rate(line, math.sqrt(0.1)) == pytest.approx(35)
    assert rate_at_quality(line, 35) == pytest.approx(math.sqrt(0.1))
