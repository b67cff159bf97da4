"""Finding codecs by name, and adding them by a Python file or an entry point."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

from codecs import registry
from codecs.base import Codec, CodecError, CodecUnavailable
from tests.codecs_cases import NAMES, clean_environment

CODEC_FILE = '''
"""A codec that keeps every pixel."""

import numpy as np

from codecs.base import BitstreamError, Codec, Point


class Plain(Codec):
    name = "plain"
    label = "Plain"
    version = "1"
    points = (Point("level", 1),)

    def encode(self, image, point):
        return bytes([image.shape[0], image.shape[1]]) + image.tobytes()

    def decode(self, data):
        if len(data) < 2 or len(data) != 2 + 3 * data[0] * data[1]:
            raise BitstreamError("wrong length")
        return np.frombuffer(data, np.uint8, offset=2).reshape(data[0], data[1], 3).copy()


def codec(variant=None):
    made = Plain()
    if variant:
        made.name = f"plain:{variant}"
    return made
'''


def test_what_is_available():
    entries = {entry.name: entry for entry in registry.available()}
    assert {name.partition(":")[0] for name in NAMES} <= set(entries)
    assert "bpg" in entries["hevc"].aliases
    assert all(entry.summary for entry in entries.values())


LEARNED = ("rdonet", "minnen")


@pytest.mark.parametrize(
    "name",
    [
        name
        for entry in registry.BUILT_IN
        if entry.name != "compressai"  # would download; see test_compressai.py
        for name in (
            entry.name,
            *entry.aliases,
            *(f"{entry.name}:{variant}" for variant in entry.variants if variant != "vvencapp"),
        )
    ],
)
def test_every_listed_name_can_be_made(name):
    registry.check_name(name)
    learned = name.startswith(LEARNED)
    try:
        codec = registry.create(name)
    except CodecUnavailable as missing:
        if learned:
            pytest.skip(str(missing))
        raise
    assert registry.create(codec.name).name == codec.name
    assert len(codec.points) >= (1 if learned else 6)


def test_bpg_is_hevc():
    assert registry.create("bpg").name == "hevc"
    assert registry.create("bpg").label == "HEVC intra 4:4:4 (x265; the coder inside BPG)"
    assert registry.create("bpg:bt709").name == "hevc:bt709"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vvnec", "did you mean 'vvenc'"),
        ("jpg", "did you mean 'jpeg'"),
        ("bpgg", "did you mean 'bpg'"),
        ("vvenc:mediun", "did you mean 'medium'"),
        ("vvenc:qpa:qpa", "twice"),
        ("vvenc:", "unknown variant ''"),
        ("webp:sharp", "has no variants"),
        ("qqqqqq", "there is: jpeg"),
        ("", "unknown codec ''"),
        ("<script>alert(1)</script>", "unknown codec"),
        ("../../etc/passwd", "unknown codec"),
        ("nowhere.toml", "no file nowhere.toml"),
        ("nowhere.py:x", "no file nowhere.py"),
    ],
)
def test_unknown_names(name, hint):
    for find in (registry.check_name, registry.create):
        with pytest.raises(registry.UnknownCodec, match=hint):
            find(name)


@pytest.mark.parametrize("name", ["avif:ssim:iq", "avif:speed-2:speed-4", "jxl:effort-3:effort-9"])
def test_variants_that_exclude_each_other(name):
    with pytest.raises(registry.UnknownCodec, match="takes one"):
        registry.create(name)


def test_listing_imports_no_codec_library():
    code = (
        "import bench, sys; from codecs import registry; registry.available(); "
        "registry.check_name('vvenc:faster:qpa'); "
        "print([m for m in ('PIL', 'imageio_ffmpeg', 'torch', 'scipy') if m in sys.modules])"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_python_file_works_in_another_process(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(CODEC_FILE)
    codec = registry.create(str(path))
    image = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    data = codec.encode(image, codec.points[0])
    assert codec.name == "plain"
    assert registry.create(f"{path}:fast").name == "plain:fast"
    code = (
        "import bench, sys; from codecs import registry; "
        f"codec = registry.create({str(path)!r}); "
        f"sys.stdout.buffer.write(codec.decode(bytes.fromhex({data.hex()!r})).tobytes())"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=clean_environment(), capture_output=True, check=True)
    assert done.stdout == image.tobytes()


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("x = (", CodecError, "SyntaxError"),
        ("1 / 0", CodecError, "ZeroDivisionError"),
        ("import a_module_that_is_not_here", CodecUnavailable, "a_module_that_is_not_here"),
        ("x = 1", CodecError, r"needs a function codec\(variant"),
        ("def codec(variant=None):\n    return 3", CodecError, "got int"),
        ("def codec(variant=None):\n    raise KeyError('k')", CodecError, "KeyError"),
        (CODEC_FILE.replace('"plain"', '"jpeg"'), CodecError, "belongs to a built-in"),
        (CODEC_FILE.replace('"plain"', '"<b>"'), CodecError, "cannot name a codec"),
        (CODEC_FILE.replace('"plain"', '"../x"'), CodecError, "cannot name a codec"),
        (CODEC_FILE.replace('"plain"', '"a" * 65'), CodecError, "at most 64"),
        (CODEC_FILE.replace('version = "1"', ""), CodecError, "has no version"),
        (CODEC_FILE.replace('(Point("level", 1),)', "()"), CodecError, "has no points"),
    ],
)
def test_broken_python_files(tmp_path, text, error, hint):
    path = tmp_path / "broken.py"
    path.write_text(text)
    registry.check_name(str(path))
    with pytest.raises(error, match=hint):
        registry.create(str(path))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Pretends that a package with these entry points was installed."""

    def run(package: str, entry_points: str, **modules: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[bench.codecs]\n{entry_points}\n")
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        registry._entry_points.cache_clear()

    monkeypatch.syspath_prepend(tmp_path)
    yield run
    registry._entry_points.cache_clear()
    for name in ("plain_package", "raising_package"):
        sys.modules.pop(name, None)


def test_an_entry_point(install):
    install("plain-codec", "plain = plain_package:codec", plain_package=CODEC_FILE)
    entry = registry.available()[-1]
    assert (entry.name, entry.summary) == ("plain", "from package plain-codec")
    assert "plain_package" not in sys.modules
    codec = registry.create("plain:fast")
    assert isinstance(codec, Codec)
    assert codec.name == "plain:fast"
    with pytest.raises(registry.UnknownCodec, match="did you mean 'plain'"):
        registry.create("plian")


def test_broken_entry_points_are_reported_and_harm_nobody(install):
    install(
        "broken",
        "gone = module_that_is_gone:codec\n"
        "raises = raising_package:codec\n"
        "jpeg = plain_package:codec\n"
        "nothing = plain_package:no_such_function\n"
        "bad name = plain_package:codec",
        plain_package=CODEC_FILE,
        raising_package="raise RuntimeError('no licence')",
    )
    entries = {entry.name: entry for entry in registry.available()[len(registry.BUILT_IN) :]}
    assert "module_that_is_gone" in entries["gone"].summary
    assert "taken" in entries["jpeg"].summary
    assert "cannot name a codec" in entries["bad name"].summary
    with pytest.raises(CodecError, match="module_that_is_gone"):
        registry.check_name("gone")
    with pytest.raises(CodecError, match="no licence"):
        registry.create("raises")
    with pytest.raises(CodecError, match="needs a function no_such_function"):
        registry.create("nothing")
    assert registry.create("jpeg").label == "JPEG 4:2:0"


def test_one_name_from_two_packages(install):
    install("first", "twin = plain_package:codec", plain_package=CODEC_FILE)
    install("second", "twin = plain_package:codec")
    with pytest.raises(CodecError, match="taken"):
        registry.create("twin")
