"""Refining the latent of the picture at hand: more encoding time, better files, the same decoder.

An encoder network proposes a latent in one go; gradient descent on J = Λ·D + R of this one picture
finds a better one.  It has to end in integers, for which there is stochastic Gumbel annealing:
Yang, Bamler, Mandt, "Improving Inference for Neural Image Compression", NeurIPS 2020.  Each value
is drawn between the two integers around it, the nearer one likelier, by a relaxed distribution
whose temperature falls until draws are all but integers.  The probability of either is the scaled
sigmoid of Perugachi-Diaz et al., "Robustly Overfitting Latents for Flexible Neural Image
Compression", NeurIPS 2024: of J it saved -10.5 % where the original's inverse hyperbolic tangent
saved -8.5 % in as many steps (one picture, 80 steps).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from codecs.learned.bands import single_thread

STEPS = 100
"""For pictures up to `STEPS_PIXELS`."""
STEPS_PIXELS = 768 * 512
MOST_PIXELS = 3 << 20
"""Larger pictures are not refined: a step keeps all activations of the synthesis, some 1.5 KB a
pixel at 96 channels."""

# Chosen on crops of validation pictures, three qualities; J hardly changes within a factor of 1.5.
_RATE = 0.03
_LAST_RATE = 0.3
"""Of the last step, as part of the first one's."""
_HOT, _COLD = 0.5, 0.2
"""Temperatures of the first and of the last step."""
_SHARPNESS = 4 / 3
_QUIET = 0.1
"""Adam's ε, as part of the first gradient's root mean square: values that J hardly depends on, such
as the many zeros at low rates, stay where they are instead of wandering at full speed."""
_EDGE = 1e-4


def steps_for(pixels: int) -> int:
    """How many steps a picture gets: by its size, not by a clock, so that files are reproducible.

    Beyond `STEPS_PIXELS` they fall with the root of the size, and time rises with it.
    """
    if pixels > MOST_PIXELS:
        return 0
    return min(STEPS, round(STEPS * math.sqrt(STEPS_PIXELS / pixels)))


def seconds(pixels: int) -> float:
    """About what refining takes on one core."""
    return steps_for(pixels) * pixels * 1.5e-6


def quick(device: torch.device) -> torch.autocast:
    """What the synthesis may be run in: bfloat16 where there is hardware for it, which takes a
    third off the time of a step and 0.1 % of J off what is gained.  Files are judged by what
    decoders make of them."""
    able = device.type != "cpu" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def refine(
    latents: Sequence[Tensor], cost: Callable[[Sequence[Tensor]], Tensor], steps: int
) -> list[Tensor]:
    """Integers near `latents`, which are of any shapes and to be rounded, for which `cost` is low.

    `cost` is J of relaxed latents, differentiable; it is called outside of inference mode.  The
    same call gives the same result on the same machine.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad(), single_thread():
        values = [latent.clone().requires_grad_() for latent in latents]
        adam = torch.optim.Adam([{"params": [value]} for value in values], _RATE)
        for step in range(steps):
            progress = step / max(1, steps - 1)
            temperature = _HOT * (_COLD / _HOT) ** progress
            adam.zero_grad()
            cost([_relaxed(value, temperature, generator) for value in values]).backward()
            for group, value in zip(adam.param_groups, values, strict=True):
                group["lr"] = _RATE * _LAST_RATE**progress
                if step == 0:
                    group["eps"] = _QUIET * _typical(value.grad)
            adam.step()
        return [value.detach().round() for value in values]


def _relaxed(value: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A draw between the integers around each value, differentiable."""
    low = value.detach().floor()
    place = torch.logit(value - low, _EDGE)
    # The difference of two Gumbel variables is logistic.
    noise = torch.logit(torch.rand(value.shape, generator=generator), 1e-6).to(value.device)
    return low + torch.sigmoid((_SHARPNESS * place / temperature + noise) / temperature)


def _typical(gradient: Tensor | None) -> float:
    """Root mean square of what is not 0."""
    if gradient is None or not (active := gradient[gradient != 0]).numel():
        return 1.0
    return float(active.square().mean().sqrt())
