"""VVC, HEVC and JPEG XL: settings that count, streams that others can read, known figures."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from codecs import colour, ffmpeg, framing, hevc, registry, vvc
from codecs.base import BitstreamError, CodecUnavailable, EncodeError, Image, Point
from codecs.naming import UnknownCodec
from tests.codecs_cases import psnr
from tests.conftest import DATA


def _kodak(name: str) -> Image:
    path = DATA / "kodak" / name
    if not path.is_file():
        pytest.skip("Kodak is not here (set BENCH_DATA)")
    return np.asarray(PillowImage.open(path).convert("RGB"))


def _decode_by_hand(tmp_path, stream: bytes, suffix: str, pixel_format: str) -> bytes:
    """The planes as a user's own call of FFmpeg gives them: format found by probing."""
    (tmp_path / f"a.{suffix}").write_bytes(stream)
    # Of more threads some VVC streams come out in other samples now and then.
    argv = [ffmpeg.executable(), "-v", "error", "-threads", "1", "-i", f"a.{suffix}"]
    argv += ["-pix_fmt", pixel_format, "-f", "rawvideo", "a.raw"]
    subprocess.run(argv, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    return (tmp_path / "a.raw").read_bytes()


def test_vvc_planes_by_hand(tmp_path, photo):
    codec = registry.create("vvenc:faster")
    data = codec.encode(photo, Point("qp", 22))
    stream = framing.unpack(framing.VVC, data)[2]
    raw = np.frombuffer(_decode_by_hand(tmp_path, stream, "266", "yuv420p10le"), "<u2")
    assert np.array_equal(vvc.image_of(raw, *photo.shape[:2]), codec.decode(data))
    # Any change of range or matrix between the encoder's planes and these would show here.
    sent = np.concatenate([plane.ravel() for plane in vvc.planes_of(photo)])
    error = np.mean((raw.astype(float) - sent) ** 2)
    assert 10 * np.log10(1023**2 / error) > 42


def test_hevc_planes_by_hand(tmp_path, photo):
    codec = registry.create("hevc")
    data = codec.encode(photo, Point("qp", 22))
    stream = framing.unpack(framing.HEVC, data)[2]
    raw = np.frombuffer(_decode_by_hand(tmp_path, stream, "265", "yuv444p"), np.uint8)
    sent = np.stack(hevc.planes_of(photo, colour.BT601))
    got = raw.reshape(sent.shape)
    assert 10 * np.log10(255**2 / np.mean((got.astype(float) - sent) ** 2)) > 42
    # An independent inverse: JFIF's, as Pillow has it.
    picture = PillowImage.fromarray(np.ascontiguousarray(np.moveaxis(got, 0, -1)), "YCbCr")
    theirs = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(theirs - codec.decode(data)).max() <= 2


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)])
@pytest.mark.parametrize("name", ["jxl", "hevc", "hevc:bt709", "vvenc:faster"])
def test_flat_colours_stay(name, rgb):
    image = np.full((32, 32, 3), rgb, np.uint8)
    codec = registry.create(name)
    decoded = codec.decode(codec.encode(image, codec.points[-1]))
    assert np.abs(decoded.astype(int) - image).max() <= 10


def test_variants_change_the_stream(photo):
    names: tuple[str, ...] = ("vvenc:faster", "vvenc:fast", "vvenc:medium", "vvenc:faster:qpa")
    names += ("vvenc:faster:chroma-3", "vvenc:faster:chroma-6", "vvenc:faster:qpa:chroma-6")
    image = photo[:96, :128]
    codecs = [registry.create(name) for name in names]
    streams = [codec.encode(image, Point("qp", 32)) for codec in codecs]
    assert len(set(streams)) == len(names)
    keys = {(codec.name, codec.label, tuple(codec.settings.items())) for codec in codecs}
    assert len(keys) == len(names)
    assert len(streams[4]) < len(streams[5])  # finer chroma costs bytes


def test_variants_have_one_name():
    assert registry.create("vvenc:qpa:faster").name == "vvenc:faster:qpa"
    assert registry.create("vvenc:slower").name == "vvenc"
    with pytest.raises(UnknownCodec, match="one of fast and medium"):
        registry.create("vvenc:fast:medium")


def test_the_command_reproduces_the_stream(tmp_path, photo):
    """A reader who pastes the line with the sizes filled in gets our payload."""
    codec, point = registry.create("vvenc:faster"), Point("qp", 37)
    image = photo[:63, :95]
    planes = vvc.planes_of(image)
    (tmp_path / "in.yuv").write_bytes(b"".join(p.astype("<u2").tobytes() for p in planes))
    line = codec.command(point)
    assert line is not None
    argv = shlex.split(line.replace("WxH", "96x64"))
    argv[0] = ffmpeg.executable()
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    payload = (tmp_path / "out.266").read_bytes()
    assert framing.pack(framing.VVC, 63, 95, payload) == codec.encode(image, point)


def test_known_rate_and_quality_on_kodak():
    """VVenC 1.15 on kodim03 at QP 37, preset medium: measured apart from this code, 0.1621 bpp
    and 34.80 dB (preset slower: 0.1600 and 34.91, on which VVenC 1.3.1 agrees within 1 %)."""
    image = _kodak("kodim03.png")
    codec = registry.create("vvenc:medium")
    data = codec.encode(image, Point("qp", 37))
    assert 8 * len(data) / image[..., 0].size == pytest.approx(0.1621, rel=0.02)
    assert psnr(image, codec.decode(data)) == pytest.approx(34.80, abs=0.05)


@pytest.mark.parametrize(
    ("name", "file", "limit"),
    [("jpeg", "jpeg.json", 0.15), ("hevc", "bpg_444_x265_ycbcr.json", 0.15)],
)
def test_curve_against_the_published_one(name, file, limit):
    """CompressAI's means over Kodak, at one point of our ladder in the middle of the range."""
    path = DATA / "published" / "compressai" / "kodak" / file
    if not path.is_file():
        pytest.skip("the published curves are not here (set BENCH_DATA)")
    published = json.loads(path.read_text())["results"]
    codec = registry.create(name)
    point = codec.points[2]
    results = []
    for number in range(1, 25):
        image = _kodak(f"kodim{number:02d}.png")
        data = codec.encode(image, point)
        results.append((8 * len(data) / image[..., 0].size, psnr(image, codec.decode(data))))
    rate, quality = np.mean(results, axis=0)
    expected = np.interp(np.log(rate), np.log(published["bpp"]), published["psnr-rgb"])
    assert abs(quality - expected) < limit


FAKE_APP = '''#!{python}
"""Stands in for vvencapp: takes its arguments, codes by FFmpeg."""
import json, subprocess, sys
if sys.argv[1:] == ["--version"]:
    print("vvencapp: VVenC, the Fraunhofer H.266/VVC Encoder, version {version} [Linux]")
    sys.exit()
open({log!r}, "w").write(json.dumps(sys.argv[1:]))
arg = dict(zip(sys.argv[1::2], sys.argv[2::2]))
sys.exit(subprocess.run([{ffmpeg!r}, "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p10le",
    "-s", arg["-s"], "-r", arg["-r"], "-i", arg["-i"], "-frames:v", arg["-f"],
    "-c:v", "libvvenc", "-preset", arg["--preset"], "-qp", arg["--qp"], "-qpa", arg["--qpa"],
    "-threads", arg["-t"], "-vvenc-params",
    "intraperiod=1:hrdparameterspresent=0:profile=main_10_still_picture",
    "-bsf:v", "filter_units=remove_types=20", "-f", "vvc", "-y", arg["-o"]],
    stdout=subprocess.DEVNULL).returncode)
'''


def _fake_app(folder: Path, version: str) -> Path:
    path = folder / f"vvencapp-{version}"
    log = str(folder / "log")
    text = FAKE_APP.format(
        python=sys.executable, version=version, log=log, ffmpeg=ffmpeg.executable()
    )
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_vvencapp(tmp_path, monkeypatch, photo):
    monkeypatch.setenv("VVENCAPP", str(_fake_app(tmp_path, "1.14.0")))
    codec = registry.create("vvenc:faster")
    assert codec.name == "vvenc:faster"
    assert codec.version.startswith("vvencapp 1.14.0")
    data = codec.encode(photo[:40, :48], Point("qp", 37))
    given = json.loads((tmp_path / "log").read_text())
    expected = (
        "-i in.yuv -s 48x40 -c yuv420_10 -r 1 -f 1 --preset faster --qp 37 --qpa 0 "
        "-ip 1 -t 1 -hrd 0 --mtprofile 0 -o out.266"
    )
    assert given == expected.split()
    assert (codec.command(Point("qp", 37)) or "").startswith("vvencapp -i in.yuv -s WxH")
    monkeypatch.delenv("VVENCAPP")
    plain = registry.create("vvenc:faster")
    assert plain.version != codec.version
    assert plain.encode(photo[:40, :48], Point("qp", 37)) == data
    assert np.array_equal(plain.decode(data), codec.decode(data))


def test_old_vvencapp_by_variant(tmp_path, monkeypatch):
    (tmp_path / "vvencapp").symlink_to(_fake_app(tmp_path, "1.3.1"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    codec = registry.create("vvenc:vvencapp:chroma-6")
    assert codec.name == "vvenc:chroma-6:vvencapp"
    line = codec.command(Point("qp", 37)) or ""
    offsets = "cbqpoffset=-6:crqpoffset=-6:cbcrqpoffset=-6"
    assert f"-hrd 0 --additional gopsize=1:{offsets} -o" in line
    assert "--mtprofile" not in line


def test_missing_vvencapp(monkeypatch):
    monkeypatch.setenv("VVENCAPP", "/nowhere/vvencapp")
    with pytest.raises(CodecUnavailable, match="/nowhere/vvencapp"):
        registry.create("vvenc")


@pytest.fixture
def broken_ffmpeg(tmp_path, monkeypatch):
    """An FFmpeg that ends well and does nothing."""
    path = tmp_path / "ffmpeg"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    yield lambda: monkeypatch.setattr(ffmpeg, "executable", lambda: str(path))
    ffmpeg.encoder_version.cache_clear()
    ffmpeg.version.cache_clear()


@pytest.mark.parametrize("name", ["vvenc:faster", "hevc", "jxl"])
def test_an_encoder_that_writes_nothing(broken_ffmpeg, photo, name):
    codec = registry.create(name)
    data = codec.encode(photo[:16, :16], codec.points[0])
    broken_ffmpeg()
    with pytest.raises(EncodeError, match="wrote no stream"):
        codec.encode(photo[:16, :16], codec.points[0])
    with pytest.raises(BitstreamError, match="decoded to 0 bytes"):
        codec.decode(data)


@pytest.mark.parametrize("name", ["vvenc", "hevc", "jxl"])
def test_no_ffmpeg(monkeypatch, name):
    monkeypatch.setattr(ffmpeg, "executable", lambda: "/nowhere/ffmpeg")
    ffmpeg.version.cache_clear()
    ffmpeg.encoder_version.cache_clear()
    with pytest.raises(CodecUnavailable, match="/nowhere/ffmpeg"):
        registry.create(name)


def test_an_encoder_that_ffmpeg_lacks():
    with pytest.raises(CodecUnavailable, match="libnothing"):
        ffmpeg.require_encoder("libnothing")
    with pytest.raises(CodecUnavailable, match="libnothing"):
        ffmpeg.encoder_version("libnothing")


def test_a_stream_cannot_open_files(tmp_path):
    """FFmpeg's playlist formats name other files; ours are forced to one elementary stream."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 4096)
    playlist = f"ffconcat version 1.0\nfile '{secret}'\n".encode()
    for demuxer in ("vvc", "hevc", "jpegxl_pipe"):
        with pytest.raises(BitstreamError):
            ffmpeg.decode(playlist, demuxer, "yuv420p", 32, 32, size=1536)


def test_a_decoder_that_hangs(monkeypatch, tmp_path):
    path = tmp_path / "ffmpeg"
    path.write_text("#!/bin/sh\nsleep 60\n")
    path.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "executable", lambda: str(path))
    monkeypatch.setattr(ffmpeg, "DECODE_SECONDS", 0.2)
    with pytest.raises(BitstreamError, match="did not finish"):
        ffmpeg.decode(b"x", "vvc", "yuv420p", 32, 32, size=1536)
