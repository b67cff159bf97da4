"""The RDONet network: backbone, three latent-space units, synthesis.

Brand, Fischer, Kopte, Windsheimer, Kaup, "RDONet: Rate-Distortion Optimized Learned Image
Compression with Variable Depth", CLIC 2022, figure 2.

    x ── analysis ──> f₀ ─ down ──> f₁ ─ down ──> f₂ ─ down ──> f₃
                                    │             │             │
                                 unit 1        unit 2        unit 3      tᵢ of fᵢ and dᵢ₊₁,
                                    t̂₁            t̂₂            t̂₃       sent where the partition
                                    │             │             │        has blocks of level i
    x̂ <── synthesis ────── d₁ <─ up ┴─── d₂ <─ up ┴─── d₃ <─ up ┴─── d₄ = 0

Each block of 64 x 64 pixels is split into squares, and the latent of each square comes from one
level: 64 x 64 pixels from t₃, 32 x 32 from t₂, 16 x 16 from t₁.  `codecs.rdonet.unit` has what is
inside a unit.  Shapes for a picture of H x W pixels, both multiples of 64, width N and latent
channels Mᵢ, in the papers all the same:

    f₁, t₁         M₁ x H/16 x W/16       d₄ (zeros), d₃   M₃ x H/64, H/32
    f₂, t₂         M₂ x H/32 x W/32       d₂               M₂ x H/16
    f₃, t₃         M₃ x H/64 x W/64       d₁               N x H/16   (`gdn` backbone: H/8)

f_i depends on neither partition nor quantisation, which is what makes searching affordable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codecs.learned.coders.factorised import FactorisedCoder
from codecs.learned.gains import LAMBDAS, Gains
from codecs.learned.network import ForwardOutput, PartitionedNetwork
from codecs.learned.objective import Objective
from codecs.rdonet import backbone
from codecs.rdonet.calibration import calibrate_range, calibrate_thresholds
from codecs.rdonet.cost import CostModel
from codecs.rdonet.deepening import deepen
from codecs.rdonet.initialisation import adopt, initialise, minnen_of
from codecs.rdonet.masks import (
    CTU,
    LEVELS,
    Masks,
    VarianceThresholds,
    ctu_grid,
    random_masks,
    variance_masks,
)
from codecs.rdonet.search import worth
from codecs.rdonet.unit import ConditionalHyperprior, LatentSpaceUnit, UnitOutput


class RDONet(PartitionedNetwork):
    """See the module; `width` is N, `latents` are M₁, M₂ and M₃ (default: N each).

    `thresholds` (of the variance partition) and `objective` do not change the network, but belong
    to a rate point and so travel with its weights.
    """

    architecture = "rdonet"
    magic = b"RD"
    stride = CTU
    transforms = ("analysis", "synthesis")
    distortion = "perceptual"
    # With Adam above 4e-4 the inverse GDN layers amplify single steps into bursts of error in the
    # first hundreds; the presets' learning rates suit Muon.
    adam_scale = 0.4
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # CLIC 2022, to the letter.
        "paper": {"width": 192, "mask_aware": False, "skip_z": False},
        # For CPUs, with the additions of `ConditionalHyperprior`.
        "compact": {"width": 96},
        "compact-64": {"width": 64},
        # The transforms of the papers of 2021 and 2022, which train in half the time.
        "compact-gdn": {"width": 64, "backbone_kind": "gdn", "up_kernel": 3},
        # CVPRW 2021 and arXiv 2201.01586: GDN backbone, single density, no spatial context.
        "original": {
            "width": 192,
            "backbone_kind": "gdn",
            "mixtures": 1,
            "context": False,
            "mask_aware": False,
            "skip_z": False,
        },
    }

    def __init__(
        self,
        width: int = 96,
        backbone_kind: str = "cheng",
        mixtures: int = 3,
        context: bool = True,
        mask_aware: bool = True,
        skip_z: bool = True,
        up_kernel: int = 5,
        latents: Sequence[int] = (),
        thresholds: Mapping[str, float] | None = None,
        objective: Mapping[str, float] | None = None,
        qualities: int = 0,
        lambdas: Sequence[float] = LAMBDAS,
    ) -> None:
        super().__init__()
        latents = list(latents) or [width] * len(LEVELS)
        good = min(width, *latents) >= 4 and mixtures >= 1 and up_kernel in (3, 5)
        if not good or len(latents) != len(LEVELS) or backbone_kind not in backbone.STRIDE:
            raise ValueError(
                f"no such network: width {width}, latents {latents} of three levels, "
                f"{mixtures} mixtures, kernels of {up_kernel}, "
                f"backbone {backbone_kind!r} (known: {', '.join(backbone.STRIDE)})"
            )
        kept = dict(thresholds or {"t64": 100.0, "t32": 400.0})
        VarianceThresholds(**kept).at(1.0)  # for what is wrong with them
        self.config = {
            "width": width,
            "backbone_kind": backbone_kind,
            "mixtures": mixtures,
            "context": context,
            "mask_aware": mask_aware,
            "skip_z": skip_z,
            "up_kernel": up_kernel,
            "latents": latents,
            "thresholds": kept,
            "objective": asdict(Objective(**(objective or {}))),
        }
        if qualities:
            low, high = lambdas
            self.config |= {"qualities": qualities, "lambdas": [low, high]}
        self.width = width
        self.backbone_kind = backbone_kind
        first = 16 // backbone.STRIDE[backbone_kind]
        self.analysis = backbone.analysis(backbone_kind, width)
        # Nothing lies below the deepest unit; its d is 0.
        chain = zip(
            (width, *latents[:-1]),
            latents,
            (*latents[1:], latents[-1]),
            (width, *latents[1:]),
            (first, 2, 2),
            strict=True,
        )
        self.units = nn.ModuleList(
            LatentSpaceUnit(
                *(finer, n, deeper, out, stride),
                ConditionalHyperprior(
                    *(n, deeper, min(n, width), mixtures, context, mask_aware, skip_z)
                ),
                up_kernel,
                Gains(n, qualities, (low, high)) if qualities else None,
            )
            for finer, n, deeper, out, stride in chain
        )
        self.synthesis = backbone.synthesis(backbone_kind, width)
        initialise(self)

    @classmethod
    def sized(
        cls, width: int, latents: Sequence[int] = (), backbone: str = "", **changes: Any
    ) -> RDONet:
        preset = "compact-gdn" if backbone == "gdn" else "compact"
        if latents and len(latents) != len(LEVELS):
            raise ValueError(f"rdonet has latents at {len(LEVELS)} levels")
        return cls.preset(preset, width=width, latents=list(latents), **changes)

    def facts(self) -> dict[str, str]:
        config = self.config
        return {
            "width": f"N={config['width']}",
            "latents": ", ".join(map(str, config["latents"])),
            "backbone": str(config["backbone_kind"]),
            "mixtures": f"K={config['mixtures']}",
        }

    def begin_with(self, trained: Mapping[str, Tensor]) -> None:
        """Weights of the same kind of network, or what it has in common with Minnen's."""
        if "g_a.6.weight" in trained:
            adopt(self, minnen_of(trained))
        else:
            super().begin_with(trained)

    def transform_parameters(self) -> list[nn.Parameter]:
        """Of the latent of level 1 and the synthesis: while these stay, deeper levels can join."""
        parts = (self.analysis, self.unit(1).down, self.unit(1).bottom, self.synthesis)
        return [p for part in parts for p in part.parameters()]

    def all_transform_parameters(self) -> list[nn.Parameter]:
        return [p for name, p in self.named_parameters() if ".prior." not in name]

    def tables(self) -> dict[str, Any]:
        scales = self.unit(1).prior.density.scale_table()
        tables: dict[str, Any] = {
            "scales.thresholds": scales.thresholds,
            "scales.inverse": scales.inverse,
        }
        for level in LEVELS:
            exported = FactorisedCoder.export(self.unit(level).prior.prior)
            tables |= {f"z{level}.{name}": array for name, array in exported.items()}
            if gains := self.unit(level).gains:
                tables[f"h{level}"] = gains.table()
        return tables

    def training_partition(
        self,
        kind: str,
        x: Tensor,
        seed: int,
        thresholds: Mapping[str, float],
        scale: float,
        jitter: float,
        quality: Tensor | None = None,
    ) -> Masks:
        generator = torch.Generator().manual_seed(seed)
        grid = ctu_grid(x.shape[2], x.shape[3])
        if kind == "finest":
            return Masks.uniform(1, len(x), *grid)
        kinds = ("random", "variance") if kind == "mixed" else (kind,)
        drawn = []
        if "random" in kinds:
            # The higher the rate, the less a deep level is of use, from 0.1 bpp on hardly any:
            # there its samples, with many times the loss of others, would own the gradient.
            finest = None if quality is None else (quality / (self.qualities - 1)).sqrt()
            drawn.append(random_masks(len(x), *grid, generator, finest))
        if "variance" in kinds:
            factor = math.exp(jitter * (2 * float(torch.rand((), generator=generator)) - 1))
            found = VarianceThresholds(**thresholds).scaled(scale * factor)
            drawn.append(variance_masks(x, found.at(self.relative_lambda(quality))).to("cpu"))
        which = torch.randint(len(drawn), (len(x),), generator=generator)
        return Masks.cat([drawn[kind][sample] for sample, kind in enumerate(which.tolist())])

    def calibrate(
        self,
        batches: Sequence[Tensor],
        lambda_eff: float,
        distortion: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[dict[str, float], float]:
        if self.qualities:
            line, cost = calibrate_range(self, batches, distortion)
            return asdict(line), cost
        found, costs = calibrate_thresholds(self, batches, lambda_eff, distortion)
        return {"t64": float(found.t64), "t32": float(found.t32)}, costs[found]

    def deepen(self, batches: Sequence[Tensor]) -> None:
        deepen(self, batches)

    @torch.no_grad()
    def worth(self, x: Tensor, size: tuple[int, int], quality: Tensor | None) -> dict[str, float]:
        thresholds = self.thresholds(quality)
        model = CostModel(self, x, self.features(x), size, self.objective(quality), quality)
        found = worth(model, variance_masks(x, thresholds, size))
        return {"t64": float(thresholds.t64), "t32": float(thresholds.t32), **found}

    def thresholds(self, quality: Tensor | None = None) -> VarianceThresholds:
        """Of the variance partition; they are kept for the middle quality."""
        return VarianceThresholds(**self.config["thresholds"]).at(self.relative_lambda(quality))

    @torch.no_grad()
    def clear_unused(self) -> None:
        super().clear_unused()
        # Nothing lies below unit 3: its layers multiply d₄ by these.
        unit = self.unit(3)
        n = unit.channels
        for layer, inputs in (
            (unit.bottom, slice(n, None)),
            (unit.up[0], slice(n)),
            (unit.prior.hyper_analysis[0], slice(n, 2 * n)),
            (unit.prior.condition, slice(-n, None)),
        ):
            assert isinstance(layer, nn.Conv2d)
            layer.weight[:, inputs] = 0

    def unit(self, level: int) -> LatentSpaceUnit:
        """The LS-Unit of level 1, 2 or 3."""
        unit = self.units[level - 1]
        assert isinstance(unit, LatentSpaceUnit)
        return unit

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(f₁, f₂, f₃) of x [B, 3, H, W]: everything of the encoder that no partition changes."""
        return self.levels(self.analysis(x))

    def levels(self, f0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(f₁, f₂, f₃) of the backbone's features f₀."""
        f1: Tensor = self.unit(1).down(f0)
        f2: Tensor = self.unit(2).down(f1)
        return f1, f2, self.unit(3).down(f2)

    def code(
        self, features: Sequence[Tensor], masks: Masks, quality: Tensor | None = None
    ) -> tuple[Tensor, dict[int, UnitOutput]]:
        """d₁ and what each unit did, deepest first, for features of the same batch as `masks`."""
        d = torch.zeros_like(features[2])
        outputs: dict[int, UnitOutput] = {}
        for level in reversed(LEVELS):
            f = features[level - 1]
            sent = masks.sent(level).to(f)
            outputs[level] = self.unit(level)(f, d, sent, quality, self.rounding)
            d = outputs[level].features
        return d, outputs

    def forward(
        self, x: Tensor, mask: Masks | None = None, quality: Tensor | None = None
    ) -> ForwardOutput:
        """See `CodecNetwork`; without a mask, that of the variance thresholds is used."""
        self.check_quality(quality)
        if mask is None:
            mask = variance_masks(x, self.thresholds(quality))
        d, outputs = self.code(self.features(x), mask.to(x.device), quality)
        bits: dict[str, Tensor] = {}
        for level, out in outputs.items():
            bits[f"z{level}"] = out.z_bits.sum((1, 2))
            bits[f"y{level}"] = out.y_bits.sum((1, 2))
        return ForwardOutput(self.synthesis(d), bits)
