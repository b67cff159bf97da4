"""Checks of codecs: does the stream alone hold the image, at every point and every size?

Each codec is coded and decoded once in the middle of its ladder.  Codecs that were asked for by
name are looked at closely: the ladder, odd sizes, damaged streams.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

import codecs.registry as registry
from bench.check.closely import CodedMiddle, Opener, look_closer
from bench.check.finding import (
    CODEC_LIMIT,
    Finding,
    another_image,
    decibels,
    photograph,
    score,
)
from bench.check.remote import ProcessCodec, RemoteCodec, SandboxCodec
from bench.run.processes import CallFailed
from bench.run.sandbox import KINDS, best_kind
from bench.run.sandboxed import stream_alone
from bench.verdict import plausible
from codecs.base import CodecError, CodecUnavailable, wrong_size
from codecs.selection import to_rate


def check_codecs(
    names: Sequence[str], wanted: Sequence[str], *, closely: bool = False
) -> Iterator[Finding]:
    """Check each codec; one of `wanted` that cannot run here is wrong, any other missing."""
    with ExitStack() as stack:
        shared: dict[str, ProcessCodec] = {}

        def plain(role: str) -> RemoteCodec:
            if role not in shared:
                shared[role] = ProcessCodec(role.split()[0])
                stack.callback(shared[role].close)
            return shared[role]

        for name in names:
            foreign = registry.file_of(name) is not None or registry.is_foreign_code(name)
            opener = _sandboxed if foreign else plain
            # Small and damaged pictures tell no more at a rate than at the codec's own points.
            looked = closely and not to_rate(name)[1]
            for finding in _guarded(name, _codec(name, opener, looked)):
                if finding.status == "missing" and name in wanted:
                    finding = replace(finding, status="wrong")
                yield finding


def _sandboxed(role: str) -> RemoteCodec:
    return SandboxCodec(role.split()[0])


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
        left = encoder.left(name)
    # The encoder's sandbox is gone: a decoder finds nothing of it.
    isolated = isinstance(encoder, SandboxCodec)
    without = stream_alone(left) if isolated else ""
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
    psnr = score("psnr", image, one)
    detail = f"{point.label}: {bpp:.3f} bpp, {decibels(psnr)}, decoded alike by two other processes"
    how = f"; isolated: {KINDS[best_kind()]}" if isolated else ""
    if another := another_image(image, one, psnr):
        detail += f", but to {another}{without}"
    elif plausible.cannot_be_true(bpp, psnr):
        detail += f", which cannot be true of a photograph: something but the stream ({len(stream)}"
        detail += f" bytes) holds the picture{without}"
    else:
        yield Finding(name, "ok", f"{detail}; {about.version}{how}")
        if closely:
            coded = CodedMiddle(about, stream, psnr, time.monotonic() - start)
            yield from (replace(f, of=name) for f in look_closer(name, opener, coded))
        return
    yield Finding(name, "wrong", f"{detail}; {about.version}{how}")
