"""Every public operator, solver and system has its proof in `diffphys verify adjoints`; a few of them at every commit.

All of them with every pair of sides take minutes; what is here compiles little. Other rooms' tests prove their own
functions as well (`tests.gradients`).
"""

import equinox as eqx
import jax
import pytest

from diffphys import operators, physics, poisson, stepping
from diffphys.verification import adjoints


ROOMS = (operators, poisson, physics)


def test_every_public_name_has_a_proof_or_a_reason():
    proven = {name.split(" ")[0] for name in [*adjoints.EXAMPLES, *adjoints.STEPS]}
    for room in ROOMS:
        missing = set(room.__all__) - proven - set(adjoints.NOT_COMPUTING)
        assert not missing, f"{sorted(missing)} of {room.__name__} need an entry in diffphys/verification/proven"
    public = {name for room in (*ROOMS, stepping) for name in room.__all__}
    assert proven <= public and set(adjoints.NOT_COMPUTING) <= public, "an entry whose name is no longer public"


def test_the_first_combinations_have_every_pair_of_sides_on_every_axis():
    chosen = adjoints.combinations(26)
    for axis in range(2):
        assert len({str(pairs[axis]) for pairs in chosen}) == 26


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name", ["centers_to_faces", "VariableProblem", pytest.param("Spectral", marks=pytest.mark.slow)]
)
def test_a_proof_holds_and_cotangents_of_any_size_keep_their_direction(name):
    found = adjoints._proof(*adjoints.EXAMPLES[name](1), 1)
    assert found["passed"], found["verdict"]
    assert found["scaling"] < 1e-8


@pytest.mark.usefixtures("float64")
def test_the_numbers_of_an_example_are_those_of_double_precision():
    """Also of what would be made when the module is loaded: a gradient of single precision turns by round-off."""
    _, arguments = adjoints.EXAMPLES["Sponge"](0)
    numbers = [leaf for leaf in jax.tree.leaves(arguments) if eqx.is_inexact_array(leaf)]
    assert {str(number.dtype) for number in numbers} == {"float64"}


def test_a_cotangent_that_is_lost_is_found():
    """The measure itself must be able to fail: an absolute threshold kills what is tiny."""

    @jax.custom_vjp
    def lossy(x):
        return x

    def backward(_, cotangent):
        return (cotangent * (abs(cotangent) > 1e-12),)

    lossy.defvjp(lambda x: (x, None), backward)
    with jax.enable_x64(True):
        assert adjoints.scaling_error(lambda x: lossy(x), (jax.numpy.ones(3),), 0) > 0.5


@pytest.mark.slow
def test_the_gradient_of_a_rollout_in_single_precision():
    """Of 20 steps of Taylor-Green vortices on 16 x 16 cells, against differences at the best step size."""
    assert adjoints.float32_error() < 1e-5
