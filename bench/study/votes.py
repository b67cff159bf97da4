"""Votes as participants send them back: JSON from strangers.

A file that does not hold what the page writes is refused as a whole, with the reason; no part of it
is believed.  A participant counts once, with the larger of several files.  One who got an attention
check wrong, or answered none, is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.record.measurement import digest, now
from bench.record.store import StoreError
from bench.study.design import FORMAT, ID, ORIGINAL, VOTES, Study
from bench.terminal import clean
from datasets.cache import write_atomically

KIND = "codec-bench votes"
LARGEST = 4_000_000
"""Bytes of a file."""
LONGEST = 3_600_000
"""Milliseconds; the page counts no more for one vote."""
CODE = re.compile(r"[A-Z2-7]{8}")
HINT = "ask for the file again as the page gives it, or leave it out"


class VotesError(Exception):
    """A file holds no votes that can be counted; the message says why and what to do."""


@dataclass(frozen=True)
class Vote:
    """One answer."""

    left: str
    right: str
    chosen: str
    """`left` or `right`'s name of an item."""
    milliseconds: float
    scale: float
    """Pixels of the screen to a pixel of the picture."""

    @property
    def other(self) -> str:
        return self.right if self.chosen == self.left else self.left


@dataclass(frozen=True)
class Ballot:
    """What one participant said."""

    study: str
    participant: str
    votes: tuple[Vote, ...]
    file: str
    sha256: str


def read_ballot(path: Path, studies: Mapping[str, Study]) -> Ballot:
    """A file of votes on one of `studies` (by id).  Raises `VotesError`."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise VotesError(f"it cannot be read ({error.strerror}); {HINT}") from error
    if len(data) > LARGEST:
        raise VotesError(f"it is larger than {LARGEST // 1_000_000} MB; {HINT}")
    try:
        raw = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise VotesError(f"it is not JSON; {HINT}") from error
    if not isinstance(raw, dict) or (raw.get("kind"), raw.get("format")) != (KIND, FORMAT):
        raise VotesError(f"it holds no votes of a study; {HINT}")
    study, code, votes = raw.get("study"), raw.get("participant"), raw.get("votes")
    if not isinstance(study, str) or study not in studies:
        named = f"study {study}" if isinstance(study, str) and ID.fullmatch(study) else "no study"
        raise VotesError(
            f"it is of {named}, and this run has {', '.join(studies)}; name the run that the page "
            "was made from"
        )
    if not (isinstance(code, str) and CODE.fullmatch(code)):
        raise VotesError(f"it names no participant; {HINT}")
    if not isinstance(votes, list) or not votes:
        raise VotesError("nobody has voted in it; leave it out")
    try:
        return Ballot(study, code, _votes(votes, studies[study]), path.name, digest(data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise VotesError(f"a vote is impossible ({clean(error)[:80]}); {HINT}") from error


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _votes(raw: Sequence[Any], study: Study) -> tuple[Vote, ...]:
    """Raises `ValueError` and other errors for what nobody can have voted."""
    left_to_ask = set(study.pairs)
    return tuple(_vote(one, left_to_ask) for one in raw)


def _vote(raw: Mapping[str, Any], left_to_ask: set[frozenset[str]]) -> Vote:
    vote = Vote(
        **{name: raw[name] for name in ("left", "right", "chosen", "milliseconds", "scale")}
    )
    pair = frozenset((vote.left, vote.right))
    if pair not in left_to_ask:
        raise ValueError("a pair that is not asked, or is asked once")
    left_to_ask.remove(pair)
    if vote.chosen not in pair:
        raise ValueError("neither picture was chosen")
    for name, value, most in (("time", vote.milliseconds, LONGEST), ("scale", vote.scale, 1e3)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ValueError(f"a {name} that cannot be")
    return vote


def largest(ballots: Sequence[Ballot]) -> tuple[tuple[Ballot, ...], tuple[Ballot, ...]]:
    """The ballots that count, in the order of participants, and those that a larger one of the same
    participant on the same study stands for; of two as large the later."""
    best: dict[tuple[str, str], Ballot] = {}
    for one in ballots:
        known = best.get((one.study, one.participant))
        if known is None or len(one.votes) >= len(known.votes):
            best[one.study, one.participant] = one
    kept = tuple(best[key] for key in sorted(best))
    return kept, tuple(one for one in ballots if best[one.study, one.participant] is not one)


def failed(ballot: Ballot, study: Study) -> str:
    """Why a participant is left out; empty where not."""
    checks = set(map(frozenset, study.checks))
    answers = [v for v in ballot.votes if frozenset((v.left, v.right)) in checks]
    wrong = sum(study.items[vote.chosen].codec != ORIGINAL for vote in answers)
    if not answers:
        return "came to no attention check"
    return f"{wrong} of {len(answers)} attention checks wrong" if wrong else ""


def write(ballots: Sequence[Ballot], study: Study, run: Path) -> None:
    """Keep what counts beside the key, in the place of what was kept before."""
    found = {"format": FORMAT, "read": now(), "ballots": [asdict(one) for one in ballots]}
    write_atomically(study.folder(run) / VOTES, json.dumps(found, indent=1).encode())


def read(folder: Path) -> tuple[tuple[Ballot, ...], str]:
    """The ballots kept in a study's folder, and when they were read in; none before any were.

    Raises `StoreError`.
    """
    path = folder / VOTES
    if not path.exists():
        return (), ""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        ballots = tuple(
            Ballot(**{**one, "votes": tuple(Vote(**vote) for vote in one["votes"])})
            for one in raw["ballots"]
        )
        return ballots, str(raw["read"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path} is damaged ({error}): read the files of votes in again"
        ) from error
