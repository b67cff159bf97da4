"""Streams and adapter: round trips, other processes and threads, rates, damage."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from codecs.base import EncodeError, Point
from codecs.learned import weights
from codecs.rdonet.codec import RDONetModel
from codecs.rdonet.diagnostics import likelihoods
from codecs.rdonet.masks import Masks, ctu_grid, random_masks
from codecs.rdonet.network import RDONet
from codecs.rdonet.stream import pad
from tests.rdonet_toys import TOY, as_tensor, crop, load_rdonet, rdonet_codec, toy

MODES = RDONetModel.variants["search"]

DECODE = """
import sys, zlib, bench, torch
from pathlib import Path
from tests.rdonet_toys import load_rdonet
threads, path, *streams = sys.argv[1:]
torch.set_num_threads(int(threads))
model = load_rdonet(Path(path))
for stream in streams:
    data = Path(stream).read_bytes()
    crc = 0
    for level in model.coder.decode(data).levels.values():
        crc = zlib.crc32(level.latents.tobytes(), crc)
    print(crc, zlib.crc32(model.decode(data).tobytes()))
"""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def latents_crc(model, data):
    import zlib

    crc = 0
    for level in model.coder.decode(data).levels.values():
        crc = zlib.crc32(level.latents.tobytes(), crc)
    return crc, zlib.crc32(model.decode(data).tobytes())


def decode_elsewhere(threads, path, streams, folder):
    """What `latents_crc` says in a fresh process."""
    files = []
    for i, data in enumerate(streams):
        files.append(folder / f"{i}.bin")
        files[-1].write_bytes(data)
    command = [sys.executable, "-c", DECODE, str(threads), str(path), *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
    return [tuple(map(int, line.split())) for line in run.stdout.splitlines()]


def encode_with(model, image, masks):
    x = pad(as_tensor(image))
    return model.coder.encode(model.coder.features(x), masks, image.shape[:2])


def test_any_partition_decodes_in_a_fresh_process(tmp_path):
    """On one thread, what two threads have encoded."""
    masks = random_masks(1, *ctu_grid(300, 400), torch.Generator().manual_seed(1))
    torch.set_num_threads(2)
    data = encode_with(toy(), crop(300, 400, 7), masks)
    assert decode_elsewhere(1, TOY, [data], tmp_path) == [latents_crc(toy(), data)]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_decoder_has_the_latents_and_partition_of_the_encoder(level):
    image = crop(200, 330, level)
    grid = ctu_grid(200, 330)
    masks = random_masks(1, *grid, torch.Generator().manual_seed(2))
    if level:
        masks = Masks.uniform(level, 1, *grid)
    data = encode_with(toy(), image, masks)
    assert data == encode_with(toy(), image, masks)
    coded = toy().coder.decode(data)
    assert coded.masks.same(masks)
    for k in (1, 2, 3):
        assert np.array_equal(coded.levels[k].sent, masks.sent(k)[0, 0].numpy())
        assert not coded.levels[k].latents[~coded.levels[k].sent].any()
        if level not in (0, k):
            assert coded.section_bytes[f"level {k}"] == 0
    assert coded.size == (200, 330)


def test_decoded_picture_is_close_to_what_the_network_reconstructs():
    image = crop(256, 320, 3)
    masks = random_masks(1, 4, 5, torch.Generator().manual_seed(3))
    decoded = toy().decode(encode_with(toy(), image, masks)).astype(float)
    with torch.no_grad():
        x_hat = toy().network(as_tensor(image), masks).x_hat[0].permute(1, 2, 0)
    expected = x_hat.clamp(0, 1).mul(255).numpy()
    # A latent near a half may round differently with d on the integer grid.
    assert np.abs(decoded - expected).mean() < 1
    assert np.square(decoded - image).mean() < 1.02 * np.square(expected - image).mean() + 0.5


@pytest.mark.parametrize("mode", MODES)
def test_file_size_is_the_estimated_rate(mode):
    for seed in range(2):
        image = crop(330, 300, seed)
        data = toy(mode).encode(image)
        coded = toy().coder.decode(data)
        outputs = likelihoods(toy().coder, coded)
        estimate = 8.0 * coded.section_bytes["mask"]
        estimate += sum(float(o.y_bits.sum() + o.z_bits.sum()) for o in outputs.values())
        assert abs(8 * len(data) - estimate) <= 0.01 * estimate + 64 * 8
        x_hat_bits = toy().network(pad(as_tensor(image)), coded.masks).total_bits()
        assert abs(8 * len(data) - float(x_hat_bits)) <= 0.01 * float(x_hat_bits) + 64 * 8


@pytest.mark.parametrize(
    ("preset", "latents"), [("paper", ()), ("original", ()), ("compact-gdn", (12, 6, 4))]
)
def test_other_networks_code_too(preset, latents, tmp_path):
    torch.manual_seed(0)
    network = RDONet.preset(preset, width=8, latents=latents).eval()
    path = tmp_path / "w.safetensors"
    weights.export(network, path, {"point": {"parameter": "lambda", "value": 1.0}})
    model = load_rdonet(path)
    image = crop(150, 200, 1)
    masks = random_masks(1, 3, 4, torch.Generator().manual_seed(4))
    data = encode_with(model, image, masks)
    expected = latents_crc(model, data)
    torch.set_num_threads(2)
    assert latents_crc(model, data) == expected
    estimate = float(model.network(pad(as_tensor(image)), masks).total_bits())
    assert abs(8 * len(data) - estimate) <= 0.01 * estimate + 64 * 8


def test_adapter_codes_and_describes_all_modes():
    image = crop(130, 200, 5)
    found = {}
    for mode in MODES:
        codec = rdonet_codec(TOY.parent, mode)
        (point,) = codec.points
        data = codec.encode(image, point)
        facts = codec.diagnostics(image, data)
        decoded = codec.decode(data)
        assert decoded.shape == image.shape
        levels, bits = facts["maps"]
        assert len(levels["rows"]) == 12
        assert {len(row) for row in levels["rows"]} == {16}
        assert set("".join(levels["rows"])) <= set("123")
        assert np.sum(bits["rows"]) == pytest.approx(sum(facts["bits"].values()), abs=5)
        mse = np.square(decoded / 255.0 - image / 255.0).mean()
        rate = 8 * len(data) / (130 * 200)
        assert facts["cost"]["J"] == pytest.approx(12 * mse + rate, rel=1e-4)
        error = np.square(decoded / 255.0 - image / 255.0).mean(2)
        rows = np.isin(np.arange(130), (63, 64, 127, 128))
        columns = np.isin(np.arange(200), (63, 64, 127, 128, 191, 192))
        border = rows[:, None] | columns
        assert facts["squared_error"]["border"] == pytest.approx(error[border].mean())
        assert facts["squared_error"]["inside"] == pytest.approx(error[~border].mean())
        assert facts["model"]["bytes"] == TOY.stat().st_size
        found[mode] = facts
        assert "coding_runs" not in rdonet_codec(TOY.parent, mode).diagnostics(image, data)
    assert found["zero-pass"]["coding_runs"] == 1
    assert 5 <= found["one-pass"]["coding_runs"] <= 10
    assert found["one-pass"]["coding_runs"] <= found["full"]["coding_runs"] <= 49
    assert found["full"]["estimated_cost"]["found"] <= found["one-pass"]["estimated_cost"]["found"]
    assert rdonet_codec(TOY.parent, "zero-pass").name == "rdonet"
    assert rdonet_codec(TOY.parent, "full").name == "rdonet:full"
    with pytest.raises(EncodeError, match="no weights for lambda 7"):
        codec.encode(image, Point("lambda", 7))
