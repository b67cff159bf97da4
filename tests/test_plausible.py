"""Rates that cannot be true carry a caution, in pages and in tables."""

from __future__ import annotations

import json

import pytest

from bench.record.measurement import Measurement
from bench.verdict.plausible import unlikely_rates
from reports import tables
from reports.data_tables import csv_verdicts
from reports.latex import latex_verdicts
from reports.verdicts import verdicts
from tests.reports_cases import comparison, ladder, made_up, written

SENTENCE = "CHEAT at qp 50 reaches 36.0 dB with 0.0020 bpp on average"


def flat_curve(codec: str, psnr: float, size: int) -> list[Measurement]:
    """`size` bytes (of 8000 pixels) and more; 2 bytes are 0.002 bpp."""
    return [
        made_up(codec, image, order, metrics={"psnr": psnr + order}, bytes=size + order)
        for image in ("a.png", "b.png", "c.png")
        for order in range(4)
    ]


def test_a_decoder_with_next_to_no_bits_gets_a_caution(tmp_path):
    results = comparison([*flat_curve("cheat", 36, 2), *ladder("vvenc")])
    _, page = written(tmp_path, results)
    assert SENTENCE in page.text
    assert "python -m bench check CODEC" in page.text
    assert any(SENTENCE in note for note in verdicts(results).notes)


def test_no_table_goes_without_it(tmp_path):
    results = [comparison([*flat_curve("cheat", 36, 2), *ladder("vvenc")])]
    for render in (tables.as_text, tables.as_markdown, tables.as_latex, tables.as_csv):
        assert "CHEAT at qp 50 reaches 36.0 dB" in render(results), render
    (caution,) = json.loads(tables.as_json(results))["comparisons"][0]["cautions"]
    assert caution["codec"] == "cheat"
    assert SENTENCE in caution["message"]
    for written_down in (csv_verdicts(results[0]), latex_verdicts(verdicts(results[0]))):
        assert SENTENCE in written_down.tail


def test_codecs_with_true_rates_get_none(tmp_path):
    results = comparison([*ladder("jpeg", 2.0), *ladder("vvenc")])
    assert unlikely_rates(results.results) == []
    assert not any("on average" in note for note in verdicts(results).notes)


@pytest.mark.parametrize(("size", "cautioned"), [(20, False), (900, True)])
def test_flat_pictures_may_take_next_to_no_bits(size, cautioned):
    """20 bytes for 8000 pixels are 0.02 bpp: another codec finds the pictures easy, too."""
    results = comparison([*flat_curve("cheat", 36, 2), *flat_curve("vvenc", 40, size)])
    assert bool(unlikely_rates(results.results)) is cautioned
