"""The state of a run that goes into checkpoints, and one training step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codecs.learned.network import CodecNetwork, PartitionedNetwork
from codecs.learned.training import checkpoint
from codecs.learned.training.data import (
    STREAM_INITIAL,
    STREAM_MASKS,
    STREAM_NOISE,
    STREAM_QUALITY,
    torch_seed,
)
from codecs.learned.training.discriminator import discriminator
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.losses import Critics, LossWeights, distortion
from codecs.learned.training.mixedprecision import autocast_transforms, computes_bfloat16
from codecs.learned.training.muon import Muon, is_kernel
from codecs.learned.training.ratecontrol import RateController
from codecs.learned.training.schedule import Segment
from codecs.learned.training.settings import Settings

EMA_DECAY = 0.999
CLIP_NORM = 1.0
_MEDIANS_EVERY = 100
_MAX_BAD_STEPS = 20


@dataclass
class TrainingProgress:
    """The part of the state that is not tensors."""

    controller: RateController
    weights: LossWeights
    """The loss that Λ belongs to: that of the phase entered last."""
    thresholds: dict[str, float] = field(default_factory=lambda: {"t64": 100.0, "t32": 400.0})
    """Variance thresholds, valid at `thresholds_lambda`; they fall as Λ rises."""
    thresholds_lambda: float = 1.0
    step: int = 0
    """Steps completed."""
    wall: float = 0.0
    """Seconds spent, over all sessions."""
    cpu: float = 0.0
    """Seconds of processor time spent by this process and its threads, over all sessions."""
    earlier_steps: int = 0
    """Steps behind the weights that the run started from; `step`, `wall` and `cpu` do not count
    them."""
    earlier_cpu: float = 0.0
    models: int = 0
    """Finished models that have been exported."""
    bad_steps: int = 0
    """Consecutive steps without a finite gradient; they change nothing."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> TrainingProgress:
        controller = RateController.from_json(state["controller"])
        weights = LossWeights(**state["weights"])
        return cls(**{**state, "controller": controller, "weights": weights})

    @property
    def threshold_scale(self) -> float:
        """T = T₀ · (Λ₀ / Λ): splitting pays if Λ·ΔD > ΔR, and ΔD grows with the variance."""
        return self.thresholds_lambda / self.controller.lambda_eff


class Learner:
    """Networks, optimisers and progress."""

    def __init__(
        self,
        kind: type[CodecNetwork],
        settings: Settings,
        device: torch.device,
        progress: TrainingProgress,
        critics: Critics,
        adversarial: bool,
    ) -> None:
        self.settings, self.device = settings, device
        self.progress = progress
        self.critics = critics.to(device)
        torch.manual_seed(torch_seed(settings.seed, 0, STREAM_INITIAL))
        try:
            network = kind.sized(
                settings.width, settings.latents, settings.backbone, **settings.range_of_rates
            )
        except ValueError as error:
            given = ",".join(map(str, settings.latents))
            raise TrainingError(f"--width {settings.width} --latents {given!r}: {error}") from error
        self.network = network.to(device)
        if settings.crop % self.network.stride:
            raise TrainingError(f"--crop must be a multiple of {self.network.stride}")
        self.ema: CodecNetwork = kind.from_config(self.network.config).to(device)
        self.ema.load_state_dict(self.network.state_dict())
        self.ema.requires_grad_(False).eval()
        self.bf16 = settings.bf16 and computes_bfloat16(device)
        if self.bf16:
            autocast_transforms(self.network, device)
        self.transforms = self.network.transform_parameters()
        self.all_transforms = self.transforms
        if isinstance(self.network, PartitionedNetwork):
            self.all_transforms = self.network.all_transform_parameters()
        self.discriminator = (
            discriminator(self.network.condition_channels).to(device) if adversarial else None
        )
        self.optimisers = self._new_optimisers()
        self.gan_adam = self._new_gan_adam()

    def _new_optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        parameters = list(self.network.parameters())
        others, kernels = parameters, []
        if self.settings.optimiser == "muon":
            kernels = [p for p in parameters if is_kernel(p)]
            others = [p for p in parameters if not is_kernel(p)]
        adam = torch.optim.Adam(others, betas=(0.9, 0.999), fused=True)
        return (adam, Muon(kernels)) if kernels else (adam,)

    def _new_gan_adam(self) -> torch.optim.Adam | None:
        if self.discriminator is None:
            return None
        return torch.optim.Adam(self.discriminator.parameters(), betas=(0.5, 0.999), fused=True)

    def reset_optimisers(self) -> None:
        """Forget the optimisers' moments, because the loss has changed."""
        self.optimisers, self.gan_adam = self._new_optimisers(), self._new_gan_adam()

    def go_on_from_average(self) -> None:
        """Give the network its averaged parameters: what is not trained must not be noisy, and the
        rest fits it."""
        self.network.load_state_dict(self.ema.state_dict())

    def step(self, segment: Segment, x: Tensor) -> dict[str, float]:
        """One update on x [B, 3, H, W] in 0...1; what the log shows of it."""
        progress, phase, seed = self.progress, segment.phase, self.settings.seed
        number, controller = progress.step, progress.controller
        lr, lambda_eff = segment.lr(number), controller.lambda_eff
        for parameter in self.all_transforms:
            parameter.requires_grad_(not phase.deepen)
        for parameter in self.transforms:
            # Without gradients they cost no backward pass, and optimisers leave them alone.
            parameter.requires_grad_(not (phase.frozen or phase.deepen))
        self.network.rounds_in_training = phase.rounded
        if phase.rounded and (number == segment.start or number % _MEDIANS_EVERY == 0):
            self.network.set_medians()  # some latents are rounded to these
        quality = self._qualities(len(x))
        mask = None
        if isinstance(self.network, PartitionedNetwork):
            mask_seed = torch_seed(seed, number, STREAM_MASKS)
            thresholds, scale = progress.thresholds, progress.threshold_scale
            mask = self.network.training_partition(
                phase.mask, x, mask_seed, thresholds, scale, phase.jitter, quality
            )
        torch.manual_seed(torch_seed(seed, number, STREAM_NOISE))
        output = self.network.train()(x, mask, quality)
        bpp = output.total_bits() / (x.shape[2] * x.shape[3])
        # Of a picture that no weight in training can change, critics would tell a constant.
        weights = phase.weights if output.x_hat.requires_grad else LossWeights()
        cost, terms = distortion(x, output.x_hat, weights, self.critics, phase.views)
        if phase.gan:
            adversarial, terms["gan_d"] = self._adversarial(
                x, output.x_hat.clamp(0, 1), output.condition, phase.gan_lr * lr / phase.lr
            )
            terms["gan_g"] = adversarial
            cost = cost + segment.gan_weight(number) * adversarial
        rate_weight = segment.rate_weight(number)
        if not controller.above_target:
            rate_weight *= phase.below_target
        relative: Tensor | float = 1.0
        if quality is None:
            loss = lambda_eff * cost.mean() + rate_weight * bpp.mean()
        else:
            # Divided by the square root of Λ: high rates must not own the gradient.
            lambdas = self.network.lambda_of(quality)
            relative = torch.sqrt(lambdas / self.network.lambda_of(self.middle))
            loss = ((lambdas * cost + rate_weight * bpp) / relative).mean()
        if output.penalty is not None:
            terms["penalty"] = output.penalty.mean()
            loss = loss + (output.penalty / relative).mean()
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), CLIP_NORM)
        self._update(lr, float(norm))
        rate = bpp.mean().item()
        # Rates go about with √Λ: each quality has its own target, by that in the middle.
        controller.observe((bpp / relative).mean().item())
        if phase.control and quality is None:  # otherwise Λ is the sample's
            controller.adjust()
        progress.step += 1
        shown = {name: value.item() for name, value in terms.items()}
        return {
            "lr": lr,
            "lambda_eff": lambda_eff,
            "loss": loss.item(),
            "bpp": rate,
            "gradient_norm": float(norm),
            "psnr": -10 * math.log10(max(shown["mse"], 1e-10)),
            **shown,
        }

    @property
    def middle(self) -> Tensor:
        """The quality in the middle of those that the network serves, [1]."""
        return torch.tensor([(self.network.qualities - 1) / 2], device=self.device)

    def _qualities(self, count: int) -> Tensor | None:
        """A quality for each sample of a step; `None` for networks of one operating point."""
        if not self.network.qualities:
            return None
        seed = torch_seed(self.settings.seed, self.progress.step, STREAM_QUALITY)
        drawn = torch.rand(count, generator=torch.Generator().manual_seed(seed))
        return self.network.training_quality(drawn).to(self.device)

    def _adversarial(
        self, x: Tensor, decoded: Tensor, condition: Tensor | None, lr: float
    ) -> tuple[Tensor, Tensor]:
        """One step of the discriminator, then (generator's loss, discriminator's loss)."""
        tell = self.discriminator
        assert tell is not None
        assert self.gan_adam is not None
        tell.requires_grad_(True)
        loss = tell.loss(tell(x, condition), tell(decoded.detach(), condition))
        self.gan_adam.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.gan_adam.param_groups:
            group["lr"] = lr
        self.gan_adam.step()
        tell.requires_grad_(False)
        return tell.generator_loss(tell(decoded, condition)), loss.detach()

    @torch.no_grad()
    def _update(self, lr: float, norm: float) -> None:
        """Optimisers and moving average, unless the gradient is not finite."""
        progress = self.progress
        if not math.isfinite(norm):
            progress.bad_steps += 1
            if progress.bad_steps >= _MAX_BAD_STEPS:
                raise TrainingError(
                    f"no finite gradient in {_MAX_BAD_STEPS} steps up to step {progress.step}: "
                    "training has diverged; use lower learning rates (a .toml schedule)"
                )
            return
        progress.bad_steps = 0
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = lr
            optimiser.step()
        # A young average forgets its start sooner.
        decay = min(EMA_DECAY, (1 + progress.step) / (10 + progress.step))
        averages: list[Tensor] = list(self.ema.parameters())
        currents: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averages, currents, 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        tensors = checkpoint.prefixed("network", self.network.state_dict())
        tensors |= checkpoint.prefixed("ema", self.ema.state_dict())
        for optimiser in self.optimisers:
            moments = checkpoint.moments(optimiser, self.network)
            tensors |= checkpoint.prefixed("optimiser", moments)
        if self.discriminator is not None and self.gan_adam is not None:
            tensors |= checkpoint.prefixed("gan", self.discriminator.state_dict())
            moments = checkpoint.moments(self.gan_adam, self.discriminator)
            tensors |= checkpoint.prefixed("gan_adam", moments)
        checkpoint.save(path, tensors, self.progress.to_json())

    def load(self, path: Path) -> TrainingProgress:
        """Networks and optimisers from a checkpoint; returns its progress, which is not taken."""
        tensors, state = checkpoint.load(path)
        try:
            self.network.load_state_dict(checkpoint.part(tensors, "network"))
            self.ema.load_state_dict(checkpoint.part(tensors, "ema"))
            self.reset_optimisers()
            moments = checkpoint.part(tensors, "optimiser")
            for optimiser in self.optimisers:
                checkpoint.restore_moments(optimiser, self.network, moments)
            if self.discriminator is not None and self.gan_adam is not None:
                self.discriminator.load_state_dict(checkpoint.part(tensors, "gan"))
                moments = checkpoint.part(tensors, "gan_adam")
                checkpoint.restore_moments(self.gan_adam, self.discriminator, moments)
            return TrainingProgress.from_json(state)
        except (RuntimeError, KeyError, TypeError) as error:
            raise TrainingError(f"{path} does not fit this network ({error})") from error
