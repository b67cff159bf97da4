"""Runs that take streams from packs: what counts, what is tried, what is said."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from bench import __main__ as bench_main
from bench.record.manifest import Manifest
from bench.record.pack import write_pack
from bench.record.store import Store
from bench.run.packs import SHIPPED, open_pack
from codecs import framing
from tests.conftest import DATA
from tests.test_packs import contents, pictures

CODEC = "jpeg@30,60,90"


@pytest.fixture
def folder(tmp_path, photo, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return pictures(tmp_path, photo)


@pytest.fixture
def pack(folder, photo, once) -> Path:
    """Six measurements, encoded where each took an hour."""

    def make(parent: Path) -> None:
        assert run(pictures(parent, photo), parent / "run", CODEC) == 0

    shutil.copytree(once("run packs", make) / "run", "made")
    forge("made", lambda raw: raw.update(encode={"wall": 3600.0, "cpu": 3600.0}))
    write_pack(Path("made"), Path("made.tar.zst"))
    return Path("made.tar.zst")


def run(folder: Path, directory: Path | str, *arguments: str) -> int:
    options = ["--dataset", str(folder), "--metrics", "psnr", "--jobs", "1", "--no-report"]
    return bench_main.main(["run", *arguments, *options, "--run", str(directory)])


def forge(directory: str, change) -> None:
    path = Path(directory) / "measurements.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for raw in lines:
        change(raw)
    path.write_text("".join(json.dumps(raw) + "\n" for raw in lines))


def from_pack(directory: str) -> int:
    return sum(m.encode is not None and m.encode.wall == 3600 for m in Store(Path(directory)))


def test_a_pack_saves_the_encoding_and_a_sample_is_made_here(folder, pack, capsys):
    assert run(folder, "b", CODEC, "--pack", str(pack), "--verify-pack", "2") == 0
    assert from_pack("b") == 4
    assert contents(Path("b"))[1] == contents(Path("made"))[1]
    scores = {m.key: m.metric("psnr") for m in Store(Path("made"))}
    assert {m.key: m.metric("psnr") for m in Store(Path("b"))} == scores
    told = next(iter(Manifest.read(Path("b")).packs.values()))
    assert told.startswith("made of 20")
    assert told.endswith("; 2 of 6 measurements made again here, to the same byte")
    capsys.readouterr()
    assert bench_main.main(["report", "b", "--no-pictures"]) == 0
    page = Path("b/report.html").read_text()
    assert page.count("2 of 6 measurements made again here") == 1
    assert "encoding times are those of the machine" in page
    assert run(folder, "b", CODEC, "--pack", str(pack)) == 0  # nothing is left, nothing forgotten
    assert "2 of 6" in next(iter(Manifest.read(Path("b")).packs.values()))


def test_scores_are_those_of_the_streams_not_of_the_pack(folder, pack):
    forge("made", lambda raw: raw["metrics"]["psnr"].update(value=99.0))
    write_pack(Path("made"), pack)
    assert run(folder, "b", CODEC, "--pack", str(pack)) == 0
    assert all(m.metric("psnr") < 60 for m in Store(Path("b")))


def test_a_pack_of_other_streams_is_thrown_away_with_a_warning(folder, pack, capsys):
    other = Path("other")
    PillowImage.new("RGB", (90, 80), "red").save("red.png")
    assert run(Path("red.png"), other, CODEC) == 0
    stolen = next(iter(Store(other)))
    for m in Store(Path("made")):
        shutil.copy(other / "streams" / f"{stolen.key}.bin", f"made/streams/{m.key}.bin")
    facts = {"stream_digest": stolen.stream_digest, "bytes": stolen.bytes}
    facts["reconstruction_digest"] = stolen.reconstruction_digest
    forge("made", lambda raw: raw.update(facts))
    write_pack(Path("made"), pack)
    capsys.readouterr()
    assert run(folder, "b", CODEC, "--pack", str(pack)) == 0
    assert "is not used: encoded here, jpeg quality" in capsys.readouterr().err
    assert from_pack("b") == 0
    assert {m.stream_digest for m in Store(Path("b"))} & {stolen.stream_digest} == set()
    assert Manifest.read(Path("b")).packs == {}
    # Unverified, the streams themselves give it away where they show another picture.
    assert run(folder, "c", CODEC, "--pack", str(pack), "--verify-pack", "0") == 0
    assert max(m.metric("psnr") for m in Store(Path("c"))) < 20


def test_only_equal_settings_and_pictures_count(folder, pack):
    assert run(folder, "b", "jpeg:444@30", "--pack", str(pack)) == 0
    assert run(folder, "b", "jpeg@31", "--pack", str(pack)) == 0
    assert from_pack("b") == 0
    assert Manifest.read(Path("b")).packs == {}


def test_a_codec_that_cannot_run_here_is_taken_from_the_pack_whole(folder, pack, monkeypatch):
    from codecs import registry
    from codecs.base import CodecUnavailable

    create = registry.create

    def only_decoding(name: str, *, encoding: bool = True):
        if encoding and name.startswith("jpeg"):
            raise CodecUnavailable("no jpeg here")
        return create(name, encoding=encoding)

    monkeypatch.setattr(registry, "create", only_decoding)
    assert run(folder, "b", "jpeg", "--pack", str(pack)) == 0
    assert from_pack("b") == 6
    assert [p.value for p in Manifest.read(Path("b")).ladders["jpeg"].points] == [30, 60, 90]
    told = next(iter(Manifest.read(Path("b")).packs.values()))
    assert told.endswith("none of 6 measurements made again here")
    assert run(folder, "c", "jpeg@60", "--pack", str(pack)) == 0
    assert from_pack("c") == 2
    assert run(folder, "d", "jpeg") == 1


def test_a_bad_pack_is_one_clear_error(folder, pack, capsys):
    pack.write_bytes(pack.read_bytes()[:-100])
    assert run(folder, "b", CODEC, "--pack", str(pack)) == 2
    assert "made.tar.zst" in capsys.readouterr().err
    assert run(folder, "b", CODEC, "--pack", "none.tar.zst") == 2
    assert not list(Path("cache/packs").glob("unpack-*"))


def test_the_shipped_packs_open_and_are_small(folder):
    paths = sorted(SHIPPED.glob("*.tar.zst"))
    assert "kodak-vtm.tar.zst" in [path.name for path in paths]
    assert sum(path.stat().st_size for path in paths) <= 14_000_000
    for path in paths:
        found = open_pack(path)
        assert all(m.dataset == "kodak" for m in found.measurements.values())
        assert len(found.measurements) == len(list(found.store))


def test_vtm_is_compared_where_nobody_has_it(folder, monkeypatch):
    """Against the figures that came with the streams: see `bench.packs.vtm`."""
    if not (DATA / "vtm" / "vtm.csv").exists():
        pytest.skip("the raw streams of VTM are not on this machine")
    monkeypatch.setenv("BENCH_DATA", str(DATA))
    with (DATA / "vtm" / "vtm.csv").open() as table:
        known = {(row["image"], int(row["qp"])): row for row in csv.DictReader(table)}
    few = ["--dataset", "kodak", "--images", "2", "--metrics", "psnr", "--no-report"]
    assert bench_main.main(["run", "vtm@52,37", *few, "--run", "b"]) == 0
    measured = list(Store(Path("b")))
    assert len(measured) == 4
    for m in measured:
        row = known[Path(m.image).stem, int(m.value)]
        assert m.metric("psnr") == pytest.approx(float(row["psnr_rgb"]), abs=1e-3)
        _, _, stream = framing.unpack(framing.VTM, Store(Path("b")).stream_path(m.key).read_bytes())
        assert hashlib.sha256(stream).hexdigest() == row["sha256_stream"]
        assert m.bytes is not None
        assert 0 < m.bytes - int(row["bytes"]) <= 16
    assert bench_main.main(["run", "vtm@52", *few, "--run", "c", "--no-pack"]) == 1
