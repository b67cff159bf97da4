"""The bootstrap over images: against scipy, against itself one by one, and its limits."""

from __future__ import annotations

import math
import time
from typing import Any

import bjontegaard
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from bench.verdict import pchip
from bench.verdict.bd import bd_rate
from bench.verdict.bootstrap import Interval, bootstrap_bd, bootstrap_quality
from bench.verdict.curve import Curve, quality_at_rate


def tables(seed: int = 0, points: int = 6, images: int = 24) -> Any:
    """Rates and PSNRs of an anchor and of a codec that needs about 7 % less, [points, images]."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 0.4, images)
    rates = np.geomspace(0.1, 1.5, points)[:, None] * np.exp(difficulty)
    quality = np.linspace(28, 40, points)[:, None] - 4 * difficulty
    noise = rng.normal(0, 0.05, (2, points, images))
    return rates, quality, 0.93 * rates * np.exp(noise[0]), quality + noise[1]


def bd_interval(data: Any, **options: Any) -> Interval:
    return bootstrap_bd(data[0], data[1], data[2], data[3], **options)


def quality_intervals(data: Any, **options: Any) -> np.ndarray:
    """[rates, 2]"""
    return bootstrap_quality(data[0], data[1], data[2], data[3], **options).T


def rising(draw_size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    steps = rng.exponential(1, (2, 1, draw_size)) + 1e-3
    return np.cumsum(steps[0], axis=1), np.cumsum(steps[1], axis=1)


@given(seed=st.integers(0, 2**32 - 1), points=st.integers(2, 9), monotone=st.booleans())
def test_pchip_is_scipys(seed, points, monotone):
    rng = np.random.default_rng(seed)
    x, y = rising(points, rng)
    if not monotone:
        y = rng.normal(0, 5, y.shape).round(rng.integers(0, 3))  # equal neighbours occur
    reference = PchipInterpolator(x[0], y[0])
    low, high = np.sort(rng.uniform(x[0, 0], x[0, -1], 2))
    area = pchip.integral(x, y, np.array([low]), np.array([high]))[0]
    assert area == pytest.approx(reference.integrate(low, high), rel=1e-9, abs=1e-9)
    at = np.array([x[0, 0] - 1, x[0, 0], low, high, x[0, -1], x[0, -1] + 1])
    values = pchip.values(x, y, at)[0]
    assert values[1:-1] == pytest.approx(reference(at[1:-1]), rel=1e-9, abs=1e-9)
    assert np.isnan(values[[0, -1]]).all()


@given(seed=st.integers(0, 2**32 - 1), points=st.tuples(st.integers(2, 9), st.integers(2, 9)))
@settings(max_examples=50)
@pytest.mark.filterwarnings("ignore:Curves do not overlap")
def test_a_sample_of_equal_images_gives_the_packages_delta(seed, points):
    """With every image alike all resamples are the mean curve, so both ends are its BD-rate."""
    rng = np.random.default_rng(seed)
    (q_a, r_a), (q_t, r_t) = (rising(n, rng) for n in points)
    columns: Any = [
        np.repeat(v.T, 3, axis=1) for v in (10 ** (r_a / 10), q_a, 10 ** (r_t / 10), q_t)
    ]
    interval = bd_interval(columns, higher_is_better=True, n=20)
    expected = bjontegaard.bd_rate(
        *(c[:, 0] for c in columns), "pchip", require_matching_points=False, min_overlap=0
    )
    if math.isnan(expected):
        assert (interval.low, interval.undefined) == (None, 20)
    else:
        assert interval.low == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert interval.high == pytest.approx(expected, rel=1e-9, abs=1e-9)


def one_by_one(data, higher_is_better: bool, n: int, seed: int, delta) -> np.ndarray:
    """The same bootstrap as a plain loop over the verdicts of `bench.verdict.bd`."""
    images = data[0].shape[1]
    draws = np.random.default_rng(seed).multinomial(images, [1 / images] * images, size=n)
    values = []
    for counts in draws:
        chosen = np.repeat(np.arange(images), counts)
        a_rate, a_quality, t_rate, t_quality = (t[:, chosen].mean(axis=1) for t in data)
        values.append(delta(Curve(a_rate, a_quality), Curve(t_rate, t_quality), higher_is_better))
    return np.array(values, dtype=float)


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("dip", [0, 0.5])
def test_bd_interval_is_that_of_a_plain_loop(higher_is_better, dip):
    data: Any = [t.copy() for t in tables(images=8)]
    data[3][3] -= 5 * dip  # with a dip some resampled curves fall at one point
    if not higher_is_better:
        data[1], data[3] = -data[1], -data[3]
    interval = bd_interval(data, higher_is_better=higher_is_better, n=100, seed=3)
    loop = one_by_one(
        data,
        higher_is_better,
        100,
        3,
        lambda a, t, up: bd_rate(a, t, higher_is_better=up).value,
    )
    assert [interval.low, interval.high] == pytest.approx(np.percentile(loop, [2.5, 97.5]))
    assert interval.undefined == 0


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_quality_interval_is_that_of_a_plain_loop(higher_is_better):
    data: Any = list(tables(images=8))
    if not higher_is_better:
        data[1], data[3] = -data[1], -data[3]
    intervals = quality_intervals(
        data, higher_is_better=higher_is_better, rates=[0.3, 0.6], n=100, seed=3
    )
    for rate, interval in zip([0.3, 0.6], intervals, strict=True):
        loop = one_by_one(
            data,
            higher_is_better,
            100,
            3,
            lambda a, t, up, rate=rate: (
                quality_at_rate(t, rate, higher_is_better=up)
                - quality_at_rate(a, rate, higher_is_better=up)
            ),
        )
        assert interval == pytest.approx(np.percentile(loop, [2.5, 97.5]))


def test_the_interval_covers_what_it_should():
    """Of 200 samples of 24 images, about 95 % of the intervals hold the true -7 %."""
    hits = 0
    for seed in range(200):
        interval = bd_interval(tables(seed), higher_is_better=True, n=400, seed=seed)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low < -7 < interval.high
    # Percentile intervals are a little short for few images; chance alone makes +-3 points.
    assert 175 <= hits <= 199


def test_pairing_removes_what_the_images_have_in_common():
    anchor_rates, anchor_quality, test_rates, test_quality = tables(images=24)
    paired = bootstrap_bd(
        anchor_rates, anchor_quality, test_rates, test_quality, higher_is_better=True
    )
    shuffled = np.random.default_rng(0).permutation(24)
    unpaired = bootstrap_bd(
        anchor_rates,
        anchor_quality,
        test_rates[:, shuffled],
        test_quality[:, shuffled],
        higher_is_better=True,
    )
    assert width(paired) < width(unpaired) / 3


def width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


def test_seeded():
    assert bd_interval(tables(), higher_is_better=True, seed=1) == bd_interval(
        tables(), higher_is_better=True, seed=1
    )
    assert bd_interval(tables(), higher_is_better=True, seed=1) != bd_interval(
        tables(), higher_is_better=True, seed=2
    )


def test_undefined_resamples_are_counted_and_too_many_give_no_interval():
    rates, quality, test_rates, test_quality = tables(images=4)
    far = bootstrap_bd(rates, quality, test_rates, test_quality + 100, higher_is_better=True, n=200)
    assert (far.low, far.high, far.undefined) == (None, None, 200)
    assert far.reason == "undefined in 200 of 200 resamples"
    # One image of four carries the overlap: it is absent from 0.75^4 = 32 % of the resamples.
    apart = test_quality + 13
    apart[:, 0] -= 40
    some = bootstrap_bd(rates, quality, test_rates, apart, higher_is_better=True, n=200)
    assert some.low is None
    assert 30 < some.undefined < 100
    out_of_reach = quality_intervals(tables(), higher_is_better=True, rates=[0.001, 0.4], n=50)
    assert np.isnan(out_of_reach).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("table", range(4))
def test_missing_values_give_no_interval(bad, table):
    data: Any = [t.copy() for t in tables()]
    data[table][2, 5] = bad
    assert "not finite" in bd_interval(data, higher_is_better=True).reason
    assert np.isnan(quality_intervals(data, higher_is_better=True, rates=[0.3])).all()


def test_what_else_gives_no_interval():
    assert "one image" in bd_interval(tables(images=1), higher_is_better=True).reason
    assert "two points" in bd_interval(tables(points=1), higher_is_better=True).reason
    rates, quality, test_rates, test_quality = tables()
    assert (
        "without bits"
        in bootstrap_bd(0 * rates, quality, test_rates, test_quality, higher_is_better=True).reason
    )
    with pytest.raises(ValueError, match="same images"):
        bootstrap_bd(rates, quality, test_rates[:, :5], test_quality[:, :5], higher_is_better=True)


def test_a_thousand_resamples_take_less_than_50_ms():
    data = tables()
    bd_interval(data, higher_is_better=True)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        bd_interval(data, higher_is_better=True, n=1000)
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.05
