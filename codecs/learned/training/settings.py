"""What a run is made of, and how it is kept beside its checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codecs.learned.training.checkpoint import write_atomically
from codecs.learned.training.errors import TrainingError

CHECKPOINT = "checkpoint.safetensors"
"""What a run resumes from, in its folder."""


@dataclass(frozen=True)
class Settings:
    """Everything that the trained weights depend on (with the data and the machine's kernels)."""

    network: str
    preset: str
    width: int
    latents: tuple[int, ...]
    """Channels of the latents where they are not `width`, of RDONet at each level; or empty."""
    backbone: str
    """RDONet's; other networks have only one."""
    steps: int
    rates: tuple[float, ...]
    distortion: str
    mask: str | None
    """Force one kind of block partition in all phases; `None`: as the phases say."""
    lpips: str
    optimiser: str
    """`adam`, or `muon` for kernels and Adam for the rest."""
    batch: int
    crop: int
    seed: int
    bf16: bool
    valid_every: int
    valid_count: int
    """Pictures of the periodic validation; finished models are measured on all."""
    data_digest: str
    phases_digest: str
    start_digest: str | None
    """SHA-256 of the checkpoint that the run starts from; `None`: freshly initialised."""
    threads: int
    """CPU threads: a run may go on with other than it began with, but not bit for bit."""
    qualities: int = 0
    """Anchors of a network for a range of rates; 0: one operating point for each of `rates`."""
    lambdas: tuple[float, ...] = ()
    """Λ of the lowest and of the highest quality."""

    @property
    def range_of_rates(self) -> dict[str, Any]:
        """Arguments of the network's constructor; empty for one operating point."""
        return {"qualities": self.qualities, "lambdas": self.lambdas} if self.qualities else {}


@dataclass(frozen=True)
class Limits:
    """How long one session runs, how often and where it saves: no influence on the result."""

    minutes: float | None = None
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None
    log_every: int = 20
    export_minutes: float | None = None
    """How often the model as it is goes to `export_to`."""
    export_to: Path = Path()


def load_settings(path: Path) -> dict[str, Any]:
    """The stored settings; raises `TrainingError`."""
    try:
        stored = json.loads(path.read_text())
        stored["rates"] = tuple(stored["rates"])
        for name in ("latents", "lambdas"):
            stored[name] = tuple(stored.get(name, ()))
        stored.setdefault("qualities", 0)
        stored["steps"] = int(stored["steps"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is damaged ({error}): use another --out folder") from error
    return dict(stored)


def has_begun(path: Path) -> bool:
    """Whether the run whose settings are kept at `path` has something to resume from."""
    return path.exists() and (path.parent / CHECKPOINT).exists()


def keep_settings(path: Path, settings: Settings) -> int:
    """Write the settings of a new run, or check that an old run had the same.

    A run without a checkpoint has not begun: it may be given others.  Returns the number of
    threads that the run began with, which alone may differ.
    Raises `TrainingError` that names what else does.
    """
    new = asdict(settings)
    if not has_begun(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(new, indent=2).encode())
        return settings.threads
    old = load_settings(path)
    different = [k for k in new if k != "threads" and old.get(k) != new[k]]
    if different:
        changes = ", ".join(f"{k} was {old.get(k)!r} and is {new[k]!r}" for k in different)
        raise TrainingError(
            f"{path.parent} holds another run ({changes}): give the same options to resume it, "
            "or another --out folder"
        )
    return int(old["threads"])
