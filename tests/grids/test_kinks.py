"""Shapes beside a kink: values are those of a side, derivatives those of a side or their mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids.fractions import inside_fractions
from diffphys.physics.obstacles.immersed import open_part


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")


def test_the_distance_of_a_box_is_smooth_across_its_faces():
    """On a face, at an edge and at a corner: the derivative by the corner of the box is minus the outward normal."""

    def slope(point):
        return jax.grad(lambda upper: dp.Box((0.0, 0.0, 0.0), upper).distance(list(point)))(jnp.ones(3))

    np.testing.assert_allclose(slope(jnp.array([1.0, 0.5, 0.5])), [-1, 0, 0])
    np.testing.assert_allclose(slope(jnp.array([1.0, 1.0, 0.5])), [-0.5, -0.5, 0])
    np.testing.assert_allclose(slope(jnp.array([1.0, 1.0, 1.0])), [-1 / 3] * 3)
    flat = jax.grad(lambda upper: dp.Box((0.0, 0.0), upper).distance([jnp.asarray(1.0), jnp.asarray(0.5)]))(jnp.ones(2))
    np.testing.assert_allclose(flat, [-1, 0])


def test_a_face_in_the_surface_is_closed_and_does_not_lean_on_round_off():
    """It is as a body that is a little larger has it: closed, and nothing changes; beside it, open or closed."""
    grid = dp.Grid((4, 3))

    def share(place):
        return inside_fractions(lambda points: points[0] - place + 0 * points[1], grid, 0, False)[2, 1]

    for place, inside in ((2 - 1e-9, 0.0), (2.0, 1.0), (2 + 1e-9, 1.0)):
        found, slope = jax.value_and_grad(share)(place)
        assert (found, slope) == (inside, 0.0)

    def opening(middle):
        return open_part(middle, [jnp.zeros(())], 1e-6, 1e-14)[0]

    for middle, part in ((-1e-9, 0.0), (0.0, 0.0), (1e-9, 1.0)):
        assert tuple(jax.value_and_grad(opening)(middle)) == (part, 0.0)


@pytest.mark.parametrize("change", [0.5, -0.5])
def test_a_surface_through_a_corner_cuts_as_that_of_a_larger_body(change):
    """The opening's slope there is that of the side on which the body reaches into the face."""
    for middle, part, slope in ((0.25, 1.0, 2.0), (-0.25, 0.0, 0.0)):
        for at in (middle, middle + 1e-16, middle - 1e-16):
            found = jax.value_and_grad(lambda m: open_part(m, [jnp.asarray(change)], 1e-6, 1e-14)[0])(at)
            np.testing.assert_allclose(found, (part, slope), atol=1e-12)
            assert found[0] <= 1
            assert not open_part(jnp.asarray(at), [jnp.asarray(change)], 1e-6, 1e-14)[3]
