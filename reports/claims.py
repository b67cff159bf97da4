"""The claims of the RDONet papers, and of the tutorial, put to the test by whatever was measured.

Each claim is a row whatever comes out; where a codec that it needs is not among the results it is
`not measured`.  A verdict asks for the whole 95 % interval on one side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench import literature
from bench.verdict.bd import bd_rate
from bench.verdict.bootstrap import limits, resamples
from bench.verdict.comparison import Comparison
from bench.verdict.curve import Curve
from bench.verdict.results import Grid, Results
from codecs.selection import split, to_rate
from reports import wording
from reports.charts import CLIC_BUDGETS
from reports.claims_rules import (
    ABSENT,
    FAILS,
    HOLDS,
    OPEN,
    Claim,
    Compared,
    Outcome,
    bd_rate_within,
    cell_of,
    is_doubtful,
)
from reports.diagnostics import scalars
from reports.tutorial_claims import TUTORIAL_CLAIMS

PAPER = "Brand et al., CLIC 2022"
SLIDES = "Brand et al., slides, 2022"
ALIKE = 3.0
"""Percent of rate within which two ways of searching are taken for equal."""
NEAR_FULL = 10.0
VTM, MINNEN_OVER_VTM, NEARLY = "vtm-18.0", 11.5, 3.0
"""A published curve, what the authors of `minnen` need more than it, and how near is the same."""
BORDER_ERROR = 1.25
"""Squared error at borders of blocks over that inside: more would be block artefacts."""
TO_CLIC_RATES = f"@{','.join(map(str, CLIC_BUDGETS))}bpp:corpus"
LEARNED_REFERENCE = "hyperprior"
"""What most ideas in learned codecs were added to: the codec beside which tables put the others."""
CTU = 64
MASK_BITS = 5.0
"""Bits that the partition of a 64 x 64 block may take."""


@dataclass(frozen=True)
class ClaimRow:
    """A claim with what came out, as text."""

    text: str
    source: str
    figure: str
    verdict: str
    command: str

    @property
    def tone(self) -> str:
        return {HOLDS: "better", FAILS: "worse"}.get(self.verdict, "unsettled")


def claim_rows(comparisons: Sequence[Comparison]) -> list[ClaimRow]:
    """All claims of each group; without those where no codec was measured that any is about."""
    results = comparisons[0].results
    names = {codec.name for codec in results.codecs}
    compared = {one.anchor: one for one in comparisons}
    asked = [
        claim
        for group in (RDONET_CLAIMS, TUTORIAL_CLAIMS)
        if any(names & {*claim.codecs[:1]} for claim in group)
        for claim in group
    ]
    rows = []
    for claim in asked:
        missing = [name for name in claim.codecs if name not in names]
        outcome = None if missing else claim.judge(compared, claim.codecs)
        if outcome is None:
            why = f"needs {', '.join(missing)}" if missing else "no value"
            outcome = Outcome(why, ABSENT)
        rows.append(
            ClaimRow(claim.text, claim.source, outcome.figure, outcome.verdict, claim.command)
        )
    return rows


def _lower(metric: str) -> Callable[[Compared, tuple[str, ...]], Outcome | None]:
    """A claim of less of a metric than the anchor has, at each of the CLIC rates: of streams that
    were coded to the rate, all pictures together, or else read off the curves."""

    def judge(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
        cell = cell_of(compared, codecs, metric)
        points = [p for p in cell.equal_rate if p.rate in CLIC_BUDGETS] if cell else []
        if not points:
            return None
        results = next(iter(compared.values())).results
        texts, signs = [], []
        for p in points:
            coded = _difference_at(results, codecs[0], codecs[-1], metric, p.rate)
            difference, low, high = coded or (p.quality - p.anchor_quality, p.low, p.high)
            known = all(map(math.isfinite, (difference, low, high)))
            signs.append((high < 0) - (low > 0) if known else 0)
            shown = f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]" if known else "out of range"
            texts.append(f"{p.rate:g} bpp{', coded to it' if coded else ''}: {shown}")
        worse, better = any(s < 0 for s in signs), all(s > 0 for s in signs)
        return Outcome("; ".join(texts), HOLDS if better else FAILS if worse else OPEN)

    return judge


def _difference_at(
    results: Results, test: str, anchor: str, metric: str, rate: float
) -> tuple[float, float, float] | None:
    """Mean difference over pictures, and its 95 % interval, where both codecs were coded to `rate`
    over all pictures (`@0.15bpp:corpus`)."""
    rows = [_coded_to(results, name, metric, rate) for name in (test, anchor)]
    if any(row is None for row in rows):
        return None
    differences = np.subtract(*rows)  # type: ignore[arg-type]
    means = resamples(len(differences)) @ differences
    low, high = limits(means[:, None])[:, 0]
    return float(differences.mean()), float(low), float(high)


def _coded_to(results: Results, name: str, metric: str, rate: float) -> Grid | None:
    for codec in results.codecs:
        if to_rate(codec.name) == (name, "corpus"):
            _, selection = split(codec.name)
            whole = selection is not None and len(selection.values) == len(codec.points)
            if selection and whole and rate in selection.values:
                return codec.metric(metric)[selection.values.index(rate)]
    return None


def _less_lpips() -> Iterator[Claim]:
    """By both networks, than both VVCs."""
    for net, metric in (("AlexNet", "lpips-alex"), ("VGG16", "lpips-vgg")):
        yield Claim(
            f"Zero-pass RDONet has less LPIPS ({net}) than VVenC slower at 0.075, 0.15 and 0.3 bpp",
            PAPER,
            ("rdonet", "vvenc"),
            _lower(metric),
            TO_CLIC_RATES,
        )
        yield Claim(
            f"... and than VVenC with perceptual QPA ({net})",
            PAPER,
            ("rdonet", "vvenc:qpa"),
            _lower(metric),
            TO_CLIC_RATES,
        )


def _mask_bits(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """Bits of the partition for each 64 x 64 block: the mean, and the stream with most of them.

    Streams of one block size throughout have no partition to send.
    """
    results: Results = next(iter(compared.values())).results
    shares = []
    for m in results.codec(codecs[0]).measurements.values():
        sizes = [v for k, v in scalars(m).items() if k.startswith("bytes: ") and "mask" in k]
        if sizes and sizes[0] > 0:
            shares.append(8 * sizes[0] / (-(-m.width // CTU) * -(-m.height // CTU)))
    if not shares:
        return None
    mean = sum(shares) / len(shares)
    verdict = HOLDS if max(shares) <= MASK_BITS else FAILS
    return Outcome(f"{mean:.2f} bits, at most {max(shares):.2f}", verdict)


def _border_error(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """Mean squared error where 64 x 64 blocks meet over that elsewhere, at the worst point."""
    results: Results = next(iter(compared.values())).results
    points: dict[int, list[tuple[float, float]]] = {}
    for (point, _), m in results.codec(codecs[0]).measurements.items():
        border, inside = (
            scalars(m).get(f"squared_error: {where}", -1.0) for where in ("border", "inside")
        )
        if border >= 0 < inside:
            points.setdefault(point, []).append((border, inside))
    if not points:
        return None
    ratio = max(sum(b for b, _ in pairs) / sum(i for _, i in pairs) for pairs in points.values())
    return Outcome(f"at most {ratio:.3f}", HOLDS if ratio < BORDER_ERROR else FAILS)


def _against_vtm(compared: Compared, codecs: tuple[str, ...]) -> Outcome | None:
    """Rate over the published curve of VTM at equal PSNR; both are means over Kodak."""
    results: Results = next(iter(compared.values())).results
    published = next((c for c in literature.curves(literature.KODAK, "psnr") if c.id == VTM), None)
    if published is None or not literature.is_full_kodak(results.digests):
        return None
    codec = results.codec(codecs[0])
    ours = Curve(codec.bpp.mean(axis=1), codec.metric("psnr").mean(axis=1))
    verdict = bd_rate(Curve(published.bpp, published.values), ours)
    if verdict.value is None:
        return Outcome(wording.shorten(wording.remark(verdict), 90), OPEN)
    figure = f"{verdict.value:+.1f} % bits at equal PSNR (published mean curve: no interval)"
    above = verdict.value - MINNEN_OVER_VTM
    if above > NEARLY or is_doubtful(verdict):
        return Outcome(figure, OPEN)
    return Outcome(figure, HOLDS if above >= -NEARLY else FAILS)


RDONET_CLAIMS = (
    *_less_lpips(),
    Claim(
        "Zero-pass RDONet needs fewer bits than Minnen 2018 at equal MS-SSIM (23.6 % there)",
        SLIDES,
        ("rdonet-msssim", "minnen"),
        bd_rate_within("ms-ssim", high=0),
    ),
    Claim(
        f"One-pass search comes to what full search does (within {ALIKE:g} %, MS-SSIM)",
        SLIDES,
        ("rdonet-msssim:one-pass", "rdonet-msssim:full"),
        bd_rate_within("ms-ssim", -ALIKE, ALIKE),
    ),
    Claim(
        f"Zero-pass needs at most {NEAR_FULL:g} % more bits than full search (MS-SSIM)",
        SLIDES,
        ("rdonet-msssim", "rdonet-msssim:full"),
        bd_rate_within("ms-ssim", high=NEAR_FULL),
    ),
    Claim(
        "Trained for MS-SSIM, RDONet needs no more bits than VVenC at equal MS-SSIM",
        PAPER,
        ("rdonet-msssim", "vvenc"),
        bd_rate_within("ms-ssim", high=0),
    ),
    Claim(
        "RDONet needs more bits than VVenC at equal PSNR",
        PAPER,
        ("rdonet", "vvenc"),
        bd_rate_within("psnr", low=0),
    ),
    Claim(
        f"Minnen 2018 trained for MSE needs about {MINNEN_OVER_VTM:g} % more bits than VTM 4:4:4 "
        "at equal PSNR; what is above that, our training lacks",
        "Minnen et al. 2018, the authors' points on Kodak",
        ("minnen-mse",),
        _against_vtm,
    ),
    Claim(
        f"A block partition takes at most {MASK_BITS:g} bits for each 64 x 64 block",
        "specification",
        ("rdonet",),
        _mask_bits,
    ),
    Claim(
        "Where 64 x 64 blocks meet, the squared error is less than "
        f"{BORDER_ERROR:g} times that inside, at each operating point",
        "specification",
        ("rdonet",),
        _border_error,
    ),
)

CLAIMS = (*RDONET_CLAIMS, *TUTORIAL_CLAIMS)
