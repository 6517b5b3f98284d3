"""Whether freed memory stays with the process."""

import subprocess
import sys

import pytest

from diffphys.runs import keep_freed_memory


# Ten blocks of 128 MiB, one after the other, each written to and freed by a thread that is not the main one, as XLA's
# are; prints the page faults.
PROGRAM = """
import ctypes, resource, sys, threading
from diffphys.runs import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def touch():
    block = ctypes.c_void_p(library.malloc(2**27))
    library.memset(block, 1, 2**27)
    library.free(block)
def count():
    touch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        touch()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=count)
thread.start()
thread.join()
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="needs glibc")
def test_freed_memory_is_used_again_without_page_faults():
    def faults(word: str) -> int:
        return int(subprocess.run([sys.executable, "-c", PROGRAM, word], check=True, capture_output=True).stdout)

    kept, given_back = faults("keep"), faults("give")
    assert kept < 100 < given_back
