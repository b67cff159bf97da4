"""Block partitions: the invariant, how they are chosen, how they are coded."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codecs.rdonet.maskcoding import decode_masks, encode_masks, mask_bits
from codecs.rdonet.masks import (
    Masks,
    VarianceThresholds,
    block_variances,
    ctu_grid,
    random_masks,
    up2,
    variance_masks,
)


def times_sent(masks: Masks) -> torch.Tensor:
    """How often each 16 x 16 block is covered, counted from the three grids alone."""
    m1, m2, m3 = (masks.sent(level).int() for level in (1, 2, 3))
    return m1 + up2(m2) + up2(up2(m3))


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 127), (512, 768), (1365, 2048)])
def test_every_position_is_sent_exactly_once(size):
    rows, columns = ctu_grid(*size)
    generator = torch.Generator().manual_seed(1)
    candidates = [random_masks(3, rows, columns, generator)]
    candidates += [Masks.uniform(level, 2, rows, columns) for level in (1, 2, 3)]
    for masks in candidates:
        covered = times_sent(masks)
        assert covered.shape[-2:] == (4 * rows, 4 * columns)
        assert torch.all(covered == 1)


def test_a_tree_unit_has_seventeen_partitions():
    seen = set()
    for flags in itertools.product([False, True], repeat=5):
        masks = Masks(
            torch.tensor(flags[0]).view(1, 1, 1, 1), torch.tensor(flags[1:]).view(1, 1, 2, 2)
        )
        assert torch.all(times_sent(masks) == 1)
        seen.add(tuple(masks.levels().flatten().tolist()))
    assert len(seen) == 17
    assert {(level,) * 16 for level in (1, 2, 3)} <= seen


def test_levels_agree_with_the_grids():
    masks = random_masks(4, 3, 5, torch.Generator().manual_seed(2))
    levels = masks.levels()[:, None]
    assert torch.equal(levels == 1, masks.sent(1))
    assert torch.equal(levels == 2, up2(masks.sent(2)))
    assert torch.equal(levels == 3, up2(up2(masks.sent(3))))


def test_random_masks_use_all_levels_equally_and_include_uniform_ones():
    masks = random_masks(3000, 2, 2, torch.Generator().manual_seed(3))
    levels = masks.levels()
    for level in (1, 2, 3):
        assert abs((levels == level).float().mean().item() - 1 / 3) < 0.02
        assert (levels == level).flatten(1).all(1).float().mean() > 0.03
    again = random_masks(3000, 2, 2, torch.Generator().manual_seed(3))
    assert masks.same(again)
    finest = torch.tensor([0.0, 0.5, 1.0]).repeat(1000)
    some = random_masks(3000, 2, 2, torch.Generator().manual_seed(3), finest).levels()
    assert torch.equal(some[::3], levels[::3])
    assert 0.5 < (some[1::3] == 1).flatten(1).all(1).float().mean() < 0.6
    assert bool((some[2::3] == 1).all())


def test_variances_equal_numpy_and_leave_padding_out():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (100, 70, 3)).astype(np.float64)
    padded = np.full((128, 128, 3), 255.0)
    padded[:100, :70] = picture
    x = torch.from_numpy(padded / 255).float().permute(2, 0, 1)[None]
    luma = picture @ [0.299, 0.587, 0.114]
    for block in (32, 64):
        got = block_variances(x, block, (100, 70))[0, 0].numpy()
        for (i, j), value in np.ndenumerate(got):
            part = luma[i * block : (i + 1) * block, j * block : (j + 1) * block]
            assert value == pytest.approx(part.var() if part.size else 0.0, rel=1e-4)


def test_variance_masks_follow_their_thresholds():
    x = torch.full((1, 3, 64, 128), 0.5)
    x[:, :, :32, 64:96] += torch.tensor([0.3, -0.3]).repeat(16)[None, None, None, :]
    masks = variance_masks(x, VarianceThresholds(100, 400))
    assert masks.s64.flatten().tolist() == [False, True]
    assert masks.s32[0, 0].int().tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]
    assert variance_masks(x, VarianceThresholds(1e9, 1e9)).same(Masks.uniform(3, 1, 1, 2))


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_coded_masks_come_back_and_cost_little(rows, columns, share, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = Masks(
        torch.rand(1, 1, rows, columns, generator=generator) < share,
        torch.rand(1, 1, 2 * rows, 2 * columns, generator=generator) < share,
    )
    data = encode_masks(masks)
    assert decode_masks(data, rows, columns).same(masks)
    assert 8 * len(data) <= 5 * rows * columns + 16
    assert 8 * len(data) <= mask_bits(masks) * 1.002 + 16


def test_masks_of_a_large_picture_cost_no_more_than_their_entropy_allows():
    masks = random_masks(1, 22, 32, torch.Generator().manual_seed(8))
    data = encode_masks(masks)
    assert decode_masks(data, 22, 32).same(masks)
    flat = encode_masks(Masks.uniform(3, 1, 22, 32))
    assert len(flat) < 12


@settings(deadline=None, max_examples=50)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_some_partition(data):
    assert torch.all(times_sent(decode_masks(data, 3, 4)) == 1)


def test_impossible_flags_are_refused():
    with pytest.raises(ValueError, match="do not belong together"):
        Masks(torch.zeros(1, 1, 2, 2, dtype=torch.bool), torch.zeros(1, 1, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="no level 4"):
        Masks.uniform(4, 1, 1, 1)
