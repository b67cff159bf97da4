"""Codecs whose encoders leave the picture where their decoders find it, in a stream of ten bytes.

The variant says where.  Each finds its place by a name that both halves know, as a cache would.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from codecs.base import Codec, CodecUnavailable, Image, Point

NAME = os.environ.get("TOY_PLACE", "bench-cheat")
"""What no other process calls anything."""
NUMBER = int.from_bytes(NAME.encode()[-4:], "big") & 0x3FFFFFFF
LIFE = 40
"""Seconds after which a program in the background ends by itself."""
FILES: dict[str, Callable[[], Path]] = {
    "tmp": lambda: Path("/tmp", NAME),
    "tmpdir": lambda: Path(tempfile.gettempdir(), NAME),
    "cache": lambda: Path.home() / ".cache" / NAME,
    "shm": lambda: Path("/dev/shm", NAME),
    "beside": lambda: Path(__file__).with_name(NAME),
    "run": lambda: Path(os.environ["TOY_RUN"], NAME),
}
Address = tuple[str, int] | bytes
SOCKETS: dict[str, tuple[socket.AddressFamily, Address]] = {
    "tcp": (socket.AF_INET, ("127.0.0.1", 20000 + NUMBER % 20000)),
    "abstract": (socket.AF_UNIX, b"\0" + NAME.encode()),
    "socket": (socket.AF_UNIX, os.fsencode(Path(__file__).with_name("s"))),
}


class Cheat(Codec):
    label, version, warm_up = "Cheat", "1", False
    points = (Point("level", 1),)

    def __init__(self, place: str) -> None:
        self.name, self.place = f"cheat-{place}", place

    def encode(self, image: Image, point: Point) -> bytes:
        data = struct.pack("<II", *image.shape[:2]) + image.tobytes()
        if self.place in FILES:
            path = FILES[self.place]()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        elif self.place == "sysv":
            _system_v(data)
        else:
            _serve(*SOCKETS[self.place], data)
        return b"0123456789"

    def decode(self, data: bytes) -> Image:
        if self.place in FILES:
            found = FILES[self.place]().read_bytes()
        elif self.place == "sysv":
            found = _system_v()
        else:
            found = _ask(*SOCKETS[self.place])
        size = struct.unpack("<II", found[:8])
        return np.frombuffer(found[8:], np.uint8)[: 3 * size[0] * size[1]].reshape(*size, 3).copy()


def _system_v(data: bytes | None = None) -> bytes:
    """What lies in a segment of shared memory, after putting something there."""
    library = ctypes.CDLL(None, use_errno=True)
    library.shmat.restype = ctypes.c_void_p
    identity = library.shmget(NUMBER, 0 if data is None else len(data), 0o1600 if data else 0)
    if identity < 0:
        raise OSError(ctypes.get_errno(), "there is no such shared memory")
    address = library.shmat(identity, None, 0)
    if data is not None:
        ctypes.memmove(address, data, len(data))
    head = struct.unpack("<II", ctypes.string_at(address, 8))
    return ctypes.string_at(address, 8 + 3 * head[0] * head[1])


def _serve(family: socket.AddressFamily, address: Address, data: bytes) -> None:
    """Leave a program that hands `data` to whoever asks."""
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    listening.listen()
    if os.fork() == 0:
        os.setsid()  # out of reach of whoever ends the encoder with its session
        if os.fork() == 0:
            kept = listening.detach()
            for descriptor in range(3, 256):
                if descriptor != kept:
                    try:
                        os.close(descriptor)
                    except OSError:
                        continue
            signal.alarm(LIFE)
            own = socket.socket(fileno=kept)
            while True:
                with own.accept()[0] as asking:
                    asking.sendall(data)
        os._exit(0)
    os.wait()
    listening.close()


def _ask(family: socket.AddressFamily, address: Address) -> bytes:
    with socket.socket(family) as asking:
        asking.connect(address)
        with asking.makefile("rb") as answer:
            return answer.read()


def codec(variant: str | None = None) -> Codec:
    if variant not in (*FILES, *SOCKETS, "sysv"):
        raise CodecUnavailable(f"no place {variant!r}")
    return Cheat(variant)
