"""The page's script and style sheet, and the content security policy that admits only these."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

FILES = (
    "core.js",
    "state.js",
    "text.js",
    "axes.js",
    "chart.js",
    "curves.js",
    "relative.js",
    "verdict.js",
    "copying.js",
    "wins.js",
    "panes.js",
    "viewer.js",
    "streams.js",
    "costs.js",
    "main.js",
)
"""In the order in which they are joined: one scope, nothing reaches the page's globals."""


@cache
def script() -> str:
    folder = Path(__file__).parent / "static"
    parts = [_compact((folder / name).read_text(encoding="utf-8")) for name in FILES]
    return "(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();"


def _compact(text: str) -> str:
    """Without indentation, blank lines and lines of comment.  No text of ours spans lines."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def style(colours: str) -> str:
    """The style sheet under a set of colour rules."""
    sheet = (Path(__file__).parent / "static" / "style.css").read_text(encoding="utf-8")
    return f"{colours}\n{sheet}"


def policy(style_sheet: str) -> str:
    """Nothing but this style sheet, this script, and pictures in the file or beside it."""
    return (
        "default-src 'none'; img-src data: file: 'self'; "
        f"style-src '{_hash(style_sheet)}'; script-src '{_hash(script())}'; "
        "require-trusted-types-for 'script'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """As content security policies write it; the browser hashes what stands between the tags."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
