"""Runs programs so that they see what they are given, and leave nothing that others could see.

A sandbox has a home, a temporary folder and a working directory of its own, empty at first and
gone afterwards.  Where the system has namespaces it also has its own network, processes, shared
memory and /tmp, and the rest of the file system is read-only, without what it must not see.  It is
there to keep honest people from fooling themselves; it is no defence against an attack on the
machine.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.run.processes import ONE_THREAD, session_members

COVERED = tuple(
    path
    for path in ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/run/user")
    if os.path.isdir(path) and not os.path.islink(path)
)
"""Folders that all programs of a system share: a sandbox with namespaces has its own."""
KINDS = {
    "bwrap": "namespaces by bubblewrap",
    "unshare": "namespaces by unshare",
    "unshare as root": "namespaces by unshare, as root",
    "folders": "folders of its own alone; this system lets us make no namespaces, so files at "
    "fixed paths (/tmp/x) are not ruled out",
}
"""What isolates, best first, and how reports call it."""
ACCELERATORS = ("nvidia*", "dri", "kfd")
"""Devices that codecs may compute on, below /dev."""
PLACES = {"home": "HOME", "tmp": "TMPDIR", "work": "the working directory"}
"""Folders of every sandbox, and how reports call them."""
_SETUP = Path(__file__).resolve().with_name("sandbox_setup.py")
_SPACES = ("--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child")


class Sandbox:
    """A place for one program, removed by `close`.

    `read_only` are files and folders that the program needs, `hidden` those that it must not see:
    whatever lies deeper counts.  It has folders of its own in the place of `COVERED`, of the
    folder for temporary files, of `~/.cache` and of hidden folders; hidden files are empty.  The
    sandbox itself lies in `directory`, by default that for temporary files.
    """

    def __init__(
        self,
        read_only: Iterable[str | Path] = (),
        kind: str | None = None,
        *,
        hidden: Iterable[str | Path] = (),
        directory: Path | None = None,
    ) -> None:
        self.kind = kind or best_kind()
        self.scratch = Path(tempfile.mkdtemp(prefix="bench-sandbox-", dir=directory)).resolve()
        self.exchange = self.scratch / "exchange"
        """Where files are handed in and out."""
        unseen = {os.path.realpath(path) for path in hidden}
        folders = {path for path in (*_shared(), *unseen) if os.path.isdir(path)}
        self.covers = {path: self.scratch / f"cover{i}" for i, path in enumerate(sorted(folders))}
        for folder in (*map(self.scratch.joinpath, PLACES), *self.covers.values(), self.exchange):
            folder.mkdir()
        self.nothing = self.scratch / "nothing"
        self.nothing.touch()
        self.masked = sorted(path for path in unseen - folders if os.path.exists(path))
        self.read_only = _below((*_own_paths(), *map(str, read_only)), self.covers)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self, argv: Sequence[str], *, stderr: IO[bytes] | int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program, its standard input and output being pipes."""
        process = subprocess.Popen(
            self._command(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=self.scratch / "work",
            env=self._environment(),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def kill(self) -> None:
        """Kill all that runs in here, programs left in the background included."""
        for process in self.processes:
            patience = time.monotonic() + 1  # a process that is killed takes a moment to be gone
            while members := session_members(process.pid):
                for pid in members:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                process.poll()
                if time.monotonic() > patience:
                    break
                time.sleep(0.01)

    def end(self) -> None:
        """Kill all that runs in here, and let go of it."""
        self.kill()
        for process in self.processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            process.wait()
        self.processes = []

    def left(self) -> list[str]:
        """The files that programs have left in here, as they call them: `HOME/picture.npy`."""
        places = {self.scratch / place: shown for place, shown in PLACES.items()}
        places |= {source: place for place, source in self.covers.items()}
        found = []
        for folder, shown in places.items():
            for parent, _, files in os.walk(folder):
                paths = (Path(parent, file) for file in files)
                found += [
                    f"{shown}/{path.relative_to(folder)}"
                    for path in paths
                    # Empty: where something read-only is shown in a folder that is covered.
                    if not path.is_symlink() and path.is_file() and path.stat().st_size
                ]
        return sorted(found)

    def close(self) -> None:
        self.end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith("XDG_")}
        for name in ("BENCH_DATA", "BENCH_CACHE"):  # where pictures lie
            kept.pop(name, None)
        temporary = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(self.scratch / "tmp"))
        threads = dict.fromkeys(ONE_THREAD, "1")
        return {**kept, **temporary, **threads, "HOME": str(self.scratch / "home")}

    def _command(self, argv: Sequence[str]) -> list[str]:
        scratch, work = str(self.scratch), str(self.scratch / "work")
        if self.kind == "folders":
            return list(argv)
        mounts = [(place, str(source), True) for place, source in self.covers.items()]
        mounts += [(path, path, False) for path in self.read_only]
        # Shortest first: one of them may lie in another.
        mounts.sort(key=lambda mount: len(mount[0]))
        if self.kind == "bwrap":
            binds = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
            for device in (
                p for pattern in ACCELERATORS for p in sorted(Path("/dev").glob(pattern))
            ):
                binds += ["--dev-bind", str(device), str(device)]
            for place, source, writable in mounts:
                binds += ["--bind" if writable else "--ro-bind", source, place]
            for path in self.masked:
                if self._shows(path):
                    binds += ["--ro-bind", str(self.nothing), path]
            binds += ["--bind", scratch, scratch, "--chdir", work]
            # Settings of the kernel below /proc ask for root's number alone.
            binds += ["--remount-ro", "/proc"]
            rights = ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
            return ["bwrap", *binds, *rights, "--", *argv]
        plan = {
            "scratch": scratch,
            "mounts": mounts,
            "masked": [path for path in self.masked if self._shows(path)],
            "nothing": str(self.nothing),
            "directory": work,
        }
        user = [] if self.kind == "unshare as root" else ["--user", "--map-root-user"]
        setup = [sys.executable, "-I", "-S", str(_SETUP), json.dumps(plan)]
        return ["unshare", *user, *_SPACES, *setup, *argv]

    def _shows(self, path: str) -> bool:
        """Whether what lies at a path outside is to be seen there in here."""
        return _holder(path, [*self.covers, *self.read_only]) not in self.covers


@functools.cache
def best_kind() -> str:
    """The first of `KINDS` that works here."""
    return next(kind for kind in KINDS if kind == "folders" or works(kind))


def works(kind: str) -> bool:
    """Whether a program in such a sandbox starts, and cannot write outside of it."""
    if kind == "unshare as root" and os.geteuid() != 0:
        return False
    if shutil.which(kind.split()[0]) is None:
        return False
    sandbox = Sandbox(kind=kind)
    try:
        with tempfile.TemporaryDirectory() as outside:
            target = Path(outside) / "mark"
            script = "echo > mark && echo > /dev/null || exit 1; "
            script += 'mkdir -p "${1%/*}" 2>/dev/null; echo > "$1"; exit 0'
            process = sandbox.start(
                ["/bin/sh", "-c", script, "sh", str(target)], stderr=subprocess.DEVNULL
            )
            status = process.wait(30)
            return status == 0 and (sandbox.scratch / "work" / "mark").exists() > target.exists()
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        sandbox.close()


def _own_paths() -> list[str]:
    """What Python and the harness are made of, and the programs on the search path."""
    root = _SETUP.parents[2]
    packages = (str(root / name) for name in ("bench", "codecs", "datasets", "reports"))
    programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [str(root), *packages, sys.prefix, sys.base_prefix, *sys.path, *programs]


def _shared() -> Iterator[str]:
    """Folders in which programs leave things for other programs."""
    yield from COVERED
    homes = {os.path.expanduser("~"), pwd.getpwuid(os.getuid()).pw_dir}
    for path in (tempfile.gettempdir(), *(os.path.join(home, ".cache") for home in homes)):
        yield os.path.realpath(path)


def _below(paths: Iterable[str], covers: Iterable[str]) -> list[str]:
    """Those of the paths that need showing: existing ones below, not equal to, a covered folder."""
    absolute = {os.path.abspath(path) for path in paths if path}
    # A link and what it leads to: programs are called by the one and found by the other.
    both = absolute | {os.path.realpath(path) for path in absolute}
    covered, shown = set(covers), list[str]()
    for path in sorted(both - covered):  # a folder comes before what is in it
        if _holder(path, [*covered, *shown]) in covered and os.path.exists(path):
            shown.append(path)
    return shown


def _holder(path: str, folders: Iterable[str]) -> str | None:
    """The deepest of some folders that has a path in it."""
    return max((f for f in folders if path.startswith(f"{f}/")), key=len, default=None)
