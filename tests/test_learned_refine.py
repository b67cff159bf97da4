"""Latents refined while encoding: J falls, files decode as ever, names combine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from codecs import registry
from codecs.base import CodecUnavailable, Image
from codecs.learned import refine, weights
from codecs.learned.codec import LearnedCodec
from codecs.learned.coders.likelihood import Rounding
from codecs.learned.transform import TransformModel, TransformNetwork
from codecs.minnen import Minnen
from codecs.naming import UnknownCodec, choice_of
from tests.learned_contract import (
    REFINING,
    TRANSFORM_CODECS,
    each_refining_codec,
    encoded,
    padded,
)
from tests.learned_toys import TOYS, minnen_codec, toy_network
from tests.rdonet_toys import crop

pytestmark = pytest.mark.usefixtures("toy_weights")


def cost_of(name: str, image: Image, data: bytes) -> float:
    """J of a file by what the codec without variants makes of it."""
    decoded = registry.create(name).decode(data)
    return toy_network(name).objective().cost(image, decoded, len(data))["J"]


@each_refining_codec
def test_refining_lowers_the_cost_of_real_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "STEPS", 30)
    image = crop(128, 100, 2)
    plain, codec = registry.create(name), registry.create(f"{name}:latents")
    data = encoded(codec, image)
    told = codec.diagnostics(image, data)["refined"]
    assert told["steps"] == refine.STEPS
    assert told["cpu_seconds"] > 0
    assert told["J_before"] == pytest.approx(cost_of(name, image, encoded(plain, image)))
    assert told["J_after"] == pytest.approx(cost_of(name, image, data))
    assert told["J_after"] < 0.98 * told["J_before"]
    assert encoded(registry.create(f"{name}:latents"), image) == data
    assert "refined" not in plain.diagnostics(image, data)


@each_refining_codec
def test_what_refining_has_made_worse_is_not_sent(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(latents: Sequence[Tensor], *_: object) -> list[Tensor]:
        return [latent.round() + 3 for latent in latents]

    monkeypatch.setattr(refine, "refine", worse)
    image, codec = crop(70, 66), registry.create(f"{name}:latents")
    data = encoded(codec, image)
    assert data == encoded(registry.create(name), image)
    told = codec.diagnostics(image, data)["refined"]
    assert told["J_after"] == told["J_before"]


@each_refining_codec
def test_very_large_pictures_are_not_refined(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "MOST_PIXELS", 70 * 66 - 1)
    image, codec = crop(70, 66), registry.create(f"{name}:latents")
    data = encoded(codec, image)
    assert data == encoded(registry.create(name), image)
    assert codec.diagnostics(image, data)["refined"]["steps"] == 0


def test_refining_goes_with_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "STEPS", 30)
    image = crop(130, 150, 3)
    codec = registry.create("rdonet:latents:one-pass")
    assert codec.name == "rdonet:one-pass:latents"
    assert (codec.settings["search"], codec.settings["refined"]) == ("one-pass", "latents")
    data = encoded(codec, image)
    told = codec.diagnostics(image, data)
    assert told["coding_runs"] > 1
    before = cost_of("rdonet", image, encoded(registry.create("rdonet:one-pass"), image))
    assert told["refined"]["J_before"] == pytest.approx(before)
    assert told["refined"]["J_after"] < before


def test_variants_of_different_settings_combine() -> None:
    assert registry.create("minnen:latents:bfloat16").name == "minnen:bfloat16:latents"
    assert "refined" not in registry.create("minnen:bfloat16").settings
    with pytest.raises(UnknownCodec, match="one-pass and full exclude each other"):
        registry.create("rdonet:full:latents:one-pass")
    settings = {"search": ("quick", "full"), "refined": ("", "latents")}
    assert choice_of("x", None, settings) == {"search": "quick", "refined": ""}
    with pytest.raises(UnknownCodec, match="unknown variant ''"):
        choice_of("x", "", settings)


@pytest.mark.parametrize("name", [n for n in TRANSFORM_CODECS if n in REFINING])
@torch.no_grad()
def test_rate_near_a_latent_is_that_of_the_latent(name: str) -> None:
    network = toy_network(name)
    assert isinstance(network, TransformNetwork)
    model = network.latent_model()
    y = network.analyse(padded(crop(128, 192), network.stride), None)
    rounded, bits = model.quantise(y, Rounding.EXACT)
    expected = torch.stack([*bits.values()]).sum(0)
    latent = rounded[:, : y.shape[1]]
    assert torch.allclose(model.rate(y)(latent), expected)
    assert torch.equal(model.seen(y)(latent), rounded)
    off = latent - model.grid
    assert torch.allclose(off, off.round(), atol=1e-5)


def test_annealing_finds_integers_by_their_cost_and_again_the_same() -> None:
    """Not the nearest ones: each value pays for what it is off from one 0.6 further on."""
    start = torch.randn(2, 300, generator=torch.Generator().manual_seed(1))

    def cost(latents: Sequence[Tensor]) -> Tensor:
        return (latents[0] - start - 0.6).square().sum()

    with torch.inference_mode():
        found, again = (refine.refine([start], cost, 80)[0] for _ in range(2))
    assert torch.equal(found, found.round())
    assert torch.equal(found, again)
    least, first = cost([(start + 0.6).round()]), cost([start.round()])
    assert cost([found]) - least < 0.2 * (first - least)


def test_steps_are_a_matter_of_size_alone() -> None:
    assert refine.steps_for(1) == refine.steps_for(768 * 512) == refine.STEPS
    assert refine.steps_for(4 * 768 * 512) == refine.STEPS // 2
    assert refine.steps_for(refine.MOST_PIXELS) > 20
    assert refine.steps_for(refine.MOST_PIXELS + 1) == 0


def test_what_a_network_was_trained_for_must_be_known(tmp_path: Path) -> None:
    loaded = weights.load(TOYS / "minnen" / "toy.safetensors")
    config = {k: v for k, v in loaded.card["config"].items() if k != "objective"}
    path = tmp_path / "toy.safetensors"
    weights.save(path, loaded.parameters, loaded.tables, {**loaded.card, "config": config})
    assert minnen_codec(tmp_path).points
    with pytest.raises(CodecUnavailable, match="no `objective` to say"):
        minnen_codec(tmp_path, "latents")


def test_the_objective_is_that_of_the_quality(tmp_path: Path, photo: Image) -> None:
    """A file coded at a high quality is judged, and refined, by the Λ of that quality."""
    torch.manual_seed(0)
    objective = {"lambda_eff": 400.0}  # in the middle of the range
    network = Minnen(4, 6, qualities=3, lambdas=(20.0, 8000.0), objective=objective).eval()
    for quality, expected in ((0.0, 20), (1.0, 400), (1.5, 400 * 20**0.5), (2.0, 8000)):
        found = network.objective(torch.tensor([quality])).lambda_eff
        assert found == pytest.approx(expected, rel=1e-4)
    points = [{"parameter": "quality", "value": q} for q in range(3)]
    weights.export(network, tmp_path / "all.safetensors", {"points": points})
    codec = LearnedCodec("minnen", "", Minnen, TransformModel, "latents", tmp_path)
    image = np.ascontiguousarray(photo[:64, :64])
    costs = []
    for point in codec.points:
        data = codec.encode(image, point)
        told = codec.diagnostics(image, data)["refined"]
        cost = network.objective(torch.tensor([float(point.value)]))
        costs.append(told["J_after"])
        assert costs[-1] == pytest.approx(cost.cost(image, codec.decode(data), len(data))["J"])
    assert costs == sorted(costs)
