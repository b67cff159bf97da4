"""The feature analysis and synthesis around RDONet's latent-space units.

`cheng` is the backbone of Cheng et al., CVPR 2020 (residual blocks and attention, stride 16), used
by Brand et al., CLIC 2022; `gdn` is the plain one of the earlier papers (strided convolutions and
GDN, stride 8, the third unit of the network supplying the missing factor of 2).
"""

from __future__ import annotations

from torch import nn

from codecs.cheng2020 import attention_analysis, attention_synthesis
from codecs.learned.layers import GDN, conv, deconv

STRIDE = {"cheng": 16, "gdn": 8}
"""Pixels per feature position of each backbone."""


def analysis(kind: str, n: int) -> nn.Sequential:
    """Picture [B, 3, H, W] to features f₀ [B, n, H/16, W/16] (`gdn`: H/8, W/8)."""
    if kind == "gdn":
        return nn.Sequential(conv(3, n), GDN(n), conv(n, n), GDN(n), conv(n, n), GDN(n))
    return attention_analysis(n, n)


def synthesis(kind: str, n: int) -> nn.Sequential:
    """Decoded features d₁ [B, n, H/16, W/16] (`gdn`: H/8, W/8) to the picture [B, 3, H, W]."""
    if kind == "gdn":
        inverse = [GDN(n, inverse=True) for _ in range(2)]
        return nn.Sequential(deconv(n, n), inverse[0], deconv(n, n), inverse[1], deconv(n, 3))
    return attention_synthesis(n, n)
