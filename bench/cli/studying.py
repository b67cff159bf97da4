"""Asking people: the page of a study, and their votes back into the report."""

from __future__ import annotations

import argparse
import math
import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cli import reporting
from bench.cli.options import UsageError
from bench.record.manifest import Manifest
from bench.record.store import Store
from bench.run.decoding import decoders
from bench.study import votes
from bench.study.choice import Chosen, choose
from bench.study.design import PAGE, Study, design, studies
from bench.study.outcome import outcome
from bench.terminal import clean, program, say, show
from codecs.base import Image
from codecs.selection import split
from datasets.base import ImageRef
from datasets.cache import write_atomically
from datasets.loading import load_ref
from reports import study_page
from reports.preference import as_text, preferred
from reports.showing import originals

TOLD = 3
"""Pictures that are named of those left out."""


def study(options: argparse.Namespace) -> int:
    """Make a page, or read in what people sent back."""
    if options.votes and options.at is not None:
        raise UsageError("either --at RATE makes a page, or files of votes are read in")
    if options.votes:
        return _read_in(options)
    if options.at is None:
        raise UsageError(
            f"name a rate, {program()} study {options.run} --at 0.15bpp, for a page to send out; "
            "or the files of votes that came back"
        )
    return _make(options)


def _make(options: argparse.Namespace) -> int:
    manifest = Manifest.read(options.run)
    compared = reporting.comparisons_of(options.run, None, None)
    if not compared:
        raise UsageError(f"nothing was measured in {options.run}")
    reporting.note_part(options.run)
    wanted = tuple(dict.fromkeys(map(manifest.codec_named, options.codecs)))
    chosen = choose(compared[0].results, options.at, wanted)
    names = [one.codec for one in chosen]
    if unknown := [clean(name) for name in wanted if name not in names]:
        raise UsageError(
            f"{', '.join(unknown)}: not in {options.run}, which has {', '.join(manifest.ladders)}"
        )
    if len(chosen) < 2:
        raise UsageError("a study compares two codecs at least: measure another, or name more")
    eligible = _eligible(manifest, compared[0].results.images, chosen, options)
    known = originals(manifest)
    found = known.keys() & set(compared[0].results.digests)
    if not found:
        raise UsageError(
            f"the originals are not here: {manifest.dataset_argument} has none of them"
        )
    anchors = (compared[0].anchor, split(compared[0].anchor)[0])
    designed = design(
        compared[0].results,
        chosen,
        next((name for name in anchors if name in names), names[-1]),
        rate=options.at,
        tolerance=options.tolerance / 100,
        places=[i for i in eligible if compared[0].results.digests[i] in known],
        count=options.count,
        trials=options.trials,
        seed=secrets.randbits(32) if options.seed is None else options.seed,
    )
    parts = [study_page.cut(load_ref(known[p.digest]), p.box) for p in designed.pictures]
    decoded = _decoded(designed, options.run, manifest, known, options.jobs)
    try:
        made, text = study_page.page(designed, parts, decoded)
    except study_page.TooLarge as error:
        raise UsageError(str(error)) from error
    folder = made.write(options.run)
    write_atomically(folder / PAGE, text.encode())
    say(
        f"{len(made.pictures)} pictures, {len(made.codecs)} codecs; for each participant "
        f"{made.trials} pairs and {len(made.checks)} checks; "
        f"{len(text) / 1e6:.1f} MB; seed {made.seed}"
    )
    say(f"send out this file alone, not the key beside it: {folder / PAGE}")
    say(f"read in what comes back: {program()} study {options.run} votes/*.json")
    return 0


def _eligible(
    manifest: Manifest,
    images: Sequence[str],
    chosen: Sequence[Chosen],
    options: argparse.Namespace,
) -> list[int]:
    """The pictures that every codec has near enough to the rate; says which are left out."""
    misses = {
        i: [one for one in chosen if not one.off.get(i, math.inf) <= options.tolerance / 100]
        for i in range(len(images))
    }
    eligible = [i for i, poor in misses.items() if not poor]
    told = [
        f"{clean(images[i])}: {', '.join(_rate(one, i) for one in poor)}"
        for i, poor in misses.items()
        if poor
    ]
    if not told:
        return eligible
    typed = {own: name for name, own in manifest.names.items()}
    poor = dict.fromkeys(one.codec for found in misses.values() for one in found)
    rates = [f"{split(typed.get(name, name))[0]}@{options.at:g}bpp" for name in poor]
    place = ["--dataset", manifest.dataset_argument, "--run", str(options.run)]
    remedy = f"code them to it: {program()} run {shlex.join([*rates, *place])}"
    more = f"; and {len(told) - TOLD} more" if len(told) > TOLD else ""
    off = f"off {options.at:g} bpp by more than {options.tolerance:g} %"
    what = f"{off} ({'; '.join(told[:TOLD])}{more}); {remedy}"
    if not eligible:
        raise UsageError(f"every picture is {what}")
    say(f"{len(told)} of {len(images)} pictures are left out, {what}")
    return eligible


def _rate(chosen: Chosen, image: int) -> str:
    name = clean(chosen.codec)
    if image not in chosen.measurements:
        return f"{name} was not measured"
    return f"{name} has {chosen.measurements[image].bpp:.3f}"


def _decoded(
    designed: Study,
    run: Path,
    manifest: Manifest,
    known: Mapping[str, ImageRef],
    jobs: int,
) -> dict[str, Image]:
    """The parts of pictures that a study asks for, by name of item; one picture of all codecs is
    in memory at once."""
    store = Store(run)
    rows = {m.key: m for m in store}
    typed = {own: name for name, own in manifest.names.items()}
    parts = {}
    with store.locked(), decoders(store, typed, jobs) as pool:
        for place, picture in enumerate(designed.pictures):
            names = [n for n, i in designed.items.items() if i.measurement and i.picture == place]
            found = pool.decode([rows[designed.items[name].measurement] for name in names], known)
            for name, one in zip(names, found, strict=True):
                if one.image is None:
                    m = one.measurement
                    raise UsageError(
                        f"{clean(m.codec)} cannot be shown on {clean(picture.name)}: "
                        f"{clean(one.reason)}; measure it again, or leave it out with --codecs"
                    )
                parts[name] = study_page.cut(one.image, picture.box)
    return parts


def _read_in(options: argparse.Namespace) -> int:
    """Exit status 1 where a file was refused."""
    known = {folder.name: Study.read(folder) for folder in studies(options.run)}
    if not known:
        raise UsageError(
            f"{options.run} has no study; make one: {program()} study {options.run} --at 0.15bpp"
        )
    ballots: list[votes.Ballot] = []
    refused = 0
    for path in options.votes:
        try:
            ballots.append(votes.read_ballot(path, known))
        except votes.VotesError as error:
            refused += 1
            say(clean(f"{path} is not counted: {error}"))
    kept, others = votes.largest(ballots)
    for one in others:
        say(clean(f"{one.file}: participant {one.participant} is counted once, with more votes"))
    for id_ in dict.fromkeys(one.study for one in kept):
        votes.write([one for one in kept if one.study == id_], known[id_], options.run)
        found = outcome(known[id_].folder(options.run))
        assert found
        for code, why in found.left_out:
            say(f"participant {code} is left out: {why}")
        show(as_text(preferred(found)))
    if kept:
        comparisons = reporting.comparisons_of(options.run, None, None)
        say(f"report: {reporting.report_run(options.run, comparisons, options)}")
    return int(refused > 0)
