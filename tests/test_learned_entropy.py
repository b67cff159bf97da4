"""Probability models and their integer tables against scipy and numeric integration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from codecs.base import BitstreamError, EncodeError
from codecs.learned.coders.density import GaussianDensity, MixtureDensity
from codecs.learned.coders.factorised import FactorisedCoder, FactorisedPrior
from codecs.learned.coders.likelihood import (
    gaussian_likelihood,
    gaussian_mass,
    mixture_likelihood,
)
from codecs.learned.coders.rangecoding import SymbolDecoder, SymbolEncoder
from codecs.learned.coders.tables import (
    MAX_WINDOW,
    TOTAL,
    ScaleTable,
    exponential,
    mixture_weights,
    normal_cumulative,
)
from codecs.learned.exact.arithmetic import LATENT_LIMIT


def test_gaussian_mass_is_the_integral() -> None:
    for value, mean, scale in [(0, 0.3, 0.2), (3, -1.2, 2.5), (-7, 0.0, 1.0)]:
        expected, _ = integrate.quad(
            stats.norm(mean, scale).pdf, value - 0.5, value + 0.5, epsabs=0, epsrel=1e-10
        )
        args = (torch.tensor(float(v), dtype=torch.float64) for v in (value, mean, scale))
        assert gaussian_mass(*args).item() == pytest.approx(expected, rel=1e-9)


def test_mixture_of_one_is_the_gaussian_and_sums_to_one() -> None:
    values = torch.arange(-200.0, 201.0, dtype=torch.float64).view(1, 1, 1, -1)
    shape = (1, 1, 1, 1, values.numel())
    mean, scale = torch.full(shape, 0.37).double(), torch.full(shape, 3.1).double()
    single = mixture_likelihood(values, torch.ones(shape).double(), mean, scale)
    assert torch.equal(single, gaussian_likelihood(values, mean[:, 0], scale[:, 0]))
    weights = torch.tensor([0.2, 0.5, 0.3]).double().view(1, 3, 1, 1, 1).expand(1, 3, 1, 1, 401)
    means = torch.tensor([-3.3, 0.1, 9.0]).double().view(1, 3, 1, 1, 1).expand(1, 3, 1, 1, 401)
    scales = torch.tensor([0.2, 5.0, 1.0]).double().view(1, 3, 1, 1, 1).expand(1, 3, 1, 1, 401)
    total = mixture_likelihood(values, weights, means, scales).sum().item()
    assert total == pytest.approx(1, abs=401e-9)


def random_prior(channels: int = 5) -> FactorisedPrior:
    torch.manual_seed(1)
    prior = FactorisedPrior(channels, init_scale=4.0)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    prior.set_medians()
    return prior


def test_factorized_prior_is_a_density() -> None:
    prior = random_prior()
    medians = prior.medians.double()
    logits = prior.logits(medians[:, None, None])[:, 0, 0]
    assert logits.detach().abs().max() < 1e-5
    values = torch.arange(-400.0, 401.0, dtype=torch.float64).expand(5, 1, -1)
    assert prior.mass(values).sum(-1).detach() == pytest.approx(np.ones((5, 1)), abs=1e-9)
    tail = prior.logits(prior.quantile(-9.0)[:, None, None])
    assert tail.detach().flatten() == pytest.approx(np.full(5, -9.0), abs=1e-6)


def test_integer_normal_and_exponential() -> None:
    u = np.arange(-(8 << 12), (8 << 12) + 1) / 4096
    assert np.abs(normal_cumulative() - special.ndtr(u) * TOTAL).max() < 1
    assert np.abs(exponential() - np.exp(-np.arange(1024) / 64) * 2**20).max() <= 1


def test_integer_softmax() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (50, 3, 7))
    weights = mixture_weights(np.round(logits * 4096).astype(np.int64))
    assert (weights.sum(1) == 4096).all()
    assert (weights >= 0).all()
    assert weights / 4096 == pytest.approx(special.softmax(logits, 1), abs=0.005)


def test_scales_go_to_the_nearest_level() -> None:
    floor = 0.04
    plain = ScaleTable.build(0.11)
    softplus = ScaleTable.build(floor + 0.01, raw=lambda s: np.log(np.expm1(s - floor)))
    for table, to_scale in ((plain, lambda r: r), (softplus, lambda r: np.logaddexp(0, r) + floor)):
        levels = (64 << 12) / table.inverse
        first, lookup = table.lookup()
        raw = np.arange(-30_000, 600_000, 37)
        chosen = levels[lookup[np.clip(raw - first, 0, len(lookup) - 1)]]
        scale = to_scale(raw / 4096.0)
        distance = np.abs(np.log(np.maximum(scale, 1e-3))[:, None] - np.log(levels))
        assert np.abs(np.log(np.maximum(scale, 1e-3) / chosen)) == pytest.approx(
            distance.min(1), abs=0.02
        )


@pytest.mark.parametrize("bad", ["thresholds", "inverse", "length"])
def test_malformed_scale_tables_are_refused(bad: str) -> None:
    table = ScaleTable.build(0.11)
    thresholds, inverse = table.thresholds.copy(), table.inverse.copy()
    if bad == "thresholds":
        thresholds[3] = 1 << 40
    elif bad == "inverse":
        inverse[-1] = 0
    else:
        thresholds = thresholds[1:]
    with pytest.raises(ValueError, match="malformed"):
        ScaleTable(thresholds, inverse)


def _gaussian_case(rng: np.random.Generator, n: int, m: int):
    scales = np.exp(rng.normal(-0.5, 1.3, (n, m))).clip(0.11, 100)
    means = rng.normal(0, 2, (n, m))
    latents = np.round(means + scales * rng.normal(size=(n, m))).astype(np.int32)
    theta = np.round(np.concatenate([scales, means], 1) * 4096)
    values, mean, scale = (torch.from_numpy(a) for a in (latents, means, scales))
    ideal = gaussian_likelihood(values, mean, scale)
    return GaussianDensity(ScaleTable.build(0.11)), latents, theta, -torch.log2(ideal).sum().item()


def _mixture_case(rng: np.random.Generator, n: int, m: int):
    logits = rng.normal(size=(n, 3, m))
    means = rng.normal(0, 2, (n, 3, m))
    scales = np.exp(rng.normal(-0.5, 1.0, (n, 3, m))).clip(0.05, 60)
    weights = special.softmax(logits, 1)
    pick = (rng.random((n, 1, m)) > weights.cumsum(1)).sum(1, keepdims=True)
    mean, scale = (np.take_along_axis(a, pick, 1)[:, 0] for a in (means, scales))
    latents = np.round(mean + scale * rng.normal(size=(n, m))).astype(np.int32)
    theta = np.round(np.stack([logits, means, scales], 1).reshape(n, -1) * 4096)
    tensors = (torch.from_numpy(a)[..., None, None] for a in (latents, weights, means, scales))
    ideal = mixture_likelihood(*tensors)
    return MixtureDensity(ScaleTable.build(0.05)), latents, theta, -torch.log2(ideal).sum().item()


@pytest.mark.parametrize("case", [_gaussian_case, _mixture_case])
def test_coded_size_is_the_ideal_one(case) -> None:
    """Within 0.2 % of -log2 of the real-valued likelihoods."""
    density, latents, theta, ideal = case(np.random.default_rng(5), 300, 20)
    encoder = SymbolEncoder()
    density.encode(encoder, latents, theta)
    payload = encoder.get_bytes()
    assert np.array_equal(density.decode(SymbolDecoder(payload), theta), latents)
    assert len(payload) * 8 == pytest.approx(ideal, rel=2e-3, abs=64)


@pytest.mark.parametrize("case", [_gaussian_case, _mixture_case])
def test_outliers_are_escaped(case) -> None:
    density, latents, theta, _ = case(np.random.default_rng(6), 10, 8)
    latents[0, 0], latents[3, 3], latents[9, 7] = LATENT_LIMIT, -LATENT_LIMIT, 700
    encoder = SymbolEncoder()
    density.encode(encoder, latents, theta)
    payload = encoder.get_bytes()
    assert np.array_equal(density.decode(SymbolDecoder(payload), theta), latents)


@pytest.mark.parametrize("values", [(-1,), (1,), (-1, 1), (-9, 9), (-1, 0, 40)])
def test_streams_of_unlikely_values_are_read_to_their_end(values: tuple[int, ...]) -> None:
    """A channel that was always 0 in training: what the range coder rounds in their favour must
    not be taken for the end of the file."""
    table = np.array([1, 1, TOTAL, 1], np.int32)
    symbols = np.tile(np.array(values, np.int32), 6000)
    encoder = SymbolEncoder()
    for part in np.split(symbols, 100):
        encoder.encode_static(part, table, -1)
    decoder = SymbolDecoder(encoder.get_bytes())
    read = [decoder.decode_static(len(symbols) // 100, table, -1) for _ in range(100)]
    assert np.array_equal(np.concatenate(read), symbols)


def test_streams_under_small_tables_are_read_to_their_end() -> None:
    """The coder brings a table that sums to anything to its own precision."""
    values = np.arange(-4096, 4097, 5, dtype=np.int32)
    encoder, table = SymbolEncoder(), np.ones(8193, np.int32)
    encoder.encode_static(values, table, -4096)
    decoder = SymbolDecoder(encoder.get_bytes())
    assert np.array_equal(decoder.decode_static(len(values), table, -4096), values)


@pytest.mark.parametrize("fault", ["hole", "little", "much"])
def test_malformed_tables_of_a_factorised_prior_are_refused(fault: str) -> None:
    tables = FactorisedCoder.export(random_prior())
    row = tables["frequencies"][2]
    likely = int(row.argmax())
    if fault == "hole":
        row[likely] += row[2]
        row[2] = 0
    else:
        row[likely] += 2 * MAX_WINDOW if fault == "much" else -2
    with pytest.raises(ValueError, match="malformed"):
        FactorisedCoder(tables)


@pytest.mark.parametrize("case", [_gaussian_case, _mixture_case])
def test_extreme_parameters_are_coded(case) -> None:
    """θ at the ends of its range, as damaged streams produce: still a proper code."""
    density, latents, theta, _ = case(np.random.default_rng(7), 12, 8)
    theta[:] = np.random.default_rng(8).choice([-(1 << 24), 0, 1 << 24], theta.shape)
    latents[:] = np.random.default_rng(9).choice([-LATENT_LIMIT, 0, LATENT_LIMIT], latents.shape)
    encoder = SymbolEncoder()
    density.encode(encoder, latents, theta)
    assert np.array_equal(density.decode(SymbolDecoder(encoder.get_bytes()), theta), latents)


def test_hyperlatents_of_the_prior() -> None:
    prior = random_prior()
    prior.medians.copy_(torch.round(prior.medians * 4096) / 4096)  # no ties decided otherwise
    coder = FactorisedCoder(FactorisedCoder.export(prior))
    rng = np.random.default_rng(2)
    uniform = torch.from_numpy(rng.uniform(0.001, 0.999, (5, 4000)))
    low, high = prior.quantile(-30)[:, None], prior.quantile(30)[:, None]
    for _ in range(40):
        middle = (low + high) / 2
        below = torch.sigmoid(prior.logits(middle[:, None])[:, 0]) < uniform
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    z = low.detach().float()
    symbols = coder.symbols(z)
    rounded = prior.round(z[None, :, :, None])
    grid = coder.to_grid(symbols).numpy() / 4096
    assert grid == pytest.approx(rounded[0, :, :, 0].numpy(), abs=2e-4)
    symbols[1, 5], symbols[4, 0] = LATENT_LIMIT, -LATENT_LIMIT
    encoder = SymbolEncoder()
    coder.encode(encoder, symbols)
    payload = encoder.get_bytes()
    assert np.array_equal(coder.decode(SymbolDecoder(payload), 4000), symbols)
    ideal = -torch.log2(prior.likelihood(rounded)).sum().item()
    assert len(payload) * 8 == pytest.approx(ideal, rel=2e-3, abs=200)


def test_truncated_payloads_are_noticed() -> None:
    """The account of information: half a payload cannot be decoded to the end."""
    density, latents, theta, _ = _gaussian_case(np.random.default_rng(5), 300, 20)
    encoder = SymbolEncoder()
    density.encode(encoder, latents, theta)
    payload = encoder.get_bytes()
    with pytest.raises(BitstreamError, match=r"cut|damaged"):
        density.decode(SymbolDecoder(payload[: len(payload) // 8 * 4]), theta)
    with pytest.raises(BitstreamError, match="whole number of words"):
        SymbolDecoder(payload[:-1])


def test_invented_payloads_end_soon() -> None:
    density, _, theta, _ = _gaussian_case(np.random.default_rng(5), 300, 20)
    rng = np.random.default_rng(0)
    for _ in range(20):
        decoder = SymbolDecoder(rng.bytes(40))
        with pytest.raises(BitstreamError):
            density.decode(decoder, theta)


def test_values_beyond_all_escapes_are_refused() -> None:
    with pytest.raises(EncodeError, match="beyond its coding window"):
        SymbolEncoder().encode(
            np.array([1 << 15], np.int32), np.full((1, 4), TOTAL / 4, np.float32), 1
        )


@pytest.mark.parametrize("frequency", [0, 1, 2])
def test_the_least_likely_values_are_no_cut_payload(frequency: int) -> None:
    """The coder adds 1 to each frequency: reckoned without, such values weigh up to a bit more than
    their payload has, and a sound file of many was refused."""
    half, count = 2, 20_000
    rows = np.full((count, 2 * half + 2), frequency, np.float32)
    rows[:, half] = TOTAL - rows[:, 1:].sum(1)
    values = np.random.default_rng(0).choice([-2, -1, 1, 2], count).astype(np.int32)
    encoder = SymbolEncoder()
    encoder.encode(values, rows, half)
    assert np.array_equal(SymbolDecoder(encoder.get_bytes()).decode(rows, half), values)
    table = rows[0].astype(np.int32)
    low = -half + 1  # column 0 escapes
    encoder = SymbolEncoder()
    encoder.encode_static(values.clip(low), table, low)
    decoder = SymbolDecoder(encoder.get_bytes())
    assert np.array_equal(decoder.decode_static(count, table, low), values.clip(low))
