"""VMAF (Netflix) of still pictures, by the libvmaf in FFmpeg.

The model looks at luma alone, and was trained on video: BT.709 luma, rounded to 8 bits in limited
range (16 to 235).  libvmaf is handed 4:4:4 planes whose chroma is grey, so FFmpeg converts nothing.
A still picture has no motion, so that identical pictures score 97.43, not 100.
"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numpy as np

from bench.metrics.base import Metric, MetricUnavailable
from bench.metrics.packaged import require_size
from bench.metrics.psnr import LUMA_BT709
from codecs import ffmpeg, process
from codecs.base import CodecUnavailable, Image

MODEL = "vmaf_v0.6.1"
SMALLEST = 17
"""Pixels that a side must have: with fewer, libvmaf crashes."""
SECONDS, SECONDS_PER_PIXEL = 60.0, 2e-5


class Vmaf(Metric):
    """VMAF, 0 to 100, by the default model."""

    name, label, higher_is_better = "vmaf", "VMAF", True
    seconds_per_pixel = 6e-7

    def __init__(self) -> None:
        try:
            _require_filter()
            self.version = f"{MODEL}, BT.709 luma in limited range, {ffmpeg.version()}"
        except CodecUnavailable as error:
            raise MetricUnavailable(str(error)) from error

    def prepare(self, reference: Image) -> bytes:
        require_size(self, reference, SMALLEST)
        return _planes(reference)

    def score(self, prepared: bytes, decoded: Image) -> float:
        height, width, _ = decoded.shape
        raw = ("-f", "rawvideo", "-pix_fmt", "yuv444p", "-video_size", f"{width}x{height}")
        measure = f"libvmaf=model=version={MODEL}:n_threads=1:log_fmt=json:log_path=log"
        with tempfile.TemporaryDirectory(prefix="vmaf-") as folder:
            directory = Path(folder)
            (directory / "decoded").write_bytes(_planes(decoded))
            (directory / "original").write_bytes(prepared)
            inputs = (*raw, "-i", "decoded", *raw, "-i", "original")
            output = process.run(
                [ffmpeg.executable(), *ffmpeg.QUIET, *inputs, "-lavfi", measure, "-f", "null", "-"],
                seconds=SECONDS + SECONDS_PER_PIXEL * width * height,
                directory=directory,
                environment=ffmpeg.ENVIRONMENT,
            )
            if not (directory / "log").is_file():
                raise process.ProcessError(f"libvmaf wrote no score: {output.stderr[-500:]}")
            log = json.loads((directory / "log").read_text(encoding="utf-8"))
        return float(log["frames"][0]["metrics"]["vmaf"])


def _planes(image: Image) -> bytes:
    """Y, Cb and Cr of 8 bits, with grey chroma."""
    luma = np.rint(16 + 219 / 255 * (image @ LUMA_BT709)).astype(np.uint8)
    return luma.tobytes() + bytes([128]) * (2 * luma.size)


@functools.cache
def _require_filter() -> None:
    """Raise `CodecUnavailable` unless FFmpeg was built with libvmaf."""
    if not ffmpeg.has_filter("libvmaf"):
        raise CodecUnavailable(
            "this FFmpeg was built without libvmaf: install imageio-ffmpeg >= 0.8, and leave "
            "IMAGEIO_FFMPEG_EXE unset"
        )
