"""What a run of training logs."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from codecs.learned.training.losses import LossWeights
from codecs.learned.training.monitor import Monitor
from codecs.learned.training.ratecontrol import RateController
from codecs.learned.training.state import TrainingProgress


def test_terms_that_only_some_steps_have_are_means_of_those(tmp_path: Path) -> None:
    """A phase ends between two rows, and the next has another distortion."""
    run: Any = SimpleNamespace(out=tmp_path, limits=SimpleNamespace(log_every=4))
    progress = TrainingProgress(RateController.start(0.15, 100.0), LossWeights())
    segment: Any = SimpleNamespace(number=1)
    monitor = Monitor(run, progress)
    for progress.step in (1, 2, 3, 4):
        shown = {"lr": 1e-3, "lambda_eff": 100.0, "bpp": float(progress.step)}
        monitor.step(segment, progress, shown | ({"ms_ssim": 0.9} if progress.step > 2 else {}))
    monitor.close()
    with open(tmp_path / "train.csv") as file:
        (row,) = csv.DictReader(file)
    assert (float(row["bpp"]), float(row["ms_ssim"])) == (2.5, 0.9)
