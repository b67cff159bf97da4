"""Runs at chosen points and at rates, of each picture and of all together."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench.__main__ import main
from bench.cli import reporting
from bench.record.manifest import Manifest
from bench.record.store import Store
from bench.run import corpus, worker
from bench.run.corpus import SIZES, Sizes, find_points
from bench.run.processes import CallFailed
from bench.run.settings import quick_name
from codecs import registry
from codecs.base import CodecError, Image, Point
from codecs.learned import weights
from codecs.learned.transform import TransformModel
from codecs.selection import at_rates
from codecs.target import Corpus
from datasets.registry import open_dataset
from reports import tables
from tests.helpers import run_alone
from tests.learned_toys import toy_network
from tests.rdonet_toys import crop

MINE = """
from pathlib import Path

import torch
from codecs.factorised import FactorisedNetwork
from codecs.learned.codec import LearnedCodec
from codecs.learned.transform import TransformModel

torch.set_num_threads(1)


def codec(variant=None):
    folder = Path(__file__).with_name("weights")
    return LearnedCodec("mine", "Mine", FactorisedNetwork, TransformModel, variant, folder)
"""
TEXTS = """
name = "mine"
version = "1"
encode = "cp {input} {output} {value}"
decode = "cp {input} {output}"
parameter = "effort"
points = ["slow", "fast"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs of different sizes."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed, (height, width) in enumerate(((128, 192), (192, 128), (256, 256))):
        PillowImage.fromarray(crop(height, width, seed)).save(pictures / f"{seed}.png")
    return pictures


@pytest.fixture
def learned(tmp_path: Path) -> str:
    """A Python file with toy weights for four qualities."""
    toy = toy_network("factorised")
    config = {**toy.config, "qualities": 4, "lambdas": (500.0, 8000.0)}
    network = registry.network("factorised").from_config(config).eval()
    network.begin_with(toy.state_dict())
    card = {"points": [{"parameter": "quality", "value": value} for value in range(4)]}
    weights.export(network, tmp_path / "weights" / "all.safetensors", card)
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")


def total_bpp(run: Path, codec: str) -> dict[Point, float]:
    """Bits of all files over all pixels, by point."""
    found: dict[Point, list[Any]] = {}
    for m in Store(run):
        if m.codec == codec:
            assert m.status == "ok", m.reason
            found.setdefault(m.point, []).append(m)
    return {
        point: 8 * sum(m.bytes for m in ms) / sum(m.width * m.height for m in ms)
        for point, ms in found.items()
    }


def test_chosen_points_are_those_of_the_ladder(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_alone(folder, run, "jpeg").plan.done == 0
    again = run_alone(folder, run, "jpeg@60,20")
    assert (again.plan.done, len(again.plan.tasks)) == (6, 0)
    assert [p.value for p in Manifest.read(run).ladders["jpeg"].points] == [20, 60]
    more = run_alone(folder, run, "jpeg@20:40:10")
    assert {task.point.value for task in more.plan.tasks} == {30, 40}
    comparison = reporting.comparisons_of(run, ("jpeg@20:40:10",), None)[0]
    assert comparison.results.codec("jpeg").points == ("quality 20", "quality 30", "quality 40")
    with pytest.raises(CodecError, match="both named 'jpeg': name all its points at once"):
        run_alone(folder, run, "jpeg@20", "jpeg")
    assert "expected quality as an integer from 1 to 100" in "".join(
        run_alone(folder, run, "jpeg@20,101").plan.unavailable.values()
    )


def test_each_picture_at_a_rate(folder: Path, tmp_path: Path, learned: str) -> None:
    """In processes of their own, with what was asked and reached in the report."""
    run = tmp_path / "run"
    names = ("jpeg@0.8,1.2bpp", f"{learned}@0.15bpp")
    assert run_alone(folder, run, *names).failed == 0
    by_codec: dict[str, list[Any]] = {}
    for m in Store(run):
        by_codec.setdefault(m.codec, []).append(m)
    assert {name: len(ms) for name, ms in by_codec.items()} == {
        "jpeg@0.8,1.2bpp": 6,
        "mine@0.15bpp": 3,
    }
    for m in by_codec["mine@0.15bpp"]:
        assert m.bpp == pytest.approx(0.15, rel=0.01)
        assert m.point == Point("bpp", 0.15)
        assert m.diagnostics["target"]["reached_bpp"] == m.bpp
    for m in by_codec["jpeg@0.8,1.2bpp"]:
        assert m.bpp == pytest.approx(m.value, rel=0.1)
    assert len(run_alone(folder, run, *names).plan.tasks) == 0
    comparisons = reporting.comparisons_of(run, None, None)
    rates = np.array([m.bpp for m in by_codec["mine@0.15bpp"]])
    offs = 100 * abs(rates / 0.15 - 1)
    mean, off, most = rates.mean(), offs.mean(), offs.max()
    line = next(
        line for line in tables.as_text(comparisons).splitlines() if re.match("mine.* 3 of 3", line)
    )
    assert re.split(" {2,}", line)[2:] == ["0.15", f"{mean:.4f}", f"{off:.2f} %", f"{most:.2f} %"]
    assert f"{most:.2f} % |" in tables.as_markdown(comparisons)
    assert main(["report", str(run), "--no-pictures"]) == 0
    assert "Coded to a rate" in (run / "report.html").read_text()


@pytest.mark.parametrize("codec", ["mine", "jpeg"])
def test_all_pictures_at_a_rate(folder: Path, tmp_path: Path, learned: str, codec: str) -> None:
    run, typed = tmp_path / "run", learned if codec == "mine" else codec
    run_alone(folder, run, typed)
    ladder = total_bpp(run, codec)
    rates = sorted(ladder.values())
    rate = round((rates[0] * rates[1]) ** 0.5, 3)
    name = f"{typed}@{rate}bpp:corpus"
    outcome = run_alone(folder, run, name)
    assert outcome.failed == 0
    ((point, reached),) = total_bpp(run, f"{codec}@{rate}bpp:corpus").items()
    if codec == "mine":
        assert reached == pytest.approx(rate, rel=0.005)
        assert point.value not in (0, 1, 2, 3)
    else:
        beside = (Point("quality", int(point.value) + step) for step in (-1, 1))
        run_alone(folder, run, "jpeg@" + ",".join(str(p.value) for p in beside))
        assert all(
            abs(bpp - rate) > abs(reached - rate)
            for p, bpp in total_bpp(run, codec).items()
            if p != point
        )
    sizes = (run / SIZES).read_text()
    again = run_alone(folder, run, name)
    assert len(again.plan.tasks) == 0
    assert (run / SIZES).read_text() == sizes
    text = tables.as_text(reporting.comparisons_of(run, (name, typed), typed))
    assert f"{codec}@{rate}bpp:corpus" in text
    assert f"{reached:.4f}" in text


def test_what_was_measured_is_not_tried_again(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_alone(folder, run, "jpeg")
    measured = {m.key for m in Store(run)}
    run_alone(folder, run, "jpeg@1.1bpp:corpus")
    tried = [json.loads(line)[0] for line in (run / SIZES).read_text().splitlines() if line]
    assert tried
    assert not measured.intersection(tried)


def test_a_corpus_that_cannot_meet_a_rate_is_unavailable(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TEXTS)
    names = ["jpeg@99bpp:corpus", "jpeg@1,1.0001bpp:corpus", f"{tmp_path / 'mine.toml'}@1bpp"]
    plan = run_alone(folder, tmp_path / "run", *names).plan
    reasons = [plan.unavailable[name] for name in names]
    assert re.search(r"99 bpp is out of reach here: .* is the most", reasons[0])
    assert "1 and 1.0001 bpp are one point" in reasons[1]
    assert "mine cannot be coded to a rate: its points are no ordered numbers" in reasons[2]


def test_a_picture_that_cannot_be_coded_is_named(folder: Path, tmp_path: Path) -> None:
    failing = "name='mine'\nversion='1'\nencode='cp {input} {output} {value}'\n"
    failing += "decode='cp {input} {output}'\nparameter='q'\npoints=[1, 2]\n"
    (tmp_path / "mine.toml").write_text(failing)
    name = f"{tmp_path / 'mine.toml'}@1bpp:corpus"
    plan = run_alone(folder, tmp_path / "run", name).plan
    assert "mine@1bpp:corpus on " in plan.unavailable[name]


def test_one_picture_that_cannot_be_coded_ends_the_search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may take hours."""
    over = threading.Event()
    in_vain: list[str] = []

    class Fake:
        def __init__(self, role: str, **options: Any) -> None: ...

        def call(self, arguments: tuple[Any, ...], limit: float) -> float:
            if arguments[2].name == "0.png":
                raise CallFailed("failed", "no bits left")
            if not over.wait(5):
                in_vain.append(arguments[2].name)
            raise CallFailed("failed", "killed")

        def kill(self) -> None:
            over.set()

    monkeypatch.setattr(corpus, "Worker", Fake)
    codec = registry.create("jpeg@1bpp:corpus")
    assert isinstance(codec, Corpus)
    dataset = open_dataset(str(folder))
    with pytest.raises(CodecError, match=r"on 0\.png: no bits left"):
        find_points("jpeg@1bpp:corpus", codec, dataset, Store(tmp_path), 2, None, str)
    assert not in_vain


def test_a_sizer_analyses_each_picture_once(
    folder: Path, learned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as there is room for what it keeps."""
    calls: list[Image] = []
    analyse = TransformModel.analyse

    def counting(model: TransformModel, image: Image) -> Any:
        calls.append(image)
        return analyse(model, image)

    monkeypatch.setattr(TransformModel, "analyse", counting)
    images = open_dataset(str(folder)).images
    name = f"{learned}@1bpp:corpus"
    small = images[0].width * images[0].height
    # Where the largest comes first and finds no room, the others do.
    for kept, order, expected in ((1 << 25, 1, 3), (small, 1, 7), (2 * small, -1, 5)):
        monkeypatch.setattr(worker, "KEPT_PIXELS", kept)
        calls.clear()
        sizer = worker.Sizer()
        for quality in (0, 1.5, 3):
            for image in images[::order]:
                assert sizer(name, Point("quality", quality), image, False) > 0
        assert len(calls) == expected


def test_progress_is_shown(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    store = Store(tmp_path)
    codec = registry.create("jpeg@1bpp:corpus")
    assert isinstance(codec, Corpus)
    dataset = open_dataset(str(folder))
    points = find_points("jpeg@1bpp:corpus", codec, dataset, store, 2, None, said.append)
    assert said[0].startswith("  jpeg@1bpp:corpus: trying quality ")
    assert f"{points[0].label} for 1 bpp gives" in said[-1]


def test_sizes_of_an_interrupted_search_are_kept(tmp_path: Path) -> None:
    sizes = Sizes(Store(tmp_path))
    sizes.put("a", False, 10.5, 3.0)
    sizes.put("a", True, 11, 2.0)
    with open(tmp_path / SIZES, "a") as file:
        file.write('\n["b", tr')
        for size in ("NaN", "-1", "0", "1" + "0" * 400):
            file.write(f'\n["d", true, {size}]')
    again = Sizes(Store(tmp_path))
    again.put("c", True, 3, 5.0)
    last = Sizes(Store(tmp_path))
    assert [last.get("a", False), last.get("a", True), last.get("c", True)] == [10.5, 11, 3]
    assert last.begun == 2
    assert last.get("b", True) is None
    assert last.get("d", True) is None


def test_pictures_too_small_to_warm_up_with_cost_nothing(folder: Path, tmp_path: Path) -> None:
    """64 x 64 pixels at this rate are out of reach of a codec with such headers."""
    codec = registry.create("jpeg@0.6bpp")
    with pytest.raises(CodecError, match="out of reach"):
        codec.encode(np.ascontiguousarray(crop(256, 256, 2)[:64, :64]), codec.points[0])
    codec.warm_up = True
    encoder = worker.Encoder()
    encoder.codecs["jpeg@0.6bpp"] = codec
    image = open_dataset(str(folder)).images[2]
    assert encoder("jpeg@0.6bpp", codec.points[0], image, tmp_path / "stream")[0] > 0


def test_rates_in_other_commands() -> None:
    assert quick_name("vvenc@0.15bpp") == "vvenc:medium@0.15bpp"
    assert quick_name("jpeg") == "jpeg"
    assert at_rates("./mine.py:a@0.3bpp") == ["./mine.py:a", "./mine.py:a@0.3bpp"]
    assert at_rates("vvenc@0.2,0.1bpp:corpus") == ["vvenc", "vvenc@0.1bpp", "vvenc@0.2bpp"]
    assert at_rates("vvenc@37") == ["vvenc@37"]


def test_the_list_says_what_may_follow_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "codecs"]) == 0
    assert "@0.15bpp:corpus" in capsys.readouterr().out
