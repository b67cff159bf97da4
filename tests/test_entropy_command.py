"""`python -m bench.entropy`: entropy models on the same latents, from training to the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from bench.entropy import __main__ as command
from bench.entropy import training
from bench.entropy.coding import OtherLatents, code
from bench.entropy.models import MODELS, SHARED, load_trunk, on_trunk
from bench.entropy.table import BASE, Percent, percent, tabulate
from codecs.learned import weights
from codecs.learned.coders.latents import LatentModel
from codecs.learned.pixels import pad, to_tensor
from codecs.learned.training.data import load_pictures
from codecs.minnen import Minnen
from reports.entropy import entropy_table
from tests.rdonet_toys import crop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow trunk and three pictures."""
    folder = tmp_path_factory.mktemp("entropy")
    torch.manual_seed(0)
    trunk = Minnen(N=8, M=12, qualities=3, lambdas=(20.0, 2000.0)).eval()
    card = {"points": [{"parameter": "quality", "value": q} for q in range(3)]}
    weights.export(trunk, folder / "trunk" / "all.safetensors", card)
    for kind, side in (("data", 256), ("pictures", 96)):
        (folder / kind).mkdir()
        for seed in range(3):
            Pillow.fromarray(crop(side, side + 64, seed)).save(folder / kind / f"{seed}.png")
    return folder


def run(place: Path, models: str = ",".join(MODELS), seconds: float = 1.0) -> int:
    return command.main(
        [
            *("--data", str(place / "data"), "--pictures", str(place / "pictures")),
            *("--trunk", str(place / "trunk" / "all.safetensors"), "--models", models),
            *("--minutes", str(seconds / 60), "--crops", "4"),
            *("--out", str(place / "out"), "--cache", str(place / "cache")),
            *("--page", str(place / "table.md"), "--json", str(place / "table.json")),
        ]
    )


def test_from_training_to_the_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All models; their transforms are the trunk's to the bit; a second call makes nothing anew."""
    assert run(place) == 0
    report = json.loads((place / "table.json").read_text())
    (found,) = report["sets"].values()
    assert list(found["models"]) == list(MODELS)
    assert found["pictures"] == 3
    base = [value for each in found["models"][BASE]["percent"] for value in each.values()]
    assert base == pytest.approx([100.0] * 9)
    assert {(step["model"], step["of"]) for step in found["steps"]} >= {("minnen", "mean-scale")}
    shown = entropy_table(place / "table.json")
    assert shown is not None
    assert [row.model for row in shown.rows] == list(MODELS)
    assert str(shown.rows[0].shares[0]) == "100.0 [100.0, 100.0]"
    step = next(step for step in found["steps"] if step["model"] == "lee2019")
    (told,) = shown.rows[list(MODELS).index("lee2019")].additions
    assert told is not None
    assert told.of == "mean-scale"
    assert told.percent == Percent(**step["percent"])
    table = (place / "table.md").read_text()
    assert all(f"| `{name}` |" in table for name in MODELS)
    trunk = load_trunk(place / "trunk" / "all.safetensors").network
    before = {}
    for name in MODELS:
        made = place / "out" / name / "model.safetensors"
        parameters = weights.load(made).parameters
        fresh = on_trunk(name, trunk).state_dict()
        changed = {k for k, v in parameters.items() if not torch.equal(v, fresh[k])}
        assert changed
        shared = {k: v for k, v in trunk.state_dict().items() if k.split(".")[0] in SHARED}
        assert all(torch.equal(parameters[k], v) for k, v in shared.items())
        before[made] = made.read_bytes()
    capsys.readouterr()
    assert run(place) == 0
    assert "coded" not in capsys.readouterr().out
    assert {made: made.read_bytes() for made in before} == before
    assert json.loads((place / "table.json").read_text()) == report


def test_a_longer_budget_goes_on_from_the_checkpoint(place: Path) -> None:
    assert run(place, BASE) == 0
    first = json.loads((place / "table.json").read_text())["trained"][BASE]
    assert run(place, BASE, seconds=first["cpu"] + 0.5) == 0
    second = json.loads((place / "table.json").read_text())["trained"][BASE]
    assert second["steps"] > first["steps"]
    assert first["cpu"] + 0.5 <= second["cpu"] < first["cpu"] + 5


def test_files_of_other_latents_are_noticed(place: Path, tmp_path: Path) -> None:
    """Here: rounded to a grid of its own."""
    assert run(place, BASE) == 0
    made = weights.load(place / "out" / BASE / "model.safetensors")
    tables = {**made.tables, "y.medians": made.tables["y.medians"] + 1000}
    weights.save(tmp_path / "moved.safetensors", made.parameters, tables, made.card)
    pictures = load_pictures([place / "pictures"], place / "cache")
    trunk = load_trunk(place / "trunk" / "all.safetensors").network
    y = trunk.g_a(pad(to_tensor(pictures[0], "cpu"), 64)).detach()
    arguments = pictures, lambda number: y, tmp_path / "sizes.json", print
    with pytest.raises(OtherLatents, match="picture 0"):
        code(BASE, tmp_path / "moved.safetensors", *arguments)
    assert not (tmp_path / "sizes.json").exists()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--models", "minnen"], "factorised and any of"),
        (["--models", "factorised,unheard-of"], "factorised and any of"),
        (["--minutes", "0"], "--minutes must be more than 0"),
        (["--trunk", "nowhere.safetensors"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(
    place: Path, given: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--data", str(place / "data"), "--pictures", str(place / "pictures")]
    assert command.main([*folders, "--out", str(place / "none"), *given]) == 2
    assert reason in capsys.readouterr().err


def test_percents_are_of_all_pictures_together_and_intervals_of_the_spread_over_them() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(1000, 5000, (12, 2))
    same, over_all = percent(0.8 * base, base)
    assert [p.value for p in same] == pytest.approx([80, 80])
    assert (over_all.low, over_all.value, over_all.high) == pytest.approx((80, 80, 80))
    factors = np.concatenate([np.full((6, 2), 0.5), np.full((6, 2), 1.1)])
    each, over_all = percent(factors * base, base)
    wanted = 100 * (factors * base).sum(0) / base.sum(0)
    assert [p.value for p in each] == pytest.approx(list(wanted))
    assert over_all.value == pytest.approx(np.sqrt(wanted.prod()))
    assert 50 < over_all.low < over_all.value - 5 < over_all.value + 5 < over_all.high < 110


def test_bits_are_counted_over_pixels() -> None:
    sizes = {"factorised": {"a": [100, 200], "b": [300, 400]}}
    found = tabulate(sizes, {"a": 1000, "b": 3000})
    assert found["models"]["factorised"]["bpp"] == [8 * 400 / 4000, 8 * 600 / 4000]


def test_the_learning_rate_follows_the_seconds_spent() -> None:
    rates = [
        training.learning_rate(training.Progress(1000, cpu), 100.0) for cpu in (1, 49, 75, 100)
    ]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_only_entropy_models_are_trained(place: Path) -> None:
    trunk = load_trunk(place / "trunk" / "all.safetensors").network
    for name in MODELS:
        network = on_trunk(name, trunk)
        assert isinstance(network.latent_model(), LatentModel)
        trained = {k.split(".")[0] for k, p in network.named_parameters() if p.requires_grad}
        assert trained
        assert not trained & set(SHARED)
