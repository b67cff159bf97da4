"""Pictures that reach decoders by other ways than streams: found by checks, runs and `verify`."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from bench.__main__ import main
from bench.check.round_trip import check_codecs
from bench.check.stored import verify
from bench.metrics import info
from bench.record.manifest import Manifest
from bench.record.measurement import Measurement
from bench.record.store import Store
from bench.run import sandbox
from bench.run.sandboxed import newer
from tests.helpers import run_alone

TOYS = Path(__file__).parent / "toys"
FILES = ("tmp", "tmpdir", "cache", "shm", "beside", "run")
PLACES = (*FILES, "tcp", "abstract", "socket", "sysv")
closed = pytest.mark.skipif(sandbox.best_kind() == "folders", reason="no namespaces here")


@pytest.fixture
def folder(tmp_path, photo, monkeypatch) -> Iterator[Path]:
    """A folder with one picture, a copy of the cheat, and a home; nothing is left elsewhere."""
    name = f"bench-cheat-{os.getpid()}-{time.monotonic_ns() % 10**6:06}"
    (tmp_path / "pictures").mkdir()
    PillowImage.fromarray(photo[:48, :64]).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "codec").mkdir()
    shutil.copy(TOYS / "cheat.py", tmp_path / "codec")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("TOY_PLACE", name)
    monkeypatch.setenv("TOY_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path
    for path in (Path("/tmp", name), Path("/dev/shm", name), Path("/tmp", f"{name}-tool")):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    library = ctypes.CDLL(None)
    number = int.from_bytes(name.encode()[-4:], "big") & 0x3FFFFFFF
    library.shmctl(library.shmget(number, 0, 0), 0, None)


def cheating(folder: Path, place: str) -> str:
    return f"{folder / 'codec' / 'cheat.py'}:{place}"


def measured(folder: Path, *codecs: str, sandbox: bool = False) -> list[Measurement]:
    time.sleep(1 - time.time() % 1)  # files of this second are no newer than the run
    run_alone(folder / "pictures", folder / "run", *codecs, sandbox=sandbox)
    return sorted(Store(folder / "run"), key=lambda m: (m.codec, m.value))


@closed
@pytest.mark.parametrize("place", PLACES)
def test_a_check_finds_the_cheat(folder, place):
    (folder / "run").mkdir()
    codec = cheating(folder, place)
    (finding,) = check_codecs([codec], wanted=[codec])
    assert finding.status == "wrong"
    if place != "run":  # where that can be written depends on where it lies
        encoder_fails = place in ("beside", "socket")
        assert ("which its decoder does not share" in finding.detail) is encoder_fails
        assert ("it was given the stream and nothing else" in finding.detail) is not encoder_fails


@closed
def test_a_run_in_sandboxes_does_not_measure_it(folder):
    for m in measured(folder, *(cheating(folder, place) for place in PLACES), sandbox=True):
        assert m.status == "failed", m.codec
        encoder_fails = m.codec in ("cheat-beside", "cheat-socket")
        assert ("which its decoder does not share" in m.reason) is encoder_fails
        assert ("it was given the stream and nothing else" in m.reason) is not encoder_fails


@closed
def test_without_one_it_is_believed_and_verify_finds_it(folder, capsys):
    for m in measured(folder, *(cheating(folder, place) for place in PLACES)):
        assert (m.codec, m.status, m.bytes, m.reason) == (m.codec, "ok", 10, "")
        assert m.metrics["psnr"].is_infinite
    assert main(["verify", str(folder / "run"), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    for place in PLACES:
        assert f"wrong   cheat-{place}: 1 of 1 stream is not what was measured" in said
    assert said.count("wrong   level 1 of a.png: decode raised") == len(PLACES)
    assert "hidden as newer than the run: " in said
    assert "was not measured by its size" in said
    assert said.endswith(f"0 ok, 0 missing, {len(PLACES)} wrong\n")


BESIDE = """
import time
from pathlib import Path

import numpy as np
from codecs.base import Codec, Point

KEPT = Path(__file__).with_name("kept.npy")


class Beside(Codec):
    name, label, version, warm_up = "beside", "Beside", "1", False
    points = tuple(Point("level", value) for value in range(1, 101))

    def encode(self, image, point):
        if not KEPT.exists():
            np.save(KEPT, image)
            time.sleep(1.1)  # times of measurements are whole seconds
        return bytes(8 * point.value)

    def decode(self, data):
        return np.load(KEPT)


def codec(variant=None):
    return Beside()
"""


@closed
def test_neither_do_searches_for_a_point_leave_decoders_a_picture(folder, capsys):
    """All pictures are encoded in such a search before the first is measured."""
    codec = folder / "codec" / "beside.py"
    codec.write_text(BESIDE)
    typed = f"{codec}@0.5bpp:corpus"
    assert measured(folder, typed, sandbox=True) == []
    assert not codec.with_name("kept.npy").exists()
    capsys.readouterr()
    (m,) = measured(folder, typed)
    assert m.metrics["psnr"].is_infinite
    assert main(["verify", str(folder / "run"), "--jobs", "1"]) == 1
    assert "hidden as newer than the run: kept.npy" in capsys.readouterr().out


HONEST = """
import os, zlib
from pathlib import Path
import numpy as np
from codecs.base import Codec, Point

def kernel():
    weights = Path(__file__).with_name("weights.bin").read_bytes()
    for folder in (Path.home() / ".cache" / "kernels", Path("/tmp") / os.environ["TOY_PLACE"]):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "compiled").write_bytes(weights)
    return (Path.home() / ".cache" / "kernels" / "compiled").read_bytes()[0]

class Honest(Codec):
    name, label, version = "honest", "Honest", "1"
    points = (Point("step", 2), Point("step", 1))

    def encode(self, image, point):
        size = np.array([*image.shape[:2], int(point.value)], "<u4").tobytes()
        return size + zlib.compress((image // kernel() // int(point.value)).tobytes())

    def decode(self, data):
        height, width, step = np.frombuffer(data[:12], "<u4")
        samples = np.frombuffer(zlib.decompress(data[12:]), np.uint8)
        return (samples * kernel() * np.uint8(step)).reshape(height, width, 3)

def codec(variant=None):
    return Honest()
"""
TOOL = """#!/bin/sh
test -f /tmp/{name} || cp "$1" /tmp/{name}  # a cache
cp "$1" "$2"
"""
COMMANDS = """
name = "{name}"
version = "1"
encode = "{encode} {{input}} {{output}} {{value}}"
decode = "{decode} {{input}} {{output}}"
parameter = "none"
points = [1]
"""


@pytest.fixture
def honest(folder, monkeypatch) -> list[str]:
    """Codecs of all kinds: built-in ones, a Python file with weights beside it and a cache, tools
    beside a TOML file, and on the search path."""
    mine = folder / "codec" / "honest.py"
    mine.write_text(HONEST)
    (folder / "codec" / "weights.bin").write_bytes(b"\x01")
    for place in ("codec", "home/bin"):
        (folder / place).mkdir(exist_ok=True, parents=True)
        tool = folder / place / f"tool-{place[-3:]}"
        tool.write_text(TOOL.format(name=os.environ["TOY_PLACE"] + "-tool"))
        tool.chmod(0o755)
    beside, found = folder / "codec" / "beside.toml", folder / "codec" / "found.toml"
    beside.write_text(COMMANDS.format(name="beside", encode="./tool-dec", decode="./tool-dec"))
    found.write_text(COMMANDS.format(name="found", encode="tool-bin", decode="tool-bin"))
    monkeypatch.setenv("PATH", f"{folder / 'home' / 'bin'}:{os.environ['PATH']}")
    return [*("jpeg@50,90", "webp@50"), *map(str, (mine, beside, found))]


@closed
def test_honest_codecs_of_all_kinds_are_measured_alike_with_and_without(folder, honest, capsys):
    inside = measured(folder, *honest, sandbox=True)
    assert {(m.codec, m.status, m.reason, m.sandbox) for m in inside} == {
        (name, "ok", "", sandbox.best_kind())
        for name in ("jpeg", "webp", "honest", "beside", "found")
    }
    (folder / "run").rename(folder / "inside")
    outside = measured(folder, *honest)
    same = ("key", "bytes", "stream_digest", "reconstruction_digest", "metrics")
    assert [[getattr(m, name) for name in same] for m in inside] == [
        [getattr(m, name) for name in same] for m in outside
    ]
    for run in ("inside", "run"):
        assert main(["verify", str(folder / run), "--jobs", "1"]) == 0
        assert "5 ok, 0 missing, 0 wrong" in capsys.readouterr().out


def test_a_check_lets_honest_codecs_pass(honest):
    found = list(check_codecs(honest[2:], wanted=honest[2:]))
    assert [finding.status for finding in found] == ["ok"] * 3, found


def test_verify_finds_what_was_altered(folder, capsys):
    kept = measured(folder, "jpeg@50,90", "webp@50")
    run = folder / "run"
    store = Store(run)
    assert main(["verify", str(run), "--jobs", "1"]) == 0
    capsys.readouterr()
    first, last, other = kept
    better = replace(other.metrics["psnr"], value=other.metric("psnr") + 0.02)
    store.append(replace(other, metrics={"psnr": better}))
    store.append(replace(first, bytes=100))
    store.stream_path(last.key).write_bytes(b"something else")
    assert main(["verify", str(run), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert f"{other.point.label} of a.png: PSNR is " in said
    assert f"{first.point.label} of a.png: the stream has {first.bytes} bytes, and " in said
    assert f"{last.point.label} of a.png: the stream was not kept" in said
    assert "0 ok, 0 missing, 2 wrong" in said
    store.append(other)
    assert main(["verify", str(run), "--jobs", "1", "--sample", "0"]) == 1
    assert "1 ok, 0 missing, 1 wrong" in capsys.readouterr().out


def test_metrics_that_cannot_be_had_and_pictures_that_are_gone_are_said(folder, monkeypatch):
    measured(folder, "jpeg@50")
    manifest = Manifest.read(folder / "run")
    metrics = {**manifest.metrics, "lpips-vgg": "1", "mine": "1", "psnr": "another"}
    replace(manifest, metrics=metrics).write(folder / "run")
    monkeypatch.setattr(
        "bench.metrics.versions",
        lambda names, *_: {name: "unavailable: no weights" for name in names if name != "mine"},
    )
    found = {f.name: f for f in verify(folder / "run", {}, 3, 1)}
    assert found["pictures"].detail == "a.png: not scored again"
    assert found[info("lpips-vgg").label].detail == "not scored again: no weights"
    assert found["jpeg"].detail == (
        "1 stream decodes to the measured picture; 0 scores made again are the same"
    )
    assert {f.status for f in found.values()} == {"missing", "ok"}


def test_without_namespaces_that_is_said_and_streams_are_decoded(folder, monkeypatch, capsys):
    measured(folder, "jpeg@50")
    for module in ("sandbox", "sandboxed", "lane"):
        monkeypatch.setattr(f"bench.run.{module}.best_kind", lambda: "folders", raising=False)
    monkeypatch.setattr("bench.cli.verifying.best_kind", lambda: "folders")
    assert main(["verify", str(folder / "run"), "--jobs", "1"]) == 0
    said = capsys.readouterr()
    assert "this system lets us make no namespaces" in said.err
    assert "1 ok, 0 missing, 0 wrong" in said.out


def test_a_rate_that_cannot_be_true_is_said_by_verify_and_export(folder, capsys):
    measured(folder, "jpeg@50")
    store = Store(folder / "run")
    (m,) = store
    store.append(replace(m, bytes=1, metrics={"psnr": replace(m.metrics["psnr"], value=50.0)}))
    assert main(["verify", str(folder / "run"), "--jobs", "1", "--sample", "0"]) == 1
    assert main(["export", str(folder / "run")]) == 0
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "reaches 50.0 dB with 0.0026 bpp on average" in text


def test_a_cluster_has_no_sandboxes(folder, capsys):
    pictures = str(folder / "pictures")
    typed = ["run", "jpeg", "--dataset", pictures, "--sandbox", "--cluster", "local:1"]
    assert main(typed) == 2
    assert "bench verify" in capsys.readouterr().err


def test_files_that_came_later_are_told_from_those_before(tmp_path):
    for name in ("old/a", "old/b", "mixed/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    time.sleep(0.02)
    since = time.time()
    time.sleep(0.02)
    for name in ("mixed/b", "new/deep/a", "kept", "aged"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("x")
    os.utime(tmp_path / "aged", (0, 0))
    found = newer(tmp_path, since, {tmp_path / "kept"})
    assert sorted(found) == [tmp_path / name for name in ("aged", "mixed/b", "new")]


@closed
def test_what_the_last_command_did_not_ask_for_is_said_not_to_be_verified(folder):
    for codec in ("jpeg@30,60,90", "jpeg@60"):
        measured(folder, codec)
    found = list(verify(folder / "run", {}, 0, 1))
    assert any(f.status == "ok" and "1 stream decodes" in f.detail for f in found)
    assert ("note", "2 stored beside these") in {(f.status, f.detail[:21]) for f in found}
