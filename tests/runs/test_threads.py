"""The command line's linear algebra does not depend on how many cores there are and on who else uses them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


# How many threads SciPy's OpenBLAS takes, which is JAX's; asked of the library itself.
ASK = """
import ctypes, re
from diffphys.cli import main
main(["--version"])
import jax.numpy, scipy.linalg
paths = set(re.findall(r"/\\S*scipy[.]libs/\\S*openblas\\S*", open("/proc/self/maps").read()))
for path in paths:
    library = ctypes.CDLL(path)
    for name in ("scipy_openblas_get_num_threads", "openblas_get_num_threads"):
        for ending in ("", "64_"):
            if (ask := getattr(library, name + ending, None)):
                print("threads", ask())
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux which libraries are loaded")
@pytest.mark.parametrize("chosen, threads", [({}, {"1"}), ({"OPENBLAS_NUM_THREADS": "2"}, {"2"})])
def test_linear_algebra_takes_one_thread_unless_told(chosen, threads):
    if chosen and os.cpu_count() == 1:
        pytest.skip("one core")
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment = kept | {"PYTHONPATH": str(Path(__file__).parents[2])} | chosen
    found = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    lines = [line.split()[1] for line in found.stdout.splitlines() if line.startswith("threads")]
    if not lines:
        pytest.skip("this SciPy brings another library")
    assert set(lines) == threads
