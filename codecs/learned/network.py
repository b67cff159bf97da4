"""What a trainable codec network declares, to training, to weights files and to the codec.

Training knows nothing of a network's inside: it calls `forward`, adds a distortion of `x_hat`, and
a `penalty` where there is one, to the sum of `bits`, and stores `config` beside the weights so that
`from_config` can rebuild it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from codecs.learned import bitstream
from codecs.learned.coders.factorised import FactorisedPrior
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.gains import Gains, lambda_of
from codecs.learned.layers import MaskedConv2d
from codecs.learned.objective import Objective


@dataclass(frozen=True)
class ForwardOutput:
    """One pass through a codec network."""

    x_hat: Tensor
    """Reconstruction, [B, 3, H, W], about 0 to 1 but *not clamped*."""
    bits: Mapping[str, Tensor]
    """Estimated bits per stream and image, each [B]: `{"y": ..., "z": ...}`, RDONet `y1`...`z3`."""
    penalty: Tensor | None = None
    """A further term of each sample's loss that is the network's own, [B], in the units of
    J = R + Λ·D."""
    condition: Tensor | None = None
    """What a discriminator is told beside a picture, without gradient:
    [B, `condition_channels`, h, w], of any resolution."""

    def total_bits(self) -> Tensor:
        """Sum over all streams, [B]."""
        return torch.stack(list(self.bits.values())).sum(0)


def purpose(
    objective: Mapping[str, float] | None, qualities: int, lambdas: Sequence[float]
) -> dict[str, Any]:
    """What a network's config says beside its shape: what one operating point was trained for, and
    the range of Λ of a network of many `qualities`."""
    found: dict[str, Any] = {}
    if objective is not None:
        found["objective"] = dict(objective)
    if qualities:
        found |= {"qualities": qualities, "lambdas": list(lambdas)}
    return found


class CodecNetwork(nn.Module, ABC):
    """An image codec as a trainable network, which declares what training and coding must know.

    `forward` goes by `rounding`.
    """

    architecture: ClassVar[str]
    """What weights files call it."""
    magic: ClassVar[bytes]
    """First two bytes of its streams."""
    version: ClassVar[int] = 1
    """Of its stream format."""
    stride: ClassVar[int] = 64
    """Height and width of a training crop must be multiples of this."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Constructor arguments by name."""
    transforms: ClassVar[tuple[str, ...]] = ("g_a", "g_s")
    """Submodules between picture and latents that may run in bfloat16 while training."""
    distortion: ClassVar[str] = "mse"
    """What it is trained for where nothing else is asked."""
    adam_scale: ClassVar[float] = 1.0
    """Factor of the presets' learning rates where Adam trains it."""
    effort: ClassVar[float] = 1.0
    """About how long a pixel of training takes, a network of four convolutions each way being 1."""
    rounds_in_training = False
    """Whether training, too, rounds latents, `Rounding.SETTLED`."""
    config: dict[str, Any]
    """JSON-ready constructor arguments: `type(self).from_config(self.config)` has this shape."""

    @abstractmethod
    def forward(self, x: Tensor, mask: Any = None, quality: Tensor | None = None) -> ForwardOutput:
        """Code `x`, [B, 3, H, W] in 0...1.

        `mask` is the partition of a `PartitionedNetwork`; `None` lets the network choose, and is
        the only value for all others.  `quality` [B] is for networks of many `qualities` only.
        """

    @property
    def rounding(self) -> Rounding:
        """As it stands in the place of rounding now."""
        if not self.training:
            return Rounding.EXACT
        return Rounding.SETTLED if self.rounds_in_training else Rounding.NOISE

    @property
    def qualities(self) -> int:
        """How many anchors the network has that serves a whole range of rates; others have none."""
        return int(self.config.get("qualities", 0))

    @property
    def points(self) -> Sequence[Mapping[str, Any]]:
        """The operating points that a card lists of weights that have several: by default the
        anchors.  Their values are qualities."""
        return [{"parameter": "quality", "value": anchor} for anchor in range(self.qualities)]

    def serves(self, quality: float | None) -> bool:
        """Whether it has an operating point of this quality, or between those that it lists."""
        return bitstream.serves(quality, self.qualities)

    def check_quality(self, quality: Tensor | None) -> None:
        """Raise `ValueError` unless there is one where there are many."""
        if (quality is None) != (self.qualities == 0):
            raise ValueError("a quality is for networks of many, and they need one")

    def training_quality(self, drawn: Tensor) -> Tensor:
        """Qualities to train, of numbers drawn from 0...1."""
        return drawn * (self.qualities - 1)

    def lambda_of(self, quality: Tensor) -> Tensor:
        """Λ that a network of many qualities is trained for at each `quality`."""
        return lambda_of(quality, self.qualities, self.config["lambdas"])

    def relative_lambda(self, quality: Tensor | None) -> float | Tensor:
        """Λ of each quality, [B, 1, 1, 1], relative to that in the middle."""
        if quality is None:
            return 1.0
        middle = torch.tensor((self.qualities - 1) / 2)  # whatever numbers `quality` holds
        return (self.lambda_of(quality) / self.lambda_of(middle)).view(-1, 1, 1, 1)

    def objective(self, quality: Tensor | None = None) -> Objective:
        """What an encoder minimises at one quality; raises `ValueError` where `config`, which has
        it for the middle of a range, does not say."""
        if "objective" not in self.config:
            raise ValueError(
                "its config has no `objective` to say what it was trained for, such as "
                "{'lambda_eff': 400, 'mse': 1, 'ms_ssim': 0}"
            )
        kept = Objective(**self.config["objective"])
        return replace(kept, lambda_eff=kept.lambda_eff * float(self.relative_lambda(quality)))

    @property
    def condition_channels(self) -> int:
        """Of the `condition` in what `forward` gives; 0: discriminators see pictures only."""
        return 0

    @abstractmethod
    def tables(self) -> dict[str, Any]:
        """The integer tables that a weights file carries beside the parameters."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A freshly initialised network with the constructor arguments `config`."""
        return cls(**config)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """A freshly initialised network of one of the `presets`, with changes."""
        if name not in cls.presets:
            raise ValueError(f"no preset {name!r}; there are {', '.join(cls.presets)}")
        return cls(**{**cls.presets[name], **changes})

    @classmethod
    def sized(
        cls, width: int, latents: Sequence[int] = (), backbone: str = "", **changes: Any
    ) -> Self:
        """A freshly initialised network of `width` channels N, and as many latents M where
        `latents` (of each level) does not say otherwise; `backbone` where there is a choice, and
        further arguments of the constructor.

        Raises `ValueError` if there is no such network.
        """
        if len(latents) > 1:
            raise ValueError(f"{cls.architecture} has latents at 1 level")
        return cls(N=width, M=latents[0] if latents else width, **changes)

    def facts(self) -> dict[str, str]:
        """What reports say of the network: a name and a value for each fact."""
        return {"width": ", ".join(f"{k}={v}" for k, v in self.config.items() if len(k) == 1)}

    def begin_with(self, trained: Mapping[str, Tensor]) -> None:
        """Take over trained weights, by default those of the same kind of network; where those have
        no gains, their latent is of the right size, and gains begin around 1.

        Raises `RuntimeError` or `ValueError` if they do not fit.
        """
        for module in self.modules():
            if isinstance(module, Gains):
                module.begin()
        gains = {k: v for k, v in self.state_dict().items() if "gains" in k.split(".")}
        self.load_state_dict({**gains, **trained})

    def transform_parameters(self) -> list[nn.Parameter]:
        """Those that a frozen phase keeps: by default of everything between picture and latents,
        so that only entropy models are trained."""
        return [p for name in self.transforms for p in self.get_submodule(name).parameters()]

    def set_medians(self) -> None:
        """Put the rounding grids of factorised priors on their medians: before evaluation and
        export."""
        for module in self.modules():
            if isinstance(module, FactorisedPrior):
                module.set_medians()

    @torch.no_grad()
    def clear_unused(self) -> None:
        """Set weights that nothing depends on to 0: weights files leave them out."""
        for module in self.modules():
            if isinstance(module, MaskedConv2d):
                module.weight.copy_(module.causal_weight)


class PartitionedNetwork(CodecNetwork):
    """A network that codes each block at one of several levels, as a partition says.

    Partitions are the network's own; by default the luma variance of blocks decides, against the
    thresholds `config["thresholds"]`.
    """

    effort = 2.0

    @abstractmethod
    def training_partition(
        self,
        kind: str,
        x: Tensor,
        seed: int,
        thresholds: Mapping[str, float],
        scale: float,
        jitter: float,
        quality: Tensor | None = None,
    ) -> Any:
        """A partition for a training batch x [B, 3, H, W]: a function of its arguments alone.

        `kind` is `finest`, `random`, `variance` with all thresholds (of the `quality` of each
        sample) multiplied by `scale` and by e^u, u uniform in ±`jitter`, so that the network is not
        tied to one threshold, or `mixed`: samples of both, so that no level is forgotten where
        thresholds leave it out.
        """

    @abstractmethod
    def calibrate(
        self,
        batches: Sequence[Tensor],
        lambda_eff: float,
        distortion: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[dict[str, float], float]:
        """The thresholds of least mean J = Λ·D + R on pictures [B, 3, H, W] in 0...1, and that J.

        `distortion` is D of pictures and reconstructions.  Networks for a range of rates go by the
        Λ of their qualities; J is then a mean over some of them.
        """

    @abstractmethod
    def all_transform_parameters(self) -> list[nn.Parameter]:
        """Those of all that is no entropy model, also of the deeper levels."""

    @abstractmethod
    def deepen(self, batches: Sequence[Tensor]) -> None:
        """Begin the deeper levels anew, so that they show what the finest, which is trained, shows
        of pictures [B, 3, H, W] in 0...1; what has to be drawn is, from PyTorch's generator.
        Raises `ValueError` where a network's sizes do not allow it."""

    @abstractmethod
    def worth(self, x: Tensor, size: tuple[int, int], quality: Tensor | None) -> dict[str, float]:
        """What the levels are worth on a padded picture x [1, 3, H, W] of `size` (height, width),
        for the columns of `monitor.WORTH_COLUMNS`."""


@functools.lru_cache(maxsize=64)
def kmac_per_pixel(network: CodecNetwork) -> float:
    """Thousand multiply-accumulates a pixel of `forward` on a picture of 256 x 256.

    That is analysis, entropy model and synthesis, each once and dense: what publications count.
    Convolutions and matrix products only.
    """
    from torch.utils.flop_counter import FlopCounterMode

    side = 256
    was_training = network.training
    device = next(network.parameters()).device
    # Without gradients some layers stream by rows and count the overlaps as well.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        FlopCounterMode(display=False) as counter,
    ):
        x = torch.zeros(1, 3, side, side, device=device)
        network.eval()(x, quality=torch.zeros(1, device=device) if network.qualities else None)
    network.train(was_training)
    return float(round(counter.get_total_flops() / 2 / side**2 / 1e3, 1))
