"""Memory that stays with the process between two calls of a compiled program, and what is said when there is none left.

XLA asks for the scratch memory of a program anew in every call and gives it back at the end. glibc hands blocks of this
size back to the kernel at once, and the kernel clears and maps every page again when it is next touched. For one
training update of the wake at n = 4 these are some 11,000 page faults, a fifth of the processor's time: 137 instead of
170 ms. Blocks of more than 64 MB stay only where all threads share one heap, since a heap that is a thread's own cannot
be longer.
"""

import ctypes
import re
import sys

from diffphys.errors import InputError


# What `keep_freed_memory` asks for, as environment variables for a process that is about to start.
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_ARENA_MAX": "1",
}

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the memory that its programs free, and say whether that could be arranged.

    Blocks up to 1 GiB then come from the heap, whose end is not given back before 2 GiB of it are free. The process
    holds on to its largest demand so far. It needs glibc, that is most of Linux; elsewhere nothing changes. The command
    line calls it; programs of your own may, before their first computation, since threads that run already keep heaps
    of their own.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # musl has no mallopt; glibc's returns 1 where it accepts a value.
    wanted = {_M_MMAP_THRESHOLD: 2**30, _M_TRIM_THRESHOLD: 2**31 - 1, _M_ARENA_MAX: 1}
    return mallopt is not None and all([mallopt(name, value) for name, value in wanted.items()])


def memory_error(error: Exception) -> InputError | None:
    """The sentence for what asks for more memory than there is; None for every other kind of error."""
    words = str(error)
    # JAX's own error says so in its words alone.
    if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in words:
        return None
    asked = re.search(r"allocating (\d+) bytes", words)
    size = f"{int(asked[1]) / 1e9:.3g} GB were asked for at once" if asked else "more was asked for than there is"
    return InputError(
        f"there is not enough memory: {size}; fewer frames, cells or cases at a time are accepted, and nothing saved "
        "before is lost."
    )
