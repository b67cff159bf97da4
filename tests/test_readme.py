"""What the README and the pages in docs/ show works as it stands there."""

from __future__ import annotations

import re
import shlex
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from bench.cli.options import bench_parser, compare_parser
from bench.verdict.curve import FEWEST
from codecs import command as command_codec
from codecs import publish, train
from codecs.base import BitstreamError, CodecUnavailable, Point
from codecs.compressai_zoo import REQUIREMENTS
from codecs.helpers import frame
from codecs.registry import Entry, available, create
from tests.conftest import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
}
TEXT = "\n".join(PAGES.values())
OWN = PAGES["docs/own-codecs.md"]
LEARNED = PAGES["docs/adding-a-codec.md"]


def block(language: str, containing: str, text: str = OWN) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return next(found for found in blocks if containing in found)


def commands(text: str) -> list[str]:
    """The indented lines of a page without their comments, those that end in \\ joined."""
    lines = re.findall(r"^    (.*)$", text, re.MULTILINE)
    joined = "\n".join(lines).replace("\\\n", " ")
    return [re.sub(r"  +# .*", "", line).strip() for line in joined.splitlines()]


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """`mycodec-encode` and `mycodec-decode`: JPEG by Pillow."""
    body = {
        "mycodec-encode": "Image.open(sys.argv[3]).save(sys.argv[4], 'JPEG', quality=int(q))",
        "mycodec-decode": "Image.open(sys.argv[1]).save(sys.argv[2], 'PNG')",
    }
    for name, line in body.items():
        script = tmp_path / name
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom PIL import Image\nq = sys.argv[2]\n{line}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def round_trip_improves(name: str, photo) -> None:
    codec = create(name)
    errors = []
    for point in (codec.points[0], codec.points[-1]):
        decoded = codec.decode(codec.encode(photo, point))
        errors.append(np.square(decoded.astype(float) - photo).mean())
    assert errors[1] < errors[0] < 2000


@pytest.mark.parametrize("page", ["README.md", "docs/own-codecs.md"])
def test_the_codec_of_two_command_lines(tools, photo, page):
    path = tools / "mine.toml"
    path.write_text(block("toml", "mycodec-encode", PAGES[page]))
    round_trip_improves(str(path), photo)


def test_the_toml_file_with_every_key(tools, photo):
    path = tools / "mine.toml"
    path.write_text(block("toml", "mycodec-encode", text := PAGES["docs/toml.md"]))
    script = (tools / "mycodec-encode").read_text()
    (tools / "mycodec-encode").write_text(
        script.replace(
            "Image\n", "Image\nif sys.argv[1:] == ['--version']: sys.exit(print('7.2'))\n"
        )
    )
    assert create(str(path)).version == "7.2"
    for name in (str(path), f"{path}:fast"):
        round_trip_improves(name, photo)
    rows = {row.split(" | ")[0] for row in re.findall(r"^\| (.* \|.*)$", text, re.MULTILINE)}
    assert rows >= {*command_codec.REQUIRED, *command_codec.OPTIONAL}
    named = set(re.findall(r"`([a-z0-9-]+)`", "".join(row for row in rows)))
    assert named >= {*command_codec.INPUTS, *command_codec.OUTPUTS} - {"y4m-yuv420p"}


def test_the_codec_in_one_file(tmp_path, photo):
    path = tmp_path / "mine.py"
    path.write_text(block("python", "class Mine"))
    round_trip_improves(str(path), photo)


def test_the_codec_made_of_helpers(tmp_path, photo):
    path = tmp_path / "net.py"
    path.write_text(block("python", "codecs.helpers"))
    round_trip_improves(str(path), photo[:61, :90])
    codec = create(str(path))
    data = codec.encode(photo[:61, :90], codec.points[0])
    damaged = bytearray(data)
    damaged[-9] ^= 4
    for each in (data[:-1], bytes(damaged), frame(61, 90, b"", b""), frame(61, 90, b"1", b"x")):
        with pytest.raises(BitstreamError):
            codec.decode(each)


def test_the_learned_codec_in_one_file(tmp_path, photo):
    """Trained for two steps, published, and coding as any codec does."""
    path = tmp_path / "mine.py"
    path.write_text(block("python", "class MeanScale", LEARNED))
    pictures, run = tmp_path / "pictures", tmp_path / "run"
    pictures.mkdir()
    Pillow.fromarray(photo).save(pictures / "cat.png")
    folders = ["--valid", str(pictures), "--cache", str(tmp_path / "cache")]
    sizes = ["--width", "8", "--crop", "64", "--batch", "1", "--steps", "2", "--threads", "1"]
    command = [str(path), "--data", str(pictures), "--out", str(run), "--device", "cpu"]
    (tmp_path / "short.toml").write_text("[[phase]]\nshare = 1.0\nlr = 1e-3\nper_rate = true\n")
    schedule = ["--preset", str(tmp_path / "short.toml")]
    assert train.main([*command, *folders, *sizes, *schedule]) == 0
    with pytest.raises(CodecUnavailable, match=rf"no weights .* codecs\.train {path} "):
        create(str(path))
    into = ["--network", str(path), "--into", str(tmp_path / "weights"), "--count", "1"]
    assert publish.main([str(run), *folders, *into]) == 0
    codec = create(str(path))
    assert codec.points == (Point("rate", 0.15),)
    assert codec.decode(codec.encode(photo, codec.points[0])).shape == photo.shape


def test_the_entry_of_a_learned_codec_is_one():
    entry = eval(block("python", "Entry(", LEARNED), {"Entry": Entry})
    own = next(known for known in available() if known.name == "hyperprior")
    assert entry.variants == own.variants
    assert entry.network.startswith("codecs.mine:MeanScale")


def test_commands_can_be_typed():
    """Each program that a page tells to start takes the arguments that stand there."""
    parsers = {
        "bench": bench_parser(),
        "bench.compare": compare_parser(),
        "codecs.train": train.parser(),
        "codecs.publish": publish.parser(),
    }
    typed = dict.fromkeys(parsers, 0)
    for page, text in PAGES.items():
        for line in commands(text):
            match = re.match(r"(?:\.venv/bin/)?python -m ([a-z.]+) (.*)", line)
            if match and match[1] in parsers:
                assert line.startswith(".venv/bin/python"), f"{page}: {line}"
                parsers[match[1]].parse_args(shlex.split(match[2]))
                typed[match[1]] += 1
    assert min(typed.values()) > 0, typed
    assert typed["bench"] + typed["bench.compare"] > 8


def test_files_that_pages_name_exist():
    """Links, and what stands as a path of the checkout between backticks or in commands."""
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
        named = re.findall(r"\b(?:bench|codecs|datasets|reports|docs|tests)/[\w./-]*\w", text)
        for name in named:
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_names_of_codecs_exist():
    shown = {
        name
        for row in re.findall(r"^\| (`.*?) \|", PAGES["docs/codecs.md"], re.MULTILINE)
        for name in re.findall(r"`([a-z0-9-]+)[:`]", row)
    }
    named = {spelling for entry in available() for spelling in (entry.name, *entry.aliases)}
    assert shown == named


def test_all_variants_of_codecs_are_shown():
    """In a row that names the codec, as `name:variant` or `:variant`."""
    shown: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`.*?) \|", PAGES["docs/codecs.md"], re.MULTILINE):
        names = re.findall(r"`([a-z0-9-]+)[:`]", row)
        for name in names:
            shown.setdefault(name, set()).update(re.findall(r":([a-z0-9-]+)", row))
    for entry in available():
        assert set(entry.variants) <= shown[entry.name], entry.name


def test_points_in_comparisons_are_enough_for_curves():
    compared = "\n".join(line for line in commands(TEXT) if "bench.compare" in line)
    listed = re.findall(r"[a-z0-9]@(\d+(?:,\d+)*)(?= |$)", compared, re.MULTILINE)
    assert listed
    assert all(points.count(",") + 1 >= FEWEST for points in listed), listed


def test_make_commands_exist():
    """Every `make ...` names a target and variables of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.findall(r"(?:^    |`)make ([^#`]*?)(?:  +#.*)?[`\n]", TEXT, re.MULTILINE)
    assert len(found) > 4
    for command in found:
        target, *variables = shlex.split(command)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        for variable in variables:
            name, _, value = variable.partition("=")
            assert f"$({name})" in makefile
            if name == "BENCH":
                bench_parser().parse_args(["run", *value.split()])


def test_variables_are_read():
    """Every environment variable that pages set is one that the code looks at."""
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("bench", "codecs", "datasets")
        for path in (ROOT / folder).rglob("*.py")
    )
    shown = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)=", TEXT)) - {"DATASET"}
    assert {"BENCH_DATA", "BENCH_CACHE"} <= shown
    for name in shown:
        assert f'"{name}"' in code, name


def test_the_command_for_compressai_holds_all_that_is_needed():
    line = re.search(r"^    (.*compressai==.*)$", TEXT, re.MULTILINE)
    assert line is not None
    assert set(REQUIREMENTS) <= set(line[1].split())


def test_what_is_said_of_rebuilt_codecs(tools):
    """A changed program is another setting; the command for `version` is one that works."""
    path = tools / "mine.toml"
    text = block("toml", "mycodec-encode")
    path.write_text(text)
    before = create(str(path))
    program = tools / "mycodec-encode"
    program.write_text(f"{program.read_text()}# rebuilt\n")
    after = create(str(path))
    assert before.version == after.version
    assert before.settings != after.settings
    program.write_text(f"#!{sys.executable}\nprint('mycodec 2.5')\n")
    command = re.search(r"`(version = \[.*\])`", TEXT)
    assert command is not None
    path.write_text(text.replace('version = "1.0"', command[1]))
    assert create(str(path)).version == "mycodec 2.5"
