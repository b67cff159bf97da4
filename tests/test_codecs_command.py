"""Codecs given by two command lines in a TOML file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from bench.record.measurement import measurement_key
from bench.record.store import Store
from codecs import fingerprint, registry
from codecs.base import BitstreamError, Codec, CodecError, CodecUnavailable, EncodeError, Point
from tests.codecs_cases import psnr
from tests.datasets_fixtures import encoded, png, png16
from tests.helpers import run_alone

TOOL = '''
"""Somebody's codec: JPEG through Pillow, and every way to fail."""
import sys, time
from PIL import Image

job, source, target, value = sys.argv[1:5]
if value == "hang":
    time.sleep(60)
elif value == "nothing":
    sys.exit(0)
elif value == "fail":
    print("first", "cannot do this", sep="\\n", file=sys.stderr)
    sys.exit(7)
elif value == "link":
    import os
    os.symlink("/etc/hostname", target)
elif value.endswith((".png", ".ppm")):
    import shutil
    shutil.copy(value, target)
elif job == "encode":
    if value == "flood":
        for _ in range(200):
            print("progress " * 5000)
            print("warning " * 5000, file=sys.stderr)
        value = "50"
    Image.open(source).save(target, "JPEG", quality=int(value))
else:
    picture = Image.open(source)
    picture.load()
    picture.save(target)
    if value == "cut":
        data = open(target, "rb").read()
        open(target, "wb").write(data[: len(data) // 2])
'''


@pytest.fixture
def write(tmp_path):
    """Writes the TOML file, with the given keys changed or, where None, left out."""
    (tmp_path / "tool.py").write_text(TOOL)

    def run(**changes: object) -> Path:
        table: dict[str, object] = {
            "name": "mine",
            "label": "Mine",
            "version": "1.0",
            "encode": f"{sys.executable} {{here}}/tool.py encode {{input}} {{output}} {{value}}",
            "decode": f"{sys.executable} {{here}}/tool.py decode {{input}} {{output}} ok",
            "parameter": "quality",
            "points": [10, 50, 90],
            "extension": "jpg",
            "time_limit": 20,
        }
        table.update(changes)
        path = tmp_path / "mine.toml"
        # Strings, numbers and lists of JSON are also TOML.
        lines = [f"{key} = {json.dumps(v)}" for key, v in table.items() if v is not None]
        path.write_text("\n".join(lines))
        return path

    return run


def _make(path: Path) -> Codec:
    return registry.create(str(path))


@pytest.mark.parametrize(("given", "taken"), [("png", "ppm"), ("ppm", "png")])
def test_a_codec_without_any_python(write, photo, given, taken):
    path = write(input=given, output=taken)
    path.write_text(path.read_text() + '\n[settings]\nchroma = "4:2:0"\n')
    codec = _make(path)
    assert (codec.name, codec.label, codec.version) == ("mine", "Mine", "1.0")
    assert codec.points == (Point("quality", 10), Point("quality", 50), Point("quality", 90))
    assert codec.settings["chroma"] == "4:2:0"
    assert "{value}" in codec.settings["encode command"]
    sizes, scores = [], []
    for point in codec.points:
        data = codec.encode(photo, point)
        sizes.append(len(data))
        scores.append(psnr(photo, codec.decode(data)))
    # The same library without the detour: nothing is lost or added on the way.
    reference = registry.create("jpeg")
    assert sizes == [len(reference.encode(photo, point)) for point in codec.points]
    assert scores == sorted(scores)
    assert f"tool.py encode in.{given} out.jpg 50" in (codec.command(codec.points[1]) or "")


def key(path: Path) -> str:
    """Under which a measurement of the codec is stored."""
    codec = _make(path)
    return measurement_key(codec.name, codec.version, codec.settings, codec.points[0], "a picture")


def rewrite(path: Path, data: bytes) -> None:
    """Change a file's content but neither its size nor its times."""
    times = path.stat()
    assert len(data) == times.st_size
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_changed_file_is_measured_again(write, tmp_path):
    """A rebuilt program, a changed script or other weights make new keys, by content alone."""
    program, script, weights = (tmp_path / name for name in ("program", "tool.py", "w.bin"))
    program.write_text("#!/bin/sh\n: 1")
    program.chmod(0o755)
    weights.write_bytes(b"old")
    path = write(
        encode=[str(program), "{here}/tool.py", "--weights={here}/w.bin", "{input}{output}{value}"],
        decode=f"{sys.executable} {{here}}/tool.py {{input}} {{output}}",
    )
    seen = [key(path)]
    for file, content in (
        (program, b"#!/bin/sh\n: 2"),
        (script, script.read_bytes().replace(b"Image", b"Emage")),
        (weights, b"new"),
    ):
        rewrite(file, content)
        seen.append(key(path))
    assert len(set(seen)) == 4
    assert key(path) == seen[-1]
    expected = hashlib.sha256(b"new").hexdigest()[:16]
    assert f"w.bin {expected}" in _make(path).settings["file digests"]
    assert _make(path).settings["file digests"].count("tool.py") == 1


def test_what_the_tools_are_told_by_file_names_is_part_of_the_key(write):
    """Programs look at the ending of their files."""
    assert len({key(write(**{k: v})) for k, v in FORMATS}) == len(FORMATS)


FORMATS = (("extension", "jpg"), ("extension", "webp"), ("input", "ppm"), ("output", "ppm"))


def test_large_and_unreadable_files_go_by_size_and_time(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "WHOLE", 3)
    path = tmp_path / "weights"
    path.write_bytes(b"1234")
    os.utime(path, ns=(0, 1_500_000_000))
    assert fingerprint.fingerprint(path) == "(4 bytes, changed 1970-01-01T00:00:01.500000+00:00)"
    path.write_bytes(b"123")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert fingerprint.fingerprint(path).startswith("(3 bytes, changed 20")
    path.unlink()
    with pytest.raises(CodecUnavailable, match="weights: No such file"):
        fingerprint.fingerprint(path)


def test_only_absolute_names_of_files_count(tmp_path, monkeypatch):
    (tmp_path / "medium").touch()
    monkeypatch.chdir(tmp_path)  # a preset's name is no file of the folder one stands in
    absolute = str(tmp_path / "medium")
    arguments = ["medium", str(tmp_path), "/" + "x" * 5000, "/nul\0", "", "=", f"-m={absolute}"]
    assert fingerprint.named_files(arguments) == [tmp_path / "medium"]


def test_version_by_a_command(write):
    codec = _make(write(version=[sys.executable, "--version"]))
    assert codec.version == f"Python {sys.version.split()[0]}"
    with pytest.raises(CodecUnavailable, match="exit status"):
        _make(write(version=[sys.executable, "-c", "raise SystemExit(2)"]))
    with pytest.raises(CodecError, match="printed nothing"):
        _make(write(version=[sys.executable, "-c", ""]))


@pytest.mark.parametrize("size", [(1, 1), (17, 1), (1, 17), (5, 3)])
def test_small_pictures(write, photo, size):
    codec = _make(write())
    image = photo[: size[0], : size[1]]
    assert codec.decode(codec.encode(image, codec.points[2])).shape == image.shape


def test_encoders_that_fail(write, photo):
    image = photo[:8, :8]
    codec = _make(write(points=["hang", "nothing", "fail", "link", "flood"], time_limit=1))
    hang, nothing, fail, link, flood = codec.points
    start = time.monotonic()
    with pytest.raises(EncodeError, match="did not finish within 1 s"):
        codec.encode(image, hang)
    assert time.monotonic() - start < 10
    for point in (nothing, link):
        with pytest.raises(EncodeError, match="wrote no stream"):
            codec.encode(image, point)
    with pytest.raises(EncodeError, match=r"exit status 7: first\ncannot do this"):
        codec.encode(image, fail)
    patient = _make(write(points=["flood"]))
    assert patient.encode(image, flood)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("hang", "did not finish within 1 s"),
        ("nothing", "wrote no picture"),
        ("fail", "exit status 7"),
        ("cut", "the decoded png is a truncated PNG"),
    ],
)
def test_decoders_that_fail(write, photo, mode, message):
    data = _make(write()).encode(photo[:32, :32], Point("quality", 50))
    decode = [sys.executable, "{here}/tool.py", "decode", "{input}", "{output}", mode]
    codec = _make(write(decode=decode, time_limit=1 if mode == "hang" else 20))
    with pytest.raises(BitstreamError, match=message):
        codec.decode(data)


WIDE = np.arange(65536).reshape(128, 512)
DEEP = np.stack([WIDE, WIDE[::-1], WIDE[:, ::-1]], -1).astype(np.uint16)


def with_alpha(alpha: int) -> bytes:
    pixels = np.dstack([DEEP, np.full_like(DEEP[..., :1], 65535)])
    pixels[5, 7, 3] = alpha
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(512, 128, 16, 6, rows)


def netpbm(kind: str, pixels: np.ndarray, largest: int) -> bytes:
    return f"{kind}\n512 128\n{largest}\n".encode() + pixels.astype(">u2").tobytes()


def eight(pixels: np.ndarray, largest: int = 65535) -> np.ndarray:
    """To the nearest of 255 steps, by integers: `largest` is odd, so none is between two."""
    picture = ((2 * 255 * pixels.astype(np.int64) + largest) // (2 * largest)).astype(np.uint8)
    return picture if picture.ndim == 3 else np.stack([picture] * 3, -1)


@pytest.mark.parametrize(
    ("name", "written", "expected", "notes"),
    [
        ("a.png", png16(DEEP), eight(DEEP), ["16 bits"]),
        ("a.png", png16(DEEP[..., 0]), eight(DEEP[..., 0]), ["16 bits", "grey was replicated"]),
        ("a.png", with_alpha(65535), eight(DEEP), ["16 bits", "alpha"]),
        ("a.ppm", netpbm("P6", DEEP, 65535), eight(DEEP), ["16 bits"]),
        ("a.ppm", netpbm("P5", WIDE % 1024, 1023), eight(WIDE % 1024, 1023), ["10 bits", "grey"]),
        ("a.png", encoded(PillowImage.new("L", (4, 4), 7)), np.full((4, 4, 3), 7), ["grey"]),
    ],
    ids=["png", "png-grey", "png-alpha", "ppm", "pgm-10", "grey"],
)
def test_what_a_decoder_writes_is_rounded_and_said(write, tmp_path, name, written, expected, notes):
    codec = _make(write_decoder(write, tmp_path / name, written))
    np.testing.assert_array_equal(codec.decode(b"stream"), expected)
    assert len(codec.decoded_notes) == len(notes)
    for note, part in zip(codec.decoded_notes, notes, strict=True):
        assert part in note


def write_decoder(write, path: Path, written: bytes) -> Path:
    """A codec whose decoder writes this file, whatever the stream."""
    path.write_bytes(written)
    decode = [sys.executable, "{here}/tool.py", "decode", "{input}", "{output}", str(path)]
    return write(decode=decode, output=path.suffix[1:])


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (with_alpha(65534), "partly transparent"),
        (encoded(PillowImage.new("RGBA", (4, 4), (9, 9, 9, 254))), "partly transparent"),
        (png(1, 1, 16, 4, b"\0" + bytes(4)), "16 bits a channel and a transparency"),
        (encoded(PillowImage.new("RGB", (4, 4)), icc_profile=b"what"), "ICC profile cannot be"),
        (
            encoded(
                PillowImage.new("RGB", (4, 4)),
                save_all=True,
                append_images=[PillowImage.new("RGB", (4, 4), "red")],
            ),
            "several pictures",
        ),
    ],
    ids=["nearly-opaque-16", "nearly-opaque", "grey-alpha-16", "profile", "animation"],
)
def test_what_is_refused_in_originals_is_refused_of_decoders(write, tmp_path, written, reason):
    codec = _make(write_decoder(write, tmp_path / "a.png", written))
    with pytest.raises(BitstreamError, match=f"the decoded png .*{reason}"):
        codec.decode(b"stream")


def test_what_was_converted_of_a_decoder_reaches_the_report(write, tmp_path):
    (tmp_path / "set").mkdir()
    PillowImage.new("RGB", (512, 128), "teal").save(tmp_path / "set" / "a.png")
    path = write_decoder(write, tmp_path / "deep.png", png16(DEEP))
    assert run_alone(tmp_path / "set", tmp_path / "run", str(path)).failed == 0
    rows = list(Store(tmp_path / "run"))
    assert {row.notes for row in rows} == {("its 16 bits a channel were rounded to 8",)}


def test_damaged_streams(write):
    codec = _make(write())
    for data in (b"", b"garbage", np.random.default_rng(0).bytes(500)):
        with pytest.raises(BitstreamError):
            codec.decode(data)


def test_values_reach_the_program_unread(write, photo, tmp_path):
    """What looks like shell syntax or a placeholder is one plain argument."""
    odd = "$(touch owned) {output}; `id`"
    with pytest.raises(EncodeError, match="invalid literal for int"):
        _make(write(points=[odd])).encode(photo[:8, :8], Point("quality", odd))
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nmae": "x"}, "unknown key 'nmae'; did you mean 'name'"),
        ({"points": None}, "points is missing"),
        ({"points": []}, "points: expected a list"),
        ({"points": [1, 1]}, "points: a value occurs twice"),
        ({"points": [[1]]}, "points: expected numbers"),
        ({"encode": "cp {input} {output}"}, r"encode: the placeholder \{value\} is missing"),
        ({"encode": "cp {inptu} {output} {value}"}, r"\{inptu\}; did you mean 'input'"),
        ({"decode": "cp {input}"}, r"decode: the placeholder \{output\} is missing"),
        ({"decode": "cp {input} {output} {value}"}, r"decode: unknown placeholder \{value\}"),
        ({"decode": "cp '{input} {output}"}, "No closing quotation"),
        ({"decode": []}, "decode: expected a command"),
        ({"name": "../x"}, "cannot name a codec"),
        ({"name": "<script>"}, "cannot name a codec"),
        ({"name": "a:b"}, "colon"),
        ({"name": "vvenc"}, "belongs to a built-in codec"),
        ({"input": "bmp"}, "input: expected one of png, ppm, yuv420p, .*; got 'bmp'"),
        ({"output": "y4m-yuv444p"}, "output: expected one of png, ppm, .*, y4m; got"),
        ({"decode": "cp {input} {output} {width}"}, "told the size only where a tool works on"),
        ({"variants": 3}, "variants: expected tables"),
        ({"extension": "a/b"}, "extension"),
        ({"time_limit": 0}, "time_limit"),
        ({"time_limit": True}, "time_limit"),
        ({"label": 3}, "label: expected a string"),
        ({"settings": 3}, "settings: expected a table"),
    ],
)
def test_mistakes_in_the_file(write, changes, message):
    path = write(**changes)
    with pytest.raises(CodecError, match=message):
        _make(path)


def test_what_is_not_toml(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("name = ")
    with pytest.raises(CodecError, match=r"x\.toml"):
        _make(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CodecError, match=r"x\.toml"):
        _make(path)


def test_a_missing_tool_is_named(write):
    with pytest.raises(CodecUnavailable, match="no-such-encoder not found"):
        _make(write(encode="no-such-encoder {input} {output} {value}"))


def test_a_point_and_a_slash_mean_beside_the_file(write, photo, tmp_path, monkeypatch):
    """Wherever the harness was started, and for the version, too."""
    (tmp_path / "run").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    codec = _make(
        write(
            encode="./run ./tool.py encode {input} {output} {value}",
            decode="./run ./tool.py decode {input} {output} ./none",
            version=["./run", "--version"],
        )
    )
    assert codec.version == f"Python {sys.version.split()[0]}"
    assert codec.decode(codec.encode(photo, codec.points[0])).shape == photo.shape
    assert codec.settings["decode command"].endswith(" ./none")
    for name in ("run ", "tool.py "):
        assert name in codec.settings["file digests"]
    with pytest.raises(CodecUnavailable, match=f"{tmp_path}/gone not found"):
        _make(write(encode="./gone {input} {output} {value}"))


def test_one_file_with_several_efforts(write, photo):
    path = write(settings=None)
    encode = f"{sys.executable} {{here}}/tool.py encode {{input}} {{output}} 1{{value}}"
    table = f"""
[settings]
chroma = "4:2:0"

[variants.slow]
encode = "{encode}"
points = [0, 1]
settings = {{ effort = "9" }}

[variants.named]
label = "Another"
"""
    path.write_text(path.read_text() + table)
    plain, slow = _make(path), registry.create(f"{path}:slow@1")
    assert (plain.name, slow.name, slow.label) == ("mine", "mine:slow", "Mine slow")
    assert registry.create(f"{path}:named").label == "Another"
    assert slow.points == (Point("quality", 1),)
    assert slow.encode(photo, slow.points[0]) == plain.encode(photo, Point("quality", 11))
    assert (slow.settings["effort"], slow.settings["chroma"]) == ("9", "4:2:0")
    assert "effort" not in plain.settings
    with pytest.raises(registry.UnknownCodec, match="unknown variant 'slwo'; did you mean 'slow'"):
        registry.create(f"{path}:slwo")
    for line in ("name = 'x'", "nmae = 'x'", "variants = {}"):
        path.write_text(path.read_text().replace('label = "Another"', line))
        with pytest.raises(CodecError, match=r"variants\.named: .* is no key"):
            _make(path)
        path.write_text(path.read_text().replace(line, 'label = "Another"'))


def test_a_file_without_variants(write):
    with pytest.raises(registry.UnknownCodec, match=r"has no \[variants\]"):
        registry.create(f"{write()}:fast")


def test_files_that_depend_on_the_point_are_part_of_the_key(write, tmp_path):
    """One checkpoint for each rate: rewriting any of them makes new keys."""
    for value in (1, 2):
        (tmp_path / f"w-{value}.txt").write_text("old")
    path = write(
        encode=["{here}/tool.py", "--weights={here}/w-{value}.txt", "{input}{output}"],
        points=[1, 2],
    )
    (tmp_path / "tool.py").chmod(0o755)
    before = key(path)
    rewrite(tmp_path / "w-2.txt", b"new")
    assert key(path) != before
    (tmp_path / "w-1.txt").unlink()
    with pytest.raises(CodecUnavailable, match=r"w-1\.txt is missing"):
        _make(path)


def test_a_folder_for_each_point_counts_as_well(write, tmp_path):
    for value in (1, 2):
        (tmp_path / f"{value}").mkdir()
        (tmp_path / f"{value}" / "w.bin").write_bytes(b"old")
    path = write(encode="cp {here}/{value}/w.bin {input} {output}", points=[1, 2])
    before = key(path)
    rewrite(tmp_path / "2" / "w.bin", b"new")
    assert key(path) != before
    path = write(encode="cp {here}/{value}/w.bin {input} {output}", points=[1, 2, 3])
    with pytest.raises(CodecUnavailable, match=r"3/w\.bin is missing.* at quality 3"):
        _make(path)


def test_files_within_a_line_for_a_shell_are_part_of_the_key(write, tmp_path):
    """But not those that it writes, which would be new at every run."""
    line = "{here}/tool -m {here}/w-{value}.bin {input} {output} 2> {here}/log"
    for name in ("tool", "w-1.bin", "w-2.bin", "log"):
        (tmp_path / name).write_bytes(b"old")
    path = write(encode=["sh", "-c", line], points=[1, 2])
    seen = [key(path)]
    for name in ("tool", "w-1.bin", "w-2.bin"):
        rewrite(tmp_path / name, b"new")
        seen.append(key(path))
    assert len(set(seen)) == 4
    rewrite(tmp_path / "log", b"new")
    assert key(path) == seen[-1]


def test_a_folder_whose_name_is_no_utf8(write, tmp_path):
    """Its bytes are escaped in what is stored, not in what is run."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    path = write(encode="cp {input} {output} {value}", decode="cp {here}/w {input} {output}")
    (folder / "w").write_bytes(b"")
    codec = _make(path.rename(folder / path.name))
    assert "caf\\xe9/w" in codec.settings["decode command"]
    assert codec.settings["file digests"].endswith(", w e3b0c44298fc1c14")


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_points_are_finite(write, value):
    path = write(points=None)
    path.write_text(f"{path.read_text()}\npoints = [1.0, {value}]\n")
    with pytest.raises(CodecError, match="finite"):
        _make(path)
