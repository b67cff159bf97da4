"""The contract between the harness and anything that turns pixels into bytes and back.

A codec is a class with a name, a rate ladder and two methods; see `Codec`.  Nothing here knows
of data sets, metrics or reports, and nothing here imports a codec library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""An sRGB picture without alpha: uint8[H, W, 3]."""

MAX_PIXELS = 1 << 27
"""Largest picture (134 Mpx) that is decoded or loaded: a limit on hostile headers."""


class CodecError(Exception):
    """A codec could not do its work; the message says why and what to do about it."""


class BitstreamError(CodecError):
    """The bytes are not a stream that this codec (with these weights) can decode."""


class CodecUnavailable(CodecError):
    """The codec cannot run here: a tool, package or weights file is missing, or somebody's own
    code fails when the codec is made.  The message says what to install or to repair."""


class EncodeError(CodecError):
    """The encoder failed on this picture: exit status, time limit, empty output."""


class PictureRefused(Exception):
    """An encoded file is no picture that can be compared; `reason` says why and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Point:
    """One operating point of a rate ladder: the one parameter that is turned, and its value."""

    parameter: str
    value: int | float | str

    @property
    def label(self) -> str:
        return f"{self.parameter} {self.value}"


class Codec(ABC):
    """Pixels to bytes and back.

    Subclasses set the attributes below (in `__init__` or on the class) and implement `encode` and
    `decode`.  Everything that changes the bytes or the picture must show in `version`, `settings`
    or the point: measurements are keyed by them, and a reader of the report sees only them.
    """

    name: str
    """What users type and tables show, variant included: `vvenc:medium`."""
    label: str
    """What legends show: `VVenC medium, 4:2:0 10 bit`."""
    version: str
    """What ran: library and encoder versions, weights digest."""
    points: tuple[Point, ...]
    """The rate ladder, low rate to high."""
    choices: Sequence[Point] = ()
    """What coding to a rate may choose from, low rate to high; empty: the ladder and whatever lies
    between its points, see `codecs.ladder.filled`."""
    settings: Mapping[str, str] = {}
    """Every setting that is the same at all points: chroma format, matrix, filters, preset ..."""
    device: str = "cpu"
    warm_up: bool = True
    """Whether the first call is slower than the next ones (not so for subprocesses)."""
    estimates: bool = False
    """Whether `trials` tells sizes without coding, about."""
    tuned_for: tuple[str, ...] = ()
    """Metrics (by name) that were part of the training loss: tables mark them."""

    decoded_notes: tuple[str, ...] = ()
    """What had to be converted to make the picture that `decode` has returned last, for reports:
    see `codecs.pictures`."""

    @abstractmethod
    def encode(self, image: Image, point: Point) -> bytes:
        """The complete file: size, header, everything that `decode` needs.

        Raises `EncodeError` when the encoder fails, `CodecUnavailable` when it is not there.
        """

    @abstractmethod
    def decode(self, data: bytes) -> Image:
        """The picture, from the bytes alone.  Raises `BitstreamError` for anything else."""

    def trials(self, image: Image) -> Trials:
        """For coding `image` at one point after another, until its file has the size asked for."""
        return Trials(self, image)

    def command(self, point: Point) -> str | None:
        """The command line that reproduces `encode`, where there is one."""
        return None

    def seconds(self, pixels: int, point: Point) -> float:
        """A rough estimate of encode + decode time on one core, to announce long runs."""
        return 0.1 + pixels * 1e-7

    def diagnostics(self, image: Image, data: bytes) -> Mapping[str, Any]:
        """JSON-ready facts about a stream; never needed to decode.

        The report shows them without knowing the codec:

        * numbers, alone or in nested mappings (`{"coding_runs": 3, "bytes": {"header": 12}}`), as
          means over the pictures; their names carry the unit;
        * `maps`, a list of `{"name": "levels", "cell": 16, "rows": ["1122", ...]}`: a value for
          each square of `cell` pixels, as rows of numbers or of digits.  With a `legend`, a list of
          `[value, text, side of a block in pixels]`, they are levels; else amounts in a `unit`;
        * `model`, of a learned codec: `kmac_per_pixel`, `bytes`, `training_hours` of a core.

        Anything else is stored with the measurement and not shown.
        """
        return {}


class Trials:
    """One picture at many points.  Codecs that have parts which no point changes keep them here."""

    def __init__(self, codec: Codec, image: Image) -> None:
        self.codec, self.image = codec, image
        self._streams: dict[Point, bytes] = {}

    def size(self, point: Point) -> float:
        """Bytes of the file at a point, or an estimate where the codec `estimates`.

        Raises what `Codec.encode` raises.
        """
        return len(self.encode(point))

    def encode(self, point: Point) -> bytes:
        """See `Codec.encode`; a point that was coded before costs nothing."""
        if point not in self._streams:
            self._streams[point] = self.code(point)
        return self._streams[point]

    def code(self, point: Point) -> bytes:
        """`encode`, which remembers it."""
        # Codecs may work in place.
        return self.codec.encode(self.image.copy(), point)


def check_image(image: Image) -> None:
    """Raise `ValueError` unless `image` is uint8[H, W, 3] with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"expected uint8[H, W, 3] with H, W >= 1, got {image.dtype}{list(image.shape)}"
        )


def wrong_size(shape: tuple[int, ...], width: int, height: int) -> str:
    """What is wrong where a picture of `width` x `height` pixels was decoded to `shape`, which is
    (H, W, 3), and how it is mended; empty where nothing is."""
    if tuple(shape) == (height, width, 3):
        return ""
    found = f"decoded to {shape[1]} x {shape[0]} pixels instead of {width} x {height}"
    if shape[0] >= height and shape[1] >= width:
        return f"{found}: the decoder must crop what the encoder padded"
    return f"{found}: the stream must tell the decoder the size of the picture"
