"""Downloads against a server on the loopback interface that misbehaves on purpose; Kodak."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets import download, registry
from datasets.base import DatasetError
from datasets.download import DownloadError, fetch
from datasets.registry import open_dataset
from tests.datasets_fixtures import encoded, picture, serve

CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.0)


def get(url: str, target: Path, digest: str | None = DIGEST, max_bytes: int = 1 << 20) -> None:
    fetch(url, target, digest=digest, max_bytes=max_bytes, by_hand="Put it there by hand.")


def test_download_leaves_the_file_alone(tmp_path, capsys):
    target = tmp_path / "new" / "a.bin"
    with serve({"a.bin": CONTENT}) as server:
        get(server.url + "a.bin", target)
        assert server.requests == [("/a.bin", None)]
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]
    assert "a.bin (0.3 MB)" in capsys.readouterr().err


def test_broken_connection_is_resumed_at_once(tmp_path):
    with serve({"a.bin": CONTENT}) as server:
        server.break_after = [100_000, 100_000]
        get(server.url + "a.bin", tmp_path / "a.bin")
        first, second, third = (wanted or "" for _, wanted in server.requests)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert first == ""
    assert 0 < int(second[6:-1]) < int(third[6:-1]) < len(CONTENT)


def test_interrupted_download_is_resumed_by_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with serve({"a.bin": CONTENT}) as server:
        server.break_after = [200_000]
        with pytest.raises(DownloadError, match="could not be downloaded"):
            get(server.url + "a.bin", tmp_path / "a.bin")
        assert not (tmp_path / "a.bin").exists()
        get(server.url + "a.bin", tmp_path / "a.bin")
        assert str(server.requests[-1][1]).startswith("bytes=1")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("way", ["no ranges", "no validator", "weak validator"])
def test_server_that_cannot_resume_is_asked_for_the_whole_file(tmp_path, way):
    with serve({"a.bin": CONTENT}) as server:
        server.ranges = way != "no ranges"
        server.etag = {"no validator": None, "weak validator": 'W/"v1"'}.get(way, '"v1"')
        server.break_after = [150_000]
        get(server.url + "a.bin", tmp_path / "a.bin")
        assert (server.requests[1][1] is None) == (way != "no ranges")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_file_that_changed_meanwhile_is_not_patched_together(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with serve({"a.bin": bytes(300_000)}) as server:
        server.break_after = [200_000]
        with pytest.raises(DownloadError):
            get(server.url + "a.bin", tmp_path / "a.bin", None)
        server.files["a.bin"], server.etag = CONTENT, '"v2"'
        get(server.url + "a.bin", tmp_path / "a.bin", None)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_resumed_file_with_a_wrong_digest_is_fetched_afresh_once(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"spoilt" * 100)
    (tmp_path / "a.bin.part.validator").write_text('"v1"')
    with serve({"a.bin": CONTENT}) as server:
        get(server.url + "a.bin", tmp_path / "a.bin")
        assert [wanted for _, wanted in server.requests] == ["bytes=600-", None]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_part_that_is_complete_or_too_long_is_dropped(tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.bin.part.validator").write_text('"v1"')
    with serve({"a.bin": CONTENT}) as server:
        get(server.url + "a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_wrong_digest_is_refused_and_leaves_nothing(tmp_path):
    with (
        serve({"a.bin": CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])}) as server,
        pytest.raises(DownloadError, match=f"a.bin.*{DIGEST}"),
    ):
        get(server.url + "a.bin", tmp_path / "a.bin")
    assert list(tmp_path.glob("a.bin*")) == []


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_files_are_given_up(tmp_path, announced):
    with serve({"a.bin": CONTENT}) as server:
        server.length = announced
        with pytest.raises(DownloadError, match=r"more than the 100,000"):
            get(server.url + "a.bin", tmp_path / "a.bin", max_bytes=100_000)
    assert not (tmp_path / "a.bin").exists()
    part = tmp_path / "a.bin.part"
    assert not part.exists() or part.stat().st_size <= 100_000


@pytest.mark.parametrize(("status", "reason"), [(404, "HTTP 404 Not Found"), (503, "HTTP 503")])
def test_http_errors_name_address_cause_and_way_out(tmp_path, status, reason):
    with serve({"a.bin": CONTENT}) as server:
        server.status = status
        with pytest.raises(DownloadError) as caught:
            get(server.url + "a.bin", tmp_path / "a.bin")
        assert len(server.requests) == 1
        assert server.url + "a.bin" in str(caught.value)
    assert reason in str(caught.value)
    assert str(caught.value).endswith("Put it there by hand.")


def test_compressed_answers_are_refused(tmp_path):
    with serve({"a.bin": CONTENT}) as server:
        server.headers["Content-Encoding"] = "gzip"
        with pytest.raises(DownloadError, match="compresses"):
            get(server.url + "a.bin", tmp_path / "a.bin")


def test_slow_servers_are_given_up(tmp_path, monkeypatch):
    clock = iter(range(0, 100_000, 61))
    monkeypatch.setattr(download.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(download, "SLOWEST", 10_000)
    with (
        serve({"a.bin": CONTENT}) as server,
        pytest.raises(DownloadError, match="less than 10000 bytes a second"),
    ):
        get(server.url + "a.bin", tmp_path / "a.bin")


def test_progress_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with serve({"a.bin": CONTENT}) as server:
        get(server.url + "a.bin", tmp_path / "a.bin")
    assert "Downloading" not in capsys.readouterr().err
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.fixture
def small_kodak(tmp_path, monkeypatch):
    """Kodak with three small files in place of the 24: name -> bytes, and what sets the address."""
    files = {f"kodim0{i}.png": encoded(picture(seed=i)) for i in (1, 2, 3)}
    monkeypatch.setattr(registry, "_SETS", tmp_path)

    def come_from(url: str) -> None:
        lines = [
            f'"{name}" = {{ url = "{url}{name}", sha256 = "{hashlib.sha256(data).hexdigest()}" }}\n'
            for name, data in files.items()
        ]
        (tmp_path / "kodak.toml").write_text('label = "Kodak"\n[files]\n' + "".join(lines))

    come_from("http://127.0.0.1:9/")
    return files, come_from


def test_kodak_without_a_network_is_one_clear_error(tmp_path, small_kodak):
    files, come_from = small_kodak
    with serve({}) as server:
        closed = server.url
    come_from(closed)
    with pytest.raises(DatasetError) as caught:
        open_dataset("kodak")
    text = str(caught.value)
    assert f"{closed}kodim01.png could not be downloaded: Connection refused" in text
    assert str(tmp_path / "cache" / "kodak") in text
    assert "BENCH_DATA" in text
    for name, data in files.items():  # do what it says
        (tmp_path / "cache" / "kodak" / name).write_bytes(data)
    assert len(open_dataset("kodak").images) == 3


def test_kodak_downloads_what_is_missing_once(tmp_path, small_kodak, monkeypatch):
    files, come_from = small_kodak
    given = tmp_path / "data" / "kodak"
    given.mkdir(parents=True)
    (given / "kodim02.png").write_bytes(files["kodim02.png"])
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    with serve(files) as server:
        come_from(server.url)
        assert len(open_dataset("kodak", limit=1).images) == 1
        assert [path for path, _ in server.requests] == ["/kodim01.png"]
        with ThreadPoolExecutor(4) as pool:  # as four processes that start together
            found = list(pool.map(lambda _: open_dataset("kodak"), range(4)))
        assert [path for path, _ in server.requests] == ["/kodim01.png", "/kodim03.png"]
        assert all(dataset == found[0] for dataset in found)
    assert found[0].images[1].path == given / "kodim02.png"


def test_kodak_repairs_its_cache_but_never_touches_your_files(tmp_path, small_kodak, monkeypatch):
    files, come_from = small_kodak
    with serve(files) as server:
        come_from(server.url)
        open_dataset("kodak").images[0].path.write_bytes(b"damaged")
        open_dataset("kodak")
        assert len(server.requests) == 4
    given = tmp_path / "data" / "kodak"
    given.mkdir(parents=True)
    (given / "kodim01.png").write_bytes(encoded(picture(seed=9)))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    with pytest.raises(DatasetError, match=r"data/kodak/kodim01\.png is not the kodim01.*SHA"):
        open_dataset("kodak")
    assert (given / "kodim01.png").read_bytes() == encoded(picture(seed=9))


def test_wrong_bench_data_is_a_clear_error(tmp_path, small_kodak, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"BENCH_DATA=.*nowhere is not a folder"):
        open_dataset("kodak")


def test_real_kodak_matches_the_table(monkeypatch):
    from tests.conftest import DATA

    if not (DATA / "kodak" / "kodim24.png").exists():
        pytest.skip("the Kodak images are not on this machine")
    monkeypatch.setenv("BENCH_DATA", str(DATA))
    dataset = open_dataset("kodak")
    assert len(dataset.images) == 24
    for image, read in zip(dataset.images, open_dataset(str(DATA / "kodak")).images, strict=True):
        assert (image.name, image.digest) == (read.name, read.digest)
        assert (image.width, image.height, ()) == (read.width, read.height, read.notes)
