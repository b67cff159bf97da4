"""VTM and HM: real streams of VTM, and how the programs are run.

The reference encoders are on no test machine.  `STAND_IN` takes their place: it checks nothing but
speaks as they do, and codes by VVenC or x265 (4:2:0, or HEVC), or gives out a real stream of VTM
for a picture that it knows.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench.record.measurement import measurement_key
from codecs import ffmpeg, framing, planes, reference, registry
from codecs.base import BitstreamError, Codec, CodecUnavailable, EncodeError, Image, Point
from codecs.naming import UnknownCodec
from codecs.reference import HM, VTM, Software
from tests.codecs_cases import psnr
from tests.conftest import DATA

STAND_IN = '''#!{python}
"""Stands in for an encoder or decoder of VTM or HM."""
import hashlib, json, os, subprocess, sys, time
from pathlib import Path
ffmpeg, known, faults = {ffmpeg!r}, {known!r}, {faults!r}
here = Path(__file__)
kind, vvc = "Encoder" if "Encoder" in here.name else "Decoder", not here.name.startswith("TApp")
if len(sys.argv) == 1:
    version = "VVCSoftware: VTM %s Version 23.13 " if vvc else "HM software: %s Version [18.0]"
    print("\\n" + version % kind + "[Linux][64 bit]\\n" + "an option\\n" * 3000)
    sys.exit(1)
(here.parent / (kind + ".log")).write_text(json.dumps(sys.argv[1:]))
arg = dict(zip(sys.argv[1::2], sys.argv[2::2]))
arg |= dict(word[2:].split("=") for word in sys.argv if word.startswith("--"))
def run(*arguments):
    subprocess.run([ffmpeg, "-v", "error", *arguments], check=True, stdout=subprocess.DEVNULL)
def decode(source, target):
    # One thread: with more, FFmpeg decodes some VVC streams to other samples now and then.
    run("-threads", "1", "-f", "vvc" if vvc else "hevc", "-i", source, "-f", "rawvideo", target)
    if kind + " lies" in faults:
        samples = bytearray(Path(target).read_bytes())
        samples[100] ^= 1
        Path(target).write_bytes(samples)
if kind == "Decoder":
    assert arg["-d"] == "10"
    decode(arg["-b"], arg["-o"])
    sys.exit()
assert Path(arg["-c"]).is_file()
if "fails" in faults:
    sys.exit("Error: what is the matter")
if "hangs" in faults:
    time.sleep(60)
if "writes nothing" in faults:
    sys.exit()
picture = Path(arg["-i"]).read_bytes()
name = hashlib.sha256(picture).hexdigest() + " " + arg["-q"]
chroma = arg["InputChromaFormat"]
if name in known:
    Path(arg["-b"]).write_bytes(Path(known[name]).read_bytes())
else:
    raw = ["-f", "rawvideo", "-pix_fmt", "yuv%sp10le" % chroma]
    raw += ["-s", arg["-wdt"] + "x" + arg["-hgt"]]
    coder = ["-c:v", "libvvenc", "-preset", "faster", "-qp", arg["-q"], "-f", "vvc"]
    if not vvc:
        coder = ["-c:v", "libx265", "-x265-params", "log-level=error:qp=" + arg["-q"], "-f", "hevc"]
    run(*raw, "-r", "1", "-i", arg["-i"], "-frames:v", "1", *coder, "-y", arg["-b"])
decode(arg["-b"], arg["-o"])
'''


@dataclass
class Built:
    """A folder as one has it after building: `bin` and `cfg`."""

    folder: Path
    software: Software

    @property
    def configuration(self) -> Path:
        return self.folder / "cfg" / self.software.configuration

    def told(self, kind: str) -> list[str]:
        """The command line that the stand-in was last given."""
        words: list[str] = json.loads((self.folder / "bin" / f"{kind}.log").read_text())
        return words


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds stand-ins and tells the codec of them; those before are forgotten."""
    count = 0

    def made(
        software: Software,
        *faults: str,
        decoder: bool = True,
        known: dict[str, str] | None = None,
    ) -> Built:
        nonlocal count
        count += 1
        built = Built(tmp_path / str(count), software)
        (built.folder / "bin").mkdir(parents=True)
        built.configuration.parent.mkdir()
        built.configuration.write_text("IntraPeriod : 1\n")
        text = STAND_IN.format(
            python=sys.executable, ffmpeg=ffmpeg.executable(), known=known or {}, faults=faults
        )
        for name in (software.encoders[0], *([software.decoders[0]] if decoder else [])):
            path = built.folder / "bin" / name
            path.write_text(text)
            path.chmod(0o755)
        monkeypatch.setenv(software.variable, str(built.folder))
        return built

    monkeypatch.delenv("VTM", raising=False)
    monkeypatch.delenv("HM", raising=False)
    return made


def _streams() -> list[Any]:
    """The rows of vtm.csv: in a quick run each picture at one QP."""
    path = DATA / "vtm" / "vtm.csv"
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip("VTM's streams: set BENCH_DATA"))]
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return [
        pytest.param(
            row,
            id=f"{row['image']}-{row['qp']}",
            marks=[] if (i // 5 + i) % 5 == 0 else pytest.mark.slow,
        )
        for i, row in enumerate(rows)
    ]


def _stream(row: dict[str, str]) -> tuple[Image, bytes]:
    """A picture of Kodak, and what VTM 23.13 made of it."""
    picture = DATA / "kodak" / f"{row['image']}.png"
    if not picture.is_file():
        pytest.skip("Kodak is not here (set BENCH_DATA)")
    image = np.asarray(PillowImage.open(picture).convert("RGB"))
    return image, (DATA / "vtm" / f"{row['image']}.qp{row['qp']}.266").read_bytes()


@pytest.mark.parametrize("row", _streams())
def test_real_streams_of_vtm(build, row):
    """FFmpeg decodes them bit for bit, and our conversion gives the PSNR measured apart from it."""
    image, stream = _stream(row)
    assert hashlib.sha256(stream).hexdigest() == row["sha256_stream"]
    build(VTM, decoder=False)
    codec = registry.create("vtm")
    assert isinstance(codec, reference.ReferenceSoftware)
    decoded = codec._decoded(None, stream, *image.shape[:2])
    assert hashlib.sha256(decoded).hexdigest() == row["sha256_planes"]
    data = framing.pack(framing.VTM, image.shape[0], image.shape[1], stream)
    assert len(data) == int(row["bytes"]) + 7
    assert psnr(image, codec.decode(data)) == pytest.approx(float(row["psnr_rgb"]), abs=6e-4)


@pytest.mark.parametrize("row", _streams()[6:7])
def test_encoding_gives_the_encoders_stream(build, row):
    """The command line is the one by which the streams were made."""
    image, stream = _stream(row)
    picture = planes.packed(image, "yuv444p10")
    name = f"{hashlib.sha256(picture).hexdigest()} {row['qp']}"
    path = str(DATA / "vtm" / f"{row['image']}.qp{row['qp']}.266")
    built = build(VTM, known={name: path})
    codec = registry.create("vtm")
    point = Point("qp", int(row["qp"]))
    data = codec.encode(image, point)
    assert data == framing.pack(framing.VTM, image.shape[0], image.shape[1], stream)
    expected = (
        f"-i in.yuv -b out.bin -o rec.yuv -wdt {image.shape[1]} -hgt {image.shape[0]} -fr 1 -f 1 "
        f"-q {row['qp']} --InputBitDepth=10 --OutputBitDepth=10 --InternalBitDepth=10 "
        "--InputChromaFormat=444 --ChromaFormatIDC=444 --ConformanceWindowMode=1 "
        "--SEIDecodedPictureHash=0"
    )
    assert built.told("Encoder") == ["-c", str(built.configuration), *expected.split()]
    shown = expected.replace(str(image.shape[1]), "W").replace(str(image.shape[0]), "H")
    assert codec.command(point) == f"EncoderAppStatic -c encoder_intra_vtm.cfg {shown}"
    assert psnr(image, codec.decode(data)) == pytest.approx(float(row["psnr_rgb"]), abs=6e-4)
    assert built.told("Decoder") == ["-b", "in", "-o", "out", "-d", "10"]


NAMES = {"vtm:420": VTM, "hm": HM, "hm:420": HM}
"""What stand-ins can code."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (3, 70), (65, 63), (96, 128)])
def test_pictures_of_any_size(build, photo, name, size):
    image = np.ascontiguousarray(photo[: size[0], 40 : 40 + size[1]])
    built = build(NAMES[name])
    codec = registry.create(name)
    scores = []
    for point in (codec.points[0], codec.points[-1]):
        data = codec.encode(image, point)
        decoded = codec.decode(data)
        assert decoded.dtype == np.uint8
        scores.append(psnr(image, decoded))
    assert 11 < scores[0] <= scores[1]
    assert scores[1] > 30
    words = built.told("Encoder")
    given = [int(words[words.index(option) + 1]) for option in ("-hgt", "-wdt")]
    assert given == [max(-(-side // 8) * 8, 64) for side in size]
    assert f"--InputChromaFormat={'444' if name == 'hm' else '420'}" in words
    build(NAMES[name], decoder=False)
    by_ffmpeg = registry.create(name)
    assert np.array_equal(by_ffmpeg.decode(data), decoded)
    assert (by_ffmpeg.version, by_ffmpeg.settings) != (codec.version, codec.settings)


def test_what_the_report_shows(build):
    built = build(VTM)
    codec = registry.create("vtm:444")
    assert (codec.name, codec.label) == ("vtm", "VTM 23.13 intra, 4:4:4 10 bit")
    assert [point.value for point in codec.points] == [52, 47, 42, 37, 32, 27, 22]
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in (*sorted((built.folder / "bin").iterdir()), built.configuration)
    ]
    assert all(digest in codec.version for digest in digests)
    assert "encoder_intra_vtm.cfg" in codec.settings["configuration"]
    assert codec.settings["decoder"] == "DecoderAppStatic"
    assert 0 < codec.seconds(1000, codec.points[0]) < codec.seconds(1000, codec.points[-1])
    build(HM, decoder=False)
    codec = registry.create("hm:420")
    assert (codec.name, codec.label) == ("hm:420", "HM 18.0 intra, 4:2:0 10 bit")
    assert codec.settings["decoder"] == "FFmpeg hevc"
    assert "cubic" in codec.settings["chroma up"]
    with pytest.raises(UnknownCodec, match="one chroma format"):
        registry.create("hm:420:444")


def _key(codec: Codec) -> str:
    return measurement_key(codec.name, codec.version, codec.settings, codec.points[0], "a picture")


def test_another_configuration_is_measured_anew(build):
    built = build(VTM)
    before = _key(registry.create("vtm"))
    built.configuration.write_text("IntraPeriod : 2\n")
    assert _key(registry.create("vtm")) != before


def test_without_the_programs(build, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for software in (VTM, HM):
        first, second = software.encoders
        name = software.variable
        missing = f"no {first} or {second} on the search path: build {name}.* set {name} to"
        with pytest.raises(CodecUnavailable, match=missing):
            registry.create(software.name)
    monkeypatch.setenv("VTM", str(tmp_path))
    with pytest.raises(CodecUnavailable, match=f"in {tmp_path} or {tmp_path}/bin: build VTM"):
        registry.create("vtm")


def test_without_the_configuration(build):
    built = build(VTM)
    built.configuration.unlink()
    with pytest.raises(CodecUnavailable, match=r"not its encoder_intra_vtm\.cfg: copy the folder"):
        registry.create("vtm")


@pytest.mark.parametrize("place", ["bin/cfg", "bin", "cfg", "."])
def test_where_programs_and_configuration_are_found(build, monkeypatch, place):
    """Not only where the variable says; then they are on the search path."""
    built = build(VTM)
    target = built.folder / place / built.software.configuration
    target.parent.mkdir(exist_ok=True)
    built.configuration.rename(target)
    monkeypatch.delenv("VTM")
    monkeypatch.setenv("PATH", f"{built.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    codec = registry.create("vtm")
    assert isinstance(codec, reference.ReferenceSoftware)
    assert codec._configuration == target.resolve()


def test_another_program_of_that_name(build):
    built = build(VTM)
    for text, reason in (("echo a tool", "that it is of VTM"), ("sleep 60", "did not finish")):
        path = built.folder / "bin" / VTM.encoders[0]
        path.write_text(f"#!/bin/sh\n{text}\n")
        reference._told_version.cache_clear()
        with pytest.MonkeyPatch.context() as quickly:
            quickly.setattr(reference, "_VERSION_SECONDS", 1)
            with pytest.raises(CodecUnavailable, match=reason):
                registry.create("vtm")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fails", "exit status 1: Error: what is the matter"),
        ("hangs", "did not finish within 2"),
        ("writes nothing", "EncoderAppStatic ended well but wrote no stream"),
        ("Encoder lies", r"(FFmpeg|DecoderAppStatic) decodes to other samples than EncoderAppSt"),
        ("Decoder lies", "DecoderAppStatic decodes to other samples than EncoderAppStatic"),
    ],
)
def test_encoders_that_fail(build, monkeypatch, photo, fault, reason):
    monkeypatch.setattr(ffmpeg, "ENCODE_SECONDS", 2 if fault == "hangs" else 60)
    monkeypatch.setattr(reference, "_SECONDS_PER_PIXEL", 0)
    build(VTM, fault)
    codec = registry.create("vtm:420")
    with pytest.raises(EncodeError, match=reason):
        codec.encode(photo[:16, :16], codec.points[0])


@pytest.mark.parametrize("decoder", [True, False])
def test_streams_that_are_none(build, photo, decoder):
    build(VTM, decoder=decoder)
    codec = registry.create("vtm:420")
    data = codec.encode(photo[:70, :90], codec.points[3])
    stream = framing.unpack(framing.VTM, data)[2]
    bad = [b"", data[:7], data[:-1], bytes(100), framing.pack(framing.VVC, 70, 90, stream)]
    bad += [framing.pack(framing.VTM, *size, stream) for size in ((70, 200), (16, 16))]
    bad += [framing.pack(framing.VTM, 70, 90, part) for part in (bytes(500), stream[:30])]
    rng = np.random.default_rng(1)
    for _ in range(6):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        bad.append(bytes(flipped))
    for each in bad:
        with pytest.raises(BitstreamError):
            codec.decode(each)
    with pytest.raises(BitstreamError, match="promises"):
        codec.decode(framing.pack(framing.VTM, 100_000, 100_000, b"x"))


def test_points_and_pictures_that_are_none(build, photo):
    for software, most in ((VTM, 63), (HM, 51)):
        build(software)
        codec = registry.create(software.name)
        assert [point.value for point in codec.choices] == list(range(most, -1, -1))
        for point in (Point("qp", 31.5), Point("qp", most + 1), Point("quality", 30)):
            with pytest.raises(EncodeError, match="expected"):
                codec.encode(photo[:16, :16], point)
        with pytest.raises(ValueError, match="expected uint8"):
            codec.encode(np.zeros((8, 8), np.uint8), codec.points[0])
