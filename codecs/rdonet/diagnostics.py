"""Facts about a stream for reports: where its bits are, and what the picture cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codecs.base import Image
from codecs.learned.exact.arithmetic import from_grid
from codecs.rdonet.cost import bit_density
from codecs.rdonet.masks import CTU
from codecs.rdonet.search import window_sums
from codecs.rdonet.stream import Coded, StreamCoder
from codecs.rdonet.unit import UnitOutput

CELL = CTU // 4
"""Side in pixels of the smallest block."""


@torch.inference_mode()
def describe(coder: StreamCoder, image: Image, data: bytes) -> dict[str, Any]:
    """JSON-ready facts about the stream `data` of `image`.

    * `maps`: the level of each 16 x 16 block, and the estimated bits of each 64 x 64 block;
    * `bytes`: sizes of the file's sections;
    * `bits`: estimated bits `y1`, `z1` ... `z3` of the latents and hyper-latents;
    * `cost`: J = Λ·D + R of the real file and picture, and its parts;
    * `squared_error`: its mean in the rows and columns at borders between 64 x 64 blocks (`border`)
      and in all others (`inside`), pixels in 0...1; not of pictures without such borders.
    """
    coded = coder.decode(data)
    quality = coder.tensor(coded.quality)
    outputs = likelihoods(coder, coded)
    rows, columns = coded.masks.shape
    density = bit_density(outputs, 4 * rows, 4 * columns)
    bits = {}
    for level, out in outputs.items():
        bits[f"y{level}"] = round(float(out.y_bits.sum()), 1)
        bits[f"z{level}"] = round(float(out.z_bits.sum()), 1)
    decoded = coder.reconstruct(coded)
    facts = {
        "bytes": dict(coded.section_bytes),
        "bits": bits,
        "cost": coder.network.objective(quality).cost(image, decoded, len(data)),
        "maps": [
            {
                "name": "levels",
                "cell": CELL,
                "rows": ["".join(map(str, row)) for row in coded.masks.levels()[0].tolist()],
                "legend": [[i, f"{CELL << i - 1} px", CELL << i - 1] for i in (1, 2, 3)],
            },
            {
                "name": "bits",
                "cell": CTU,
                "rows": [[round(b, 1) for b in row] for row in window_sums(density, 0).tolist()],
                "unit": "bits",
            },
        ],
    }
    if max(image.shape[:2]) > CTU:
        facts["squared_error"] = _border_error(image, decoded)
    return facts


def likelihoods(coder: StreamCoder, coded: Coded) -> dict[int, UnitOutput]:
    """What the floating-point entropy model says of decoded latents."""
    outputs = {}
    for level, content in coded.levels.items():
        d = from_grid(coded.features[level]).permute(2, 0, 1)[None]
        latent = torch.from_numpy(content.latents).to(d).permute(2, 0, 1)[None]
        symbols = torch.from_numpy(content.hyper_latents).to(d)[None]
        sent = torch.from_numpy(content.sent).to(d)[None, None]
        cells = torch.from_numpy(content.cells).to(d)[None, None]
        quality = coder.tensor(coded.quality)
        unit = coder.network.unit(level)
        outputs[level] = unit.assess(latent, symbols, d, sent, cells, quality)
    return outputs


def _border_error(image: Image, decoded: Image) -> dict[str, float]:
    """Block artefacts would show as a larger error where blocks meet."""
    error = np.square((image.astype(np.float64) - decoded) / 255).mean(2)
    rows, columns = (_at_borders(length) for length in error.shape)
    border = rows[:, None] | columns[None]
    return {"border": float(error[border].mean()), "inside": float(error[~border].mean())}


def _at_borders(length: int) -> NDArray[np.bool_]:
    """Which of `length` rows touch a border between CTUs; the picture's own edges are none."""
    place = np.arange(length)
    after, before = place % CTU == 0, place % CTU == CTU - 1
    return (after & (place > 0)) | (before & (place < length - 1))
