"""PSNR, MS-SSIM and LPIPS against scikit-image, pytorch-msssim and the lpips package."""

from __future__ import annotations

import io
import math
from functools import partial

import lpips
import numpy as np
import pytest
import pytorch_msssim
import torch
from PIL import Image as Pillow
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

import bench.metrics.backbone
import bench.metrics.lpips
from bench import metrics
from bench.metrics import MetricsEngine, MetricUnavailable, weights
from bench.metrics.base import Metric
from bench.metrics.lpips import network
from bench.metrics.origins import ORIGINS
from codecs.base import Image

torch.set_num_threads(1)

EXACT = 1e-5  # relative


def pictures() -> dict[str, Image]:
    sky = np.full((200, 240, 3), 255, np.uint8)
    sky[150:] = data.coffee()[100:150, :240]
    return {
        "astronaut": data.astronaut()[40:240, 100:320],
        "odd": data.coffee()[:251, :199],
        "portrait": data.astronaut()[:300, 170:331],
        "landscape": data.chelsea()[60:221, 100:350],
        "flat sky": sky,
    }


def jpeg(image: Image, quality: int) -> Image:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file))


def distorted(image: Image) -> dict[str, Image]:
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    blurred = Pillow.fromarray(image).reduce(3).resize(image.shape[1::-1])
    return {
        "jpeg 5": jpeg(image, 5),
        "jpeg 60": jpeg(image, 60),
        "jpeg 95": jpeg(image, 95),
        "noise": (image + noise).clip(0, 255).astype(np.uint8),
        "blur": np.asarray(blurred),
        "one sample off": one_off(image),
    }


def one_off(image: Image) -> Image:
    changed = image.copy()
    changed[image.shape[0] // 2, image.shape[1] // 2, 1] ^= 64
    return changed


def tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()


def scores(name: str, original: Image) -> dict[str, float]:
    metric = metrics.create(name)
    prepared = metric.prepare(original)
    return {what: metric.score(prepared, image) for what, image in distorted(original).items()}


each_picture = pytest.mark.parametrize("original", pictures().values(), ids=pictures().keys())


@each_picture
def test_psnr_is_scikit_images(original):
    for what, value in scores("psnr", original).items():
        expected = peak_signal_noise_ratio(original, distorted(original)[what], data_range=255)
        assert value == pytest.approx(expected, rel=EXACT), what


@each_picture
def test_luma_psnr_is_scikit_images_on_bt709_luma(original):
    weights_709 = np.array([0.2126, 0.7152, 0.0722])
    for what, value in scores("psnr-y", original).items():
        planes = (
            image.astype(float) @ weights_709 for image in (original, distorted(original)[what])
        )
        expected = peak_signal_noise_ratio(*planes, data_range=255)
        assert value == pytest.approx(expected, rel=EXACT), what


@each_picture
def test_ms_ssim_is_the_packages(original, request):
    for what, value in scores("ms-ssim", original).items():
        a, b = tensor(original), tensor(distorted(original)[what])
        precise = float(pytorch_msssim.ms_ssim(a.double(), b.double()))
        assert value == pytest.approx(precise, rel=EXACT), what
        # Curves are drawn in dB of the distance to 1, so that must be right too.
        assert 1 - value == pytest.approx(1 - precise, rel=2e-4, abs=1e-9), what
        if "flat" not in request.node.name:  # there the package's float32 is off by 1e-4
            assert value == pytest.approx(float(pytorch_msssim.ms_ssim(a, b)), rel=EXACT), what


def test_ms_ssim_of_opposites_is_zero_as_in_the_package():
    original = pictures()["astronaut"]
    metric = metrics.create("ms-ssim")
    opposite = 255 - original
    assert float(pytorch_msssim.ms_ssim(tensor(original), tensor(opposite))) == 0
    assert metric.score(metric.prepare(original), opposite) == 0


@pytest.mark.parametrize("size", [(160, 400), (400, 160), (1, 1)])
def test_ms_ssim_needs_161_pixels(size):
    with pytest.raises(MetricUnavailable, match="at least 161 pixels"):
        metrics.create("ms-ssim").prepare(np.zeros((*size, 3), np.uint8))
    with pytest.raises((AssertionError, ValueError)):
        pytorch_msssim.ms_ssim(torch.zeros(1, 3, *size), torch.zeros(1, 3, *size))


def packages_lpips(model: torch.nn.Module, a: Image, b: Image) -> float:
    with torch.no_grad():
        return float(model(tensor(a) / 127.5 - 1, tensor(b) / 127.5 - 1))


def need(net: str) -> None:
    found = weights.load_backbone(net)
    if not isinstance(found, weights.BackboneWeights):
        pytest.skip(str(found))


@pytest.mark.parametrize(
    ("net", "picture"),
    [("alex", "astronaut"), ("alex", "odd"), ("alex", "portrait"), ("vgg", "odd")],
)
def test_lpips_is_the_packages(net, picture):
    need(net)
    original = pictures()[picture][: 113 if net == "vgg" else None]  # vgg takes its time
    model = weights.package_model(net)
    for what, value in scores(f"lpips-{net}", original).items():
        expected = packages_lpips(model, original, distorted(original)[what])
        # Of a distance of 1e-5, float32 leaves some 1e-10 to the processor's order of summation.
        assert value == pytest.approx(expected, rel=EXACT, abs=1e-9), what


def test_vgg_backbone_gives_the_published_values(monkeypatch):
    """torchmetrics' documentation prints 0.3566 in version 0.8 and 0.3493 in 0.11, for pictures
    taken for -1...1 and for 0...1; their random numbers follow those of building the network."""
    from torchvision import models

    need("vgg")
    model = weights.package_model("vgg")
    build = partial(models.vgg16, weights=None, init_weights=False)
    monkeypatch.setattr(lpips.pretrained_networks.tv, "vgg16", lambda pretrained: build())
    torch.manual_seed(123)
    lpips.LPIPS(net="vgg", pnet_rand=True, version="0.1", verbose=False)
    a, b = (torch.rand(10, 3, 100, 100) for _ in range(2))
    with torch.no_grad():
        published = [float(model(*pair).mean()) for pair in ((a, b), (2 * a - 1, 2 * b - 1))]
    assert published == pytest.approx([0.3566, 0.3493], abs=5e-5)


def test_squeeze_backbone_gives_the_published_value():
    """The example in torchmetrics' documentation of LPIPS prints [0.1024, 0.0938]."""
    need("squeeze")
    generator = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    with torch.no_grad():
        values = weights.package_model("squeeze")(a, b).flatten().tolist()
    assert values == pytest.approx([0.1024, 0.0938], abs=5e-5)


def random_backbone(net: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        name: (rng.standard_normal(shape) * (np.prod(shape[1:]) / 2) ** -0.5).astype(np.float32)
        for name, shape in ORIGINS[net].shapes.items()
    }


@pytest.fixture(scope="module", params=["alex", "vgg"])
def random_pair(request):
    """Our network and the package's with one and the same random backbone: no LPIPS, but equal."""
    net = request.param
    tensors = random_backbone(net)
    model = lpips.LPIPS(net=net, pnet_rand=True, version="0.1", verbose=False).eval()
    names = model.net.state_dict()
    model.net.load_state_dict(
        {n: torch.from_numpy(tensors["features." + n.split(".", 1)[1]]) for n in names}
    )
    return network(net, tensors), model


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("strip_bytes", [1 << 24, 1])
@pytest.mark.parametrize("height", [31, 96, 113])
def test_networks_are_the_packages_in_strips_of_any_height(
    random_pair, height, strip_bytes, monkeypatch
):
    ours, model = random_pair
    monkeypatch.setattr(bench.metrics.backbone, "STRIP_BYTES", strip_bytes)
    original = data.astronaut()[:height, 100:237]
    prepared = ours.prepare(original)
    for quality in (5, 90):
        decoded = jpeg(original, quality)
        expected = packages_lpips(model, original, decoded)
        assert ours.distance(prepared, decoded) == pytest.approx(expected, rel=EXACT)
    assert ours.distance(prepared, original) == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_features_too_large_to_keep_are_computed_again(random_pair, monkeypatch):
    ours, _ = random_pair
    original = data.astronaut()[:96, :128]
    kept = ours.prepare(original)
    monkeypatch.setattr(bench.metrics.lpips, "MAX_FEATURE_BYTES", 1000)
    slim = ours.prepare(original)
    assert slim.nbytes == original.nbytes < kept.nbytes
    decoded = jpeg(original, 30)
    assert ours.distance(slim, decoded) == ours.distance(kept, decoded)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("size", [(1, 1), (8, 200), (200, 15)])
def test_pictures_too_small_for_a_network(random_pair, size):
    ours, _ = random_pair
    with pytest.raises(MetricUnavailable, match=f"{size[1]}x{size[0]}, too small"):
        ours.prepare(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("name", ["psnr", "psnr-y", "ms-ssim"])
def test_identical_pictures(name):
    original = pictures()["odd"]
    metric = metrics.create(name)
    assert metric.score(metric.prepare(original), original) == (
        1 if name == "ms-ssim" else math.inf
    )


def test_scores_do_not_change_what_was_prepared():
    original = pictures()["odd"]
    engine = MetricsEngine(metrics.DEFAULT)
    prepared = engine.prepare(original)
    decoded = jpeg(original, 40)
    assert engine.score(prepared, decoded) == engine.score(prepared, decoded)
    assert prepared.nbytes > 10 * original.nbytes


def test_read_only_and_strided_pictures():
    original = data.coffee()[::2, ::-2][:180]
    decoded = jpeg(np.ascontiguousarray(original), 40)
    decoded.setflags(write=False)
    engine = MetricsEngine(metrics.DEFAULT)
    plain = engine.score(engine.prepare(np.ascontiguousarray(original)), decoded)
    assert engine.score(engine.prepare(original), decoded) == plain
    assert plain["ms-ssim"].value is not None


def test_the_table_of_metrics():
    assert metrics.names()[:3] == ("psnr", "psnr-y", "ms-ssim")
    assert [metrics.info(n).higher_is_better for n in ("psnr", "lpips-vgg")] == [True, False]
    assert (metrics.info("psnr").label, metrics.info("psnr").unit) == ("PSNR", "dB")
    for ask in (metrics.info, metrics.create, lambda name: MetricsEngine([name])):
        with pytest.raises(KeyError, match="did you mean 'ms-ssim'"):
            ask("msssim")


def test_engine_says_when_pictures_are_identical():
    original = pictures()["odd"]
    engine = MetricsEngine(["psnr"])
    score = engine.score(engine.prepare(original), original)["psnr"]
    assert (score.value, score.reason) == (None, "infinite: the pictures are identical")


def test_engine_refuses_what_is_no_pair():
    engine = MetricsEngine(["psnr"])
    prepared = engine.prepare(np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ValueError, match="the decoded picture is 20x30, the original 30x20"):
        engine.score(prepared, np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        engine.score(prepared, np.zeros((20, 30, 3), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        engine.prepare(np.zeros((20, 30), np.uint8))


class Broken(Metric):
    """Fails where `fails` says."""

    name = "psnr-y"
    label = "Broken"
    unit = ""
    higher_is_better = True
    version = "1"
    fails = ""

    def __init__(self) -> None:
        self.work("create")

    def prepare(self, reference: Image) -> float:
        return self.work("prepare")

    def score(self, prepared: float, decoded: Image) -> float:
        return self.work("score")

    def work(self, step: str) -> float:
        if step == self.fails:
            raise ZeroDivisionError(f"in {step}")
        return math.nan


@pytest.mark.parametrize("step", ["create", "prepare", "score"])
def test_a_broken_metric_costs_only_itself(step, monkeypatch):
    monkeypatch.setitem(bench.metrics.registry._CLASSES, "psnr-y", Broken)
    monkeypatch.setattr(Broken, "fails", step)
    engine = MetricsEngine(["psnr", "psnr-y", "ms-ssim"])
    original = pictures()["odd"]
    scored = engine.score(engine.prepare(original), jpeg(original, 50))
    assert scored["psnr-y"].value is None
    assert scored["psnr-y"].reason == f"ZeroDivisionError: in {step}"
    assert scored["psnr"].value == metrics.create("psnr").score(original, jpeg(original, 50))
    assert scored["ms-ssim"].value is not None


def test_not_a_number_is_no_score(monkeypatch):
    monkeypatch.setitem(bench.metrics.registry._CLASSES, "psnr-y", Broken)
    engine = MetricsEngine(["psnr-y"])
    score = engine.score(engine.prepare(one := np.zeros((2, 2, 3), np.uint8)), one)["psnr-y"]
    assert (score.value, score.reason) == (None, "Broken is not a number here")


def test_small_pictures_have_what_can_be_had():
    engine = MetricsEngine(metrics.DEFAULT)
    prepared = engine.prepare(np.zeros((1, 1, 3), np.uint8))
    scored = engine.score(prepared, np.full((1, 1, 3), 255, np.uint8))
    assert scored["psnr"].value == 0
    assert scored["psnr-y"].value == pytest.approx(0, abs=1e-12)
    assert all(scored[n].value is None and scored[n].reason for n in metrics.DEFAULT[2:])
