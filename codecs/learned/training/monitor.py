"""What a run shows of itself: CSV logs, validation rows, sample pictures, lines of text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from codecs.base import Image
from codecs.learned.network import CodecNetwork, PartitionedNetwork
from codecs.learned.pixels import pad, to_tensor
from codecs.learned.training import validate
from codecs.learned.training.logs import CsvLog
from codecs.learned.training.run import Run
from codecs.learned.training.schedule import Segment
from codecs.learned.training.state import TrainingProgress

TRAIN_COLUMNS = (
    *("step", "wall", "cpu", "phase", "rate", "lr", "lambda_eff", "loss", "bpp", "psnr", "mse"),
    *("ms_ssim", "lpips", "features", "gan_g", "gan_d", "penalty", "gradient_norm"),
)
"""`train.csv`: means over `Limits.log_every` steps on training crops, noise for rounding; `ms_ssim`
is 1 - MS-SSIM, `rate` the target, `lr` and `lambda_eff` those of the last step."""
WORTH_COLUMNS = ("t64", "t32", "used32", "used64", "best32", "best64", "cost_used", "cost_best")
"""Of networks with block partitions: thresholds, and `search.worth` as means over `WORTH_PICTURES`
pictures."""
WORTH_PICTURES = 4
VALID_COLUMNS = (
    *("step", "wall", "cpu", "phase", "rate", "set", "pictures", "quality", "lambda_eff"),
    *("bpp", "psnr", "ms_ssim", "jpeg_psnr", "gain_over_jpeg", "final"),
    *WORTH_COLUMNS,
)
"""`valid.csv`: averaged weights, rounded latents, estimated bpp; a row for each set of validation
pictures and each quality.  `jpeg_psnr` is the PSNR of Pillow's JPEG on the same pictures at the
same bpp (empty outside JPEG's range); `final` marks finished models, measured on all pictures."""


class Monitor:
    """The logs of one session and its clocks."""

    def __init__(self, run: Run, progress: TrainingProgress) -> None:
        self.run = run
        self._train = CsvLog(run.out / "train.csv", TRAIN_COLUMNS, progress.step)
        self._valid = CsvLog(run.out / "valid.csv", VALID_COLUMNS, progress.step)
        self._shown: dict[str, list[float]] = {}
        self._wall = progress.wall - time.monotonic()
        self._cpu = progress.cpu - time.process_time()

    def close(self) -> None:
        self._train.close()
        self._valid.close()

    def clock(self, progress: TrainingProgress) -> None:
        """Bring the time spent up to date."""
        progress.wall = self._wall + time.monotonic()
        progress.cpu = self._cpu + time.process_time()

    def _context(self, segment: Segment, progress: TrainingProgress) -> dict[str, object]:
        self.clock(progress)
        return {
            "step": progress.step,
            "wall": round(progress.wall, 1),
            "cpu": round(progress.cpu, 1),
            "phase": segment.number,
            "rate": progress.controller.target,
        }

    def step(self, segment: Segment, progress: TrainingProgress, shown: dict[str, float]) -> None:
        """Take note of one training step."""
        for name, value in shown.items():
            self._shown.setdefault(name, []).append(value)
        if progress.step % self.run.limits.log_every:
            return
        # Where a phase ends between two rows, the next has terms of its own.
        row: dict[str, object] = {k: sum(v) / len(v) for k, v in self._shown.items()}
        row |= {"lr": shown["lr"], "lambda_eff": shown["lambda_eff"]}
        self._train.write(self._context(segment, progress) | row)
        self._shown = {}

    def validate(
        self,
        segment: Segment,
        progress: TrainingProgress,
        network: CodecNetwork,
        final: bool,
    ) -> float:
        """Measure `network`, log it beside JPEG, keep samples; returns the rate in bpp.

        A network for a range of rates is measured at every other quality; the rate and the samples
        are then those of the last.
        """
        run = self.run
        count = len(run.valid) if final else min(run.settings.valid_count, len(run.valid))
        pictures = [run.valid[i] for i in range(count)]
        qualities: Sequence[int | None] = range(0, network.qualities, 2) or [None]
        for quality in qualities:
            scores, decoded = validate.evaluate(network, pictures, run.device, quality)
            lambda_eff = progress.controller.lambda_eff
            if quality is not None:
                lambda_eff = float(network.lambda_of(torch.tensor(float(quality))))
            for source, all_numbers in run.valid.of_source.items():
                numbers = [i for i in all_numbers if i < count]
                if not numbers:
                    continue
                score = validate.mean([scores[i] for i in numbers])
                curve = validate.cached_jpeg_curve(run.valid, numbers, run.out)
                jpeg = validate.at_rate(curve, score.bpp)
                gain = None if jpeg is None else score.psnr - jpeg
                row: dict[str, object] = {"set": source.rstrip("/"), "pictures": len(numbers)}
                row |= {"quality": quality, "lambda_eff": lambda_eff, "final": int(final)}
                row |= {"bpp": score.bpp, "psnr": score.psnr, "ms_ssim": score.ms_ssim}
                row |= {"jpeg_psnr": jpeg, "gain_over_jpeg": gain}
                if isinstance(network, PartitionedNetwork):
                    some = [pictures[i] for i in numbers[:WORTH_PICTURES]]
                    row |= _worth(network, some, run.device, quality)
                known = {k: v for k, v in row.items() if v is not None}
                self._valid.write(self._context(segment, progress) | known)
                run.say(self._line(progress, row))
        samples = run.out / "samples"
        samples.mkdir(exist_ok=True)
        pairs = list(zip(pictures, decoded, strict=True))
        validate.save_samples(samples / f"{progress.step:07d}.png", pairs)
        return validate.mean(scores).bpp

    @staticmethod
    def _line(progress: TrainingProgress, row: Mapping[str, Any]) -> str:
        """What a row of `valid.csv` says, in words."""
        gain = row["gain_over_jpeg"]
        beside = "JPEG does not reach this rate" if gain is None else f"{gain:+.2f} dB to JPEG"
        minutes = f"{progress.wall / 60:.1f} min ({progress.cpu / 60:.1f} of CPU)"
        line = (
            f"step {progress.step:,}, {minutes}: {row['bpp']:.4f} bpp, {row['psnr']:.2f} dB "
            f"({beside}), MS-SSIM {row['ms_ssim']:.4f}, {row['pictures']} pictures"
        )
        if row["set"]:
            line += f" of {row['set']}"
        if "cost_best" in row:
            line += (
                f"; at 32 and 64: {row['used32']:.0%} and {row['used64']:.0%} used for "
                f"{row['cost_used'] - 1:+.1%} of J, {row['best32']:.0%} and {row['best64']:.0%} "
                f"best for {row['cost_best'] - 1:+.1%}"
            )
        return line


def _worth(
    network: PartitionedNetwork,
    pictures: Sequence[Image],
    device: torch.device,
    quality: float | None,
) -> dict[str, float]:
    """Means of `PartitionedNetwork.worth`."""
    q = None if quality is None else torch.tensor([quality], device=device)
    found = [
        network.worth(pad(to_tensor(p, device), network.stride), (p.shape[0], p.shape[1]), q)
        for p in pictures
    ]
    return {name: sum(each[name] for each in found) / len(found) for name in WORTH_COLUMNS}
