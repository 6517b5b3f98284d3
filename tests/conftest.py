"""What every test may ask for."""

import gc
import itertools
import os


# Figures are written to files, also where there is no screen.
os.environ.setdefault("MPLBACKEND", "Agg")

# Two test processes on two cores: threads of the linear algebra that wait for each other by spinning cost ten times the
# work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Nearly all of a test's time is XLA's compilation of programs that run once, for milliseconds. Unoptimized, and with
# loops written directly instead of through MLIR, they compile in a quarter of the time (a derivative of the gradient of
# a wake step: 5 instead of 21 s) and compute the same to round-off. `.ci/run` runs the main job with the defaults.
# One module of code per program: two test processes have no cores to compile its parts side by side.
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
# A second device is free where nobody uses it; `test_transformations.py` does.
TWO_DEVICES = "--xla_force_host_platform_device_count=2"
os.environ["XLA_FLAGS"] = f"{QUICK_COMPILATION} {TWO_DEVICES} {os.environ.get('XLA_FLAGS', '')}".strip()

# Tracing makes many small objects that live for long: looking through them for garbage took 8 % of the time of a fresh
# process, and more with each test.
gc.set_threshold(100_000, 20, 20)

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402


PROGRAMS_FOR_A_CONTEXT = 100


def contexts_for_many_programs(make, programs: int):
    """MLIR's context, made anew after so many programs and not for each."""
    made = itertools.count()
    context = None

    def make_or_keep():
        nonlocal context
        if next(made) % programs == 0:
            context = make()
        return context

    return make_or_keep


# JAX makes a context, into which it loads all dialects, for each program: a third of the time of a small one, of which
# tests compile more than 10,000. Kept for ever it would keep every constant, too.
mlir.make_ir_context = contexts_for_many_programs(mlir.make_ir_context, PROGRAMS_FOR_A_CONTEXT)


# The first example of a property compiles, which no deadline allows for; the same examples come on every machine.
hypothesis.settings.register_profile("diffphys", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("diffphys")


@pytest.fixture
def float64():
    """Run the test in double precision, as verification does: `pytest.mark.usefixtures("float64")` on test or file."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked_types(monkeypatch):
    """Leave out the type checks that only tests have: here is tested what users are told, who run without them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# Rooms whose own tests call every function with its types checked.
CHECKED = {"control", "grids", "inversion", "learning", "nets", "operators", "physics", "poisson"}


FIRST_CASE = pytest.StashKey[bool]()


@pytest.hookimpl(trylast=True)  # of what is left to run
def pytest_collection_modifyitems(items):
    met = set()
    for item in items:
        function = item.nodeid.partition("[")[0]
        item.stash[FIRST_CASE] = function not in met
        met.add(function)


@pytest.fixture(autouse=True)
def types_are_checked_once(request, monkeypatch):
    """In the first case of each test of these rooms. Programs that put the rooms together trace each function hundreds
    of times, and the other cases of a test the same functions again: a third of their time were checks.
    """
    once = request.path.parent.name in CHECKED and request.node.stash[FIRST_CASE]
    if not once or request.node.get_closest_marker("slow"):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
