"""Scores from votes between pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from bench.verdict.preference import PRIOR, Preferences, prefer, probability, scores

CITED = np.array([[0, 730, 498, 221], [33, 0, 68, 17], [320, 813, 0, 142], [284, 276, 325, 0]])
"""Citations between Biometrika, Communications in Statistics, JASA and JRSS-B (Stigler, Statistical
Science 9, 1994), the first cited by the second."""
PUBLISHED = [0, -2.94907, -0.47957, 0.26895]
"""The scores of R's package BradleyTerry2 (Turner and Firth, Journal of Statistical Software 48,
2012), less Biometrika's."""
TRUE = np.array([-0.8, -0.2, 0.3, 0.7])


def test_published_scores_come_out():
    found = scores(CITED, prior=0)
    assert found - found[0] == pytest.approx(PUBLISHED, abs=5e-5)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_a_search_of_another_kind_finds_the_same():
    """The likelihood, with the prior's votes, climbed by a quasi-Newton method."""
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 12, (5, 6, 6)) * (1 - np.eye(6, dtype=int))
    tables[0, 2] = 0  # one codec never won

    def loss(s, table):
        return (np.logaddexp(0, s[None, :] - s[:, None]) * (table + PRIOR * (1 - np.eye(6)))).sum()

    for table, found in zip(tables, scores(tables), strict=True):
        other = minimize(loss, np.zeros(6), (table,), tol=1e-12).x
        assert found == pytest.approx(other - other.mean(), abs=1e-4)


def test_without_a_prior_scores_need_bounds():
    with pytest.raises(ValueError, match="no bound"):
        scores([[0, 3], [0, 0]], prior=0)
    assert np.isfinite(scores([[0, 3], [0, 0]])).all()


def test_no_votes_are_an_error():
    with pytest.raises(ValueError, match="votes need a winner"):
        prefer([], [], [], [], 2)
    with pytest.raises(ValueError, match="votes need a winner"):
        prefer([0], [1, 1], [0, 0], [0, 0], 2)


def simulated(
    rng: np.random.Generator, people: int, pictures: int, of_people: float, of_pictures: float
) -> Preferences:
    """Thirty votes of each participant; tastes and pictures move scores by so much."""
    taste = rng.normal(0, of_people, (people, 4))
    subject = rng.normal(0, of_pictures, (pictures, 4))
    columns = []
    for person in range(people):
        for _ in range(30):
            one, other = rng.choice(4, 2, replace=False)
            picture = rng.integers(pictures)
            s = TRUE + taste[person] + subject[picture]
            won = rng.random() < probability(s[one] - s[other])
            columns.append((*((one, other) if won else (other, one)), person, picture))
    won, lost, who, what = np.array(columns).T
    return prefer(won, lost, who, what, 4, n=200)


@pytest.mark.parametrize(
    ("people", "pictures", "of_people", "of_pictures"), [(16, 10, 0, 0), (16, 10, 0.4, 0.4)]
)
def test_intervals_hold_what_voters_were_made_to_prefer(people, pictures, of_people, of_pictures):
    rng = np.random.default_rng(3)
    runs = [simulated(rng, people, pictures, of_people, of_pictures) for _ in range(40)]
    upper = np.triu_indices(4, 1)
    true = (TRUE[:, None] - TRUE)[upper]
    ends = [(one.low[upper], one.high[upper]) for one in runs]
    held = np.mean([(low <= true) & (true <= high) for low, high in ends])
    assert held > 0.88
    found = np.array([one.differences[upper] for one in runs])
    assert found.mean(axis=0) == pytest.approx(true, abs=0.15)
    width = np.mean([high - low for low, high in ends])
    assert 0.95 < width / (2 * 1.96 * found.std(axis=0).mean()) < 1.6


def test_votes_of_one_person_are_not_many_people():
    """Four say the same thing fifty times, three of them one thing and one the other."""
    who = np.repeat(np.arange(4), 50)
    won = (who == 3).astype(int)
    alike = prefer(won, 1 - won, who, np.arange(200) % 10, 2)
    apart = prefer(won, 1 - won, np.arange(200) % 20, np.arange(200) % 10, 2)
    assert alike.low[0, 1] < 0 < alike.high[0, 1]
    assert apart.low[0, 1] > 0
    assert probability(alike.differences[0, 1]) == pytest.approx(0.75, abs=1e-3)


def test_pictures_that_differ_widen_the_interval():
    """On each picture all agree, and on every third they agree on the other codec."""
    what = np.arange(300) % 12
    won = (what % 3 == 0).astype(int)
    found = prefer(won, 1 - won, np.arange(300) // 12, what, 2)
    naive = 1.96 / np.sqrt(300 * (1 / 3) * (2 / 3))
    assert found.high[0, 1] - found.differences[0, 1] > 3 * naive


def test_the_interval_of_votes_of_as_many_people_is_that_of_a_share():
    """Two hundred people, a vote each: the log-odds of a binomial share have a known deviation."""
    won = (np.arange(200) % 4 == 0).astype(int)
    found = prefer(won, 1 - won, np.arange(200), np.zeros(200, int), 2)
    half = (found.high - found.low)[0, 1] / 2
    assert half == pytest.approx(1.972 / np.sqrt(200 * 0.25 * 0.75), rel=0.08)


def test_what_people_and_what_pictures_add_counts_together():
    """Half of the people and half of the pictures lean to either codec, each as much."""
    who, what = np.divmod(np.arange(12 * 12 * 10), 120)
    what //= 10
    leaning = np.array([9, 5, 1])[who % 2 + what % 2]
    won = (np.arange(1440) % 10 >= leaning).astype(int)

    def width(people, pictures):
        found = prefer(won, 1 - won, people, pictures, 2)
        return (found.high - found.low)[0, 1]

    alone = (width(who, 0 * what), width(0 * who, what))
    assert alone[0] == pytest.approx(alone[1], rel=0.1)
    assert width(who, what) == pytest.approx(np.hypot(*alone), rel=0.1)


def test_one_person_and_one_picture_give_no_interval():
    assert np.isnan(prefer([0, 1], [1, 0], [0, 0], [0, 0], 2).low).all()
    assert np.isfinite(prefer([0, 1], [1, 0], [0, 0], [0, 1], 2).low).all()


def test_a_codec_that_won_every_vote_is_in_a_group_of_its_own():
    found = prefer([0, 0, 1, 2], [1, 2, 2, 1], [0, 1, 2, 3], [0, 1, 0, 1], 3)
    assert found.group[1] == found.group[2] != found.group[0]
    assert np.isfinite(found.scores).all()
