"""Values on both sides of each face, from limited linear profiles within the cells."""

from jax import Array

from diffphys.grids import Field
from diffphys.grids.axes import at_axis, slice_axis
from diffphys.operators.advection.fluxes import harmonic


def limited_sides(field: Field, axis: int) -> tuple[Array, Array]:
    """The values just below and just above each face normal to an axis: a cell's own, and half a cell along its slope.

    The slope is the harmonic mean of those to both sides, zero at an extreme (van Leer 1974): second order where the
    field is smooth, first at extremes. No value leaves the range of the cells beside it, so that what is positive stays
    positive, and where a field is constant both values are the constant to the last bit.

    Args:
        field: A centered field; its conditions must define two ghost values at the ends of this axis.
        axis: The axis, of equally wide cells.

    Returns:
        Two arrays with n + 1 entries along the axis for its n cells, also where it is periodic.
    """
    padded = field.padded(at_axis(axis, (2, 2), (0, 0), field.grid.dimensions))
    count = field.shape[axis]
    steps = slice_axis(padded, axis, 1, count + 4) - slice_axis(padded, axis, 0, count + 3)
    before, behind = slice_axis(steps, axis, 0, count + 2), slice_axis(steps, axis, 1, count + 3)
    half = harmonic(before, behind) / 2
    cells = slice_axis(padded, axis, 1, count + 3)
    return slice_axis(cells + half, axis, 0, count + 1), slice_axis(cells - half, axis, 1, count + 2)
