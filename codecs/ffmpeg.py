"""The FFmpeg that the package imageio-ffmpeg brings, as a bounded subprocess on raw pictures.

It is handed raw planes in a private folder and gives back a raw stream, or the other way round.
What is decoded may be hostile, so: the format is forced (no probing), only plain files may be
opened, damage is an error, and picture size, memory, output and time are limited.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from codecs import fingerprint, process
from codecs.base import BitstreamError, CodecUnavailable, EncodeError

QUIET = ("-v", "error", "-nostdin", "-protocol_whitelist", "file")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}

# Decoders hold a few frames and about 100 bytes of side information per pixel.
_DECODER_BYTES = 2 << 30
_DECODER_BYTES_PER_PIXEL = 128
_PROBE_SECONDS = 60

# Time limits, with room for a loaded machine: the slowest preset takes about 1.5e-4 s a pixel.
ENCODE_SECONDS = 600.0
ENCODE_SECONDS_PER_PIXEL = 2e-3
DECODE_SECONDS = 60.0
DECODE_SECONDS_PER_PIXEL = 2e-5


@functools.cache
def executable() -> str:
    """Path of the FFmpeg in use.  Raises `CodecUnavailable`."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise CodecUnavailable(
            "no FFmpeg: install imageio-ffmpeg >= 0.8, or set IMAGEIO_FFMPEG_EXE"
        ) from error


@functools.cache
def version() -> str:
    """What FFmpeg calls itself, and the program's digest, because the libraries inside say little:
    `FFmpeg n9.0.2-17-g2a571b6068-20260930 (0123456789abcdef)`."""
    words = _probe(["-version"], "this FFmpeg").stdout.split()
    return f"FFmpeg {words[2]} ({fingerprint.program(executable())})"


@functools.cache
def encoder_version(encoder: str) -> str:
    """The version that an encoder library logs when it codes a tiny black picture.

    `encoder` is `libvvenc` or `libx265`.  Raises `CodecUnavailable` where FFmpeg lacks it.
    """
    source = ["-f", "lavfi", "-i", "color=size=64x64", "-frames:v", "1", "-threads", "1"]
    log = _probe([*source, "-c:v", encoder, "-f", "null", "-"], encoder).stderr
    found = re.search(r"(?:libvvenc|HEVC encoder) version:? ([\w.+-]+)", log)
    return f"{encoder} {found[1] if found else 'of unknown version'}"


def require_encoder(encoder: str) -> None:
    """Raise `CodecUnavailable` unless FFmpeg was built with `encoder`."""
    if not _probe(["-h", f"encoder={encoder}"], encoder).stdout.startswith(f"Encoder {encoder} "):
        raise CodecUnavailable(_missing(encoder))


def has_filter(name: str) -> bool:
    """Whether FFmpeg was built with a filter, such as `libvmaf`.  Raises `CodecUnavailable`."""
    return _probe(["-h", f"filter={name}"], name).stdout.startswith(f"Filter {name}\n")


def encode(
    picture: bytes, name: str, arguments: Sequence[str], output: str, *, pixels: int
) -> bytes:
    """Run `ffmpeg arguments`, which read the file `name` and write the file `output`.

    Raises `EncodeError`, also where FFmpeg ends well and writes nothing.
    """
    return encode_with(executable(), picture, name, (*QUIET, *arguments), output, pixels=pixels)[0]


def encode_with(
    tool: str,
    picture: bytes,
    name: str,
    arguments: Sequence[str],
    *outputs: str,
    pixels: int,
    seconds_per_pixel: float = ENCODE_SECONDS_PER_PIXEL,
) -> list[bytes]:
    """The same with another program than FFmpeg, and of all files that it writes."""
    with tempfile.TemporaryDirectory(prefix="codec-") as folder:
        directory = Path(folder)
        (directory / name).write_bytes(picture)
        try:
            process.run(
                [tool, *arguments],
                seconds=ENCODE_SECONDS + seconds_per_pixel * pixels,
                directory=directory,
                environment=ENVIRONMENT,
                file_bytes=process.FILE_BYTES + 16 * pixels,
            )
        except process.ProcessError as error:
            raise EncodeError(str(error)) from error
        files = [directory / output for output in outputs]
        written = [file.read_bytes() if file.is_file() else b"" for file in files]
    if not written[0]:
        raise EncodeError(f"{Path(tool).name} ended well but wrote no stream")
    return written


def decode(
    data: bytes, demuxer: str, pixel_format: str, height: int, width: int, size: int
) -> bytes:
    """Decode the one picture of a stream to raw planes of exactly `size` bytes.

    `height` x `width` is what the stream's own header promised; a stream that turns out to hold
    more pixels is refused before they are allocated.  Raises `BitstreamError`.
    """
    # Coded pictures are rounded up to whole blocks, of at most 128 samples.
    limit = (height + 128) * (width + 128)
    arguments = [*QUIET, "-xerror", "-err_detect", "explode", "-max_pixels", str(limit)]
    arguments += ["-threads", "1", "-f", demuxer, "-i", "in", "-frames:v", "1"]
    arguments += ["-f", "rawvideo", "-pix_fmt", pixel_format, "-y", "out"]
    return decode_with(executable(), data, arguments, height, width, size)


def decode_with(
    tool: str,
    data: bytes,
    arguments: Sequence[str],
    height: int,
    width: int,
    size: int,
    *,
    memory_per_pixel: int = _DECODER_BYTES_PER_PIXEL,
) -> bytes:
    """The same with another program, which reads the file `in` and writes the file `out`."""
    pixels = height * width
    with tempfile.TemporaryDirectory(prefix="codec-") as folder:
        directory = Path(folder)
        (directory / "in").write_bytes(data)
        try:
            process.run(
                [tool, *arguments],
                seconds=DECODE_SECONDS + DECODE_SECONDS_PER_PIXEL * pixels,
                directory=directory,
                environment=ENVIRONMENT,
                memory=_DECODER_BYTES + memory_per_pixel * pixels,
                file_bytes=size + (1 << 20),
            )
        except process.ProcessError as error:
            raise BitstreamError(f"not decodable: {error}") from error
        written = directory / "out"
        actual = written.stat().st_size if written.is_file() else 0
        if actual != size:
            raise BitstreamError(
                f"decoded to {actual} bytes instead of the {size} of {width} x {height} pixels"
            )
        return written.read_bytes()


def _probe(arguments: Sequence[str], what: str) -> process.Output:
    argv = [executable(), "-hide_banner", "-nostdin", *arguments]
    try:
        return process.run(argv, seconds=_PROBE_SECONDS, environment=ENVIRONMENT)
    except process.ProcessError as error:
        raise CodecUnavailable(f"{_missing(what)} ({error})") from error


def _missing(what: str) -> str:
    return (
        f"{what} does not work in {executable()}: install imageio-ffmpeg >= 0.8 "
        "(or point IMAGEIO_FFMPEG_EXE to an FFmpeg that has it)"
    )
