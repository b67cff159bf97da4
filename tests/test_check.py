"""`bench check` finds what is wrong, says what is missing, and leaves nothing running."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import check
from bench.check import Finding
from codecs import registry
from codecs.base import CodecUnavailable
from codecs.registry import Entry

CODEC = """
import os, sys, time, zlib
import numpy as np
from codecs.base import Codec, CodecUnavailable, Point

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
    ("moody", "", "image[0, 0, 0] = os.getpid() % 251", "wrong", "to two pictures"),
    ("other", "", "image = 255 - image", "wrong", "but to another picture"),
    ("shape", "", "image = image[1:]", "wrong", "to 256 x 239 pixels instead of 256 x 240"),
    ("padded", "", "image = np.pad(image, ((0, 16), (0, 0), (0, 0)))", "wrong", "must crop"),
    ("last", "", "", "ok", "dB, decoded alike by two other processes; 1"),
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
    monkeypatch.setattr(check, "CODEC_LIMIT", 4.0)
    findings = list(check.codecs_decode_in_other_processes())
    assert [f.status for f in findings] == [status for _, _, _, status, _ in BROKEN]
    for finding, (*_, detail) in zip(findings, BROKEN, strict=True):
        assert detail in finding.detail
    assert not multiprocessing.active_children()


def test_nothing_is_left_running_when_the_check_itself_fails(monkeypatch):
    only(monkeypatch, "jpeg")

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "_score", fail)
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
    score = check._score
    monkeypatch.setattr(check, "_score", lambda *arguments: 1.001 * score(*arguments))


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
    assert "is not Kodak's kodim01.png" in found["kodak"].detail


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
    assert [line.split(":")[0] for line in printed[:2]] == [f"ok      {toy}", "ok      jpeg"]
    assert printed[-1] == "2 ok, 0 missing, 0 wrong"
    monkeypatch.setenv("TOY_ENCODE", "not here")
    assert check.run_checks([toy, "jepg"]) == 1
    printed = capsys.readouterr().out
    assert "toy tool not found" in printed
    assert "did you mean 'jpeg'" in printed
    assert "0 ok, 0 missing, 2 wrong" in printed


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
