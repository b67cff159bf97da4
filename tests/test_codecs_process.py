"""Programs that hang, flood, fork, grow, or outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codecs import process
from codecs.base import CodecUnavailable
from tests.codecs_cases import alive, clean_environment


def _wait_for(condition, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_output_and_folder(tmp_path):
    output = process.run(["sh", "-c", "pwd; echo oops >&2"], seconds=10, directory=tmp_path)
    assert output.stdout.strip() == str(tmp_path.resolve())
    assert output.stderr == "oops\n"


def test_arguments_are_not_read_by_a_shell():
    odd = "$(touch x); `id` 'a' \"b\" \\ *"
    assert process.run(["printf", "%s", odd], seconds=10).stdout == odd


def test_failures_say_what_happened():
    with pytest.raises(process.ProcessError, match=r"sh ended with exit status 3: two\nthree"):
        process.run(["sh", "-c", "printf 'two\\nthree' >&2; exit 3"], seconds=10)
    with pytest.raises(process.ProcessError, match="SIGSEGV"):
        process.run(["sh", "-c", "kill -s SEGV $$"], seconds=10)
    with pytest.raises(CodecUnavailable, match="no-such-tool"):
        process.run(["no-such-tool"], seconds=10)


def test_control_characters_do_not_get_through():
    output = process.run(["printf", "a\\033[31mb\\000c\\377\\n"], seconds=10)
    assert "\033" not in output.stdout
    assert "\0" not in output.stdout
    assert output.stdout.startswith("a[31mbc")


def test_time_limit_ends_the_whole_group(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    start = time.monotonic()
    with pytest.raises(process.ProcessError, match=r"within 0\.5 s"):
        process.run(["sh", "-c", script], seconds=0.5)
    assert time.monotonic() - start < 5
    assert not alive(int((tmp_path / "pid").read_text()))


def test_programs_left_behind_are_ended(tmp_path):
    script = f"sleep 60 & echo $! > {tmp_path}/pid"
    start = time.monotonic()
    process.run(["sh", "-c", script], seconds=30)
    assert time.monotonic() - start < 5
    assert _wait_for(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_floods_are_bounded():
    many = process.run(["sh", "-c", "yes | head -c 5000000; echo end"], seconds=30)
    assert many.stdout.endswith("end\n")
    assert len(many.stdout) <= process.TAIL_BYTES
    with pytest.raises(process.ProcessError, match="wrote more than 2 MiB"):
        process.run(["yes"], seconds=30, file_bytes=2 << 20)


def test_files_are_bounded(tmp_path):
    argv = ["dd", "if=/dev/zero", f"of={tmp_path}/big", "bs=1M", "count=50"]
    with pytest.raises(process.ProcessError):
        process.run(argv, seconds=30, file_bytes=2 << 20)
    assert (tmp_path / "big").stat().st_size <= 2 << 20


def test_memory_is_bounded():
    grow = "import time; time.sleep(0.2); x = bytearray(1 << 30)"
    argv = [sys.executable, "-I", "-S", "-c", grow]
    process.run(argv, seconds=30)
    with pytest.raises(process.ProcessError, match="MemoryError"):
        process.run(argv, seconds=30, memory=1 << 29)


def test_programs_end_when_we_are_killed(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import bench; from codecs import process; "
        f"process.run(['sh', '-c', 'sleep 60 & echo $! > {pid_file}; wait'], seconds=60)"
    )
    harness = subprocess.Popen([sys.executable, "-c", code], env=clean_environment())
    assert _wait_for(lambda: pid_file.is_file() and pid_file.read_text().strip() != "", 30)
    sleeper = int(pid_file.read_text())
    assert alive(sleeper)
    # The guard is started right after the program.
    time.sleep(0.3)
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    assert _wait_for(lambda: not alive(sleeper))


def test_nothing_stays_open_or_behind():
    def snapshot() -> tuple[int, int]:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), len(children)

    process.run(["true"], seconds=10)
    before = snapshot()
    for _ in range(5):
        process.run(["true"], seconds=10)
    assert snapshot() == before
