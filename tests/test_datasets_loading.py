"""Every kind of file that people feed to a benchmark, and what is made of it."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import time
import zlib
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage
from PIL.TiffImagePlugin import TiffImageFile

from codecs.base import MAX_PIXELS, check_image
from datasets.base import DatasetError, ImageRef, ImageRefused
from datasets.loading import decode_image, load_image, load_image_with_notes, load_ref, read_ref
from tests.conftest import DATA
from tests.datasets_fixtures import encoded, grey_profile, picture, png, png16

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "PPM": {},
}


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 20)], ids=str)
@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_come_back_exactly(kind, size):
    pixels = picture(*size)
    image, notes = decode_image(encoded(pixels, kind, **LOSSLESS[kind]))
    check_image(image)
    np.testing.assert_array_equal(image, pixels)
    assert notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
def test_lossy_files_come_back_nearly(kind):
    y, x = np.mgrid[:40, :56]
    pixels = np.stack([x + 60, y + 80, x + y + 40], -1).astype(np.uint8)
    image, notes = decode_image(encoded(pixels, kind, quality=98, subsampling="4:4:4"))
    assert np.abs(image.astype(int) - pixels).max() <= 4
    assert notes == ()


def rotated(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Upright view of stored pixels: EXIF 2.3, table of tag 274, by NumPy alone."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).transpose(1, 0, 2),
        8: np.rot90(pixels),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_and_noted(kind, orientation):
    pixels = picture()
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image, notes = decode_image(encoded(pixels, kind, exif=exif, **LOSSLESS[kind]))
    np.testing.assert_array_equal(image, rotated(pixels, orientation))
    assert any(f"orientation ({orientation})" in note for note in notes) == (orientation > 1)


def test_grey_and_bilevel_are_replicated():
    grey = picture()[..., 0]
    image, notes = decode_image(encoded(grey))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))
    assert "grey" in notes[0]
    bilevel, notes = decode_image(encoded(PillowImage.fromarray(grey > 100)))
    np.testing.assert_array_equal(bilevel[..., 1], (grey > 100) * 255)
    assert "grey" in notes[0]


def test_low_bit_depth_grey_is_scaled_to_the_full_range():
    image, _ = decode_image(png(4, 1, 2, 0, bytes([0, 0b00_01_10_11])))
    np.testing.assert_array_equal(image[0, :, 0], [0, 85, 170, 255])


def test_palette_is_looked_up():
    indexed = PillowImage.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image, notes = decode_image(encoded(indexed))
    np.testing.assert_array_equal(image[1, 0], [70, 80, 90])
    np.testing.assert_array_equal(image[0, 1], [40, 50, 60])
    assert "palette" in notes[0]
    with pytest.raises(ImageRefused, match=r"transparent.*-alpha remove"):
        decode_image(encoded(indexed, transparency=1))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_opaque_alpha_is_dropped_and_any_other_refused(kind):
    options = {"quality": 100, "subsampling": "4:4:4"} if kind == "AVIF" else LOSSLESS[kind]
    alpha = np.full((33, 47, 1), 255, np.uint8)
    image, notes = decode_image(encoded(np.concatenate([picture(), alpha], 2), kind, **options))
    assert np.abs(image.astype(int) - picture()).max() <= (4 if kind == "AVIF" else 0)
    if notes:  # the WebP and AVIF encoders may leave an opaque channel out themselves
        assert "opaque" in notes[0]
    else:
        assert kind in ("WEBP", "AVIF")
    alpha[5, 7] = 128
    with pytest.raises(ImageRefused, match="transparent"):
        decode_image(encoded(np.concatenate([picture(), alpha], 2), kind, **options))


def test_grey_with_alpha_and_colour_keys():
    grey = picture()[..., 0]
    opaque = np.stack([grey, np.full_like(grey, 255)], -1)
    image, notes = decode_image(encoded(PillowImage.fromarray(opaque, "LA")))
    np.testing.assert_array_equal(image[..., 2], grey)
    assert len(notes) == 2
    with pytest.raises(ImageRefused, match="transparent"):
        decode_image(encoded(picture(), transparency=tuple(int(v) for v in picture()[3, 4])))


WIDE = np.arange(12 * 10 * 3, dtype=np.uint16).reshape(12, 10, 3) * 180


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (png16(WIDE), 16),
        (png16(WIDE[..., 0]), 16),
        (tiff(WIDE, photometric="rgb"), 16),
        (tiff(WIDE[..., 0], photometric="minisblack"), 16),
        (b"P6 # a comment\n10 12\n65535\n" + WIDE.astype(">u2").tobytes(), 16),
        (b"P5\n10\n12 1023\n" + (WIDE[..., 0] % 1024).astype(">u2").tobytes(), 10),
        (b"P2\n2 1\n4095\n17 4000\n", 12),
    ],
    ids=["png-rgb", "png-grey", "tiff-rgb", "tiff-grey", "ppm", "pgm-10", "pgm-plain"],
)
def test_more_than_eight_bits_are_refused(data, bits):
    with PillowImage.open(io.BytesIO(data)) as image:  # the file is good: only its depth is wrong
        image.load()
    with pytest.raises(ImageRefused, match=rf"has {bits} bits a channel.*magick INPUT -depth 8"):
        decode_image(data)


@pytest.mark.parametrize(("layout", "bits"), [("yuv420p10le", 10), ("yuv444p12le", 12)])
def test_deep_avif_is_refused_where_pillow_would_truncate_it(tmp_path, layout, bits):
    import imageio_ffmpeg

    path = tmp_path / "deep.avif"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi"]
    command += ["-i", "testsrc2=size=64x48", "-frames:v", "1", "-pix_fmt", layout]
    command += ["-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8", str(path)]
    subprocess.run(command, check=True, timeout=60)
    with PillowImage.open(path) as image:
        assert image.mode == "RGB"
    with pytest.raises(ImageRefused, match=f"{bits} bits"):
        load_image(path)


def test_float_signed_cmyk_and_lab_are_refused():
    with pytest.raises(ImageRefused, match=r"floating-point.*magick"):
        decode_image(tiff(picture()[..., 0].astype(np.float32)))
    with pytest.raises(ImageRefused):
        decode_image(tiff(picture()[..., 0].astype(np.int8)))
    for kind in ("JPEG", "TIFF"):
        cmyk = PillowImage.fromarray(picture()).convert("CMYK")
        with pytest.raises(ImageRefused, match=r"is CMYK, not RGB.*magick"):
            decode_image(encoded(cmyk, kind))
    lab = PillowImage.merge("LAB", PillowImage.fromarray(picture()).split())
    with pytest.raises(ImageRefused, match="is LAB"):
        decode_image(encoded(lab, "TIFF"))


def test_several_pictures_are_refused():
    frames = [PillowImage.fromarray(picture(seed=seed)) for seed in range(2)]
    for kind in ("PNG", "WEBP", "TIFF", "AVIF"):
        with pytest.raises(ImageRefused, match="several pictures"):
            decode_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    with pytest.raises(ImageRefused, match="several pictures"):  # what some cameras write
        decode_image(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM"])
def test_truncated_files_are_refused(kind):
    data = encoded(picture(), kind)
    for part in (0.1, 0.5, 0.9):
        with pytest.raises(ImageRefused):
            decode_image(data[: int(len(data) * part)])


def test_damaged_png_is_refused_though_pillow_decodes_it():
    data = encoded(picture())
    start = data.index(b"IDAT")
    accepted_by_pillow = 0
    for at in range(start + 4, len(data) - 12, 40):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        with pytest.raises(ImageRefused):
            decode_image(bytes(damaged))
        try:
            PillowImage.open(io.BytesIO(bytes(damaged))).load()
            accepted_by_pillow += 1
        except (OSError, SyntaxError):
            pass
    assert accepted_by_pillow > 0
    with pytest.raises(ImageRefused, match="no end"):
        decode_image(data[:-12])


@pytest.mark.parametrize(
    "data", [b"<html>not found</html>", b"GIF89a" + bytes(40), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\0"]
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(ImageRefused, match="not a picture"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "PPM"])
def test_random_damage_is_refused_or_decoded_but_never_crashes(kind):
    rng = np.random.default_rng(1)
    data = encoded(picture(16, 16), kind)
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            damaged[at] = rng.integers(0, 256)
        with suppress(ImageRefused):
            check_image(decode_image(bytes(damaged))[0])


def test_huge_pictures_are_refused_from_the_header():
    assert MAX_PIXELS < 20_000**2
    begun = time.perf_counter()
    for side in (20_000, 12_000):  # above and below the size at which Pillow itself gives up
        for data in (
            png(side, side, 8, 2, b""),
            f"P6 {side} {side} 255\n".encode(),
            b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, side, side, 1, 24, *[0] * 6),
        ):
            with pytest.raises(ImageRefused, match="pixels"):
                decode_image(data)
    assert time.perf_counter() - begun < 1


def adobe_rgb() -> bytes:
    """The Adobe RGB (1998) profile that is embedded in scikit-image's rocket.jpg."""
    package = find_spec("skimage")
    assert package is not None
    assert package.origin is not None
    with PillowImage.open(Path(package.origin).with_name("data") / "rocket.jpg") as image:
        return image.info["icc_profile"]


def srgb_curve(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: linear light to the nearest 8-bit value."""
    linear = np.clip(linear, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * curved)


def test_adobe_rgb_is_converted_as_by_its_definition():
    pixels = picture(60, 80)
    image, notes = decode_image(encoded(pixels, icc_profile=adobe_rgb()))
    # Adobe RGB (1998), 4.3.5.3 and IEC 61966-2-1, both for their common white point D65.
    adobe_to_xyz = [
        [0.57667, 0.18556, 0.18823],
        [0.29734, 0.62736, 0.07529],
        [0.02703, 0.07069, 0.99134],
    ]
    xyz_to_srgb = [
        [3.2406, -1.5372, -0.4986],
        [-0.9689, 1.8758, 0.0415],
        [0.0557, -0.2040, 1.0570],
    ]
    linear = (pixels / 255) ** (563 / 256) @ (np.array(xyz_to_srgb) @ adobe_to_xyz).T
    assert np.abs(image - srgb_curve(linear)).max() <= 2
    assert np.abs(image.astype(int) - pixels).max() > 10
    assert notes == ("converted from ICC profile 'Adobe RGB (1998)' to sRGB",)


def test_srgb_profiles_are_accepted_silently():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, notes = decode_image(encoded(picture(), icc_profile=profile))
    np.testing.assert_array_equal(image, picture())
    assert notes == ()


def test_grey_profiles_are_converted_and_rgb_profiles_on_grey_work():
    grey = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    image, notes = decode_image(encoded(grey, icc_profile=grey_profile(1.8)))
    expected = srgb_curve((np.arange(256) / 255) ** (round(1.8 * 256) / 256))
    assert np.abs(image[0] - expected[:, None]).max() <= 1
    assert "ICC profile 'grey <b>test</b>'" in notes[1]
    image, _ = decode_image(encoded(grey, icc_profile=adobe_rgb()))
    assert np.ptp(image.astype(int), axis=2).max() <= 1


@pytest.mark.parametrize("profile", [b"rubbish", grey_profile(2.2)], ids=["rubbish", "grey-on-rgb"])
def test_profiles_that_cannot_be_applied_are_refused(profile):
    with pytest.raises(ImageRefused, match=r"ICC profile cannot be applied.*profile icc"):
        decode_image(encoded(picture(), icc_profile=profile))


def test_conversions_add_up():
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    rgba = np.concatenate([picture(), np.full((33, 47, 1), 255, np.uint8)], 2)
    image, notes = decode_image(encoded(rgba, exif=exif, icc_profile=adobe_rgb()))
    assert image.shape == (47, 33, 3)
    assert len(notes) == 3


def test_paths_that_are_no_good_files(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(ImageRefused, match=r"^empty\.png: is empty \(0 bytes\)"):
        load_image(empty)
    with pytest.raises(ImageRefused, match=r"gone\.png: cannot be opened: No such file"):
        load_image(tmp_path / "gone.png")
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(ImageRefused, match="not a regular file"):
            load_image(path)
    sparse = tmp_path / "sparse.ppm"
    with sparse.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ImageRefused, match="bytes; at most"):
        load_image(sparse)


def test_refs_notice_a_changed_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(picture()[..., 0]))
    ref = read_ref(path)
    assert (ref.width, ref.height, len(ref.digest)) == (47, 33, 64)
    assert ref.notes == load_image_with_notes(path)[1] != ()
    np.testing.assert_array_equal(load_ref(ref), load_image(path))
    assert isinstance(pickle.loads(pickle.dumps(ref)), ImageRef)
    path.write_bytes(encoded(picture(seed=1)))
    with pytest.raises(DatasetError, match=r"a\.png has changed"):
        load_ref(ref)


def test_refusals_survive_the_way_between_processes(tmp_path):
    with pytest.raises(ImageRefused) as caught:
        load_image(tmp_path / "gone.png")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.reason == caught.value.reason


FAULTS = DATA / "faults"


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the collection of faulty files is not here")
@pytest.mark.parametrize(
    "name", ["zero_tail.jpg", "base_trunc_eoi.jpg", "base_zeroed_mid.jpg", "short_idat.png"]
)
def test_damaged_files_that_pillow_fills_up_are_refused(name):
    with pytest.raises(ImageRefused, match="damaged"):
        load_image(FAULTS / name)


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the collection of faulty files is not here")
def test_a_good_picture_with_malformed_exif_is_read():
    pixels, notes = load_image_with_notes(FAULTS / "badexif.png")
    with PillowImage.open(FAULTS / "badexif.png") as opened:
        assert np.array_equal(pixels, np.array(opened.convert("RGB")))
    assert any("EXIF" in note for note in notes)


def jpeg_of(photo, **options) -> bytes:
    return encoded(photo, "JPEG", quality=90, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_that_lacks_a_part_is_refused(photo, options):
    whole = jpeg_of(photo, **options)
    decode_image(whole)
    scan = whole.index(b"\xff\xda")
    half = (scan + len(whole)) // 2
    last = whole.rindex(b"\xff\xda")
    damaged = {
        "cut by its end": whole[:-2],
        "cut by its last scan": whole[:last],
        "cut by its last scan, with a preview": whole[:last] + whole,
        "cut by its last scan, with an end": whole[:last] + b"\xff\xd9",
        "cut": whole[:half],
        "cut, with an end": whole[:half] + b"\xff\xd9",
        "zeros at its end": whole[:half] + bytes(len(whole) - half),
    }
    for data in damaged.values():
        with pytest.raises(ImageRefused, match="damaged"):
            decode_image(data)


def test_lost_restart_markers_are_damage(photo):
    whole = jpeg_of(photo, restart_marker_blocks=2)
    at = whole.index(b"\xff\xd2", whole.index(b"\xff\xda"))
    with pytest.raises(ImageRefused, match="damaged"):
        decode_image(whole[:at] + whole[at + 2 :])


def test_what_cameras_add_is_no_damage(photo):
    whole = jpeg_of(photo)
    pixels, _ = decode_image(whole)
    table = whole.index(b"\xff\xdb")
    for kept in (
        whole + b"\xff\xd8 a preview",
        whole[:table] + bytes(5) + whole[table:],
        whole[:-2] + bytes(30) + whole[-2:],
        whole[:-2] + bytes(30) + whole[-2:] + whole,
        *(whole.replace(harmless, odd, 1) for harmless, odd in ODD.items()),
    ):
        assert kept != whole
        assert np.array_equal(decode_image(kept)[0], pixels)


ODD = {
    b"JFIF\0\1\1": b"JFIF\0\7\1",  # an unknown revision
    b"\xff\xdb": b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\7\xff\xdb",  # an unknown transform
    b"\0\x3f\0": b"\0\0\0",  # a scan of the DC alone, which sequential ones are not
}
"""What libjpeg warns of, and decodes all the same."""


@pytest.mark.parametrize("odd", ODD)
def test_a_harmless_warning_hides_no_damage_behind_it(photo, odd):
    whole = jpeg_of(photo)
    assert odd in whole
    data = whole[: 2 * len(whole) // 3].replace(odd, ODD[odd], 1) + b"\xff\xd9"
    with pytest.raises(ImageRefused, match="damaged"):
        decode_image(data)


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "jpeg"])
def test_a_tiff_of_which_a_strip_is_damaged_is_refused(photo, compression):
    data = encoded(photo, "TIFF", compression=compression)
    decode_image(data)
    with TiffImageFile(io.BytesIO(data)) as image:
        start, size = image.tag_v2[273][0], image.tag_v2[279][0]
    half = start + size // 2
    for damaged in (
        data[:half] + bytes(start + size - half) + data[start + size :],
        data[:half] + data[start + size :] + bytes(start + size - half),
    ):
        with pytest.raises(ImageRefused, match="damaged"):
            decode_image(damaged)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_png_with_too_few_rows_is_refused(photo, mode):
    """Whole chunks, right checksums, but the picture ends early."""
    file = io.BytesIO()
    PillowImage.fromarray(photo).convert(mode).save(file, "PNG")
    data = file.getvalue()
    decode_image(data)
    end = data.index(b"IDAT") - 4
    inflated, at = b"", end
    while data[at + 4 : at + 8] == b"IDAT":
        size = int.from_bytes(data[at : at + 4], "big")
        inflated += data[at + 8 : at + 8 + size]
        at += 12 + size
    short = zlib.compress(zlib.decompress(inflated)[:-5])
    chunk = b"IDAT" + short
    chunk = len(short).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    with pytest.raises(ImageRefused, match="bytes of its picture"):
        decode_image(data[:end] + chunk + data[at:])
