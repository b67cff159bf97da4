"""Runs as a script inside new namespaces: closes the file system, then becomes init of a program.

    unshare --user --map-root-user --mount --net --ipc --pid --fork python sandbox_setup.py PLAN ...

PLAN is JSON: `scratch`, the one folder that stays writable where it is; `mounts`, triples of a
place, what is to be seen there and whether it can be written; `masked`, files in whose place the
empty file `nothing` is seen; `directory`, where the program starts.  All else becomes
read-only.  The standard library has no call for mounts, and `mount` none that makes a whole tree
read-only before util-linux 2.39: hence `ctypes`.  Nothing of the harness is imported here.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
SYS_MOUNT_SETATTR = 442
"""The same number on all architectures; Linux 5.12 and later."""
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY = 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """`struct mount_attr` of linux/mount.h."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def main() -> int:
    close_file_system(json.loads(sys.argv[1]))
    return supervise(sys.argv[2:])


def close_file_system(plan: dict[str, Any]) -> None:
    """Make everything read-only but the scratch folder.  Raises `OSError`."""
    _mount("none", "/", MS_REC | MS_PRIVATE)
    # Opened before other folders cover them; a mount is made of the open file then.
    scratch, nothing = (os.open(plan[name], os.O_PATH) for name in ("scratch", "nothing"))
    mounts = [(place, os.open(what, os.O_PATH), free) for place, what, free in plan["mounts"]]
    _set_read_only("/", True)
    for place, source, writable in mounts:
        _make(Path(place), directory=os.path.isdir(f"/proc/self/fd/{source}"))
        _bind(source, place)
        if writable:
            _set_read_only(place, False)
    for place in plan["masked"]:
        _bind(nothing, place)
    _make(Path(plan["scratch"]), directory=True)
    _bind(scratch, plan["scratch"])
    _set_read_only(plan["scratch"], False)
    for descriptor in (scratch, nothing, *(source for _, source, _ in mounts)):
        os.close(descriptor)
    # Processes outside, and the root folders that /proc shows of them, are out of reach; read-only,
    # because settings of the kernel ask for root's number alone.
    _mount("proc", "/proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "proc")
    os.chdir(plan["directory"])


def supervise(argv: list[str]) -> int:
    """Run a program without privileges; its exit status, 128 and more for a signal.

    The first process of a namespace ignores signals that it sends itself and has to collect
    orphans, which a codec does not expect.  All others end with it.
    """
    child = os.fork()
    if child == 0:
        drop_privileges()
        os.execv(argv[0], argv)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def drop_privileges() -> None:
    """Root in its own namespace could undo all of the above; without capabilities it cannot."""
    for capability in range(64):  # those that there are not are refused
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _bind(source: int, place: str) -> None:
    _mount(f"/proc/self/fd/{source}", place, MS_BIND | MS_REC)


def _make(path: Path, *, directory: bool) -> None:
    if path.exists():
        return
    if directory:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _mount(source: str, place: str, flags: int, kind: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, place, kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"mount {source} at {place}")


def _set_read_only(place: str, read_only: bool) -> None:
    bits = (MOUNT_ATTR_RDONLY, 0) if read_only else (0, MOUNT_ATTR_RDONLY)
    attributes = _Attributes(*bits, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(AT_FDCWD),
        ctypes.c_char_p(os.fsencode(place)),
        ctypes.c_uint(AT_RECURSIVE if read_only else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    if result:
        raise OSError(ctypes.get_errno(), f"mount_setattr of {place}")


if __name__ == "__main__":
    sys.exit(main())
