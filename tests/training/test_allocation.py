"""Memory that is kept: said of a process, so tried in one of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from featherbone.training.allocation import keep_freed_memory
assert keep_freed_memory() is keep_freed_memory() is True
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another allocator")
def test_what_was_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100  # 8 x 64 MiB would be 131,072 small pages, or 256 large ones
