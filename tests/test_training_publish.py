"""Publishing weights with 8-bit kernels: what is stored is what the codec uses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from codecs import publish, registry
from codecs.base import Codec, Image
from codecs.learned import compact, weights
from codecs.rdonet.masks import VarianceThresholds, variance_masks
from codecs.rdonet.network import RDONet
from tests.learned_toys import minnen_codec
from tests.rdonet_toys import rdonet_codec

CODECS: dict[str, Callable[[Path], Codec]] = {"minnen": minnen_codec, "rdonet": rdonet_codec}


TRAINING = {
    "finished": True,
    "lambda_eff": 1000.0,
    "lpips_backbone": None,
    "phases": [{"mse": 1.0, "ms_ssim": 0.0, "lpips": 0.0, "gan": 0.0}],
}


def make_run(folder: Path, name: str, label: str = "0.3") -> Path:
    torch.manual_seed(0)
    network = registry.network(name).sized(8).eval()
    card = {"point": {"parameter": "rate", "value": 0.3}, "training": TRAINING}
    path = folder / f"{name}-{label}.safetensors"
    weights.export(network, path, card)
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


@pytest.mark.parametrize("name", CODECS)
def test_published_weights_code_pictures(tmp_path: Path, name: str, photo: Image) -> None:
    run, into, pictures = tmp_path / "run", tmp_path / "weights", tmp_path / "pictures"
    for folder in (run, pictures):
        folder.mkdir()
    PillowImage.fromarray(photo[:64, :64]).save(pictures / "a.png")
    trained = make_run(run, name)
    arguments = [str(run), "--into", str(into), "--valid", str(pictures)]
    arguments += ["--cache", str(tmp_path / "cache"), "--note", "preliminary"]
    assert publish.main(arguments) == 0

    path = into / trained.name
    # Tables and metadata outweigh the kernels of so small a network.
    assert path.stat().st_size < 0.6 * trained.stat().st_size
    original, published = weights.load(trained, name), weights.load(path, name)
    assert original.parameters.keys() == published.parameters.keys()
    network = registry.network(name).sized(8)
    network.load_state_dict(original.parameters)
    network.clear_unused()
    for key, value in network.state_dict().items():
        if value.ndim != 4:
            assert torch.equal(published.parameters[key], value.to(torch.float16).to(value.dtype))
            continue
        worst = (published.parameters[key] - value).abs()
        allowed = value.abs() * 2.0**-10 + 1e-6
        allowed = (
            allowed + 0.51 * (12 * compact.COARSE * value.square().mean((1, 2, 3), True)).sqrt()
        )
        assert bool((worst <= allowed).all())

    card = json.loads(path.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card["note"] == "preliminary"
    cost = card["compact"]
    assert cost["trained_sha256"] == hashlib.sha256(trained.read_bytes()).hexdigest()
    (point,) = cost["points"]
    assert point["after"]["psnr"] == pytest.approx(point["before"]["psnr"], abs=0.1)
    assert {file.name for file in into.iterdir()} == {path.name, path.with_suffix(".json").name}

    codec = CODECS[name](into)
    data = codec.encode(photo, codec.points[0])
    assert CODECS[name](into).decode(data).shape == photo.shape


def test_thresholds_are_calibrated_on_the_pictures(tmp_path: Path, photo: Image) -> None:
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    for folder in (run, pictures):
        folder.mkdir()
    PillowImage.fromarray(photo[:128, :128]).save(pictures / "a.png")
    trained = make_run(run, "rdonet")
    arguments = [str(run), "--into", str(tmp_path / "into"), "--valid", str(pictures)]
    arguments += ["--cache", str(tmp_path / "cache"), "--calibrate", "1"]
    assert publish.main(arguments) == 0
    card = weights.load(tmp_path / "into" / trained.name, "rdonet").card
    found = card["thresholds_calibrated"]
    assert card["config"]["thresholds"] == {k: found[k] for k in ("t64", "t32")}

    network = registry.network("rdonet").sized(8)
    network.load_state_dict(weights.load(trained, "rdonet").parameters)
    x = torch.from_numpy(photo[:128, :128].copy()).permute(2, 0, 1)[None] / 255

    def cost(t64: float, t32: float) -> float:
        assert isinstance(network, RDONet)
        masks = variance_masks(x, VarianceThresholds(t64, t32))
        with torch.no_grad():
            output = network.eval()(x, masks)
        rate = float(output.total_bits()) / 128**2
        return 1000 * float((output.x_hat - x).square().mean()) + rate

    assert found["J"] == pytest.approx(cost(found["t64"], found["t32"]), rel=1e-4)
    assert found["J"] <= min(cost(0, 0), cost(1e9, 1e9), cost(100, 400)) * (1 + 1e-6)


def test_unfinished_models_are_published_on_request_only(
    tmp_path: Path, photo: Image, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, "minnen", "latest")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    PillowImage.fromarray(photo[:64, :64]).save(pictures / "a.png")
    arguments = [str(tmp_path), "--into", str(tmp_path / "into"), "--valid", str(pictures)]
    arguments += ["--cache", str(tmp_path / "cache")]
    assert publish.main(arguments) == 2
    assert "holds no finished model" in capsys.readouterr().err
    assert not (tmp_path / "into").exists()
    assert publish.main([*arguments, "--unfinished"]) == 0
