r"""The curl on a staggered grid.

Vectors live on the faces they are normal to, or on the edges they run along; in 2D what runs along z stands at the
corners. The curl brings one to the other, and with `gradient` and `divergence` the identities of the continuum hold to
round-off (Hyman, Shashkov 1997): $\nabla \times \nabla p = 0$ and $\nabla \cdot \nabla \times A = 0$; the first on
the sides too, save where two sides with contradicting values or slopes meet in a corner.
"""

from collections.abc import Sequence

from diffphys.errors import InputError
from diffphys.grids import Field, check_field, face_offset
from diffphys.grids.numbers import shown
from diffphys.operators.differences import difference


def curl(field: Field | Sequence[Field]) -> Field | tuple[Field, ...]:
    r"""The curl of a vector field in 2D or 3D, half a cell away along the axes it differentiates.

    - In 2D of a velocity on the faces: the vorticity $\partial_x v_y - \partial_y v_x$, a field at the corners.
    - In 2D of a stream function at the corners: the velocity $(\partial_y \psi, -\partial_x \psi)$ on the faces, free
      of divergence.
    - In 3D of a vector on the faces (edges): the vector $\omega_x = \partial_y v_z - \partial_z v_y$, and so on in
      turn, on the edges (faces).

    From the faces on, ghost values beyond the ends are needed: the tangential velocity's conditions.

    Args:
        field: One field for each axis, on the faces or (in 3D) the edges; or (in 2D) one field at the corners.

    Returns:
        A field at the corners; or one field for each axis.

    Raises:
        InputError: if the fields live elsewhere or a ghost value is needed that no condition defines.
    """
    if isinstance(field, Field):
        if field.offset != (0.0, 0.0):
            raise InputError(
                f"curl: one field at offset {field.offset} is given; in 2D the corners, (0.0, 0.0), are accepted."
            )
        return difference(field, 1), -difference(field, 0)
    if not isinstance(field, Sequence) or not field:
        raise InputError(f"curl: field is {shown(field)}; a field, or a sequence of one for each axis, is accepted.")
    for axis, component in enumerate(field):
        check_field("curl", f"field[{axis}]", component, field[0].grid if axis else None)
    dimensions = field[0].grid.dimensions
    if dimensions not in (2, 3) or len(field) != dimensions:
        raise InputError(f"curl: {len(field)} components in {dimensions}D are given; 2 in 2D or 3 in 3D are accepted.")
    grid = field[0].grid
    on_faces = [face_offset(grid, axis) for axis in range(dimensions)]
    on_edges = [tuple(0.5 - place for place in offset) for offset in on_faces]
    places = [component.offset for component in field]
    if places != on_faces and not (dimensions == 3 and places == on_edges):
        raise InputError(
            f"curl: the components live at offsets {places}; {on_faces} are accepted (in 3D also {on_edges})."
        )
    if dimensions == 2:
        return difference(field[1], 0) - difference(field[0], 1)
    following = [((axis + 1) % 3, (axis + 2) % 3) for axis in range(3)]
    return tuple(difference(field[c], b) - difference(field[b], c) for b, c in following)
