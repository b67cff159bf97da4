"""Stored runs, verified."""

from __future__ import annotations

import argparse

from bench.check.installation import tell
from bench.check.stored import verify as verify_stored
from bench.cli.reporting import comparisons_of
from bench.record.manifest import Manifest
from bench.run.sandbox import KINDS, best_kind
from bench.terminal import say
from bench.verdict.plausible import unlikely_rates
from reports.showing import originals
from reports.wording import unlikely_rate


def verify(options: argparse.Namespace) -> int:
    """Decode all streams of a run again, each codec in a sandbox; 1 where something differs."""
    pictures = originals(Manifest.read(options.run))
    say(f"decoding {options.run} again, isolated: {KINDS[best_kind()]}")
    counts = tell(verify_stored(options.run, pictures, options.sample, options.jobs))
    for comparison in comparisons_of(options.run, None, None)[:1]:
        for found in unlikely_rates(comparison.results):
            print(f"\n{unlikely_rate(found)}")
    return 1 if counts["wrong"] else 0
