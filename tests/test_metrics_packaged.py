"""The metrics of other packages and programs: their own values, published ones, and where there
are none."""

from __future__ import annotations

import importlib.metadata
import io
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import piq
import plenoptic
import pytest
import pytorch_msssim
import torch
from PIL import Image as Pillow
from skimage import data
from skimage.color import deltaE_ciede2000, rgb2lab
from torchvision import models

from bench import __main__ as bench_main
from bench import metrics
from bench.metrics import MetricsEngine, MetricUnavailable, butteraugli, dists, weights
from bench.metrics.origins import ORIGINS
from bench.record.store import Store
from bench.run.settings import wanted_metrics
from bench.verdict.curve import on_scale
from codecs import ffmpeg
from codecs.base import Image
from reports.wording import metric_text

torch.set_num_threads(1)

ORIGINAL = np.ascontiguousarray(data.astronaut()[40:221, 100:315])
"""181 x 215: an odd size."""
LUMA = np.array([0.2126, 0.7152, 0.0722])
BUTTERAUGLI = shutil.which(butteraugli.PROGRAM)
needs_butteraugli = pytest.mark.skipif(
    BUTTERAUGLI is None and "CI" not in os.environ, reason="`make metrics` installs butteraugli"
)


def jpeg(image: Image, quality: int) -> Image:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file))


def score(name: str, original: Image, decoded: Image) -> float:
    metric = metrics.create(name)
    return metric.score(metric.prepare(original), decoded)


def luma(image: Image) -> torch.Tensor:
    """float64[1, 1, H, W], 0 to 255."""
    return torch.from_numpy(image.astype(float) @ LUMA)[None, None]


def rgb(image: Image) -> torch.Tensor:
    """float32[1, 3, H, W], 0 to 1."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def psnr_hvs_m(original: Image, decoded: Image) -> float:
    """By the package's other implementation, in C++, which refuses what is not padded."""
    from psnr_hvsm._psnr_hvsm import psnr_hvs_hvsm

    def padded(image: Image) -> np.ndarray:
        rows, columns = (np.minimum(np.arange(-(-n // 8) * 8), n - 1) for n in image.shape[:2])
        return np.ascontiguousarray((image.astype(float) @ LUMA / 255)[rows][:, columns])

    return float(psnr_hvs_hvsm(padded(original), padded(decoded))[1])


PLAIN: dict[str, Callable[[Image, Image], object]] = {
    "ms-ssim-y": lambda a, b: pytorch_msssim.ms_ssim(luma(a), luma(b), data_range=255),
    "iw-ssim": lambda a, b: piq.information_weighted_ssim(luma(b), luma(a), data_range=255),
    "vifp": lambda a, b: piq.vif_p(luma(b), luma(a), data_range=255),
    "fsim": lambda a, b: piq.fsim(rgb(b), rgb(a)),
    "nlpd": lambda a, b: plenoptic.metric.nlpd(luma(a).float() / 255, luma(b).float() / 255),
    "psnr-hvs-m": psnr_hvs_m,
    "ciede2000": lambda a, b: deltaE_ciede2000(rgb2lab(a), rgb2lab(b)).mean(),
}
"""What a user of the packages would write: in double precision where they can."""


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("quality", [5, 40, 95])
def test_values_are_the_packages(name, quality):
    decoded = jpeg(ORIGINAL, quality)
    expected = float(PLAIN[name](ORIGINAL, decoded))  # type: ignore[arg-type]
    assert score(name, ORIGINAL, decoded) == pytest.approx(expected, rel=2e-5)


def test_order_of_the_pictures_counts_where_it_should():
    """VIF of a picture with more contrast than the original is above 1, the other way below."""
    dull = (ORIGINAL // 2 + 64).astype(np.uint8)
    assert score("vifp", dull, ORIGINAL) > 1 > score("vifp", ORIGINAL, dull)


def test_nlpd_is_the_published_value():
    """plenoptic's documentation prints 1.3507 for the two portraits that come with it."""
    folder = Path(plenoptic.__file__).parent / "data"
    portraits = (Pillow.open(folder / f"{name}.pgm") for name in ("einstein", "curie"))
    value = score("nlpd", *(np.asarray(picture.convert("RGB")) for picture in portraits))
    assert value == pytest.approx(1.3507, abs=5e-5)


def test_psnr_hvs_m_of_a_shift_has_a_closed_form():
    """Only the mean of each block differs, whose weight is 1.608443."""
    grey = np.full((20, 30, 3), 100, np.uint8)
    expected = 20 * math.log10(255 / (1.608443 * 3))
    assert score("psnr-hvs-m", grey, grey + np.uint8(3)) == pytest.approx(expected, abs=1e-9)


def test_black_and_white_are_100_apart():
    black, white = np.zeros((3, 4, 3), np.uint8), np.full((3, 4, 3), 255, np.uint8)
    assert score("ciede2000", black, white) == pytest.approx(100, abs=1e-4)


def vmaf_by_ffmpeg(original: Image, decoded: Image, folder: Path) -> float:
    """FFmpeg's own way from RGB to luma, whose rounding is another."""
    arguments = []
    for name, image in (("decoded", decoded), ("original", original)):
        Pillow.fromarray(image).save(folder / f"{name}.png")
        arguments += ["-i", f"{name}.png"]
    to_luma = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv444p"
    graph = f"[0]{to_luma}[d];[1]{to_luma}[o];[d][o]libvmaf"
    command = [ffmpeg.executable(), "-nostdin", *arguments, "-lavfi", graph, "-f", "null", "-"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
    return float(said.rpartition("VMAF score: ")[2].split()[0])


@pytest.mark.parametrize("quality", [5, 40, 90])
def test_vmaf_is_ffmpegs(quality, tmp_path):
    decoded = jpeg(ORIGINAL, quality)
    expected = vmaf_by_ffmpeg(ORIGINAL, decoded, tmp_path)
    assert score("vmaf", ORIGINAL, decoded) == pytest.approx(expected, abs=0.2)


def test_vmaf_of_identical_stills_is_the_known_one():
    """97.43: without motion the model does not reach 100 (Netflix's FAQ)."""
    assert score("vmaf", ORIGINAL, ORIGINAL) == pytest.approx(97.43, abs=0.005)


def gradient() -> Image:
    row = (np.arange(64) * 255 // 63).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (64, 64, 3)))


def noise(seed: int) -> Image:
    samples = []
    for _ in range(64 * 64 * 3):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        samples.append(seed >> 33 & 255)
    return np.array(samples, np.uint8).reshape(64, 64, 3)


def edge() -> Image:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 255
    return picture


def sharpened(image: Image) -> Image:
    p = np.pad(image.astype(int), ((1, 1), (1, 1), (0, 0)), "edge")
    around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    return (5 * p[1:-1, 1:-1] - around).clip(0, 255).astype(np.uint8)


def box_blurred(image: Image) -> Image:
    p = np.pad(image.astype(int), ((4, 3), (4, 3), (0, 0)), "edge")
    total = sum(p[i : i + 64, j : j + 64] for i in range(8) for j in range(8))
    return (np.asarray(total) // 64).astype(np.uint8)


def grey(side: int, value: int) -> Image:
    return np.full((side, side, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("original", "decoded", "expected", "tolerance"),
    [
        (gradient(), grey(64, 128), -64.56872148, 0.01),
        (noise(42), grey(64, 128), -47.33572558, 0.01),
        (noise(999), sharpened(noise(999)), -5.81017556, 0.01),
        (edge(), box_blurred(edge()), 24.27333552, 0.05),
        # Without detail, rounding in the program's single precision counts.
        (grey(128, 128), grey(128, 178), -9.82383315, 0.05),
        (grey(256, 128), grey(256, 148), 59.77892918, 0.1),
        (grey(256, 128), grey(256, 178), -0.39085784, 0.01),
    ],
)
def test_ssimulacra2_is_that_of_the_authors_program(original, decoded, expected, tolerance):
    """By libjxl's `ssimulacra2`, as the tests of fast-ssim2 (github.com/imazen) record it."""
    assert score("ssimulacra2", original, decoded) == pytest.approx(expected, abs=tolerance)


def test_ssimulacra2_of_identical_pictures():
    assert score("ssimulacra2", ORIGINAL, ORIGINAL) == 100


def has_vgg() -> bool:
    return isinstance(weights.load_backbone("vgg"), weights.BackboneWeights)


needs_vgg = pytest.mark.skipif(not has_vgg(), reason=f"{weights.load_backbone('vgg')}")


def packages_dists(monkeypatch, tensors) -> torch.nn.Module:
    """DISTS_pytorch's own network, with a backbone that is not downloaded."""
    from DISTS_pytorch import DISTS_pt

    vgg = models.vgg16(weights=None, init_weights=False)
    vgg.features.load_state_dict(
        {name.removeprefix("features."): torch.from_numpy(t) for name, t in tensors.items()}
    )
    monkeypatch.setattr(DISTS_pt.models, "vgg16", lambda pretrained: vgg)
    return DISTS_pt.DISTS().eval()


def test_dists_is_the_packages(monkeypatch):
    """With random filters, so that nothing is needed: no DISTS, but equal."""
    rng = np.random.default_rng(1)
    tensors = {
        name: (rng.standard_normal(shape) * (np.prod(shape[1:]) / 2) ** -0.5).astype(np.float32)
        for name, shape in ORIGINS["vgg"].shapes.items()
    }
    model = packages_dists(monkeypatch, tensors)
    state = torch.load(dists._weights_file(), weights_only=True)
    network = dists.Network(tensors, state)
    for original in (ORIGINAL[:61, :75], ORIGINAL[:1, :1]):
        decoded = 255 - original
        with torch.inference_mode():
            expected = float(model(rgb(original), rgb(decoded)))
        kept = network.prepare(original)
        assert network.distance(kept, decoded) == pytest.approx(expected, rel=2e-5)
        assert network.distance(kept, original) == pytest.approx(0, abs=1e-6)
        slim = dists.Features(original, None)
        assert network.distance(slim, decoded) == network.distance(kept, decoded)
        assert kept.nbytes > slim.nbytes == original.nbytes


@needs_vgg
def test_dists_is_the_published_value(monkeypatch):
    """torchmetrics' documentation prints 0.1285 for these, after its seed of 42."""
    model = packages_dists(monkeypatch, weights.backbone("vgg").tensors)
    torch.manual_seed(42)
    a, b = (torch.rand(5, 3, 256, 256)[:1] for _ in range(2))
    original, decoded = ORIGINAL[:90, :70], jpeg(ORIGINAL[:90, :70], 20)
    with torch.inference_mode():
        assert float(model(a, b)) == pytest.approx(0.1285, abs=5e-5)
        expected = float(model(rgb(original), rgb(decoded)))
    assert score("dists", original, decoded) == pytest.approx(expected, rel=2e-5)


@needs_vgg
def test_dists_of_what_is_too_large_for_the_memory(monkeypatch):
    monkeypatch.setattr(dists, "MAX_PIXELS", 999)
    with pytest.raises(MetricUnavailable, match="the picture is 50x20: DISTS of more than"):
        metrics.create("dists").prepare(ORIGINAL[:20, :50])


@needs_butteraugli
def test_butteraugli_is_the_programs(tmp_path):
    """Of PNG files, as people call it; one run gives both figures."""
    assert BUTTERAUGLI
    decoded = jpeg(ORIGINAL, 30)
    for name, image in (("a", ORIGINAL), ("b", decoded)):
        Pillow.fromarray(image).save(tmp_path / f"{name}.png")
    command = [BUTTERAUGLI, "a.png", "b.png"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    largest, norm = said.split("3-norm:")
    assert score("butteraugli", ORIGINAL, decoded) == float(largest) > 1
    assert score("butteraugli-3", ORIGINAL, decoded) == float(norm)
    assert score("butteraugli", ORIGINAL, ORIGINAL) == 0


def test_without_the_program_butteraugli_is_unavailable(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    versions = metrics.versions(("butteraugli", "psnr"))
    assert versions["butteraugli"].startswith("unavailable: butteraugli_main of libjxl is not on")
    assert versions["psnr"] == "1 (RGB, 8 bit)"


def test_an_ffmpeg_without_libvmaf_is_told_of(monkeypatch):
    from bench.metrics import vmaf

    assert not ffmpeg.has_filter("no-such-filter")
    monkeypatch.setattr(vmaf.ffmpeg, "has_filter", lambda name: False)
    vmaf._require_filter.cache_clear()
    assert "without libvmaf" in metrics.versions(["vmaf"])["vmaf"]


@pytest.mark.parametrize(
    "name", ["iw-ssim", "vifp", "fsim", "nlpd", "psnr-hvs-m", "ssimulacra2", "dists", "ciede2000"]
)
def test_without_its_package_a_metric_is_unavailable(name, monkeypatch):
    def absent(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    found = metrics.versions([name])[name]
    assert found.startswith("unavailable: the package ")
    assert "is not installed: run `make`" in found


def test_a_new_version_of_a_package_is_another_version_of_the_metric(monkeypatch):
    before = metrics.versions(["vifp"])["vifp"]
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "9.9")
    assert (before, metrics.versions(["vifp"])["vifp"]) == (
        "piq 0.8.0, BT.709 luma",
        "piq 9.9, BT.709 luma",
    )


SMALLEST = {
    "iw-ssim": 161,
    "vifp": 41,
    "fsim": 2,
    "nlpd": 33,
    "psnr-hvs-m": 1,
    "vmaf": 17,
    "ssimulacra2": 8,
    "ciede2000": 1,
    "butteraugli": 8,
}


@pytest.mark.parametrize(
    ("name", "side"),
    [
        pytest.param(*pair, marks=needs_butteraugli if pair[0] == "butteraugli" else ())
        for pair in SMALLEST.items()
    ],
)
def test_the_smallest_pictures(name, side):
    """The side that is named does; one pixel less is refused before a library crashes."""
    for picture in (ORIGINAL[:side], ORIGINAL[:, :side], ORIGINAL[:side, :side]):
        value = score(name, picture, jpeg(np.ascontiguousarray(picture), 30))
        assert math.isfinite(value)
    if side > 1:
        small = ORIGINAL[: side - 1]
        with pytest.raises(MetricUnavailable, match=f"at least {side} .*215x{side - 1}"):
            metrics.create(name).prepare(small)


def test_a_picture_without_detail_has_no_iw_ssim():
    engine = MetricsEngine(["iw-ssim", "psnr"])
    scored = engine.score(engine.prepare(grey(170, 99)), grey(170, 101))
    assert scored["iw-ssim"].reason == "IW-SSIM has no value of a picture without detail"
    assert scored["iw-ssim"].version  # another attempt would end the same way
    assert scored["psnr"].value is not None


LIGHT = tuple(name for name in metrics.names() if name not in (*metrics.DEFAULT, "dists"))


def test_read_only_and_strided_pictures_score_alike_twice():
    original = data.coffee()[::2, ::-2][:170, :200]
    decoded = jpeg(np.ascontiguousarray(original), 40)
    decoded.setflags(write=False)
    engine = MetricsEngine(LIGHT)
    prepared = engine.prepare(np.ascontiguousarray(original))
    plain = engine.score(prepared, decoded)
    assert engine.score(prepared, decoded) == plain
    assert engine.score(engine.prepare(original), decoded) == plain
    assert prepared.nbytes > 10 * original.nbytes
    missing = {name for name, value in plain.items() if value.value is None}
    assert missing <= {"butteraugli", "butteraugli-3"}


def test_directions():
    """A picture that was coded with fewer bits scores worse by each of them."""
    engine = MetricsEngine(LIGHT)
    prepared = engine.prepare(ORIGINAL)
    bad, good = (engine.score(prepared, jpeg(ORIGINAL, quality)) for quality in (10, 90))
    for name in LIGHT:
        worse, better = bad[name].value, good[name].value
        if worse is not None and better is not None:
            assert (better > worse) == metrics.info(name).higher_is_better, name


def test_sets_of_metrics():
    jpeg_ai = ["ms-ssim-y", "iw-ssim", "vifp", "fsim", "nlpd", "psnr-hvs-m", "vmaf"]
    assert list(wanted_metrics(["jpeg-ai"])) == jpeg_ai
    assert list(wanted_metrics(["vmaf,JPEG-AI", "dists", "vmaf", "psnr"])) == [
        *("psnr", *jpeg_ai, "dists")
    ]
    assert tuple(wanted_metrics(None)) == tuple(wanted_metrics(["default"])) == metrics.DEFAULT
    assert metrics.DEFAULT == ("psnr", "psnr-y", "ms-ssim", "lpips-alex", "lpips-vgg")
    for typed, meant in (("jpegai", "jpeg-ai"), ("ssimulacra", "ssimulacra2"), ("dist", "dists")):
        with pytest.raises(KeyError, match=f"unknown metric '{typed}'; did you mean '{meant}'"):
            wanted_metrics(["psnr", typed])


def test_a_run_of_small_pictures_keeps_what_can_be_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Pillow.fromarray(ORIGINAL[:80, :100]).save("pictures/small.png")
    asked = ["jpeg@60", "--metrics", "ms-ssim-y,vifp,vmaf", "--dataset", "pictures", "--run", "run"]
    assert bench_main.main(["run", *asked, "--quiet", "--jobs", "1", "--no-report"]) == 0
    (row,) = Store(Path("run"))
    scored = {name: value.value is not None for name, value in row.metrics.items()}
    assert scored == {"ms-ssim-y": False, "vifp": True, "vmaf": True}
    assert row.metrics["ms-ssim-y"].reason.endswith(
        "at least 161 pixels a side; the picture is 100x80"
    )


def test_what_a_run_asks_before_it_starts():
    """Whether scorers need PyTorch, and about how long they take, of names alone."""
    assert metrics.uses_torch(["psnr", "vifp"])
    assert not metrics.uses_torch(["psnr", "vmaf", "somebody's"])
    assert metrics.seconds_per_pixel(["psnr", "somebody's"]) == 0
    both = metrics.seconds_per_pixel(["dists", "vifp"])
    assert both > metrics.seconds_per_pixel(["dists"]) > metrics.seconds_per_pixel(["vifp"]) > 0


def test_ms_ssim_of_luma_is_compared_in_decibels():
    assert metric_text("ms-ssim-y").heading == "MS-SSIM-Y (dB)"
    assert on_scale("ms-ssim-y", np.array([0.9])) == pytest.approx(10)
