"""Files from the network: resumed where they broke off, bounded, verified, moved into place whole.

pooch does the book-keeping (digest, temporary file, rename); this module brings its own
downloader because pooch's starts again from nothing after every broken connection.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.base import DatasetError

if TYPE_CHECKING:
    import requests

ATTEMPTS = 20
"""Most connections for one file.  Two in a row that bring nothing are the end before that."""
TIMEOUTS = (10.0, 30.0)
"""Seconds to connect, and between two pieces of the answer."""
PAUSE = 1.0
"""Seconds before a broken connection is tried again."""
SLOWEST = 2000
"""Bytes a second, over the whole attempt, below which a server is given up after a minute."""
_CHUNK = 1 << 16


class DownloadError(DatasetError):
    """A file could not be fetched, or what came is not what was expected."""


def fetch(url: str, target: Path, *, digest: str | None, max_bytes: int, by_hand: str) -> None:
    """Download `url` to `target`, verified against its SHA-256 where that is known.

    A file that is there and matches is left alone.  An interrupted download leaves
    `<target>.part`, and the next call goes on from there.  `by_hand` ends the message of a
    `DownloadError`: what to put where without a network.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it announces each file; the progress bar does too
    download = _Download(target, max_bytes)
    known = None if digest is None else f"sha256:{digest}"
    try:
        try:
            pooch.retrieve(url, known, target.name, target.parent, downloader=download)
        except ValueError:
            # The digest is wrong.  The file may have changed on the server since the part that
            # was resumed was fetched: one fresh start tells.
            if not download.resumed:
                raise
            pooch.retrieve(url, known, target.name, target.parent, downloader=download)
    except (requests.RequestException, DownloadError, ValueError, OSError) as error:
        raise DownloadError(
            f"{url} could not be downloaded: {_reason(error)}.\n{by_hand}"
        ) from error


class _Download:
    """A pooch downloader (url, output file, pooch) that continues a partial file."""

    def __init__(self, target: Path, max_bytes: int) -> None:
        self.part = target.with_name(target.name + ".part")
        self.validator = target.with_name(target.name + ".part.validator")
        self.max_bytes = max_bytes
        self.resumed = False

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        import requests

        self.resumed = False
        idle = 0
        with requests.Session() as session:
            for attempt in range(1, ATTEMPTS + 1):
                before = self._have()
                try:
                    self._continue(session, url)
                    break
                except (requests.ConnectionError, requests.Timeout):
                    idle = 0 if self._have() > before else idle + 1
                    if idle == 2 or attempt == ATTEMPTS:
                        raise
                    time.sleep(PAUSE)
        self.validator.unlink(missing_ok=True)
        os.replace(self.part, output_file)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, session: requests.Session, url: str) -> None:
        """One request for what is missing of the file."""
        import requests

        have = self._have()
        validator = self.validator.read_text() if have and self.validator.exists() else ""
        # Identity: byte ranges of a compressed answer would not fit together.
        headers = {"Accept-Encoding": "identity"}
        if have and validator:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()
                raise requests.ConnectionError("the partial file does not fit the one offered")
            answer.raise_for_status()
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise DownloadError("the server compresses its answer")
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                have = 0  # the server sends the whole file
            self.resumed = self.resumed or have > 0
            self.validator.write_text(_validator(answer))
            self._save(answer, url, have)

    def _save(self, answer: requests.Response, url: str, have: int) -> None:
        import requests

        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if total is not None and total > self.max_bytes:
            raise DownloadError(f"it has {total:,} bytes, more than the {self.max_bytes:,} allowed")
        begun = time.monotonic()
        received = 0
        with self.part.open("ab" if have else "wb") as file, _progress(url, have, total) as advance:
            try:
                for piece in answer.iter_content(_CHUNK):
                    received += len(piece)
                    if have + received > self.max_bytes:
                        raise DownloadError(
                            f"it has more than the {self.max_bytes:,} bytes allowed"
                        )
                    file.write(piece)
                    advance(len(piece))
                    seconds = time.monotonic() - begun
                    if seconds > 60 and received < SLOWEST * seconds:
                        raise DownloadError(f"the server sends less than {SLOWEST} bytes a second")
            except requests.exceptions.ChunkedEncodingError as error:
                raise requests.ConnectionError(f"the connection broke off: {error}") from error


def _validator(answer: requests.Response) -> str:
    """What proves later that the file is still the same (RFC 9110, 13.1.5): no weak tags."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


@contextmanager
def _progress(url: str, have: int, total: int | None) -> Iterator[Callable[[int], Any]]:
    """A bar on a terminal, one line elsewhere."""
    if not sys.stderr.isatty():
        size = "" if total is None else f" ({total / 1e6:.1f} MB)"
        print(f"Downloading {url}{size}{', resumed' if have else ''}", file=sys.stderr)
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(url.rsplit("/", 1)[-1], total=total, completed=have)
        yield lambda count: progress.advance(task, count)


def _reason(error: BaseException) -> str:
    """The cause at the bottom of a chain of wrapped network errors, in one line."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, DownloadError | ValueError | requests.exceptions.SSLError):
        return " ".join(str(error).split())
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
