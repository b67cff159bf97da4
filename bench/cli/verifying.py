"""Stored runs, verified."""

from __future__ import annotations

import argparse

from bench.check.installation import tell
from bench.check.stored import verify as verify_stored
from bench.cli.reporting import unlikely
from bench.record.manifest import Manifest
from bench.run.sandbox import KINDS, best_kind
from bench.terminal import say
from reports.showing import originals


def verify(options: argparse.Namespace) -> int:
    """Decode all streams of a run again, each codec in a sandbox; 1 where something differs."""
    pictures = originals(Manifest.read(options.run))
    say(f"decoding {options.run} again, isolated: {KINDS[best_kind()]}")
    counts = tell(verify_stored(options.run, pictures, options.sample, options.jobs))
    for sentence in unlikely(options.run):
        print(f"\n{sentence}")
    return 1 if counts["wrong"] else 0
