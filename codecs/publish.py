"""`python -m codecs.publish RUN --into FOLDER --valid DIR`: weights to commit.

Rewrites the finished models of a training run with kernels as integers, a fifth of the size,
measures what that costs at three qualities, and puts weights and cards where a codec looks for
them.  A card holds the curve of its validation; logs stay with the run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codecs import registry
from codecs.base import Image
from codecs.training_command import add_folders, told

CTU = 64
"""RDONet's largest block: pictures to calibrate on are cut to multiples."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m codecs.publish")
    p.add_argument("run", type=Path, help="folder of a training run")
    p.add_argument("--into", type=Path, required=True, help="such as codecs/weights/rdonet")
    add_folders(p, "valid")
    p.add_argument("--network", help="the .py file of a network that is not one of ours")
    p.add_argument("--count", type=int, default=12, help="pictures to measure the loss on")
    p.add_argument("--note", default="", help="what the cards should say besides")
    p.add_argument(
        "--calibrate",
        type=int,
        default=0,
        metavar="COUNT",
        help="variance thresholds anew, on so many of the pictures (codecs with partitions)",
    )
    p.add_argument("--unfinished", action="store_true", help="the interrupted model as well")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """0: published; 2: nothing to publish, or not readable."""
    options = parser().parse_args(arguments)
    return told(lambda: publish(options))


def publish(options: argparse.Namespace) -> None:
    """Raises `TrainingError` or `CodecUnavailable`."""
    from codecs.learned.training.data import load_pictures
    from codecs.learned.training.errors import TrainingError

    if options.count < 1 or options.calibrate < 0:
        raise TrainingError("--count must be positive, --calibrate not negative")
    models = sorted(options.run.glob("*.safetensors"))
    models = [m for m in models if m.with_suffix(".json").exists()]
    if not options.unfinished:
        models = [m for m in models if not m.stem.endswith("-latest")]
    if not models:
        raise TrainingError(f"{options.run} holds no finished model: resume it, or --unfinished")
    valid = load_pictures(options.valid, options.cache)
    if options.calibrate:
        valid = valid.at_least(CTU)
    most = max(options.count, options.calibrate)
    pictures = [valid[i] for i in range(min(most, len(valid)))]
    options.into.mkdir(parents=True, exist_ok=True)
    for model in models:
        _publish_model(model, options.into / model.name, pictures, options)


def _publish_model(
    source: Path, target: Path, pictures: Sequence[Image], options: argparse.Namespace
) -> None:
    import torch

    from codecs.learned import weights
    from codecs.learned.network import PartitionedNetwork
    from codecs.learned.training.checkpoint import write_atomically
    from codecs.learned.training.validate import Score, evaluate, mean

    loaded = weights.load(source)
    kind = registry.network(options.network or loaded.card["architecture"])
    network = kind.from_config(loaded.card["config"])
    network.load_state_dict(loaded.parameters)
    cpu = torch.device("cpu")
    thresholds = None
    if options.calibrate and isinstance(network, PartitionedNetwork):
        thresholds = _calibrate(network, loaded.card, pictures[: options.calibrate])
    pictures = pictures[: options.count]
    last = network.qualities - 1
    qualities = sorted({0, last // 2, last}) if network.qualities else [None]

    def measured() -> list[Score]:
        return [mean(evaluate(network, pictures, cpu, quality)[0]) for quality in qualities]

    before = measured()
    weights.rounded(network, small=True)
    after = measured()
    network.load_state_dict(loaded.parameters)

    def row(score: Score) -> dict[str, float]:
        return {"bpp": score.bpp, "psnr": score.psnr, "ms_ssim": score.ms_ssim}

    card = {k: v for k, v in loaded.card.items() if k not in ("architecture", "config")}
    if options.note:
        card["note"] = options.note
    if thresholds is not None:
        card["thresholds_calibrated"] = thresholds
    card["compact"] = {
        "pictures": len(pictures),
        "trained_sha256": loaded.digest.hex(),
        "points": [
            {"quality": quality, "before": row(was), "after": row(now)}
            for quality, was, now in zip(qualities, before, after, strict=True)
        ],
    }
    digest = weights.export(network, target, card, small=True)
    whole = {**card, "config": network.config, "sha256": digest.hex()}
    write_atomically(target.with_suffix(".json"), (json.dumps(whole, indent=2) + "\n").encode())
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    for was, now in zip(before, after, strict=True):
        print(f"  {was.bpp:.4f} bpp, {was.psnr:.2f} dB -> {now.bpp:.4f} bpp, {now.psnr:.2f} dB")


def _calibrate(
    network: Any, card: Mapping[str, Any], pictures: Sequence[Image]
) -> dict[str, float]:
    """Thresholds of least J on whole pictures, set in the network; what the card says of them."""
    import numpy as np
    import torch

    from codecs.learned.training.losses import Critics, LossWeights, distortion

    training = card["training"]
    terms = LossWeights.of_card(training)
    critics = Critics.load((terms,), training["lpips_backbone"])
    whole = [p[: p.shape[0] // CTU * CTU, : p.shape[1] // CTU * CTU] for p in pictures]
    batches = [torch.from_numpy(np.array(p)).permute(2, 0, 1)[None].float() / 255 for p in whole]
    found, cost = network.calibrate(
        batches, training["lambda_eff"], lambda x, y: distortion(x, y, terms, critics)[0].mean()
    )
    network.config["thresholds"] = found
    return {**found, "J": cost, "pictures": len(whole)}


if __name__ == "__main__":
    sys.exit(main())
