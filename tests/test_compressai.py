"""CompressAI's models as codecs: container and downloads with a stand-in for the package, coding
with untrained networks where the package is installed."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import torch

from codecs import compressai_models, compressai_zoo, registry
from codecs.base import MAX_PIXELS, BitstreamError, CodecUnavailable, EncodeError, Point
from codecs.compressai_models import MAGIC, QUALITIES, VERSION, CompressAICodec
from codecs.learned import bitstream
from codecs.learned.bitstream import Header
from tests.conftest import ROOT

HOST = "https://weights.invalid"


class StandIn:
    """A lossless network: the "string" of y is the padded picture, deflated; z holds its shape."""

    M = 1

    def __init__(self, seed: int = 0) -> None:
        self.state = {"weight": torch.full((2,), float(seed))}

    def update(self) -> bool:
        return False

    def to(self, device: str) -> StandIn:
        assert device == "cpu"
        return self

    def state_dict(self):
        return self.state

    def compress(self, x):
        assert x.shape[2] % 64 == x.shape[3] % 64 == 0
        self.seen = x
        packed = zlib.compress((x * 255).round().to(torch.uint8).numpy().tobytes())
        shape = torch.Size((x.shape[2] // 64, x.shape[3] // 64))
        return {"strings": [[packed], [bytes(shape)]], "shape": shape}

    def decompress(self, strings, shape):
        assert strings[1][0][:2] == bytes(shape)
        pixels = zlib.decompressobj().decompress(strings[0][0])
        x = np.frombuffer(pixels, np.uint8).reshape(1, 3, 64 * shape[0], 64 * shape[1])
        return {"x_hat": torch.from_numpy(x.copy()).float() / 255}


@pytest.fixture
def stand_in(monkeypatch):
    """Makes codecs on stand-ins; the seed is the quality unless given."""
    monkeypatch.setattr(compressai_zoo, "version", lambda: "0")

    def make(seed: int | None = None) -> CompressAICodec:
        def load(quality):
            return StandIn(quality if seed is None else seed)

        return CompressAICodec("mbt2018", "mse", load, "none")

    return make


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 63), (100, 130)])
def test_pictures_come_back_at_their_size(stand_in, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    data = stand_in().encode(image, Point("quality", 3))
    assert np.array_equal(stand_in().decode(data), image)


def test_padding_is_black_and_centred(stand_in):
    codec = stand_in()
    codec.encode(np.full((61, 62, 3), 255, np.uint8), Point("quality", 1))
    x = codec._model(1)[0].seen[0, 0]
    assert [int(x[:, 32].argmax()), int(x[32].argmax())] == [1, 1]
    assert x.sum() == 61 * 62


def test_weights_that_differ_are_refused(stand_in, photo):
    data = stand_in().encode(photo, Point("quality", 3))
    with pytest.raises(BitstreamError, match="was made with weights"):
        stand_in(seed=9).decode(data)


def test_damage_is_found(stand_in):
    codec = stand_in()
    image = np.zeros((70, 70, 3), np.uint8)
    data = codec.encode(image, Point("quality", 8))
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            codec.decode(data[:length])
    for i in range(len(data)):
        for bit in (1, 128):
            damaged = bytearray(data)
            damaged[i] ^= bit
            with pytest.raises(BitstreamError):
                codec.decode(bytes(damaged))


def test_what_compressai_raises_is_a_bitstream_error(stand_in):
    codec = stand_in()
    header = Header(MAGIC, VERSION, codec._model(2)[1], 2, 50, 50)
    sections = [b"not deflated", b"\1\1"]
    data = bitstream.pack(header, sections, compressai_models._for_checksum(sections))
    with pytest.raises(BitstreamError, match="cannot decode"):
        codec.decode(data)


def test_refused_pictures_and_points(stand_in):
    codec = stand_in()
    image = np.zeros((8, 8, 3), np.uint8)
    for point in (Point("quality", 0), Point("quality", 9), Point("lambda", 3)):
        with pytest.raises(EncodeError):
            codec.encode(image, point)
    huge = np.broadcast_to(np.uint8(0), (1 << 14, MAX_PIXELS // (1 << 14) + 1, 3))
    with pytest.raises(EncodeError, match="pixels"):
        codec.encode(huge, Point("quality", 1))


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "compressai", None)
    monkeypatch.delitem(sys.modules, "compressai.zoo.image", raising=False)
    with pytest.raises(CodecUnavailable, match=re.escape(compressai_zoo.INSTALL)):
        registry.create("compressai:mbt2018")


def test_the_lock_holds_what_is_imported():
    lock = (ROOT / "requirements-compressai.lock").read_text()
    names = {requirement.partition("==")[0] for requirement in compressai_zoo.REQUIREMENTS}
    assert set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)) == names
    assert compressai_zoo.REQUIREMENTS[0] in lock


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """An empty folder for weights; nothing is known of the network."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(compressai_zoo, "_unreachable", {})
    return tmp_path / "checkpoints"


def test_without_a_network_it_is_tried_once(hub, monkeypatch):
    urls = {q: f"{HOST}/model-{q}-0123abcd.pth.tar" for q in (1, 2)}
    zoo = SimpleNamespace(model_urls={a: {"mse": urls, "ms-ssim": urls} for a in QUALITIES})
    tried = []

    def get(url, **options):
        assert options["timeout"] == compressai_zoo.TIMEOUTS
        tried.append(url)
        raise requests.ConnectionError("no route")

    monkeypatch.setattr(compressai_zoo, "package", lambda: zoo)
    monkeypatch.setattr(requests, "get", get)
    for name in ("compressai", "compressai:cheng2020-attn:ms-ssim"):
        with pytest.raises(CodecUnavailable, match=rf"{HOST}/model-1-0123abcd.*no connection"):
            registry.create(name)
    assert tried == [urls[1]]
    assert not list(hub.iterdir())


def serve(monkeypatch, content: bytes) -> None:
    answer = requests.Response()
    answer.status_code = 200
    answer.raw = io.BytesIO(content)
    monkeypatch.setattr(requests, "get", lambda url, **options: answer)


def test_downloads_are_verified_and_kept(hub, monkeypatch):
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    url = f"{HOST}/model-{digest}.pth.tar"
    serve(monkeypatch, b"something else")
    with pytest.raises(CodecUnavailable, match="SHA-256"):
        compressai_zoo.fetch(url)
    assert not list(hub.iterdir())
    serve(monkeypatch, b"weights")
    path = compressai_zoo.fetch(url)
    assert path.read_bytes() == b"weights"
    assert list(hub.iterdir()) == [path]
    monkeypatch.delattr(requests, "get")
    assert compressai_zoo.fetch(url) == path
    path.write_bytes(b"damaged")
    with pytest.raises(CodecUnavailable, match="damaged"):
        compressai_zoo.fetch(url)


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_code_is_not_run(monkeypatch, tmp_path):
    monkeypatch.setattr(compressai_zoo, "package", lambda: SimpleNamespace())
    victim = tmp_path / "victim"
    torch.save({"weight": Harmful(victim)}, tmp_path / "weights.pth.tar")
    (tmp_path / "plain.pth.tar").write_bytes(pickle.dumps(Harmful(victim), protocol=2))
    for name in ("weights.pth.tar", "plain.pth.tar"):
        with pytest.raises(CodecUnavailable, match="code in a file is not run"):
            compressai_zoo.load("mbt2018", tmp_path / name)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("compressai:mbt2019", "did you mean 'mbt2018'"),
        ("compressai:mbt2018:cheng2020-attn", "two models"),
    ],
)
def test_unknown_models(name, hint):
    with pytest.raises(registry.UnknownCodec, match=hint):
        registry.create(name)


@pytest.fixture(scope="module", params=QUALITIES)
def untrained(request) -> CompressAICodec:
    """A narrow network of each architecture with random weights."""
    pytest.importorskip("compressai", reason="the optional package CompressAI is not installed")
    widths = (8,) if request.param.startswith("cheng") else (8, 12)
    torch.manual_seed(0)
    model = compressai_zoo.package().model_architectures[request.param](*widths).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("g_a") and name.endswith("weight"):
                parameter.mul_(3)  # so that symbols vary
    return CompressAICodec(request.param, "mse", lambda quality: model, "none")


def test_decoding_is_compressais(untrained, photo):
    """Bytes to pixels as in its evaluation, whose padding functions are used here."""
    from compressai.ops import compute_padding

    image = photo[:70, :90]
    model = untrained._model(2)[0]
    pad, unpad = compute_padding(70, 90, min_div=64)
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        coded = model.compress(torch.nn.functional.pad(x, pad))
        y = torch.nn.functional.pad(model.decompress(**coded)["x_hat"], unpad)
    expected = (y[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    data = untrained.encode(image, Point("quality", 2))
    assert np.array_equal(untrained.decode(data), expected)
    strings = sum(len(s[0]) for s in coded["strings"])
    assert strings < len(data) <= strings + 20
    assert sum(untrained.diagnostics(image, data)["bytes"].values()) == strings


def test_hostile_strings_with_a_right_checksum(untrained):
    """CompressAI's decoder reads on behind the end of a string: it must find zeros there."""
    rng = np.random.default_rng(0)
    header = Header(MAGIC, VERSION, untrained._model(1)[1], 1, 60, 100)
    for length in (0, 1, 4, 7, 8, 40, 400):
        for fill in (0, 255, None):
            sections = [
                rng.bytes(length) if fill is None else bytes([fill]) * length
                for _ in range(untrained._sections())
            ]
            data = bitstream.pack(header, sections, compressai_models._for_checksum(sections))
            try:
                assert untrained.decode(data).shape == (60, 100, 3)
            except BitstreamError:
                continue


def test_exported_weights_load_again(untrained, tmp_path, photo):
    """What the zoo's files hold: a state dict with its tables."""
    model = untrained._model(1)[0]
    path = tmp_path / "model.pth.tar"
    torch.save(model.state_dict(), path)
    fresh = CompressAICodec(
        untrained.architecture,
        "mse",
        lambda quality: compressai_zoo.load(untrained.architecture, path),
        "none",
    )
    data = untrained.encode(photo[:64, :64], Point("quality", 1))
    assert np.array_equal(fresh.decode(data), untrained.decode(data))
