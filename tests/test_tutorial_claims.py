"""The tutorial's claims, as rows of the claims page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.metrics.base import INFINITE, MetricValue
from bench.record.measurement import Measurement
from bench.verdict.comparison import compare
from reports import tutorial_toy as toy
from reports.claims import ClaimRow, claim_rows
from reports.claims_rules import ABSENT, FAILS, HOLDS, OPEN
from reports.tutorial_claims import TUTORIAL, TUTORIAL_CLAIMS
from tests.helpers import collected
from tests.reports_cases import METRICS, ladder

ONE_FILE = "stream 1, weights 0123abcd, torch 2.15"
METRIC_NAMES = (*METRICS, "lpips-vgg")


def judged(rows: list[Measurement]) -> dict[str, ClaimRow]:
    results = collected([*rows, *ladder("vvenc")], metrics=METRIC_NAMES, dataset="three pictures")
    found = claim_rows([compare(results, codec.name) for codec in results.codecs])
    return {row.text: row for row in found}


def about(rows: dict[str, ClaimRow], words: str) -> ClaimRow:
    return next(row for text, row in rows.items() if words in text)


def told(rows: list[Measurement], **diagnostics: Any) -> list[Measurement]:
    return [replace(row, diagnostics=diagnostics) for row in rows]


def test_a_claim_for_each_of_c1_to_c8() -> None:
    numbers = {claim.text.partition(":")[0] for claim in TUTORIAL_CLAIMS}
    assert numbers == {f"C{number}" for number in range(1, 9)}
    assert {claim.source for claim in TUTORIAL_CLAIMS} == {TUTORIAL}


def test_all_are_rows_where_one_codec_is_measured_and_none_where_none_is() -> None:
    rows = judged(ladder("hyperprior"))
    assert len(rows) == len(TUTORIAL_CLAIMS)
    coarse = about(rows, "Coarse-to-fine")
    assert (coarse.verdict, coarse.figure) == (ABSENT, "needs hu2020, hevc")
    assert coarse.command == "python -m bench.compare hu2020 hevc --dataset kodak"
    assert judged(ladder("webp")) == {}


def test_bd_rates_against_the_named_anchor() -> None:
    rows = judged([*ladder("learned-jpeg", 0.8), *ladder("jpeg"), *ladder("hevc")])
    assert about(rows, "better than JPEG (PSNR)").verdict == HOLDS
    assert about(rows, "better than JPEG (LPIPS, AlexNet)").verdict == HOLDS
    rows = judged([*ladder("hu2020", 1.2), *ladder("hevc")])
    assert about(rows, "Coarse-to-fine").verdict == FAILS


def test_where_an_anchor_lacks_a_metric_the_claim_was_not_measured() -> None:
    anchor = [replace(row, metrics={"psnr": row.metrics["psnr"]}) for row in ladder("jpeg")]
    rows = judged([*ladder("learned-jpeg", 0.8), *anchor, *ladder("hevc")])
    assert about(rows, "better than JPEG (PSNR)").verdict == HOLDS
    assert about(rows, "better than JPEG (LPIPS, AlexNet)").verdict == ABSENT


def test_drinks_take_6_3_and_1_bits() -> None:
    row = about(judged(ladder("hyperprior")), "C4")
    assert (row.figure, row.verdict) == ("6 -> 3 -> 1 bits", HOLDS)
    assert row.command == "python -m reports.tutorial"
    assert [len(model.possible) for model in toy.MODELS] == [64, 8, 2]
    for days in toy.MODELS[-1].possible:
        assert [heat for heat, _ in days] == ["hot", "hot", "cold"]
        assert {drink for _, drink in days[::2]}.isdisjoint({days[1][1]})


@pytest.mark.parametrize(("more", "verdict"), [(1.004, HOLDS), (1.02, FAILS)])
def test_files_are_held_against_their_entropy(more: float, verdict: str) -> None:
    rows = [
        replace(row, diagnostics={"entropy_bytes": (row.bytes or 0) / more})
        for row in ladder("hyperprior")
    ]
    row = about(judged(rows), "Files of hyperprior")
    assert row.verdict == verdict
    assert row.figure.startswith(f"{100 * (more - 1):+.2f} %")
    assert about(judged(ladder("hyperprior")), "Files of hyperprior").verdict == ABSENT


def test_one_file_of_weights_has_many_rates() -> None:
    row = about(judged(ladder("choi2019", version=ONE_FILE)), "conditional autoencoder")
    assert row.verdict == HOLDS
    assert row.figure.startswith("1 weights file, 5 points, 0.1")
    two = ladder("choi2019", version=ONE_FILE.replace("abcd", "abcd 4567abcd"))
    assert about(judged(two), "conditional autoencoder").verdict == FAILS
    few = ladder("choi2019", version=ONE_FILE, points=2)
    assert about(judged(few), "conditional autoencoder").verdict == OPEN


def test_the_wavelet_is_lossless_by_the_same_weights() -> None:
    exact = [
        replace(row, metrics={**row.metrics, "psnr": MetricValue(None, "1", INFINITE)})
        for row in ladder("iwave:lossless", points=1, version=ONE_FILE)
    ]
    lossy = ladder("iwave", version=ONE_FILE)
    row = about(judged([*exact, *lossy]), "lossless too")
    assert row.verdict == HOLDS
    assert row.figure == "all of 3 pictures come back bit for bit, by the same weights"
    other = ladder("iwave", version=ONE_FILE.replace("abcd", "ffff"))
    assert about(judged([*exact, *other]), "lossless too").verdict == FAILS
    lossy_too = ladder("iwave:lossless", points=1, version=ONE_FILE)
    assert about(judged([*lossy_too, *lossy]), "lossless too").verdict == FAILS


@pytest.mark.parametrize(("part", "verdict"), [(0.6, HOLDS), (0.95, FAILS)])
def test_selective_synthesis_is_held_against_all_kept(part: float, verdict: str) -> None:
    row = about(judged([*ladder("gc2019:selective", part), *ladder("gc2019")]), "C6")
    assert row.verdict == verdict
    assert row.figure.startswith(f"{100 * (1 - part):.0f} % saved at qp 30")
    other = [*ladder("gc2019:selective", part, points=3), *ladder("gc2019")]
    assert about(judged(other), "C6").verdict == ABSENT
