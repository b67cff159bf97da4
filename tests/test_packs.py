"""Runs that travel: packs out and in, honest and hostile ones, and runs put together."""

from __future__ import annotations

import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from PIL import Image as PillowImage

from bench import __main__ as bench_main
from bench.record.manifest import Manifest
from bench.record.merge import merge
from bench.record.pack import PackError, unpack, write_pack
from bench.record.store import Store, StoreError

CODECS = ("jpeg@30,60,90", "webp@20,50,80")


@pytest.fixture
def folder(tmp_path, photo, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return pictures(tmp_path, photo)


def pictures(parent: Path, photo) -> Path:
    folder = parent / "pictures"
    folder.mkdir()
    for i, name in enumerate(("one.png", "two.png")):
        PillowImage.fromarray(photo[i * 9 : i * 9 + 80, :90]).save(folder / name)
    return folder


@pytest.fixture
def run(folder, photo, once) -> Path:
    """A run of both codecs, of its own for each test."""

    def make(parent: Path) -> None:
        measure(pictures(parent, photo), parent / "run", *CODECS)

    shutil.copytree(once("packs", make) / "run", "run")
    manifest = Manifest.read(Path("run"))
    replace(manifest, argument=str(folder), source=str(folder)).write(Path("run"))
    return Path("run").absolute()


def measure(folder: Path, run: Path, *codecs: str) -> None:
    options = ["--dataset", str(folder), "--metrics", "psnr", "--jobs", "1", "--quiet"]
    arguments = ["run", *codecs, *options, "--run", str(run), "--no-report"]
    assert bench_main.main(arguments) == 0


def verdicts(run: Path) -> bytes:
    assert bench_main.main(["report", str(run), "--no-pictures", "--anchor", "webp"]) == 0
    return (run / "tables" / "verdicts.csv").read_bytes()


def contents(run: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    lines = {m.key: m.to_json() for m in Store(run)}
    return lines, {path.name: path.read_bytes() for path in (run / "streams").iterdir()}


def test_a_run_comes_out_of_its_pack_as_it_was(run, capsys):
    assert bench_main.main(["export", str(run), "--out", "a.tar.zst"]) == 0
    assert bench_main.main(["import", "a.tar.zst", "--run", "b"]) == 0
    assert "12 measurements added, 0 completed" in capsys.readouterr().err
    assert contents(Path("b")) == contents(run)
    assert verdicts(Path("b")) == verdicts(run)
    assert not list(Path().glob(".bench-scratch*"))
    measure(Path("pictures"), Path("b"), *CODECS)  # nothing is left to do
    assert contents(Path("b")) == contents(run)


def test_the_same_run_makes_the_same_pack(run):
    write_pack(run, Path("a.tar.zst"))
    write_pack(run, Path("b.tar.zst"))
    assert Path("a.tar.zst").read_bytes() == Path("b.tar.zst").read_bytes()


def test_pictures_go_along_when_asked(run, folder):
    assert bench_main.main(["export", str(run), "--out", "a.tar.zst"]) == 0
    assert b"pictures/" not in zstandard.ZstdDecompressor().stream_reader(
        Path("a.tar.zst").read_bytes()
    ).read(1 << 30)
    assert bench_main.main(["export", str(run), "--out", "a.tar.zst", "--with-pictures"]) == 0
    sent = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    assert bench_main.main(["import", "a.tar.zst", "--run", "b"]) == 0
    assert {path.name: path.read_bytes() for path in Path("b/pictures").iterdir()} == sent
    assert bench_main.main(["report", "b", "--anchor", "webp", "--pictures", "crops"]) == 0
    assert "data:image" in Path("b/report.html").read_text()


def test_two_machines_give_what_one_would_have(run, folder):
    measure(folder, Path("a"), CODECS[0])
    measure(folder, Path("b"), CODECS[1], "jpeg@30")
    assert bench_main.main(["merge", "a", "b", "--run", "c"]) == 0
    assert verdicts(Path("c")) == verdicts(run)
    assert len(list(Store(Path("c")))) == 12


def test_a_part_of_the_pictures_is_taken_into_the_whole(run, folder):
    options = ["--dataset", str(folder), "--metrics", "psnr", "--jobs", "1", "--quiet"]
    few = ["run", "jpeg@10", *options, "--images", "1", "--run", "a", "--no-report"]
    assert bench_main.main(few) == 0
    merge([Path("a")], run)
    manifest = Manifest.read(run)
    assert [p.value for p in manifest.ladders["jpeg"].points] == [10, 30, 60, 90]
    assert len(manifest.pictures) == 2
    elsewhere = folder.with_name("others")
    elsewhere.mkdir()
    PillowImage.new("RGB", (70, 70)).save(elsewhere / "x.png")
    measure(elsewhere, Path("d"), "jpeg@30")
    with pytest.raises(StoreError, match="of one data set, or of a part of it"):
        merge([Path("d")], run)


def changed(run: Path, target: str, change: Callable[[dict], None]) -> Path:
    """A copy of the run whose first measurement is another."""
    shutil.copytree(run, target)
    path = Path(target) / "measurements.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    raw = json.loads(first)
    change(raw)
    path.write_text(json.dumps(raw) + "\n" + "".join(others))
    return Path(target)


def test_other_streams_of_one_key_are_refused_and_nothing_is_written(run):
    other = changed(run, "b", lambda raw: raw.update(stream_digest="0" * 64))
    held = contents(run)
    with pytest.raises(StoreError, match=r"made different streams: (jpeg|webp) .*one|two"):
        merge([other], run)
    assert contents(run) == held


def test_a_codec_of_two_versions_is_refused(run):
    shutil.copytree(run, "b")
    manifest = json.loads(Path("b/run.json").read_text())
    manifest["ladders"]["jpeg"]["version"] = "another"
    Path("b/run.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="jpeg was run with other versions"):
        merge([Path("b")], run)


def test_what_one_run_lacks_the_other_completes(run):
    def fail(raw: dict) -> None:
        raw.update(status="failed", reason="boom", bytes=None, stream_digest=None)

    def lose(raw: dict) -> None:
        del raw["metrics"]["psnr"]
        raw["reconstruction_digest"] = "1" * 64

    whole = contents(run)
    failed = changed(run, "failed", fail)
    assert merge([run], failed).added == 1
    assert contents(failed) == whole
    poor = changed(run, "poor", lose)
    (poor / "streams" / f"{next(iter(whole[0]))}.bin").unlink()
    assert merge([run], poor).completed == 1
    first = next(iter(Store(poor)))
    assert first.metrics["psnr"].value is not None
    assert list(first.rescored) == ["psnr"]  # of a picture that differs from the one scored
    assert contents(poor)[1] == whole[1]


def rewritten(pack: Path, change: Callable[[list[tuple[str, bytes]]], list]) -> Path:
    """The pack with other members; each is (name, data) or a finished TarInfo with data."""
    raw = zstandard.ZstdDecompressor().stream_reader(pack.read_bytes()).read(1 << 30)
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        members = []
        for member in archive.getmembers():
            content = archive.extractfile(member)
            assert content is not None
            members.append((member.name, content.read()))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in change(members):
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    pack.write_bytes(zstandard.ZstdCompressor().compress(out.getvalue()))
    return pack


def info(name: str, kind: bytes = tarfile.REGTYPE, **pax: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.pax_headers = kind, "/etc/passwd", pax
    return member


def table(members: list, change: Callable[[dict], None]) -> list:
    """The members with another first measurement."""
    lines = members[1][1].decode().splitlines()
    raw = json.loads(lines[0])
    change(raw)
    lines[0] = json.dumps(raw)
    return [members[0], (members[1][0], ("\n".join(lines) + "\n").encode()), *members[2:]]


def manifest(members: list, change: Callable[[dict], None]) -> list:
    raw = json.loads(members[0][1])
    change(raw)
    return [(members[0][0], json.dumps(raw).encode()), *members[1:]]


HOSTILE: dict[str, tuple[Callable[[list], list], str]] = {
    "a way out": (lambda m: [*m, ("../x", b"1")], "not expected"),
    "a root": (lambda m: [*m, ("/tmp/x", b"1")], "not expected"),
    "a foreign stream": (lambda m: [*m, ("streams/" + "0" * 64, b"1")], "no measurement"),
    "a key as a name": (lambda m: [*m, ("streams/abc.bin", b"1")], "not expected"),
    "a link": (lambda m: [(info("run.json", tarfile.SYMTYPE), b""), *m[1:]], "no plain file"),
    "a hard link": (lambda m: [*m, (info("x", tarfile.LNKTYPE), b"")], "no plain file"),
    "a device": (lambda m: [*m, (info("x", tarfile.CHRTYPE), b"")], "no plain file"),
    "long headers": (lambda m: [(info("run.json", x="y" * 9_000_000), m[0][1])], "longer than"),
    "any header": (lambda m: [(info("run.json", x="y"), m[0][1]), *m[1:]], "no plain file"),
    "no manifest": (lambda m: m[1:], "no run.json"),
    "no table": (lambda m: [m[0]], "no measurements.jsonl"),
    "another order": (lambda m: [m[1], m[0], *m[2:]], "no run.json"),
    "a stream twice": (lambda m: [*m, m[-1]], "comes twice"),
    "a flipped stream": (
        lambda m: [*m[:-1], (m[-1][0], bytes([m[-1][1][0] ^ 1]) + m[-1][1][1:])],
        "another digest",
    ),
    "a long stream": (lambda m: [*m[:-1], (m[-1][0], m[-1][1] + b"0")], "as many bytes"),
    "a picture": (lambda m: [*m, ("pictures/" + "0" * 64, b"1")], "none of the run's"),
    "no JSON": (lambda m: [m[0], (m[1][0], b"{\n"), *m[2:]], "not right"),
    "deep JSON": (lambda m: [m[0], (m[1][0], b"[" * 100_000 + b"\n")], "not right|cannot be"),
    "half a line": (lambda m: [m[0], (m[1][0], m[1][1][:-1])], "cut short"),
    "an endless line": (lambda m: [m[0], (m[1][0], b" " * (1 << 23) + b"\n")], "without measure"),
    "another key": (lambda m: table(m, lambda r: r.update(key="../../x")), "its key"),
    "another picture": (lambda m: table(m, lambda r: r.update(image_digest="x")), "digest"),
    "a strange status": (lambda m: table(m, lambda r: r.update(status="good")), "status"),
    "no number": (lambda m: table(m, lambda r: r["metrics"]["psnr"].update(value="9")), "no score"),
    "NaN": (lambda m: table(m, lambda r: r["metrics"]["psnr"].update(value=float("nan"))), "score"),
    "NaN told": (lambda m: table(m, lambda r: r.update(diagnostics={"x": float("nan")})), "right"),
    "a size": (lambda m: table(m, lambda r: r.update(width=1 << 40)), "size"),
    "no bytes": (lambda m: table(m, lambda r: r.update(bytes=-1)), "bytes"),
    "true bytes": (lambda m: table(m, lambda r: r.update(bytes=True)), "bytes"),
    "a new schema": (lambda m: table(m, lambda r: r.update(schema=2)), "schema 2"),
    "a list": (lambda m: [m[0], (m[1][0], b"[]\n")], "not right"),
    "a manifest of lists": (lambda m: [("run.json", b"[]"), *m[1:]], "run.json is damaged"),
    "names": (lambda m: manifest(m, lambda r: r.update(names={"a": 1})), "names are no texts"),
    "a label": (lambda m: manifest(m, lambda r: r.update(label=None)), "label is no text"),
    "points": (
        lambda m: manifest(m, lambda r: r["ladders"]["jpeg"]["points"][0].update(value=[1])),
        "damaged|a point of jpeg",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_packs_are_refused_and_leave_nothing(run, name):
    change, reason = HOSTILE[name]
    write_pack(run, Path("a.tar.zst"))
    pack = rewritten(Path("a.tar.zst"), change)
    before = sorted(Path().rglob("*"))
    Path("out").mkdir()
    with pytest.raises(PackError, match=rf"a\.tar\.zst .*({reason})"):
        unpack(pack, Path("out"))
    shutil.rmtree("out")
    assert bench_main.main(["import", str(pack), "--run", "b"]) == 2
    assert sorted(Path().rglob("*")) == before


def test_bombs_are_bounded(run):
    zeros = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    Path("a.tar.zst").write_bytes(zeros)
    Path("out").mkdir()
    with pytest.raises(PackError):
        unpack(Path("a.tar.zst"), Path("out"))
    window = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=1)
    bomb = zstandard.ZstdCompressor(compression_params=window).compress(bytes(1 << 20))
    Path("b.tar.zst").write_bytes(bomb)
    with pytest.raises(PackError):
        unpack(Path("b.tar.zst"), Path("out"))


def test_damaged_packs_are_one_clear_error(run):
    write_pack(run, Path("a.tar.zst"))
    whole = Path("a.tar.zst").read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(whole).read(1 << 30)
    compressor = zstandard.ZstdCompressor(level=1)
    draw = random.Random(1)
    refused = 0
    for i in range(200):
        data = bytearray(plain if i % 2 else whole)
        if i % 5 == 4:
            data = data[: draw.randrange(len(data))]
        else:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        Path("b.tar.zst").write_bytes(compressor.compress(bytes(data)) if i % 2 else bytes(data))
        Path("out").mkdir()
        try:
            unpack(Path("b.tar.zst"), Path("out"))
        except PackError:
            refused += 1
        shutil.rmtree("out")
    # The rest are flips in padding, owners, a text.
    assert refused > 120
    assert {path.name for path in Path().iterdir()} <= {
        *("run", "pictures", "a.tar.zst", "b.tar.zst"),
    }


def test_paths_in_a_pack_are_not_run_here(run):
    names = Manifest.read(run)
    replace(names, names={"./evil.py": "jpeg", "webp": "webp", "x.toml": "webp"}).write(run)
    write_pack(run, Path("a.tar.zst"))
    assert bench_main.main(["import", "a.tar.zst", "--run", "b"]) == 0
    assert dict(Manifest.read(Path("b")).names) == {"webp": "webp"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["export", "run", "--out", "a.zip"], "a pack is called FILE.tar.zst"),
        (["export", "run", "--with-pictures"], "--with-pictures is for --out"),
        (["export", "none", "--out", "a.tar.zst"], "holds no run"),
        (["import", "none.tar.zst"], "cannot be unpacked"),
        (["merge", "run", "--run", "run"], "name it once"),
        (["merge", "none", "--run", "b"], "holds no run"),
    ],
)
def test_wrong_commands_say_what_to_do(run, capsys, arguments, reason):
    assert bench_main.main(arguments) == 2
    assert reason in capsys.readouterr().err


def test_nothing_is_not_packed_over_what_there_is(tmp_path, run):
    empty, pack = tmp_path / "empty", tmp_path / "a.tar.zst"
    empty.mkdir()
    shutil.copy(run / "run.json", empty)
    pack.write_bytes(b"streams")
    with pytest.raises(StoreError, match="holds no measurement to pack"):
        write_pack(empty, pack)
    assert pack.read_bytes() == b"streams"


def test_what_may_be_measured_may_be_packed_and_taken_again(tmp_path, monkeypatch):
    """Settings that are numbers, and a picture of which one side is very long."""
    monkeypatch.chdir(tmp_path)
    Path("tall").mkdir()
    PillowImage.new("RGB", (1, 1_100_000), "teal").save("tall/a.png")
    Path("mine.py").write_text(
        """
from codecs import registry

def codec(variant=None):
    made = registry.create("png")
    made.name, made.settings = "mine", {"threads": 1, "chroma": "4:4:4"}
    return made
"""
    )
    measure(tmp_path / "tall", tmp_path / "run", str(tmp_path / "mine.py"))
    write_pack(tmp_path / "run", tmp_path / "a.tar.zst")
    Path("out").mkdir()
    manifest = unpack(tmp_path / "a.tar.zst", tmp_path / "out")
    (ladder,) = manifest.ladders.values()
    assert ladder.settings["threads"] == 1
    assert [m.status for m in Store(tmp_path / "out")] == ["ok"]
