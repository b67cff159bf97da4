"""`python -m codecs.train rdonet --data DIR --valid DIR --out DIR`: train a codec."""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from codecs import registry
from codecs.training_command import add_folders, told

ANCHORS = 8
"""Of a network for a range of rates."""
TUNED = ("compact", "trunk", "branches", "quick")
"""Presets whose learning rates suit Muon, and Adam but for a network's `adam_scale`."""


def parser() -> argparse.ArgumentParser:
    """Options; everything that needs PyTorch is imported later, so that --help is quick."""
    p = argparse.ArgumentParser(
        prog="python -m codecs.train",
        description="Train a learned codec from a folder of pictures and export its weights. "
        "The same command resumes a run that was stopped or killed.",
    )
    known = ", ".join(registry.trainable())
    p.add_argument("network", help=f"one of {known}, or the path of a .py file that defines one")
    add_folders(p, "data", "valid")
    p.add_argument("--out", type=Path, required=True, help="folder of this run")
    p.add_argument(
        "--preset",
        default="compact",
        help="paper, compact, trunk, branches, quick, or a .toml file of phases",
    )
    p.add_argument("--width", type=int, default=64, help="channels N (paper: 192)")
    p.add_argument(
        "--latents",
        default="",
        help="channels of the latents, of rdonet at each level, finest first: 128,32,32; "
        "default: --width everywhere",
    )
    p.add_argument(
        "--backbone",
        choices=("cheng", "gdn"),
        default="cheng",
        help="of rdonet: that of CLIC 2022, or the plain one of 2021 and 2022 (twice as fast)",
    )
    p.add_argument("--steps", type=int, help="steps a model sees; default: what --minutes allows")
    p.add_argument("--minutes", type=float, help="stop this session after so many minutes")
    p.add_argument("--rates", default="0.15", help="target rates in bpp: 0.075,0.15,0.3,0.6")
    p.add_argument(
        "--all-rates",
        metavar="LOW,HIGH",
        default="",
        help="one network for a range of rates instead: Λ of its lowest and highest quality, "
        "20,8000 for MSE",
    )
    p.add_argument(
        "--distortion",
        help="mse, ms-ssim (with MSE), lpips (with both), perceptual (all of these and PatchGAN); "
        "default: perceptual for rdonet, mse for others",
    )
    p.add_argument(
        "--lr-scale",
        type=float,
        help="factor of all learning rates; default: 1, but 0.4 for rdonet trained by Adam "
        "with another preset than paper",
    )
    p.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="start from another run's trunk.safetensors or checkpoint.safetensors or from a "
        "finished model: continue it, share one trunk between several distortions, or begin "
        "rdonet --backbone gdn with the transforms and context model of a trained minnen",
    )
    p.add_argument("--mask", choices=("random", "variance"), help="use one kind of mask throughout")
    p.add_argument("--lpips", default="squeeze", help="LPIPS backbone: squeeze, alex or vgg")
    p.add_argument(
        "--optimiser",
        choices=("adam", "muon"),
        help="muon: for the kernels, Adam for the rest; default: muon, but adam with paper",
    )
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--crop", type=int, default=128, help="pixels; MS-SSIM has 5 scales above 160")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=0, help="CPU threads; default: all cores")
    p.add_argument(
        "--bf16",
        action="store_true",
        help="transforms in bfloat16, where the processor computes in it",
    )
    p.add_argument("--device", default="", help="cpu or cuda; default: a GPU if there is one")
    p.add_argument("--valid-every", type=int, default=0, help="steps; default: a tenth of a model")
    p.add_argument("--valid-count", type=int, default=12, help="pictures of periodic validation")
    p.add_argument("--checkpoint-minutes", type=float, default=5.0)
    p.add_argument(
        "--export-minutes",
        type=float,
        metavar="M",
        help="every M minutes leave the model as it is in --export-to, with 8-bit kernels: small, "
        "and --from goes on from it where the run itself is lost with the machine",
    )
    p.add_argument("--export-to", type=Path, metavar="DIR", default=Path("checkpoints/exports"))
    p.add_argument("--checkpoint-steps", type=int, help="also save every so many steps")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all models finished; 3: out of time, 4: told to stop, both resumable; 2: cannot train."""
    options = parser().parse_args(arguments)
    return told(lambda: _train(options))


def _train(options: argparse.Namespace) -> int:
    import torch

    from codecs.learned.ms_ssim import ms_ssim_scales
    from codecs.learned.training.data import load_pictures
    from codecs.learned.training.errors import TrainingError
    from codecs.learned.training.loop import Trainer, seconds_per_step
    from codecs.learned.training.memory import keep_freed_memory
    from codecs.learned.training.run import Run
    from codecs.learned.training.schedule import (
        load_phases,
        phases_digest,
        plan,
        restrict,
        scale_lr,
    )
    from codecs.learned.training.settings import (
        Limits,
        Settings,
        has_begun,
        keep_settings,
        load_settings,
    )

    stored_path = options.out / "run.json"
    try:
        rates = tuple(float(rate) for rate in options.rates.split(","))
    except ValueError as error:
        raise TrainingError(f"--rates {options.rates}: numbers with commas between") from error
    if options.lr_scale is not None and not 0 < options.lr_scale < math.inf:
        raise TrainingError("--lr-scale must be positive")
    if not all(0 < rate < math.inf for rate in rates) or len(set(rates)) < len(rates):
        raise TrainingError(f"--rates {options.rates}: they must be positive, no two alike")
    if min(options.batch, options.crop, options.width, options.valid_count) < 1:
        raise TrainingError("batch, crop, width and the count of pictures must be positive")
    if options.seed < 0:
        raise TrainingError("--seed must not be negative")
    steps = options.steps
    if steps is None and has_begun(stored_path):
        steps = load_settings(stored_path)["steps"]
    if steps is None and options.minutes is None:
        raise TrainingError("give --steps, or --minutes to have their number worked out")
    try:
        latents = tuple(int(channels) for channels in options.latents.split(",") if channels)
    except ValueError as error:
        raise TrainingError(
            f"--latents {options.latents}: whole numbers, commas between"
        ) from error
    network = registry.network(options.network)
    try:
        lambdas = tuple(float(value) for value in options.all_rates.split(",") if value)
        if lambdas and not (len(lambdas) == 2 and 0 < lambdas[0] < lambdas[1] < math.inf):
            raise ValueError("two positive numbers, the lower first")
    except ValueError as error:
        raise TrainingError(f"--all-rates {options.all_rates}: {error}") from error
    if lambdas and len(rates) > 1:
        raise TrainingError("--all-rates makes one network: leave --rates away")
    if options.threads < 0 or not (options.minutes is None or options.minutes > 0):
        raise TrainingError("--threads must not be negative, --minutes must be more than 0")
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    keep_freed_memory()
    usable = ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)
    if options.device and options.device.split(":")[0] not in usable:
        raise TrainingError(f"--device {options.device}: this machine has {' and '.join(usable)}")
    device = torch.device(options.device or usable[0])
    distortion = options.distortion or network.distortion
    optimiser = options.optimiser or ("adam" if options.preset == "paper" else "muon")
    lr_scale = options.lr_scale
    if lr_scale is None:
        tuned = optimiser == "adam" and options.preset in TUNED
        lr_scale = network.adam_scale if tuned else 1.0
    phases = scale_lr(restrict(load_phases(options.preset), distortion, options.mask), lr_scale)
    data = load_pictures(options.data, options.cache).at_least(options.crop)
    valid = load_pictures(options.valid, options.cache)
    for refused in (*data.refused, *valid.refused):
        print(f"not used: {refused}", file=sys.stderr)

    settings = Settings(
        network=network.architecture,
        # A schedule's name: where it lies says nothing elsewhere, and its digest goes along.
        preset=Path(options.preset).name,
        width=options.width,
        latents=latents,
        backbone=options.backbone,
        steps=steps or 1000,
        rates=rates,
        distortion=distortion,
        mask=options.mask,
        lpips=options.lpips,
        optimiser=optimiser,
        batch=options.batch,
        crop=options.crop,
        seed=options.seed,
        bf16=options.bf16,
        valid_every=0,
        valid_count=options.valid_count,
        data_digest=data.digest,
        phases_digest=phases_digest(phases),
        start_digest=_start_digest(options),
        threads=torch.get_num_threads(),
        qualities=ANCHORS if lambdas else 0,
        lambdas=lambdas,
    )
    limits = Limits(
        options.minutes,
        options.checkpoint_minutes,
        options.checkpoint_steps,
        export_minutes=options.export_minutes,
        export_to=options.export_to / options.out.parent.name / options.out.name,
    )
    run = Run(
        *(
            network,
            settings,
            phases,
            limits,
            data,
            " + ".join(folder.name for folder in options.data),
            valid,
            options.out,
            device,
            _say,
        ),
        start=options.start,
    )
    if steps is None:
        seconds = seconds_per_step(run)
        branches = sum(p.share for p in phases if p.per_rate)
        models = 1 + branches * (len(rates) - 1)
        # The rest is kept for validation and the unforeseen.
        steps = max(len(phases) * 10, int(0.85 * 60 * options.minutes / (seconds * models)))
        _say(f"{seconds:.3f} s a step: {steps:,} steps fit into {options.minutes:g} minutes")
    every = options.valid_every or max(1, steps // 10)
    settings = replace(settings, steps=steps, valid_every=every)
    threads = keep_settings(stored_path, settings)
    if threads != settings.threads:
        _say(f"{settings.threads} threads, not {threads} as before: resuming is not bit-exact")
    scales = ms_ssim_scales(options.crop)
    if scales < 5 and any(p.ms_ssim for p in phases):
        _say(f"MS-SSIM on crops of {options.crop} pixels has {scales} of its 5 scales")
    segments = plan(phases, steps, rates)
    _say(
        f"{settings.network} of width {options.width} on {device}, {len(data):,} pictures; "
        f"{segments[-1].stop:,} steps for {len(rates)} rate(s); logs and weights in {options.out}"
    )
    return Trainer(replace(run, settings=settings)).train()


def _start_digest(options: argparse.Namespace) -> str | None:
    """SHA-256 of the checkpoint to start from, in hexadecimal; a run that has a checkpoint of its
    own does not look at it again."""
    from codecs.learned.training.errors import TrainingError
    from codecs.learned.training.settings import has_begun, load_settings

    if options.start is None:
        return None
    stored_path = options.out / "run.json"
    if has_begun(stored_path):
        stored = load_settings(stored_path).get("start_digest")
        return None if stored is None else str(stored)
    try:
        with options.start.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"--from {options.start} cannot be read ({error.strerror})") from error


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
