"""Fourth order around an obstacle of whole cells: the direct solution of its pressure, and where it is not taken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.grids import Dirichlet, Field, Grid, Neumann, Periodic
from diffphys.grids.conditions import pad_axis
from diffphys.operators.differences import at_both_ends, weighted_sum
from diffphys.poisson.problem import PressureProblem, face_divergence, without_null_space
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


@pytest.mark.parametrize("kinds", [(PERIODIC, CLOSED), (CLOSED, OPEN)])
def test_the_weights_are_those_of_the_differences(kinds):
    """Gradient and divergence as one sum of neighbors, against M and the differences of second order; and the first is
    minus the transpose of the second, on the faces that nothing closes.
    """
    cells = (9, 8)
    filled = np.zeros(cells, bool)
    filled[4:7, 5:] = True
    problem = PressureProblem(Grid(cells, (1.0, 2.0)), kinds, filled.tobytes())
    differences, generator = WideDifferences(problem), np.random.default_rng(0)
    pressure = jnp.asarray(generator.standard_normal(cells))
    conditions = {"periodic": Periodic(), "neumann": Neumann(), "dirichlet": Dirichlet()}
    field = Field(pressure, problem.grid, conditions=tuple((conditions[a], conditions[b]) for a, b in kinds))

    def slopes(values):
        given, widths = field.with_values(values), [(2, 2 - wraps) for wraps in field.periodic]
        return [
            weighted_sum(
                given.padded([pair if a == axis else (0, 0) for a, pair in enumerate(widths)]),
                differences.gradient_weights(axis),
            )
            for axis in (0, 1)
        ]

    found = slopes(pressure)
    for one, other in zip(found, differences.gradient(pressure), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    fluxes = [jnp.asarray(generator.standard_normal(one.shape)) * (abs(one) > 1e-9) for one in found]
    expected = face_divergence(problem, [differences.flux(one, axis) for axis, one in enumerate(fluxes)])
    total = 0.0
    for axis, one in enumerate(fluxes):
        lower, upper = (opposite(conditions[kind]) for kind in kinds[axis])
        padded = pad_axis(one, axis, (lower, upper), (1, 1 + field.periodic[axis]), offset=0.0, spacing=1.0)
        total = total + weighted_sum(padded, differences.divergence_weights(axis))
    np.testing.assert_allclose(total, expected, atol=1e-11)
    halved = [one * half_on_open_sides(one.shape, axis, kinds[axis]) for axis, one in enumerate(fluxes)]
    np.testing.assert_allclose(jax.vjp(slopes, pressure)[1](halved)[0], -expected, atol=1e-11)


def opposite(end):
    """What holds for the slope of a pressure with this end."""
    if isinstance(end, Periodic):
        return end
    return Neumann() if isinstance(end, Dirichlet) else Dirichlet()


def half_on_open_sides(shape, axis, kinds):
    """A face on a side where the pressure is given has half of a volume."""
    line = np.ones(shape[axis])
    for end, kind in zip((0, -1), kinds, strict=True):
        if kind == "dirichlet":
            line[end] = 0.5
    return line.reshape([-1 if a == axis else 1 for a in range(len(shape))])


def test_a_weighted_sum_and_what_is_added_at_both_ends():
    generator = np.random.default_rng(0)
    padded, cotangent = jnp.asarray(generator.standard_normal((7, 6))), generator.standard_normal((4, 5))
    stencil = {shift: generator.standard_normal((4, 5)) for shift in ((0, 1), (2, 0), (3, 1))}
    expected = sum(weight * padded[s : s + 4, t : t + 5] for (s, t), weight in stencil.items())
    found, pull = jax.vjp(lambda values: weighted_sum(values, stencil), padded)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    (pulled,) = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(jnp.vdot(pulled, padded), np.vdot(cotangent, expected), rtol=1e-13)
    (again,) = jax.linear_transpose(lambda given: pull(given)[0], found)(padded)
    np.testing.assert_allclose(again, expected, rtol=1e-14)
    first, last = jnp.ones((4, 2)), 2 * jnp.ones((4, 2))
    lower, upper = at_both_ends([first, last], 1, 5)
    np.testing.assert_array_equal(lower + upper, np.tile([1.0, 1.0, 0.0, 2.0, 2.0], (4, 1)))
