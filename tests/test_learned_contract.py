"""What every learned codec promises, whatever its network: a new one is tested by being listed, and
by toy weights in tests/data/toys (see `tests.learned_toys`)."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import BitstreamError, Codec, CodecUnavailable, EncodeError, Image, Point
from codecs.learned import bitstream, weights
from codecs.learned.bitstream import MAX_BLOCKS
from codecs.learned.codec import WEIGHTS, LearnedCodec, load_model
from codecs.learned.transform import TransformModel, TransformNetwork
from codecs.naming import UnknownCodec
from tests.conftest import ROOT
from tests.learned_fuzz import check_decoder
from tests.learned_toys import TOYS, toy_network
from tests.rdonet_toys import crop

NAMES = registry.trainable()
VARIANTS = {entry.name: entry.variants for entry in registry.available() if entry.name in NAMES}
POINT: dict[str, Any] = {"parameter": "lambda", "value": 0.01}

TRANSFORM_CODECS = [n for n in NAMES if issubclass(registry.network(n), TransformNetwork)]

each_codec = pytest.mark.parametrize("name", NAMES)
each_transform_codec = pytest.mark.parametrize("name", TRANSFORM_CODECS)


@pytest.fixture(autouse=True)
def toys_are_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", TOYS)


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


def encoded(codec: Codec, image: Image) -> bytes:
    return codec.encode(image, codec.points[0])


def padded(image: Image, stride: int) -> torch.Tensor:
    """[1, 3, H, W] in 0...1, its last row and column repeated up to multiples of `stride`."""
    right, bottom = (-image.shape[1]) % stride, (-image.shape[0]) % stride
    image = np.pad(image, ((0, bottom), (0, right), (0, 0)), "edge")
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@each_codec
def test_pictures_of_all_sizes_come_back(name: str) -> None:
    codec = registry.create(name)
    for seed, size in enumerate([(1, 1), (3, 200), (65, 127), (64, 128), (203, 331), (700, 900)]):
        image = crop(*size, seed)
        data = encoded(codec, image)
        decoded = codec.decode(data)
        assert (decoded.shape, decoded.dtype) == (image.shape, np.uint8)
        if size == (65, 127):
            assert encoded(codec, image) == data
            assert np.array_equal(codec.decode(data), decoded)
        if min(size) > 64:
            error = np.square(decoded.astype(float) - image).mean()
            assert error < 0.5 * image.var((0, 1)).mean()


ELSEWHERE = """
import json, sys, zlib, bench, torch
from pathlib import Path
import codecs.learned.codec
from codecs import registry

torch.set_num_threads(2)
codecs.learned.codec.WEIGHTS = Path(sys.argv[1])
for line in sys.stdin:
    name, file = json.loads(line)
    picture = registry.create(name).decode(Path(file).read_bytes())
    print(json.dumps([name, list(picture.shape), zlib.crc32(picture.tobytes())]))
"""


def decoded_elsewhere(
    streams: Iterable[tuple[str, bytes]], folder: Path, root: Path = TOYS
) -> list[tuple[str, Any]]:
    """What `told` says of the pictures that another process decodes on two threads."""
    lines = []
    for index, (name, data) in enumerate(streams):
        file = folder / f"{index}.bin"
        file.write_bytes(data)
        lines.append(json.dumps([name, str(file)]))
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(root)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
    )
    return [(name, found) for name, *found in map(json.loads, run.stdout.splitlines())]


def told(picture: Image) -> list[Any]:
    return [list(picture.shape), zlib.crc32(picture.tobytes())]


def test_another_process_with_other_threads_decodes_the_same_pictures(tmp_path: Path) -> None:
    """All codecs with all variants, from the bytes alone."""
    streams, expected = {}, {}
    for name in NAMES:
        for variant in (name, *(f"{name}:{variant}" for variant in VARIANTS[name])):
            codec = registry.create(variant)
            streams[variant] = encoded(codec, crop(70, 66))
            expected[variant] = told(codec.decode(streams[variant]))
    assert decoded_elsewhere(streams.items(), tmp_path) == [*expected.items()]


@each_codec
def test_variants_read_each_others_streams(name: str) -> None:
    """They are ways to encode or precisions of the transforms, not formats."""
    codec = registry.create(name)
    for variant in VARIANTS[name]:
        other = registry.create(f"{name}:{variant}")
        assert isinstance(other, LearnedCodec)
        assert other.base == name
        assert variant in other.settings.values()
        for encoder, decoder in ((codec, other), (other, codec)):
            image = crop(70, 66)
            assert decoder.decode(encoded(encoder, image)).shape == image.shape
    with pytest.raises(UnknownCodec, match="unknown variant"):
        registry.create(f"{name}:unheard-of")


@each_transform_codec
def test_bfloat16_transforms_leave_the_entropy_path_alone(name: str, photo: Image) -> None:
    """The same latents decode; only the synthesis differs, slightly."""
    network, path = registry.network(name), TOYS / name / "toy.safetensors"
    plain, short = (load_model(path, network, TransformModel, v) for v in ("", "bfloat16"))
    data = plain.encode(photo)
    (header, symbols), (_, same) = plain.decode_symbols(data), short.decode_symbols(data)
    for sent, read, again in zip(plain.symbols(photo), symbols, same, strict=True):
        assert np.array_equal(sent, read)
        assert np.array_equal(read, again)
    difference = plain.synthesise(header, symbols).astype(float) - short.synthesise(header, same)
    assert 0 < np.square(difference).mean() < 4


@each_codec
def test_training_sees_noise_and_reaches_all_parameters(name: str) -> None:
    torch.manual_seed(0)
    network = copy.deepcopy(toy_network(name)).train().requires_grad_(True)
    x = padded(crop(128, 192), network.stride).expand(2, -1, -1, -1)
    first, second = network(x), network(x)
    assert not torch.equal(first.x_hat, second.x_hat)
    assert first.total_bits().shape == (2,)
    (first.total_bits().sum() + first.x_hat.square().sum()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


HEADER_BYTES = 48
"""More than header, lengths, checksum and whole words of range coders take."""


@each_codec
def test_the_file_is_as_long_as_the_network_estimates(name: str) -> None:
    """Within 0.5 % of what `forward` says in floating point, plus `HEADER_BYTES`
    and RDONet's partition, which is no latent."""
    image = crop(640, 896)
    network = toy_network(name)
    with torch.no_grad():
        estimate = network(padded(image, network.stride)).total_bits().item() / 8
    codec = registry.create(name)
    data = encoded(codec, image)
    size = len(data) - codec.diagnostics(image, data)["bytes"].get("mask", 0)
    assert estimate > 50 * HEADER_BYTES
    assert size - HEADER_BYTES <= 1.005 * estimate
    assert size >= 0.995 * estimate


@each_transform_codec
def test_the_integer_tables_tell_the_payload(name: str, photo: Image) -> None:
    model = load_model(TOYS / name / "toy.safetensors", registry.network(name), TransformModel)
    sizes = model.diagnostics(photo, model.encode(photo))["bytes"]
    for section, bits in model.information(photo).items():
        assert bits / 8 - 1 <= sizes[section] <= bits / 8 + 8


@each_codec
def test_every_truncation_is_noticed(name: str) -> None:
    codec = registry.create(name)
    data = encoded(codec, crop(70, 130))
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            codec.decode(data[:length])
    with pytest.raises(BitstreamError):
        codec.decode(data + b"\1")


@each_codec
def test_damaged_streams_are_refused(name: str, photo: Image) -> None:
    codec = registry.create(name)
    grey = np.full((70, 130, 3), 128, np.uint8)
    streams = [encoded(codec, image) for image in (photo, photo[:64, :64], grey, photo[:1, :1])]
    check_decoder(codec.decode, streams)


def forged(name: str, data: bytes, **fields: Any) -> bytes:
    """A stream with another header."""
    network = registry.network(name)
    header, offset = bitstream.read_header(data, network.magic, network.version)
    return replace(header, **fields).to_bytes() + data[offset:]


@each_codec
def test_headers_that_no_encoder_writes_are_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even by a decoder that is told that the checksum is right."""
    codec = registry.create(name)
    data = encoded(codec, crop(130, 150))
    monkeypatch.setattr(bitstream.Stream, "verify", lambda *arguments: None)
    assert codec.decode(forged(name, data)).shape == (130, 150, 3)
    digest = weights.load(TOYS / name / "toy.safetensors").digest[:4].hex()
    version = registry.network(name).version
    forgeries: dict[str, dict[str, Any]] = {
        "not a stream of this codec": {"magic": b"XX"},
        f"format version 99; this decoder reads {version}": {"version": 99},
        f"made with weights 61626364; here are {digest}": {"model": b"abcd"},
        "flags": {"flags": 0x40},
        "no such quality": {"quality": 1.0},
        "cannot come from": {"width": 1 << 19},
        "number exceeds its limit": {"height": 1 << 21},
        "damaged|cut": {"width": 0},
    }
    for reason, fields in forgeries.items():
        with pytest.raises(BitstreamError, match=reason):
            codec.decode(forged(name, data, **fields))


HOSTILE = """
import resource, sys, time, bench, numpy, torch
from pathlib import Path
from codecs import registry
from codecs.base import BitstreamError
from codecs.learned import bitstream, weights
from codecs.learned.bitstream import MAX_BLOCKS
from codecs.learned.codec import load_model
from codecs.learned.coders.rangecoding import SymbolEncoder
from codecs.learned.transform import TransformModel

torch.set_num_threads(1)
for name in sys.argv[2:]:
    network = registry.network(name)
    path = Path(sys.argv[1], f"{name}.safetensors")
    weights.export(network.preset("compact").eval(), path, {})
    model = load_model(path, network, TransformModel)
    sections = [b"none"] * len(model.sections)
    if len(sections) == 2:
        size = model.coder.z.channels, MAX_BLOCKS
        z = numpy.random.default_rng(0).integers(-2, 3, size, dtype=numpy.int32)
        encoder = SymbolEncoder()
        model.coder.z.encode(encoder, z)
        sections[0] = encoder.get_bytes()
    wide = numpy.broadcast_to(numpy.zeros(1, numpy.uint8), (64, 64 * MAX_BLOCKS, 3))
    data = bitstream.pack(model.header(wide, None), sections, [])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        model.decode(data)
    except BitstreamError as error:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(name, grown, time.process_time() - start, error)
"""


def test_a_large_picture_that_is_not_there_costs_little_memory(tmp_path: Path) -> None:
    """The largest size, with hyper-latents for all of it, where there are any, but without latents;
    of networks half as wide as those of the papers, and so in half of 1 GiB.  (Of `rdonet`:
    test_rdonet_hostile.)"""
    command = [sys.executable, "-c", HOSTILE, str(tmp_path), *TRANSFORM_CODECS]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == TRANSFORM_CODECS
    for line in lines:
        name, grown, seconds, message = line.split(maxsplit=3)
        assert "payload" in message
        assert int(grown) < 1 << 19, f"{name}: {grown} KiB more than before"
        assert float(seconds) < 30


@each_codec
def test_sizes_that_the_payload_cannot_fill_cost_little_time(name: str) -> None:
    codec = registry.create(name)
    data = encoded(codec, crop(64, 64))
    for size in ((64, 64 * MAX_BLOCKS), (8192, 8192), (1, 1 << 19)):
        height, width = size
        long = forged(name, data, height=height, width=width) + bytes(MAX_BLOCKS)
        start = time.process_time()
        with pytest.raises(BitstreamError):
            codec.decode(long)
        assert time.process_time() - start < 5


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
    with pytest.raises(EncodeError, match=r"no weights for lambda 3; there are lambda 0\.01, rate"):
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
    (prior, *_), (kernel, *_) = priors, [k for k, v in parameters.items() if v.ndim == 4]
    damage: dict[str, dict[str, Any]] = {
        "another width": {
            "config": {k: v + 4 if k in ("N", "width") else v for k, v in config.items()}
        },
        "no such width": {"config": {**config, "N": -1, "width": -1}},
        "an unknown argument": {"config": {**config, "unheard_of": 1}},
        "no arguments": {"config": 7},
        "no point": {"point": {}},
        "a point that is no number": {"point": {"value": "low"}},
        "points of a network of one": {"points": [{"value": 1}, {"value": 2}]},
        "a missing kernel": {"parameters": {k: v for k, v in parameters.items() if k != kernel}},
        "a kernel of another shape": {"parameters": {**parameters, kernel: torch.zeros(3)}},
        "no tables": {"tables": {}},
        "a table of another network": {
            "tables": {**tables, f"{prior}.medians": tables[f"{prior}.medians"][1:]}
        },
        "lows out of range": {
            "tables": {**tables, f"{prior}.lows": tables[f"{prior}.lows"] + 9999}
        },
        "frequencies of nothing": {
            "tables": {**tables, f"{prior}.frequencies": tables[f"{prior}.frequencies"] * 0}
        },
    }
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
    with pytest.raises(CodecUnavailable, match=rf"train some with .python -m codecs.train {name} "):
        registry.create(name)


@each_codec
def test_weights_too_large_for_exact_arithmetic_are_named(
    name: str, own_weights: Callable[..., Path]
) -> None:
    """Which parameters are part of the exact path differs: all kernels are made large."""
    parameters = weights.load(TOYS / name / "toy.safetensors").parameters
    large = {k: v * 1e6 if v.ndim == 4 else v for k, v in parameters.items()}
    path = own_weights(name, parameters=large)
    if name == "factorised":
        assert registry.create(name)  # no network is part of its entropy path
    else:
        with pytest.raises(CodecUnavailable, match=re.escape(str(path))):
            registry.create(name)


@each_codec
@pytest.mark.parametrize("bits", ["half", "eight_bit"])
def test_short_weights_code_nearly_as_well(
    name: str, bits: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = crop(192, 192)
    whole = len(encoded(registry.create(name), image))
    network = copy.deepcopy(toy_network(name))
    path = tmp_path / name / "short.safetensors"
    weights.export(network, path, {"point": POINT}, **{bits: True})
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
    codec = registry.create(name)
    data = encoded(codec, image)
    assert codec.decode(data).shape == image.shape
    assert len(data) == pytest.approx(whole, rel=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@each_codec
def test_a_gpu_decodes_what_the_cpu_encoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = registry.create(name)
    monkeypatch.setenv("BENCH_DEVICE", "cuda")
    gpu = registry.create(name)
    image = crop(203, 331)
    for encoder, decoder in ((cpu, gpu), (gpu, cpu)):
        data = encoded(encoder, image)
        difference = decoder.decode(data).astype(float) - encoder.decode(data)
        assert np.abs(difference).max() <= 1


@pytest.fixture
def gained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`gained(name)` gives a codec one file for four points: toy weights, and the gains that
    training begins with.  `points` are those of the card."""

    def made(name: str, points: Sequence[Any] = (0, 1, 2, 3)) -> str:
        config = {**toy_network(name).config, "qualities": 4, "lambdas": (500.0, 2000.0)}
        network = registry.network(name).from_config(config).eval()
        network.begin_with(toy_network(name).state_dict())
        card = {"points": [{"parameter": "quality", "value": value} for value in points]}
        weights.export(network, tmp_path / name / "all.safetensors", card)
        monkeypatch.setattr("codecs.learned.codec.WEIGHTS", tmp_path)
        return name

    return made


@each_codec
def test_one_file_serves_many_points(name: str, gained: Callable[..., str], tmp_path: Path) -> None:
    """Each with its own stream, rate and gain, which another process reads from the stream."""
    codec = registry.create(gained(name))
    assert codec.points == tuple(Point("quality", q) for q in range(4))
    loaded = weights.load(tmp_path / name / "all.safetensors")
    network = registry.network(name).from_config(loaded.card["config"]).eval()
    network.load_state_dict(loaded.parameters)
    image = crop(192, 320)  # no padding, which would count in the partitions of `forward`
    x = padded(image, network.stride)
    streams, pictures, errors = [], [], []
    for quality in (0, 0.5, 1, 1.75, 2, 3):
        data = codec.encode(image, Point("quality", quality))
        assert bitstream.read_header(data, network.magic, network.version)[0].quality == quality
        decoded = codec.decode(data)
        with torch.no_grad():
            out = network(x, quality=torch.tensor([quality]))
        reconstruction = out.x_hat[0].clamp(0, 1).permute(1, 2, 0) * 255
        # Rounding to integers alone makes 0.25; a latent near a half may go the other way.
        assert np.abs(decoded - reconstruction.numpy()).mean() < 0.5
        estimate = out.total_bits().item() / 8
        # Escapes may cost less than the estimate's least probability, which gains meet more often.
        size = len(data) - codec.diagnostics(image, data)["bytes"].get("mask", 0)
        assert 0.9 * estimate <= size <= 1.005 * estimate + HEADER_BYTES
        errors.append(np.square(decoded.astype(float) - image).mean())
        streams.append((name, data))
        pictures.append((name, told(decoded)))
        for length in range(0, len(data), 97):
            with pytest.raises(BitstreamError):
                codec.decode(data[:length])
    assert errors[-1] < errors[0]
    assert len({data for _, data in streams}) == len(streams)
    if name in ("factorised", "rdonet"):  # gains are taken back in floats, and in integers
        assert decoded_elsewhere(streams, tmp_path, tmp_path) == pictures
    for outside in (-0.1, 3.5, "best"):
        with pytest.raises(EncodeError, match=r"no weights for quality .*; there are quality 0, "):
            codec.encode(image, Point("quality", outside))


def test_streams_have_a_quality_that_the_weights_serve(
    gained: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With or without a checksum; between two points there are others."""
    codec = registry.create(gained("factorised"))
    data = codec.encode(crop(64, 64), codec.points[1])
    with pytest.raises(BitstreamError, match="checksum"):
        codec.decode(forged("factorised", data, quality=2))
    monkeypatch.setattr(bitstream.Stream, "verify", lambda *arguments: None)
    assert codec.decode(forged("factorised", data, quality=1.5)).shape == (64, 64, 3)
    for quality in (None, 3.5, 255):
        with pytest.raises(BitstreamError, match="no such quality"):
            codec.decode(forged("factorised", data, quality=quality))


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ((1, 1.001), "two that a stream cannot tell apart"),
        ((1, 300), "not within"),
        ((1, "two"), "not a number"),
        ((), "none"),
        ((0, 4), "a point that the network does not serve"),
    ],
)
def test_points_that_streams_cannot_carry_are_refused(
    points: Sequence[Any], reason: str, gained: Callable[..., str]
) -> None:
    with pytest.raises(CodecUnavailable, match=rf"all\.safetensors: .*{reason}"):
        registry.create(gained("factorised", points))


def test_many_points_need_a_network_for_many(
    gained: Callable[..., str], own_weights: Callable[..., Path], tmp_path: Path
) -> None:
    """A codec of one point would write a quality that it refuses to read, or the other way."""
    own_weights("factorised", points=[{"value": 0}, {"value": 1}])
    with pytest.raises(CodecUnavailable, match="lists `points` if the network serves many"):
        registry.create("factorised")
    file = tmp_path / gained("hyperprior") / "all.safetensors"
    loaded = weights.load(file)
    card = {**{k: v for k, v in loaded.card.items() if k != "points"}, "point": POINT}
    weights.save(file, loaded.parameters, loaded.tables, card)
    with pytest.raises(CodecUnavailable, match="lists `points` if the network serves many"):
        registry.create("hyperprior")


SHIPPED = [e.name for e in registry.available() if (WEIGHTS / e.name).is_dir()]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_keep_the_contract(
    name: str, monkeypatch: pytest.MonkeyPatch, photo: Image
) -> None:
    monkeypatch.setattr("codecs.learned.codec.WEIGHTS", WEIGHTS)
    codec = registry.create(name)
    streams = [codec.encode(photo, point) for point in codec.points]
    assert sorted(map(len, streams)) == list(map(len, streams))
    for data in streams:
        assert codec.decode(data).shape == photo.shape
        for cut in (0, 7, len(data) // 2, len(data) - 1):
            with pytest.raises(BitstreamError):
                codec.decode(data[:cut])
