"""What a run says while it works: a plan and an estimate first, then progress with time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from bench.terminal import clean, say

if TYPE_CHECKING:
    from bench.record.manifest import Manifest
    from bench.run.lane import Done
    from bench.run.plan import Plan
    from bench.run.settings import RunSettings

LINE_EVERY = 20.0
"""Seconds between progress lines where there is no terminal."""

TRUSTED = 60.0
"""CPU seconds for which the estimates are believed before their record counts more."""


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `9.4 h`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Progress:
    """A bar on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.quiet = quiet
        self.stream = stream or sys.stderr
        self.bar: Any = None
        self.total = self.planned = self.done_estimate = 0.0
        self.count = 0
        self.tasks = 0
        self.failures = 0
        self.jobs = 1

    def announce(self, plan: Plan, manifest: Manifest, settings: RunSettings) -> None:
        """Say what will be done and how long it may take."""
        self.tasks, self.planned, self.jobs = len(plan.tasks), plan.seconds, settings.jobs
        self.say(f"{manifest.label}: {len(plan.tasks)} measurements to make, {plan.done} done")
        for name, why in manifest.skipped:
            self.say(f"  left out: {name}: {why}")
        for name, why in plan.unavailable.items():
            self.say(f"  unavailable: {name}: {why}")
        for name, version in manifest.metrics.items():
            if version.startswith("unavailable"):
                self.say(f"  {name}: {version}")
        for name in manifest.unknown_metrics:
            self.say(f"  {name}: this version does not know this metric of the run: left out")
        if settings.jobs == 1 and plan.crowded:
            self.say(
                f"  {plan.crowded} timings were taken with others side by side; "
                "--retime takes them again"
            )
        if plan.failed:
            self.say(f"  {len(plan.failed)} failed earlier; --retry tries them again")
        if plan.tasks:
            cpu = ", ".join(
                f"{name} {duration(seconds)}"
                for name, seconds in sorted(plan.seconds_by_codec().items(), key=lambda x: -x[1])
            )
            self.say(
                f"  estimate: {duration(plan.seconds)} of CPU, about "
                f"{duration(plan.seconds / settings.jobs)} on {settings.jobs} cores ({cpu})"
            )
            if plan.seconds / settings.jobs > 1800 and not settings.quick:
                self.say("  a smaller, labelled tier: --quick; interrupted runs resume")

    def changed(self, plan: Plan) -> Plan:
        """Reckon with other work from here on than was announced; returns the plan."""
        self.tasks = self.count + len(plan.tasks)
        self.planned = self.done_estimate + plan.seconds
        if self.bar:
            self.bar.update(self.task, total=self.tasks)
        return plan

    def say(self, line: str) -> None:
        if not self.quiet:
            say(line, self.stream)

    def __enter__(self) -> Progress:
        self.start = self.last = time.monotonic()
        if self.tasks and not self.quiet and self.stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                console=Console(file=self.stream),
            )
            self.bar.start()
            self.task = self.bar.add_task("measuring", total=self.tasks, left="")
        return self

    def advance(self, done: Done) -> None:
        """Count a finished task; name it where it failed."""
        self.count += 1
        self.done_estimate += done.task.estimate
        m = done.measurement
        if m.status != "ok":
            self.failures += 1
            self.tell(f"{m.status}: {m.codec} {m.point.label} on {m.image}: {m.reason}")
        elif done.problem:
            self.tell(f"{m.codec} {m.point.label} on {m.image}: {done.problem}")
        if self.bar:
            self.bar.update(self.task, advance=1, left=self._left())
        elif time.monotonic() - self.last > LINE_EVERY or self.count == self.tasks:
            self.last = time.monotonic()
            self.tell(f"{self.count}/{self.tasks} {self._left()}")

    def _left(self) -> str:
        """Time left, from how the estimates have held up so far (at first: from them alone)."""
        if self.count == self.tasks:
            return f"done in {duration(time.monotonic() - self.start)}"
        spent = time.monotonic() - self.start
        pace = (spent + TRUSTED / self.jobs) / (self.done_estimate + TRUSTED)
        return f"about {duration(pace * (self.planned - self.done_estimate))} left"

    def tell(self, text: str) -> None:
        """Say something beside the bar."""
        if self.bar:
            self.bar.console.print(clean(text), markup=False)
        else:
            self.say("  " + text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()
