"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: `ok`, `missing` (an optional part is not here), `wrong`, or `note`
    (worth knowing, and nobody's fault)."""

    name: str
    status: str
    detail: str
    of: str = ""
    """The codec that this is a part of the check of; empty for what stands by itself."""
