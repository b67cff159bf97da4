"""Which code trains."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_revision() -> str | None:
    """Revision of the checkout, `-dirty` if tracked files have changed.

    `None` outside git, and in a copy of the code that lies in a checkout without being part of it.
    """
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    command = [*git, "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        tracked = [*git, "ls-files", "--error-unmatch", here.name]
        subprocess.run(tracked, capture_output=True, timeout=30, check=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
