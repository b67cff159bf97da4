"""Checks of codecs: does the stream alone hold the picture, at every point and every size?

Each codec is coded and decoded once in the middle of its ladder.  Codecs that were asked for by
name are looked at closely: the ladder, odd sizes, damaged streams.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

import codecs.registry as registry
from bench import metrics
from bench.check.coders import Coder, Description, ProcessCoder, SandboxCoder
from bench.check.finding import Finding
from bench.check.sandbox import KINDS, best_kind
from bench.run.processes import CallFailed
from bench.verdict import plausible
from bench.verdict.common import listed
from codecs.base import CodecError, CodecUnavailable, Image, Point, wrong_size

CODEC_LIMIT = 300.0
"""Seconds that a codec may take to encode or to decode one picture."""
DAMAGED_LIMIT = 60.0
"""Seconds that a decoder may take to see that a stream is damaged, beyond what a good one takes."""
CLOSE_LIMIT = 120.0
"""Seconds after which the closer look at a slow codec leaves out further points and sizes."""
LEAST_PSNR = 20.0
"""dB: what any codec reaches in the middle of its ladder, and a wrong picture never does."""
LESS_BITS, LESS_DB = 0.02, 0.5
"""How much a higher point may fall behind the one below: a share of the bits, and dB of PSNR."""
Opener = Callable[[str], Coder]
"""Gives the coder for a role: `encode`, `decode` or `decode again`."""


@dataclass(frozen=True)
class _Coded:
    """The middle of the ladder, coded and decoded."""

    about: Description
    stream: bytes
    seconds: float


def photograph() -> Image:
    """A natural picture that comes with scikit-image, 256 x 240."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:240, 100:356])


def sizes() -> dict[str, Image]:
    """Pictures that coders with blocks and tiles trip over; sizes as width x height."""
    image = photograph()
    strip = np.concatenate([image, image[:, ::-1], image, image[:, ::-1], image], axis=1)
    return {
        "61 x 37": np.ascontiguousarray(image[60:97, 100:161]),
        "1 x 1": np.full((1, 1, 3), (90, 140, 200), np.uint8),
        "flat, 64 x 48": np.full((48, 64, 3), (90, 140, 200), np.uint8),
        "wide, 1100 x 40": np.ascontiguousarray(strip[100:140, :1100]),
    }


def check_codecs(
    names: Sequence[str], wanted: Sequence[str], *, closely: bool = False
) -> Iterator[Finding]:
    """Check each codec; one of `wanted` that cannot run here is wrong, any other missing."""
    with ExitStack() as stack:
        shared: dict[str, ProcessCoder] = {}

        def plain(role: str) -> Coder:
            if role not in shared:
                shared[role] = ProcessCoder(role.split()[0])
                stack.callback(shared[role].close)
            return shared[role]

        for name in names:
            foreign = registry.file_of(name) is not None or registry.is_foreign_code(name)
            opener = partial(_sandboxed, name) if foreign else plain
            for finding in _guarded(name, _codec(name, opener, closely)):
                if finding.status == "missing" and name in wanted:
                    finding = replace(finding, status="wrong")
                yield finding


def _sandboxed(name: str, role: str) -> Coder:
    return SandboxCoder(name)


def _guarded(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings; what breaks them off is the last one: it must not hide the other codecs."""
    of = ""
    try:
        for finding in findings:
            of = name
            yield finding
    except CodecUnavailable as error:
        yield _part(of, name, "missing", str(error))
    except CallFailed as error:
        missing = error.status == "unavailable"
        yield _part(of, name, "missing" if missing else "wrong", str(error))
    except CodecError as error:
        yield _part(of, name, "wrong", str(error))
    except Exception as error:  # somebody's broken codec must not hide the others
        yield _part(of, name, "wrong", f"{type(error).__name__}: {error}")


def _part(of: str, name: str, status: str, detail: str) -> Finding:
    return Finding("closer look" if of else name, status, detail, of)


def _codec(name: str, opener: Opener, closely: bool) -> Iterator[Finding]:
    image = photograph()
    start = time.monotonic()
    with opener("encode") as encoder:
        about = encoder.describe(name, CODEC_LIMIT)
        point = about.points[len(about.points) // 2]
        stream = encoder.encode(name, image, point, CODEC_LIMIT)
        left = encoder.left()
    # The encoder's sandbox is gone: a decoder finds nothing of it.
    isolated = isinstance(encoder, SandboxCoder)
    without = _without(left) if isolated else ""
    with opener("decode") as first, opener("decode again") as second:
        try:
            one, two = (each.decode(name, stream, CODEC_LIMIT) for each in (first, second))
        except CallFailed as error:
            raise CallFailed(error.status, f"{error}{without}") from error
    bpp = 8 * len(stream) / (image.shape[0] * image.shape[1])
    if wrong := wrong_size(one.shape, image.shape[1], image.shape[0]):
        yield Finding(name, "wrong", wrong)
        return
    if not np.array_equal(one, two):
        yield Finding(name, "wrong", "two processes decode the same file to two pictures")
        return
    psnr = score(image, one)
    detail = (
        f"{point.label}: {bpp:.3f} bpp, {_decibels(psnr)}, decoded alike by two other processes"
    )
    how = f"; isolated: {KINDS[best_kind()]}" if isolated else ""
    if psnr < LEAST_PSNR:
        detail += f", but to another picture (below {LEAST_PSNR:.0f} dB){without}"
    elif plausible.cannot_be_true(bpp, psnr):
        detail += f", which cannot be true of a photograph: something but the stream ({len(stream)}"
        detail += f" bytes) holds the picture{without}"
    else:
        yield Finding(name, "ok", f"{detail}; {about.version}{how}")
        if closely:
            coded = _Coded(about, stream, time.monotonic() - start)
            yield from (replace(f, of=name) for f in _closer(name, opener, coded))
        return
    yield Finding(name, "wrong", f"{detail}; {about.version}{how}")


def _without(left: list[str]) -> str:
    """What a decoder had to do without, as the end of a sentence."""
    text = "; it was given the stream and nothing else"
    if left:
        text += f": what the encoder had left in {listed(left)} was removed before"
    return text


def _closer(name: str, opener: Opener, coded: _Coded) -> Iterator[Finding]:
    """Findings about the ladder, about sizes, about repetition and about damaged streams."""
    start = time.monotonic()
    points, image = coded.about.points, photograph()
    middle = points[len(points) // 2]
    # Where rates are set by ratio, headers are most of a small picture's stream.
    slow = coded.seconds * len(points) > CLOSE_LIMIT / 2
    crop = np.ascontiguousarray(image[40:136, 90:218]) if slow else image
    pictures = sizes()
    streams: dict[str, bytes] = {}
    refused: dict[str, CallFailed] = {}
    with opener("encode") as encoder:
        again = encoder.encode(name, image, middle, CODEC_LIMIT)
        for key, picture, point in (
            *((key, picture, points[-1]) for key, picture in pictures.items()),
            *((point.label, crop, point) for point in points),
        ):
            if time.monotonic() - start > CLOSE_LIMIT:
                break
            try:
                streams[key] = encoder.encode(name, picture, point, CODEC_LIMIT)
            except CallFailed as error:
                refused[key] = error
        left = encoder.left() if isinstance(encoder, SandboxCoder) else []
    yield _same_bytes(coded.stream, again)
    with opener("decode") as decoder:
        for key, picture in pictures.items():
            if key in refused:
                yield Finding(key, "wrong", str(refused[key]))
            elif key in streams:
                yield _size(name, key, picture, streams[key], decoder, left)
            else:
                yield Finding(key, "note", f"not checked: {name} is too slow for more")
        chosen = [point for point in points if point.label in streams]
        yield from _ladder(name, coded.about, chosen, crop, streams, refused, decoder, start)
    yield _damaged(name, opener, coded)


def _same_bytes(first: bytes, second: bytes) -> Finding:
    if first == second:
        return Finding("encoded twice", "ok", "two processes write the same bytes")
    return Finding(
        "encoded twice",
        "note",
        f"two processes write different streams ({len(first)} and {len(second)} bytes): a run "
        "that is repeated will give slightly different figures",
    )


def _size(
    name: str, key: str, picture: Image, stream: bytes, decoder: Coder, left: list[str]
) -> Finding:
    try:
        decoded = decoder.decode(name, stream, CODEC_LIMIT)
    except CallFailed as error:
        return Finding(key, "wrong", f"{error}{_without(left) if left else ''}")
    if wrong := wrong_size(decoded.shape, picture.shape[1], picture.shape[0]):
        return Finding(key, "wrong", wrong)
    psnr = score(picture, decoded)
    detail = f"{len(stream)} bytes, {_decibels(psnr)}"
    # A single pixel is all chroma and rounding: its size alone is asked for.
    if psnr < LEAST_PSNR and picture.size > 3:
        return Finding(key, "wrong", f"{detail}: another picture (below {LEAST_PSNR:.0f} dB)")
    return Finding(key, "ok", detail)


def _ladder(
    name: str,
    about: Description,
    points: Sequence[Point],
    crop: Image,
    streams: dict[str, bytes],
    refused: dict[str, CallFailed],
    decoder: Coder,
    start: float,
) -> Iterator[Finding]:
    """Every point of the ladder on a small picture: rate and quality must rise together."""
    for label in (point.label for point in about.points if point.label in refused):
        yield Finding("ladder", "wrong", f"{label}: {refused[label]}")
    rates, qualities = [], []
    for point in points:
        if time.monotonic() - start > 2 * CLOSE_LIMIT:
            break
        try:
            decoded = decoder.decode(name, streams[point.label], CODEC_LIMIT)
        except CallFailed as error:
            yield Finding("ladder", "wrong", f"{point.label}: {error}")
            return
        if wrong := wrong_size(decoded.shape, crop.shape[1], crop.shape[0]):
            yield Finding("ladder", "wrong", f"{point.label}: {wrong}")
            return
        rates.append(8 * len(streams[point.label]) / (crop.shape[0] * crop.shape[1]))
        qualities.append(score(crop, decoded))
    faults = list(_falls(points[: len(rates)], streams, rates, qualities))
    yield from (Finding("ladder", "wrong", fault) for fault in faults)
    if rates and not faults:
        size = f"on {crop.shape[1]} x {crop.shape[0]}"
        detail = f"one point, {rates[0]:.3f} bpp, {_decibels(qualities[0])} {size}"
        if len(rates) > 1:
            detail = (
                f"{len(rates)} points, {rates[0]:.3f} to {rates[-1]:.3f} bpp, "
                f"{qualities[0]:.2f} to {_decibels(qualities[-1])} {size}: "
                "both rise from point to point"
            )
        yield Finding("ladder", "ok", detail)
    missing = len(about.points) - len(rates) - sum(p.label in refused for p in about.points)
    if missing:
        detail = f"{missing} of {len(about.points)} points not checked: {name} is too slow for more"
        yield Finding("ladder", "note", detail)


def _falls(
    points: Sequence[Point],
    streams: dict[str, bytes],
    rates: Sequence[float],
    qualities: Sequence[float],
) -> Iterator[str]:
    """What is wrong between neighbours, of which the first has the lower rate."""
    for (a, low), (b, high) in itertools.pairwise(enumerate(points)):
        between = f"{low.label} and {high.label}"
        if streams[low.label] == streams[high.label]:
            yield f"{between} give the same stream: is the value used?"
        elif rates[b] < rates[a] * (1 - LESS_BITS):
            yield (
                f"the rate falls from {rates[a]:.3f} to {rates[b]:.3f} bpp between {between}: "
                "list the points by rate, the lowest first"
            )
        elif qualities[b] < qualities[a] - LESS_DB:
            yield (
                f"more bits and less quality between {between}: {rates[a]:.3f} to {rates[b]:.3f} "
                f"bpp, {qualities[a]:.2f} to {qualities[b]:.2f} dB"
            )


def _damaged(name: str, opener: Opener, coded: _Coded) -> Finding:
    """A damaged stream may give an error or a picture, and must not take for ever."""
    noise = np.random.default_rng(0).bytes(len(coded.stream))
    damaged = {
        "half a stream": coded.stream[: len(coded.stream) // 2],
        "an empty stream": b"",
        "random bytes": noise,
    }
    limit = DAMAGED_LIMIT + 2 * coded.seconds
    outcomes = []
    with opener("decode") as decoder:
        for what, data in damaged.items():
            begun = time.monotonic()
            try:
                decoder.decode(name, data, limit)
                outcomes.append(f"{what}: a picture")
            except CallFailed as error:
                if time.monotonic() - begun >= limit:
                    detail = f"{what} keeps the decoder busy for more than {limit:.0f} s"
                    return Finding("damaged streams", "wrong", f"{detail}: let it give up")
                outcomes.append(f"{what}: {'a crash' if 'died' in str(error) else 'an error'}")
    return Finding("damaged streams", "ok", ", ".join(outcomes))


def _decibels(psnr: float) -> str:
    return "without loss" if math.isinf(psnr) else f"{psnr:.2f} dB"


def score(reference: Image, decoded: Image) -> float:
    """PSNR in dB; infinite without loss."""
    metric = metrics.create("psnr")
    return metric.score(metric.prepare(reference), decoded)
