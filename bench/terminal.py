"""What the harness says to a terminal: nothing in it acts, and no closed stream ends a run."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import unicodedata
from pathlib import Path
from typing import NoReturn, TextIO

_BREAKS = re.compile(r"[ \t\n\r\f\v]+")


def program() -> str:
    """How the harness was called, for commands that it tells somebody to type."""
    return "codec-bench" if Path(sys.argv[0]).name == "codec-bench" else "python -m bench"


class OutputLost(Exception):
    """Standard output cannot be written."""


class _Lenient(io.TextIOWrapper):
    """Loses what cannot be written: for all that others, libraries too, print on the way."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, whose errors repeat what was typed."""

    def error(self, message: str) -> NoReturn:
        super().error(clean(message))


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


def say(line: str, stream: TextIO | None = None) -> None:
    """A line of text for people, to standard error unless told otherwise.

    That it cannot be written (a full disk, a terminal that is gone) is no reason to stop working.
    """
    indent = len(line) - len(line.lstrip(" "))
    with contextlib.suppress(OSError):
        print(line[:indent] + clean(line[indent:]), file=stream or sys.stderr, flush=True)


def show(text: str) -> None:
    """What was asked for, to standard output.  Raises `OutputLost`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or Python fails once more on exit
        raise OutputLost(
            f"standard output cannot be written ({error.strerror}): what was measured is kept"
        ) from error


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
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        raw = open(2, "wb", buffering=0, closefd=False)  # noqa: SIM115
        sys.stderr = _Lenient(raw, sys.stderr.encoding, "backslashreplace", write_through=True)
