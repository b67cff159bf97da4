"""What votes between pairs say: a score for each codec, after Bradley and Terry (1952).

A codec of score s is preferred to one of score t with probability 1 / (1 + exp(t - s)).  Scores
are the most likely ones, found by Hunter's MM algorithm (Annals of Statistics 32, 2004), which
always converges; `PRIOR` votes are added to both sides of every pair, so that a codec that won all
of its votes has a score at all.

Votes of one participant resemble each other, and so do votes on one picture.  Intervals are for
other participants and other pictures: the bootstrap draws participants, pictures, and the groups of
votes of one participant on one picture, and the variance is that of the first two less that of the
third, which both hold (Cameron, Gelbach and Miller, Journal of Business & Economic Statistics 29,
2011), with Student's t of the smaller number of the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.verdict.bootstrap import LEVEL, resamples
from bench.verdict.curve import Array

PRIOR = 0.1
"""Votes added to each side of each pair."""
NEAR = 1e-9
"""Change of all scores at which the search ends."""
MOST_STEPS = 10_000
ELO = 400 / np.log(10)
"""Points of Elo's scale to a unit of score: 100 points are a preference of 64 %."""


@dataclass(frozen=True)
class Preferences:
    """Scores of codecs and how sure they are; all arrays follow the codecs' order."""

    wins: Array
    """[codecs, codecs]: votes for the first against the second."""
    scores: Array
    """Natural log-odds; their mean is 0."""
    low: Array
    """[codecs, codecs]: of the first's score less the second's, the ends of the 95 % interval; NaN
    where there is none."""
    high: Array
    group: NDArray[np.int32]
    """Codecs of one group have won and lost against each other, directly or through others: only
    within a group the votes bound how far scores lie apart."""

    @property
    def differences(self) -> Array:
        """[codecs, codecs]: the first's score less the second's."""
        return self.scores[:, None] - self.scores[None, :]


def probability(difference: ArrayLike) -> Array:
    """The share of votes for a codec whose score is higher by `difference`."""
    return 1 / (1 + np.exp(-np.asarray(difference, np.float64)))


def prefer(
    winners: ArrayLike,
    losers: ArrayLike,
    participants: ArrayLike,
    pictures: ArrayLike,
    codecs: int,
    n: int = 1000,
    seed: int = 0,
) -> Preferences:
    """The scores of `codecs` codecs from votes, one in each place of the four arrays of integers.

    Raises `ValueError` where these differ in length or hold no votes.
    """
    won, lost, who, what = (
        np.asarray(one, np.intp) for one in (winners, losers, participants, pictures)
    )
    if not len(won) == len(lost) == len(who) == len(what) > 0:
        raise ValueError("votes need a winner, a loser, a participant and a picture each")
    pairs = np.ravel_multi_index((won, lost), (codecs, codecs))
    cells = np.unique(np.stack([who, what]), axis=1, return_inverse=True)[1].ravel()
    groups = [np.unique(one, return_inverse=True)[1].ravel() for one in (who, what)]
    wins = np.bincount(pairs, minlength=codecs**2).reshape(codecs, codecs).astype(np.float64)
    fitted = scores(wins)
    spread = _spread(pairs, groups, cells, codecs, n, seed)
    return Preferences(
        wins,
        fitted,
        fitted[:, None] - fitted[None, :] - spread,
        fitted[:, None] - fitted[None, :] + spread,
        _linked(wins),
    )


def scores(wins: ArrayLike, prior: float = PRIOR) -> Array:
    """The most likely scores for tables of votes: [..., codecs, codecs] -> [..., codecs].

    Raises `ValueError` where there is no finite score: without a prior, one that never won, say.
    """
    table = np.array(wins, np.float64)
    codecs = table.shape[-1]
    table += prior * (1 - np.eye(codecs))
    if not prior and any(_linked(one).any() for one in table.reshape(-1, codecs, codecs)):
        raise ValueError("some codecs never lost to the others: their scores have no bound")
    flat = table.reshape(-1, codecs, codecs)
    votes, won = flat + flat.swapaxes(1, 2), flat.sum(axis=2)
    strength = np.ones((len(flat), codecs))
    moving = np.arange(len(flat))
    for _ in range(MOST_STEPS):
        old = strength[moving]
        shared = (votes[moving] / (old[:, :, None] + old[:, None, :])).sum(axis=2)
        new = won[moving] / shared
        new /= np.exp(np.log(new).mean(axis=1, keepdims=True))
        strength[moving] = new
        moving = moving[np.abs(np.log(new / old)).max(axis=1) > NEAR]
        if not len(moving):
            break
    return np.log(strength).reshape(table.shape[:-1])


def _linked(wins: Array) -> NDArray[np.int32]:
    """[codecs]: a number for each, the same where chains of votes lead there and back; from 0."""
    from scipy.sparse.csgraph import connected_components  # late: a run needs none of it

    numbers: NDArray[np.int32] = connected_components(wins, connection="strong")[1]
    return numbers


def _spread(
    pairs: NDArray[np.intp],
    groups: list[NDArray[np.intp]],
    cells: NDArray[np.intp],
    codecs: int,
    n: int,
    seed: int,
) -> Array:
    """[codecs, codecs]: half the width of the intervals of differences of scores."""
    counts = [int(group.max()) + 1 for group in groups]
    several = [group for group, count in zip(groups, counts, strict=True) if count > 1]
    if not several:
        return np.full((codecs, codecs), np.nan)
    each = [_variance(pairs, group, codecs, n, seed) for group in several]
    variance = np.max(each, axis=0)
    if len(each) == 2:
        variance = np.maximum(variance, sum(each) - _variance(pairs, cells, codecs, n, seed))
    from scipy.special import stdtrit  # late, as above

    freedom = min(count for count in counts if count > 1) - 1
    return np.asarray(stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(variance))


def _variance(
    pairs: NDArray[np.intp], group: NDArray[np.intp], codecs: int, n: int, seed: int
) -> Array:
    """[codecs, codecs]: of differences of scores, when groups of votes are drawn anew."""
    count = int(group.max()) + 1
    table = np.zeros((count, codecs**2))
    np.add.at(table, (group, pairs), 1)
    drawn = (count * resamples(count, n, seed)) @ table
    found = scores(drawn.reshape(n, codecs, codecs))
    return np.asarray((found[:, :, None] - found[:, None, :]).var(axis=0))
