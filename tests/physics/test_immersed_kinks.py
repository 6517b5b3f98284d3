"""An immersed body whose faces lie on lines of the grid: every value and derivative is that of a larger body."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import face_offset
from diffphys.physics.obstacles.immersed import Geometry, Immersed, geometry


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")

EPSILON = 1e-8
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


JOINT = np.array([[1, 1, 1, 1], [-1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 1, 1], [1, -2, 2, 1]]) * 1.0
"""Moves of several faces: the box grows, along x alone, is displaced, one vertex moves, all at once."""


def larger(box):
    """Two boxes a little farther out on all sides, one more so along x, the other along y: between faces that are
    equally near, which decide what lies within, both choices.
    """
    return [box + EPSILON * OUTWARD * np.array(steps) for steps in ([2, 1, 2, 1], [1, 2, 1, 2])]


def directions():
    """One face alone, and several together."""
    return np.concatenate([np.eye(4), JOINT])


def knows(body, grid, field, axis) -> dict[str, jax.Array]:
    """All that is known of the faces normal to an axis that a body cuts."""
    found: Geometry = geometry(body, field, axis)
    parts = {"fluid": 1 - body.shape.volume_fractions(grid), "mass": found.mass(jnp.asarray(0.0))}
    for path, leaf in jax.tree_util.tree_flatten_with_path(found)[0]:
        parts[jax.tree_util.keystr(path)] = 1.0 * leaf
    return parts


def check_is_larger(axis, make, cases, larger_cases, moves, atol=1e-4):
    """Of each case the values are those of the larger bodies, and so are the derivatives along moves."""
    grid, conditions = dp.Grid((6, 8), (0.75, 1.0)), ((dp.Dirichlet(0.0), dp.Dirichlet(0.0)),) * 2
    offset = face_offset(grid, axis)
    faces = dp.Field(jnp.zeros(grid.shape(offset, (False, False))), grid, offset, conditions)

    def cut(numbers):
        body = Immersed(make(numbers), velocity=jnp.array([0.3, -0.2]), rotation_rate=0.5)
        return knows(body, grid, faces, axis)

    def along(numbers, move):
        return jax.jvp(cut, (numbers,), (move,))

    measure = jax.jit(jax.vmap(jax.vmap(along, (None, 0)), (0, None)))
    values, slopes = measure(np.asarray(cases), moves)
    there = [measure(np.asarray(others), moves) for others in zip(*larger_cases, strict=True)]
    for name, value in values.items():
        for other, _ in there:
            np.testing.assert_allclose(value, other[name], rtol=1e-5, atol=1e-5, err_msg=name)
        mean = sum(other[name] for _, other in there) / len(there)
        np.testing.assert_allclose(slopes[name], mean, rtol=1e-4, atol=atol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1])
def test_all_that_is_known_of_a_cut_face_is_that_of_a_larger_body(axis):
    """Along moves of one face alone and of several together."""
    check_is_larger(axis, lambda box: dp.Box(box[:2], box[2:]), BOXES, [larger(box) for box in BOXES], directions())


SHAPES = {
    "sphere on a grid point": (lambda n: dp.Sphere(n[:2], n[2]), [0.375, 0.5, 0.25], [0, 0, 1]),
    "sphere between points": (lambda n: dp.Sphere(n[:2], n[2]), [0.4375, 0.5, 0.1875], [0, 0, 1]),
    "half of the plane": (lambda n: dp.Box((-jnp.inf, -jnp.inf), (n[0], jnp.inf)), [0.375], [1]),
    "quarter of the plane": (lambda n: dp.Box((-jnp.inf, -jnp.inf), (n[0], n[1])), [0.375, 0.5], [1, 1]),
    "union": (
        lambda n: dp.Box((0.27, n[0]), (0.48, n[1])) | dp.Box((n[2], 0.53), (0.6, n[3])),
        [0.25, 0.625, 0.375, 0.75],
        [-1, 1, -1, 1],
    ),
    "difference": (lambda n: dp.Box((0.13, 0.27), n[:2]) & ~dp.Sphere((0.625, 0.75), n[2]), [0.625, 0.75, 0.25],
                   [1, 1, -1]),
    "diamond": (
        lambda n: dp.Box(0.375 - n[:2], 0.375 + n[:2]).rotated(np.pi / 4, (0.375, 0.375)),
        [0.25 / np.sqrt(2), 0.25 / np.sqrt(2)],
        [1, 1],
    ),
    "quarter turn": (
        lambda n: dp.Box(0.375 - n[:2], 0.375 + n[:2]).rotated(np.pi / 2, (0.375, 0.375)), [0.125, 0.25], [1, 1]
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", SHAPES)
def test_so_it_is_of_other_shapes(name, axis):
    make, numbers, outward = SHAPES[name]
    numbers, outward = np.asarray(numbers), np.asarray(outward)
    orders = [1.0 + np.asarray(order) for order in itertools.permutations(range(len(numbers)))]
    moves = np.concatenate([np.eye(len(numbers)), [outward, np.ones(len(numbers))]])
    # Of the union two differences of bodies that far apart lie 1.3e-4 from zero.
    others = [[numbers + EPSILON * outward * order for order in orders]]
    check_is_larger(axis, make, [numbers], others, moves, atol=2e-4)


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
        for direction in directions():
            value, slope = measure(box, direction)
            there = [measure(other, direction) for other in larger(box)]
            for other, _ in there:
                np.testing.assert_allclose(value, other, rtol=1e-4)
            np.testing.assert_allclose(slope, (there[0][1] + there[1][1]) / 2, rtol=1e-4, atol=1e-4)
            slopes.append(slope)
        if box[1] + box[3] == 1.0:
            np.testing.assert_allclose(slopes[1], -slopes[3], atol=1e-6)
