"""`learned-jpeg`: JPEG files that any decoder opens, with learned tables and pre-editing."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image as PillowImage
from PIL.JpegImagePlugin import JpegImageFile
from scipy.fft import dctn

from codecs import ffmpeg, registry
from codecs.base import BitstreamError, Image
from codecs.learned.pixels import pad, to_image, to_tensor
from codecs.learned_jpeg import (
    HUFFMAN,
    LearnedJpeg,
    LearnedJpegCodec,
    LearnedJpegModel,
    geometric_bits,
    scan_start,
    surrogate_round,
)
from tests.conftest import ROOT
from tests.learned_fuzz import COUNT, damaged
from tests.rdonet_toys import crop

pytestmark = pytest.mark.usefixtures("toy_weights")


@pytest.fixture
def codec() -> LearnedJpegCodec:
    made = registry.create("learned-jpeg")
    assert isinstance(made, LearnedJpegCodec)
    return made


def model_of(codec: LearnedJpegCodec) -> LearnedJpegModel:
    model, _ = codec.place(codec.points[0])
    assert isinstance(model, LearnedJpegModel)
    return model


def planes_by_pillow(data: bytes) -> Image:
    opened = PillowImage.open(io.BytesIO(data))
    opened.draft("YCbCr", None)
    return np.asarray(opened)


def planes_by_ffmpeg(data: bytes, height: int, width: int) -> Image:
    """By FFmpeg's own decoder; its IDCT `int` is nearest to that of libjpeg."""
    command = [ffmpeg.executable(), "-v", "error", "-idct", "int", "-f", "mjpeg", "-i", "-"]
    run = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "yuvj444p", "-"],
        input=data,
        capture_output=True,
        check=True,
    )
    return np.frombuffer(run.stdout, np.uint8).reshape(3, height, width).transpose(1, 2, 0)


def jfif(image: Image) -> Image:
    """Y'CbCr by the equations of the JFIF standard, float64[H, W, 3], not rounded."""
    r, g, b = np.moveaxis(image.astype(float), -1, 0)
    planes = (
        0.299 * r + 0.587 * g + 0.114 * b,
        128 - 0.168736 * r - 0.331264 * g + 0.5 * b,
        128 + 0.5 * r - 0.418688 * g - 0.081312 * b,
    )
    return np.stack(planes, -1)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_other_decoders_give_the_same_pixels(codec: LearnedJpegCodec, place: int) -> None:
    """Another build of libjpeg to the bit; FFmpeg, whose inverse DCT rounds in other places, to 1
    of 255 (JPEG fixes the inverse DCT only up to such errors)."""
    image = crop(203, 331)
    data = codec.encode(image, codec.points[place])
    pixels = codec.decode(data)
    assert np.array_equal(simplejpeg.decode_jpeg(data, fastdct=False), pixels)
    # Samples before any conversion to RGB, for which FFmpeg has a formula of its own.
    ours, theirs = planes_by_pillow(data), planes_by_ffmpeg(data, *image.shape[:2])
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.03


def test_files_say_what_was_learned(codec: LearnedJpegCodec) -> None:
    image = crop(64, 72)
    network = model_of(codec).network
    for place, point in enumerate(codec.points):
        opened = PillowImage.open(io.BytesIO(codec.encode(image, point)))
        assert isinstance(opened, JpegImageFile)
        steps = network.steps(torch.tensor([float(place)])).detach().flatten().tolist()
        assert [*opened.quantization[0], *opened.quantization[1]] == steps
        assert opened.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]  # 4:4:4, two tables
        assert not opened.info.get("progressive")
    assert steps != [steps[0]] * len(steps)


def test_training_sees_the_picture_that_decoders_make(codec: LearnedJpegCodec) -> None:
    """What `forward` reconstructs is nearer to the decoded file than either to the original."""
    image = crop(130, 150)
    network = model_of(codec).network
    for place in (0, 4, 7):
        quality = torch.tensor([float(place)])
        with torch.no_grad():
            out = network(pad(to_tensor(image), 8), quality=quality)
        expected = to_image(out.x_hat, *image.shape[:2]).astype(float)
        data = codec.encode(image, codec.points[place])
        decoded = codec.decode(data).astype(float)
        lost = np.square(decoded - image).mean()
        assert np.square(decoded - expected).mean() < 0.2 * lost
        _, rest = codec.diagnostics(image, data)["bytes"].values()
        assert 0.6 < 8 * rest / out.total_bits().item() < 1.7


def test_points_lie_between_the_anchors(codec: LearnedJpegCodec) -> None:
    image = crop(128, 128)
    sizes = [len(codec.encode(image, point)) for point in codec.choices[:: 256 // 2]]
    assert len(codec.points) == 8
    assert len(sizes) == 15
    assert sizes == sorted(sizes)
    trials = codec.trials(image)
    assert trials.size(codec.points[3]) == len(codec.encode(image, codec.points[3]))


def test_coefficients_are_those_of_the_dct(codec: LearnedJpegCodec) -> None:
    network = model_of(codec).network
    image = crop(16, 24)
    ours = network.coefficients(to_tensor(image))
    for plane in range(3):
        block = jfif(image)[8:16, 16:24, plane] - 128
        theirs = dctn(block, norm="ortho").flatten()
        assert np.allclose(ours[0, plane, :, 1, 2].numpy(), theirs, atol=1e-3)
    back = network.samples(ours)[0].permute(1, 2, 0).numpy()
    assert np.allclose(back, jfif(image), atol=1e-3)


def test_bits_are_the_entropy_of_a_geometric_distribution() -> None:
    rng = np.random.default_rng(0)
    k = np.round(rng.laplace(0, 1, (2, 3, 64, 5, 7)) * np.linspace(0.2, 9, 64)[:, None, None])
    expected = np.zeros((2, 3))
    for sample, plane, frequency in np.ndindex(2, 3, 64):
        values = np.abs(k[sample, plane, frequency])
        candidates = np.linspace(1e-4, 0.999, 20000)
        p0 = (1 - candidates) / (1 + candidates)
        bits = -values.size * np.log2(p0) - values.sum() * np.log2(candidates)
        expected[sample, plane] += bits.min()  # the best of all such distributions
    found = geometric_bits(torch.from_numpy(k)).numpy()
    assert np.allclose(found, expected, rtol=1e-3)
    assert 0.5 < HUFFMAN < 1


def test_rounding_has_the_derivative_of_its_surrogate() -> None:
    z = torch.tensor([-1.5, -0.4, 0.0, 0.3, 0.5, 2.2], requires_grad=True)
    out = surrogate_round(z)
    assert out.tolist() == z.round().tolist()
    out.sum().backward()
    h = 1e-3
    assert z.grad is not None
    for value, slope in zip(z.tolist(), z.grad.tolist(), strict=True):
        near = round(value)
        numeric = (4 * (value + h - near) ** 3 - 4 * (value - h - near) ** 3) / (2 * h)
        assert slope == pytest.approx(numeric, abs=1e-3)
    # Without jumps: the surrogate is 1/2 on both sides of a half.
    assert 0 + 4 * 0.5**3 == 1 - 4 * 0.5**3


def test_untrained_it_is_plain_jpeg() -> None:
    """Where the map is 1, the encoder is given the picture."""
    torch.manual_seed(0)
    network = LearnedJpeg(8)
    torch.nn.init.zeros_(network.attention[-1].weight)  # type: ignore[arg-type]
    image = crop(64, 64)
    with torch.no_grad():
        edited = network.pre_edited(to_tensor(image), network.steps(None))[0]
    assert np.allclose(edited.permute(1, 2, 0).numpy(), jfif(image), atol=1e-3)


def test_the_map_edits_all_but_the_mean(codec: LearnedJpegCodec) -> None:
    network = model_of(codec).network
    c = network.coefficients(to_tensor(crop(64, 64)))
    with torch.no_grad():
        edited = network.edited(c, network.steps(torch.tensor([2.0])))
    ratio = edited / c
    assert torch.equal(edited[:, :, 0], c[:, :, 0])
    assert ratio[:, :, 1:].min() >= 0
    assert ratio[:, :, 1:].nan_to_num().max() <= 2
    assert ratio[:, :, 1:].nan_to_num().std() > 0.02


def test_training_reaches_all_parameters(codec: LearnedJpegCodec) -> None:
    network = LearnedJpeg(8, qualities=8, lambdas=(30, 4000))
    out = network.train()(to_tensor(crop(64, 96)), quality=torch.tensor([2.4]))
    (out.total_bits().sum() / 6144 + 1000 * (out.x_hat - 0.5).square().mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert network.log_steps.grad is not None
    assert (network.log_steps.grad.abs().sum(1) > 0).tolist() == [False] * 2 + [True] * 2 + [
        False
    ] * 4


SCRIPT = """
import sys, zlib, bench, torch
from pathlib import Path
import codecs.learned.codec
from codecs import registry
from tests.rdonet_toys import crop

torch.set_num_threads(2)
codecs.learned.codec.WEIGHTS = Path(sys.argv[1])
codec = registry.create("learned-jpeg")
data = codec.encode(crop(203, 331), codec.points[5])
print(zlib.crc32(data), zlib.crc32(codec.decode(data).tobytes()))
"""


def test_another_process_with_other_threads_writes_the_same_file(codec: LearnedJpegCodec) -> None:
    data = codec.encode(crop(203, 331), codec.points[5])
    toys = str(ROOT / "tests" / "data" / "toys")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, toys],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    expected = [zlib.crc32(data), zlib.crc32(codec.decode(data).tobytes())]
    assert [int(word) for word in run.stdout.split()] == expected


def test_bands_change_nothing(codec: LearnedJpegCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large pictures are edited in bands of rows, whose seams do not show."""
    image = crop(1200, 700)
    model = model_of(codec)
    banded, _ = model.edit(image, 3.0)
    monkeypatch.setattr("codecs.learned_jpeg.in_bands", lambda f, x, *sizes, halo: f(x))
    whole, _ = model.edit(image, 3.0)
    assert np.abs(banded.astype(int) - whole).max() <= 1
    assert (banded != whole).mean() < 1e-3


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (65, 127), (8, 16)])
def test_pictures_of_all_sizes_come_back(codec: LearnedJpegCodec, size: tuple[int, int]) -> None:
    image = crop(*size)
    decoded = codec.decode(codec.encode(image, codec.points[-1]))
    assert decoded.shape == image.shape
    assert np.square(decoded.astype(float) - image).mean() < 200


def test_damaged_files_are_refused_or_pictures(codec: LearnedJpegCodec) -> None:
    """JPEG has no check sum: a decoder shows what is left."""
    streams = [codec.encode(crop(*size), codec.points[2]) for size in ((64, 72), (1, 1), (130, 70))]
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for data in damaged(streams, COUNT):
        try:
            decoded = codec.decode(data)
            assert decoded.dtype == np.uint8
            assert decoded.shape[2] == 3
        except BitstreamError:
            refused += 1
    assert refused > COUNT // 10
    assert time.process_time() - start < 5 + COUNT / 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
    with pytest.raises(BitstreamError):
        scan_start(streams[0][:20])


def test_the_codec_says_what_it_is(codec: LearnedJpegCodec) -> None:
    assert codec.settings["chroma"] == "4:4:4"
    assert codec.settings["entropy path"] == "JPEG's Huffman codes"
    assert "libjpeg-turbo" in codec.version
    image = crop(64, 64)
    facts = codec.diagnostics(image, codec.encode(image, codec.points[0]))
    assert facts["model"]["kmac_per_pixel"] > 0
    assert facts["bytes"].keys() == {"header and tables", "coefficients"}
