"""Minnen 2018: against CompressAI, and as a codec."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from codecs.base import BitstreamError, CodecUnavailable, EncodeError, Image, Point
from codecs.learned import weights
from codecs.learned.bands import in_bands
from codecs.learned.coders.likelihood import gaussian_likelihood
from codecs.learned.network import kmac_per_pixel
from codecs.learned.transform import TransformModel
from codecs.minnen import Minnen, create
from codecs.naming import UnknownCodec
from tests import make_compressai_reference as compressai_reference
from tests.conftest import ROOT
from tests.learned_toys import (
    load_minnen,
    minnen_codec,
    minnen_file,
    minnen_model,
    smooth_noise,
    trained_minnen,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TransformModel:
    return minnen_model(tmp_path_factory.mktemp("weights"))


def picture(height: int, width: int, seed: int = 0) -> Image:
    torch.manual_seed(seed)
    x = smooth_noise(1, height, width)[0]
    return (x * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def check_against_compressai(network: Minnen, x: Tensor, expected: dict[str, Tensor]) -> None:
    network.eval()
    with torch.no_grad():
        y_hat = torch.round(network.g_a(x))
        z_hat = network.prior.round(network.h_a(network.g_a(x)))
        scales, means = network.latent_model().theta(network.h_s(z_hat), y_hat).chunk(2, 1)
        out = network(x)
        mine = {
            "y_hat": y_hat,
            "z_hat": z_hat,
            "scales": scales,
            "means": means,
            "y_likelihood": gaussian_likelihood(y_hat, means, scales),
            "z_likelihood": network.prior.likelihood(z_hat),
            "x_hat": out.x_hat,
        }
    assert expected["y_hat"].std() > 0.3
    for name, value in expected.items():
        assert mine[name].shape == value.shape
        scale = max(1.0, value.abs().max().item())
        assert (mine[name] - value).abs().max().item() <= 1e-5 * scale, name
    for name in ("y", "z"):
        total = -torch.log2(expected[f"{name}_likelihood"]).sum().item()
        assert out.bits[name].sum().item() == pytest.approx(total, rel=1e-4)


def test_equals_compressai_as_recorded() -> None:
    stored = safetensors.torch.load_file(compressai_reference.REFERENCE)
    network = Minnen(4, 6)
    parts = {
        prefix: {k.removeprefix(prefix): v for k, v in stored.items() if k.startswith(prefix)}
        for prefix in ("weights.", "outputs.")
    }
    network.load_state_dict(parts["weights."])
    check_against_compressai(network, stored["x"], parts["outputs."])


def test_equals_compressai_itself() -> None:
    pytest.importorskip("compressai", reason="CompressAI is not installed")
    theirs = compressai_reference.random_model(12, 18, seed=5)
    network = Minnen(12, 18)
    network.load_state_dict(compressai_reference.converted(theirs.state_dict()))
    x = torch.rand(2, 3, 128, 64)
    check_against_compressai(network, x, compressai_reference.outputs(theirs, x))


def test_training_sees_noise_and_learns() -> None:
    torch.manual_seed(0)
    network = Minnen(4, 6).train()
    x = smooth_noise(2, 64)
    first, second = network(x), network(x)
    assert not torch.equal(first.x_hat, second.x_hat)
    assert first.total_bits().shape == (2,)
    first.total_bits().sum().backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    assert {name.split(".")[0] for name in reached} == {
        "g_a",
        "h_a",
        "h_s",
        "prior",
        "context",
        "head",
    }


def test_file_size_is_the_estimated_rate(model: TransformModel) -> None:
    """Within 1 % + 64 bytes of the floating-point network's estimate, on three pictures; and the
    integer tables cost at most 0.3 %."""
    for seed, size in enumerate([(512, 768), (301, 200), (64, 64)]):
        image = picture(*size, seed)
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        padding = (0, -size[1] % 64, 0, -size[0] % 64)
        x = torch.nn.functional.pad(x, padding, mode="replicate")
        with torch.no_grad():
            estimate = model.network(x).total_bits().item() / 8
        data = model.encode(image)
        assert abs(len(data) - estimate) <= 0.01 * estimate + 64
        exact = sum(model.information(image).values()) / 8
        assert exact - estimate <= 0.003 * estimate + 4


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 260), st.integers(1, 260), st.integers(0, 9))
def test_round_trip(model: TransformModel, height: int, width: int, seed: int) -> None:
    image = picture(height, width, seed)
    data = model.encode(image)
    header, symbols = model.decode_symbols(data)
    assert all(map(np.array_equal, symbols, model.symbols(image)))
    decoded = model.decode(data)
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, model.synthesise(header, symbols))
    assert data == model.encode(image)


def test_decoded_picture_resembles_the_original(model: TransformModel) -> None:
    image = picture(128, 192, seed=77)
    error = np.square(model.decode(model.encode(image)).astype(float) - image).mean()
    assert error < 0.5 * image.var((0, 1)).mean()


@pytest.mark.parametrize("threads", [1, 2])
def test_decodes_in_a_fresh_process_with_other_threads(
    tmp_path: Path, photo: Image, threads: int
) -> None:
    model = minnen_model(tmp_path)
    expected = model.decode(model.encode(photo))
    (tmp_path / "stream").write_bytes(model.encode(photo))
    script = (
        "import sys, torch, numpy\n"
        f"torch.set_num_threads({threads})\n"
        "from pathlib import Path\n"
        "from tests.learned_toys import minnen_codec\n"
        "folder = Path(sys.argv[1])\n"
        "image = minnen_codec(folder).decode((folder / 'stream').read_bytes())\n"
        "numpy.save(folder / 'decoded.npy', image)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    start = "import bench\n" + script
    subprocess.run([sys.executable, "-c", start, tmp_path], check=True, env=environment)
    assert np.array_equal(np.load(tmp_path / "decoded.npy"), expected)


def test_bands_equal_one_call(model: TransformModel) -> None:
    network = model.network
    x = smooth_noise(1, 512)
    with torch.no_grad():
        y = network.g_a(x)
        banded = in_bands(network.g_a, x, 16, 1, halo=2, area=100)
        assert (banded - y).abs().max() < 1e-4
        out = network.g_s(y)
        banded = in_bands(network.g_s, y, 1, 16, halo=2, area=100)
        assert (banded - out).abs().max() < 1e-4
        narrow = in_bands(network.g_s, y, 1, 16, halo=1, area=100)
    assert (narrow - out).abs().max() > 1e-4


def test_bfloat16_transforms_leave_the_entropy_path_alone(tmp_path: Path, photo: Image) -> None:
    """The same latents decode; only the synthesis differs, slightly; the settings say so."""
    plain, short = minnen_model(tmp_path), minnen_model(tmp_path, "bfloat16")
    data = plain.encode(photo)
    (header, y), (_, same) = plain.decode_symbols(data), short.decode_symbols(data)
    assert all(map(np.array_equal, y, same))
    difference = plain.synthesise(header, y).astype(float) - short.synthesise(header, y)
    assert 0 < np.square(difference).mean() < 4
    codec = minnen_codec(tmp_path, "bfloat16")
    assert codec.settings["transforms"] == "bfloat16"
    assert codec.name != minnen_codec(tmp_path).name


def test_codec_has_a_point_for_each_file(tmp_path: Path, photo: Image) -> None:
    minnen_file(tmp_path, seed=1, value=0.05)
    minnen_file(tmp_path, seed=0, value=0.01)
    codec = minnen_codec(tmp_path)
    assert codec.points == (Point("lambda", 0.01), Point("lambda", 0.05))
    streams = [codec.encode(photo, point) for point in codec.points]
    for data in streams:
        assert codec.decode(data).shape == photo.shape
        assert sum(codec.diagnostics(photo, data)["bytes"].values()) < len(data)
    with pytest.raises(EncodeError, match=r"no weights for lambda 3; there are lambda 0\.01"):
        codec.encode(photo, Point("lambda", 3))
    (tmp_path / "toy1.safetensors").unlink()
    with pytest.raises(BitstreamError, match="was made with weights"):
        minnen_codec(tmp_path).decode(streams[1])
    model = load_minnen(tmp_path / "toy0.safetensors")
    with pytest.raises(BitstreamError, match=r"but toy0\.safetensors has"):
        model.decode(streams[1])


def test_variants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minnen").mkdir()
    minnen_file(tmp_path / "minnen")
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
    assert create().name == "minnen"
    assert create("bfloat16").settings["transforms"] == "bfloat16"
    with pytest.raises(UnknownCodec, match="unknown variant 'float16'"):
        create("float16")


def test_missing_and_unfit_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(CodecUnavailable, match=r"train some with .python -m codecs.train minnen"):
        minnen_codec(tmp_path)
    path = minnen_file(tmp_path)
    loaded = weights.load(path, "minnen")
    tables = {k.removeprefix("tables."): v.numpy() for k, v in loaded.tensors.items() if "." in k}
    tables = {k: v for k, v in tables.items() if k.startswith(("z.", "scales."))}
    for change in ({"config": {"N": 9, "M": 12}}, {"config": {"N": -1}}, {"config": 7}):
        weights.save(path, loaded.parameters, tables, {**loaded.card, **change})
        with pytest.raises(CodecUnavailable, match="do not fit"):
            minnen_codec(tmp_path)
    tables["scales.inverse"][-1] = 0
    weights.save(path, loaded.parameters, tables, loaded.card)
    with pytest.raises(CodecUnavailable, match="malformed"):
        minnen_codec(tmp_path)


def test_half_precision_weights(tmp_path: Path, photo: Image) -> None:
    """Stored in 16 bits: about half the file, and a stream of nearly the same size."""
    whole = minnen_model(tmp_path)
    network = Minnen(8, 12)
    network.load_state_dict(trained_minnen().state_dict())
    path = tmp_path / "half" / "toy.safetensors"
    weights.export(network.eval(), path, {"point": {"parameter": "lambda", "value": 1}}, half=True)
    half = load_minnen(path)
    data = half.encode(photo)
    assert all(map(np.array_equal, half.decode_symbols(data)[1], half.symbols(photo)))
    assert len(data) == pytest.approx(len(whole.encode(photo)), rel=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_decodes_what_the_cpu_encoded(tmp_path: Path, photo: Image) -> None:
    cpu, gpu = minnen_model(tmp_path), minnen_model(tmp_path, device="cuda")
    for encoder, decoder in ((cpu, gpu), (gpu, cpu)):
        data = encoder.encode(photo)
        _, symbols = decoder.decode_symbols(data)
        assert all(map(np.array_equal, symbols, encoder.symbols(photo)))


def test_the_label_and_the_settings_say_what_the_cards_note(tmp_path: Path) -> None:
    network = Minnen(N=8, M=8).eval()
    for value, note in (
        (0.1, ""),
        (0.2, "Preliminary: ten steps"),
        (0.3, "Preliminary: ten steps"),
    ):
        card = {"point": {"parameter": "rate", "value": value}, "note": note}
        weights.export(network, tmp_path / f"{value}.safetensors", card)
    codec = minnen_codec(tmp_path)
    assert codec.label == "Minnen 2018 (preliminary weights)"
    assert codec.settings["weights"] == "Preliminary: ten steps"
    for file in ("0.2", "0.3"):
        (tmp_path / f"{file}.safetensors").unlink()
    codec = minnen_codec(tmp_path)
    assert codec.label == "Minnen 2018"
    assert "weights" not in codec.settings


def test_what_the_last_phase_weighed_is_home_ground(tmp_path: Path) -> None:
    network = Minnen(N=8, M=8).eval()
    phases = [{"mse": 1.0, "ms_ssim": 0.1, "lpips": 0.02}, {"mse": 1.0, "ms_ssim": 0.0, "lpips": 1}]
    card = {
        "point": {"parameter": "rate", "value": 0.1},
        "training": {"phases": phases, "lpips_backbone": "squeeze"},
    }
    weights.export(network, tmp_path / "a.safetensors", card)
    assert minnen_codec(tmp_path).tuned_for == ("psnr", "lpips-squeeze")
    other = {"mse": 0.0, "ms_ssim": 0.0, "lpips": 0.0, "features": 0.4}
    card["training"] = {"phases": [other], "lpips_backbone": "squeeze"}
    weights.export(network, tmp_path / "b.safetensors", card | {"point": {"value": 0.2}})
    critics = ("lpips-squeeze", "features of EfficientNet-Lite0")
    assert minnen_codec(tmp_path).tuned_for == ("psnr", *critics)
    (tmp_path / "b.safetensors").unlink()
    broken: tuple[Any, ...] = (
        None,
        [],
        {"phases": {}},
        {"phases": ["x"]},
        {"phases": [{"mse": "1"}]},
    )
    for training in broken:
        damaged = {"point": card["point"], "training": training}
        weights.export(network, tmp_path / "a.safetensors", damaged)
        assert minnen_codec(tmp_path).tuned_for == ()


def test_operations_are_counted_as_by_hand() -> None:
    """k²·inputs·outputs at each position of a convolution, of a transposed one at each input."""
    n = 48
    transforms = 2 * 25 * 3 * n / 4 + 25 * n * n * (2 / 16 + 2 / 64 + 2 / 256)
    normalisations = 2 * n * n * (1 / 4 + 1 / 16 + 1 / 64)
    hyper_analysis = n * n * (9 / 256 + 25 / 1024 + 25 / 4096)
    hyper_synthesis = n * n * (25 / 4096 + 25 * 1.5 / 1024 + 9 * 1.5 * 2 / 256)
    head = (25 * n * 2 * n + 4 * n * 160 + 160 * 128 + 128 * 2 * n) / 256
    by_hand = transforms + normalisations + hyper_analysis + hyper_synthesis + head
    assert kmac_per_pixel(Minnen(N=n, M=n)) == pytest.approx(by_hand / 1e3, abs=0.06)
