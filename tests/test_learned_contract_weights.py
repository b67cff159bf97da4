"""What every learned codec promises of its weights files and their cards."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import BitstreamError, CodecUnavailable, EncodeError, Image, Point
from codecs.learned import weights
from codecs.learned.codec import WEIGHTS
from tests.learned_contract import (
    CUT,
    HEADER_BYTES,
    POINT,
    each_codec,
    encoded,
    sized,
)
from tests.learned_toys import TOYS, toy_network
from tests.rdonet_toys import crop

pytestmark = pytest.mark.usefixtures("toy_weights")


@pytest.fixture
def own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`own_weights(name, **changes)` is a copy of a codec's toy weights with another card, from
    where the codec is made from then on."""

    def changed(name: str, file: str = "toy", **changes: Any) -> Path:
        loaded = weights.load(TOYS / name / "toy.safetensors")
        path = tmp_path / name / f"{file}.safetensors"
        tables = changes.pop("tables", loaded.tables)
        parameters = changes.pop("parameters", loaded.parameters)
        card = {**loaded.card, "point": POINT, **changes}
        weights.save(path, parameters, tables, card)
        monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
        return path

    return changed


@each_codec
def test_every_file_is_a_point_and_streams_name_theirs(
    name: str, tmp_path: Path, own_weights: Callable[..., Path]
) -> None:
    rate = {"parameter": "rate", "value": 0.5}
    first, second = own_weights(name), own_weights(name, "other", point=rate)
    codec = registry.create(name)
    assert codec.points == (Point("lambda", POINT["value"]), Point("rate", 0.5))
    digests = " ".join(weights.load(path).digest[:4].hex() for path in (first, second))
    assert f"stream {registry.network(name).version}, weights {digests}, torch " in codec.version
    image = crop(64, 64)
    low, high = (codec.encode(image, point) for point in codec.points)
    assert low != high
    assert np.array_equal(codec.decode(low), codec.decode(high))
    with pytest.raises(EncodeError, match=r"no weights for lambda 3: expected lambda 0\.01, rate"):
        codec.encode(image, Point("lambda", 3))
    second.unlink()
    with pytest.raises(BitstreamError, match=r"made with weights \w{8}; here are \w{8}$"):
        registry.create(name).decode(high)
    shutil.copy(first, second)
    with pytest.raises(CodecUnavailable, match="two weights files claim the same operating point"):
        registry.create(name)


@each_codec
def test_the_label_and_the_settings_say_what_the_cards_note(
    name: str, own_weights: Callable[..., Path]
) -> None:
    without = registry.create(name)
    files = [
        own_weights(name, str(value), point={"value": value}, note=note)
        for value, note in enumerate(["", *["Preliminary: ten steps"] * 2])
    ]
    codec = registry.create(name)
    assert codec.label == f"{without.label} (preliminary weights)"
    assert codec.settings == {**without.settings, "weights": "Preliminary: ten steps"}
    for file in files[1:]:
        file.unlink()
    assert registry.create(name).label == without.label
    assert "weights" not in registry.create(name).settings


@each_codec
def test_what_the_last_phase_weighed_is_home_ground(
    name: str, own_weights: Callable[..., Path]
) -> None:
    phases = [{"mse": 1.0, "ms_ssim": 0.1, "lpips": 0.02}, {"mse": 1.0, "ms_ssim": 0.0, "lpips": 1}]
    own_weights(name, training={"phases": phases, "lpips_backbone": "squeeze"})
    assert registry.create(name).tuned_for == ("psnr", "lpips-squeeze")
    critic = [{"mse": 0.0, "ms_ssim": 0.0, "lpips": 0.0, "features": 0.4}]
    training = {"phases": critic, "lpips_backbone": "squeeze"}
    other = own_weights(name, "other", point={"value": 0.2}, training=training)
    critics = ("lpips-squeeze", "features of EfficientNet-Lite0")
    assert registry.create(name).tuned_for == ("psnr", *critics)
    other.unlink()
    broken: tuple[Any, ...] = (None, [], {"phases": {}}, {"phases": [{"mse": "1"}]})
    for damaged in broken:
        own_weights(name, training=damaged)
        assert registry.create(name).tuned_for == ()


@each_codec
def test_the_model_is_described(name: str) -> None:
    codec = registry.create(name)
    image = crop(130, 150)
    data = encoded(codec, image)
    facts = codec.diagnostics(image, data)
    assert 0 < len(data) - sum(facts["bytes"].values()) <= HEADER_BYTES
    assert facts["model"]["bytes"] == (TOYS / name / "toy.safetensors").stat().st_size
    assert facts["model"]["kmac_per_pixel"] > 0
    json.dumps(facts)


@each_codec
def test_damaged_weights_are_named(name: str, own_weights: Callable[..., Path]) -> None:
    """With the file, and never as another kind of error: other codecs of a run go on."""
    path = own_weights(name)
    good = weights.load(path)
    tables, parameters, config = good.tables, good.parameters, good.card["config"]
    priors = [table.removesuffix(".medians") for table in tables if table.endswith(".medians")]
    (kernel, *_) = [k for k, v in parameters.items() if v.ndim == 4]
    damage: dict[str, dict[str, Any]] = {
        "another width": {
            "config": {k: v + 4 if k in ("N", "width") else v for k, v in config.items()}
        },
        "no such width": {"config": {**config, "N": -1, "width": -1}},
        "an unknown argument": {"config": {**config, "unheard_of": 1}},
        "no arguments": {"config": 7},
        "no point": {"point": {}},
        "a point that is no number": {"point": {"value": "low"}},
        "points of a network of one": {"points": [{"value": 0}, {"value": 1}]},
        "a missing kernel": {"parameters": {k: v for k, v in parameters.items() if k != kernel}},
        "a kernel of another shape": {"parameters": {**parameters, kernel: torch.zeros(3)}},
    }
    if tables:
        damage["no tables"] = {"tables": {}}
    for prior in priors[:1]:
        medians, lows, frequencies = (f"{prior}.{k}" for k in ("medians", "lows", "frequencies"))
        damage["a table of another network"] = {"tables": {**tables, medians: tables[medians][1:]}}
        damage["lows out of range"] = {"tables": {**tables, lows: tables[lows] + 9999}}
        damage["nothing frequent"] = {"tables": {**tables, frequencies: tables[frequencies] * 0}}
    if "centres" in tables:
        centres = tables["centres"]
        damage["centres of another network"] = {"tables": {**tables, "centres": centres[1:]}}
        damage["centres out of range"] = {"tables": {**tables, "centres": centres + (1 << 24)}}
    if "steps" in tables:
        steps = tables["steps"]
        damage["steps of another network"] = {"tables": {**tables, "steps": steps[:, 1:]}}
        damage["steps of nothing"] = {"tables": {**tables, "steps": steps * 0}}
    for table in ("scales.inverse", "scales.thresholds"):
        if table in tables:
            damage[f"{table} reversed"] = {"tables": {**tables, table: tables[table][::-1]}}
    for what, change in damage.items():
        own_weights(name, **change)
        with pytest.raises(CodecUnavailable, match=re.escape(str(path))):
            pytest.fail(f"{what}: {registry.create(name)}")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CodecUnavailable, match="not a weights file"):
        registry.create(name)
    path.unlink()
    with pytest.raises(CodecUnavailable, match=f"train some with `make weights SET={name}`"):
        registry.create(name)


@each_codec
def test_weights_too_large_for_exact_arithmetic_are_named(
    name: str, own_weights: Callable[..., Path]
) -> None:
    """Which parameters are part of the exact path differs: all kernels are made large."""
    parameters = weights.load(TOYS / name / "toy.safetensors").parameters
    large = {k: v * 1e6 if v.ndim == 4 else v for k, v in parameters.items()}
    path = own_weights(name, parameters=large)
    if name in ("factorised", "toderici2016"):
        assert registry.create(name)  # no network is part of its entropy path
    else:
        with pytest.raises(CodecUnavailable, match=re.escape(str(path))):
            registry.create(name)


@each_codec
@pytest.mark.parametrize("bits", ["half", "small"])
def test_short_weights_code_nearly_as_well(
    name: str, bits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sized(name, 192, 192)
    whole = len(encoded(registry.create(name), image))
    network = copy.deepcopy(toy_network(name))
    path = tmp_path / name / "short.safetensors"
    weights.export(network, path, {"point": POINT}, **{bits: True})
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
    codec = registry.create(name)
    data = encoded(codec, image)
    assert codec.decode(data).shape == image.shape
    assert len(data) == pytest.approx(whole, rel=0.05)


SHIPPED = [e.name for e in registry.available() if (WEIGHTS / e.name).is_dir()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_keep_the_contract(
    name: str, monkeypatch: pytest.MonkeyPatch, photo: Image
) -> None:
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", WEIGHTS)
    codec = registry.create(name)
    # Points of one pass each have a test of their own; iwave takes ten times as long as others.
    points = codec.points[::5] if name in CUT else codec.points
    image = photo[:80, :100] if name in (*CUT, "iwave") else photo
    streams = [codec.encode(image, point) for point in points]
    assert sorted(map(len, streams)) == list(map(len, streams))
    for data in streams:
        assert codec.decode(data).shape == image.shape
        later = () if name in CUT else (len(data) // 2, len(data) - 1)
        for cut in (0, 7, *later):
            with pytest.raises(BitstreamError):
                codec.decode(data[:cut])
