"""Validation: the rounding network against the pictures, beside JPEG at the same rate."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage

from codecs.base import Image
from codecs.learned.ms_ssim import ms_ssim, ms_ssim_scales
from codecs.learned.network import CodecNetwork
from codecs.learned.pixels import pad, to_image, to_tensor
from codecs.learned.training.checkpoint import write_atomically
from codecs.learned.training.data import Pictures

JPEG_QUALITIES = (1, 3, 5, 8, 11, 15, 20, 27, 35, 45, 55, 65, 75, 83, 90)


@dataclass(frozen=True)
class Score:
    """Of a picture, or means over pictures, except the rate."""

    bits: float
    """Estimated, of all pictures."""
    pixels: int
    psnr: float
    """dB, of 8-bit RGB, averaged over pictures."""
    ms_ssim: float
    """Of 8-bit RGB, averaged over pictures; fewer scales where a picture is below 161 pixels."""

    @property
    def bpp(self) -> float:
        """Bits of all pictures over pixels of all pictures (a corpus rate)."""
        return self.bits / self.pixels


def mean(scores: Sequence[Score]) -> Score:
    """That of several pictures."""
    n = len(scores)
    return Score(
        sum(s.bits for s in scores),
        sum(s.pixels for s in scores),
        sum(s.psnr for s in scores) / n,
        sum(s.ms_ssim for s in scores) / n,
    )


def psnr(original: Image, decoded: Image) -> float:
    """dB, over all samples of uint8[H, W, 3]; 100 for identical pictures."""
    error = original.astype(np.float32) - decoded.astype(np.float32)
    mse = float(np.square(error).mean())
    return 10 * math.log10(255**2 / mse) if mse else 100.0


@torch.inference_mode()
def reconstruct(
    network: CodecNetwork, picture: Image, device: torch.device, quality: float | None = None
) -> tuple[Image, float]:
    """The decoded 8-bit picture and its estimated bits; the network pads by replication.

    Mask bits of codecs with block partitions are not in the estimate (at most 0.0012 bpp).
    """
    height, width, _ = picture.shape
    x = pad(to_tensor(picture, device), network.stride)
    q = None if quality is None else torch.tensor([quality], device=device)
    output = network(x, quality=q)
    return to_image(output.x_hat.float(), height, width), float(output.total_bits()[0])


def evaluate(
    network: CodecNetwork,
    pictures: Sequence[Image],
    device: torch.device,
    quality: float | None = None,
) -> tuple[list[Score], list[Image]]:
    """Score of each picture by a network in evaluation mode, and the decoded pictures."""
    network.eval()
    scores, decoded = [], []
    for picture in pictures:
        out, bits = reconstruct(network, picture, device, quality)
        height, width, _ = picture.shape
        similarity = ms_ssim(
            to_tensor(picture, "cpu"), to_tensor(out, "cpu"), ms_ssim_scales(min(height, width))
        )
        scores.append(Score(bits, height * width, psnr(picture, out), float(similarity)))
        decoded.append(out)
    return scores, decoded


def jpeg_curve(pictures: Sequence[Image]) -> list[tuple[float, float]]:
    """(corpus bpp of whole files, mean PSNR) of Pillow's JPEG: 4:2:0, optimised Huffman tables."""
    curve = []
    pixels = sum(p.shape[0] * p.shape[1] for p in pictures)
    for quality in JPEG_QUALITIES:
        size, total = 0, 0.0
        for picture in pictures:
            stream = io.BytesIO()
            PillowImage.fromarray(picture).save(
                stream, "JPEG", quality=quality, optimize=True, subsampling="4:2:0"
            )
            size += stream.tell()
            total += psnr(picture, np.asarray(PillowImage.open(stream)))
        curve.append((8 * size / pixels, total / len(pictures)))
    return curve


def cached_jpeg_curve(
    pictures: Pictures, numbers: Sequence[int], folder: Path
) -> list[tuple[float, float]]:
    """`jpeg_curve` of the pictures of these `numbers`, kept in `folder` by digest."""
    chosen = hashlib.sha256(f"{pictures.digest} {list(numbers)}".encode()).hexdigest()
    path = folder / f"jpeg-{chosen[:16]}.json"
    if not path.exists():
        curve = jpeg_curve([pictures[i] for i in numbers])
        write_atomically(path, json.dumps(curve).encode())
    return [(float(rate), float(db)) for rate, db in json.loads(path.read_text())]


def at_rate(curve: Sequence[tuple[float, float]], bpp: float) -> float | None:
    """PSNR of a curve at `bpp`, linear in log rate; `None` outside its range."""
    rates = [math.log(rate) for rate, _ in curve]
    if not bpp > 0 or not rates[0] <= math.log(bpp) <= rates[-1]:
        return None
    return float(np.interp(math.log(bpp), rates, [db for _, db in curve]))


def save_samples(path: Path, pairs: Sequence[tuple[Image, Image]], side: int = 256) -> None:
    """A PNG of originals above, reconstructions below: the middles of up to four pictures."""
    columns = []
    for original, decoded in pairs[:4]:
        height, width, _ = original.shape
        y, x = max(0, height - side) // 2, max(0, width - side) // 2
        cut = (slice(y, y + side), slice(x, x + side))
        tile = np.zeros((2 * side, side, 3), np.uint8)
        for row, picture in enumerate((original[cut], decoded[cut])):
            h, w, _ = picture.shape
            tile[row * side : row * side + h, :w] = picture
        columns.append(tile)
    stream = io.BytesIO()
    PillowImage.fromarray(np.concatenate(columns, 1)).save(stream, "PNG")
    write_atomically(path, stream.getvalue())
