"""Comparisons at single operating points, where curves give no BD-rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.verdict.own_points import compare_at_own_points

RATES = np.array([0.1, 0.2, 0.4, 0.8])[:, None] * np.array([0.8, 1.0, 1.2])
# Each doubling of the rate buys 3 units: between the points PCHIP is exact.
RISING = 30 + 3 * np.log2(RATES / 0.1)


@pytest.mark.parametrize("sign", [1, -1], ids=["rising", "falling"])
@pytest.mark.parametrize("place", [0, 2])
def test_one_point_is_compared_with_the_curve_between_its_points(sign, place):
    """A tenth fewer bits for the same quality, whichever way the metric points."""
    anchor = (RATES, sign * RISING)
    # A little inside the curve, whose ends do not survive rounding.
    point = (0.9 * RATES[place : place + 1], sign * (RISING[place : place + 1] + 3e-9))
    (found,) = compare_at_own_points(anchor, point, higher_is_better=sign > 0)
    assert found.rate_change == pytest.approx(-10, abs=1e-4)
    assert found.rate_low == pytest.approx(-10, abs=1e-2)
    assert found.rate_high == pytest.approx(-10, abs=1e-2)
    gain = -3 * math.log2(0.9)
    if place:
        assert found.quality - found.anchor_quality == pytest.approx(sign * gain, abs=1e-2)
        assert found.low <= found.quality - found.anchor_quality + 1e-9
    else:  # a tenth below the anchor's lowest rate there is nothing to compare with
        assert math.isnan(found.anchor_quality)


def test_a_single_point_of_the_anchor_is_compared_with_the_codecs_curve():
    """The same two, the other way round: a tenth fewer bits, and more of quality."""
    codec = (0.9 * RATES, RISING)
    (found,) = compare_at_own_points((RATES[1:2], RISING[1:2]), codec, higher_is_better=True)
    assert found.rate_change == pytest.approx(-10, abs=1e-6)
    assert found.rate == pytest.approx(0.2)
    assert found.quality - found.anchor_quality == pytest.approx(-3 * math.log2(0.9), abs=1e-2)


def test_curves_without_a_common_quality_are_compared_at_equal_rate():
    better = (RATES, RISING + 40)
    found = compare_at_own_points((RATES, RISING), better, higher_is_better=True)
    assert len(found) == len(RATES)
    for point in found:
        assert math.isnan(point.rate_change)
        assert point.quality - point.anchor_quality == pytest.approx(40)
        assert (point.low, point.high) == pytest.approx((40, 40))


@pytest.mark.parametrize("rising", [True, False])
def test_two_codecs_coded_to_one_rate_are_compared_in_quality(rising):
    anchor = (RATES[1:2], RISING[1:2])
    codec = (RATES[1:2] * 1.01, RISING[1:2] + np.array([0.5, 1.0, 1.5]))
    (found,) = compare_at_own_points(anchor, codec, higher_is_better=rising)
    assert found.rate == pytest.approx(0.202)
    assert found.quality - found.anchor_quality == pytest.approx(1)
    assert 0.5 <= found.low < 0.8 < 1.2 < found.high <= 1.5
    assert math.isnan(found.rate_change)
    missed = (RATES[1:2] * 1.1, codec[1])
    assert compare_at_own_points(anchor, missed, higher_is_better=rising) == ()


def test_points_out_of_all_reach_give_nothing():
    far = (RATES[:1] / 100, RISING[:1] - 50)
    assert compare_at_own_points((RATES, RISING), far, higher_is_better=True) == ()


def test_one_image_gives_figures_without_an_interval():
    anchor = (RATES[:, :1], RISING[:, :1])
    point = (RATES[1:2, :1] * 0.9, RISING[1:2, :1])
    (found,) = compare_at_own_points(anchor, point, higher_is_better=True)
    assert found.rate_change == pytest.approx(-10)
    assert math.isnan(found.rate_low)
