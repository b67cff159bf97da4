"""`python -m reports.tutorial`: teaching figures of real streams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image as PillowImage

from codecs.base import Codec, Image
from reports import tutorial
from reports import tutorial_toy as toy
from tests.conftest import ROOT
from tests.rdonet_toys import crop

MOST_BYTES = 600_000
"""Of all figures in the repository together."""


@pytest.mark.usefixtures("toy_weights")
def test_the_command_writes_a_page_of_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tutorial, "astronaut", lambda: crop(192, 256))
    monkeypatch.setattr(tutorial, "samples", lambda: [crop(256, 320, seed) for seed in range(2)])
    out = tmp_path / "figures"
    checkpoint = tmp_path / "checkpoint.safetensors"
    safetensors.torch.save_file({"ema.centres.values": torch.tensor([1.0, -1.0])}, checkpoint)
    assert tutorial.main(["--out", str(out), "--centres", str(checkpoint)]) == 0
    text = (tmp_path / "figures.md").read_text()
    shown = re.findall(r"!\[\w+\]\(([^)]+)\)", text)
    stems = [Path(name).stem for name in shown]
    assert stems == ["dependency", "drinks", "coding", "importance", "centres"]
    for name in shown:
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG" if name.endswith(".png") else b"<?xml")
    with PillowImage.open(out / "dependency.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 20
    # Real files against -log2 P: a row for each codec's only point.
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    coded = {row[0]: row for row in rows if row and row[0] in tutorial.CODED and len(row) == 6}
    assert coded.keys() == {*tutorial.CODED}
    for _, _, entropy, payload, _, file in coded.values():
        assert float(entropy) * 0.99 < int(payload) < float(entropy) * 1.03
        assert int(payload) < int(file) < int(payload) + 100


def test_without_weights_the_command_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
    assert tutorial.main(["--out", str(tmp_path / "figures")]) == 2
    assert "hyperprior has no weights" in capsys.readouterr().err


def test_drinks_are_coded_with_the_bits_that_are_expected() -> None:
    bits = tutorial.drinks()
    for model in toy.MODELS:
        assert model.bits <= bits[model.name] < model.bits + 0.02


def test_neighbours_of_noise_are_not_alike_and_those_of_a_ramp_are() -> None:
    noise = np.random.default_rng(0).normal(size=(40, 40))
    ramp = np.add.outer(np.arange(40.0), np.arange(40.0))
    found = tutorial.neighbours(np.stack([noise, ramp, np.ones((40, 40))]))
    assert abs(found[0]) < 0.1
    assert found[1] == pytest.approx(1)
    assert found[2] == 0


def test_scales_take_dependency_out() -> None:
    """By the weights that ship: toys have learned too little."""
    found = tutorial.dependency(crop(256, 320))
    assert found.latent.shape == found.scales.shape == (16, 20)
    assert np.array_equal(found.latent, found.latent.round())
    assert found.normalised_correlation < found.correlation


class Importance:
    """A codec that tells of a map, as `mentzer2018` does."""

    points = (0, 1)

    def encode(self, image: Image, point: Any) -> bytes:
        return bytes([point])

    def diagnostics(self, image: Image, data: bytes) -> dict[str, Any]:
        other = {"name": "levels", "cell": 16, "rows": ["12"]}
        wanted = {"name": "importance map", "cell": 8, "rows": [[0.5, 1], [data[0], 3]]}
        return {"maps": [other, wanted]}


def test_an_importance_map_is_read_and_drawn() -> None:
    found = tutorial.importance_map(cast("Codec", Importance()), crop(16, 16))
    assert found is not None
    assert found.tolist() == [[0.5, 1], [1, 3]]
    assert tutorial.draw_importance(crop(16, 16), found).startswith(b"\x89PNG")


def test_centres_are_read_in_the_order_of_training(tmp_path: Path) -> None:
    for step, name in enumerate(("ema.centres.values", "centres.values")):
        values = torch.tensor([1.0, -1.0, 0.0]) * (step + 1)
        safetensors.torch.save_file({name: values}, tmp_path / f"{step}.safetensors")
    files = sorted(tmp_path.glob("*.safetensors"))
    found = tutorial.centres(files)
    assert found.tolist() == [[-1, 0, 1], [-2, 0, 2]]
    assert b"<svg" in tutorial.draw_centres(found)
    safetensors.torch.save_file({"other": torch.zeros(1)}, files[0])
    with pytest.raises(KeyError, match="has no centres"):
        tutorial.centres(files)


def test_the_figures_that_ship_are_small_and_shown() -> None:
    figures = [*(ROOT / "docs" / "tutorial").iterdir()]
    assert sum(file.stat().st_size for file in figures) < MOST_BYTES
    text = (ROOT / "docs" / "tutorial.md").read_text()
    assert all(f"(tutorial/{file.name})" in text for file in figures)
