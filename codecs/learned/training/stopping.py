"""Stopping a run well: signals become a request that is met after the current step."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
