"""RDONet's latents refined for the picture at hand (see `codecs.learned.refine`): those of all
levels together, under one partition.

What a level sends changes the features that finer levels and their entropy models see; all of that
has gradients in the floating-point network.  Files are written by the exact one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from codecs.base import Image
from codecs.learned import refine
from codecs.learned.coders.rangecoding import Int32s
from codecs.learned.pixels import to_tensor
from codecs.rdonet.cost import synthesise
from codecs.rdonet.exact import Bools, Level
from codecs.rdonet.stream import DEEPEST_FIRST, Coded, StreamCoder


def refined_files(
    coder: StreamCoder, image: Image, features: Sequence[Tensor], data: bytes
) -> Iterator[bytes]:
    """Files like `data`, which is one of the picture, with refined latents: with the same
    hyper-latents, and with those that belong to the refined ones.  None for very large pictures.

    `features` are f₁, f₂, f₃.
    """
    if not (steps := refine.steps_for(image.shape[0] * image.shape[1])):
        return
    coded = coder.decode(data)
    with torch.inference_mode(False), torch.no_grad():
        refined = _refined(coder, image, [f.clone() for f in features], coded, steps)
    kept = {level: coded.levels[level].hyper_latents for level in DEEPEST_FIRST}
    yield _written(coder, coded, refined, kept)
    yield _written(coder, coded, refined, {})


def _refined(
    coder: StreamCoder, image: Image, features: Sequence[Tensor], coded: Coded, steps: int
) -> dict[int, Tensor]:
    """Integers t̂ of each level near the network's t of which this picture has a low J."""
    network, quality = coder.network, coder.tensor(coded.quality)
    objective = network.objective(quality)
    x = to_tensor(image, coder.device)
    starts, sent, cells, symbols = [], {}, {}, {}
    for level in DEEPEST_FIRST:
        content, f = coded.levels[level], features[level - 1]
        d = coded.features[level]
        starts.append(coder.latent(level, f, d, content.sent, coded.quality))
        sent[level] = torch.from_numpy(content.sent).to(f)[None, None]
        cells[level] = torch.from_numpy(content.cells).to(f)[None, None]
        symbols[level] = torch.from_numpy(content.hyper_latents).to(f)[None]

    def cost(latents: Sequence[Tensor]) -> Tensor:
        d = torch.zeros_like(features[2])
        bits = torch.zeros((), device=coder.device)
        for level, latent in zip(DEEPEST_FIRST, latents, strict=True):
            t = latent * sent[level]
            unit = network.unit(level)
            out = unit.assess(t, symbols[level], d, sent[level], cells[level], quality)
            bits = bits + out.y_bits.sum() + out.z_bits.sum()
            d = out.features
        with refine.quick(coder.device):
            decoded = synthesise(network, d).float()
        return objective.loss(x, decoded[:, :, : image.shape[0], : image.shape[1]], bits)

    found = refine.refine(starts, cost, steps)
    return {level: t * sent[level] for level, t in zip(DEEPEST_FIRST, found, strict=True)}


def _written(
    coder: StreamCoder, coded: Coded, latents: Mapping[int, Tensor], kept: Mapping[int, Int32s]
) -> bytes:
    def propose(level: int, d: Tensor, sent: Bools) -> Level:
        return coder.level(level, latents[level], d, sent, kept.get(level))

    return coder.write(propose, coded.masks, coded.size, coded.quality)
