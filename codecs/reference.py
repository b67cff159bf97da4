"""VTM and HM, the reference software of VVC and HEVC: one intra picture, 4:4:4 or 4:2:0, 10 bit.

Both are built from source by whoever wants them.  The encoder is run with the all-intra
configuration that comes with it; what it says that it has reconstructed must be what every decoder
at hand makes of the stream, sample by sample.  Decoded is by the reference decoder, or where that
is missing by FFmpeg.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codecs import colour, ffmpeg, fingerprint, framing, planes, process
from codecs.base import (
    BitstreamError,
    Codec,
    CodecUnavailable,
    EncodeError,
    Image,
    Point,
    check_image,
)
from codecs.ladder import integer, ladder
from codecs.naming import UnknownCodec, variants_of

BITS = 10
VARIANTS = ("420", "444")
UNIT, SMALLEST = 8, 64
"""Sides are padded to a multiple of the smallest coding unit, so that the software has nothing of
its own to pad or to crop, and small ones to half a coding tree unit of VTM."""
_VERSION_SECONDS = 60
_SECONDS_PER_PIXEL = 2e-2
_MEMORY_PER_PIXEL = 2048


@dataclass(frozen=True, slots=True)
class Software:
    """What one of the two calls its parts."""

    name: str
    variable: str
    """The environment variable that holds its folder."""
    encoders: tuple[str, ...]
    decoders: tuple[str, ...]
    configuration: str
    banner: str
    """Behind which encoder and decoder tell their version."""
    demuxer: str
    """FFmpeg's name of the format."""
    kind: int
    """See `codecs.framing`."""
    ladder: range
    highest_qp: int
    seconds: float
    """CPU time at QP 22 for 768x512 pixels, guessed: it announces long runs."""


VTM = Software(
    name="vtm",
    variable="VTM",
    encoders=("EncoderAppStatic", "EncoderApp"),
    decoders=("DecoderAppStatic", "DecoderApp"),
    configuration="encoder_intra_vtm.cfg",
    banner="VTM",
    demuxer="vvc",
    kind=framing.VTM,
    ladder=range(52, 21, -5),
    highest_qp=63,
    seconds=300,
)
HM = Software(
    name="hm",
    variable="HM",
    encoders=("TAppEncoderStatic", "TAppEncoder"),
    decoders=("TAppDecoderStatic", "TAppDecoder"),
    configuration="encoder_intra_main_rext.cfg",
    banner="HM software:",
    demuxer="hevc",
    kind=framing.HM,
    ladder=range(47, 21, -5),
    highest_qp=51,
    seconds=30,
)


def vtm(variant: str | None = None) -> Codec:
    """`vtm`, the same as `vtm:444`, or `vtm:420`."""
    return ReferenceSoftware(VTM, _chroma("vtm", variant))


def hm(variant: str | None = None) -> Codec:
    """`hm`, the same as `hm:444`, or `hm:420`."""
    return ReferenceSoftware(HM, _chroma("hm", variant))


def vtm_decoder(variant: str | None = None) -> Codec:
    """For streams of `vtm`, also where VTM is not."""
    return ReferenceSoftware(VTM, _chroma("vtm", variant), encoding=False)


def hm_decoder(variant: str | None = None) -> Codec:
    """For streams of `hm`, also where HM is not."""
    return ReferenceSoftware(HM, _chroma("hm", variant), encoding=False)


def _chroma(name: str, variant: str | None) -> str:
    parts = variants_of(name, variant, VARIANTS)
    if len(parts) > 1:
        raise UnknownCodec(f"{name} takes one chroma format")
    return next(iter(parts), "444")


class ReferenceSoftware(Codec):
    """See the module."""

    warm_up = False

    def __init__(self, software: Software, chroma: str, *, encoding: bool = True) -> None:
        """`chroma` is one of `VARIANTS`.  Raises `CodecUnavailable` without an encoder or its
        configuration, unless nothing is to be encoded, and without anything that decodes."""
        self._software, self._chroma = software, chroma
        self._samples = f"yuv{chroma}p{BITS}"
        self._decoder = _tool(software, software.decoders)
        if not encoding:
            self.name = self.label = self.version = software.name
            return
        encoder = _tool(software, software.encoders)
        if encoder is None:
            raise CodecUnavailable(_missing(software))
        self._encoder = encoder
        self._configuration = _configuration(software, encoder.path)
        configuration = f"{software.configuration} ({fingerprint.fingerprint(self._configuration)})"
        self.name = software.name if chroma == "444" else f"{software.name}:{chroma}"
        colons = ":".join(chroma)
        self.label = f"{software.variable} {encoder.version} intra, {colons} {BITS} bit"
        decoder = self._decoder or ffmpeg.version()
        self.version = f"{encoder}; {configuration}; {decoder}; stream 1"
        self.points = ladder("qp", software.ladder)
        self.choices = ladder("qp", range(software.highest_qp, -1, -1))
        self.settings: Mapping[str, str] = {
            "encoder": f"{encoder.path.name}, version {encoder.version}",
            "configuration": configuration,
            "frames": f"1, intra, internal bit depth {BITS}, no picture hash",
            "colour": f"{planes.MATRIX.name}, full range, float conversion, rounded to {BITS} bit",
            "chroma": "4:4:4",
            **(_HALVED if chroma == "420" else {}),
            "sizes": f"edge repeated to multiples of {UNIT} and to {SMALLEST}, cropped at the end",
            "decoder": self._decoder.path.name if self._decoder else f"FFmpeg {software.demuxer}",
        }

    def encode(self, image: Image, point: Point) -> bytes:
        check_image(image)
        height, width = image.shape[:2]
        rows, columns = padded_size(height, width)
        stream, reconstruction = ffmpeg.encode_with(
            str(self._encoder.path),
            planes.packed(colour.pad_edges(image, rows, columns), self._samples),
            "in.yuv",
            self._arguments(str(self._configuration), columns, rows, point),
            *("out.bin", "rec.yuv"),
            pixels=rows * columns,
            seconds_per_pixel=_SECONDS_PER_PIXEL,
        )
        self._check(stream, rows, columns, reconstruction)
        return framing.pack(self._software.kind, height, width, stream)

    def _check(self, stream: bytes, rows: int, columns: int, reconstruction: bytes) -> None:
        """Raise `EncodeError` unless all decoders at hand agree with the encoder."""
        decoders = {None, self._decoder}
        for decoder in decoders:
            what = decoder.path.name if decoder else "FFmpeg"
            try:
                decoded = self._decoded(decoder, stream, rows, columns)
            except BitstreamError as error:
                raise EncodeError(f"{what} cannot decode what was coded: {error}") from error
            if decoded != reconstruction:
                name = self._encoder.path.name
                raise EncodeError(f"{what} decodes to other samples than {name} reconstructed")

    def decode(self, data: bytes) -> Image:
        height, width, stream = framing.unpack(self._software.kind, data)
        rows, columns = padded_size(height, width)
        raw = self._decoded(self._decoder, stream, rows, columns)
        try:
            image = planes.unpacked(raw, self._samples, rows, columns)
        except ValueError as error:
            raise BitstreamError(f"what was decoded {error}") from error
        return image[:height, :width].copy()

    def _decoded(self, decoder: Tool | None, stream: bytes, rows: int, columns: int) -> bytes:
        """The planes of a padded picture by a decoder, None for FFmpeg.  Raises
        `BitstreamError`."""
        size = planes.RAW[self._samples].size(rows, columns)
        if decoder is None:
            demuxer, samples = self._software.demuxer, f"{self._samples}le"
            return ffmpeg.decode(stream, demuxer, samples, rows, columns, size)
        return ffmpeg.decode_with(
            str(decoder.path),
            stream,
            ["-b", "in", "-o", "out", "-d", str(BITS)],
            *(rows, columns, size),
            memory_per_pixel=_MEMORY_PER_PIXEL,
        )

    def command(self, point: Point) -> str:
        # W and H are kept as placeholders, for the size of the padded picture.
        arguments = self._arguments(self._software.configuration, "W", "H", point)
        return " ".join([self._encoder.path.name, *arguments])

    def seconds(self, pixels: int, point: Point) -> float:
        qp = self._qp(point)
        size = pixels / (768 * 512)
        return 0.2 + size * (1 + self._software.seconds * 2 ** ((22 - qp) / 12))

    def _qp(self, point: Point) -> int:
        return integer(point, "qp", 0, self._software.highest_qp)

    def _arguments(
        self, configuration: str, width: int | str, height: int | str, point: Point
    ) -> list[str]:
        out = ["-c", configuration, "-i", "in.yuv", "-b", "out.bin", "-o", "rec.yuv"]
        out += ["-wdt", str(width), "-hgt", str(height), "-fr", "1", "-f", "1"]
        out += ["-q", str(self._qp(point))]
        out += [f"--{which}BitDepth={BITS}" for which in ("Input", "Output", "Internal")]
        out += [f"--InputChromaFormat={self._chroma}", f"--ChromaFormatIDC={self._chroma}"]
        return [*out, "--ConformanceWindowMode=1", "--SEIDecodedPictureHash=0"]


_HALVED = {
    "chroma": "4:2:0, sited in the middle of 2x2 luma samples",
    "chroma down": "2x2 mean",
    "chroma up": "cubic convolution (a = -1/2)",
}


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The size that is coded."""
    return max(height + -height % UNIT, SMALLEST), max(width + -width % UNIT, SMALLEST)


@dataclass(frozen=True, slots=True)
class Tool:
    """An encoder or decoder that has told its version."""

    path: Path
    version: str

    def __str__(self) -> str:
        return f"{self.path.name} {self.version} ({fingerprint.program(str(self.path))})"


def _tool(software: Software, names: tuple[str, ...]) -> Tool | None:
    """The first program of `names` in the folder that the user names, else on the search path.

    Raises `CodecUnavailable` for a program that is something else.
    """
    folder = os.environ.get(software.variable)
    search = os.pathsep.join([folder, os.path.join(folder, "bin")]) if folder else None
    found = (shutil.which(name, path=search) for name in names)
    path = next(filter(None, found), None)
    if path is None:
        return None
    return Tool(Path(path).resolve(), _told_version(os.path.abspath(path), software.banner))


@functools.cache
def _told_version(path: str, banner: str) -> str:
    """What a program prints at its start; without arguments it then ends with an error."""
    # The first lines: what `process.run` keeps is the end of a long help.
    argv = ["/bin/sh", "-c", '"$0" 2>&1 | head -n 8', path]
    try:
        told = process.run(argv, seconds=_VERSION_SECONDS, environment=ffmpeg.ENVIRONMENT).stdout
    except process.ProcessError as error:
        raise CodecUnavailable(f"{path} does not say its version: {error}") from error
    found = re.search(rf"{re.escape(banner)} (?:En|De)coder Version \[?([\w.+-]+)", told)
    if found is None:
        raise CodecUnavailable(f"{path} does not say that it is of {banner.split()[0]}")
    return found[1]


def _configuration(software: Software, encoder: Path) -> Path:
    """The all-intra configuration: in `cfg` of the user's folder, or in or beside the encoder's."""
    folder = os.environ.get(software.variable)
    roots = [*([Path(folder)] if folder else []), encoder.parent, *encoder.parents[1:2]]
    places = [found / software.configuration for root in roots for found in (root / "cfg", root)]
    for place in places:
        if place.is_file():
            return place.resolve()
    raise CodecUnavailable(
        f"{encoder} is there but not its {software.configuration}: copy the folder cfg of the "
        f"sources of {software.variable} beside it, or set {software.variable} to the folder "
        "that holds cfg and bin"
    )


def _missing(software: Software) -> str:
    first, second = software.encoders
    folder = os.environ.get(software.variable)
    where = f"in {folder} or {folder}/bin" if folder else "on the search path"
    return (
        f"no {first} or {second} {where}: build {software.variable}, the reference software, from "
        f"its sources and set {software.variable} to their folder, which holds bin and cfg"
    )
