"""Somebody's codec as two command lines in a TOML file, without any Python.

    name = "mycodec"                  # letters, digits and . _ + -
    label = "My codec"                # optional, for legends
    version = "1.2"                   # or a command that prints it: ["mycodec", "--version"]
    encode = "mycodec -q {value} {input} -o {output}"
    decode = ["mycodec", "-d", "{input}", "-o", "{output}"]
    parameter = "quality"             # what {value} is
    points = [10, 25, 40, 55, 70, 85] # low rate first
    input = "png"                     # optional: what the encoder reads, see `INPUTS`
    output = "png"                    # optional: what the decoder writes, see `OUTPUTS`
    extension = "bin"                 # optional: of the stream, for tools that look at it
    time_limit = 600                  # optional: seconds for one command

    [settings]                        # optional: shown in the report
    chroma = "4:2:0"

    [variants.fast]                   # optional: `./mine.toml:fast` has these keys instead
    encode = "mycodec --fast -q {value} {input} -o {output}"

`docs/toml.md` has the whole of it for users.

A command is a list of arguments, or a string that is split as a shell would; no shell runs.
It runs in a folder that is empty but for its input; `{here}` is the folder of the TOML file, and so
is the `.` of `./tool`.
What it prints is ignored, but for the last lines of an error.  A decoder reports a damaged
stream by an exit status other than 0.  Its picture is read as originals are (`codecs.pictures`),
but for more than 8 bits a channel, which are rounded; the report says what was converted.

Planes (`codecs.planes`) do not say how large the picture was: where a tool reads or writes them,
`codecs.framing` puts that before the stream, and `{width}` and `{height}` are what it is handed.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from codecs import colour, declared, fingerprint, framing, planes, process
from codecs.base import (
    MAX_PIXELS,
    BitstreamError,
    Codec,
    CodecError,
    CodecUnavailable,
    EncodeError,
    Image,
    PictureRefused,
    Point,
    check_image,
)
from codecs.ladder import ladder
from codecs.naming import UnknownCodec, check_spelling, suggestion
from codecs.pictures import decode_image

REQUIRED = ("name", "version", "encode", "decode", "parameter", "points")
OPTIONAL = ("label", "input", "output", "extension", "time_limit", "settings", "variants")
FIXED = ("name", "variants")
"""What a variant cannot change."""
ENCODE_PLACEHOLDERS = ("input", "output", "value")
DECODE_PLACEHOLDERS = ("input", "output")
SIZE_PLACEHOLDERS = ("width", "height")
FORMATS = {"png": "PNG", "ppm": "PPM"}
INPUTS = (*FORMATS, *planes.RAW, *planes.Y4M)
OUTPUTS = (*FORMATS, *planes.RAW, "y4m")
TIME_LIMIT = 600.0
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Commands:
    """A TOML file's content, checked."""

    name: str
    label: str
    version: str
    encode: tuple[str, ...]
    decode: tuple[str, ...]
    points: tuple[Point, ...]
    input: str
    output: str
    extension: str
    time_limit: float
    settings: Mapping[str, str]

    @property
    def framed(self) -> bool:
        """Whether a tool works on planes, which do not say how large the picture was."""
        return not {self.input, self.output} <= FORMATS.keys()


def load(path: Path, variant: str | None = None) -> Codec:
    """The codec that the TOML file at `path` describes.

    Raises `CodecError` for a mistake in the file, `UnknownCodec` for a variant that it has not,
    `CodecUnavailable` for a missing tool.
    """
    return CommandCodec(read(path, variant))


def read(path: Path, variant: str | None = None) -> Commands:
    """Read and check the file, find its tools, ask for the version."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CodecError(f"{path}: {error}") from error
    try:
        return _check(_chosen(table, variant), variant, path.resolve().parent)
    except UnknownCodec as error:
        raise UnknownCodec(f"{path}: {error}") from error
    except ValueError as error:
        raise CodecError(f"{path}: {error}") from error


class CommandCodec(Codec):
    """A codec that runs somebody's encoder and decoder."""

    warm_up = False

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self.name, self.label, self.version = commands.name, commands.label, commands.version
        self.points = commands.points
        self.settings = {
            **commands.settings,
            "encode command": declared.spelled(shlex.join(commands.encode)),
            "decode command": declared.spelled(shlex.join(commands.decode)),
            "formats": f"{commands.input} -> {commands.extension} -> {commands.output}",
            "decoded pictures": "8 bits a channel, deeper ones rounded",
            fingerprint.SETTING: fingerprint.described(_files(commands)),
            **({"colour conversion": planes.CONVERSION} if commands.framed else {}),
        }

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        commands = self._commands
        height, width = image.shape[:2]
        size = planes.even(height, width) if commands.framed else (height, width)
        files = (f"in.{_ending(commands.input)}", f"out.{commands.extension}")
        limit = process.FILE_BYTES + 16 * image.size
        picture = self._picture(image, size)
        values = {**_named(size), "value": str(point.value)}
        try:
            data = _run(commands, commands.encode, *files, picture, limit, values)
        except process.ProcessError as error:
            raise EncodeError(f"{error}{self._hint(size, str(error))}") from error
        if not data:
            raise EncodeError(f"{commands.encode[0]} ended well but wrote no stream")
        return framing.pack(framing.COMMAND, height, width, data) if commands.framed else data

    def _picture(self, image: Image, size: tuple[int, int]) -> bytes:
        """What the encoder reads."""
        given = self._commands.input
        if given not in FORMATS:
            return planes.packed(image, given)
        file = io.BytesIO()
        PillowImage.fromarray(colour.pad_edges(image, *size)).save(file, FORMATS[given])
        return file.getvalue()

    def _hint(self, size: tuple[int, int], error: str) -> str:
        """For those whose tool reads other pictures, or looks at the names of its files."""
        if "exit status" not in error:
            return ""
        given, extension = self._commands.input, self._commands.extension
        other = [name for name in INPUTS if name != given]
        return (
            f"\n(it was given {size[1]}x{size[0]} pixels as {given} and told to write "
            f"out.{extension}; if that is what it does not take, set `input` to one of "
            f"{', '.join(other)}, or `extension`: docs/toml.md)"
        )

    def decode(self, data: bytes) -> Image:
        commands = self._commands
        files = (f"in.{commands.extension}", f"out.{_ending(commands.output)}")
        size = (0, 0)
        if commands.framed:
            height, width, data = framing.unpack(framing.COMMAND, data)
            size = planes.even(height, width)
        try:
            written = _run(commands, commands.decode, *files, data, 16 * MAX_PIXELS, _named(size))
        except process.ProcessError as error:
            raise BitstreamError(str(error)) from error
        if not written:
            raise BitstreamError(f"{commands.decode[0]} ended well but wrote no picture")
        if commands.output not in FORMATS:
            try:
                return planes.unpacked(written, commands.output, height, width)
            except ValueError as error:
                raise BitstreamError(f"the decoded {commands.output} {error}") from error
        try:
            image, self.decoded_notes = decode_image(
                written, (FORMATS[commands.output],), round_deep=True
            )
        except PictureRefused as error:
            raise BitstreamError(f"the decoded {commands.output} {error.reason}") from error
        if commands.framed and image.shape[:2] == size:
            image = image[:height, :width].copy()
        return image

    def command(self, point: Point) -> str:
        commands = self._commands
        names = {"input": f"in.{_ending(commands.input)}", "output": f"out.{commands.extension}"}
        size = {"width": "W", "height": "H"}
        filled = _filled(commands.encode, {**names, **size, "value": str(point.value)})
        return declared.spelled(shlex.join(filled))

    def seconds(self, pixels: int, point: Point) -> float:
        # Nothing is known of the tool; a second for a picture of 0.4 Mpx announces a long run.
        return 0.2 + pixels * 2.5e-6


def _run(
    commands: Commands,
    template: tuple[str, ...],
    source: str,
    target: str,
    content: bytes,
    file_bytes: int,
    known: Mapping[str, str],
) -> bytes:
    """Run one command in an empty folder; what it wrote, empty if nothing."""
    with tempfile.TemporaryDirectory(prefix="codec-") as folder:
        directory = Path(folder)
        (directory / source).write_bytes(content)
        names = {"input": str(directory / source), "output": str(directory / target)}
        process.run(
            _filled(template, {**known, **names}),
            seconds=commands.time_limit,
            directory=directory,
            file_bytes=file_bytes,
        )
        written = directory / target
        # Not a link that would lead out of the folder.
        return written.read_bytes() if written.is_file() and not written.is_symlink() else b""


def _ending(picture: str) -> str:
    """Of the file's name."""
    return "yuv" if picture in planes.RAW else "y4m" if picture in planes.Y4M else picture


def _named(size: tuple[int, int]) -> dict[str, str]:
    """Height and width as placeholders."""
    return {"height": str(size[0]), "width": str(size[1])}


def _files(commands: Commands) -> list[Path]:
    """The files that the commands name, at every point: `{here}/weights-{value}.bin` is many.

    A change of one makes all points new, because decoders are not told which point they decode.
    Raises `CodecUnavailable` for one that is missing at a point.
    """
    arguments = [*commands.decode]
    for part in commands.encode:
        for point in commands.points:
            (argument,) = _filled((part,), {"value": str(point.value)})
            arguments.append(argument)
            if argument != part:
                _require(argument, point)
    return fingerprint.named_files(arguments)


def _require(argument: str, point: Point) -> None:
    """Refuse an argument that is, at one point, the path of a file that is not there."""
    for text in fingerprint.whole(argument):
        path = Path(text)
        # With `{input}` it is rather a line for a shell; in the root folder, an option: `/q5`.
        if _PLACEHOLDER.search(text) or not path.is_absolute() or not path.parent.name:
            continue
        if not os.path.exists(path):
            raise CodecUnavailable(
                f"{path} is missing, which encode names at {point.label}: put it there, or give "
                "a relative path to what the encoder writes"
            )


def _filled(template: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """The arguments with known placeholders replaced; other braces stay as they are."""
    return [_PLACEHOLDER.sub(lambda m: values.get(m[1], m[0]), part) for part in template]


def _chosen(table: dict[str, Any], variant: str | None) -> dict[str, Any]:
    """The file's keys with those of a variant in their places, `settings` one by one."""
    variants = table.pop("variants", {})
    if not isinstance(variants, dict) or not all(isinstance(v, dict) for v in variants.values()):
        raise ValueError("variants: expected tables, such as [variants.fast]")
    for name, keys in variants.items():
        for key in keys:
            if key in FIXED or key not in REQUIRED + OPTIONAL:
                known = [each for each in REQUIRED + OPTIONAL if each not in FIXED]
                raise ValueError(f"variants.{name}: {key!r} is no key{suggestion(key, known)}")
    if variant is None:
        return table
    if variant not in variants:
        hint = suggestion(variant, variants) or "; it has no [variants]"
        raise UnknownCodec(f"unknown variant {variant!r}{hint}")
    own = variants[variant]
    changed = {**table, **own, "settings": {**_settings(table), **_settings(own)}}
    if "label" in table and "label" not in own:
        changed["label"] = f"{_text(table, 'label')} {variant}"
    return changed


def _check(table: Mapping[str, Any], variant: str | None, here: Path) -> Commands:
    """Raises `ValueError` that says which key is wrong and how."""
    for key in table:
        if key not in REQUIRED + OPTIONAL:
            raise ValueError(f"unknown key {key!r}{suggestion(key, REQUIRED + OPTIONAL)}")
    for key in REQUIRED:
        if key not in table:
            raise ValueError(f"{key} is missing")
    name = check_spelling(_text(table, "name"))
    if ":" in name:
        raise ValueError("name: a colon would make it a variant")
    if variant is not None:
        name = check_spelling(f"{name}:{variant}")
    limit = table.get("time_limit", TIME_LIMIT)
    if type(limit) not in (int, float) or not 0 < limit <= 86400:
        raise ValueError("time_limit: expected seconds, above 0 and at most 86400")
    given, taken = _format(table, "input", INPUTS), _format(table, "output", OUTPUTS)
    framed = not {given, taken} <= FORMATS.keys()
    extension = _text(table, "extension", "bin")
    if not re.fullmatch(r"[A-Za-z0-9]{1,10}", extension):
        raise ValueError("extension: expected up to ten letters and digits")
    # The order of the checks: everything in the file first, then what is outside of it.
    encode = _template(table, "encode", ENCODE_PLACEHOLDERS, SIZE_PLACEHOLDERS, here)
    told = SIZE_PLACEHOLDERS if framed else ()
    decode = _template(table, "decode", DECODE_PLACEHOLDERS, told, here)
    return Commands(
        name=name,
        label=_text(table, "label", name),
        points=_points(table),
        input=given,
        output=taken,
        extension=extension,
        time_limit=float(limit),
        settings={str(key): str(value) for key, value in _settings(table).items()},
        encode=_found(encode),
        decode=_found(decode),
        version=_version(table, here),
    )


def _text(table: Mapping[str, Any], key: str, default: str = "") -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: expected a string")
    return value


def _settings(table: Mapping[str, Any]) -> dict[str, Any]:
    settings = table.get("settings", {})
    if not isinstance(settings, dict):
        raise ValueError("settings: expected a table")
    return settings


def _format(table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = _text(table, key, "png")
    if value not in known:
        raise ValueError(f"{key}: expected one of {', '.join(known)}; got {value!r}")
    return value


def _points(table: Mapping[str, Any]) -> tuple[Point, ...]:
    values = table["points"]
    if not isinstance(values, list) or not values:
        raise ValueError("points: expected a list of values, low rate first")
    if any(type(value) not in (int, float, str) for value in values):
        raise ValueError("points: expected numbers or strings")
    try:
        return declared.points(ladder(_text(table, "parameter"), values))
    except CodecError as error:
        raise ValueError(f"points: {error}") from error


def _arguments(table: Mapping[str, Any], key: str, here: Path) -> tuple[str, ...]:
    value = table[key]
    if isinstance(value, str):
        value = shlex.split(value)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ValueError(f"{key}: expected a command, as a string or a list of strings")
    arguments = _filled(tuple(value), {"here": str(here)})
    return (_beside(arguments[0], here, True), *(_beside(a, here, False) for a in arguments[1:]))


def _beside(argument: str, here: Path, program: bool) -> str:
    """`./tool` as the file beside the TOML file; other words than the program may be no files."""
    path = here / argument
    return str(path) if argument.startswith("./") and (program or path.exists()) else argument


def _template(
    table: Mapping[str, Any],
    key: str,
    wanted: tuple[str, ...],
    optional: tuple[str, ...],
    here: Path,
) -> tuple[str, ...]:
    arguments = _arguments(table, key, here)
    used = [m[1] for part in arguments for m in _PLACEHOLDER.finditer(part)]
    for name in used:
        if name not in wanted + optional:
            hint = suggestion(name, [*wanted, *optional, "here"])
            if name in SIZE_PLACEHOLDERS:
                hint = ": a decoder is told the size only where a tool works on planes"
            raise ValueError(f"{key}: unknown placeholder {{{name}}}{hint}")
    for name in wanted:
        if name not in used:
            raise ValueError(f"{key}: the placeholder {{{name}}} is missing")
    return arguments


def _found(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The command with the path of its tool looked up."""
    tool = shutil.which(arguments[0])
    if tool is None:
        raise CodecUnavailable(f"{arguments[0]} not found: install it or put it on the search path")
    return (str(Path(tool).absolute()), *arguments[1:])


def _version(table: Mapping[str, Any], here: Path) -> str:
    if isinstance(table["version"], str):
        return _text(table, "version")
    command = _found(_arguments(table, "version", here))
    try:
        output = process.run(command, seconds=60)
    except process.ProcessError as error:
        raise CodecUnavailable(f"asking for the version: {error}") from error
    lines = (output.stdout.strip() or output.stderr.strip()).splitlines()
    if not lines:
        raise ValueError("version: the command printed nothing")
    return lines[0][:200]
