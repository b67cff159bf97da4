"""Writes tests/references/compressai_mbt2018.safetensors: a tiny model of CompressAI with random
weights, an input, and what CompressAI computes from it.

    python -m tests.make_compressai_reference

Run where `compressai` (made with 1.2.8) is installed.  The file is read by test_minnen.py, so that
the comparison is made without CompressAI too; where it is installed, a second test compares
directly at another size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.perf.learned import converted

REFERENCE = Path(__file__).parent / "references" / "compressai_mbt2018.safetensors"


def random_model(n: int, m: int, seed: int) -> Any:
    """CompressAI's JointAutoregressiveHierarchicalPriors with weights that exercise all layers."""
    from compressai.models import JointAutoregressiveHierarchicalPriors

    torch.manual_seed(seed)
    model = JointAutoregressiveHierarchicalPriors(n, m).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.add_(torch.rand_like(parameter) * 0.2)
            elif name.endswith("quantiles"):
                parameter[:, :, 1] = torch.randn(parameter.shape[:2])
            elif "entropy_bottleneck" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(2.0)
    return model


def outputs(model: Any, x: Tensor) -> dict[str, Tensor]:
    """What CompressAI's `forward` computes in evaluation, step by step as it does there."""
    with torch.no_grad():
        y = model.g_a(x)
        z_hat, z_likelihood = model.entropy_bottleneck(model.h_a(y))
        y_hat = model.gaussian_conditional.quantize(y, "dequantize")
        both = torch.cat((model.h_s(z_hat), model.context_prediction(y_hat)), 1)
        scales, means = model.entropy_parameters(both).chunk(2, 1)
        y_likelihood = model.gaussian_conditional._likelihood(y_hat, scales, means)
        x_hat = model(x)["x_hat"]
    names = ("y_hat", "z_hat", "scales", "means", "y_likelihood", "z_likelihood", "x_hat")
    values = (y_hat, z_hat, scales, means, y_likelihood.clamp(min=1e-9), z_likelihood, x_hat)
    return dict(zip(names, values, strict=True))


def main() -> None:
    import safetensors.torch

    model = random_model(4, 6, seed=1)
    torch.manual_seed(2)
    x = torch.rand(1, 3, 64, 128)
    tensors = {f"weights.{k}": v for k, v in converted(model.state_dict()).items()}
    tensors |= {f"outputs.{k}": v for k, v in outputs(model, x).items()}
    REFERENCE.parent.mkdir(exist_ok=True)
    safetensors.torch.save_file(
        {k: v.detach().contiguous() for k, v in (tensors | {"x": x}).items()}, REFERENCE
    )


if __name__ == "__main__":
    main()
