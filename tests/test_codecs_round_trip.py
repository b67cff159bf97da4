"""Every classical codec: sizes, ladders, damaged streams."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from codecs import framing, jxl, registry
from codecs.base import BitstreamError, Codec, EncodeError, Image, Point
from tests.codecs_cases import NAMES, psnr

SIZES = ((1, 1), (1, 17), (17, 1), (33, 31), (48, 20))


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    return {name: registry.create(name) for name in NAMES}


@pytest.fixture(scope="module")
def streams(codecs, photo) -> dict[str, bytes]:
    """A stream of 64 x 48 pixels from each codec."""
    crop = photo[:48, :64]
    return {name: codec.encode(crop, codec.points[3]) for name, codec in codecs.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_all_sizes_at_both_ends_of_the_ladder(codecs, photo, name, size):
    codec = codecs[name]
    image = np.ascontiguousarray(photo[: size[0], 100 : 100 + size[1]])
    scores = []
    for point in (codec.points[0], codec.points[-1]):
        decoded = codec.decode(codec.encode(image, point))
        assert decoded.dtype == np.uint8
        assert decoded.shape == image.shape
        scores.append(psnr(image, decoded))
    assert scores[0] > 11
    assert scores[1] > 24
    assert scores[1] >= scores[0]


@pytest.mark.parametrize("name", NAMES)
def test_ladder_rises_in_rate_and_quality(codecs, photo, name):
    codec = codecs[name]
    assert len(codec.points) >= 6
    assert len({point.parameter for point in codec.points}) == 1
    results = []
    for point in codec.points:
        data = codec.encode(photo, point)
        results.append((len(data), psnr(photo, codec.decode(data))))
    assert results == sorted(results)
    assert [score for _, score in results] == sorted(score for _, score in results)
    assert len(set(results)) == len(results)
    assert results[-1][1] > 34


def test_slower_codes_more_in_fewer_bytes(photo):
    image = photo[40:104, 40:104]
    point = Point("qp", 37)
    slower, faster = registry.create("vvenc"), registry.create("vvenc:faster")
    small, large = slower.encode(image, point), faster.encode(image, point)
    assert len(small) < len(large)
    assert psnr(image, slower.decode(small)) > psnr(image, faster.decode(large)) - 0.1


@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_deterministic_and_takes_views(codecs, photo, name):
    codec, point = codecs[name], codecs[name].points[3]
    view = photo[::2, ::2]
    assert not view.flags.c_contiguous
    assert codec.encode(view, point) == codec.encode(np.ascontiguousarray(view), point)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_streams_are_bitstream_errors(codecs, streams, name):
    codec, data = codecs[name], streams[name]
    rng = np.random.default_rng(1)
    other = streams["jpeg" if name != "jpeg" else "webp"]
    bad = [b"", b"\0", data[:1], data[:7], data[: len(data) // 2], data[:-1], other]
    bad += [rng.bytes(300), bytes(300), data[:4] + rng.bytes(200), b"PK\x03\x04" + bytes(50)]
    for stream in bad:
        with pytest.raises(BitstreamError):
            codec.decode(stream)


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bits_never_raise_anything_else(codecs, streams, name):
    codec, data = codecs[name], streams[name]
    rng = np.random.default_rng(2)
    framed = name in ("hevc", "vvenc:faster")
    for _ in range(40 if name in ("jpeg", "jpeg2000", "webp", "avif") else 6):
        broken = bytearray(data)
        broken[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            decoded = codec.decode(bytes(broken))
        except BitstreamError:
            continue
        # Formats without a check sum may decode to a wrong picture; ours have one.
        assert not framed
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3


@pytest.mark.parametrize("name", NAMES)
def test_values_off_the_ladder(codecs, photo, name):
    codec = codecs[name]
    parameter = codec.points[0].parameter
    wrong: list[Point] = [
        Point(parameter, "37"),
        Point(parameter, True),
        Point(parameter, -1),
        Point(parameter, 1_000_000),
        Point(parameter, float("nan")),
        Point("other", codec.points[0].value),
    ]
    if parameter in ("qp", "quality"):
        wrong.append(Point(parameter, 31.5))
    for point in wrong:
        with pytest.raises(EncodeError, match="expected"):
            codec.encode(photo[:16, :16], point)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3)])
def test_what_is_not_a_picture_is_refused(codecs, name, shape):
    with pytest.raises(ValueError, match="expected uint8"):
        codecs[name].encode(np.zeros(shape, np.uint8), codecs[name].points[0])


@pytest.mark.parametrize("name", NAMES)
def test_what_the_report_shows(codecs, name):
    codec = codecs[name]
    assert codec.name == name
    assert codec.label
    assert codec.settings
    assert any(character.isdigit() for character in codec.version)
    assert f"{codec.points[2].value:g}" in (codec.command(codec.points[2]) or "")
    assert 0 < codec.seconds(1000, codec.points[0]) < codec.seconds(10**7, codec.points[0])


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_sides_that_a_format_cannot_hold(codecs, name):
    with pytest.raises(EncodeError, match="pixels a side"):
        codecs[name].encode(np.zeros((1, 70000, 3), np.uint8), codecs[name].points[0])


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("jpeg", 65500),
        ("jpeg2000", 65535),
        ("webp", 16383),
        ("avif", 32768),
        ("vvenc:faster", 25328),
    ],
)
def test_the_longest_side_that_is_taken_is_decoded(codecs, name, side):
    """What an encoder takes and its decoder does not would be a failure of the picture's."""
    codec, image = codecs[name], np.full((2, side + 2, 3), 100, np.uint8)
    stream = codec.encode(image[:, :side], codec.points[0])
    assert codec.decode(stream).shape == (2, side, 3)
    with pytest.raises(EncodeError, match="pixels a side"):
        codec.encode(image, codec.points[0])


@pytest.mark.parametrize("quality", [70, 94, 100])
def test_tables_of_the_pictures_own_have_room(quality):
    """Noise takes more than a byte a pixel, which Pillow's buffer holds by itself."""
    image = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    codec = registry.create("jpeg:444:optimised")
    stream = codec.encode(image, Point("quality", quality))
    assert len(stream) > 600 * 600
    assert codec.decode(stream).shape == image.shape


def _pillow_file(mode: str, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    PillowImage.new(mode, (16, 16)).save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("jpeg", _pillow_file("L", "JPEG")),
        ("jpeg", _pillow_file("CMYK", "JPEG")),
        ("jpeg2000", _pillow_file("RGBA", "JPEG2000")),
        ("webp", _pillow_file("RGBA", "WEBP", lossless=True, exact=True)),
        ("jpeg", _pillow_file("RGB", "PNG")),
    ],
)
def test_other_kinds_of_picture_are_refused(codecs, name, data):
    if name == "webp":
        picture = PillowImage.new("RGBA", (16, 16), (1, 2, 3, 4))
        out = io.BytesIO()
        picture.save(out, "WEBP", lossless=True, exact=True)
        data = out.getvalue()
    with pytest.raises(BitstreamError):
        codecs[name].decode(data)


def test_headers_that_promise_too_much(codecs, streams):
    data = streams["jpeg"]
    at = data.index(b"\xff\xc0") + 5
    huge = data[:at] + b"\xff\x00\xff\x00" + data[at + 4 :]
    with pytest.raises(BitstreamError, match="4261478400 pixels"):
        codecs["jpeg"].decode(huge)
    # SizeHeader: not small, 30-bit height, ratio 1:1.
    bits = 0 | 3 << 1 | (1 << 29) << 3 | 1 << 33
    with pytest.raises(BitstreamError, match="promises"):
        codecs["jxl"].decode(jxl.SIGNATURE + bits.to_bytes(10, "little") + bytes(50))
    for name, kind in (("hevc", framing.HEVC), ("vvenc:faster", framing.VVC)):
        with pytest.raises(BitstreamError, match="promises"):
            codecs[name].decode(framing.pack(kind, 100_000, 100_000, b"x"))


@pytest.mark.parametrize(("name", "kind"), [("hevc", framing.HEVC), ("vvenc:faster", framing.VVC)])
def test_streams_that_hold_another_size_than_promised(codecs, photo, name, kind):
    stream = framing.unpack(kind, codecs[name].encode(photo, codecs[name].points[0]))[2]
    for height, width in ((16, 16), (photo.shape[0] - 2, photo.shape[1]), (400, 400)):
        with pytest.raises(BitstreamError):
            codecs[name].decode(framing.pack(kind, height, width, stream))


def test_frames_with_headers_of_any_size():
    for height, width in ((1, 1), (127, 128), (16383, 8192), (1, 1 << 27)):
        assert framing.unpack(framing.VVC, framing.pack(framing.VVC, height, width, b"x")) == (
            height,
            width,
            b"x",
        )
    with pytest.raises(BitstreamError, match="format byte"):
        framing.unpack(framing.VVC, framing.pack(framing.HEVC, 1, 1, b"x"))
    assert len(framing.pack(framing.VVC, 512, 768, b"")) == 7


def test_sizes_in_the_header_of_jpeg_xl(codecs, photo):
    wide = np.ascontiguousarray(np.tile(photo, (1, 3, 1)))
    shapes = ((8, 8), (256, 256), (64, 128), (90, 160), (24, 32), (75, 50), (9, 300), (176, 513))
    for height, width in shapes:
        image: Image = np.ascontiguousarray(np.resize(wide, (height, width, 3)))
        data = codecs["jxl"].encode(image, codecs["jxl"].points[0])
        assert jxl.size_of(data) == (height, width)
