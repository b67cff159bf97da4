"""The pages' scripts and style sheets, and the content security policy that admits only these."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
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


STUDY_FILES = ("study/plan.js", "study/ballot.js", "study/page.js")
"""Those of the page of a study."""


@cache
def script(files: Sequence[str] = FILES) -> str:
    folder = Path(__file__).parent / "static"
    parts = [_compact((folder / name).read_text(encoding="utf-8")) for name in files]
    return "(() => {\n'use strict';\n" + "\n".join(parts) + "\n})();"


def _compact(text: str) -> str:
    """Without indentation, blank lines and lines of comment.  No text of ours spans lines."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def style(colours: str) -> str:
    """The style sheet under a set of colour rules."""
    sheet = (Path(__file__).parent / "static" / "style.css").read_text(encoding="utf-8")
    return f"{colours}\n{sheet}"


def policy(style_sheet: str, code: str, pictures: str = "data: file: 'self'") -> str:
    """Nothing but a style sheet, a script, and pictures in the file or beside it."""
    return (
        f"default-src 'none'; img-src {pictures}; "
        f"style-src '{_hash(style_sheet)}'; script-src '{_hash(code)}'; "
        "require-trusted-types-for 'script'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """As content security policies write it; the browser hashes what stands between the tags."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
