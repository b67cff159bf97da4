"""Published curves: complete, in order, and with the BD-rates that are known of them."""

from __future__ import annotations

import math
from itertools import pairwise

import bjontegaard
import pytest

from bench import literature
from bench.literature import Published


def one(curve: str, metric: str = "psnr") -> Published:
    found = [c for c in literature.curves(literature.KODAK, metric) if c.id == curve]
    assert len(found) == 1
    return found[0]


def bd_rate(anchor: Published, test: Published) -> float:
    def scale(curve: Published) -> list[float]:
        if curve.metric == "psnr":
            return list(curve.values)
        return [-10 * math.log10(1 - value) for value in curve.values]

    return float(
        bjontegaard.bd_rate(
            anchor.bpp,
            scale(anchor),
            test.bpp,
            scale(test),
            method="pchip",
            require_matching_points=False,
            min_overlap=0,
        )
    )


@pytest.mark.parametrize(
    ("anchor", "test", "expected", "tolerance"),
    [
        # From the sources' own files, computed independently of this project.
        ("compressai-vtm", "compressai-mbt2018", 11.016785891645963, 1e-6),
        ("vtm-18.0", "compressai-mbt2018", 11.6, 0.1),
        ("vtm-18.0", "compressai-cheng2020-anchor", 4.5, 0.1),
        ("compressai-vtm", "compressai-cheng2020-anchor", 3.7, 0.1),
        ("vtm-18.0", "qarv", -5.9, 0.1),
        ("vtm-18.0", "compressai-bmshj2018-hyperprior", 31.0, 1.0),
    ],
)
def test_known_bd_rates_on_kodak(anchor, test, expected, tolerance):
    assert bd_rate(one(anchor), one(test)) == pytest.approx(expected, abs=tolerance)


def test_models_trained_for_ms_ssim_win_on_it_and_lose_on_psnr():
    for stem in ("compressai-mbt2018", "compressai-cheng2020-attn", "balle2018", "minnen2018"):
        plain, tuned = stem, f"{stem}-ms-ssim"
        assert bd_rate(one(plain, "ms-ssim"), one(tuned, "ms-ssim")) < -20
        assert bd_rate(one(plain), one(tuned)) > 20


def test_every_curve_is_sound():
    for curve in literature.load():
        assert list(curve.bpp) == sorted(curve.bpp)
        assert 0 < curve.bpp[0] < curve.bpp[-1] < 12
        low, high = {"psnr": (8, 60), "ms-ssim": (0.15, 1), "lpips-alex": (0, 1)}[curve.metric]
        assert all(low < value < high for value in curve.values)
        sign = -1 if curve.metric == "lpips-alex" else 1
        rising = sum(sign * b > sign * a for a, b in pairwise(curve.values))
        steps = len(curve.values) - 1
        assert rising >= min(0.9 * steps, steps - 1)
        own = curve.source.title.startswith("The authors' own repositories")
        assert own or curve.source.url.startswith("https://github.com/")
        assert not curve.url or curve.url.startswith("https://arxiv.org/abs/")


def test_the_codecs_that_readers_look_for_are_there():
    kodak = {c.id for c in literature.curves(literature.KODAK, "psnr")}
    assert kodak >= {
        *("vtm-18.0", "compressai-vtm", "compressai-hm", "compressai-av1", "bpg444"),
        *("jpeg2000-openjpeg", "jpeg420", "webp", "toderici2017", "balle2017", "balle2018"),
        *("minnen2018", "compressai-mbt2018", "lee2019", "compressai-cheng2020-attn"),
        *("compressai-cheng2020-anchor", "qarv", "qres34m"),
        *("glic", "hpcm-large", "lalic", "mlicpp", "tcm-large", "tinylic", "cool-chic-5.0"),
        *("shallow-2-layer", "hific", "diffeic"),
    }
    assert {c.id for c in literature.curves(literature.KODAK, "lpips-alex")} >= {"hific", "diffeic"}
    clic = {c.id for c in literature.curves(literature.CLIC22_TEST, "psnr")}
    assert clic == {"vtm-18.0", "qarv", "qres34m"}


def test_the_vtm_curve_of_compressai_carries_its_caveat():
    assert "7.15 %" in one("compressai-vtm").caveat


def test_identifiers_are_safe_in_style_sheets_and_pages():
    import re

    for curve in literature.load():
        assert re.fullmatch(r"[a-z0-9.-]+", curve.id)
