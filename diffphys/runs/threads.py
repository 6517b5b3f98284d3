"""How many threads linear algebra takes.

JAX leaves singular values and factors on the processor to SciPy's OpenBLAS, whose threads wait for each other by
spinning. Where a machine has other work as well, they spin while their neighbors compute: in 30 seconds half-inverse
gradients then made 52 updates of the nonlinear oscillators instead of 352. The matrices here are small, and one thread
is as fast on an idle machine.
"""

import os


def one_thread_for_linear_algebra() -> None:
    """Let OpenBLAS take one thread, unless OPENBLAS_NUM_THREADS or OMP_NUM_THREADS says otherwise.

    It reads the variable once, when SciPy is first imported, so this comes before. XLA's own threads are others. The
    command line calls it; programs of your own may.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
