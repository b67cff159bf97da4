"""What makes `toderici2016` and `toderici2017`: cells, binariser, loss, model of bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from codecs.base import BitstreamError
from codecs.learned.coders.bits import LIMIT, Bits, ContextBits, RawBits
from codecs.learned.network import kmac_per_pixel
from codecs.learned.recurrent import ConvLSTM, ResidualGRU
from codecs.toderici import PENALTY, RecurrentNetwork, Toderici2016, Toderici2017, Toderici2017Deep


def at(conv: nn.Module, v: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a convolution makes of one position [C] of a picture of one position."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    centre = conv.weight[:, :, conv.kernel_size[0] // 2, conv.kernel_size[1] // 2]
    return centre.detach().numpy() @ v + conv.bias.detach().numpy()


def sigma(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-v))


def test_the_lstm_is_that_of_the_equations() -> None:
    torch.manual_seed(0)
    cell, x = ConvLSTM(3, 4, 1), np.array([0.3, -1.0, 2.0])
    c = h = np.zeros(4)
    state = None
    for step in range(3):
        sums = at(cell.of_input, x) + (at(cell.of_state, h) if step else 0)
        i, f, o, g = np.split(sums, 4)
        c = sigma(f + 1) * c + sigma(i) * np.tanh(g)
        h = sigma(o) * np.tanh(c)
        out, state = cell(torch.tensor(x, dtype=torch.float32).view(1, 3, 1, 1), state)
        assert np.allclose(out.detach().flatten(), h, atol=1e-6)


def test_the_residual_gru_is_that_of_the_paper() -> None:
    """h = (1 - z) h' + z tanh(W x + U (r h')) + 0.1 W_h h'; h + 0.1 W_x x."""
    torch.manual_seed(0)
    cell, x = ResidualGRU(3, 4, 3), np.array([0.3, -1.0, 2.0])
    h = np.zeros(4)
    state = None
    for step in range(3):
        of_z, of_r, of_c = np.split(at(cell.of_input, x), 3)
        if step:
            u_z, u_r, pulled = np.split(at(cell.of_state, h), 3)
            z, r = sigma(of_z + u_z), sigma(of_r + u_r)
            inner = np.tanh(of_c + at(cell.of_gated_state, r * h))
            h = (1 - z) * h + z * inner + 0.1 * pulled
        else:
            h = sigma(of_z) * np.tanh(of_c)
        expected = h + 0.1 * at(cell.shortcut, x)
        out, state = cell(torch.tensor(x, dtype=torch.float32).view(1, 3, 1, 1), state)
        assert np.allclose(out.detach().flatten(), expected, atol=1e-6)


def test_bits_are_drawn_while_training_and_signs_else() -> None:
    """1 with probability (1 + v)/2, and the gradient of v."""
    torch.manual_seed(0)
    network = Toderici2016(N=16, M=4, passes=1)
    v = torch.full((100_000,), 0.5, requires_grad=True)
    drawn = network.train().binarise(v)
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    assert drawn.mean().item() == pytest.approx(math.tanh(0.5), abs=0.01)
    drawn.sum().backward()
    assert v.grad is not None
    assert torch.allclose(v.grad, torch.full_like(v, 1 - math.tanh(0.5) ** 2))
    signs = network.eval().binarise(torch.tensor([-0.1, 0.1, 3.0]))
    assert signs.tolist() == [-1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", [Toderici2016, Toderici2017])
def test_the_loss_is_the_mean_residual_of_all_passes(kind: type[RecurrentNetwork]) -> None:
    torch.manual_seed(0)
    network = kind(N=16, M=4, passes=3).eval()
    x = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        out = network(x)
        residuals = [(x - shown).abs().mean((1, 2, 3)) for _, shown in network.encodings(x)]
    assert out.penalty is not None
    assert torch.allclose(out.penalty, PENALTY * torch.stack(residuals).mean(0))
    assert torch.allclose((x - out.x_hat).abs().mean((1, 2, 3)), residuals[-1])


def test_gradients_go_back_through_states_and_not_through_residuals() -> None:
    network = Toderici2017(N=16, M=4, passes=2).train()
    _, (bits, _) = network.encodings(torch.rand(1, 3, 32, 32))
    weights = (network.decoder.last.weight, network.encoder.first.weight)
    through_residual, through_state = torch.autograd.grad(bits.sum(), weights, allow_unused=True)
    assert through_residual is None
    assert through_state is not None


def test_bits_alone_cost_an_eighth_of_a_bit_per_pixel_and_pass() -> None:
    network = Toderici2016(N=16, M=32).eval()
    with torch.no_grad():
        bits = network(torch.rand(1, 3, 64, 64)).total_bits().item()
    assert bits / 64**2 == 16 / 8


def test_what_bits_cost_moves_no_picture() -> None:
    network = Toderici2017(N=16, M=4, passes=2).train()
    network(torch.rand(1, 3, 32, 32)).total_bits().sum().backward()
    moved = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert moved == {"bits"}


def test_the_deeper_one_has_the_same_weights_and_twice_the_operations() -> None:
    plain, deep = (kind(N=16, M=8, passes=2) for kind in (Toderici2017, Toderici2017Deep))
    assert plain.state_dict().keys() == deep.state_dict().keys()
    once, twice = kmac_per_pixel(plain), kmac_per_pixel(deep)
    assert 1.9 < twice / once < 2.5  # states cost nothing where there are none yet
    deep.load_state_dict(plain.state_dict())
    bits = torch.ones(1, 8, 2, 3)
    with torch.no_grad():
        part, states = plain.decoder(bits, [None] * 4)
        again, _ = plain.decoder(bits, states)
        found, _ = deep.decode(bits, 0, [None] * 4)
    assert torch.allclose(found, again)
    assert not torch.allclose(found, part)


@pytest.fixture
def model() -> ContextBits:
    """Weights at which probabilities are far from even."""
    torch.manual_seed(0)
    made = ContextBits(6, 16).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.mul_(3)
    made.inside.weight *= 20
    made.out.weight *= 5
    return made


def drawn(count: int, seed: int = 0) -> list[Bits]:
    rng = np.random.default_rng(seed)
    return [rng.choice(np.array([-1, 1], np.int8), (6, 5, 7)) for _ in range(count)]


def as_batch(bits: list[Bits]) -> Tensor:
    return torch.from_numpy(np.stack(bits)).float()[None]


@pytest.mark.parametrize("kind", ["raw", "context"])
def test_bits_come_back_pass_by_pass(kind: str, model: ContextBits) -> None:
    coder = (RawBits() if kind == "raw" else model).coder()
    encoder, decoder = coder.begin((6, 5, 7)), coder.begin((6, 5, 7))
    for bits in drawn(4):
        payload = encoder.encode(bits)
        assert len(payload) % 4 == 0
        assert np.array_equal(decoder.decode(payload + bytes(8)), bits)
    with pytest.raises(BitstreamError):
        coder.begin((6, 50, 70)).decode(payload)


def test_a_stream_has_the_bits_that_the_float_model_says(model: ContextBits) -> None:
    rng = np.random.default_rng(1)
    passes = [rng.choice(np.array([-1, 1], np.int8), (6, 40, 60)) for _ in range(3)]
    expected = model.rate(as_batch(passes))[0]
    coder = model.coder().begin((6, 40, 60))
    for bits, estimate in zip(passes, expected.tolist(), strict=True):
        assert 8 * len(coder.encode(bits)) == pytest.approx(estimate, rel=0.003, abs=64)


def test_a_bit_is_judged_by_what_is_decoded_before_it(model: ContextBits) -> None:
    """Rows from above, in a row channels in order, and all passes before: nothing else."""
    first, second, third = drawn(3)

    def costs(bits: list[Bits]) -> Tensor:
        """Of each bit of the last pass, [M, h, w], by its logit."""
        seen: list[Tensor] = []
        hook = model.out.register_forward_hook(lambda *a: seen.append(a[2]))
        inside = model.inside.register_forward_hook(lambda *a: seen.append(a[2]))
        model.rate(as_batch(bits))
        hook.remove()
        inside.remove()
        return (seen[0] + seen[1])[-1]

    before = costs([first, second, third])
    channel, row, column = 2, 2, 3
    changed = third.copy()
    changed[channel, row, column] *= -1
    moved = (costs([first, second, changed]) != before).numpy()
    earlier = np.zeros_like(moved)
    earlier[:, :row] = True
    earlier[: channel + 1, row] = True
    assert not moved[earlier].any()
    assert moved[channel + 1, row, column - 1 : column + 2].all()
    assert moved[:, row + 1].any()
    for place in (0, 1):
        passes = [first.copy(), second.copy(), third]
        passes[place][channel, row, column] *= -1
        assert (costs(passes) != before).any()


def test_no_bit_is_taken_for_certain(model: ContextBits) -> None:
    assert model.out.bias is not None
    model.out.bias.fill_(1000.0)
    bits = np.ones((6, 5, 7), np.int8)
    least = bits.size * math.log2(1 + math.exp(-LIMIT))
    assert model.rate(as_batch([bits])).item() == pytest.approx(least, rel=0.01)
    coder = model.coder()
    payload = coder.begin(bits.shape).encode(-bits)
    assert 8 * len(payload) == pytest.approx(bits.size * LIMIT / math.log(2), rel=0.05)
    assert np.array_equal(coder.begin(bits.shape).decode(payload), -bits)


def test_training_teaches_the_model_of_bits() -> None:
    """What repeats from pass to pass costs little soon."""
    torch.manual_seed(0)
    model = ContextBits(4, 16)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        bits = torch.randn(2, 1, 4, 6, 6).sign().expand(-1, 3, -1, -1, -1)
        rate = model.rate(bits)
        optimiser.zero_grad()
        functional.relu(rate).mean().backward()
        optimiser.step()
    assert rate[:, 0].mean().item() == pytest.approx(bits[0, 0].numel(), rel=0.2)
    assert rate[:, 1:].mean() < 0.3 * rate[:, 0].mean()
