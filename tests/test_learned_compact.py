"""Kernels as integers: small errors, nothing stored that is always 0, damage refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from codecs import registry
from codecs.base import CodecUnavailable, Image
from codecs.learned import compact, weights
from codecs.learned.layers import MaskedConv2d


@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (6, 5, 1, 1), (4, 9, 5, 5)])
@pytest.mark.parametrize("fine", [False, True])
def test_errors_are_a_known_part_of_each_output_s_energy(
    shape: tuple[int, ...], fine: bool
) -> None:
    torch.manual_seed(0)
    kernel = torch.randn(shape) * 10.0 ** torch.arange(-3, shape[0] - 3).view(-1, 1, 1, 1)
    encoded = compact.encode({"k": kernel}, ["k"] if fine else [])
    assert encoded["shape.k"].tolist() == list(shape)
    assert encoded["steps.k"].shape == (shape[0], 1)
    error = (compact.expand(encoded)["k"] - kernel).square().sum((1, 2, 3))
    part = error / kernel.square().sum((1, 2, 3)) / (compact.FINE if fine else compact.COARSE)
    assert bool(((part > 0.3) & (part < 2)).all())
    assert float(part.mean()) == pytest.approx(1, abs=0.3)


def test_small_kernels_beside_large_ones_are_not_lost() -> None:
    torch.manual_seed(0)
    kernel = 0.02 * torch.randn(32, 32, 3, 3)
    kernel[:, :, 1, 1] += torch.eye(32)
    encoded = compact.encode({"k": kernel}, ["k"])
    small = ~torch.eye(32, dtype=torch.bool)
    error = (compact.expand(encoded)["k"] - kernel)[small].square().sum()
    assert float(error / kernel[small].square().sum()) < 1e-4


def test_one_large_tap_does_not_overflow() -> None:
    torch.manual_seed(0)
    kernel = 1e-5 * torch.randn(96, 96, 5, 5)
    kernel[:, 0, 0, 0] = torch.tensor([3.0, -3.0]).repeat(48)
    values = compact.expand(compact.encode({"k": kernel}, ["k"]))["k"]
    assert torch.allclose(values[:, 0, 0, 0], kernel[:, 0, 0, 0], rtol=1e-4)


def test_transforms_keep_more_than_entropy_models() -> None:
    """At high rates a picture shows what 8 bits do to its transforms."""
    torch.manual_seed(0)
    network = registry.network("minnen").sized(16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights.rounded(network, small=True)
    after = network.state_dict()

    def error(name: str) -> float:
        kernel = before[name]
        return float((after[name] - kernel).square().sum() / kernel.square().sum())

    assert error("g_a.2.weight") < 1e-5 > error("g_s.2.weight")
    assert 1e-4 < error("h_s.2.weight") < 1e-3


def test_taps_that_are_always_0_are_left_out() -> None:
    torch.manual_seed(0)
    layer = MaskedConv2d(4, 8)
    kernel = layer.causal_weight.detach().clone()
    kernel[:, 2] = 0
    kernel[:3, 0] = 0
    encoded = compact.encode({"k": kernel, "n": torch.tensor([3])})
    assert encoded["shape.k"].tolist() == [8, 36]
    values = compact.expand(encoded)
    assert values.keys() == {"k", "n"}
    assert not values["k"][kernel == 0].any()
    assert torch.allclose(values["k"], kernel, atol=float(kernel.abs().max()) / 50)
    assert values["n"].tolist() == [3]


def test_kernels_of_zeros_stay_zeros() -> None:
    encoded = compact.encode({"k": torch.zeros(4, 5, 1, 1)})
    assert torch.equal(compact.expand(encoded)["k"], torch.zeros(4, 5, 1, 1))


@pytest.mark.parametrize("shape", [(8, 3, 5, 5), (3, 8, 5, 5)])
def test_layers_beside_the_picture_keep_their_bits(shape: tuple[int, ...]) -> None:
    kernel = torch.randn(shape)
    encoded = compact.encode({"k": kernel})
    assert encoded.keys() == {"k"}
    assert torch.equal(encoded["k"], kernel)


@pytest.mark.parametrize("name", ["minnen", "rdonet"])
def test_nothing_depends_on_what_is_left_out(name: str, photo: Image) -> None:
    torch.manual_seed(0)
    network = registry.network(name).sized(8).eval()
    x = torch.from_numpy(photo[:128, :128].copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        before = network(x)
        stored = sum(int(p.count_nonzero()) for p in network.parameters())
        network.clear_unused()
        after = network(x)
    assert sum(int(p.count_nonzero()) for p in network.parameters()) < stored
    assert torch.equal(before.x_hat, after.x_hat)
    assert torch.equal(before.total_bits(), after.total_bits())


def refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    card = json.dumps({"architecture": "minnen"})
    path.write_bytes(safetensors.torch.save(tensors, {"card": card}))
    with pytest.raises(CodecUnavailable, match="kernels and steps do not fit"):
        weights.load(path, "minnen")


@pytest.mark.parametrize("shape", [(5,), (2, 2), (1, 3), (2, 3, 1, 1), ()])
def test_steps_that_do_not_fit_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    levels = torch.ones(2, 3, 1, 1, dtype=torch.int8)
    refused(tmp_path, {"k": levels, "steps.k": torch.ones(shape)})


@pytest.mark.parametrize(
    "taps",
    [
        torch.ones(3, 1, 1),
        torch.ones(3, dtype=torch.bool),
        torch.ones(4, 1, 1, dtype=torch.bool),
    ],
    ids=["floats", "flat", "too many"],
)
def test_taps_that_do_not_fit_are_refused(tmp_path: Path, taps: torch.Tensor) -> None:
    levels = torch.ones(2, 3, dtype=torch.int8)
    refused(tmp_path, {"k": levels, "steps.k": torch.ones(2, 1), "taps.k": taps})


def test_taps_beyond_any_kernel_are_refused(tmp_path: Path) -> None:
    taps = torch.zeros((1 << 27) + 3, 1, 1, dtype=torch.bool)
    taps[:3] = True
    levels = torch.ones(2, 3, dtype=torch.int8)
    refused(tmp_path, {"k": levels, "steps.k": torch.ones(2, 1), "taps.k": taps})


def test_integers_are_deflated_and_files_of_before_are_read() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(64, 64, 3, 3)
    encoded = compact.encode({"k": kernel})
    assert encoded["k"].dtype == torch.uint8
    assert encoded["k"].numel() < 0.76 * kernel.numel()  # of a Gaussian, 5.9 bits each
    values, steps = compact.expand(encoded)["k"], encoded["steps.k"]
    plain = torch.round(values / steps.float()[:, :, None, None])
    plain = plain.to(torch.int8)
    bytes_alone = torch.frombuffer(
        bytearray(zlib.compress(plain.numpy().tobytes())), dtype=torch.uint8
    )
    shape = encoded["shape.k"]
    for before in (
        {"k": plain, "steps.k": steps},
        {"k": plain, "steps.k": steps.repeat(1, 64)},
        {"k": bytes_alone, "steps.k": steps, "shape.k": shape},
    ):
        assert torch.equal(compact.expand(before)["k"], values)


@pytest.mark.parametrize(
    ("levels", "shape"),
    [
        (b"\1" * 6, [2, 4, 1, 1]),
        (b"\1" * 9, [2, 4, 1, 1]),
        (b"\1" * 17, [2, 4, 1, 1]),
        (b"\1" * 8, [-2, -4, 1, 1]),
        (b"\0" * (1 << 20), [1 << 15, 1 << 14]),
        (None, [2, 4, 1, 1]),
    ],
    ids=["too few", "too many", "twice too many", "negative", "beyond all networks", "no deflate"],
)
def test_deflated_integers_that_do_not_fit_are_refused(
    tmp_path: Path, levels: bytes | None, shape: list[int]
) -> None:
    data = bytes(20) if levels is None else zlib.compress(levels)
    deflated = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    sides = torch.tensor(shape, dtype=torch.int32)
    refused(tmp_path, {"k": deflated, "shape.k": sides, "steps.k": torch.ones(2, 1)})


def test_a_file_may_not_inflate_beyond_all_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "_LARGEST", 20_000)
    torch.manual_seed(0)
    kernels = {name: torch.randn(10, 10, 9, 9) for name in "abc"}
    encoded = compact.encode(kernels)
    compact.expand({k: v for k, v in encoded.items() if not k.endswith("c")})
    with pytest.raises(ValueError, match="c of the shape"):
        compact.expand(encoded)


def test_taps_may_not_expand_a_file_beyond_all_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all kernels together either: a few bytes of each would do."""
    monkeypatch.setattr(compact, "_LARGEST", 20_000)
    taps = torch.zeros(60, 10, 10, dtype=torch.bool)
    taps[0, 0, :3] = True
    one = {"": torch.ones(2, 3, dtype=torch.int8), "steps.": torch.ones(2, 1), "taps.": taps}
    compact.expand({f"{part}a": value for part, value in one.items()})
    with pytest.raises(ValueError, match="taps for b"):
        compact.expand({f"{part}{k}": value for k in "ab" for part, value in one.items()})
