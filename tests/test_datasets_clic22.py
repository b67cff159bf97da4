"""Hostile zip files, and the data set that has to be trusted at first use."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets import archives, clic22, download
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
    monkeypatch.setattr(clic22, "COUNT", 3)
    return tmp_path / "cache" / "clic22"


GOOD = archive(
    *((f"images/{i}.png", encoded(picture(seed=i))) for i in (10, 2)),
    ("images/grey.png", encoded(picture()[..., 0])),
    ("images/bad.png", b""),
    ("LICENSE", b"text"),
)


def test_first_download_is_pinned_and_said(cache, monkeypatch):
    with serve({"images.zip": GOOD}) as server:
        monkeypatch.setattr(clic22, "URL", server.url + "images.zip")
        server.break_after = [len(GOOD) // 2]
        first = open_dataset("clic22")
        again = open_dataset("clic22", limit=2)
        assert len(server.requests) == 2  # broken off and resumed; nothing for the second call
    assert [image.name for image in first.images] == ["2.png", "10.png", "grey.png"]
    assert "grey" in first.images[2].notes[0]
    assert [name for name, _ in first.skipped] == ["bad.png", "LICENSE"]
    assert len(first.notes) == 1
    assert "trusted at first use" in first.notes[0]
    assert "verified" in again.notes[0]
    assert again.images == first.images[:2]
    assert load_ref(first.images[0]).shape == (33, 47, 3)
    pin = (cache / "images.zip.sha256").read_text().strip()
    assert pin in first.notes[0]
    assert pin in again.notes[0]


def test_later_archives_must_match_the_pin(cache, monkeypatch):
    with serve({"images.zip": GOOD}) as server:
        monkeypatch.setattr(clic22, "URL", server.url + "images.zip")
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


def test_unpacked_images_are_verified(cache):
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


def test_error_page_is_neither_pinned_nor_kept(cache, monkeypatch):
    with serve({"images.zip": b"<html>Sign in to the network</html>"}) as server:
        monkeypatch.setattr(clic22, "URL", server.url + "images.zip")
        with pytest.raises(DatasetError, match="damaged"):
            open_dataset("clic22")
        assert {path.name for path in cache.iterdir()} == {".lock"}
        server.files["images.zip"] = archive(("a.txt", b""))
        with pytest.raises(DatasetError, match="no usable picture"):
            open_dataset("clic22")
        server.files["images.zip"] = GOOD
        assert len(open_dataset("clic22").images) == 3


def test_killed_unpacking_is_swept_up_and_processes_wait_for_each_other(cache, monkeypatch):
    (cache / "unpack-killed").mkdir(parents=True)
    (cache / "unpack-killed" / "2.png").write_bytes(b"half")
    with serve({"images.zip": GOOD}) as server:
        monkeypatch.setattr(clic22, "URL", server.url + "images.zip")
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: open_dataset("clic22").images, range(4)))
        assert len(server.requests) == 1
    assert all(images == found[0] for images in found)
    assert not list(cache.glob("unpack-*"))


def test_bench_data_comes_first_as_images_or_archive(cache, tmp_path, monkeypatch):
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
    assert "no checksum" in dataset.notes[0]
    assert "1 images, where the published set has 3" in dataset.notes[1]


def test_without_a_network_the_error_says_what_to_put_where(cache, monkeypatch):
    with serve({}) as server:
        closed = server.url + "images.zip"
    monkeypatch.setattr(clic22, "URL", closed)
    with pytest.raises(DatasetError) as caught:
        open_dataset("clic22")
    assert f"{closed} could not be downloaded: Connection refused" in str(caught.value)
    assert f"Put images.zip into {cache}" in str(caught.value)
