"""A closer look at a codec that was asked for by name: its ladder, odd sizes, damaged streams."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.check.finding import (
    CODEC_LIMIT,
    SURE_PSNR,
    Finding,
    another_image,
    decibels,
    photograph,
    score,
)
from bench.check.remote import Description, RemoteCodec
from bench.run.processes import CallFailed
from bench.run.sandboxed import stream_alone
from codecs.base import Image, Point, wrong_size

SIZE_DB = 3.0
"""How much worse a picture of another size may be at the highest point than the photograph is in
the middle of the ladder."""
DAMAGED_LIMIT = 60.0
"""Seconds that a decoder may take to see that a stream is damaged, beyond what a good one takes."""
CLOSE_LIMIT = 120.0
"""Seconds after which the closer look at a slow codec leaves out further points and sizes."""
LESS_BITS, LESS_DB = 0.02, 0.5
"""How much a higher point may fall behind the one below: a share of the bits, and dB of PSNR."""
Opener = Callable[[str], RemoteCodec]
"""Gives the codec for a role: `encode`, `decode` or `decode again`."""


@dataclass(frozen=True)
class CodedMiddle:
    """The middle of the ladder, coded and decoded."""

    about: Description
    stream: bytes
    psnr: float
    seconds: float


def sizes() -> dict[str, Image]:
    """Images that coders with blocks and tiles trip over; sizes as width x height."""
    image = photograph()
    strip = np.concatenate([image, image[:, ::-1], image, image[:, ::-1], image], axis=1)
    return {
        "61 x 37": np.ascontiguousarray(image[60:97, 100:161]),
        "1 x 1": np.full((1, 1, 3), (90, 140, 200), np.uint8),
        "flat, 64 x 48": np.full((48, 64, 3), (90, 140, 200), np.uint8),
        "wide, 1100 x 40": np.ascontiguousarray(strip[100:140, :1100]),
    }


def look_closer(name: str, opener: Opener, coded: CodedMiddle) -> Iterator[Finding]:
    """Findings about the ladder, about sizes, about repetition and about damaged streams."""
    start = time.monotonic()
    points, image = coded.about.points, photograph()
    middle = points[len(points) // 2]
    # Where rates are set by ratio, headers are most of a small image's stream.
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
        left = encoder.left(name)
    yield _same_bytes(coded.stream, again)
    sure = min(SURE_PSNR, coded.psnr - SIZE_DB)
    with opener("decode") as decoder:
        for key, picture in pictures.items():
            if key in refused:
                yield Finding(key, "wrong", str(refused[key]))
            elif key in streams:
                yield _size(name, key, picture, streams[key], decoder, left, sure)
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
    name: str,
    key: str,
    picture: Image,
    stream: bytes,
    decoder: RemoteCodec,
    left: list[str],
    sure: float,
) -> Finding:
    try:
        decoded = decoder.decode(name, stream, CODEC_LIMIT)
    except CallFailed as error:
        return Finding(key, "wrong", f"{error}{stream_alone(left) if left else ''}")
    if wrong := wrong_size(decoded.shape, picture.shape[1], picture.shape[0]):
        return Finding(key, "wrong", wrong)
    psnr = score("psnr", picture, decoded)
    detail = f"{len(stream)} bytes, {decibels(psnr)}"
    # A single pixel is all chroma and rounding: its size alone is asked for.
    if picture.size > 3 and (another := another_image(picture, decoded, psnr, sure)):
        return Finding(key, "wrong", f"{detail}: {another}")
    return Finding(key, "ok", detail)


def _ladder(
    name: str,
    about: Description,
    points: Sequence[Point],
    crop: Image,
    streams: dict[str, bytes],
    refused: dict[str, CallFailed],
    decoder: RemoteCodec,
    start: float,
) -> Iterator[Finding]:
    """Every point of the ladder on a small image: rate and quality must rise together."""
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
        qualities.append(score("psnr", crop, decoded))
    faults = list(_falls(points[: len(rates)], streams, rates, qualities))
    yield from (Finding("ladder", "wrong", fault) for fault in faults)
    if rates and not faults:
        size = f"on {crop.shape[1]} x {crop.shape[0]}"
        detail = f"one point, {rates[0]:.3f} bpp, {decibels(qualities[0])} {size}"
        if len(rates) > 1:
            detail = (
                f"{len(rates)} points, {rates[0]:.3f} to {rates[-1]:.3f} bpp, "
                f"{qualities[0]:.2f} to {decibels(qualities[-1])} {size}: "
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


def _damaged(name: str, opener: Opener, coded: CodedMiddle) -> Finding:
    """A damaged stream may give an error or an image, and must not take for ever."""
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
