"""Training with transforms in bfloat16: less time, where the processor has instructions for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from codecs.learned.network import CodecNetwork


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for bfloat16. Without them a step takes several times
    as long as in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(has.get(n) for n in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast_transforms(network: CodecNetwork, device: torch.device) -> None:
    """Run the network's `transforms` in bfloat16 from now on; their outputs stay float32.

    The entropy model keeps float32: likelihoods need latents to better than 8 bits.
    """
    for name in network.transforms:
        module = network.get_submodule(name)
        cast = torch.autocast(device.type, torch.bfloat16)

        def enter(
            _module: nn.Module, inputs: tuple[Tensor], cast: torch.autocast = cast
        ) -> tuple[Tensor]:
            cast.__enter__()
            # Channels last is 10 % faster on CPUs; weights need not be, they are copied anyway.
            return (inputs[0].contiguous(memory_format=torch.channels_last),)

        def leave(
            _module: nn.Module, _inputs: Any, output: Tensor, cast: torch.autocast = cast
        ) -> Tensor:
            cast.__exit__(None, None, None)
            return output.float().contiguous()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
