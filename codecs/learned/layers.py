"""Floating-point layers of learned image codecs, for training, encoding and synthesis.

Tensors are [B, C, H, W].  Parameters have CompressAI's shapes and parametrisation, so that weights
can be copied across; `codecs.learned.exact` has the integer counterparts that decoding needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_BATCH = 16


class _LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient also passes where descending would lift x to the bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * ((x >= ctx.bound) | (grads[0] < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), with a gradient that can bring x back above the bound."""
    result: Tensor = _LowerBound.apply(x, bound)
    return result


class GDN(nn.Module):
    """Generalised divisive normalisation, y_i = x_i / √(β_i + Σ_j γ_ij x_j²), or its approximate
    inverse y_i = x_i · √(...).  Ballé, Laparra, Simoncelli, "Density modeling of images using a
    generalized normalization transformation", ICLR 2016.

    β >= 1e-6 and γ >= 0 are kept by storing √(value + ε²), ε = 2^-18, as the parameter.
    """

    PEDESTAL = 2.0**-36
    BETA_MIN = 1e-6

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.sqrt(torch.ones(channels) + self.PEDESTAL))
        self.gamma = nn.Parameter(torch.sqrt(0.1 * torch.eye(channels) + self.PEDESTAL))

    def effective(self) -> tuple[Tensor, Tensor]:
        """β [C] and γ [C, C] as used in the formula."""
        beta = lower_bound(self.beta, (self.BETA_MIN + self.PEDESTAL) ** 0.5) ** 2 - self.PEDESTAL
        gamma = lower_bound(self.gamma, self.PEDESTAL**0.5) ** 2 - self.PEDESTAL
        return beta, gamma

    def forward(self, x: Tensor) -> Tensor:
        beta, gamma = self.effective()
        norm = _pointwise(x * x, gamma[:, :, None, None], beta)
        if torch.is_grad_enabled():
            return x * (torch.sqrt(norm) if self.inverse else torch.rsqrt(norm))
        return (norm.sqrt_() if self.inverse else norm.rsqrt_()).mul_(x)


class ChannelNorm(nn.Module):
    """y = γ·(x - μ)/√(σ² + ε) + β, mean μ and variance σ² over the channels of each position.

    Mentzer et al., "High-Fidelity Generative Image Compression", NeurIPS 2020, equation 9.  Unlike
    those of instance normalisation they are the same for a crop as for the picture around it.
    """

    EPSILON = 1e-3

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        out = functional.layer_norm(last, self.gamma.shape, self.gamma, self.beta, self.EPSILON)
        return out.permute(0, 3, 1, 2)


def _pointwise(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """1x1 convolution of x [B, C, H, W] with `kernel` [O, C, 1, 1]."""
    b, c, h, w = x.shape
    channels_last = x.stride(1) == 1
    if torch.is_grad_enabled() or not channels_last or b > 1 or h * w % _BATCH:
        return functional.conv2d(x, kernel, bias)
    # On one thread PyTorch has oneDNN's kernel, several times faster, for larger batches only.
    pieces = x.permute(0, 2, 3, 1).reshape(_BATCH, h * w // _BATCH, 1, c).permute(0, 3, 1, 2)
    out = functional.conv2d(pieces, kernel, bias).permute(0, 2, 3, 1)
    return out.reshape(1, h, w, len(kernel)).permute(0, 3, 1, 2)


def _add(out: Tensor, x: Tensor) -> Tensor:
    """out + x; overwrites `out` where no gradient needs it."""
    return out + x if torch.is_grad_enabled() else out.add_(x)


def _leaky_relu(x: Tensor) -> Tensor:
    """Overwrites x, which must be what a convolution or pixel shuffle made."""
    return functional.leaky_relu_(x)


@dataclass(frozen=True)
class Window:
    """What a context model looks at: rows `above` the position to be decoded and that of its own,
    of them the columns from `left` before to `right` behind it."""

    above: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns); the position stands in the last row, column `left`."""
        return self.above + 1, self.left + 1 + self.right

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of all, in raster order."""
        rows, columns = self.shape
        return tuple((y, x) for y in range(rows) for x in range(columns))

    @property
    def past(self) -> tuple[tuple[int, int], ...]:
        """Those that are decoded before the position."""
        return tuple(place for place in self.places if place < (self.above, self.left))


class MaskedConv2d(nn.Conv2d):
    """k x k convolution that sees only positions before the centre in raster order (type A).

    van den Oord et al., "Conditional image generation with PixelCNN decoders", NeurIPS 2016.
    The mask is applied to the weight on use; `causal_weight` is what counts.
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 5) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)
        mask = torch.zeros(kernel, kernel)
        mask[: kernel // 2] = 1
        mask[kernel // 2, : kernel // 2] = 1
        self.register_buffer("mask", mask, persistent=False)
        self.window = Window(kernel // 2, kernel // 2, kernel // 2)

    @property
    def causal_weight(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, input: Tensor) -> Tensor:
        return functional.conv2d(input, self.causal_weight, self.bias, padding=self.padding)


class WindowContext(nn.Module):
    """Features of the window around each position, which a k x k convolution sees as a picture of
    its own; then LeakyReLU.

    Of side information [B, side, h, w] all of the window is known, of `latents` [B, M, h, w] what
    is decoded before the position, the rest of it being 0; so is what lies beyond the picture.
    Lee, Cho, Beack, "Context-adaptive entropy model for end-to-end optimized image compression",
    ICLR 2019.  The convolution is not padded: a window of 4 x 4 and k = 3 give 2 x 2 outputs of
    each feature, neighbours among the channels [B, 4·features, h, w], so that a 1x1 convolution
    behind is one over all of these.
    """

    mask: Tensor

    def __init__(
        self,
        side: int,
        latents: int,
        features: int,
        window: Window = Window(3, 2, 1),
        kernel: int = 3,
    ) -> None:
        super().__init__()
        self.side, self.window = side, window
        self.convolution = nn.Conv2d(side + latents, features, kernel)
        mask = torch.ones(side + latents, *window.shape)
        for y, x in set(window.places) - set(window.past):
            mask[side:, y, x] = 0
        self.register_buffer("mask", mask, persistent=False)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """The same as one convolution over pictures: its kernel over the whole window
        [outputs, side + M, rows, columns], and its bias."""
        weight, (rows, columns) = self.convolution.weight, self.window.shape
        down, right = rows - weight.shape[2], columns - weight.shape[3]
        outputs = [
            functional.pad(weight, (x, right - x, y, down - y))
            for y in range(down + 1)
            for x in range(right + 1)
        ]
        assert self.convolution.bias is not None
        bias = self.convolution.bias.repeat_interleave(len(outputs))
        return torch.stack(outputs, 1).flatten(0, 1) * self.mask, bias

    def forward(self, side: Tensor, latents: Tensor) -> Tensor:
        window = self.window
        x = functional.pad(
            torch.cat([side, latents], 1), (window.left, window.right, window.above, 0)
        )
        return _leaky_relu(functional.conv2d(x, *self.kernel()))


class StridedConv1x1(nn.Conv2d):
    """1x1 convolution of stride s, evaluated on the subsampled picture.

    `nn.Conv2d(C, O, 1, stride=2)` corrupts the heap in its backward pass on channels-last input in
    some PyTorch builds (seen in 2.13, CPU, C <= 8); this form never takes that path.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        self.step = stride

    def forward(self, input: Tensor) -> Tensor:
        return _pointwise(input[:, :, :: self.step, :: self.step], self.weight, self.bias)


class Conv1x1(nn.Conv2d):
    """1x1 convolution of stride 1."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        return _pointwise(input, self.weight, self.bias)


def conv(in_channels: int, out_channels: int, kernel: int = 5, stride: int = 2) -> nn.Conv2d:
    """Convolution with padding k//2: H -> ⌈H/stride⌉ for odd k."""
    if (kernel, stride) == (1, 1):
        return Conv1x1(in_channels, out_channels)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2)


def deconv(in_channels: int, out_channels: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """Transposed convolution, 5x5 or 3x3, H -> 2H."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, kernel // 2, output_padding=1)


def upsampling_phases(weight: Tensor) -> Tensor:
    """The kernel [C, O, k, k] of `deconv` as 3x3 kernels [O, 2, 2, C, 3, 3], one for each parity
    of the output's row and column.

    Output row 2i+p takes input row i+1-j through row p+2j of a kernel 5x5; likewise columns.
    """
    weight = functional.pad(weight, [(5 - weight.shape[2]) // 2] * 4)
    channels, out = weight.shape[:2]
    phases = weight.new_zeros(out, 2, 2, channels, 3, 3)
    for py in (0, 1):
        for px in (0, 1):
            taps = weight[:, :, py::2, px::2].flip(2, 3).transpose(0, 1)
            phases[:, py, px, :, 3 - taps.shape[2] :, 3 - taps.shape[3] :] = taps
    return phases


def subpixel_conv(
    in_channels: int, out_channels: int, r: int = 2, kernel: int = 3
) -> nn.Sequential:
    """Convolution and pixel shuffle, H -> rH (Shi et al., CVPR 2016)."""
    convolution = nn.Conv2d(in_channels, out_channels * r * r, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.PixelShuffle(r))


class ResidualBlockDown(nn.Module):
    """conv3x3/s - LeakyReLU - conv3x3 - GDN, plus a 1x1/s skip: H -> ⌈H/s⌉.

    Cheng et al., "Learned image compression with discretized Gaussian mixture likelihoods and
    attention modules", CVPR 2020, figure 4; so are the three blocks below.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3, stride)
        self.conv2 = conv(out_channels, out_channels, 3, 1)
        self.gdn = GDN(out_channels)
        self.skip = StridedConv1x1(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.gdn(self.conv2(_leaky_relu(self.conv1(x))))
        return _add(out, self.skip(x))


class ResidualBlockUp(nn.Module):
    """Sub-pixel conv3x3 ×r - LeakyReLU - conv3x3 - IGDN, plus a sub-pixel skip: H -> rH."""

    def __init__(self, in_channels: int, out_channels: int, r: int = 2) -> None:
        super().__init__()
        self.subpel_conv = subpixel_conv(in_channels, out_channels, r)
        self.conv = conv(out_channels, out_channels, 3, 1)
        self.igdn = GDN(out_channels, inverse=True)
        self.upsample = subpixel_conv(in_channels, out_channels, r)

    def forward(self, x: Tensor) -> Tensor:
        out = self.igdn(self.conv(_leaky_relu(self.subpel_conv(x))))
        return _add(out, self.upsample(x))


class ResidualBlock(nn.Module):
    """conv3x3 - LeakyReLU - conv3x3 - LeakyReLU, plus identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, 3, 1)
        self.conv2 = conv(channels, channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = _leaky_relu(self.conv2(_leaky_relu(self.conv1(x))))
        return _add(out, x)


class AttentionUnit(nn.Module):
    """Bottleneck residual unit 1x1 - 3x3 - 1x1 with a final ReLU, as in CompressAI."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            conv(channels, half, 1, 1),
            nn.ReLU(inplace=True),
            conv(half, half, 3, 1),
            nn.ReLU(inplace=True),
            conv(half, channels, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu_(_add(self.conv(x), x))


class Attention(nn.Module):
    """Simplified attention module, x + trunk(x) · σ(mask(x)) (Cheng et al. 2020, figure 5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(AttentionUnit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(
            *(AttentionUnit(channels) for _ in range(3)), conv(channels, channels, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return _add(self.conv_a(x) * torch.sigmoid(self.conv_b(x)), x)


class Residual(nn.Sequential):
    """x plus what the layers make of it."""

    def forward(self, input: Tensor) -> Tensor:
        return _add(super().forward(input), input)
