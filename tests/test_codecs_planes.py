"""Command codecs whose tools read and write raw planes or Y4M."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from codecs import colour, ffmpeg, planes, process, registry, vvc
from codecs.base import BitstreamError, Codec, CodecError, EncodeError, Point
from tests.codecs_cases import psnr

COPY = '''
"""Somebody's lossless codec: keeps what it is given, and the size that it is told."""
import os, shutil, sys
source, target, *told = sys.argv[1:]
if told == ["refuse"]:
    sys.exit("cannot read this kind of picture")
open(os.path.join(os.path.dirname(__file__), "told"), "w").write(" ".join(told))
shutil.copy(source, target)
'''


@pytest.fixture
def make(tmp_path):
    (tmp_path / "copy.py").write_text(COPY)
    copy = f"{sys.executable} {{here}}/copy.py {{input}} {{output}}"

    def made(**changes: object) -> Codec:
        table = {
            "name": "mine",
            "version": "1",
            "encode": f"{copy} {{value}} {{width}} {{height}}",
            "decode": f"{copy} {{width}} {{height}}",
            "parameter": "q",
            "points": [1, 2],
            **changes,
        }
        path = tmp_path / "mine.toml"
        path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items()))
        return registry.create(str(path))

    return made


@pytest.mark.parametrize("name", [*planes.RAW, *planes.Y4M])
@pytest.mark.parametrize("size", [(1, 1), (33, 50), (40, 41)])
def test_nothing_but_the_documented_conversion_happens(make, photo, tmp_path, name, size):
    codec = make(input=name, output=name if name in planes.RAW else "y4m")
    image = photo[: size[0], : size[1]]
    data = codec.encode(image, codec.points[0])
    rows, columns = (size[0] + 1) // 2 * 2, (size[1] + 1) // 2 * 2
    assert (tmp_path / "told").read_text() == f"1 {columns} {rows}"
    decoded = codec.decode(data)
    assert (tmp_path / "told").read_text() == f"{columns} {rows}"
    padded = colour.pad_edges(image, rows, columns)
    bits = 10 if "10" in name else 8
    if "444" in name:
        expected = colour.round_trip_444(padded, colour.BT709, bits)
    elif bits == 10 and min(rows, columns) >= vvc.SMALLEST:
        sent = np.concatenate([plane.ravel() for plane in vvc.planes_of(padded)])
        expected = vvc.image_of(sent, rows, columns)
    else:
        assert decoded.shape == image.shape
        assert psnr(decoded, image) > 30
        return
    np.testing.assert_array_equal(decoded, expected[: size[0], : size[1]])


def by_ffmpeg(tmp_path: Path, file: str, *arguments: str) -> np.ndarray:
    """The planes as FFmpeg reads them, uint8 or uint16."""
    out = tmp_path / "out.raw"
    command = [ffmpeg.executable(), *ffmpeg.QUIET, *arguments, "-i", file, "-f", "rawvideo"]
    process.run([*command, "-y", str(out)], seconds=60, directory=tmp_path)
    return np.frombuffer(out.read_bytes(), "u1")


@pytest.mark.parametrize("name", planes.RAW)
def test_ffmpeg_reads_the_same_planes_in_y4m(photo, tmp_path, name):
    image = photo[:34, :51]
    (tmp_path / "in.y4m").write_bytes(planes.packed(image, f"y4m-{name}"))
    raw = planes.packed(image, name)
    assert by_ffmpeg(tmp_path, "in.y4m").tobytes() == raw
    pixel_format = name + ("le" if name.endswith("10") else "")
    (tmp_path / "in.yuv").write_bytes(raw)
    named = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", "52x34"]
    assert by_ffmpeg(tmp_path, "in.yuv", *named).tobytes() == raw


@pytest.mark.parametrize("name", planes.RAW)
def test_what_ffmpeg_writes_as_y4m_is_read(photo, tmp_path, name):
    image = photo[:34, :52]
    (tmp_path / "in.yuv").write_bytes(planes.packed(image, name))
    pixel_format = name + ("le" if name.endswith("10") else "")
    command = [ffmpeg.executable(), *ffmpeg.QUIET, "-f", "rawvideo", "-pix_fmt", pixel_format]
    command += ["-s", "52x34", "-color_range", "pc", "-i", "in.yuv", "-strict", "-1"]
    process.run([*command, "-y", "out.y4m"], seconds=60, directory=tmp_path)
    read = planes.unpacked((tmp_path / "out.y4m").read_bytes(), "y4m", 34, 52)
    raw = planes.unpacked(planes.packed(image, name), name, 34, 52)
    np.testing.assert_array_equal(read, raw)


def test_mixed_with_pictures(make, photo):
    """A tool that reads PNG and writes PNG is handed the same even size as one on planes."""
    codec = make(decode="cp {input} {output}")
    assert codec.decode(codec.encode(photo[:5, :7], codec.points[0])).shape == (5, 7, 3)
    assert "colour conversion" not in codec.settings
    mixed = make(input="png", output="yuv420p")
    data = mixed.encode(photo[:5, :7], mixed.points[0])
    with pytest.raises(BitstreamError, match="decoded yuv420p holds"):
        mixed.decode(data)
    assert "BT.709, full range" in mixed.settings["colour conversion"]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "wrote no picture"),
        (b"PNG", "does not begin with the line YUV4MPEG2"),
        (b"YUV4MPEG2 W4 H2\n" + b"x" * 99, "no line FRAME"),
        (b"YUV4MPEG2 W2 H2\nFRAME\n" + bytes(6), "is 2x2, where 4x2 was handed"),
        (b"YUV4MPEG2 W4 H2 C422\nFRAME\n" + bytes(16), "samples C422; known are 420jpeg"),
        (b"YUV4MPEG2 W4 H2 XCOLORRANGE=LIMITED\nFRAME\n" + bytes(12), "keep it so"),
        (b"YUV4MPEG2 W4 H2\nFRAME\n" + bytes(11), "holds 11 bytes of samples, not the 12"),
        (b"YUV4MPEG2 W4 H2\nFRAME\n" + bytes(12) + b"FRAME\n" + bytes(12), "holds 30 bytes"),
        (b"YUV4MPEG2 W4 H2 C420p10\nFRAME\n" + b"\xff" * 24, "do not fit 10 bit"),
        (b"YUV4MPEG2 W4 H2" + b" " * 2000 + b"\nFRAME\n" + bytes(12), "does not begin with"),
    ],
)
def test_what_is_no_such_picture_says_why(make, photo, tmp_path, written, reason):
    (tmp_path / "written").write_bytes(written)
    codec = make(input="y4m", output="y4m", decode="sh -c 'cp {here}/written {output}; : {input}'")
    data = codec.encode(photo[:2, :3], codec.points[0])
    with pytest.raises(BitstreamError, match=reason):
        codec.decode(data)


def test_damaged_streams_of_planes(make, photo):
    codec = make(input="yuv444p", output="yuv444p")
    data = codec.encode(photo[:8, :8], codec.points[0])
    for bad in (b"", data[:-1], b"x" + data[1:], data + b"x", data[:5]):
        with pytest.raises(BitstreamError):
            codec.decode(bad)


def test_a_tool_that_rejects_its_input_gets_a_hint(make, photo):
    refuse = f"{sys.executable} {{here}}/copy.py {{input}} {{output}} {{value}}"
    codec = make(encode=refuse, decode="cp {input} {output}", points=["refuse"], extension="jxl")
    with pytest.raises(EncodeError) as caught:
        codec.encode(photo[:5, :7], Point("q", "refuse"))
    for part in ("cannot read this kind", "7x5 pixels as png", "out.jxl", "`input`", "yuv420p"):
        assert part in str(caught.value)


def test_the_size_is_told_to_decoders_of_planes_alone(make):
    with pytest.raises(CodecError, match="told the size only"):
        make()


def test_ten_bits_without_halving_keep_a_picture(photo):
    raw = planes.unpacked(planes.packed(photo, "yuv444p10"), "yuv444p10", *photo.shape[:2])
    assert np.abs(raw.astype(int) - photo).max() <= 1
