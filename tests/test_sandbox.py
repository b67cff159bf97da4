"""A sandboxed program sees what it is given, and leaves nothing that others could see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.run.sandbox import COVERED, KINDS, Sandbox, best_kind, works

WORKING = [kind for kind in KINDS if kind == "folders" or works(kind)]
CLOSED = [kind for kind in WORKING if kind != "folders"]
closed = pytest.mark.skipif(not CLOSED, reason="no namespaces on this system")


def said(sandbox: Sandbox, script: str, *arguments: str) -> list[str]:
    argv = ["/bin/sh", "-c", script, "sh", *arguments]
    process = sandbox.start(argv, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    lines = process.stdout.read().decode().splitlines()
    process.wait(20)
    return lines


@pytest.fixture(params=WORKING)
def sandbox(request):
    made = Sandbox(kind=request.param)
    yield made
    made.close()


@pytest.fixture(params=CLOSED)
def closed_sandbox(request):
    made = Sandbox(kind=request.param)
    yield made
    made.close()


def test_home_temporary_folder_and_working_directory_are_empty_and_its_own(sandbox, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path.home()))
    script = (
        'for d in "$HOME" "$TMPDIR" .; do ls -A "$d"; done; echo "$XDG_CACHE_HOME"; echo "$HOME"'
    )
    *listed, cache, home = said(sandbox, script)
    assert listed == []
    assert cache == ""
    assert home != os.environ.get("HOME")


def test_what_was_left_is_named_and_then_gone(sandbox):
    said(sandbox, 'echo x > "$HOME/a"; echo x > "$TMPDIR/b"; echo x > c')
    assert sandbox.left() == ["HOME/a", "TMPDIR/b", "the working directory/c"]
    sandbox.close()
    assert not sandbox.scratch.exists()


def test_nothing_runs_on_after_the_end(sandbox):
    said(sandbox, 'sleep 100 > /dev/null & echo $! > "$HOME/pid"')
    mine = f"HOME={sandbox.scratch}/home".encode()
    sandbox.end()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            assert mine not in entry.read_bytes()
        except OSError:
            continue


@closed
def test_fixed_paths_lead_to_folders_of_its_own(closed_sandbox):
    name = f"bench-test-{os.getpid()}"
    for place in COVERED:
        said(closed_sandbox, 'echo x > "$1"', f"{place}/{name}")
        assert not Path(place, name).exists()
    assert closed_sandbox.left() == sorted(f"{place}/{name}" for place in COVERED)


@closed
def test_the_rest_of_the_file_system_is_read_only(closed_sandbox):
    places = [str(Path.home()), str(Path(__file__).parent), str(Path.cwd())]
    places += ["/proc/sys", "/proc/sys/kernel/panic"]
    script = 'for d in "$@"; do test -w "$d" && echo "$d"; done'
    assert said(closed_sandbox, script, *places) == []


@closed
def test_what_it_needs_is_there_although_the_folder_is_covered(tmp_path, closed_sandbox):
    needed, other = tmp_path / "needed", tmp_path / "other"
    for folder in (needed, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    with_it = Sandbox([needed], kind=closed_sandbox.kind)
    script = 'for f in "$@"; do test -r "$f" && echo "$f"; done'
    try:
        shown = said(with_it, script, str(needed / "file"), str(other / "file"))
    finally:
        with_it.close()
    hidden = any(tmp_path.resolve().is_relative_to(place) for place in COVERED)
    assert shown == [str(needed / "file")] if hidden else str(needed / "file") in shown


@closed
def test_there_are_no_privileges_to_undo_it_and_no_network(closed_sandbox):
    capabilities, *rest = said(
        closed_sandbox, "grep CapEff /proc/self/status; grep -c : /proc/net/dev"
    )
    assert int(capabilities.split()[1], 16) == 0
    assert rest == ["1"]  # the loopback alone


def test_the_best_kind_that_works_is_taken():
    assert best_kind() == WORKING[0]
    assert sys.platform != "linux" or "folders" in WORKING
