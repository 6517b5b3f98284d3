"""The projection of a flow whose density varies from place to place."""

from collections.abc import Callable, Sequence

from jax.typing import ArrayLike

from diffphys.grids import Conditions, Field, as_array_of_shape
from diffphys.grids.conditions import homogeneous
from diffphys.grids.field import check_velocity
from diffphys.grids.numbers import as_components
from diffphys.operators import difference, divergence
from diffphys.poisson.fictitious_domain import FictitiousDomain
from diffphys.poisson.finite_volumes import VariableProblem
from diffphys.poisson.iterations import never_unconverged
from diffphys.poisson.problem import PressureSolver, Solution


def variable_density_projection(
    velocity: Sequence[Field],
    specific_volume: Sequence[ArrayLike],
    conditions: Conditions,
    target: ArrayLike = 0.0,
    solver: Callable[..., PressureSolver] | None = None,
) -> tuple[tuple[Field, ...], Solution]:
    r"""The velocity whose divergence is given, nearest to another one where every volume counts by its mass:

    $$v' = v - \frac{1}{\rho} \nabla \phi, \qquad
    \nabla \cdot \Big(\frac{1}{\rho} \nabla \phi\Big) = \nabla \cdot v - S$$

    with $\phi$ the pressure times the time over which it acts. The normal velocities that are given on sides have to
    be in `velocity` already; there the pressure's slope is zero. In a domain that no pressure opens, the mean of $S$
    that the sides do not let pass is left out, and is the solution's `imbalance` (Almgren, Bell, Colella, Howell,
    Welcome 1998).

    Args:
        velocity: The components on the faces.
        specific_volume: $1 / \rho$, for each axis a number or an array with an entry for each face.
        conditions: Of the pressure; their numbers do not matter.
        target: $S$, the divergence that is asked for: a number, or an array with an entry for each cell.
        solver: From a `VariableProblem` to its solver. Default: `FictitiousDomain`.

    Returns:
        The velocity, NaN where the solver did not meet its tolerance, and the solution with $\phi$.

    Raises:
        InputError: for fields at other places, arrays of other shapes, or a volume that is known to be negative.
    """
    check_velocity("variable_density_projection", "velocity", velocity, on_faces=True)
    grid = velocity[0].grid
    wanted = as_array_of_shape("variable_density_projection", "target", target, grid.cells)
    volumes = as_components("variable_density_projection", "specific_volume", specific_volume, grid.dimensions)
    problem = VariableProblem.from_conditions(grid, conditions, volumes, all_open=True)
    solution = never_unconverged((solver or FictitiousDomain)(problem)).solve(divergence(velocity).values - wanted)
    closed: Conditions = tuple((homogeneous(lower), homogeneous(upper)) for lower, upper in conditions)
    potential = Field(solution.pressure, grid, conditions=closed)
    projected = [
        part.with_values(part.values - volume * difference(potential, axis).values)
        for axis, (part, volume) in enumerate(zip(velocity, problem.coefficients, strict=True))
    ]
    return tuple(projected), solution
