"""Finding codecs by name, and adding them by a Python file or an entry point."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.record.store import Store
from bench.run.plan import make_plan
from codecs import registry
from codecs.base import Codec, CodecError, CodecUnavailable
from codecs.naming import UnknownCodec
from datasets.base import Dataset, ImageRef
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


LEARNED = ("compressai", *registry.trainable())


@pytest.mark.parametrize(
    "name",
    [
        name
        for entry in registry.BUILT_IN
        # Would download, or are to be built: test_compressai.py, test_reference_software.py.
        if entry.name not in ("compressai", "vtm", "hm")
        for name in (
            entry.name,
            *entry.aliases,
            *(f"{entry.name}:{variant}" for variant in entry.variants if variant != "vvencapp"),
        )
    ],
)
def test_every_listed_name_can_be_made(name, request):
    registry.check_name(name)
    learned = name.startswith(LEARNED)
    if learned and ":" in name:
        request.getfixturevalue("toy_weights")  # with its own, the codec is made without a variant
    single = name == "png" or "lossless" in name
    try:
        codec = registry.create(name)
    except CodecUnavailable as missing:
        if learned:
            pytest.skip(str(missing))
        raise
    assert registry.create(codec.name).name == codec.name
    assert len(codec.points) >= (1 if learned or single else 6)


def test_a_library_that_does_not_load_is_a_missing_one(monkeypatch):
    """Not only ImportError: a shared library of torch's that is not there is an OSError."""

    def fail(name: str) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(registry.importlib, "import_module", fail)
    with pytest.raises(CodecUnavailable, match="webp: OSError: libcudart"):
        registry.create("webp")


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
        ("jpeg2000:sharp", "has no variants"),
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


def test_codecs_without_weights_are_known_and_say_so():
    for entry in registry.BUILT_IN:
        if registry.lacks_weights(entry):
            with pytest.raises(CodecUnavailable, match=f"make weights SET={entry.name}`"):
                registry.create(entry.name)
    trained = next(entry for entry in registry.BUILT_IN if entry.name == "hyperprior")
    assert not registry.lacks_weights(trained)
    assert registry.lacks_weights(replace(trained, name="nobody-trained-this"))
    assert not registry.lacks_weights(replace(trained, name="jpeg", network=""))


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


CODEC_LINE = len(CODEC_FILE.splitlines()) + 1
"""Of what is appended to `CODEC_FILE`."""


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("x = (", "SyntaxError"),
        ("\n1 / 0", r"broken\.py: ZeroDivisionError: division by zero \(line 2\)"),
        ("import sys\nsys.exit('usage: ...')", r"SystemExit: usage: \.\.\. \(line 2\)"),
        (
            "import a_module_that_is_not_here",
            r"ModuleNotFoundError: No module named 'a_module_that_is_not_here' \(line 1\); install",
        ),
        ("x = 1", r"needs a function codec\(variant"),
        ("def codec(variant=None):\n    return 3", "got int"),
        ("def codec(variant=None):\n    raise KeyError('k')", r"KeyError: 'k' \(line 2\)"),
        ("def codec():\n    return 3", "TypeError"),
        (CODEC_FILE.replace('"plain"', '"jpeg"'), "belongs to a built-in"),
        (CODEC_FILE.replace('"plain"', '"<b>"'), "cannot name a codec"),
        (CODEC_FILE.replace('"plain"', '"../x"'), "cannot name a codec"),
        (CODEC_FILE.replace('"plain"', '"a" * 65'), "at most 64"),
        (CODEC_FILE.replace('version = "1"', ""), "has no version"),
        (CODEC_FILE.replace('(Point("level", 1),)', "()"), "has no points"),
        (CODEC_FILE.replace('(Point("level", 1),)', "(1, 2)"), "has no points"),
        (CODEC_FILE + "\nPlain.version = property(lambda self: 1 / 0)", "ZeroDivisionError"),
        (
            CODEC_FILE + "Plain.points = property(lambda self: open('/no/such/weights'))",
            rf"FileNotFoundError.*/no/such/weights' \(line {CODEC_LINE}\)",
        ),
        (CODEC_FILE + "\nPlain.settings = 3", "TypeError"),
        (CODEC_FILE + "\nPlain.version = 3", "version is 3; expected a text"),
        (CODEC_FILE + "\nPlain.label = b'x'", "label is b'x'; expected a text"),
        (CODEC_FILE + "\nPlain.label = chr(0xdcff)", r"label '\\udcff' cannot be written in UTF-8"),
        (CODEC_FILE + "\nPlain.version = chr(0xd800)", "version .* cannot be written in UTF-8"),
        (CODEC_FILE + "\nPlain.device = None", "device is None; expected a text"),
        (CODEC_FILE + "\nPlain.tuned_for = [3]", "tuned_for is 3; expected a text"),
        (CODEC_FILE + "\nPlain.settings = {'x': float('nan')}", "settings are no plain text"),
        (CODEC_FILE + "\nPlain.settings = {'x': chr(0xdcff)}", "settings are no plain text"),
        (CODEC_FILE + "\nPlain.settings = {(1, 2): 'x'}", "settings are no plain text"),
        (CODEC_FILE.replace('"level", 1', '"level", float("inf")'), "level inf is no finite"),
        (CODEC_FILE.replace('"level", 1', '"level", float("nan")'), "level nan is no finite"),
        (CODEC_FILE.replace('"level", 1', '"level", 10 ** 5000'), r"level is above 2\^53"),
        (CODEC_FILE.replace('"level", 1', '"level", None'), "point None is neither"),
        (CODEC_FILE.replace('"level", 1', '"level", [1]'), r"point \[1\] is neither"),
        (CODEC_FILE.replace('"level", 1', '"level", chr(0xdcff)'), "cannot be written in UTF-8"),
        (CODEC_FILE.replace('"level", 1', "3, 1"), "parameter is 3; expected a text"),
        (
            CODEC_FILE.replace('Point("level", 1),', 'Point("level", 1), Point("level", 1.0)'),
            "occurs twice: level 1",
        ),
    ],
)
def test_a_broken_python_file_costs_only_itself(tmp_path, text, hint):
    path = tmp_path / "broken.py"
    path.write_text(text)
    registry.check_name(str(path))
    with pytest.raises(CodecUnavailable, match=hint) as caught:
        registry.create(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_broken_python_file_is_a_row_of_its_own(tmp_path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "picture.png").write_bytes(b"")
    picture = ImageRef("picture", tmp_path / "picture.png", "0" * 64, 64, 64)
    dataset = Dataset("x", "x", (picture,), "x")
    broken = str(tmp_path / "broken.py")
    plan = make_plan([broken, "jpeg"], dataset, Store(tmp_path), {})
    assert {task.codec for task in plan.tasks} == {"jpeg"}
    assert "RuntimeError: no licence" in plan.unavailable[broken]
    with pytest.raises(registry.UnknownCodec, match="did you mean 'jpeg'"):
        make_plan([broken, "jpeeg"], dataset, Store(tmp_path), {})


def _dataset(folder: Path) -> Dataset:
    """A picture that is never opened, of 30 x 20 pixels."""
    return Dataset("x", "x", (ImageRef("a", folder / "a.png", "0" * 64, 30, 20),), "x")


@pytest.mark.parametrize(
    ("method", "hint"),
    [
        ("seconds(self, pixels, point): return float('nan')", "estimates nan seconds at level 1"),
        ("seconds(self, pixels, point): return float('inf')", "estimates inf seconds at level 1"),
        ("seconds(self, pixels, point): return -1", "estimates -1.0 seconds at level 1"),
        ("seconds(self, pixels, point): return 'soon'", "estimates 'soon' seconds at level 1"),
        ("seconds(self, pixels, point): return [1]", r"estimates \[1\] seconds at level 1"),
        ("seconds(self, pixels, point): return 1 / (pixels - 600)", "ZeroDivisionError"),
        ("command(self, point): return 1 / 0", "ZeroDivisionError"),
        ("command(self, point): return ['x']", r"command at level 1 is \['x'\]"),
        ("command(self, point): return chr(0xdcff)", "command at level 1 .* in UTF-8"),
    ],
)
def test_an_answer_that_is_none_costs_only_its_codec(tmp_path, method, hint):
    """Also where it is bad for pictures of this run's size alone."""
    path = tmp_path / "odd.py"
    path.write_text(CODEC_FILE.replace("\n    def encode", f"\n    def {method}\n    def encode"))
    plan = make_plan([str(path), "jpeg"], _dataset(tmp_path), Store(tmp_path), {})
    assert {task.codec for task in plan.tasks} == {"jpeg"}
    with pytest.raises(AssertionError, match=hint):
        raise AssertionError(plan.unavailable[str(path)])


def test_planning_asks_once(tmp_path):
    """A codec cannot give another answer than the one that was checked."""
    path = tmp_path / "moody.py"
    moody = """
    def seconds(self, pixels, point, asked=[]):
        asked.append(point)
        return 1 / (2 - len(asked))

    def encode"""
    path.write_text(CODEC_FILE.replace("\n    def encode", moody, 1))
    plan = make_plan([str(path)], _dataset(tmp_path), Store(tmp_path), {})
    assert plan.seconds == pytest.approx(1, abs=0.001)  # and what metrics take


def test_a_file_finds_the_modules_beside_it(tmp_path, monkeypatch):
    """Its own, though another file has some of the same names, and nothing else does."""
    monkeypatch.chdir(tmp_path)
    made = {}
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "helper.py").write_text(f"LABEL = {label!r}\n")
        told = "lambda self, point: helper.LABEL + ' ' + __import__('helper').LABEL"
        text = f"import helper\n{CODEC_FILE}\nPlain.command = {told}\n"
        (tmp_path / label / "mine.py").write_text(text)
        made[label] = registry.create(f"{label}/mine.py")
    for label, codec in made.items():
        assert codec.command(codec.points[0]) == f"{label} {label}"
    assert "helper" not in sys.modules
    assert str(tmp_path / "one") not in sys.path


def test_two_files_of_one_name_are_not_one_codec(tmp_path):
    """Though they say the same of themselves, each may load weights that lie beside it."""
    paths = [tmp_path / name / "plain.py" for name in ("one", "other")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(CODEC_FILE)
    with pytest.raises(CodecError, match="both named 'plain'"):
        make_plan([str(path) for path in paths], _dataset(tmp_path), Store(tmp_path), {})
    (tmp_path / "link.py").symlink_to(paths[0])
    twice = [str(paths[0]), str(tmp_path / "link.py")]
    plan = make_plan(twice, _dataset(tmp_path), Store(tmp_path), {})
    assert plan.names == dict.fromkeys(twice, "plain")


def test_variants_of_one_name_are_not_one_codec(tmp_path):
    """A factory may forget the variant in the name; what it codes is filed apart all the same."""
    path = tmp_path / "plain.py"
    path.write_text(CODEC_FILE + "\nwith_name = codec\ndef codec(variant=None): return with_name()")
    both = [str(path), f"{path}:fast"]
    assert registry.create(both[0]).name == registry.create(both[1]).name
    keys = {
        make_plan([name], _dataset(tmp_path), Store(tmp_path), {}).tasks[0].blank.key
        for name in both
    }
    assert len(keys) == 2
    with pytest.raises(CodecError, match="both named 'plain'"):
        make_plan(both, _dataset(tmp_path), Store(tmp_path), {})


def test_what_a_factory_says_itself_is_kept(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from codecs.base import CodecUnavailable\nfrom codecs.naming import UnknownCodec\n"
        "def codec(variant=None):\n"
        "    raise UnknownCodec(variant) if variant else CodecUnavailable('get a licence')\n"
    )
    with pytest.raises(CodecUnavailable, match=r"^get a licence$"):
        registry.create(str(path))
    with pytest.raises(registry.UnknownCodec, match=r"^fast$"):
        registry.create(f"{path}:fast")


NETWORK = """
from codecs.factorised import FactorisedNetwork as Theirs

class {name}(Theirs):
    architecture = "own"
"""


def test_the_network_that_a_python_file_defines(tmp_path):
    """Its own, not one that it imports."""
    path = tmp_path / "mine.py"
    path.write_text(NETWORK.format(name="Own"))
    assert registry.network(str(path)).__name__ == "Own"
    for text, reason in {
        NETWORK.format(name="One") + NETWORK.format(name="Two"): "defines 2 kinds of CodecNetwork",
        "from codecs.minnen import Minnen": "defines 0 kinds",
    }.items():
        path.write_text(text)
        with pytest.raises(UnknownCodec, match=reason):
            registry.network(str(path))
    path.write_text("1 / 0")
    with pytest.raises(CodecUnavailable, match=r"mine\.py: ZeroDivisionError: .* \(line 1\)"):
        registry.network(str(path))
    with pytest.raises(UnknownCodec, match="there is no file"):
        registry.network(str(tmp_path / "other.py"))


def test_a_changed_python_file_is_measured_again(tmp_path):
    """At once, in the same process, though neither its size nor its time has changed."""
    path = tmp_path / "plain.py"
    seen = []
    for text in (CODEC_FILE, CODEC_FILE.replace('"level", 1', '"level", 2')):
        path.write_text(text)
        os.utime(path, ns=(0, 0))
        codec = registry.create(str(path))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        assert codec.settings["file digests"] == f"plain.py {digest}"
        seen.append((codec.points[0].value, codec.version))
    assert seen == [(1, "1"), (2, "1")]


def test_what_a_codec_says_of_itself_reaches_the_harness(tmp_path):
    """Through the checks: estimates, commands, diagnostics, settings, even read-only ones."""
    path = tmp_path / "rich.py"
    extra = """
    device, warm_up, tuned_for = "cuda:0", False, ["lpips-vgg"]
    settings = property(lambda self: {"width": "64"})

    def command(self, point):
        return f"plain {point.value}"

    def seconds(self, pixels, point):
        return pixels * 2.0

    def diagnostics(self, image, data):
        return {"size": len(data)}
"""
    path.write_text(CODEC_FILE.replace("\n    def encode", extra + "\n    def encode"))
    codec = registry.create(str(path))
    image, point = np.zeros((2, 2, 3), np.uint8), codec.points[0]
    assert (codec.device, codec.warm_up, codec.tuned_for) == ("cuda:0", False, ("lpips-vgg",))
    assert codec.settings["width"] == "64"
    assert "file digests" in codec.settings
    assert (codec.command(point), codec.seconds(3, point)) == ("plain 1", 6.0)
    assert codec.diagnostics(image, codec.encode(image, point)) == {"size": 14}


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
    assert codec.settings["file digests"].startswith("plain_package.py ")
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
    with pytest.raises(CodecUnavailable, match="raises: RuntimeError: no licence"):
        registry.create("raises")
    with pytest.raises(CodecUnavailable, match="needs a function no_such_function"):
        registry.create("nothing")
    assert registry.create("jpeg").label == "JPEG 4:2:0"


def test_one_name_from_two_packages(install):
    install("first", "twin = plain_package:codec", plain_package=CODEC_FILE)
    install("second", "twin = plain_package:codec")
    with pytest.raises(CodecError, match="taken"):
        registry.create("twin")


@pytest.mark.parametrize(
    ("named", "plain"),
    [
        ("avif:speed-6", "avif"),
        ("avif:444:psnr:iq", None),
        ("jxl:effort-7", "jxl"),
        ("jpeg:420", "jpeg"),
        ("jpeg:420:444", None),
        ("vvenc:slower", "vvenc"),
        ("hevc:bt601", "hevc"),
        ("bpg:bt601", "hevc"),
        ("hevc:bt601:bt709", None),
    ],
)
def test_what_is_so_anyway_may_be_said(named, plain):
    if plain is None:
        with pytest.raises(UnknownCodec, match="one"):
            registry.create(named)
    else:
        said, plainly = registry.create(named), registry.create(plain)
        assert (said.name, said.settings) == (plainly.name, plainly.settings)
        assert registry.unaliased(named) == plainly.name


def test_versions_tell_what_ran_by_its_content(tmp_path, monkeypatch):
    from codecs import ffmpeg, fingerprint

    digest = hashlib.sha256(Path(ffmpeg.executable()).read_bytes()).hexdigest()[:16]
    for name in ("jxl", "hevc", "vvenc"):
        assert digest in registry.create(name).version
    one, other = tmp_path / "liba.so", tmp_path / "libb.so"
    one.write_bytes(b"a")
    other.write_bytes(b"b")
    before = fingerprint.together([one, other])
    other.write_bytes(b"c")
    assert fingerprint.together([other, one]) != before


def test_the_libraries_behind_pillows_formats_are_found():
    """A pattern that matches nothing would give all of them one digest."""
    versions = {
        name: registry.create(name).version for name in ("jpeg", "jpeg2000", "webp", "avif")
    }
    digests = {version.rpartition("(")[2] for version in versions.values()}
    assert len(digests) == 4
    assert f"({hashlib.sha256(b'').hexdigest()[:16]})" not in "".join(versions.values())
