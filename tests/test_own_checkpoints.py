"""CompressAI's networks with somebody's own weights: `compressai:mbt2018@./ckpt-{value}.pth`.

What follows the `@` is looked at without the package; networks are trained and coded where it is
installed (`make compressai`, as CI does).
"""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.record.measurement import measurement_key
from bench.record.store import Store
from codecs import checkpoints, compressai_zoo, registry
from codecs.base import CodecUnavailable, EncodeError, Point
from codecs.naming import UnknownCodec, check_spelling
from codecs.selection import split
from tests.helpers import run_alone


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def values(pattern: str) -> list[int | float | str]:
    return [point.value for point in checkpoints.found(pattern)]


def test_files_are_points_in_order(tmp_path):
    touch(tmp_path, "a-0.0130.pth", "a-0.0018.pth", "a-2.pth", "a-10.pth", "a-low.pth", "a-.pth")
    touch(tmp_path, "b-1.pth", "a-3.pth/x", "[x]/1e-3/best.pth.tar", "[x]/2/best.pth.tar")
    assert values(f"{tmp_path}/a-{{value}}.pth") == [0.0018, 0.013, 2, 10, "low"]
    assert values(f"{tmp_path}/[x]/{{value}}/best.pth.tar") == [0.001, 2]
    found = checkpoints.found(f"{tmp_path}/a-{{value}}.pth")
    assert found[Point("checkpoint", 0.013)] == tmp_path / "a-0.0130.pth"
    assert checkpoints.found(f"{tmp_path}/b-1.pth") == {
        Point("checkpoint", "b-1"): tmp_path / "b-1.pth"
    }


def test_paths_that_name_no_points(tmp_path):
    with pytest.raises(UnknownCodec, match=r"there is no file .*a-\*\.pth"):
        checkpoints.found(f"{tmp_path}/a-{{value}}.pth")
    with pytest.raises(UnknownCodec, match=r"there is no file .*a\.pth"):
        checkpoints.found(f"{tmp_path}/a.pth")
    with pytest.raises(UnknownCodec, match="once"):
        checkpoints.found(f"{tmp_path}/{{value}}/{{value}}.pth")
    touch(tmp_path, "a-1.pth", "a-01.pth")
    with pytest.raises(UnknownCodec, match="of one value, 1"):
        checkpoints.found(f"{tmp_path}/a-{{value}}.pth")
    touch(tmp_path, *(f"b-{i}.pth" for i in range(checkpoints.MOST + 1)))
    with pytest.raises(UnknownCodec, match="more than 127"):
        checkpoints.found(f"{tmp_path}/b-{{value}}.pth")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("./ckpt-{value}.pth", "ckpt"),
        ("runs/mine_{value}/checkpoint_best_loss.pth.tar", "mine"),
        ("{value}/last.pt", "last"),
        ("{value}.pth", "checkpoint"),
        ("/a/my net: v2 ({value}).pth", "my_net_v2"),
        ("/a/best.pth.tar", "best"),
        (f"./{'x' * 300}.pth", "x" * 24),
    ],
)
def test_what_weights_are_called(pattern, name):
    assert checkpoints.short_name(pattern) == name
    check_spelling(f"compressai:bmshj2018-factorized:{name}")


@pytest.mark.parametrize("weights", ["./ckpt-{value}.pth", "ckpt.pth.tar", "/a@b/{value}/c.pt"])
def test_points_and_rates_may_follow_weights(weights):
    name = f"compressai:mbt2018@{weights}"
    assert split(name) == (name, None)
    base, selection = split(f"{name}@0.01,0.05")
    assert base == name
    assert selection is not None
    assert selection.values == (0.01, 0.05)
    assert registry.unaliased(name) == name
    assert not registry.is_foreign_code(name)


def test_a_text_of_that_ending_is_still_a_point_of_a_file():
    base, selection = split("./mine.toml@a.pth,b.pth")
    assert base == "./mine.toml"
    assert selection is not None
    assert selection.values == ("a.pth", "b.pth")


def test_names_are_checked_without_loading(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "ckpt-1.pth")
    registry.check_name("compressai:mbt2018@./ckpt-{value}.pth@1")
    assert (
        registry.absolute("compressai@./ckpt-{value}.pth@1")
        == f"compressai@{tmp_path}/ckpt-{{value}}.pth@1"
    )
    for name, reason in (
        ("compressai:mbt2018@./other-{value}.pth", r"there is no file \./other-\*\.pth"),
        ("compressai:mbt2019@./ckpt-{value}.pth", "did you mean 'mbt2018'"),
        ("vvenc@./ckpt-{value}.pth", "vvenc takes no files of weights"),
    ):
        with pytest.raises(UnknownCodec, match=reason):
            registry.check_name(name)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "compressai.zoo.image", None)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CodecUnavailable, match="optional package CompressAI"):
        registry.create(f"compressai@{tmp_path}/a.pth")


def test_weights_that_compressai_has_not():
    with pytest.raises(
        UnknownCodec, match=r"name yours, as in compressai:bmshj2018-factorized-relu@"
    ):
        registry.create("compressai:bmshj2018-factorized-relu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photo) -> Path:
    """Two tiny networks of mbt2018, trained for seconds: a state dict, and a checkpoint
    as `examples/train.py` writes it, of several devices."""
    pytest.importorskip("compressai", reason="CompressAI is not installed (make compressai)")
    folder = tmp_path_factory.mktemp("checkpoints")
    x = torch.from_numpy(photo[:128, :128].copy()).permute(2, 0, 1)[None] / 255
    for weight in (0.01, 0.05):
        torch.manual_seed(0)
        network = compressai_zoo.package().model_architectures["mbt2018"](8, 12)
        parameters = [p for n, p in network.named_parameters() if not n.endswith("quantiles")]
        optimiser = torch.optim.Adam(parameters, lr=5e-3)
        losses = []
        for _ in range(40):
            out = network(x)
            bits = sum(-torch.log2(p).sum() for p in out["likelihoods"].values())
            loss = bits / x[0, 0].numel() + weight * 255**2 * (out["x_hat"] - x).square().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] / 3
        state: dict[str, Any] = network.state_dict()
        if weight == 0.05:
            state = {
                "epoch": 1,
                "state_dict": OrderedDict((f"module.{k}", v) for k, v in state.items()),
                "loss": losses[-1],
                "optimizer": optimiser.state_dict(),
            }
        torch.save(state, folder / f"ckpt-{weight}.pth")
    return folder


def test_own_weights_are_a_codec(trained, photo):
    name = f"compressai:mbt2018@{trained}/ckpt-{{value}}.pth"
    codec = registry.create(name)
    assert codec.name == "compressai:mbt2018:ckpt"
    assert codec.points == (Point("checkpoint", 0.01), Point("checkpoint", 0.05))
    image = np.ascontiguousarray(photo[:70, :90])
    pictures, streams = [], []
    for point in codec.points:
        streams.append(codec.encode(image, point))
        # The decoder has made its network anew, tables included.
        pictures.append(registry.create(name).decode(streams[-1]))
        assert pictures[-1].shape == image.shape
    assert streams[0] != streams[1]
    assert not np.array_equal(pictures[0], pictures[1])
    errors = [np.square(picture.astype(float) - image).mean() for picture in pictures]
    assert errors[1] < errors[0] < 0.8 * np.var(image)
    only = registry.create(f"{name}@0.05")
    assert only.encode(image, only.points[0]) == streams[1]
    single = registry.create(f"compressai:mbt2018@{trained}/ckpt-0.05.pth")
    assert single.name == "compressai:mbt2018:ckpt-0.05"
    assert np.array_equal(single.decode(single.encode(image, single.points[0])), pictures[1])
    with pytest.raises(EncodeError, match=r"no weights for checkpoint 0\.02: expected"):
        codec.encode(image, Point("checkpoint", 0.02))


def test_other_weights_are_measured_anew(trained, tmp_path):
    path = tmp_path / "ckpt.pth"
    keys, digests = [], []
    for source in ("ckpt-0.01.pth", "ckpt-0.05.pth"):
        path.write_bytes((trained / source).read_bytes())
        codec = registry.create(f"compressai:mbt2018@{path}")
        digests.append(hashlib.sha256(path.read_bytes()).hexdigest()[:16])
        assert f"ckpt.pth {digests[-1]}" in codec.settings["file digests"]
        keys.append(
            measurement_key(codec.name, codec.version, codec.settings, codec.points[0], "a")
        )
    assert keys[0] != keys[1]


def test_a_run_of_own_weights(trained, tmp_path, photo, monkeypatch):
    """In the processes of a run, by a path relative to where it is started."""
    from PIL import Image as Pillow

    (tmp_path / "set").mkdir()
    Pillow.fromarray(photo[:64, :64]).save(tmp_path / "set" / "a.png")
    monkeypatch.chdir(trained)
    outcome = run_alone(tmp_path / "set", tmp_path / "run", "compressai:mbt2018@./ckpt-{value}.pth")
    assert (outcome.failed, len(list(Store(tmp_path / "run")))) == (0, 2)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_that_hold_something_else(trained, tmp_path):
    state = torch.load(trained / "ckpt-0.01.pth", weights_only=True)
    half = dict(itertools.islice(state.items(), 5))
    for content, architecture, reason in (
        (Harmful(tmp_path / "victim"), "mbt2018", "code in a file is not run.*torch.save"),
        ([1, 2], "mbt2018", "holds no state dict"),
        ({"epoch": 3}, "mbt2018", "holds no state dict"),
        (half, "mbt2018", "not weights of mbt2018"),
        (state, "mbt2018-mean", "not weights of mbt2018-mean.*another architecture"),
        (state, "cheng2020-attn", "not weights of cheng2020-attn"),
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(CodecUnavailable, match=reason) as caught:
            registry.create(f"compressai:{architecture}@{tmp_path}/a.pth")
        assert len(str(caught.value)) < 600
    (tmp_path / "a.pth").write_bytes(b"no weights")
    with pytest.raises(CodecUnavailable, match="cannot be read"):
        registry.create(f"compressai:mbt2018@{tmp_path}/a.pth")
    assert not (tmp_path / "victim").exists()
