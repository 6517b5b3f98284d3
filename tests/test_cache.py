"""What is compiled is kept where the user's cache is, unless somebody has said otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


PROGRAM = "import jax, jax.numpy as jnp; assert float(jax.jit(lambda x: jnp.sin(x) + 1)(0.0)) == 1.0; "
OURS = "import diffphys, os; "


def directories(tmp_path, program, **settings):
    """What stands in the cache after a program in a process of its own, and what that said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "DIFFPHYS_"))}
    settings = {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **settings}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=kept | settings, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return sorted(path for path in tmp_path.rglob("*") if path.is_file()), ran.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep caches elsewhere")
def test_compiled_programs_are_kept_for_the_next_process(tmp_path):
    files, _ = directories(tmp_path, OURS + PROGRAM)
    assert files and all(file.parent.name.startswith("compiled-") for file in files)
    assert {file.parent.parent for file in files} == {tmp_path / "diffphys"}
    # JAX may be there before; and nothing is written twice.
    again, _ = directories(tmp_path, "import jax; " + OURS + PROGRAM)
    assert [file.name for file in again if file.name.endswith("-cache")] == [
        file.name for file in files if file.name.endswith("-cache")
    ]


def test_what_others_have_said_stays(tmp_path):
    (tmp_path / "own").mkdir()
    said = OURS + "print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))"
    own = str(tmp_path / "own")
    assert directories(tmp_path, said, DIFFPHYS_COMPILATION_CACHE="off") == ([], "None\n")
    assert directories(tmp_path, said, JAX_COMPILATION_CACHE_DIR=own)[1] == f"{own}\n"
    assert directories(tmp_path, said, DIFFPHYS_COMPILATION_CACHE=own)[1] == f"{own}\n"


def test_where_nothing_can_be_written_nothing_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    said = OURS + "print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))"
    assert directories(tmp_path, said, XDG_CACHE_HOME=str(tmp_path / "file"))[1] == "None\n"


def test_listing_waits_neither_for_jax_nor_for_matplotlib():
    program = (
        "import sys; from diffphys.cli import main; main(['list']); main(['--help']); "
        "assert not {'jax', 'matplotlib', 'equinox', 'xarray'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count no mappings")
def test_very_many_programs_are_forgotten(tmp_path):
    """A process with too many memory mappings cannot compile any more."""
    program = """
import equinox as eqx, jax.numpy as jnp
from diffphys.cache import forget_programs_if_many
def mappings():
    return sum(1 for _ in open("/proc/self/maps"))
for shift in range(10):
    eqx.filter_jit(lambda x: sum(jnp.sin(k * x + shift) for k in range(5)))(jnp.ones(3))
before = mappings()
assert not forget_programs_if_many() and mappings() >= before
assert forget_programs_if_many(share=0.0) and mappings() < before - 10
"""
    directories(tmp_path, OURS + program)
