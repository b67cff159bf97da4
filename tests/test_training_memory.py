import platform
import subprocess
import sys

import pytest

PROGRAM = """
from codecs.learned.training.memory import keep_freed_memory
import sys

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resident()
block = bytearray(64 << 20)
block[::4096] = b"x" * len(block[::4096])
full = resident()
del block
print(full - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
@pytest.mark.parametrize("keep", [True, False])
def test_freed_memory_stays_with_the_process_on_request(keep):
    command = [sys.executable, "-c", PROGRAM, "keep" if keep else "return"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    full, freed = map(int, printed.split())
    assert full > 60 << 20
    assert (freed > 60 << 20) == keep
