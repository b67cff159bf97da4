"""Writes tests/references/compressai_*.safetensors: tiny models of CompressAI with random weights,
an input, and what CompressAI computes from it.

    python -m tests.make_compressai_reference

Run where `compressai` (made with 1.2.8) is installed.  The files are read by
test_learned_compressai.py, so that the comparison is made without CompressAI too; where it is
installed, a second test compares directly at another size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.perf.learned import converted

MODELS = {
    "factorised": "FactorizedPrior",
    "hyperprior": "ScaleHyperprior",
    "minnen": "JointAutoregressiveHierarchicalPriors",
}
"""Codecs of this project and their classes in `compressai.models`."""


def reference(name: str) -> Path:
    return Path(__file__).parent / "references" / f"compressai_{name}.safetensors"


def random_model(name: str, n: int, m: int, seed: int) -> Any:
    """CompressAI's model with weights that exercise all layers."""
    import compressai.models

    torch.manual_seed(seed)
    model = getattr(compressai.models, MODELS[name])(n, m).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith(("beta", "gamma")):
                parameter.add_(torch.rand_like(parameter) * 0.2)
            elif parameter_name.endswith("quantiles"):
                parameter[:, :, 1] = torch.randn(parameter.shape[:2])
            elif "entropy_bottleneck" in parameter_name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            else:
                parameter.mul_(2.0)
    return model


@torch.no_grad()
def outputs(model: Any, x: Tensor) -> dict[str, Tensor]:
    """What CompressAI's `forward` computes in evaluation, step by step as it does there."""
    y, whole = model.g_a(x), model(x)
    out = {"x_hat": whole["x_hat"]}
    out |= {f"{name}_likelihood": value for name, value in whole["likelihoods"].items()}
    if not hasattr(model, "h_a"):
        return out | {"y_hat": model.entropy_bottleneck(y)[0]}
    zero_mean = not hasattr(model, "context_prediction")
    out["z_hat"], _ = model.entropy_bottleneck(model.h_a(y.abs() if zero_mean else y))
    out["y_hat"] = model.gaussian_conditional.quantize(y, "dequantize")
    if zero_mean:
        return out | {"scales": model.h_s(out["z_hat"])}
    both = torch.cat((model.h_s(out["z_hat"]), model.context_prediction(out["y_hat"])), 1)
    scales, means = model.entropy_parameters(both).chunk(2, 1)
    # For its rate CompressAI rounds y - means, for its picture y, which is what we code.
    likelihood = model.gaussian_conditional._likelihood(out["y_hat"], scales, means)
    return out | {"scales": scales, "means": means, "y_likelihood": likelihood.clamp(min=1e-9)}


def main() -> None:
    import safetensors.torch

    for name in MODELS:
        model = random_model(name, 4, 6, seed=1)
        torch.manual_seed(2)
        x = torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8)
        tensors = {f"weights.{k}": v for k, v in converted(model.state_dict()).items()}
        tensors |= {f"outputs.{k}": v for k, v in outputs(model, x / 255).items()}
        safetensors.torch.save_file(
            {k: v.detach().contiguous() for k, v in (tensors | {"x": x}).items()}, reference(name)
        )


if __name__ == "__main__":
    main()
