"""Losses against pytorch-msssim, lpips' published values, and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_msssim
import torch
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import Image
from codecs.learned.ms_ssim import MS_SSIM_WEIGHTS, ms_ssim, ms_ssim_scales
from codecs.learned.training.discriminator import ConditionalPatchGAN, PatchGAN
from codecs.learned.training.errors import TrainingError
from codecs.learned.training.losses import (
    BACKBONES,
    LPIPS,
    Critics,
    LossWeights,
    distortion,
    lpips_folders,
)
from codecs.learned.training.views import random_view


@pytest.fixture(scope="module")
def pair(photo: Image) -> tuple[Tensor, Tensor]:
    """Two 170 x 190 pictures and noisy versions of them, [2, 3, 170, 190]."""
    x = torch.from_numpy(np.stack([photo[:170, :190], photo[:170, :190][::-1]]).copy())
    x = x.permute(0, 3, 1, 2).double() / 255
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return x, (x + 0.08 * noise).clamp(0, 1)


@pytest.mark.parametrize("scales", [1, 2, 3, 4, 5])
def test_ms_ssim_equals_pytorch_msssim(pair: tuple[Tensor, Tensor], scales: int) -> None:
    weights = np.array(MS_SSIM_WEIGHTS[:scales])
    expected = pytorch_msssim.ms_ssim(
        *pair, data_range=1, size_average=False, weights=list(weights / weights.sum())
    )
    assert torch.allclose(ms_ssim(*pair, scales), expected, rtol=1e-5)


def test_ms_ssim_of_equal_pictures_is_1(pair: tuple[Tensor, Tensor]) -> None:
    assert torch.allclose(ms_ssim(pair[0], pair[0]), torch.ones(2, dtype=torch.double))


def test_ms_ssim_has_a_gradient_where_contrast_is_negative(pair: tuple[Tensor, Tensor]) -> None:
    negative = (1 - pair[0]).requires_grad_()
    ms_ssim(pair[0], negative).sum().backward()
    assert negative.grad is not None
    assert bool(torch.isfinite(negative.grad).all())


@pytest.mark.parametrize(
    ("size", "scales"), [(161, 5), (160, 4), (128, 4), (81, 4), (80, 3), (21, 2), (20, 1), (11, 1)]
)
def test_scales_that_fit(size: int, scales: int) -> None:
    assert ms_ssim_scales(size) == scales
    picture = torch.rand(1, 3, size, size)
    assert torch.isfinite(ms_ssim(picture, picture, scales)).all()


def test_no_scale_fits_below_the_window() -> None:
    with pytest.raises(ValueError, match="at least 11 pixels, not 10"):
        ms_ssim_scales(10)


def test_distortion_is_the_weighted_sum(pair: tuple[Tensor, Tensor]) -> None:
    x, y = pair[0], pair[1] * 1.2 - 0.1  # beyond 0...1
    total, terms = distortion(x, y, LossWeights(mse=2.0, ms_ssim=0.5), Critics())
    mse = np.square((x - y).numpy()).mean((1, 2, 3))
    similarity = pytorch_msssim.ms_ssim(x, y.clamp(0, 1), data_range=1, size_average=False)
    assert float(terms["mse"]) == pytest.approx(mse.mean())
    expected = 2 * mse + 0.5 * (1 - similarity.numpy())
    assert total.tolist() == pytest.approx(expected.tolist(), abs=2e-5)
    assert set(terms) == {"mse", "ms_ssim"}


def test_views_change_both_pictures_alike(pair: tuple[Tensor, Tensor]) -> None:
    x = pair[0]
    sizes, turned = set(), 0
    for seed in range(24):
        torch.manual_seed(seed)
        seen, shifted = random_view(x, x + 0.25)
        # Cutting, turning and averaging leave a constant difference as it is.
        assert torch.allclose(shifted - seen, torch.full_like(seen, 0.25))
        assert float(seen.min()) >= 0
        assert float(seen.max()) <= 1
        sizes.add(tuple(sorted(seen.shape[2:])))
        turned += seen.shape[2] > seen.shape[3]  # the pictures are wider than high
        torch.manual_seed(seed)
        assert torch.equal(random_view(x, x)[0], seen)
    assert len(sizes) > 20
    assert {max(size) <= 100 for size in sizes} == {True, False}
    assert 0 < turned < 24
    assert min(min(size) for size in sizes) >= 64


def test_half_of_the_views_only_move_pixels(pair: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    views = [random_view(pair[0], pair[1])[1] for _ in range(40)]
    known = set(pair[1].flatten().tolist())
    assert 10 < sum(set(view.flatten().tolist()) <= known for view in views) < 30
    # Every order of the three channels occurs.
    assert len({tuple(view.mean((0, 2, 3)).argsort().tolist()) for view in views}) == 6


def test_distortion_by_views_is_that_of_a_view(pair: tuple[Tensor, Tensor]) -> None:
    _needs("squeeze")
    x, y = (picture.float() for picture in pair)
    lpips, weights = LPIPS("squeeze"), LossWeights(mse=0, lpips=1)
    critics = Critics(lpips=lpips)
    plain = distortion(x, y, weights, critics)[0].mean()
    assert float(plain) == pytest.approx(float(lpips(x, y).mean()))
    torch.manual_seed(1)
    seen = distortion(x, y, weights, critics, views=True)[0].mean()
    torch.manual_seed(1)
    assert float(seen) == float(lpips(*random_view(x, y)).mean())
    assert float(seen) != float(plain)


def _needs(net: str) -> None:
    if not any((folder / BACKBONES[net].file).is_file() for folder in lpips_folders()):
        pytest.skip(f"the LPIPS backbone {BACKBONES[net].file} is not on this machine")


def test_squeezenet_gives_the_published_distances() -> None:
    _needs("squeeze")
    random = torch.Generator().manual_seed(42)
    x = torch.rand(2, 3, 100, 100, generator=random)
    y = torch.rand(2, 3, 100, 100, generator=random)
    # torchmetrics' doctest of learned_perceptual_image_patch_similarity(net_type="squeeze").
    assert LPIPS("squeeze")(x, y).tolist() == pytest.approx([0.1024, 0.0938], abs=5e-5)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_lpips_differs_for_pictures_and_has_a_gradient(
    pair: tuple[Tensor, Tensor], net: str
) -> None:
    _needs(net)
    distance = LPIPS(net)
    x, y = pair[0].float(), pair[1].float().requires_grad_()
    d = distance(x, y)
    assert d.shape == (2,)
    assert float(distance(x, x).abs().max()) < 1e-6
    assert d.min().item() > 0.01
    d.sum().backward()
    assert y.grad is not None
    assert float(y.grad.abs().max()) > 0
    assert not any(p.requires_grad for p in distance.parameters())


def test_missing_backbone_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecs.learned.training.losses.lpips_folders", list)
    with pytest.raises(TrainingError, match=r"vgg16_features\.safetensors.*--distortion ms-ssim"):
        LPIPS("vgg")
    with pytest.raises(TrainingError, match="no LPIPS backbone 'resnet'"):
        LPIPS("resnet")


def test_patchgan_sees_70_pixels() -> None:
    network = PatchGAN(8)
    for index, layer in enumerate(network.layers):
        if isinstance(layer, nn.InstanceNorm2d):  # it averages over the whole picture
            network.layers[index] = nn.Identity()
    x = torch.rand(1, 3, 160, 160, requires_grad=True)
    logits = network(x)
    assert logits.shape == (1, 1, 18, 18)
    logits[0, 0, 9, 9].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_hinge_losses_by_hand() -> None:
    real, decoded = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    game = PatchGAN(1)
    assert float(game.loss(real, decoded)) == pytest.approx((0 + 0.5) / 2 + (0 + 1.25) / 2)
    assert float(game.generator_loss(decoded)) == pytest.approx(2.75 / 2)


def test_non_saturating_losses_by_hand() -> None:
    """Binary cross-entropies; the codec's is that of its pictures being called real."""
    real, decoded = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])
    cross = functional.binary_cross_entropy
    expected = cross(real.sigmoid(), torch.ones(2)) + cross(decoded.sigmoid(), torch.zeros(2))
    game = ConditionalPatchGAN(4, 1)
    assert float(game.loss(real, decoded)) == pytest.approx(float(expected))
    expected = cross(decoded.sigmoid(), torch.ones(2))
    assert float(game.generator_loss(decoded)) == pytest.approx(float(expected))


def test_a_conditional_discriminator_sees_latents_where_they_belong() -> None:
    torch.manual_seed(0)
    network = ConditionalPatchGAN(4, 8)
    x, latent = torch.rand(1, 3, 256, 256), torch.randn(1, 4, 16, 16, requires_grad=True)
    logits = network(x, latent)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 10, 20].backward()
    assert latent.grad is not None
    rows, columns = latent.grad.abs().sum((0, 1)).nonzero().T
    # A logit sees 70 pixels from 8·i - 23 on; 16 pixels are a latent, and features see neighbours.
    for seen, first in ((rows, 8 * 10 - 23), (columns, 8 * 20 - 23)):
        assert (int(seen.min()), int(seen.max())) == (first // 16 - 1, (first + 69) // 16 + 1)
    with pytest.raises(ValueError, match="told this discriminator nothing"):
        network(x, None)


def test_spectral_norm_holds_every_layers_gain_at_1() -> None:
    torch.manual_seed(0)
    network = ConditionalPatchGAN(4, 8)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 6
    with torch.no_grad():
        for layer in convolutions:
            layer.get_parameter("parametrizations.weight.original").mul_(7)
        for _ in range(50):  # one power iteration each
            network(torch.rand(1, 3, 64, 64), torch.randn(1, 4, 4, 4))
        for layer in convolutions:
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
            assert float(largest) == pytest.approx(1, abs=0.02)
