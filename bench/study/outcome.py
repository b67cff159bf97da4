"""What came out of a study: scores of codecs, from the votes that count."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.study import votes as ballots_of
from bench.study.design import Study
from bench.study.votes import Ballot
from bench.verdict.preference import Preferences, prefer

WHOLE = 0.999
"""Pixels of the screen to a pixel of the picture, from which on nothing is lost."""


@dataclass(frozen=True)
class Outcome:
    """A study and what people said."""

    study: Study
    preferences: Preferences | None
    """In the order of `Study.codecs`; None where no vote counts."""
    participants: int
    """Whose votes count."""
    left_out: tuple[tuple[str, str], ...]
    """Participant -> why."""
    seconds: float
    """Median time of a vote that counts."""
    reduced: int
    """Votes on pictures that the participant's screen showed smaller than they are."""
    left: int
    """Votes for the picture on the left: near half of them, unless people answer by habit."""
    read: str
    """When the votes were read in."""
    files: tuple[tuple[str, str], ...]
    """(name, SHA-256) of the files of all participants."""

    @property
    def votes(self) -> int:
        return 0 if self.preferences is None else int(self.preferences.wins.sum())


def outcome(folder: Path) -> Outcome | None:
    """Of the study in a folder; None before votes were read in.  Raises `StoreError`."""
    study = Study.read(folder)
    ballots, read = ballots_of.read(folder)
    return made(study, ballots, read) if ballots else None


def made(study: Study, ballots: tuple[Ballot, ...], read: str) -> Outcome:
    """What some ballots say, one of each participant."""
    reasons = {one.participant: ballots_of.failed(one, study) for one in ballots}
    places = {codec: place for place, codec in enumerate(study.codecs)}
    counted = [
        (number, vote)
        for number, one in enumerate(ballots)
        if not reasons[one.participant]
        for vote in one.votes
        if study.items[vote.chosen].codec in places
    ]
    won, lost, people, pictures = (
        np.array(
            [
                (
                    *(places[study.items[name].codec] for name in (vote.chosen, vote.other)),
                    number,
                    study.items[vote.chosen].picture,
                )
                for number, vote in counted
            ],
            np.intp,
        )
        .reshape(-1, 4)
        .T
    )
    times = [vote.milliseconds / 1000 for _, vote in counted]
    return Outcome(
        study=study,
        preferences=prefer(won, lost, people, pictures, len(places)) if counted else None,
        participants=len({number for number, _ in counted}),
        left_out=tuple((code, why) for code, why in reasons.items() if why),
        seconds=statistics.median(times) if times else 0.0,
        reduced=sum(vote.scale < WHOLE for _, vote in counted),
        left=sum(vote.chosen == vote.left for _, vote in counted),
        read=read,
        files=tuple((one.file, one.sha256) for one in ballots),
    )
