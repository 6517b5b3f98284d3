"""An immersed body whose faces lie on lines of the grid: every value and derivative is that of a larger body."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.physics.obstacles.immersed import Geometry, Immersed, geometry


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")

EPSILON = 1e-7
# Lower and upper corner: on grid lines, in the middles of cells, off both; square ones have ties of distances within.
BOXES = np.array(
    [
        [0.25, 0.375, 0.5, 0.625],
        [0.25, 0.25, 0.625, 0.75],
        [0.25, 0.375, 0.4375, 0.625],
        [0.1875, 0.31, 0.5625, 0.6875],
        [0.25, 0.3, 0.5, 0.7],
        [0.25, 0.375, 0.375, 0.625],
    ]
)
OUTWARD = np.array([-1, -1, 1, 1])


def larger(box, corner):
    """The box with one of its four numbers a little farther out."""
    return box + EPSILON * OUTWARD * (np.arange(4) == corner)


@pytest.mark.parametrize("axis", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_all_that_is_known_of_a_cut_face_is_that_of_a_larger_body(axis):
    grid, conditions = dp.Grid((6, 8), (0.75, 1.0)), ((dp.Dirichlet(0.0), dp.Dirichlet(0.0)),) * 2
    offset = face_offset(grid, axis)
    faces = dp.Field(jnp.zeros(grid.shape(offset, (False, False))), grid, offset, conditions)

    def cut(box) -> dict[str, jax.Array]:
        body = Immersed(dp.Box(box[:2], box[2:]), velocity=jnp.array([0.3, -0.2]), rotation_rate=0.5)
        parts = {"fluid": 1 - body.shape.volume_fractions(grid)}
        found: Geometry = geometry(body, faces, axis)
        parts["mass"] = found.mass(jnp.asarray(0.0))
        for path, leaf in jax.tree_util.tree_flatten_with_path(found)[0]:
            parts[jax.tree_util.keystr(path)] = 1.0 * leaf
        return parts

    measure = jax.jit(jax.vmap(lambda box: (cut(box), jax.jacfwd(cut)(box))))
    values, slopes = measure(BOXES)
    for corner in range(4):
        there, slopes_there = measure(np.array([larger(box, corner) for box in BOXES]))
        for name, value in values.items():
            np.testing.assert_allclose(value, there[name], rtol=1e-5, atol=1e-5, err_msg=name)
            slope, other = slopes[name][..., corner], slopes_there[name][..., corner]
            np.testing.assert_allclose(slope, other, rtol=1e-4, atol=1e-4, err_msg=f"{name} {corner}")


@pytest.mark.slow
def test_the_drag_has_the_value_and_the_gradient_of_a_larger_body():
    """In the middle of a symmetric channel the gradient is symmetric."""
    grid = dp.Grid((12, 8), (1.5, 1.0))
    sides = dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall(slip=True))

    def drag(box):
        body = Immersed(dp.Box(box[:2], box[2:]))
        flow = dp.IncompressibleFlow(grid, viscosity=0.02, dt=0.01, sides=sides, solid=body, stepping=dp.RungeKutta(2))
        final, _ = dp.rollout(flow, flow.initial_state((1.0, 0.0)), 1)
        return flow.forces_on_solid(final).force[0]

    measure = jax.jit(lambda box, direction: jax.jvp(drag, (box,), (direction,)))
    for box in BOXES:
        slopes = []
        for corner, direction in enumerate(np.eye(4)):
            value, slope = measure(box, direction)
            there, slope_there = measure(larger(box, corner), direction)
            np.testing.assert_allclose(value, there, rtol=1e-4)
            np.testing.assert_allclose(slope, slope_there, rtol=1e-4, atol=1e-4)
            slopes.append(slope)
        if box[1] + box[3] == 1.0:
            np.testing.assert_allclose(slopes[1], -slopes[3], atol=1e-6)
