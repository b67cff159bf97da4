"""Rate-distortion optimisation: J never rises, and local differences are what they claim."""

import itertools

import pytest
import torch

from codecs.learned.objective import Objective
from codecs.rdonet import search
from codecs.rdonet.cost import CostModel
from codecs.rdonet.maskcoding import encode_masks
from codecs.rdonet.masks import Masks, random_masks, up2, variance_masks
from codecs.rdonet.stream import pad
from tests.rdonet_toys import as_tensor, crop, toy


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def cost_model(height: int, width: int, seed: int = 0, objective: Objective | None = None):
    network = toy().network
    x = pad(as_tensor(crop(height, width, seed)))
    objective = objective or network.objective()
    model = CostModel(network, x, network.features(x), (height, width), objective)
    return model, variance_masks(x, network.thresholds(), (height, width))


@pytest.mark.parametrize("size", [(64, 64), (130, 150), (192, 256)])
@torch.no_grad()
def test_cost_is_that_of_the_network(size):
    """J against its definition: forward pass, mean squared error, partition bytes."""
    height, width = size
    model, masks = cost_model(height, width)
    got = model.evaluate(masks)
    x = pad(as_tensor(crop(*size)))
    out = toy().network(x, masks)
    error = (out.x_hat.clamp(0, 1) - x)[:, :, :height, :width].double().square().mean()
    bits = float(out.total_bits()) + 8 * len(encode_masks(masks))
    expected = toy().network.objective().lambda_eff * float(error) + bits / (height * width)
    assert got.cost == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_cost_with_ms_ssim_uses_the_published_definition():
    from pytorch_msssim import ms_ssim

    model, masks = cost_model(192, 200, objective=Objective(30.0, 1.0, 0.1))
    plain, _ = cost_model(192, 200, objective=Objective(30.0, 1.0, 0.0))
    x = as_tensor(crop(192, 200))
    x_hat = toy().network(pad(x), masks).x_hat[:, :, :192, :200].clamp(0, 1)
    lost = 1 - float(ms_ssim(x, x_hat, data_range=1.0))
    difference = model.evaluate(masks).cost - plain.evaluate(masks).cost
    assert difference == pytest.approx(30 * 0.1 * lost, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_cost_never_rises_from_mode_to_mode(seed):
    size = [(192, 256), (65, 300), (250, 130), (320, 192)][seed]
    model, start = cost_model(size[0], size[1], seed)
    zero = model.evaluate(start).cost
    finest = model.evaluate(Masks.uniform(1, 1, *start.shape)).cost
    model.runs = 0
    one = search.one_pass(model, start)
    assert one.runs == model.runs <= search.ONE_PASS_RUNS
    model.runs = 0
    full = search.full(model, start)
    assert full.runs == model.runs <= search.MAX_RUNS
    assert zero == one.start_cost == full.start_cost
    assert full.cost <= one.cost <= min(zero, finest)
    # What was found is what an independent run of those partitions costs.
    again, _ = cost_model(size[0], size[1], seed)
    assert again.evaluate(one.masks).cost == pytest.approx(one.cost, rel=1e-9)
    assert again.evaluate(full.masks).cost == pytest.approx(full.cost, rel=1e-9)


@torch.no_grad()
def test_search_finds_better_partitions_than_it_starts_from():
    gains = []
    for seed in range(3):
        model, _ = cost_model(192, 192, seed)
        start = random_masks(1, 3, 3, torch.Generator().manual_seed(seed))
        result = search.full(model, start)
        gains.append(1 - result.cost / result.start_cost)
    assert min(gains) > 0.01


@torch.no_grad()
def test_each_sweep_lowers_cost_or_keeps_the_partition():
    model, start = cost_model(192, 256, 3)
    best = model.evaluate(start)
    for period in (2, 2, 3):
        after = search.sweep(model, best, start, period, max_runs=1000)
        assert after.cost < best.cost or after.masks.same(best.masks)
        best = after


@torch.no_grad()
def test_window_sums_of_a_whole_picture_are_its_change_of_cost():
    model, start = cost_model(192, 256)
    before = model.evaluate(start)
    field = torch.zeros(3, 4, dtype=torch.bool)
    field[1, 2] = True
    other = search.toggled(start, start, field, 0)
    after = model.evaluate(other)
    change = search.window_sums(after.density - before.density, 2 * 7)[1, 2]
    flags = 8 * (len(encode_masks(other)) - len(encode_masks(start))) / model.pixels
    assert float(change) + flags == pytest.approx(after.cost - before.cost, rel=1e-6)


def test_windows_of_a_colour_tile_the_picture():
    density = torch.rand(24, 36, dtype=torch.float64)
    for period in (1, 2, 3):
        sums = search.window_sums(density, 2 * (period - 1))
        for i, j in itertools.product(range(6), range(9)):
            rows = slice(max(0, 4 * i - 2 * (period - 1)), 4 * i + 4 + 2 * (period - 1))
            columns = slice(max(0, 4 * j - 2 * (period - 1)), 4 * j + 4 + 2 * (period - 1))
            assert float(sums[i, j]) == pytest.approx(float(density[rows, columns].sum()))


def test_bottom_up_decision_is_the_best_of_all_partitions():
    generator = torch.Generator().manual_seed(4)
    densities = [torch.rand(4, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    pixels = 100

    def cost(masks):
        levels = masks.levels()[0].long()
        local = torch.stack(densities).gather(0, levels[None] - 1).sum()
        return float(local) + 4 * float(masks.s64.sum()) / pixels

    flags = itertools.product([False, True], repeat=5)
    everything = [
        Masks(torch.tensor(f[0]).view(1, 1, 1, 1), torch.tensor(f[1:]).view(1, 1, 2, 2))
        for f in flags
    ]
    found = search.decide_bottom_up(densities, pixels)
    assert cost(found) == pytest.approx(min(cost(m) for m in everything))


def test_toggles_change_what_they_name_and_nothing_else():
    generator = torch.Generator().manual_seed(6)
    masks, start = random_masks(1, 4, 5, generator), random_masks(1, 4, 5, generator)
    field = torch.rand(4, 5, generator=generator) < 0.5
    for k in search.TOGGLES:
        other = search.toggled(masks, start, field, k)
        changed = search.differs(masks, other)
        assert not changed[~field].any()
        if k == 0:
            assert torch.equal(other.s64 ^ masks.s64, field[None, None])
            merged = up2(field & masks.s64)
            assert not (other.s32 & merged).any()
        else:
            assert torch.equal(other.s64, masks.s64)
            assert torch.equal(changed, field & masks.s64[0, 0])
    mixed = search.composed(masks, start, field)
    assert torch.equal(search.differs(masks, mixed), search.differs(masks, start) & field)
