"""The card of an exported model: where its weights come from."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from codecs.learned import weights
from codecs.learned.ms_ssim import ms_ssim_scales
from codecs.learned.network import CodecNetwork
from codecs.learned.training import logs
from codecs.learned.training.checkpoint import write_atomically
from codecs.learned.training.monitor import WORTH_COLUMNS
from codecs.learned.training.run import Run
from codecs.learned.training.schedule import Segment
from codecs.learned.training.state import Learner

VALIDATION = (
    *("step", "wall", "cpu", "set", "pictures", "quality", "lambda_eff", "bpp", "psnr", "ms_ssim"),
    *WORTH_COLUMNS,
)
"""Columns of `valid.csv` that a card shows."""


def export_model(
    run: Run,
    learner: Learner,
    segment: Segment,
    segments: Sequence[Segment],
    path: Path,
    finished: bool,
    small: bool = False,
) -> str:
    """Write averaged weights with their card to `path`, the card also as JSON beside it; kernels
    may be rounded to integers.

    Returns the SHA-256 of the file.
    """
    card = training_card(run, learner, segment, segments, finished)
    # Rounding changes a network, and the average goes on.
    network = copy.deepcopy(learner.ema) if small else learner.ema
    digest = weights.export(network, path, card, small=small).hex()
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise OSError(f"{path} was not written correctly: is the disk full?")
    whole = {**card, "config": learner.ema.config, "sha256": digest}
    write_atomically(path.with_suffix(".json"), json.dumps(whole, indent=2).encode())
    return digest


def training_card(
    run: Run, learner: Learner, segment: Segment, segments: Sequence[Segment], finished: bool
) -> dict[str, Any]:
    """JSON-ready: rate point, data, schedule, losses, device, validation curve, revisions."""
    progress, settings = learner.progress, run.settings
    history = [s for s in segments if s.branch in (None, segment.branch)]
    seen = [s for s in history if s.start < progress.step]
    steps = sum(min(s.stop, progress.step) - s.start for s in seen)
    rate = progress.controller.target
    lpips, features = learner.critics.lpips, learner.critics.features
    inside = [
        row
        for row in logs.read(run.out / "valid.csv")
        if any(s.start < int(row["step"]) <= s.stop for s in seen)
    ]
    return {
        **_points(learner.ema, rate),
        "training": {
            "finished": finished,
            "target_bpp": rate,
            "lambda_eff": progress.controller.lambda_eff,
            "loss": "lambda_eff*(mse*MSE + ms_ssim*(1-MS-SSIM) + lpips*LPIPS + features*FEATURES "
            "+ gan*GAN) + bpp + penalty of the network, if any",
            "steps": steps,
            "started_from": None
            if settings.start_digest is None
            else {
                "sha256": settings.start_digest,
                "steps": progress.earlier_steps,
                "cpu_seconds": round(progress.earlier_cpu, 1),
            },
            "optimiser": settings.optimiser,
            "batch": settings.batch,
            "crop": settings.crop,
            "phases": [
                {**asdict(s.phase), "number": s.number, "steps": s.stop - s.start} for s in seen
            ],
            "ms_ssim_scales": ms_ssim_scales(settings.crop),
            "lpips_backbone": None if lpips is None else lpips.net,
            "lpips_backbone_sha256": None if lpips is None else lpips.digest,
            "features_sha256": None if features is None else features.digest,
            "thresholds": learner.ema.config.get("thresholds"),
            "data": run.data_name,
            "data_pictures": len(run.data),
            "data_sha256": run.data.digest,
            "valid_pictures": len(run.valid),
            "valid_sha256": run.valid.digest,
            "wall_seconds_of_run": round(progress.wall, 1),
            "cpu_seconds_of_run": round(progress.cpu, 1),
            "device": device_name(run.device),
            "threads": torch.get_num_threads(),
            "bf16_transforms": learner.bf16,
            "seed": settings.seed,
            "torch": version("torch"),
            "git_revision": run.revision,
            "validation": [{k: row[k] for k in VALIDATION if row.get(k)} for row in inside],
        },
    }


def _points(network: CodecNetwork, rate: float) -> dict[str, Any]:
    """One operating point, named by its rate; or those of a network that has several."""
    if network.points:
        return {"points": list(network.points)}
    return {"point": {"parameter": "rate", "value": round(rate, 6)}}


def device_name(device: torch.device) -> str:
    """What trained: the GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
