"""What the harness itself costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measured figure beside the one that is asked for."""

    name: str
    measured: str = ""
    asked: str = ""

    def __str__(self) -> str:
        return f"{self.name:58}{self.measured:>28}   {self.asked}".rstrip()
