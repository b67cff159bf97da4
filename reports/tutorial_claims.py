"""The claims of the tutorial "Learned Image and Video Compression with Deep Neural Networks"
(Xu, Lu, Yang, Timofte; part 1), as far as its codecs are measured.

HEVC intra in 4:4:4 stands in for BPG, which is this coder in a container of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from bench.verdict.results import CodecResult
from reports import tutorial_toy as toy
from reports.claims_rules import FAILS, HOLDS, OPEN, Claim, Compared, Outcome, bd_rate_within
from reports.diagnostics import scalars

TUTORIAL = "Yang and Timofte, tutorial, 2021"
BPG = "hevc"
LITTLE = 1.0
"""Percent by which files may exceed what their entropy models say."""
SPAN = 3.0
"""Times the lowest rate that the highest must be, of a codec for many rates."""
FEWEST_POINTS = 4
_WEIGHTS = re.compile(r"\bweights ([0-9a-f]{8}(?: [0-9a-f]{8})*)")
FIGURES = "python -m reports.tutorial"
LEAST_SAVED = 15.0
"""Percent: the least that is saved in the slides' example, with cars alone synthesised, against
nothing synthesised; the most are 89, for all of the picture."""


def _codec(compared: Compared, name: str) -> CodecResult:
    return next(iter(compared.values())).results.codec(name)


def _overhead(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """Bytes of all files over the information in their symbols by the entropy model."""
    files = entropy = 0.0
    for m in _codec(compared, codecs[0]).measurements.values():
        told = scalars(m).get("entropy_bytes", 0.0)
        if m.status == "ok" and told > 0 and m.bytes:
            files, entropy = files + m.bytes, entropy + told
    if not entropy:
        return None
    percent = 100 * (files / entropy - 1)
    return Outcome(f"{percent:+.2f} % over -log2 P, headers included", _at_most(percent, LITTLE))


def _at_most(value: float, limit: float) -> str:
    return HOLDS if value <= limit else FAILS


def _coffee(compared: Compared, codecs: tuple[str, ...]) -> Outcome:
    bits = [model.bits for model in toy.MODELS]
    held = bits == [6.0, 3.0, 1.0]
    return Outcome(" -> ".join(f"{b:g}" for b in bits) + " bits", HOLDS if held else FAILS)


def _many_rates(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """One weights file, whose points rise in rate over a range worth the name."""
    codec = _codec(compared, codecs[0])
    found = _WEIGHTS.search(codec.version)
    rates = codec.bpp.mean(axis=1)
    rates = rates[np.isfinite(rates)]
    if not found or not len(rates):
        return None
    files = len(found[1].split())
    figure = f"{files} weights file{'s' * (files > 1)}, {len(rates)} points, "
    figure += f"{rates.min():.3f} to {rates.max():.3f} bpp"
    if files > 1:
        return Outcome(figure, FAILS)
    wide = len(rates) >= FEWEST_POINTS and rates.max() >= SPAN * rates.min()
    return Outcome(figure, HOLDS if wide and bool((np.diff(rates) > 0).all()) else OPEN)


def _lossless_too(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """The lossy codec's weights, and a variant of which each picture comes back bit for bit."""
    lossless, lossy = (_codec(compared, name) for name in codecs)
    weights = [_WEIGHTS.search(codec.version) for codec in (lossless, lossy)]
    if any(found is None for found in weights) or not len(lossless.points):
        return None
    same = len({found[1] for found in weights if found}) == 1
    count = len(lossless.images)
    exact = lossless.is_lossless
    figure = f"{'all' if exact else 'not all'} of {count} pictures come back bit for bit, "
    figure += "by the same weights" if same else "by other weights"
    return Outcome(figure, HOLDS if exact and same else FAILS)


def _selective(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """What synthesising half of the blocks saves, at the point of most bits."""
    selective, whole = (_codec(compared, name) for name in codecs)
    if selective.points != whole.points:
        return None
    saved = 100 * (1 - selective.bpp.mean(axis=1) / whole.bpp.mean(axis=1))
    if not np.isfinite(saved[-1]):
        return None
    figure = f"{saved[-1]:.0f} % saved at {whole.points[-1]}, half of the blocks synthesised"
    return Outcome(figure, HOLDS if saved[-1] >= LEAST_SAVED else FAILS)


def _fewer(text: str, test: str, anchor: str, metrics: Mapping[str, str]) -> Iterator[Claim]:
    """Fewer bits than the anchor at equal quality, by each of `metrics`, with its words."""
    for metric, words in metrics.items():
        judge = bd_rate_within(metric, high=0)
        yield Claim(f"{text} ({words})", TUTORIAL, (test, anchor), judge)


_PSNR = {"psnr": "PSNR"}
_ALL = {"psnr": "PSNR", "ms-ssim": "MS-SSIM", "lpips-alex": "LPIPS, AlexNet", "lpips-vgg": "VGG16"}
_Judge = Callable[[Compared, tuple[str, ...]], Outcome | None]


def _each(texts: Mapping[str, str], judge: _Judge) -> Iterator[Claim]:
    for name, text in texts.items():
        yield Claim(text, TUTORIAL, (name,), judge)


TUTORIAL_CLAIMS = (
    *_fewer("C1: Coarse-to-fine hyper-latents outperform BPG 4:4:4", "hu2020", BPG, _PSNR),
    *_fewer("C1: Context models outperform BPG 4:4:4", "minnen-mse", BPG, _PSNR),
    *_each(
        {
            name: f"C2: Files of {name} are about as long as the cross entropy says (at most "
            f"{LITTLE:g} % longer)"
            for name in ("factorised", "hyperprior", "mean-scale", "minnen-mse")
        },
        _overhead,
    ),
    *_fewer(
        "C3: A hyperprior takes spatial dependency out: fewer bits than without",
        *("hyperprior", "factorised", _PSNR),
    ),
    *_fewer("C3: ... means beside scales take out more", "mean-scale", "hyperprior", _PSNR),
    *_fewer("C3: ... and a context model more again", "minnen-mse", "mean-scale", _PSNR),
    Claim(
        "C4: Three drinks take 6 bits by a factorised model, 3 by a hyperprior, 1 by context too",
        TUTORIAL,
        (),
        _coffee,
        by_hand=FIGURES,
    ),
    *_each(
        {
            "toderici2017": "C5: One recurrent model has many rates",
            "choi2019": "C5: One conditional autoencoder has many rates",
            "iwave": "C5: One wavelet-like model has many rates",
            "learned-jpeg": "C5: One model of learned tables has many rates",
        },
        _many_rates,
    ),
    Claim(
        "C5: The wavelet-like model is lossless too",
        TUTORIAL,
        ("iwave:lossless", "iwave"),
        _lossless_too,
    ),
    Claim(
        f"C6: Synthesising a part of the picture saves at least {LEAST_SAVED:g} % of the rate (15 "
        "to 89 % by what it is, on the slides)",
        TUTORIAL,
        ("gc2019:selective", "gc2019"),
        _selective,
    ),
    *_fewer(
        "C7: Pre-edited JPEG, for the standard decoder, is better than JPEG",
        *("learned-jpeg", "jpeg", _ALL),
    ),
    *_fewer("C8: Learned codecs outperform BPG 4:4:4: Cheng 2020", "cheng2020", BPG, _PSNR),
    *_fewer("C8: ... Minnen 2018, learned with MS-SSIM", "minnen", BPG, {"ms-ssim": "MS-SSIM"}),
)
