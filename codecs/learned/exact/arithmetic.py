"""Bit-exact network evaluation: integers carried in float64.

A decoder must reproduce the probability of every symbol to the last bit, or it loses the stream.
Floating-point sums depend on their order, hence on thread count, batch shape, library and device.
Here weights and activations are integers stored in float64, and every product and partial sum
stays below 2^53 in magnitude, where float64 holds integers exactly: all orders of summation give
the same result.  So do 8-bit products, where they are faster (see `limbs`).  (Ballé, Johnston,
Minnen, "Integer networks for data compression with latent-variable models", ICLR 2019,
has the idea of integers.)

Fixed point, throughout:

* activations: integer a stands for a·2^-12, clamped to |a| <= 2^24 (value 4096);
* weights: integer w stands for w·2^-16;
* accumulators (sums of products, biases): integer s stands for s·2^-28;
* `requantise` goes from accumulators back to activations.

The bound is proved when a layer is built: max over outputs of Σ|w|·2^24 + |bias| < 2^53, so no
input can violate it; weights that do are refused with `InexactError`.  What follows the sums is
elementwise and uses only operations that IEEE 754 rounds correctly (+, ×, ÷, √, floor).

Tensors are float64 with channels last: [H, W, C] for pictures, [n, C] for lists of positions.
Only odd, zero-padded convolutions of stride 1 and their up-sampling relatives occur, because only
decoders need exactness.  Matrix products are the only kernels: no FFT or Winograd form can enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from codecs.base import CodecError
from codecs.learned.exact.limbs import IntegerMatrix, limb_count, split
from codecs.learned.layers import upsampling_phases

ACTIVATION_BITS = 12
WEIGHT_BITS = 16
ACCUMULATOR_BITS = ACTIVATION_BITS + WEIGHT_BITS
ACTIVATION_LIMIT = 1 << 24
LATENT_LIMIT = ACTIVATION_LIMIT >> ACTIVATION_BITS
"""Largest magnitude of a decoded latent: 4096.  Encoders clamp, decoders refuse beyond it."""
EXACT_LIMIT = 1 << 53
_BLOCK, _BLOCK_NUMBERS = 512, 1 << 16
"""Positions convolved at once: so many, or more where they have few channels."""
LEAKY_SLOPE = 655
"""Slope of the leaky ReLU in units of 2^-16: 0.00999, PyTorch's default being 0.01."""


class InexactError(CodecError):
    """These weights could produce sums beyond 2^53, so exact decoding cannot be promised."""


def to_grid(x: Tensor) -> Tensor:
    """Real values to activation integers (round half to even, clamp); float64, same shape."""
    scaled = torch.round(x.detach().to(torch.float64) * 2.0**ACTIVATION_BITS)
    return scaled.clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def from_grid(a: Tensor) -> Tensor:
    """Activation integers to real values, float32 (exact: they have at most 25 bits)."""
    return (a * 2.0**-ACTIVATION_BITS).to(torch.float32)


def latent_to_grid(latent: Tensor) -> Tensor:
    """Latents (any dtype, integers, |v| <= LATENT_LIMIT) to activation integers in float64."""
    return latent.to(torch.float64) * 2.0**ACTIVATION_BITS


def requantise(acc: Tensor) -> Tensor:
    """Accumulators to activations, rounding half up.  Overwrites `acc`."""
    return (
        acc.mul_(2.0**-WEIGHT_BITS).add_(0.5).floor_().clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
    )


def leaky_relu(a: Tensor) -> Tensor:
    """Of activations: max(a, slope·a), both of which are exact and on the grid."""
    return torch.maximum(a, (a * LEAKY_SLOPE).mul_(2.0**-WEIGHT_BITS).add_(0.5).floor_())


def relu(a: Tensor) -> Tensor:
    """Of activations."""
    return a.clamp(min=0)


def _integers(x: Tensor, bits: int) -> Tensor:
    return torch.round(x.detach().to("cpu", torch.float64) * 2.0**bits)


def _check_bound(weight: Tensor, bias: Tensor, largest: int, what: str) -> None:
    """`weight` [O, ...] and `bias` [O], integers in float64; Σ|w| is exact if the check passes."""
    worst = (weight.abs().flatten(1).sum(1) * largest + bias.abs()).max().item()
    # The comparison is made with room to spare, because an inexact sum is off by far less.
    if not worst < EXACT_LIMIT / 2:
        raise InexactError(
            f"{what}: sums may reach {worst:.3g}, beyond 2^52; the weights are too large for "
            "exact arithmetic (train with weight decay, or rescale neighbouring layers)"
        )


class ExactLinear:
    """Fully connected (1x1 convolution) layer on rows [n, C] -> [n, O].

    `weight` [O, C] and `bias` [O] are real-valued and rounded here.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, what: str = "linear layer") -> None:
        w = _integers(weight, WEIGHT_BITS)
        b = _integers(weight.new_zeros(len(w)) if bias is None else bias, ACCUMULATOR_BITS)
        _check_bound(w, b, ACTIVATION_LIMIT, what)
        self.matrix = IntegerMatrix(w.contiguous())
        self.bias = b

    @classmethod
    def from_conv(cls, conv: nn.Module, what: str = "1x1 convolution") -> ExactLinear:
        if not isinstance(conv, nn.Conv2d):
            raise ValueError(f"{what}: not a 1x1 convolution: {type(conv).__name__}")
        if conv.kernel_size != (1, 1) or conv.stride != (1, 1):
            raise ValueError(f"{what}: not a 1x1 convolution of stride 1: {conv}")
        return cls(conv.weight[:, :, 0, 0], conv.bias, what)

    def to(self, device: torch.device | str) -> ExactLinear:
        self.matrix, self.bias = self.matrix.to(device), self.bias.to(device)
        return self

    def split(self, *sizes: int) -> list[ExactLinear]:
        """The layer's parts for an input that is a concatenation of `sizes` channels.

        The accumulators of the parts add up to the layer's; the bias stays with the first part.
        """
        parts = []
        for index, weight in enumerate(self.matrix.weight.split(list(sizes), 1)):
            part = object.__new__(ExactLinear)
            part.matrix = IntegerMatrix(weight.contiguous())
            part.bias = self.bias if index == 0 else torch.zeros_like(self.bias)
            parts.append(part)
        return parts

    def accumulate(self, x: Tensor) -> Tensor:
        """Accumulators [n, O] of activations [n, C]."""
        return self.matrix.times(x).add_(self.bias)

    def __call__(self, x: Tensor) -> Tensor:
        return requantise(self.accumulate(x))


class ExactConv:
    """Zero-padded convolution of stride 1, k x k with k odd: [H, W, C] -> [H, W, O].

    Evaluated as matrix products on views of the flattened picture, shifted by the kernel's taps.
    """

    scale: ClassVar[int] = 1
    """How much larger the output's height and width are than the input's."""

    def __init__(self, weight: Tensor, bias: Tensor | None, what: str = "convolution") -> None:
        out, _, k, k2 = weight.shape
        if k != k2 or k % 2 == 0:
            raise ValueError(f"{what}: the kernel must be square and odd, not {k}x{k2}")
        w = _integers(weight, WEIGHT_BITS)
        b = _integers(weight.new_zeros(out) if bias is None else bias, ACCUMULATOR_BITS)
        _check_bound(w, b, ACTIVATION_LIMIT, what)
        self.kernel = k
        self.reach = k // 2
        self.channels = out
        self.bias = b
        places = [(y, x) for y in range(k) for x in range(k)]
        self.taps = [(y, x) for y, x in places if bool(w[:, :, y, x].any())] or places[:1]
        """Where the kernel is not all zero."""
        self.matrix = IntegerMatrix(torch.cat([w[:, :, y, x] for y, x in self.taps], 1))
        self.runs = _runs(self.taps)
        """First taps and lengths of neighbours in a row of the kernel."""

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, what: str = "convolution") -> ExactConv:
        k = conv.kernel_size[0]
        plain = conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
        if not plain or conv.padding != (k // 2, k // 2) or conv.padding_mode != "zeros":
            raise ValueError(f"{what}: only plain stride-1 convolutions can be exact: {conv}")
        return cls(conv.weight, conv.bias, what)

    def to(self, device: torch.device | str) -> ExactConv:
        self.matrix, self.bias = self.matrix.to(device), self.bias.to(device)
        return self

    def accumulate(self, x: Tensor) -> Tensor:
        """Accumulators [H, W, O] of activations [H, W, C]."""
        return _Padded(x, self.kernel // 2).convolve(self)

    def __call__(self, x: Tensor) -> Tensor:
        return requantise(self.accumulate(x))


def _runs(taps: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places in `taps` where neighbours in a row of the kernel begin, and how many these are."""
    starts = [i for i, (y, x) in enumerate(taps) if not i or taps[i - 1] != (y, x - 1)]
    return [(i, stop - i) for i, stop in zip(starts, [*starts[1:], len(taps)], strict=True)]


class _Padded:
    """A picture [H, W, C] with `border` rows and columns of zeros around it, to be convolved."""

    def __init__(self, x: Tensor, border: int) -> None:
        self.picture = nn.functional.pad(x, (0, 0, border, border, border, border))
        self.flat = self.picture.view(-1, x.shape[2])
        self._limbs: Tensor | None = None

    def convolve(self, conv: ExactConv) -> Tensor:
        """Accumulators [H, W, O] of a convolution that needs this border."""
        rows, width, _ = self.picture.shape
        height, k = rows - conv.kernel + 1, conv.kernel
        # Output (y, x) is computed at flat index y·width + x, x running over the padded width:
        # every tap is then one contiguous block.  The surplus columns are dropped at the end.
        shifts = [y * width + x for y, x in conv.taps]
        acc = self.picture.new_empty(height * width, len(conv.bias))
        block = max(_BLOCK, _BLOCK_NUMBERS // self.picture.shape[2])
        for start in range(0, height * width - (k - 1), block):
            stop = min(start + block, height * width - (k - 1))
            acc[start:stop] = self._sums(conv, shifts, start, stop)
        return acc.view(height, width, -1)[:, : width - k + 1].contiguous()

    def _sums(self, conv: ExactConv, shifts: list[int], start: int, stop: int) -> Tensor:
        if conv.matrix.most_limbs:
            if self._limbs is None:
                self._limbs = split(self.flat, limb_count(self.flat))
            if len(self._limbs) <= conv.matrix.most_limbs:
                windows = [self._limbs[:, start + s : stop + s] for s in shifts]
                return conv.matrix.times_limbs(torch.cat(windows, 2)).add_(conv.bias)
        channels = self.flat.shape[1]
        acc: Tensor | None = None
        for first, length in conv.runs:
            # Neighbours lie one behind the other: one product of long rows for all of them.
            columns = channels * length
            at = (start + shifts[first]) * channels
            rows = self.flat.as_strided((stop - start, columns), (channels, 1), at)
            weight = conv.matrix.weight.narrow(1, first * channels, columns)
            acc = torch.addmm(conv.bias if acc is None else acc, rows, weight.t())
        assert acc is not None
        return acc


def depth_to_space(x: Tensor, r: int) -> Tensor:
    """[H, W, C·r²] -> [H·r, W·r, C] in the channel order of `nn.PixelShuffle`."""
    h, w, c = x.shape
    x = x.view(h, w, c // (r * r), r, r).permute(0, 3, 1, 4, 2)
    return x.reshape(h * r, w * r, c // (r * r))


class ExactSubpixelConv:
    """Sub-pixel convolution (convolution to O·r² channels, then pixel shuffle)."""

    def __init__(self, conv: nn.Conv2d, r: int, what: str = "sub-pixel convolution") -> None:
        self.conv = ExactConv.from_conv(conv, what)
        self.scale = r
        self.reach = self.conv.reach
        self.channels = self.conv.channels // r**2

    def to(self, device: torch.device | str) -> ExactSubpixelConv:
        self.conv.to(device)
        return self

    def __call__(self, x: Tensor) -> Tensor:
        """[H, W, C] -> [H·r, W·r, O]."""
        return depth_to_space(self.conv(x), self.scale)


class ExactUpConv:
    """Transposed convolution 5x5, stride 2, padding 2, output padding 1: [H, W, C] -> [2H, 2W, O].

    Each of the four output phases is an ordinary convolution with 9, 6, 6 or 4 taps.
    """

    scale: ClassVar[int] = 2
    reach: ClassVar[int] = 1

    def __init__(self, conv: nn.ConvTranspose2d, what: str = "transposed convolution") -> None:
        expected = ((5, 5), (2, 2), (2, 2), (1, 1))
        if (conv.kernel_size, conv.stride, conv.padding, conv.output_padding) != expected:
            raise ValueError(f"{what}: not a 5x5 transposed convolution of stride 2: {conv}")
        phases = upsampling_phases(conv.weight.detach())
        self.phases = [
            ExactConv(phases[:, py, px], conv.bias, what) for py in (0, 1) for px in (0, 1)
        ]
        self.channels = conv.out_channels

    def to(self, device: torch.device | str) -> ExactUpConv:
        for phase in self.phases:
            phase.to(device)
        return self

    def __call__(self, x: Tensor) -> Tensor:
        h, w, _ = x.shape
        padded = _Padded(x, 1)
        out: Tensor | None = None
        for index, phase in enumerate(self.phases):
            part = requantise(padded.convolve(phase))
            if out is None:
                out = part.new_empty(h, 2, w, 2, part.shape[-1])
            out[:, index // 2, :, index % 2] = part
        assert out is not None
        return out.view(2 * h, 2 * w, -1)


class ExactIGDN:
    """Inverse generalised divisive normalisation, y_i = x_i · √(β_i + Σ_j γ_ij x_j²).

    x² is rounded to 2^-12 and clamped to 2^18 (|x| <= 512), γ to 2^-16; the sum is exact, and
    √ and × are elementwise and correctly rounded, so the result is the same everywhere.

    `beta` [C] and `gamma` [C, C] are the effective (non-negative) values.
    """

    SQUARE_LIMIT = 1 << 30

    def __init__(self, beta: Tensor, gamma: Tensor, what: str = "IGDN") -> None:
        g = _integers(gamma, WEIGHT_BITS)
        b = _integers(beta, ACCUMULATOR_BITS)
        if bool((g < 0).any()) or bool((b < 0).any()):
            raise ValueError(f"{what}: beta and gamma must not be negative")
        _check_bound(g, b, self.SQUARE_LIMIT, what)
        self.gamma = g.t().contiguous()
        self.beta = b

    def to(self, device: torch.device | str) -> ExactIGDN:
        self.gamma, self.beta = self.gamma.to(device), self.beta.to(device)
        return self

    def __call__(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C], activations to activations."""
        flat = x.reshape(-1, x.shape[-1])
        # |x| <= 2^24, so x² <= 2^48 is exact before it is rounded.
        squares = (flat * flat).mul_(2.0**-ACTIVATION_BITS).add_(0.5).floor_()
        norm = torch.addmm(self.beta, squares.clamp_(max=self.SQUARE_LIMIT), self.gamma)
        # Separate kernels: a fused multiply-add would round differently.
        y = norm.sqrt_().mul_(flat)
        y = y.mul_(2.0 ** (-ACCUMULATOR_BITS // 2)).add_(0.5).floor_()
        return y.clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT).view(x.shape)
