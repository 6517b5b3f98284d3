"""Fourth order around an obstacle of whole cells: the direct solution of its pressure, and where it is not taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.grids import Grid
from diffphys.operators.differences import added_within, cut_out
from diffphys.poisson.problem import PressureProblem, without_null_space
from diffphys.poisson.wide_differences import WideDifferences


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC, CLOSED, OPEN = ("periodic", "periodic"), ("neumann", "neumann"), ("neumann", "dirichlet")


@pytest.mark.parametrize(
    "kinds, cells, solid, hole",
    [
        ((PERIODIC, CLOSED), (14, 12), np.s_[10:14, 4:8], None),  # reaches a periodic end
        ((CLOSED, OPEN), (12, 13), np.s_[3:9, 5:13], np.s_[5:7, 7:9]),  # stands in the opening; fluid within
        ((PERIODIC, PERIODIC, CLOSED), (6, 7, 6), np.s_[2:4, 2:5, 0:3], None),
    ],
)
def test_the_direct_solution_is_that_of_the_iteration(kinds, cells, solid, hole):
    """Both solve the problem to round-off; and the transposed solution is the solution, since the problem is symmetric
    (its cells are alike).
    """
    filled = np.zeros(cells, bool)
    filled[solid] = True
    if hole is not None:
        filled[hole] = False
    problem = PressureProblem(Grid(cells, (1.0, 2.0, 1.5)[: len(cells)]), kinds, filled.tobytes())
    generator = np.random.default_rng(0)
    one, other = (jnp.asarray(generator.standard_normal(cells)) for _ in range(2))

    @jax.jit
    def solved(one, other):
        direct, iterated = WideDifferences(problem), WideDifferences(problem, largest_surface=0)
        found, pull = jax.vjp(lambda rhs: direct.solve(rhs).pressure, one)
        rest = direct.apply(found) - without_null_space(problem, one)[0]
        return found, iterated.solve(one).pressure, rest, direct.solve(one).iterations, pull(other)[0]

    found, iterated, rest, iterations, pulled = solved(one, other)
    np.testing.assert_allclose(found, iterated, atol=1e-12 * float(jnp.max(jnp.abs(iterated))))
    np.testing.assert_allclose(rest, 0, atol=1e-11)
    assert iterations == 0
    np.testing.assert_allclose(jnp.vdot(pulled, one), jnp.vdot(other, found), rtol=1e-11)


def test_a_window_and_its_transpose():
    window = (slice(1, 4), slice(0, 5))
    values, part = np.random.default_rng(0).standard_normal((5, 5)), np.arange(15.0).reshape(3, 5)
    expected = values.copy()
    expected[window] += part
    np.testing.assert_allclose(added_within(jnp.asarray(values), jnp.asarray(part), window), expected)
    found, pull = jax.vjp(lambda values: cut_out(values, window), jnp.asarray(values))
    np.testing.assert_array_equal(found, values[window])
    expected = np.zeros((5, 5))
    expected[window] = part
    np.testing.assert_array_equal(pull(jnp.asarray(part))[0], expected)
    pulled = jax.vjp(lambda one, other: added_within(one, other, window), jnp.asarray(values), jnp.asarray(part))[1](
        values
    )
    np.testing.assert_array_equal(pulled[0], values)
    np.testing.assert_array_equal(pulled[1], values[window])
