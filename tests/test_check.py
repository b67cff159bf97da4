"""`bench check` finds what is wrong, says what is missing, and leaves nothing running."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench import metrics
from bench.check import closely, round_trip
from bench.check import installation as check
from bench.check.finding import Finding
from bench.check.round_trip import check_codecs
from bench.record.store import Store
from bench.run import sandbox
from codecs import registry
from codecs.base import CodecUnavailable
from codecs.registry import Entry
from tests.helpers import run_alone

CODEC = """
import os, sys, time, zlib
import numpy as np
from codecs.base import Codec, CodecUnavailable, Point

def blocks(image, size):
    # The mean colour of each block.
    for y in range(0, image.shape[0], size):
        for x in range(0, image.shape[1], size):
            block = image[y : y + size, x : x + size]
            block[:] = block.mean((0, 1))
    return image

class Toy(Codec):
    name, label, version = "toy", "Toy", "1"
    points = (Point("level", 1),)

    def encode(self, image, point):
        ENCODE
        return np.array(image.shape[:2], "<u4").tobytes() + zlib.compress(image.tobytes())

    def decode(self, data):
        size = np.frombuffer(data[:8], "<u4")
        image = np.frombuffer(zlib.decompress(data[8:]), np.uint8).reshape(*size, 3).copy()
        DECODE
        return image

def codec(variant=None):
    return Toy()
"""

BROKEN = (
    # name, what encode does, what decode does, status, detail
    ("import", None, None, "missing", "RuntimeError: no licence (line 1)"),
    ("good", "", "", "ok", "level 1: "),
    ("raise", "raise RuntimeError('encoder is ill')", "", "wrong", "encoder is ill"),
    ("exit", "os._exit(3)", "", "wrong", "the encode process died (exit status 3)"),
    ("hang", "time.sleep(60)", "", "wrong", "encode took longer than 4 s"),
    ("gone", "raise CodecUnavailable('get the tool')", "", "missing", "get the tool"),
    ("ill", "", "raise KeyError('dec')", "wrong", "decode raised KeyError"),
    ("moody", "", "image[0, 0] = list(os.urandom(3))", "wrong", "to two pictures"),
    ("negative", "", "image = 255 - image", "wrong", "but to the picture as a negative"),
    ("swapped", "", "image = image[..., ::-1]", "wrong", "but to the picture with red and blue"),
    ("black", "", "image = image * 0", "wrong", "but to another picture (below 17 dB)"),
    ("other", "", "image = np.roll(image, 8, 1)", "wrong", "but to another picture (below 17 dB)"),
    ("coarse", "", "image = blocks(image, 16)", "ok", "decoded alike by two other processes; 1"),
    ("shape", "", "image = image[1:]", "wrong", "to 256 x 239 pixels instead of 256 x 240"),
    ("padded", "", "image = np.pad(image, ((0, 16), (0, 0), (0, 0)))", "wrong", "must crop"),
    ("last", "", "", "ok", "without loss, decoded alike by two other processes; 1"),
)


def only(monkeypatch, *names: str) -> None:
    known = {entry.name: entry for entry in registry.available()}
    entries = [known.get(name, Entry(name, (), (), "", "")) for name in names]
    monkeypatch.setattr(registry, "available", lambda: entries)


def test_one_broken_codec_does_not_hide_the_others(tmp_path, monkeypatch):
    for name, encode, decode, _, _ in BROKEN:
        text = "raise RuntimeError('no licence')"
        if encode is not None:
            text = CODEC.replace("ENCODE", encode or "pass").replace("DECODE", decode or "pass")
        (tmp_path / f"{name}.py").write_text(text)
    only(monkeypatch, *(str(tmp_path / f"{name}.py") for name, *_ in BROKEN))
    monkeypatch.setattr(round_trip, "CODEC_LIMIT", 4.0)
    findings = list(check.codecs_decode_in_other_processes())
    assert [f.status for f in findings] == [status for _, _, _, status, _ in BROKEN]
    for finding, (*_, detail) in zip(findings, BROKEN, strict=True):
        assert detail in finding.detail
    assert not multiprocessing.active_children()


def test_nothing_is_left_running_when_the_check_itself_fails(monkeypatch):
    only(monkeypatch, "jpeg")

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(round_trip, "score", fail)
    with pytest.raises(KeyboardInterrupt):
        list(check.codecs_decode_in_other_processes())
    assert not multiprocessing.active_children()


def test_what_make_installs_must_be_there(monkeypatch):
    def fail(name: str) -> None:
        raise CodecUnavailable(f"install {name}")

    monkeypatch.setattr(registry, "create", fail)
    only(monkeypatch, "vvenc", "minnen-mse")
    assert list(check.codecs_decode_in_other_processes()) == [
        Finding("vvenc", "wrong", "install vvenc"),
        Finding("minnen-mse", "missing", "install minnen-mse"),
    ]


def _metric_off_by_a_thousandth(monkeypatch) -> None:
    score = check.score
    monkeypatch.setattr(check, "score", lambda *arguments: 1.001 * score(*arguments))


def _rates_in_another_base(monkeypatch) -> None:
    rate = check.bd_rate

    def wrong(*arguments: Any, **options: Any) -> Any:
        verdict = rate(*arguments, **options)
        ratio = 1 + (verdict.value or 0) / 100
        # The well-known slip: natural logarithms raised as powers of ten.
        return replace(verdict, value=100 * (ratio ** np.log(10) - 1))

    monkeypatch.setattr(check, "bd_rate", wrong)


def _truncating_colour(monkeypatch) -> None:
    monkeypatch.setattr("codecs.colour.round_trip_444", lambda image: image - (image > 0) * 1)


@pytest.mark.parametrize(
    ("spoil", "checked"),
    [
        (_metric_off_by_a_thousandth, check.psnr_known_answers),
        (_metric_off_by_a_thousandth, check.metrics_equal_the_packages),
        (_rates_in_another_base, check.bd_known_answers),
        (_truncating_colour, check.colour_round_trip),
    ],
)
def test_wrong_values_are_found(monkeypatch, spoil: Callable[..., None], checked):
    right = [finding.status for finding in checked()]
    assert "ok" in right
    assert "wrong" not in right
    spoil(monkeypatch)
    assert [f.status for f in checked()] == [s.replace("ok", "wrong") for s in right]


def test_optional_metrics_are_checked_or_missing(monkeypatch):
    monkeypatch.setattr(metrics.registry.Butteraugli, "__init__", _gone)
    right = {finding.name: finding for finding in check.optional_metrics()}
    assert {name for name, finding in right.items() if finding.status == "missing"} >= {
        *("Butteraugli", "Butteraugli 3-norm")
    }
    assert right["Butteraugli"].detail == "get the program"
    ok = {name for name, finding in right.items() if finding.status == "ok"}
    assert ok >= {"MS-SSIM-Y", "IW-SSIM", "VIFp", "FSIM", "NLPD", "PSNR-HVS-M", "VMAF"}
    assert ok >= {"SSIMULACRA2", "CIEDE2000"}
    real = check.score
    monkeypatch.setattr(check, "score", lambda *given: real(*given) * 1.01 + 0.001)
    wrong = {f.name for f in check.optional_metrics() if f.status == "wrong"}
    assert wrong == ok


def _gone(self: object) -> None:
    raise metrics.MetricUnavailable("get the program")


def test_data_sets_are_looked_at_and_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    found = {finding.name: finding for finding in check.data_sets()}
    assert found["samples"].status == "ok"
    for name in ("kodak", "clic22"):
        assert found[name].status == "missing"
        assert f"make bench DATASET={name}" in found[name].detail
        assert str(tmp_path / "cache" / name) in found[name].detail
    (tmp_path / "data" / "kodak").mkdir(parents=True)
    (tmp_path / "data" / "kodak" / "kodim01.png").write_bytes(b"something else")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    found = {finding.name: finding for finding in check.data_sets()}
    assert found["kodak"].status == "wrong"
    assert "is not the kodim01.png of Kodak" in found["kodak"].detail


@pytest.mark.parametrize(
    ("statuses", "exit_status", "last"),
    [
        (["ok", "ok"], 0, "2 ok, 0 missing, 0 wrong"),
        (["ok", "missing"], 0, "its line says how to get it"),
        (["missing", "wrong"], 1, "make clean && make check"),
    ],
)
def test_the_last_lines_say_what_to_do(monkeypatch, capsys, statuses, exit_status, last):
    def given():
        for status in statuses:
            yield Finding("thing", status, "detail")

    monkeypatch.setattr(check, "CHECKS", (given,))
    assert check.run_checks() == exit_status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{statuses[0]:8}thing: detail"
    assert last in lines[-1]


def test_named_codecs_alone_are_checked(capsys, monkeypatch):
    toy = str(Path(__file__).parent / "toys" / "coarse.py")
    assert check.run_checks([toy, "jpeg"]) == 0
    printed = capsys.readouterr().out.splitlines()
    whole = [line.split(":")[0] for line in printed if not line.startswith(" ")]
    assert whole[:2] == [f"ok      {toy}", "ok      jpeg"]
    assert printed[-1] == "2 ok, 0 missing, 0 wrong"
    monkeypatch.setenv("TOY_ENCODE", "not here")
    assert check.run_checks([toy, "jepg"]) == 1
    printed = capsys.readouterr().out
    assert "toy tool not found" in printed
    assert "did you mean 'jpeg'" in printed
    assert "0 ok, 0 missing, 2 wrong" in printed


def test_the_rates_of_a_codec_are_checked(capsys):
    assert check.run_checks(["jpeg@0.5,90bpp:corpus"]) == 1
    whole = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert whole[0].startswith("ok      jpeg: quality")
    assert whole[1].startswith("ok      jpeg@0.5bpp: bpp 0.5: 0.5")
    assert whole[2].startswith("wrong   jpeg@90bpp: 90 bpp is out of reach")


def test_a_check_that_breaks_off_keeps_what_it_found(monkeypatch, capsys):
    def breaks_off():
        yield Finding("first", "ok", "found")
        raise ImportError("no module")

    monkeypatch.setattr(check, "CHECKS", (breaks_off, check.psnr_known_answers))
    assert check.run_checks() == 1
    first, second, third = capsys.readouterr().out.splitlines()[:3]
    assert first.startswith("ok      first")
    assert second == "wrong   breaks off: cannot be checked: ImportError: no module"
    assert third.startswith("ok      PSNR")


CHEAT = """
import os, tempfile
import numpy as np
from codecs.base import Codec, Point

PLACE = PLACE_HERE

class Cheat(Codec):
    name, label, version, warm_up = "cheat", "Cheat", "1", False
    points = (Point("level", 1),)

    def encode(self, image, point):
        np.save(PLACE, image)
        return b"0123456789"

    def decode(self, data):
        return np.load(PLACE)

def codec(variant=None):
    return Cheat()
"""
CHEATING_TOOL = """
import os, shutil, sys, tempfile
from pathlib import Path
role, source, target = sys.argv[1:4]
place = PLACE_HERE
if role == "encode":
    shutil.copy(source, place)
    Path(target).write_bytes(b"0123456789")
else:
    shutil.copy(place, target)
"""
PLACES = {
    "temporary folder": ("os.path.join(tempfile.gettempdir(), 'leak.npy')", "TMPDIR/leak.npy"),
    "home": ("os.path.expanduser('~/leak.npy')", "HOME/leak.npy"),
    "working directory": ("os.path.abspath('leak.npy')", "the working directory/leak.npy"),
    "fixed path": ("'/tmp/bench-leak-test.npy'", "/tmp/bench-leak-test.npy"),
    "shared memory": ("'/dev/shm/bench-leak-test.npy'", "/dev/shm/bench-leak-test.npy"),
    "beside the codec": ("os.path.join(HERE, 'leak.npy')", "Read-only file system"),
}


def needs_namespaces(place: str):
    """Parameters for a place; those by absolute path only where namespaces rule them out."""
    fixed = place in ("fixed path", "shared memory", "beside the codec")
    marks = pytest.mark.skipif(
        fixed and sandbox.best_kind() == "folders", reason="no namespaces on this system"
    )
    return pytest.param(*PLACES[place], marks=marks, id=place)


@pytest.mark.parametrize(("place", "said"), [needs_namespaces(place) for place in PLACES])
@pytest.mark.parametrize("kind", ["py", "toml"])
def test_a_decoder_that_finds_the_picture_outside_the_stream_is_wrong(tmp_path, kind, place, said):
    place = place.replace("HERE", repr(str(tmp_path)))
    if kind == "py":
        path = tmp_path / "cheat.py"
        path.write_text(CHEAT.replace("PLACE_HERE", place))
    else:
        (tmp_path / "tool.py").write_text(CHEATING_TOOL.replace("PLACE_HERE", place))
        path = tmp_path / "cheat.toml"
        path.write_text(
            f'name = "cheat"\nversion = "1"\nparameter = "level"\npoints = [1]\n'
            f'encode = "{sys.executable} {{here}}/tool.py encode {{input}} {{output}} {{value}}"\n'
            f'decode = "{sys.executable} {{here}}/tool.py decode {{input}} {{output}}"\n'
        )
    (finding,) = check_codecs([str(path)], wanted=[str(path)])
    assert finding.status == "wrong"
    if kind == "toml" and said.startswith("the working"):
        # A command's folder is new for each command, sandbox or not.
        assert "the stream and nothing else" in finding.detail
        return
    assert said in finding.detail
    if "Read-only" not in said:
        assert "it was given the stream and nothing else: what the encoder had left in" in (
            finding.detail
        )


def test_a_rate_that_cannot_be_true_is_wrong(tmp_path):
    """A decoder that has learned the photograph by heart needs no file of the encoder's."""
    path = tmp_path / "heart.py"
    path.write_text(
        CHEAT.replace("PLACE_HERE", "''")
        .replace("np.save(PLACE, image)", "pass")
        .replace(
            "return np.load(PLACE)",
            "from skimage import data; return data.astronaut()[:240, 100:356].copy()",
        )
    )
    (finding,) = check_codecs([str(path)], wanted=[str(path)])
    assert finding.status == "wrong"
    assert "0.001 bpp" in finding.detail
    assert "cannot be true of a photograph: something but the stream (10 bytes)" in finding.detail


def closer(
    tmp_path, encode: str = "pass", decode: str = "pass", change: tuple[str, str] = ("", "")
):
    """The findings about a toy codec, by name; several of the ladder are joined."""
    text = CODEC.replace("ENCODE", encode).replace("DECODE", decode)
    text = text.replace('(Point("level", 1),)', "tuple(Point('level', v) for v in (1, 2, 3))")
    text = text.replace(*change) if change[0] else text
    path = tmp_path / "toy.py"
    path.write_text(text)
    found: dict[str, Finding] = {}
    for finding in check_codecs([str(path)], wanted=[str(path)], closely=True):
        assert finding.of in ("", str(path))
        found[finding.name] = finding
    return found


COARSE = "image = image >> (5 - int(point.value)) << (5 - int(point.value))"


def test_a_sound_codec_passes_the_closer_look(tmp_path):
    found = closer(tmp_path, encode=COARSE)
    assert {finding.status for finding in found.values()} == {"ok"}
    assert {"ladder", "61 x 37", "1 x 1", "flat, 64 x 48", "wide, 1100 x 40"} < found.keys()
    assert found["ladder"].detail.startswith("3 points, ")
    assert "half a stream: an error" in found["damaged streams"].detail


def test_a_codec_of_few_bits_passes_the_closer_look(tmp_path):
    found = closer(tmp_path, encode="image = blocks(image.copy(), 6 * (5 - int(point.value)))")
    assert "19.33 dB" in found["61 x 37"].detail
    assert {finding.status for finding in found.values()} == {"ok"}


def test_a_decoder_that_forgets_to_crop_is_told_so(tmp_path):
    pad = (
        "image = np.pad(image, ((0, -len(image) % 16), (0, -image.shape[1] % 16), (0, 0)), 'edge')"
    )
    found = closer(tmp_path, encode=f"{COARSE}; {pad}")
    assert found["61 x 37"].status == "wrong"
    assert found["61 x 37"].detail == (
        "decoded to 64 x 48 pixels instead of 61 x 37: "
        "the decoder must crop what the encoder padded"
    )
    assert found["1 x 1"].status == "wrong"
    assert found["ladder"].status == "ok"


def test_points_that_change_nothing_are_wrong(tmp_path):
    found = closer(tmp_path)
    assert found["ladder"].status == "wrong"
    assert found["ladder"].detail == "level 2 and level 3 give the same stream: is the value used?"


def test_a_ladder_turned_round_is_wrong(tmp_path):
    found = closer(tmp_path, encode=COARSE.replace("5 - int", "1 + int"))
    assert found["ladder"].status == "wrong"
    assert "the rate falls from" in found["ladder"].detail


def test_more_bits_for_less_quality_are_wrong(tmp_path):
    noise = "np.random.default_rng(0).integers(0, 1 << 2 * int(point.value), image.shape)"
    found = closer(tmp_path, encode=f"image = np.clip(image + {noise}, 0, 255).astype(np.uint8)")
    assert found["ladder"].status == "wrong"
    assert "more bits and less quality between level 2 and level 3" in found["ladder"].detail


def test_streams_that_differ_each_time_are_noted(tmp_path):
    chance = "image = image.copy(); image[0, 0] = list(os.urandom(3))"
    assert closer(tmp_path, encode=f"{COARSE}; {chance}")["encoded twice"].status == "note"


def test_a_decoder_that_hangs_on_a_damaged_stream_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(closely, "DAMAGED_LIMIT", 0.5)
    hang = (
        "image = np.frombuffer(zlib",
        "time.sleep(60 * (len(data) < 9))\n        image = np.frombuffer(zlib",
    )
    found = closer(tmp_path, encode=COARSE, change=hang)
    assert found["damaged streams"].status == "wrong"
    assert "an empty stream keeps the decoder busy for more than" in found["damaged streams"].detail


def test_a_slow_codec_is_not_looked_at_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(closely, "CLOSE_LIMIT", 0.0)
    found = closer(tmp_path, encode=COARSE)
    assert found["ladder"].status == "note"
    assert "3 of 3 points not checked" in found["ladder"].detail


def test_parts_are_indented_and_a_codec_counts_once(tmp_path, capsys):
    path = tmp_path / "toy.py"
    path.write_text(
        CODEC.replace("ENCODE", "pass")
        .replace("DECODE", "pass")
        .replace('(Point("level", 1),)', "(Point('level', 1), Point('level', 2))")
    )
    assert check.run_checks([str(path)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"ok      {path}: level 2: ")
    assert all(line.startswith(8 * " ") for line in printed[1:-2])
    assert printed[-1] == "0 ok, 0 missing, 1 wrong"


def test_a_run_says_the_same_of_a_picture_of_another_size(tmp_path, photo):
    path = tmp_path / "toy.py"
    pad = "image = np.pad(image, ((0, 16), (0, 0), (0, 0)))"
    path.write_text(CODEC.replace("ENCODE", "pass").replace("DECODE", pad))
    (tmp_path / "images").mkdir()
    PillowImage.fromarray(photo[:37, :61]).save(tmp_path / "images" / "odd.png")
    run_alone(tmp_path / "images", tmp_path / "run", str(path))
    (measurement,) = Store(tmp_path / "run")
    assert measurement.reason == (
        "decoded to 61 x 53 pixels instead of 61 x 37: "
        "the decoder must crop what the encoder padded"
    )


def test_a_sound_codec_whose_rate_is_a_ratio_passes_the_closer_look():
    """JPEG 2000 at a ratio of 480 has little but headers in the stream of a small picture."""
    found = list(check_codecs(["jpeg2000"], wanted=["jpeg2000"], closely=True))
    assert {finding.status for finding in found} == {"ok"}
