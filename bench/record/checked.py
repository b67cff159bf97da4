"""Whether what somebody else wrote can be a measurement, or a manifest: types, ranges, digests."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from bench.metrics.base import MetricValue
from bench.record.manifest import Manifest
from bench.record.measurement import INTERRUPTED, Measurement, Timing, measurement_key
from codecs import declared
from codecs.base import MAX_PIXELS, CodecError

STATUSES = frozenset({"ok", "failed", "unavailable", INTERRUPTED})
MAX_BYTES = 1 << 29
MAX_JOBS = 1 << 20


def check_measurement(m: Measurement) -> None:
    """Raises `ValueError` that says what is wrong."""
    texts = (
        *(m.key, m.status, m.codec, m.label, m.version, m.parameter, m.dataset, m.image),
        *(m.image_digest, m.reason, m.device, m.host, m.time, m.sandbox, m.pack),
        *(*m.tuned_for, *m.notes),
    )
    _ask(all(isinstance(text, str) for text in texts), "a text is none")
    _ask(m.status in STATUSES, f"its status is {m.status!r}")
    _ask(_is_digest(m.image_digest), "the picture's digest is none")
    _ask(_are_settings(m.settings) and _are_texts(m.rescored), "its settings are none")
    _ask(m.command is None or isinstance(m.command, str), "its command is no text")
    _ask(isinstance(m.diagnostics, dict), "its diagnostics are no table")
    value = m.value
    _ask(_is_number(value) or isinstance(value, str), "its operating point is none")
    _ask(_is_size(m.width, m.height), "its picture's size is out of range")
    _ask(_is_count(m.jobs, 1, MAX_JOBS), "its jobs are out of range")
    for name in ("stream_digest", "reconstruction_digest"):
        found = getattr(m, name)
        _ask(found is None or _is_digest(found), f"its {name} is none")
    _ask(m.bytes is None or _is_count(m.bytes, 1, MAX_BYTES), "its bytes are out of range")
    if m.status == "ok":
        whole = m.bytes is not None and m.stream_digest is not None
        _ask(whole and m.reconstruction_digest is not None, "it lacks a stream or a picture")
    for timing in (m.encode, m.decode):
        _ask(timing is None or _is_timing(timing), "its timings are none")
    for name, score in m.metrics.items():
        _ask(isinstance(name, str) and _is_score(score), f"its {name} is no score")
    key = measurement_key(m.codec, m.version, m.settings, m.point, m.image_digest)
    _ask(m.key == key, "its key is not what its codec, settings and picture make")
    m.to_json()  # of diagnostics, too, JSON must be able to hold every figure


def check_manifest(manifest: Manifest) -> None:
    """Raises `ValueError` that says what is wrong."""
    for name in ("dataset", "label", "source", "command", "started", "finished", "argument"):
        _ask(isinstance(getattr(manifest, name), str), f"its {name} is no text")
    for name in ("names", "unavailable", "metrics", "host", "packages", "packs"):
        _ask(_are_texts(getattr(manifest, name)), f"its {name} are no texts")
    _ask(isinstance(manifest.quick, bool), "its quick is neither true nor false")
    texts = (*manifest.notes, *(text for pair in manifest.skipped for text in pair))
    _ask(all(isinstance(text, str) for text in texts), "a note is no text")
    for picture in manifest.pictures:
        _ask(isinstance(picture.name, str) and _is_digest(picture.digest), "a picture is none")
        _ask(_is_size(picture.width, picture.height), "a picture's size is out of range")
    _ask(len({p.digest for p in manifest.pictures}) == len(manifest.pictures), "a picture is twice")
    for name, ladder in manifest.ladders.items():
        _ask(name == ladder.codec and isinstance(ladder.version, str), "a codec is none")
        _ask(_are_settings(ladder.settings), f"the settings of {name} are none")
        for point in ladder.points:
            right = _is_number(point.value) or isinstance(point.value, str)
            _ask(right and isinstance(point.parameter, str), f"a point of {name} is none")


def _ask(right: object, wrong: str) -> None:
    if not right:
        raise ValueError(wrong)


def _is_digest(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_count(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _are_texts(table: Any) -> bool:
    return isinstance(table, Mapping) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in table.items()
    )


def _are_settings(table: Any) -> bool:
    """Whether a codec of somebody's may have them."""
    try:
        return isinstance(table, Mapping) and declared.settings(table) == table
    except CodecError:
        return False


def _is_size(width: Any, height: Any) -> bool:
    return all(_is_count(side, 1, MAX_PIXELS) for side in (width, height)) and (
        width * height <= MAX_PIXELS
    )


def _is_timing(timing: Timing) -> bool:
    return all(_is_number(each) and each >= 0 for each in (timing.wall, timing.cpu))


def _is_score(score: MetricValue) -> bool:
    return (
        (score.value is None or _is_number(score.value))
        and isinstance(score.version, str)
        and isinstance(score.reason, str)
    )
