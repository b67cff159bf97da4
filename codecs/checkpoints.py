"""Files of weights, one for each operating point, named by a path: `./ckpt-{value}.pth`.

What stands in the place of `{value}` is the point.  Listing them loads nothing.
"""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from codecs.base import Point
from codecs.naming import UnknownCodec

VALUE = "{value}"
PARAMETER = "checkpoint"
MOST = 127
"""Files of one name."""
_ENDINGS = re.compile(r"(\.(pth|pt|ckpt|tar))+$")


def found(pattern: str) -> dict[Point, Path]:
    """Point -> file, the points in order: numbers rising, then texts.

    A path without `{value}` is one file and one point.  Raises `UnknownCodec` where there is no
    file, or two are of one value.
    """
    pattern = os.path.expanduser(pattern)
    if VALUE not in pattern:
        path = Path(pattern)
        if not path.is_file():
            raise UnknownCodec(f"there is no file {pattern}")
        return {Point(PARAMETER, _ENDINGS.sub("", path.name)): path.resolve()}
    before, _, after = pattern.partition(VALUE)
    if VALUE in after:
        raise UnknownCodec(f"{pattern}: {VALUE} can stand there once")
    files: dict[int | float | str, Path] = {}
    for name in glob.iglob(f"{glob.escape(before)}*{glob.escape(after)}"):
        text = name[len(before) : len(name) - len(after)]
        if not text or not os.path.isfile(name):
            continue
        value = _value(text)
        if value in files:
            raise UnknownCodec(f"{name} and {files[value]} are of one value, {value}: move one")
        files[value] = Path(name)
    if not 0 < len(files) <= MOST:
        shown = f"{before}*{after}"
        raise UnknownCodec(
            f"there are more than {MOST} files {shown}" if files else f"there is no file {shown}"
        )
    ordered = sorted(files, key=lambda v: (isinstance(v, str), v if isinstance(v, str) else 0, v))
    return {Point(PARAMETER, value): files[value].resolve() for value in ordered}


def short_name(pattern: str) -> str:
    """What to call them: `ckpt` of `./ckpt-{value}.pth`, `mine` of `mine-{value}/last.pt`."""
    parts = [_ENDINGS.sub("", part) for part in Path(pattern).parts]
    chosen = next((p for p in parts if VALUE in p and p != VALUE), parts[-1])
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", chosen.replace(VALUE, ""))
    return plain.strip("-_.+")[:24] or PARAMETER


def _value(text: str) -> int | float | str:
    """A number where the text is a plain one."""
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    if re.fullmatch(r"\d{0,9}\.\d{1,15}|\d(\.\d{1,15})?e-?\d{1,2}", text):
        return float(text)
    return text
