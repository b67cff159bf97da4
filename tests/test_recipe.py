"""Weights by recipes: the whole chain with a few steps, resuming, packed data, mistakes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from codecs import pack as packing
from codecs import publish, recipe, registry, train
from codecs.base import Image
from codecs.learned import weights
from codecs.learned.codec import LearnedCodec
from codecs.learned.training.data import load_pictures, pack
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.schedule import load_phases
from codecs.learned.training.stopping import Ending
from codecs.rdonet.codec import RDONetModel
from codecs.rdonet.network import RDONet
from tests.conftest import ROOT
from tests.test_makefile import make

SMALL = ("--width", "8", "--latents", "", "--crop", "64", "--batch", "1", "--threads", "1")
"""A network that is trained in seconds; what comes last on a command line counts."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photo: Image) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    PillowImage.fromarray(photo[:128, :192]).save(folder / "a.png")
    PillowImage.fromarray(255 - photo[:128, :192]).save(folder / "b.png")
    return folder


def arguments(sets: Sequence[str], pictures: Path, out: Path, *more: str) -> list[str]:
    folders = ["--data", str(pictures), "--valid", f"{pictures}[:1]", "--out", str(out)]
    return [*sets, *folders, "--device", "cpu", "--cache", str(out / "cache"), *SMALL, *more]


def test_a_set_is_made_from_nothing(pictures: Path, tmp_path: Path, photo: Image) -> None:
    """The smoke test of the chain: trunk of another set, random and variance partitions,
    thresholds, small files, and a codec that codes."""
    assert recipe.main(arguments(["rdonet-msssim"], pictures, tmp_path, "--steps", "40")) == 0
    folder = tmp_path / "published" / "rdonet-msssim"
    assert sorted(p.name for p in folder.iterdir()) == ["rdonet-all.json", "rdonet-all.safetensors"]
    card = weights.load(folder / "rdonet-all.safetensors").card
    assert set(card["config"]["thresholds"]) == {"t64", "t32", "p64", "p32"}
    assert card["training"]["finished"]
    *before, _ = (stage for stage, _ in recipe.chain(recipe.load("rdonet-msssim")))
    labels = "minnen-mse/small-crops minnen-mse/trunk minnen/trunk minnen/cool-down"
    assert " ".join(s.label for s in before) == f"{labels} rdonet-msssim/deeper-levels"
    steps = sum(max(10, round(40 * stage.share)) for stage in before)
    assert card["training"]["started_from"]["steps"] == steps
    codec = LearnedCodec("rdonet-msssim", "", RDONet, RDONetModel, folder=folder)
    assert len(codec.points) == 8
    stream = codec.encode(photo, codec.points[-1])
    assert codec.decode(stream).shape == photo.shape


def test_the_same_seed_makes_the_same_weights_and_what_is_done_stays_done(
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    for out in (one, two):
        assert recipe.main(arguments(["minnen-mse"], pictures, out, "--steps", "40")) == 0
        for path in (out / "published" / "minnen-mse").glob("*.json"):
            path.rename(out / "card.json")  # it holds the seconds that it took
    files = [next((out / "published" / "minnen-mse").glob("*.safetensors")) for out in (one, two)]
    first, second = (weights.load(file).parameters for file in files)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    # A set that begins with a stage of this one does not make it again.
    capsys.readouterr()
    assert recipe.main(arguments(["minnen"], pictures, one, "--steps", "40")) == 0
    assert "minnen-mse/trunk" in (said := capsys.readouterr().out)
    assert len(re.findall(r"resuming at step (\d+) of \1\b", said)) == 2  # the cool-down is not its
    # The same set goes on where a stage was stopped.
    shutil.rmtree(two / "minnen-mse" / "cool-down")
    assert recipe.main(arguments(["minnen-mse"], pictures, two, "--steps", "40")) == 0
    again = weights.load(files[1]).parameters
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_as_many_steps_as_fit_into_minutes(pictures: Path, tmp_path: Path) -> None:
    assert recipe.main(arguments(["minnen-mse"], pictures, tmp_path, "--minutes", "0.1")) == 0
    assert (tmp_path / "published" / "minnen-mse").is_dir()


def test_other_weights_in_the_folder_are_replaced(pictures: Path, tmp_path: Path) -> None:
    old = tmp_path / "into" / "minnen-mse" / "minnen-0.3.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    given = arguments(["minnen-mse"], pictures, tmp_path, "--steps", "40")
    assert recipe.main([*given, "--into", str(tmp_path / "into")]) == 0
    assert [p.name for p in old.parent.glob("*.safetensors")] == ["minnen-all.safetensors"]


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "recipes").glob("*.toml")), ids=str)
def test_recipes_can_be_read_and_there_is_a_codec_for_each(path: Path) -> None:
    assert path.stem in {entry.name for entry in registry.available()}
    stages = [stage for stage, _ in recipe.chain(recipe.load(path.stem))]
    assert len({stage.label for stage in stages}) == len(stages)
    for stage in stages:
        assert load_phases(f"{stage.path}:{stage.name}")


GOOD = """
network = "minnen"
[options]
batch = 1
crop = 64
[[stage]]
name = "a"
steps = 5
[[stage.phase]]
share = 1
lr = 1e-3
per_rate = true
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[stage.phase]]", "[[stage.other]]", r"is no recipe \(KeyError\('phase'"),
        ("steps = 5", "steps = 0", "steps, batch and crop are whole numbers above 0"),
        ("steps = 5", "steps = -5", "steps, batch and crop are whole numbers above 0"),
        ("steps = 5", 'steps = "ten"', "steps, batch and crop are whole numbers above 0"),
        ("steps = 5", "steps = 0.5", "steps, batch and crop are whole numbers above 0"),
        ("batch = 1", "batch = true", "steps, batch and crop are whole numbers above 0"),
        ("crop = 64", "", r"is no recipe \(KeyError\('crop'"),
        ('"a"', '"../a"', "a stage's name has letters"),
        ('"a"', "7", "is no recipe"),
        ("[[stage]]", "[stage]", "is no recipe"),
        ("[[stage]]", '[[stage]]\nname = "a"\nsteps = 1\nphase = []\n[[stage]]', "the same"),
        ("[options]", 'options = ["x"]\n[more]', "is no recipe"),
        ("[options]", "from = 5\n[options]", "is no recipe"),
        ("[options]", 'from = "minnen-mse"\n[options]', "from is SET/STAGE"),
        ("[options]", 'from = "minnen-mse/end"\n[options]', "there is no stage end of minnen-mse"),
        ("[options]", 'from = "nix/end"\n[options]', "no recipe nix: there are .*minnen-mse"),
        ("[options]", "calibrate = -1\n[options]", "calibrate is a count"),
        ("lr = 1e-3", "speed = 1", "bad.toml, stage a: .*'speed'"),
        ("per_rate = true", "", "bad.toml, stage a: the last phase must have per_rate"),
    ],
)
def test_mistakes_of_a_recipe_are_named(
    old: str, new: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(GOOD)
    assert len(recipe.load(str(path)).stages) == 1
    path.write_text(GOOD.replace(old, new))
    assert recipe.main(arguments([str(path)], tmp_path, tmp_path)) == 2
    assert re.search(message, capsys.readouterr().err)


def test_recipes_may_not_begin_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipe, "RECIPES", tmp_path)
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.toml").write_text(f'from = "{other}/a"\n{GOOD}')
    assert recipe.main(arguments(["one"], tmp_path, tmp_path)) == 2
    assert "one.toml begins with itself" in capsys.readouterr().err


def test_mistakes_in_options_of_any_stage_are_named_before_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.toml"
    stage = GOOD[GOOD.index("[[stage]]") :].replace('"a"', '"b"\nshoe = 5')
    path.write_text(GOOD.replace("crop", "bf16 = false\ncrop") + stage)
    with pytest.raises(SystemExit, match="2"):
        recipe.main(arguments([str(path)], tmp_path, tmp_path))
    said = capsys.readouterr()
    assert "bad/b: error: unrecognized arguments: --shoe 5" in said.err
    assert "bad/a" not in said.out
    assert recipe.main(arguments(["minnen"], tmp_path, tmp_path, "--steps", "0")) == 2
    assert "must be more than 0" in capsys.readouterr().err


def test_a_signal_ends_the_whole_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is the minutes of one stage that are over, the next one follows."""
    begun: list[Sequence[str]] = []
    endings = [Ending.OUT_OF_TIME] * 4 + [Ending.SIGNALLED]

    def training(given: Sequence[str]) -> int:
        begun.append(given)
        return endings[len(begun) - 1]

    monkeypatch.setattr(train, "main", training)
    monkeypatch.setattr(publish, "main", lambda given: 0)
    given = arguments(["minnen-mse"], tmp_path, tmp_path, "--minutes", "1")
    assert [recipe.main(given), recipe.main(given)] == [0, 4]
    assert len(begun) == 3 + 2


def test_packed_pictures(pictures: Path, tmp_path: Path) -> None:
    path = tmp_path / "crops.npy"
    pack(load_pictures([pictures], tmp_path / "cache"), path, 5, 64)
    packed = load_pictures([path], tmp_path / "cache")
    assert len(packed) == 5
    assert packed[4].shape == (64, 64, 3)
    assert np.array_equal(packed[4], np.load(path)[4])
    assert packed[0].std() > 0
    np.save(path, np.zeros((2, 3), np.uint8))
    with pytest.raises(TrainingError, match="not uint8"):
        load_pictures([path], tmp_path / "cache")
    for damaged in (b"nothing", b""):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"cannot be read .*: pack it again"):
            load_pictures([path], tmp_path / "cache")
    with path.open("wb") as file:
        np.savez(file, np.zeros(3), np.zeros(3))
    with pytest.raises(TrainingError, match="several arrays"):
        load_pictures([path], tmp_path / "cache")
    with pytest.raises(TrainingError, match="pack all folders into one"):
        load_pictures([path, pictures], tmp_path / "cache")


def test_packing_says_what_is_missing(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the machine that is lent there is no time to find out."""
    given = ["--data", str(pictures), "--valid", str(pictures), "--into", str(tmp_path / "into")]
    given += ["--side", "64", "--valid-count", "1", "--cache", str(tmp_path / "cache")]
    assert packing.main([*given, "--megabytes", "0"]) == 2
    assert "at least one crop" in capsys.readouterr().err
    folder, into = tmp_path / "lpips", tmp_path / "into" / "lpips"
    monkeypatch.setattr("codecs.learned.training.losses.lpips_folders", lambda: [folder])
    capsys.readouterr()
    assert packing.main([*given, "--megabytes", "1"]) == 0
    assert "no stage with LPIPS can be trained there" in capsys.readouterr().err
    folder.mkdir()
    (folder / "squeezenet1_1_features.safetensors").write_bytes(b"x")
    assert packing.main([*given, "--megabytes", "1"]) == 0
    assert [p.name for p in into.iterdir()] == ["squeezenet1_1_features.safetensors"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_weights_calls_the_recipe() -> None:
    data = ("TRAIN_DATA=a b[:-2]", "VALID_DATA=c")
    done = make(ROOT, "-n", "weights", "SET=minnen-mse", "STEPS=40", *data, "TRAIN=--threads 1")
    wanted = "codecs.recipe minnen-mse --steps 40 --data 'a' 'b[:-2]' --valid 'c' --threads 1"
    assert wanted in " ".join(done.stdout.replace("\\\n", " ").split())
    assert make(ROOT, "weights", "SET=", *data).returncode != 0


def test_all_sets_in_the_minutes_of_a_lease(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script, on this processor, with what was packed for it."""
    lease = tmp_path / "checkpoints" / "lease"
    more = ["--side", "128", "--megabytes", "1", "--valid-count", "1"]
    given = ["--data", str(pictures), "--valid", str(pictures), "--into", str(lease), *more]
    assert packing.main([*given, "--cache", str(tmp_path / "cache")]) == 0
    assert np.load(lease / "train.npy").shape == (20, 128, 128, 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("SETS", "minnen-mse minnen")
    script = ["sh", str(ROOT / "docs/recipes/lease.sh"), "0.05", "out", "--export-minutes", "0.001"]
    done = subprocess.run([*script, *SMALL, "--device", "cpu"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    made = sorted(str(p.relative_to("out")) for p in Path("out").rglob("*.safetensors"))
    assert any(path.startswith("published/minnen/") for path in made)
    assert "exports/minnen/cool-down/minnen-latest.safetensors" in made
