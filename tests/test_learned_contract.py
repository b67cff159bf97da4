"""What every learned codec promises, whatever its network: a new one is tested by being listed, and
by toy weights in tests/data/toys (see `tests.learned_toys`).  Here: its streams."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codecs import registry
from codecs.base import BitstreamError, Image
from codecs.learned import bitstream, refine, weights
from codecs.learned.bitstream import MAX_BLOCKS
from codecs.learned.codec import LearnedCodec, load_model
from codecs.learned.transform import TransformModel, TransformNetwork
from codecs.naming import UnknownCodec
from tests.conftest import ROOT
from tests.learned_contract import (
    HEADER_BYTES,
    NAMES,
    TRANSFORM_CODECS,
    VARIANTS,
    decoded_elsewhere,
    each_codec,
    each_transform_codec,
    each_whole_codec,
    encoded,
    forged,
    padded,
    sized,
    told,
)
from tests.learned_fuzz import check_decoder
from tests.learned_toys import TOYS, toy_network
from tests.rdonet_toys import crop

pytestmark = pytest.mark.usefixtures("toy_weights")


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of refining: what it gains is tested in test_learned_refine."""
    monkeypatch.setattr(refine, "STEPS", 4)


@each_codec
def test_pictures_of_all_sizes_come_back(name: str) -> None:
    codec = registry.create(name)
    sizes = [(1, 1), (3, 200), (65, 127), (64, 128), (203, 331), (320, 450)]
    for seed, size in enumerate(sizes[:4] if name == "iwave" else sizes):  # ten times as slow
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


@pytest.mark.usefixtures("few_steps")
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
@pytest.mark.usefixtures("few_steps")
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
    for sent, read, again in zip(plain.symbols(plain.analyse(photo)), symbols, same, strict=True):
        assert np.array_equal(sent, read)
        assert np.array_equal(read, again)
    difference = plain.synthesise(header, symbols).astype(float) - short.synthesise(header, same)
    assert 0 < np.square(difference).mean() < 4


@each_codec
def test_training_sees_noise_and_reaches_all_parameters(name: str) -> None:
    network = copy.deepcopy(toy_network(name)).train().requires_grad_(True)
    torch.manual_seed(0)  # making a network, if it is not there yet, would draw from it
    x = padded(crop(128, 192), network.stride).expand(2, -1, -1, -1)
    first, second = network(x), network(x)
    # Mentzer's quantiser is soft for gradients alone, and HiFiC's noise is for rates.
    assert torch.equal(first.x_hat, second.x_hat) == (name in ("mentzer2018", "hific"))
    assert first.total_bits().shape == (2,)
    (first.total_bits().sum() + first.x_hat.square().sum()).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@each_codec
def test_the_file_is_as_long_as_the_network_estimates(name: str) -> None:
    """Within 0.5 % of what `forward` says in floating point, plus `HEADER_BYTES`
    and RDONet's partition, which is no latent."""
    image = sized(name, 640, 896)
    network = toy_network(name)
    with torch.no_grad():
        estimate = network(padded(image, network.stride)).total_bits().item() / 8
    codec = registry.create(name)
    data = encoded(codec, image)
    size = len(data) - codec.diagnostics(image, data)["bytes"].get("mask", 0)
    assert estimate > 50 * HEADER_BYTES
    assert size - HEADER_BYTES <= 1.005 * estimate
    assert size >= 0.995 * estimate


@each_whole_codec
def test_every_truncation_is_noticed(name: str) -> None:
    codec = registry.create(name)
    data = encoded(codec, crop(70, 130))
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            codec.decode(data[:length])
    with pytest.raises(BitstreamError):
        codec.decode(data + b"\1")


@each_whole_codec
def test_damaged_streams_are_refused(name: str, photo: Image) -> None:
    codec = registry.create(name)
    grey = np.full((70, 130, 3), 128, np.uint8)
    images = [photo, photo[:64, :64], grey, photo[:1, :1]]
    if name == "iwave":  # which takes ten times as long
        images = [image[:16, :16] for image in images]
    streams = [encoded(codec, image) for image in images]
    check_decoder(codec.decode, streams)


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


def of_each_coder() -> list[str]:
    """One codec for each kind of entropy coder."""
    kinds = {}
    for name in TRANSFORM_CODECS:
        network = toy_network(name)
        assert isinstance(network, TransformNetwork)
        kinds[type(network.coder(network.tables(), torch.device("cpu")))] = name
    return sorted(kinds.values())


HOSTILE = """
import resource, sys, time, bench, numpy, torch
from collections.abc import Callable
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
    if hasattr(model.coder, "volume"):
        sections[-1] = bytes([model.coder.channels]) + b"none"
    if hasattr(model.coder, "z"):
        size = model.coder.z.channels, MAX_BLOCKS
        z = numpy.random.default_rng(0).integers(-2, 3, size, dtype=numpy.int32)
        encoder = SymbolEncoder()
        model.coder.z.encode(encoder, z)
        sections[0] = encoder.get_bytes()
    if name == "hu2020":
        z1 = numpy.zeros((model.coder.z1.channels, 1, MAX_BLOCKS), "i4")
        encoder = SymbolEncoder()
        model.coder.z1.encode(encoder, z1[:, 0])
        z2 = numpy.zeros((2, 2 * MAX_BLOCKS, 64), "i4")
        sections[:2] = encoder.get_bytes(), model.coder.coarse.encode(z2, model.coder._z1((z1,)))
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


@pytest.mark.parametrize(
    "which", [of_each_coder, pytest.param(lambda: TRANSFORM_CODECS, marks=pytest.mark.slow)]
)
def test_a_large_picture_that_is_not_there_costs_little_memory(
    which: Callable[[], list[str]], tmp_path: Path
) -> None:
    """The largest size, with hyper-latents for all of it, where there are any, but without latents;
    of networks half as wide as those of the papers, and so in half of 1 GiB.  (Of `rdonet`:
    test_rdonet_hostile.)"""
    names = which()
    command = [sys.executable, "-c", HOSTILE, str(tmp_path), *names]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == names
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
