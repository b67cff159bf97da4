"""What the harness says to a terminal: nothing in it acts, and no closed stream ends a run."""

from __future__ import annotations

import io
import os
import re
import sys
import unicodedata

_BREAKS = re.compile(r"[ \t\n\r\f\v]+")


def clean(text: object) -> str:
    """Text without characters that act: control and direction marks are spelled out.

    Names come from files and other people's codecs.  An escape sequence must not reach a
    terminal, a NUL not an XML file, a right-to-left override not a table.
    """
    return "".join(_visible(c) for c in _BREAKS.sub(" ", str(text)))


def _visible(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return f"\\u{{{ord(character):x}}}"
    return character


def prepare() -> None:
    """Make standard output and error usable, whatever this process was started with.

    Where one is closed (`2>&-`) the next file that is opened, a measurement perhaps, would get its
    number, and every message of a program started from here would end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding, or a name that has none.
            stream.reconfigure(errors="backslashreplace")
