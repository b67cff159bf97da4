"""Hostile zip files, sets that are trusted at first use, and descriptions of users."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets import archives, download, registry
from datasets.archives import extract_images
from datasets.base import DatasetError
from datasets.loading import load_ref
from datasets.registry import open_dataset
from tests.datasets_fixtures import encoded, picture, serve

PNG = encoded(picture())


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data, compress_type=method)
    return buffer.getvalue()


def link(name: str, kind: int = stat.S_IFLNK) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    return info


def unpack(data: bytes, tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "out").mkdir()
    return extract_images(tmp_path / "a.zip", tmp_path / "out")


def test_pictures_come_out_flat_and_the_rest_is_named(tmp_path):
    data = archive(
        ("images/", b""),
        ("images/one.png", PNG),
        ("images/deep/two.JPG", b"2"),
        ("README.txt", b"hello"),
        ("__MACOSX/images/._one.png", b"x"),
        ("run.sh", b"x"),
    )
    left_out = unpack(data, tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "two.JPG"]
    assert (tmp_path / "out" / "one.png").read_bytes() == PNG
    assert left_out == ("README.txt", "__MACOSX/images/._one.png", "run.sh")


def renamed(old: str, new: str) -> bytes:
    """An archive with a name that `zipfile` would not write."""
    assert len(old) == len(new)
    return archive((old, PNG)).replace(old.encode(), new.encode())


def flagged(bit: int) -> bytes:
    """An archive whose directory and local header say that the member is encrypted."""
    data = bytearray(archive(("a.png", PNG)))
    for signature, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        at = data.index(signature) + offset
        data[at] |= bit
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (archive(("../a.png", PNG)), "leads out"),
        (archive(("x/../../a.png", PNG)), "leads out"),
        (archive(("/etc/a.png", PNG)), "leads out"),
        (archive(("C:a.png", PNG)), "leads out"),
        (archive(("..\\a.png", PNG)), "leads out"),
        (renamed("aXb.png", "a\nb.png"), "leads out"),
        (archive((link("a.png"), b"/etc/passwd")), "link"),
        (archive((link("a.txt"), b"/etc/passwd")), "link"),
        (archive((link("a.png", stat.S_IFIFO), b"")), "special file"),
        (archive(("a/x.png", PNG), ("b/X.png", PNG)), "two members"),
        (archive(("a.png", PNG), method=zipfile.ZIP_LZMA), "uncommon method"),
        (flagged(1), "encrypted"),
        (archive(("a.png", bytes(20 << 20)), method=zipfile.ZIP_DEFLATED), "100 times"),
        (b"<html>Sign in to the network</html>", "damaged"),
        (archive(("a.png", PNG))[:-30], "damaged"),
        (archive(("a.png", PNG)).replace(PNG, PNG[:-1] + b"?"), "damaged"),
        (b"", "damaged"),
    ],
)
def test_hostile_archives_are_refused(tmp_path, data, reason):
    with pytest.raises(DatasetError, match=rf"a\.zip .*{reason}"):
        unpack(data, tmp_path)
    written = {path.name for path in tmp_path.rglob("*")} - {"a.zip", "out"}
    assert written <= {"a.png"}
    assert all(path.is_relative_to(tmp_path / "out") for path in tmp_path.rglob("a.png"))


def test_counts_and_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    with pytest.raises(DatasetError, match="4 members; at most 3"):
        unpack(archive(*((f"{i}.txt", b"") for i in range(4))), tmp_path)
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 10)
    (tmp_path / "a.zip").write_bytes(archive(("a.png", PNG)))
    with pytest.raises(DatasetError, match="unpacks to more than 10"):
        extract_images(tmp_path / "a.zip", tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 10)
    with pytest.raises(DatasetError, match="unpacks to"):
        extract_images(tmp_path / "a.zip", tmp_path / "out")


def test_archives_that_lie_about_sizes_write_no_more_than_they_state(tmp_path):
    data = bytearray(archive(("a.png", bytes(500_000)), method=zipfile.ZIP_DEFLATED))
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = struct.pack("<I", 1000)  # the uncompressed size in the directory
    with pytest.raises(DatasetError, match=r"damaged|longer"):
        unpack(bytes(data), tmp_path)
    assert (tmp_path / "out" / "a.png").stat().st_size <= 1000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return tmp_path / "cache" / "clic22"


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Have `clic22` of three pictures come from this address."""
    folder = tmp_path / "sets"
    folder.mkdir()
    monkeypatch.setattr(registry, "_SETS", folder)

    def come_from(url: str) -> None:
        text = f'about = "x"\ncount = 3\n[files."images.zip"]\nurl = "{url}images.zip"\n'
        (folder / "clic22.toml").write_text(text)

    come_from("http://127.0.0.1:9/")
    return come_from


GOOD = archive(
    *((f"images/{i}.png", encoded(picture(seed=i))) for i in (10, 2)),
    ("images/grey.png", encoded(picture()[..., 0])),
    ("images/bad.png", b""),
    ("LICENSE", b"text"),
)


def test_first_download_is_pinned_and_said(cache, at):
    with serve({"images.zip": GOOD}) as server:
        at(server.url)
        server.break_after = [len(GOOD) // 2]
        first = open_dataset("clic22")
        again = open_dataset("clic22", limit=2)
        assert len(server.requests) == 2  # broken off and resumed; nothing for the second call
    assert [image.name for image in first.images] == ["2.png", "10.png", "grey.png"]
    assert "grey" in first.images[2].notes[0]
    assert [name for name, _ in first.skipped] == ["bad.png"]
    assert len(first.notes) == 2
    assert "trusted at first use" in first.notes[0]
    assert "LICENSE" in first.notes[1]  # left out, and nothing is missing for that
    assert "verified" in again.notes[0]
    assert again.images == first.images[:2]
    assert load_ref(first.images[0]).shape == (33, 47, 3)
    pin = (cache / "images.zip.sha256").read_text().strip()
    assert pin in first.notes[0]
    assert pin in again.notes[0]


def test_later_archives_must_match_the_pin(cache, at):
    with serve({"images.zip": GOOD}) as server:
        at(server.url)
        folder = open_dataset("clic22").images[0].path.parent
        for path in (*folder.iterdir(), cache / "images.zip"):
            path.unlink()
        server.files["images.zip"] = archive(("other.png", PNG))
        with pytest.raises(DatasetError, match="does not match"):
            open_dataset("clic22")
        (cache / "images.zip").write_bytes(server.files["images.zip"])
        with pytest.raises(DatasetError, match=r"remove .*images\.zip\.sha256 to trust it"):
            open_dataset("clic22")
        (cache / "images.zip.sha256").unlink()
        assert [image.name for image in open_dataset("clic22").images] == ["other.png"]


def test_unpacked_images_are_verified(cache, at):
    cache.mkdir(parents=True)
    (cache / "images.zip").write_bytes(GOOD)  # put there by hand
    dataset = open_dataset("clic22")
    dataset.images[1].path.write_bytes(PNG)
    with pytest.raises(DatasetError, match=r"10\.png has changed.*remove .*images-"):
        open_dataset("clic22")
    manifest = dataset.images[1].path.with_name("manifest.json")
    manifest.write_text("{}")
    with pytest.raises(DatasetError, match=r"manifest\.json is damaged"):
        open_dataset("clic22")


def test_error_page_is_neither_pinned_nor_kept(cache, at):
    with serve({"images.zip": b"<html>Sign in to the network</html>"}) as server:
        at(server.url)
        with pytest.raises(DatasetError, match="damaged"):
            open_dataset("clic22")
        assert {path.name for path in cache.iterdir()} == {".lock"}
        server.files["images.zip"] = archive(("a.txt", b""))
        with pytest.raises(DatasetError, match="no usable picture"):
            open_dataset("clic22")
        server.files["images.zip"] = GOOD
        assert len(open_dataset("clic22").images) == 3


def test_killed_unpacking_is_swept_up_and_processes_wait_for_each_other(cache, at):
    (cache / "unpack-killed").mkdir(parents=True)
    (cache / "unpack-killed" / "2.png").write_bytes(b"half")
    with serve({"images.zip": GOOD}) as server:
        at(server.url)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: open_dataset("clic22").images, range(4)))
        assert len(server.requests) == 1
    assert all(images == found[0] for images in found)
    assert not list(cache.glob("unpack-*"))


def test_bench_data_comes_first_as_images_or_archive(cache, at, tmp_path, monkeypatch):
    given = tmp_path / "data" / "clic22"
    given.mkdir(parents=True)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    (given / "images.zip").write_bytes(GOOD)
    dataset = open_dataset("clic22")
    assert len(dataset.images) == 3
    assert "pinned" in dataset.notes[0]
    (given / "a.png").write_bytes(PNG)
    dataset = open_dataset("clic22")
    assert [image.path for image in dataset.images] == [given / "a.png"]
    assert "not verified" in dataset.notes[0]
    assert "1 images, where the published set has 3" in dataset.notes[1]


def test_without_a_network_the_error_says_what_to_put_where(cache, at):
    with serve({}) as server:
        closed = server.url + "images.zip"
        at(server.url)
    with pytest.raises(DatasetError) as caught:
        open_dataset("clic22")
    assert f"{closed} could not be downloaded: Connection refused" in str(caught.value)
    assert f"Put images.zip into {cache}" in str(caught.value)


def described(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.toml").write_text(text)
    return str(tmp_path / "mine.toml")


def test_a_description_gives_pictures_and_archives_in_its_order(cache, tmp_path):
    digest = hashlib.sha256(PNG).hexdigest()
    inner = archive(("a/small/x.png", PNG), ("a/large/y.png", PNG), ("a/large/z.txt", b""))
    with serve({"b.zip": inner, "a.png": PNG}) as server:
        spec = described(
            tmp_path,
            'label = "Mine <b>"\nlicence = "CC0"\n[files]\n'
            f'"b.zip" = {{ url = "{server.url}b.zip", folder = "large" }}\n'
            f'"a.png" = {{ url = "{server.url}a.png", sha256 = "{digest.upper()}" }}\n',
        )
        dataset = open_dataset(spec)
        assert open_dataset(dataset.argument).images == dataset.images
        assert [image.name for image in open_dataset(spec, limit=1).images] == ["y.png"]
        assert len(server.requests) == 2
    assert [image.name for image in dataset.images] == ["y.png", "a.png"]
    assert (dataset.name, dataset.label) == ("mine", "Mine <b>")
    assert dataset.skipped == ()
    assert "b.zip: no checksum" in dataset.notes[0]
    assert "a/large/z.txt" in dataset.notes[1]
    assert dataset.notes[-1] == "licence: CC0"
    other = described(tmp_path, '[files]\n"b.zip" = { url = "http://127.0.0.1:9/b.zip" }\n')
    with pytest.raises(DatasetError, match="could not be downloaded"):
        open_dataset(other)  # of the same name, and yet not what the first one left in the cache


def test_a_published_digest_is_kept_to(cache, tmp_path):
    with serve({"b.zip": GOOD}) as server:
        text = f'[files]\n"b.zip" = {{ url = "{server.url}b.zip", sha256 = "%s" }}\n'
        with pytest.raises(DatasetError, match="does not match"):
            open_dataset(described(tmp_path, text % ("0" * 64)))
        right = hashlib.sha256(GOOD).hexdigest()
        verified = f"verified against SHA-256 {right}"
        assert open_dataset(described(tmp_path, text % right)).notes[0] == verified


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"needs \[files\]"),
        ("[files", "cannot be read"),
        ("encode = 'x'", "a codec's"),
        ("lable = 'x'", "lable is not known; known: about, count"),
        ("[files]\n'a.png' = 3", "table with url"),
        ("[files]\n'../a.png' = {}", "without a folder"),
        ("[files]\n'.a.png' = {}", "without a folder"),
        ("[files]\n'a.gif' = {}", "no picture that is read"),
        ("[files]\n'a.png' = { url = 'file:///etc/passwd' }", "https://"),
        ("[files]\n'a.png' = { url = 'https://h/a.png' }", "sha256sum a.png"),
        ("[files]\n'a.png' = { url = 'https://h/a.png', sha256 = 'f' }", "64 hex"),
        ("[files]\n'a.png' = { url = 'https://h/a.png', sha = 'f' }", "sha is not known"),
        ("count = true\n[files]", "number of pictures"),
        (
            "[files]\n'a.zip' = { url = 'https://h/a' }\n'A.zip' = { url = 'https://h/b' }",
            "twice",
        ),
    ],
)
def test_wrong_descriptions_say_what_is_wrong(cache, tmp_path, text, reason):
    with pytest.raises(DatasetError, match=rf"mine\.toml.*{reason}"):
        open_dataset(described(tmp_path, text))


def test_a_set_without_an_address_says_what_to_put_where(cache):
    with pytest.raises(DatasetError, match=r"no public address.*jpegai.*BENCH_DATA"):
        open_dataset("jpeg-ai")
    (cache.parent / "jpeg-ai" / "a.png").write_bytes(PNG)
    dataset = open_dataset("jpeg-ai")
    assert [image.name for image in dataset.images] == ["a.png"]
    assert "1 images, where the published set has 50" in dataset.notes[1]


def test_all_known_sets_are_described_whole():
    for name in registry.NAMES[1:]:
        described = registry.describe(name)
        assert described.about
        assert described.licence
        assert described.source.startswith("http")
