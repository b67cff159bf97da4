"""The second critic against another implementation of its network."""

from __future__ import annotations

import importlib.machinery
from pathlib import Path

import pytest
import torch

from codecs.learned.training import features
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.features import FeatureDistance
from codecs.learned.training.losses import Critics, LossWeights, distortion


@pytest.fixture(scope="module")
def distance() -> FeatureDistance:
    return FeatureDistance()


def noise(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 96, 128, generator=generator)


def test_features_are_those_of_the_package_efficientnet_lite_pytorch(
    distance: FeatureDistance,
) -> None:
    """Means and deviations of the inputs of its projections, computed with its version 0.1.0."""
    expected = [
        ((2, 32, 48, 64), 2.001785, 2.042946),
        ((2, 96, 24, 32), 0.904314, 1.205247),
        ((2, 144, 24, 32), 0.800155, 1.273371),
        ((2, 240, 12, 16), 0.542147, 1.007110),
        ((2, 480, 6, 8), 0.238307, 0.543782),
        ((2, 672, 6, 8), 0.214866, 0.535545),
    ]
    with torch.no_grad():
        layers = list(distance.features(noise(42)))
    assert [tuple(layer.shape) for layer in layers] == [shape for shape, *_ in expected]
    for layer, (_, mean, deviation) in zip(layers, expected, strict=True):
        assert float(layer.mean()) == pytest.approx(mean, rel=1e-4)
        assert float(layer.std()) == pytest.approx(deviation, rel=1e-4)


def test_the_distance_grows_with_noise_and_has_a_gradient(distance: FeatureDistance) -> None:
    x = 0.25 + 0.5 * torch.nn.functional.interpolate(noise(0)[:, :, ::16, ::16], (96, 128))
    y = x.clone().requires_grad_()
    assert float(distance(x, y).abs().max().detach()) < 1e-6
    little, much = (distance(x, y + s * (noise(1) - 0.5)) for s in (0.02, 0.2))
    assert little.shape == (2,)
    assert bool((little < much).all())
    much.sum().backward()
    assert y.grad is not None
    assert float(y.grad.abs().max()) > 0
    assert not any(p.requires_grad for p in distance.parameters())


def test_the_distortion_weighs_it(distance: FeatureDistance) -> None:
    x, y = noise(2), noise(3)
    weights = LossWeights(mse=0, features=0.5)
    total, terms = distortion(x, y, weights, Critics(features=distance))
    assert total.tolist() == pytest.approx((0.5 * distance(x, y)).tolist())
    assert set(terms) == {"mse", "features"}
    with pytest.raises(TrainingError, match="weighs features"):
        distortion(x, y, weights, Critics())


def test_only_what_the_schedule_asks_for_is_loaded() -> None:
    assert Critics.load([LossWeights(ms_ssim=0.1)], "squeeze") == Critics()
    found = Critics.load([LossWeights(), LossWeights(features=0.1)], "squeeze")
    assert found.lpips is None
    assert found.features is not None


def test_a_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "PACKAGE", "efficientnet_not_there")
    with pytest.raises(TrainingError, match="pip install efficientnet_not_there"):
        FeatureDistance()


def test_another_file_is_not_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"anything")
    spec = importlib.machinery.ModuleSpec("package", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    with pytest.raises(TrainingError, match="is not the expected file"):
        FeatureDistance()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").unlink()
    with pytest.raises(TrainingError, match="is missing"):
        FeatureDistance()
