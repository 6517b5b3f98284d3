r"""The momentum equation of a flow as a linear problem, for `stepping.PISO`.

Linear about a velocity $w$ that carries, and integrated over a step of which the part $\theta$ of what is linear is
taken at the end,

$$\big(1 + \theta \Delta t\, B(w)\big) v + G q = r, \qquad
r = v^n - (1 - \theta) \Delta t\, B(w) v^n + \Delta t\, f(w), \qquad q = \Delta t\, p, \qquad D v = 0$$

on the faces whose velocity is free. $B$ is convection by $w$ and diffusion with the viscosity that $w$ has
(`operators.transport`: the very differences of the explicit methods); what the ghost points beyond the sides are given
stands in $r$. Of the viscous stress $\nu (\nabla v + \nabla v^T)$ the first part is in $B$, the second, which vanishes
where the viscosity is the same everywhere, in $f$.

For PISO the diagonal $A$ is one plus what diffusion has there away from the sides; the rest, with the nearly vanishing
part of convection and what the sides add, is in $N$. Where viscosity and cells are the same everywhere $A$ is one
number, and the pressure of a corrector is that of a projection: solved directly, whatever the sides are. Else it is
found by conjugate gradients with that direct solution as preconditioner, and another direct solution takes away what
the iteration has left of the divergence.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.grids import Field
from diffphys.linear import linear_solve
from diffphys.operators.transport import (
    Ends,
    Transport,
    convective,
    diffusive,
    ends_of,
    total,
    transposed_stress,
)
from diffphys.physics.flow_sides import entering_from_rest
from diffphys.physics.flow_state import Unknowns
from diffphys.physics.obstacles.space import FiniteVolumes, WholeFaces, face_volumes
from diffphys.poisson import FictitiousDomain, PressureSolver, VariableProblem
from diffphys.poisson.constrained import minimal_residuals
from diffphys.poisson.iterations import never_unconverged, of_length_one
from diffphys.stepping import PISO


class SolveReport(NamedTuple):
    """What an iterative solver says of itself.

    Attributes:
        iterations: How many it made; 0 for a direct solver.
        residual: The largest absolute value of what is left of the right side.
    """

    iterations: Array
    residual: Array


class MomentumEquation(eqx.Module):
    """The linear problem of one step: see `stepping.piso.Linearized`.

    Attributes:
        space: The discrete calculus at the end of the step.
        matrices: For each component `theta dt B(w)`.
        diagonal: For each component what PISO divides by, one number for all or an array with an entry for each face.
        free: For each component 1 on the faces whose velocity is an unknown, 0 on the others.
        volumes: For each component the volume around each face.
        guess: A velocity near the solution, with the given values where it is no unknown.
        known: The right side.
        others: What else the state has at the end of the step.
        variable_solver: From a `VariableProblem` to its solver, for a diagonal that varies; None for the default.
    """

    space: WholeFaces
    matrices: tuple[Transport, ...]
    diagonal: tuple[Array, ...]
    free: tuple[Array, ...]
    volumes: tuple[Array, ...]
    guess: tuple[Array, ...]
    known: tuple[Array, ...]
    others: dict[str, Array]
    variable_solver: Callable[..., PressureSolver] | None = eqx.field(static=True)

    def solve(
        self, known: Sequence[Array], tolerance: float | None, largest_iterations: int
    ) -> tuple[tuple[Array, ...], SolveReport]:
        """The velocity without regard to the constraint."""
        found = [
            solve_implicit(matrix, right_side, guess, free, volumes, tolerance, largest_iterations)
            for matrix, right_side, guess, free, volumes in zip(
                self.matrices, known, self.guess, self.free, self.volumes, strict=True
            )
        ]
        reports = [report for _, report in found]
        return tuple(values for values, _ in found), jax.tree.map(lambda *parts: jnp.stack(parts), *reports)

    def balanced(self, known: Sequence[Array], value: Sequence[Array]) -> tuple[Array, ...]:
        """`(known + N value) / A` on the free faces."""
        return tuple(
            part + free * (right_side - part - matrix.apply(part)) / diagonal
            for matrix, diagonal, free, right_side, part in zip(
                self.matrices, self.diagonal, self.free, known, value, strict=True
            )
        )

    def push(self, multiplier: Array) -> tuple[Array, ...]:
        """The gradient of the pressure times the duration, on the free faces."""
        slopes = self.space.slopes(multiplier)
        return tuple(free * slope for free, slope in zip(self.free, slopes, strict=True))

    def multiplier_of(self, value: Sequence[Array]) -> tuple[Array, SolveReport]:
        """The pressure, times the duration, whose gradient over `A` has the divergence of this velocity."""
        divergence = self.space.divergence(self.space.variables.velocity_fields(value)).values
        if not self._varies:
            solution = self.space.solved(divergence)
            pressure = self.diagonal[0] * solution.pressure
        else:
            weights = [free / diagonal for free, diagonal in zip(self.free, self.diagonal, strict=True)]
            variables, all_open = self.space.variables, self.space.all_open
            problem = VariableProblem.from_conditions(variables.grid, variables.pressure, weights, all_open=all_open)
            solution = never_unconverged((self.variable_solver or FictitiousDomain)(problem)).solve(divergence)
            pressure = solution.pressure
        return pressure, SolveReport(solution.iterations, solution.residual)

    def corrected(self, value: Sequence[Array], multiplier: Array) -> tuple[Array, ...]:
        """The velocity without divergence, to round-off."""
        pushes = self.push(multiplier)
        corrected = tuple(
            part - push / diagonal for part, push, diagonal in zip(value, pushes, self.diagonal, strict=True)
        )
        if not self._varies:
            return corrected
        # What an iteration has left is below its tolerance, and of the exact solution, whose derivative this is, zero.
        left = jax.lax.stop_gradient(corrected)
        left = self.space.solved(self.space.divergence(self.space.variables.velocity_fields(left)).values).pressure
        return tuple(part - rest for part, rest in zip(corrected, self.push(left), strict=True))

    def completed(self, value: Sequence[Array]) -> Unknowns:
        """Velocity and scalars."""
        return tuple(value), self.others

    @property
    def _varies(self) -> bool:
        return any(part.ndim for part in self.diagonal)


def momentum_equation(
    spaces: tuple[WholeFaces, WholeFaces],
    velocities: tuple[Sequence[Array], Sequence[Field]],
    carrier: Sequence[Field],
    viscosity: Array,
    push: Sequence[Array],
    dt: Array,
    weight: float,
    frozen: bool,
    others: dict[str, Array],
    variable_solver: Callable[..., PressureSolver] | None,
) -> MomentumEquation:
    """The linear problem of a step.

    Args:
        spaces: At the start and at the end.
        velocities: At the start, and the one that carries.
        carrier: What crosses the faces.
        viscosity: One number, or an array with an entry for each cell.
        push: The rate by forces, and by pressures that are given, on the free faces.
        dt: The duration.
        weight: The part of what is linear that is taken at the end, greater than zero.
        frozen: Whether derivatives take the matrix for constant.
        others: What else the state has at the end.
        variable_solver: See `MomentumEquation`.
    """
    (before, after), (start, about) = spaces, velocities
    length, dtype = weight * dt.astype(start[0].dtype), start[0].dtype
    grid, field = after.variables.grid, after.variables.viscosity_field(viscosity) if viscosity.ndim else viscosity
    begin, end = before.variables.velocity_fields(start), after.variables.velocity_fields(start)
    free = after.free_faces(end)
    ahead = tuple(one.values + (1 / weight - 1) * (one.values - other) for one, other in zip(about, start, strict=True))
    guess = tuple(part.values for part in after.impose(after.variables.velocity_fields(jax.lax.stop_gradient(ahead))))
    ones = after.variables.velocity_fields([jnp.ones_like(part) for part in start])
    entering = entering_from_rest(after.variables.sides, ones, carrier)
    stress = transposed_stress(about, field) if isinstance(field, Field) else [None] * len(start)
    matrices, diagonals, known = [], [], []
    for axis, part in enumerate(end):
        ends = ends_of(part.with_values, part.values)
        matrix, fast = diffusive(part, field, ends)
        matrix = total(matrix, convective(part, carrier, ends))
        if (more := entering[axis]) is not None:
            matrix = eqx.tree_at(lambda matrix: matrix.diagonal, matrix, matrix.diagonal - more)
        uniform = not isinstance(field, Field) and all(grid.uniform)
        diagonal = 1 + length * (fast.reshape(-1)[0] if uniform else fast)
        matrix = matrix.times(length * free[axis])
        if frozen:
            matrix, diagonal = jax.lax.stop_gradient((matrix, diagonal))
        gain = push[axis] if (turned := stress[axis]) is None else push[axis] + free[axis] * turned
        beyond = (matrix.beyond(ends_of(begin[axis].with_values, part.values)), matrix.beyond(ends))
        known.append(right_side(matrix, start[axis], dt.astype(dtype) * gain, weight, beyond))
        matrices.append(matrix)
        diagonals.append(diagonal)
    return MomentumEquation(
        after,
        tuple(matrices),
        tuple(diagonals),
        free,
        tuple(face_volumes(axis, part, 2) for axis, part in enumerate(end)),
        guess,
        tuple(known),
        others,
        variable_solver,
    )


def implicit_scalar(
    spaces: tuple[FiniteVolumes, FiniteVolumes],
    values: tuple[Array, Array],
    carrier: Sequence[Field],
    diffusivity: Array,
    source: Array | None,
    dt: Array,
    weight: float,
    frozen: bool,
    stepping: PISO,
) -> Array:
    """A scalar at the end of a step: with `B` convection and diffusion, `(1 + weight dt B) s = r` as for the momentum.

    What fluid that leaves carries is what is inside, and nothing diffuses through a side where it leaves
    (`flow_sides.carried_conditions` and `diffused_conditions`); both are implicit, too.

    Args:
        spaces: At the start and at the end.
        values: At the start, and about which the step is linear: there the iteration begins.
        carrier: What crosses the faces.
        diffusivity: Length squared per time.
        source: What is added per time; or None.
        dt: The duration.
        weight: The part of what is linear that is taken at the end, greater than zero.
        frozen: Whether derivatives take the matrix for constant.
        stepping: With the settings of the solver.
    """
    start, about = values
    length, dtype = weight * dt.astype(start.dtype), start.dtype

    def ends(space: FiniteVolumes) -> tuple[Ends, Ends]:
        carried = ends_of(lambda values: space.variables.carried_scalar(values, carrier, at_rest=0.5), start)
        return carried, ends_of(lambda values: space.variables.diffused_scalar(values, carrier), start)

    (before, after), place = map(ends, spaces), spaces[1].variables.scalar_field(start)
    convection = convective(place, carrier, after[0]).times(length)
    diffusion = diffusive(place, diffusivity.astype(dtype), after[1])[0].times(length)
    if frozen:
        convection, diffusion = jax.lax.stop_gradient((convection, diffusion))
    given = [convection.beyond(one[0]) + diffusion.beyond(one[1]) for one in (before, after)]
    matrix = total(convection, diffusion)
    gain = None if source is None else dt.astype(dtype) * source
    known = right_side(matrix, start, gain, weight, (given[0], given[1]))
    guess = jax.lax.stop_gradient(about)
    volumes = place.grid.volumes()
    volumes = jnp.asarray(volumes / volumes.mean(), dtype)
    free, (tolerance, largest) = jnp.ones_like(start), (stepping.tolerance, stepping.largest_iterations)
    return solve_implicit(matrix, known, guess, free, volumes, tolerance, largest)[0]


def right_side(
    matrix: Transport, start: Array, gain: Array | None, weight: float, beyond: tuple[Array, Array]
) -> Array:
    """The right side of a step, of which the part `weight` of what is linear is taken at the end.

    Args:
        matrix: `weight dt B`.
        start: The values at the start.
        gain: What is added over the step; or None.
        weight: The part, greater than zero.
        beyond: What the ghost points are given at the start and at the end, times their entries of the matrix.
    """
    known = start - beyond[1]
    if weight < 1:
        known = known - (1 - weight) / weight * (matrix.apply(start) + beyond[0])
    return known if gain is None else known + gain


KEPT = 2  # directions that a new one of the iteration is made orthogonal to


@jax.named_scope("implicit_solve")
def solve_implicit(
    matrix: Transport,
    known: Array,
    guess: Array,
    free: Array,
    volumes: Array,
    tolerance: float | None,
    largest_iterations: int,
) -> tuple[Array, SolveReport]:
    """The solution of `(1 + matrix) x = known` at the points where `free` is 1, with the values of `guess` at the
    others; NaN where the tolerance is not met. Differentiable in both modes.

    By generalized conjugate residuals (Eisenstat, Elman, Schultz 1983), in units in which the diagonal is one and,
    counted by volumes, diffusion is symmetric and convection skew-symmetric. The symmetric part is then positive, so
    that they converge from any start; and where only one of the two parts matters the last direction is enough to be
    orthogonal to all. In float32 on 64^2 and 128^2 cells they need 8, 13, 25 and 50 iterations at Courant numbers of
    0.5, 1, 2 and 4 (with ten directions kept as many), one product each; Jacobi's iteration 11, more than 300, 126 and
    75, while `lineax.BiCGStab` gave up.

    Args:
        matrix: The matrix without the one.
        known: The right side.
        guess: Where the iteration begins.
        free: 1 at the unknowns, 0 at the others.
        volumes: The volume around each point, in any unit.
        tolerance: The largest residual relative to that of the guess (Euclidean). Default: 1e-5 in float32, 1e-10 in
            float64.
        largest_iterations: After how many iterations to give up.
    """
    tolerance = tolerance or (1e-5 if known.dtype == jnp.float32 else 1e-10)
    among = matrix.scaled(free, free)
    diagonal = jax.lax.stop_gradient(1 + among.diagonal)
    rows, columns = jnp.sqrt(volumes / diagonal), 1 / jnp.sqrt(volumes * diagonal)
    units = jax.lax.stop_gradient(among.scaled(rows, columns))
    beside = eqx.tree_at(lambda matrix: matrix.diagonal, units, jnp.zeros_like(diagonal))
    system = _Implicit(among, beside, beside.transposed(), rows, columns, tolerance, largest_iterations)
    rest = free * (known - guess - matrix.apply(guess))
    change, steps = linear_solve(system.operator, rest, system.solve, system.transpose_solve, has_aux=True)
    residual = jnp.max(jnp.abs(rest - system.operator(change)))
    return guess + change, SolveReport(steps, residual)


class _Implicit(eqx.Module):
    """One plus a matrix, and the iteration that solves for it.

    Attributes:
        matrix: The matrix without the one.
        beside: What is beside the diagonal where each row and column is in its own unit and the diagonal is one.
        turned: The transpose of it.
        rows: The unit of each row.
        columns: The unit of each column.
        tolerance: Of the residual.
        largest_iterations: After how many to give up.
    """

    matrix: Transport
    beside: Transport
    turned: Transport
    rows: Array
    columns: Array
    tolerance: float = eqx.field(static=True)
    largest_iterations: int = eqx.field(static=True)

    def operator(self, values: Array) -> Array:
        return values + self.matrix.apply(values)

    def solve(self, _: Any, given: Array) -> tuple[Array, Array]:
        solution, steps = self._iterated(self.beside, self.rows * given)
        return self.columns * solution, steps

    def transpose_solve(self, _: Any, given: Array) -> tuple[Array, Array]:
        solution, steps = self._iterated(self.turned, self.columns * given)
        return self.rows * solution, steps

    def _iterated(self, beside: Transport, given: Array) -> tuple[Array, Array]:
        shape = given.shape
        given, length, largest = of_length_one(given.reshape(-1))
        solution, steps, converged = minimal_residuals(
            lambda values: values + beside.apply(values.reshape(shape)).reshape(-1),
            lambda residual: residual,
            given,
            self.tolerance,
            self.largest_iterations,
            kept=KEPT,
        )
        solution = jnp.where(converged, solution * length * largest, jnp.nan)
        return solution.reshape(shape), steps
