"""Compiled programs are kept from one process to the next, so that a program starts quickly the second time, and let go
within a process that has made very many.

They go to the user's cache directory, unless JAX has been given one (`JAX_COMPILATION_CACHE_DIR`, or
`jax_compilation_cache_dir` in its configuration). `DIFFPHYS_COMPILATION_CACHE=off` in the environment leaves JAX as it
is, and a path there is taken as the directory.
"""

import gc
import os
import platform
import sys
import zlib
from pathlib import Path


SWITCH = "DIFFPHYS_COMPILATION_CACHE"
SHORTEST = "0"  # seconds of compiling that are worth a file; a small flow has fifty programs that take hundredths


def keep_compiled_programs() -> Path | None:
    """Let JAX keep what it compiles; the directory, or None where that is left alone or cannot be written."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return None
    jax = sys.modules.get("jax")
    if jax is not None and jax.config.jax_compilation_cache_dir is not None:
        return None
    try:
        directory = Path(os.environ.get(SWITCH) or _user_cache() / "diffphys" / f"compiled-{_machine()}")
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home directory, or one that cannot be written: a slower start, nothing else
        return None
    if not os.access(directory, os.W_OK):
        return None
    if jax is None:  # it reads these when it is imported
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(directory)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", SHORTEST)
    else:
        jax.config.update("jax_compilation_cache_dir", str(directory))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", float(SHORTEST))
    return directory


def forget_programs_if_many(share: float = 0.5) -> bool:
    """Let JAX forget its compiled programs where they take more than a share of the memory mappings of this process.

    Linux gives a process 65,530 of them. The gradient of the 32x64 wake takes 370, with a network in its loop 950, and
    where none are left the process ends with "LLVM compilation error: Cannot allocate memory" whatever memory is free.
    A program that is needed again comes from the directory of compiled ones.

    Args:
        share: The part of the mappings that may be taken.

    Returns:
        Whether they were forgotten.
    """
    try:
        with open("/proc/self/maps", "rb") as file:
            taken = sum(1 for _ in file)
        most = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no Linux
        return False
    if taken <= share * most:
        return False
    import jax  # not above: what this file sets for JAX it sets before that is imported

    jax.clear_caches()
    gc.collect()
    return True


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _machine() -> str:
    """What tells processors apart that cannot run each other's programs, as they may share one home directory."""
    described = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            beginning = file.read(8192)
        described += next((line for line in beginning.splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:
        described += platform.processor()
    return f"{zlib.crc32(described.encode()):08x}"
