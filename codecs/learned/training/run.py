"""One run: what to train, on what, where to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from codecs.learned.network import CodecNetwork
from codecs.learned.training.data import Pictures
from codecs.learned.training.revision import git_revision
from codecs.learned.training.schedule import Phase
from codecs.learned.training.settings import Limits, Settings


@dataclass(frozen=True)
class Run:
    """Everything a training needs to know; `out` receives logs, checkpoints and weights."""

    network: type[CodecNetwork]
    settings: Settings
    phases: tuple[Phase, ...]
    limits: Limits
    data: Pictures
    data_name: str
    """The data folder's name for the card (its path would say nothing elsewhere)."""
    valid: Pictures
    out: Path
    device: torch.device
    say: Callable[[str], None] = print
    start: Path | None = None
    """Another run's checkpoint to start from; `None`: freshly initialised."""
    revision: str | None = field(default_factory=git_revision)
    """Of the code, when the session began: a checkout may change while a run goes on."""
