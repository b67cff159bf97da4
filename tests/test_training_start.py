"""What training starts from: initial weights, and the commands that the codecs suggest."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from codecs import registry, train
from codecs.base import CodecUnavailable, Image
from codecs.learned import initialisation
from codecs.learned.codec import LearnedCodec
from codecs.learned.layers import GDN
from codecs.learned.transform import TransformModel
from codecs.minnen import Minnen
from codecs.rdonet.masks import LEVELS, Masks
from codecs.rdonet.network import RDONet


@pytest.fixture(scope="module")
def rdonet() -> RDONet:
    torch.manual_seed(0)
    network = RDONet(width=32).eval()
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def picture(photo: Image) -> Tensor:
    return torch.from_numpy(photo[:128, :192].copy()).permute(2, 0, 1)[None].float() / 255


def spread(x: Tensor) -> float:
    """Standard deviation over positions: what differs between channels only tells nothing."""
    return float(x.var((0, 2, 3)).mean().sqrt())


def test_every_level_of_rdonet_begins_with_something_to_send(
    rdonet: RDONet, picture: Tensor
) -> None:
    features = rdonet.features(picture)
    decoded = {}
    for level in LEVELS:
        d, outputs = rdonet.code(features, Masks.uniform(level, 1, 2, 3))
        # With PyTorch's defaults this is below 0.1, and everything rounds to 0.
        assert spread(outputs[level].latent) > 0.5
        decoded[level] = spread(d)
    # The synthesis hears each level about equally loud.
    assert max(decoded.values()) < 2 * min(decoded.values())


def test_the_first_picture_of_rdonet_is_nearly_grey(rdonet: RDONet, picture: Tensor) -> None:
    first = rdonet(picture, Masks.uniform(1, 1, 2, 3)).x_hat
    assert float((first - 0.5).abs().max()) < 0.25


def test_deep_hyper_latents_begin_without_neighbours(rdonet: RDONet) -> None:
    """A crop of 256 pixels has one z₃: a second one must not change what it says."""
    z = torch.randn(1, 32, 2, 1)
    first_layers = rdonet.unit(3).prior.hyper_synthesis[:4]
    assert torch.allclose(first_layers(z)[:, :, :2], first_layers(z[:, :, :1]), atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda network: network.unit(2).down[0],
        lambda network: network.analysis[2].conv1,
        lambda network: network.analysis[7],
    ],
)
def test_the_path_keeps_coarse_structure(
    layer: Callable[[RDONet], nn.Conv2d], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the random part, a flat area keeps its length: the layer is an isometry there."""
    monkeypatch.setattr(initialisation, "RANDOM", 0.0)
    torch.manual_seed(1)
    conv = layer(RDONet(width=16))
    flat = torch.randn(1, 16, 1, 1).expand(1, 16, 12, 12)
    inside = conv(flat)[:, :, 2:-2, 2:-2]
    assert torch.allclose(inside.norm(dim=1), flat[:, :, 0, 0].norm(), rtol=1e-4)


def test_subsampling_begins_with_the_binomial_kernel() -> None:
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    assert torch.equal(initialisation._smoothing(5, 2), torch.outer(row, row))
    assert initialisation._smoothing(3, 1).flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_minnen_is_initialised_once() -> None:
    torch.manual_seed(3)
    created = registry.network("minnen").sized(12).state_dict()
    torch.manual_seed(3)
    direct = Minnen(N=12, M=12).state_dict()
    assert all(torch.equal(created[name], direct[name]) for name in direct)


@pytest.mark.parametrize("name", registry.trainable())
def test_codecs_without_weights_suggest_a_command_that_train_accepts(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(CodecUnavailable) as caught:
        LearnedCodec(name, name, registry.network(name), TransformModel, folder=tmp_path)
    match = re.search(r"`python -m codecs\.train ([^`]+)`", str(caught.value))
    assert match
    options = train.parser().parse_args(shlex.split(match[1]))
    assert options.network == name
    assert options.minutes or options.steps


@pytest.mark.parametrize(("name", "latents"), [("minnen", (8, 8)), ("rdonet", (8, 8))])
def test_latents_are_given_for_each_level(name: str, latents: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{name} has latents at . level"):
        registry.network(name).sized(8, latents)


@pytest.mark.parametrize("latents", [(16, 16, 16), (24, 12, 8)])
@torch.no_grad()
def test_rdonet_begins_with_the_transforms_of_minnen(
    picture: Tensor, latents: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    minnen = Minnen(N=16, M=latents[0]).eval()
    for module in minnen.modules():  # nothing may pass only because it is as it was drawn
        if isinstance(module, GDN):
            module.gamma.add_(0.1 * torch.rand(module.gamma.shape))
            module.beta.add_(0.1 * torch.rand(module.beta.shape))
    rdonet = RDONet(width=16, backbone_kind="gdn", latents=latents).eval()
    rdonet.begin_with(minnen.state_dict())
    y = torch.round(minnen.g_a(picture))
    expected = minnen.g_s(y)
    decoded = []
    for level in LEVELS:
        d, outputs = rdonet.code(rdonet.features(picture), Masks.uniform(level, 1, 2, 3))
        decoded.append(rdonet.synthesis(d))
        if level == 1:
            # Apart from values near ½, and what the nearly linear GDN changes.
            assert float((outputs[1].latent == y).float().mean()) > 0.99
    inside = (..., slice(32, -32), slice(32, -32))
    error = [float((x - expected)[inside].square().mean()) for x in decoded]
    signal = float(expected[inside].var())
    assert error[0] < 0.02 * signal
    # The deeper levels send means of y: coarse, but the same picture.
    assert error[0] < error[1] < error[2] < signal


@pytest.mark.parametrize("latents", [(16, 16, 16), (24, 12, 8)])
@torch.no_grad()
def test_rdonet_begins_with_the_entropy_model_of_minnen(
    picture: Tensor, latents: tuple[int, ...]
) -> None:
    torch.manual_seed(2)
    minnen = Minnen(N=16, M=latents[0]).eval()
    for name, parameter in minnen.named_parameters():
        if name.startswith(("context", "head", "h_s")):
            parameter.add_(0.05 * torch.randn(parameter.shape))
    state = minnen.state_dict()  # the tensors themselves
    state["h_a.4.weight"].zero_()  # hyper-latents that say nothing
    # Scales of different channels around 1, as trained ones are.
    state["head.4.bias"][: latents[0]] = torch.linspace(0.1, 3.0, latents[0])
    rdonet = RDONet(width=16, backbone_kind="gdn", latents=latents).eval()
    rdonet.begin_with(minnen.state_dict())
    latent, psi = 3 * torch.randn(2, latents[0], 8, 12), torch.randn(2, 2 * latents[0], 8, 12)
    _, means = minnen.latent_model().theta(psi, latent).chunk(2, 1)
    theta = rdonet.unit(1).prior.theta(psi, latent, torch.ones(2, 1, 8, 12))
    theta = theta.view(2, 3, rdonet.config["mixtures"], -1, 8, 12)
    assert torch.allclose(theta[:, 1], means[:, None].expand_as(theta[:, 1]), atol=1e-5)
    inner = torch.nn.functional.interpolate(picture, (512, 768))
    expected = minnen(inner).bits
    bits = rdonet(inner, Masks.uniform(1, 1, 8, 12)).bits
    assert float(bits["y1"]) < 1.1 * float(expected["y"])
    assert float(bits["z1"]) < 1.01 * float(expected["z"])


@pytest.mark.parametrize(("width", "backbone"), [(8, "gdn"), (16, "cheng")])
def test_rdonet_refuses_transforms_that_do_not_fit(width: int, backbone: str) -> None:
    with pytest.raises(ValueError, match=r"fits RDONet of that width .* with the gdn backbone"):
        RDONet(width=width, backbone_kind=backbone).begin_with(Minnen(N=16, M=16).state_dict())
    with pytest.raises(ValueError, match="not the weights of a Minnen"):
        RDONet(width=16).begin_with({"g_a.6.weight": torch.zeros(1)})


def test_jitter_varies_thresholds_within_its_range(rdonet: RDONet, picture: Tensor) -> None:
    """Partitions of a training step are those of thresholds times e^u, |u| <= jitter."""
    base = {"t64": 60.0, "t32": 240.0}

    def mean_level(factor: float, jitter: float = 0.0, seed: int = 0) -> float:
        masks = rdonet.training_partition("variance", picture, seed, base, factor, jitter)
        return float(masks.levels().float().mean())

    assert {mean_level(1, 0, seed) for seed in range(5)} == {mean_level(1)}
    wide = {mean_level(1, 2.0, seed) for seed in range(20)}
    assert len(wide) > 3
    assert mean_level(0.13) <= min(wide) < max(wide) <= mean_level(7.4)


def test_mixed_partitions_are_of_both_kinds(rdonet: RDONet, picture: Tensor) -> None:
    """So that no level is forgotten where thresholds leave it out."""
    x, never = picture[:1].expand(64, -1, -1, -1), {"t64": -1.0, "t32": -1.0}
    of_64 = {
        kind: (rdonet.training_partition(kind, x, 0, never, 1.0, 0.0).levels() == 3)
        for kind in ("random", "variance", "mixed")
    }
    shares = {kind: found.flatten(1).any(1).float().mean() for kind, found in of_64.items()}
    assert shares["variance"] == 0
    assert 0.3 < shares["mixed"] / shares["random"] < 0.7
