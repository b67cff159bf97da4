"""A run in one file, to be taken to another machine: `kodak.tar.zst`.

A tar archive under Zstandard (RFC 8878) holds, in this order, `run.json` (the manifest),
`measurements.jsonl` (the newest line of each key), each stream once as `streams/SHA-256`, and where
they were asked for the pictures as `pictures/SHA-256`.  Whoever reads a pack trusts nothing in it:
only these names, regular files, keys and digests that fit, sizes that the measurements state.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import zstandard

from bench.record.checked import check_manifest, check_measurement
from bench.record.manifest import Manifest
from bench.record.measurement import Measurement, digest
from bench.record.store import Store, StoreError

SUFFIX = ".tar.zst"
MAX_MANIFEST_BYTES = 1 << 25
MAX_LINE_BYTES = 1 << 22
MAX_LINES = 2_000_000
MAX_TABLE_BYTES = 1 << 33
_HEADER_BYTES = 1 << 16
"""Most that is read of an archive between two of its files."""
_WINDOW_BYTES = 1 << 27
_CHUNK = 1 << 20
_LEVEL = 12
_RUN, _TABLE = "run.json", "measurements.jsonl"
_STREAMS, _PICTURES = "streams/", "pictures/"


class PackError(StoreError):
    """A file is no pack, or one that is not trusted."""


def write_pack(directory: Path, target: Path, pictures: Mapping[str, Path] | None = None) -> int:
    """Pack a run into `target`; returns the number of measurements.

    Streams that are no longer what was measured stay out; their measurements do not.  `pictures`
    maps digests to the files that are to go along.  Raises `StoreError`.
    """
    manifest, store = Manifest.read(directory), Store(directory)
    part = target.with_name(f".{target.name}.part")
    measurements = list(store)
    if not measurements:
        raise StoreError(f"{directory} holds no measurement to pack")
    try:
        with _archive(part) as archive:
            _add(archive, _RUN, (directory / "run.json").read_bytes())
            lines = "".join(m.to_json() + "\n" for m in measurements)
            _add(archive, _TABLE, lines.encode(errors="backslashreplace"))
            written: set[str] = set()
            for m in measurements:
                kept = store.kept(m) if m.stream_digest not in written else None
                if kept is not None and m.stream_digest is not None:
                    written.add(m.stream_digest)
                    _add(archive, _STREAMS + m.stream_digest, kept.read_bytes())
            for picture in manifest.pictures:
                if pictures is not None:
                    data = pictures[picture.digest].read_bytes()
                    _add(archive, _PICTURES + picture.digest, data)
        part.replace(target)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return len(measurements)


def unpack(path: Path, directory: Path) -> Manifest:
    """Check a pack and make a run directory of it in `directory`, an empty folder.

    Pictures come as `pictures/NAME`.  Raises `PackError` at the first thing that is not right;
    then the folder is to be thrown away.
    """
    try:
        with open(path, "rb") as file:
            bounded = _Bounded(
                zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(file)
            )
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                return _Unpacking(directory, bounded).unpack(archive)
    except PackError as error:
        raise PackError(f"{path} is not taken: {error}") from error
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise PackError(f"{path} is no pack, or damaged: {error}") from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise PackError(f"{path} cannot be unpacked: {error}") from error


class _Bounded(io.RawIOBase):
    """A stream of which no more is read than was allowed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.left = _HEADER_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self.left -= len(data)
        if self.left < 0:
            raise PackError("it is longer than it says")
        return data


class _Unpacking:
    def __init__(self, directory: Path, bounded: _Bounded) -> None:
        self.directory = directory
        self.bounded = bounded
        self.streams: dict[str, list[Measurement]] = {}
        self.pictures: dict[str, str] = {}

    def unpack(self, archive: tarfile.TarFile) -> Manifest:
        (self.directory / "streams").mkdir()
        manifest = self._manifest(archive)
        self._table(archive, manifest)
        names = _picture_names(manifest)
        while (member := self._next(archive)) is not None:
            if found := re.fullmatch(r"streams/([0-9a-f]{64})", member.name):
                self._stream(archive, member, found[1])
            elif found := re.fullmatch(r"pictures/([0-9a-f]{64})", member.name):
                if found[1] not in names:
                    raise PackError(f"{member.name} is none of the run's pictures")
                self._picture(archive, member, found[1], names.pop(found[1]))
            else:
                raise PackError(f"{member.name!r} is not expected")
        return manifest

    def _next(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        self.bounded.left = max(self.bounded.left, 0) + _HEADER_BYTES
        member = archive.next()
        if member is None:
            return None
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.pax_headers:
            raise PackError(f"{member.name!r} is no plain file")
        return member

    def _read(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
        # Besides the file: what fills up its last block, and the block that is read ahead.
        self.bounded.left = member.size + _HEADER_BYTES
        content = archive.extractfile(member)
        if content is None:
            raise PackError(f"{member.name!r} is no plain file")
        return content

    def _expect(self, archive: tarfile.TarFile, name: str, most: int) -> IO[bytes]:
        member = self._next(archive)
        if member is None or member.name != name:
            raise PackError(f"it has no {name} where one belongs")
        if member.size > most:
            raise PackError(f"{name} has {member.size:,} bytes; at most {most:,} are read")
        return self._read(archive, member)

    def _manifest(self, archive: tarfile.TarFile) -> Manifest:
        data = self._expect(archive, _RUN, MAX_MANIFEST_BYTES).read()
        (self.directory / "run.json").write_bytes(data)
        try:
            manifest = Manifest.read(self.directory)
            check_manifest(manifest)
        except StoreError as error:
            raise PackError(f"its {_RUN} is damaged or of another version") from error
        except ValueError as error:
            raise PackError(f"its {_RUN} is not right: {error}") from error
        # A codec's name that is a path would have us run whatever lies there on this machine.
        own = {k: v for k, v in manifest.names.items() if not re.search(r"[/\\]|\.(py|toml)\b", k)}
        manifest = replace(manifest, names=own)
        manifest.write(self.directory)
        return manifest

    def _table(self, archive: tarfile.TarFile, manifest: Manifest) -> None:
        digests = {picture.digest for picture in manifest.pictures}
        seen: set[str] = set()
        with (self.directory / _TABLE).open("wb") as table:
            for line in _lines(self._expect(archive, _TABLE, MAX_TABLE_BYTES)):
                try:
                    m = Measurement.from_json(line.decode())
                    check_measurement(m)
                except ValueError as error:
                    raise PackError(f"a measurement is not right: {error}") from error
                if m.key in seen:
                    raise PackError(f"two measurements have the key {m.key}")
                if m.image_digest not in digests:
                    raise PackError(f"{m.image!r} is none of the run's pictures")
                seen.add(m.key)
                if m.stream_digest is not None:
                    self.streams.setdefault(m.stream_digest, []).append(m)
                table.write(line + b"\n")

    def _stream(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        measured = self.streams.pop(name, None)
        if measured is None:
            raise PackError(f"{member.name} belongs to no measurement, or comes twice")
        if any(m.bytes != member.size for m in measured):
            raise PackError(f"{member.name} has not as many bytes as were measured")
        data = self._read(archive, member).read()
        if digest(data) != name:
            raise PackError(f"{member.name} has another digest")
        for m in measured:
            (self.directory / "streams" / f"{m.key}.bin").write_bytes(data)

    def _picture(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, file: str
    ) -> None:
        if member.size > 1 << 29:
            raise PackError(f"{member.name} has {member.size:,} bytes")
        (self.directory / "pictures").mkdir(exist_ok=True)
        target = self.directory / "pictures" / file
        with target.open("xb") as out:
            shutil.copyfileobj(self._read(archive, member), out)
        if digest(target.read_bytes()) != name:
            raise PackError(f"{member.name} has another digest")


def _picture_names(manifest: Manifest) -> dict[str, str]:
    """Digest -> a file name that can be written anywhere and leads nowhere."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for picture in manifest.pictures:
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", picture.name)[-100:].lstrip(".") or "picture"
        name = plain if plain.lower() not in taken else f"{picture.digest[:8]}-{plain}"
        taken.add(name.lower())
        names[picture.digest] = name
    return names


def _lines(content: IO[bytes]) -> Iterator[bytes]:
    for count, line in enumerate(iter(lambda: content.readline(MAX_LINE_BYTES + 1), b"")):
        if len(line) > MAX_LINE_BYTES or count >= MAX_LINES:
            raise PackError(f"{_TABLE} has a line, or lines, without measure")
        if not line.endswith(b"\n"):
            raise PackError(f"{_TABLE} is cut short")
        yield line[:-1]


@contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    with (
        open(path, "wb") as file,
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        yield archive


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no owner, no time: the same run gives the same file
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))
