"""The network of Minnen et al. 2018 (figure 1, table 1), with CompressAI's layer sizes.

Shapes for a picture of H x W pixels, both multiples of 64:

    y, ŷ   M x H/16 x W/16    latent
    z, ẑ   N x H/64 x W/64    hyper-latent
    ψ, φ  2M x H/16 x W/16    features of hyper-decoder and of the 5x5 context model
    θ     2M x H/16 x W/16    scales, then means

In training ŷ is y with uniform noise; else ŷ = round(y), and the mean enters the likelihood only
(CompressAI's `forward` reconstructs from the same ŷ).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from codecs.learned.coders.likelihood import FactorisedPrior, add_noise, gaussian_likelihood
from codecs.learned.layers import GDN, MaskedConv2d, conv, deconv
from codecs.learned.network import CodecNetwork, ForwardOutput
from codecs.learned.rows import RowStream

LATENT_GAIN = 4.0
"""Initial standard deviation wanted of the latents."""

PRESETS: Mapping[str, Mapping[str, int]] = {
    # Lower rates of the paper's own models; CompressAI's mbt2018, qualities 1 to 4.
    "paper": {"N": 192, "M": 192},
    # For CPUs.
    "compact": {"N": 96, "M": 96},
    "compact-64": {"N": 64, "M": 64},
}


class Minnen(CodecNetwork):
    """N channels in the transforms' hidden layers and in z, M in y.

    `objective` does not change the network, but belongs to a rate point and so travels with its
    weights.
    """

    def __init__(self, N: int = 96, M: int = 96, objective: Mapping[str, float] | None = None):
        super().__init__()
        if N < 1 or M < 3:
            raise ValueError(f"no such network: N = {N}, M = {M}")
        self.config: dict[str, Any] = {"N": N, "M": M}
        if objective is not None:
            self.config["objective"] = dict(objective)
        self.g_a = RowStream(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))
        self.g_s = RowStream(
            deconv(M, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, N),
            GDN(N, inverse=True),
            deconv(N, 3),
        )
        self.h_a = nn.Sequential(
            conv(M, N, 3, 1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N)
        )
        self.h_s = nn.Sequential(
            deconv(N, M),
            nn.LeakyReLU(),
            deconv(M, M * 3 // 2),
            nn.LeakyReLU(),
            conv(M * 3 // 2, 2 * M, 3, 1),
        )
        self.prior = FactorisedPrior(N)
        self.context = MaskedConv2d(M, 2 * M)
        self.head = nn.Sequential(
            conv(4 * M, M * 10 // 3, 1, 1),
            nn.LeakyReLU(),
            conv(M * 10 // 3, M * 8 // 3, 1, 1),
            nn.LeakyReLU(),
            conv(M * 8 // 3, 2 * M, 1, 1),
        )
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Keep the signal's scale from layer to layer, and latents well above one half.

        With PyTorch's defaults y starts at a standard deviation of 0.02, far below the noise that
        stands for rounding, and training spends its first thousands of steps on a blank picture.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                transposed = isinstance(module, nn.ConvTranspose2d)
                fan_in = module.weight[:, 0].numel() / 4 if transposed else module.weight[0].numel()
                module.weight.normal_(0.0, fan_in**-0.5)
                if module.bias is not None:
                    module.bias.zero_()
        for writer in (self.g_a[-1], self.h_a[-1]):
            _scale(writer, LATENT_GAIN)
        for reader in (self.g_s[0], self.h_s[0], self.h_a[0], self.context):
            _scale(reader, 1 / LATENT_GAIN)
        # The first guess is a broad Gaussian around 0, and the first picture mid grey.
        head, picture = _scale(self.head[-1], 0.1), _scale(self.g_s[-1], 0.1)
        head[: self.config["M"]] = LATENT_GAIN
        picture.fill_(0.5)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Minnen:
        """A freshly initialised network: `paper`, `compact` or `compact-64`."""
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def parameters_of(self, y: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        """(scales, means) [B, M, H/16, W/16] of ŷ, given all of it: causal by the masked kernel."""
        scales, means = self.head(torch.cat([psi, self.context(y)], 1)).chunk(2, 1)
        return scales, means

    def forward(self, x: Tensor, mask: Any = None) -> ForwardOutput:
        """See `CodecNetwork`; there is no block partition, so `mask` must be `None`."""
        if mask is not None:
            raise ValueError("this network has no block partition")
        y = self.g_a(x)
        z = self.h_a(y)
        z = add_noise(z) if self.training else self.prior.round(z)
        y = add_noise(y) if self.training else torch.round(y)
        scales, means = self.parameters_of(y, self.h_s(z))
        bits = {
            "z": -torch.log2(self.prior.likelihood(z)).flatten(1).sum(1),
            "y": -torch.log2(gaussian_likelihood(y, means, scales)).flatten(1).sum(1),
        }
        return ForwardOutput(self.g_s(y), bits)


def _scale(module: nn.Module, factor: float) -> Tensor:
    """Multiply a convolution's weight and return its bias."""
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    module.weight *= factor
    assert module.bias is not None
    return module.bias
