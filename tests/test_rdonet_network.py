"""The network: shapes, independence of masks, causality, rates."""

import math

import pytest
import torch
from scipy import stats
from torch.nn import functional

from codecs.rdonet.cost import SYNTHESIS_HALO
from codecs.rdonet.masks import Masks, ctu_grid, random_masks
from codecs.rdonet.network import RDONet
from codecs.rdonet.stream import ANALYSIS_HALO, pad
from codecs.rdonet.unit import ConditionalHyperprior, round_latent, sent_cells


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def network(**changes):
    return RDONet(**{"width": 8, **changes}).eval()


def picture(height, width, batch=1):
    smooth = torch.randn(batch, 3, height // 16 + 2, width // 16 + 2)
    x = torch.sigmoid(functional.interpolate(smooth, (height, width), mode="bicubic"))
    return (x + 0.05 * torch.randn(x.shape)).clamp(0, 1)


@pytest.mark.parametrize(
    ("size", "latents"),
    [((64, 64), (8, 8, 8)), ((65, 127), (12, 6, 4)), ((512, 768), ()), ((1365, 2048), ())],
)
@torch.no_grad()
def test_shapes(size, latents):
    net = network(latents=latents)
    channels = latents or (8, 8, 8)
    x = pad(picture(*size))
    rows, columns = ctu_grid(*size)
    assert x.shape == (1, 3, 64 * rows, 64 * columns)
    features = net.features(x)
    masks = random_masks(1, rows, columns, torch.Generator().manual_seed(0))
    d1, outputs = net.code(features, masks)
    for level, factor in ((1, 4), (2, 2), (3, 1)):
        grid = (rows * factor, columns * factor)
        cells = tuple(-(-n // 4) for n in grid)
        assert features[level - 1].shape == (1, channels[level - 1], *grid)
        assert outputs[level].latent.shape == (1, channels[level - 1], *grid)
        assert outputs[level].y_bits.shape == (1, *grid)
        assert outputs[level].z_bits.shape == (1, *cells)
    assert outputs[3].features.shape == (1, channels[2], 2 * rows, 2 * columns)
    assert outputs[2].features.shape == (1, channels[1], 4 * rows, 4 * columns)
    assert d1.shape == (1, 8, 4 * rows, 4 * columns)
    assert net.synthesis(d1).shape == x.shape


@pytest.mark.parametrize("preset", ["paper", "compact", "compact-gdn", "original"])
def test_presets_train_and_rebuild_from_their_configuration(preset):
    net = RDONet.preset(preset, width=8)
    masks = random_masks(2, 2, 2, torch.Generator().manual_seed(1))
    masks = Masks.cat([masks, *(Masks.uniform(level, 1, 2, 2) for level in (1, 2, 3))])
    out = net(picture(128, 128, 5), masks)
    assert set(out.bits) == {"y1", "z1", "y2", "z2", "y3", "z3"}
    assert all(b.shape == (5,) for b in out.bits.values())
    (out.total_bits().sum() + out.x_hat.square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    twin = RDONet.from_config(net.config)
    twin.load_state_dict(net.state_dict())
    assert twin.config == net.config


def test_paper_preset_has_the_size_of_the_published_network():
    with torch.device("meta"):
        net = RDONet.preset("paper")
    millions = sum(p.numel() for p in net.parameters()) / 1e6
    assert millions == pytest.approx(82.1, abs=1.0)


@torch.no_grad()
def test_untrained_latents_are_not_all_zero():
    net = network()
    _, outputs = net.code(net.features(picture(128, 128)), Masks.uniform(1, 1, 2, 2))
    assert outputs[1].latent.abs().mean() > 0.3
    _, outputs = net.code(net.features(picture(128, 128)), Masks.uniform(3, 1, 2, 2))
    assert outputs[3].latent.abs().mean() > 0.1


@torch.no_grad()
def test_each_picture_of_a_batch_is_coded_by_itself():
    net = network()
    x = picture(128, 64, 3)
    masks = random_masks(3, 2, 1, torch.Generator().manual_seed(3))
    together = net(x, masks)
    for i in range(3):
        alone = net(x[i : i + 1], masks[i])
        torch.testing.assert_close(alone.x_hat[0], together.x_hat[i], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            alone.total_bits()[0], together.total_bits()[i], rtol=1e-3, atol=1e-2
        )


@torch.no_grad()
def test_only_sent_positions_reach_decoder_and_context():
    """t̂ is 0 where nothing is sent, in training too: noise is masked."""
    net = network()
    features = net.features(picture(128, 128))
    masks = random_masks(1, 2, 2, torch.Generator().manual_seed(5))
    for training in (True, False):
        net.train(training)
        _, outputs = net.code(features, masks)
        for level, out in outputs.items():
            sent = masks.sent(level)
            assert not out.latent[~sent.expand_as(out.latent)].any()
            assert not out.y_bits[~sent[:, 0]].any()
            if training and sent.any():
                assert out.latent[sent.expand_as(out.latent)].frac().any()


@torch.no_grad()
def test_what_the_encoder_would_have_sent_elsewhere_changes_nothing():
    """Features below positions that are not sent reach neither bits nor picture at this level."""
    net = network()
    features = list(net.features(picture(128, 128)))
    masks = Masks.uniform(1, 1, 2, 2)
    d, before = net.code(features, masks)
    features[1], features[2] = torch.randn_like(features[1]), torch.randn_like(features[2])
    e, after = net.code(features, masks)
    assert torch.equal(d, e)
    assert torch.equal(before[1].y_bits, after[1].y_bits)


@pytest.mark.parametrize("level", [1, 2, 3])
@torch.no_grad()
def test_context_is_causal_in_wavefronts(level):
    """Changing latents of front t leaves θ at fronts <= t as it was."""
    prior = network().unit(level).prior
    h, w = 9, 11
    psi, sent = torch.randn(1, 16, h, w), torch.ones(1, 1, h, w)
    latent = torch.randn(1, 8, h, w).mul(3).round()
    before = prior.theta(psi, latent, sent)
    front = torch.arange(w) + 3 * torch.arange(h)[:, None]
    for t in range(0, int(front.max()) + 1, 5):
        changed = torch.where(front == t, latent + 5, latent)
        after = prior.theta(psi, changed, sent)
        same = (before == after).all(1)[0]
        assert same[front <= t].all()
        assert t > 25 or not same.all()


@torch.no_grad()
def test_a_uniform_finest_partition_costs_nothing_at_deeper_levels():
    out = network()(picture(128, 192), Masks.uniform(1, 1, 2, 3))
    assert out.bits["y1"] > 0
    assert [out.bits[k].item() for k in ("y2", "z2", "y3", "z3")] == [0, 0, 0, 0]


@torch.no_grad()
def test_hyper_latents_are_coded_where_something_is_sent():
    sent = torch.zeros(1, 1, 9, 8)
    sent[0, 0, 8, 3] = 1
    assert sent_cells(sent)[0, 0].tolist() == [[0, 0], [0, 0], [1, 0]]
    everything = network(skip_z=False)(picture(64, 64), Masks.uniform(1, 1, 1, 1))
    assert everything.bits["z3"] > 0


@pytest.mark.parametrize("mixtures", [1, 3])
@torch.no_grad()
def test_likelihood_is_the_mixture_integrated_over_unit_intervals(mixtures):
    prior = ConditionalHyperprior(4, 4, 4, mixtures, True, True, True)
    theta = torch.randn(1, 3, mixtures, 4, 1, 1) * 2
    values = torch.arange(-60, 61.0)
    flat = theta.flatten(1, 3)
    ones = torch.ones(1, 4, 1, 1)
    mass = torch.stack([prior.density.likelihood(v * ones, flat) for v in values])
    assert mass.sum(0).flatten().tolist() == pytest.approx([1] * 4, abs=1e-4)
    for channel in range(4):
        logits, means, raw = theta[0, :, :, channel, 0, 0].double().numpy()
        scales = [math.log1p(math.exp(r)) + 0.04 for r in raw]
        w = [math.exp(x) for x in logits]
        for i in range(55, 66):
            v = float(values[i])
            expected = sum(
                wk / sum(w) * (stats.norm.cdf(v + 0.5, m, s) - stats.norm.cdf(v - 0.5, m, s))
                for wk, m, s in zip(w, means, scales, strict=True)
            )
            assert mass[i, 0, channel].item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("kind", ["cheng", "gdn"])
@torch.no_grad()
def test_backbones_look_no_further_than_their_halos(kind):
    """Bands of a large picture are cut with these halos; beyond them nothing may change."""
    net = network(backbone_kind=kind)
    stride = 16 if kind == "cheng" else 8
    x = torch.rand(1, 3, 40 * stride, 2 * stride)
    edge = 20 * stride
    other = torch.where(torch.arange(40 * stride)[:, None] < edge, x, torch.rand(x.shape))
    a, b = net.analysis(x), net.analysis(other)
    assert torch.equal(a[:, :, : 20 - ANALYSIS_HALO], b[:, :, : 20 - ANALYSIS_HALO])
    d = torch.randn(1, 8, 40, 2)
    other = torch.where(torch.arange(40)[:, None] < 20, d, torch.randn(d.shape))
    a, b = net.synthesis(d), net.synthesis(other)
    inside = stride * (20 - SYNTHESIS_HALO)
    assert torch.equal(a[:, :, :inside], b[:, :, :inside])
    assert not torch.equal(a[:, :, :edge], b[:, :, :edge])


def test_bad_configurations_are_refused():
    with pytest.raises(ValueError, match="no such network"):
        RDONet(width=8, backbone_kind="vgg")
    with pytest.raises(ValueError, match=r"latents .* of three levels"):
        RDONet(width=8, latents=(8, 8))
    with pytest.raises(ValueError, match="no preset"):
        RDONet.preset("tiny")


def test_rounding_stays_within_what_streams_carry():
    assert round_latent(torch.tensor([0.4, -1e9, 1e9])).tolist() == [0, -4096, 4096]
