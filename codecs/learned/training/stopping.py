"""Stopping a run well: signals become a request that is met after the current step."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ending(IntEnum):
    """How a session ended: the exit status of `codecs.train`."""

    FINISHED = 0
    OUT_OF_TIME = 3
    SIGNALLED = 4


class Stopwatch:
    """Knows when a session has to end, and why."""

    def __init__(self, minutes: float | None) -> None:
        self._minutes = minutes
        self._began = time.monotonic()
        self._signal: str | None = None

    def reason(self) -> str | None:
        """Why to stop now, or `None`."""
        if self._signal is not None:
            return f"{self._signal} received"
        if self._minutes is not None and time.monotonic() - self._began >= 60 * self._minutes:
            return f"the {self._minutes:g} minutes are over"
        return None

    @property
    def ending(self) -> Ending:
        """What `reason` says, in short: somebody who asks for an end goes before the time."""
        return Ending.SIGNALLED if self._signal is not None else Ending.OUT_OF_TIME

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within this, SIGINT and SIGTERM only leave a note; a second one does no more."""

        def handle(number: int, _frame: FrameType | None) -> None:
            self._signal = signal.Signals(number).name

        before = [signal.signal(number, handle) for number in _SIGNALS]
        try:
            yield
        finally:
            for number, old in zip(_SIGNALS, before, strict=True):
                signal.signal(number, old)
