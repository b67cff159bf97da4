"""A codec without side information: every latent channel has one density, the same everywhere.

Ballé, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017, in the four-stage
transforms in which Ballé et al. 2018 compare it with their hyperprior (figure 4, left), and with
the density model of that paper's appendix 6.1.

    x ── g_a: 4 x (conv 5x5/2, GDN between) ──> y ── round ──> ŷ ── g_s: mirrored, IGDN ──> x̂
                                                               │
                                                        p(ŷ) = Π p_c(ŷ)

Shapes for a picture of H x W pixels: y, ŷ  M x H/16 x W/16.  CompressAI calls it
`bmshj2018_factorized` (N = 128, M = 192 at lower rates).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.factorised import Factorised, FactorisedPrior
from codecs.learned.initialisation import initialise
from codecs.learned.klt import begin_gdn_transforms
from codecs.learned.rows import gdn_analysis, gdn_synthesis
from codecs.learned.transform import TransformModel, TransformNetwork


class FactorisedNetwork(TransformNetwork):
    """N channels in the transforms' hidden layers, M in y."""

    architecture = "factorised"
    magic = b"FP"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"N": 128, "M": 192},
        "compact": {"N": 64, "M": 96},
    }

    def __init__(self, N: int = 64, M: int = 96, **config: Any) -> None:
        super().__init__(N, M, **config)
        self.g_a = gdn_analysis(N, M)
        self.g_s = gdn_synthesis(N, M)
        self.prior = FactorisedPrior(M)
        initialise(self, writers=[self.g_a[-1]], readers=[self.g_s[0]], picture=self.g_s[-1])
        begin_gdn_transforms(self, [])

    def latent_model(self) -> Factorised:
        return Factorised(self.prior)


def create(variant: str | None = None) -> LearnedCodec:
    """The codec `factorised`, or `factorised:bfloat16` with transforms in that precision."""
    return LearnedCodec(
        "factorised", "Factorised prior 2017", FactorisedNetwork, TransformModel, variant
    )
