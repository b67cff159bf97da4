"""What runs inside a sandbox: encoding and decoding on request, by files and lines of JSON.

A request is a line on standard input, a list of the kind of call and its arguments; a reply is a
line on what was standard output, `[status, value]` as in `bench.run.worker.serve`; the first line
is `["ready", null]`.  Images and streams are files.  Nothing is pickled: the harness
reads no objects that a codec could make up.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import codecs.registry as registry
from bench.run import worker
from codecs.base import Point
from datasets.base import ImageRef


def serve() -> None:
    """Answer until the harness goes away."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    # What codecs print or read is none of the conversation.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    calls: dict[str, Callable[..., Any]] = {
        "describe": describe,
        "encode": _encoding(worker.Encoder()),
        "decode": _decoding(worker.Decoder()),
    }
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    replies.write(json.dumps(["ready", None]) + "\n")
    replies.flush()
    while True:
        role, *arguments = json.loads(lines.get())
        reply = worker.reply(calls[role], tuple(arguments), role)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _read(requests: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """Pass requests on; when the harness is gone, end with all that was started."""
    for line in requests:
        lines.put(line)
    os.killpg(0, signal.SIGKILL)


def describe(name: str) -> dict[str, Any]:
    """What the harness has to know of a codec."""
    codec = registry.create(name)
    return {
        "version": codec.version,
        "points": [[point.parameter, point.value] for point in codec.points],
        "tuned_for": list(codec.tuned_for),
    }


def _encoding(encoder: worker.Encoder) -> Callable[..., list[Any]]:
    def encode(
        name: str, parameter: str, value: Any, picture: list[Any], stream: str, key: str | None
    ) -> list[Any]:
        path, digest, width, height = picture
        original = ImageRef(Path(path).name, Path(path), digest, width, height)
        _, _, timing, told = encoder(name, Point(parameter, value), original, Path(stream), key)
        return [timing.wall, timing.cpu, told]

    return encode


def _decoding(decoder: worker.Decoder) -> Callable[..., list[Any]]:
    def decode(name: str, stream: str, pixels: str) -> list[Any]:
        _, _, timing, notes = decoder(name, Path(stream), Path(pixels))
        return [timing.wall, timing.cpu, notes]

    return decode
