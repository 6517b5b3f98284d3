r"""The pressure problem integrated over its finite volumes, and general coefficients.

As in a network of electric resistors, cell i passes

$$ (S p)_i = \sum_j w_{ij} (p_i - p_j) + a_i p_i = -V_i (A p)_i $$

to its neighbors j and, through sides with a fixed pressure, out of the domain. The weight of a face is its area times
its coefficient over the distance of the cell centers beside it. S is symmetric and positive semi-definite, whatever the
widths of the cells and the coefficients are; conjugate gradients and multigrid work with it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike, DTypeLike

from diffphys.devices import beside, keeping
from diffphys.errors import InputError
from diffphys.grids import Conditions, Dirichlet, Grid
from diffphys.grids.axes import at_axis
from diffphys.grids.conditions import check_conditions
from diffphys.grids.ends import ENDS, Kind
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import as_components, as_floating, concrete, shown
from diffphys.poisson import problem as problem_module
from diffphys.poisson.problem import PressureProblem, kinds_of, relative_volumes, right_side
from diffphys.prepared import prepared


class VariableProblem(eqx.Module):
    r"""`A p = rhs` with a coefficient on every face, which may be traced and has a gradient.

    $$ (A p)_i = \frac{1}{V_i} \sum_{\text{faces}} \text{area} \cdot c_f \,
       \frac{p_{\text{beyond}} - p_i}{\text{distance}} $$

    The coefficients are those of `div(c grad p)`: the reciprocal density of a flow of variable density, or the open
    fraction of each face beside an immersed obstacle. A face with coefficient 0 is closed. Cells without an open face,
    and regions that closed faces cut off, are found wherever the program runs and treated as what they are: part of the
    null space.

    Make one with `VariableProblem.from_conditions`.

    Attributes:
        grid: The grid.
        kinds: For each axis the kinds of the (lower, upper) end.
        coefficients: For each axis an array with an entry for each of its faces: n of them on a periodic axis of n
            cells (face i lies below cell i), n + 1 on a bounded one.
        all_open: Whether every face is known to be open, so that no regions have to be found.
    """

    grid: Grid = eqx.field(static=True)
    kinds: tuple[tuple[Kind, Kind], ...] = eqx.field(static=True)
    coefficients: tuple[Array, ...]
    all_open: bool = eqx.field(static=True, default=False)

    @staticmethod
    def from_conditions(
        grid: Grid, conditions: Conditions, coefficients: Sequence[ArrayLike], all_open: bool = False
    ) -> "VariableProblem":
        """The problem for a centered field with these conditions (of their numbers only the lengths of `Robin` matter).

        Args:
            grid: The grid.
            conditions: What holds at the ends. Behind a `Robin` end the value is zero at its length beyond the side.
            coefficients: For each axis a number, or an array with an entry for each of its faces.
            all_open: Whether no coefficient between two cells is zero, as who asks knows and is not checked: the null
                space is then known before the program runs.

        Raises:
            InputError: for coefficients of another number or shape, or, where they are known, negative ones or none
                that is positive.
        """
        check_grid("VariableProblem", grid)
        check_conditions(conditions, grid.dimensions)
        beyond = [[end if end.extra_length is None else Dirichlet() for end in pair] for pair in conditions]
        kinds = kinds_of(tuple((lower, upper) for lower, upper in beyond))
        coefficients = as_components("VariableProblem", "coefficients", coefficients, grid.dimensions)
        arrays, largest = [], 0.0
        for axis, given in enumerate(coefficients):
            shape = faces_shape(grid, kinds, axis)
            given = as_floating(given, f"VariableProblem: coefficients[{axis}]")
            if np.shape(given) not in ((), shape):
                raise InputError(
                    f"VariableProblem: coefficients[{axis}] has shape {np.shape(given)}; a number or an array of shape "
                    f"{shape}, an entry for each face, is accepted."
                )
            known = concrete(given)
            if known is not None and not (np.isfinite(known).all() and (known >= 0).all()):
                raise InputError(
                    f"VariableProblem: coefficients[{axis}] has values that are negative or not finite; finite ones of "
                    "at least 0 are accepted."
                )
            largest = max(largest, 1.0 if known is None else float(np.max(known)))
            given = jnp.broadcast_to(given, shape)
            for end, condition in enumerate(conditions[axis]):
                if condition.extra_length is not None:  # the way to the value is longer than to the side
                    way, index = grid.widths(axis)[-end] / 2, (slice(None),) * axis + (slice(-end, None if end else 1),)
                    given = given.at[index].multiply((way / (condition.extra_length + way)).astype(given.dtype))
            arrays.append(given)
        if largest == 0.0:
            raise InputError("VariableProblem: all coefficients are 0; at least one open face is accepted.")
        return VariableProblem(grid, kinds, tuple(arrays), all_open)


Problem = PressureProblem | VariableProblem


class FiniteVolumes(NamedTuple):
    """The finite volumes of a problem, in any one unit.

    Attributes:
        weights: For each axis and each cell the weight of the face between it and the next cell, of the last cell to
            the first one: 0 unless the axis is periodic.
        anchor: For each cell the weight of its faces with a fixed pressure beyond.
        volumes: Volume of each cell over the mean volume; a single 1 where all are equal.
    """

    weights: tuple[Any, ...]
    anchor: Any
    volumes: Any

    def diagonal(self) -> Any:
        """The diagonal of `S`: all that leaves a cell in which the pressure is one, with zero around it."""
        numpy = np if isinstance(self.anchor, np.ndarray) else jnp
        return self.anchor + sum(weights + numpy.roll(weights, 1, axis) for axis, weights in enumerate(self.weights))

    def largest_weight(self) -> Any:
        """The largest weight of a face, a unit in which all others are of size one."""
        numpy = np if isinstance(self.anchor, np.ndarray) else jnp
        return functools.reduce(numpy.maximum, [weights.max() for weights in (*self.weights, self.anchor)])


def finite_volumes(problem: Problem, dtype: DTypeLike) -> FiniteVolumes:
    """The finite volumes of a problem: arrays of JAX if the coefficients are traced, else of NumPy."""
    if isinstance(problem, PressureProblem):
        if problem.order != 2:
            raise InputError(
                f"PressureProblem: order is {problem.order}; for iterative solvers, which know the neighbors across a "
                "face only, 2 is accepted (FastDiagonalization solves order 4)."
            )
        return jax.tree.map(lambda values: values.astype(dtype), _fixed_system(problem))
    geometry = [values.astype(dtype) for values in _conductances(problem.grid, problem.kinds)]
    faces = [c.astype(dtype) * factor for c, factor in zip(problem.coefficients, geometry, strict=True)]
    return _assembled(problem.grid, problem.kinds, faces)


def bytes_of_finite_volumes(problem: Problem, dtype: DTypeLike) -> int:
    """How many bytes of them are prepared; of coefficients that are traced the geometry alone."""
    fixed = isinstance(problem, PressureProblem)
    arrays = _fixed_system(problem) if fixed else _conductances(problem.grid, problem.kinds)
    return np.dtype(dtype).itemsize * sum(np.size(leaf) for leaf in jax.tree.leaves(arrays))


def outflow(system: FiniteVolumes, pressure: Array) -> Array:
    """`S pressure`: what leaves each cell, `-V A pressure`. Differentiable in the weights, too."""
    total = system.anchor * pressure
    for axis, weights in enumerate(system.weights):
        flux = weights * (pressure - jnp.roll(pressure, -1, axis))
        total = total + flux - jnp.roll(flux, 1, axis)
    return total


def apply(problem: Problem, pressure: Array) -> Array:
    """`A pressure`: the divergence of the gradient through the open faces.

    Args:
        problem: The problem.
        pressure: Array at the cell centers.
    """
    if not isinstance(problem, (PressureProblem, VariableProblem)):
        raise InputError(f"apply: problem is {shown(problem)}; a PressureProblem or VariableProblem is accepted.")
    pressure = right_side(problem, pressure, "apply: pressure")
    if isinstance(problem, PressureProblem):
        return problem_module.apply(problem, pressure)
    system = finite_volumes(problem, pressure.dtype)
    return -outflow(system, pressure) / system.volumes


def null_space_remover(problem: Problem, dtype: DTypeLike) -> Callable[[Array], tuple[Array, Array]]:
    """A function that takes the component in the null space away from an array at the cell centers.

    It returns the rest and the largest absolute value of the component. In every region of cells, joined through open
    faces, that touches no end with a fixed pressure, the component is the mean over the volume. The function is a tree
    of JAX whose leaves are the arrays that it uses.

    Where coefficients are traced, which faces are open is known only when the program runs, so the regions are found
    then: each cell takes the highest number among its neighbors' again and again, with short cuts (pointer jumping),
    until nothing changes; this takes about as many rounds as the logarithm of the number of cells.
    """
    if isinstance(problem, PressureProblem):
        return Partial(problem_module.without_null_space, problem)
    if problem.all_open:
        return Partial(problem_module.without_null_space, PressureProblem(problem.grid, problem.kinds))
    system = jax.lax.stop_gradient(finite_volumes(problem, dtype))
    labels = _regions(system)
    count = labels.size
    volumes = jnp.broadcast_to(system.volumes, problem.grid.cells).reshape(-1)
    floating = jax.ops.segment_max(system.anchor.reshape(-1), labels, count) <= 0
    inverse = jnp.where(floating, 1 / jnp.maximum(jax.ops.segment_sum(volumes, labels, count), 1e-30), 0.0)
    return Partial(_without_means, volumes, labels, inverse)


def faces_shape(grid: Grid, kinds: tuple[tuple[Kind, Kind], ...], axis: int) -> tuple[int, ...]:
    """How many faces normal to `axis` there are along each axis."""
    return tuple(count + (other == axis and kinds[axis][0] != "periodic") for other, count in enumerate(grid.cells))


def _without_means(volumes: Array, labels: Array, inverse: Array, values: Array) -> tuple[Array, Array]:
    weighted = volumes * values.reshape(-1)
    means = jnp.zeros_like(weighted).at[labels].add(weighted) * inverse.astype(values.dtype)
    component = means[labels].reshape(values.shape)
    return values - component, jnp.max(jnp.abs(component))


def _regions(system: FiniteVolumes) -> Array:
    """For each cell, in C order, the number of its region: that of one cell in it."""
    largest = jnp.max(jnp.stack([jnp.max(weights) for weights in system.weights]))
    closed = jnp.finfo(largest.dtype).eps * largest  # an opening within round-off of none
    open_faces = [weights > closed for weights in system.weights]
    cells = system.anchor.shape
    first = beside(jnp.arange(system.anchor.size, dtype=jnp.int32), system)

    def joined(state: tuple[Array, Array]) -> tuple[Array, Array]:
        _, labels = state
        grown = labels.reshape(cells)
        for axis, opened in enumerate(open_faces):
            grown = jnp.maximum(grown, jnp.where(opened, jnp.roll(grown, -1, axis), 0))
            grown = jnp.maximum(grown, jnp.where(jnp.roll(opened, 1, axis), jnp.roll(grown, 1, axis), 0))
        grown = grown.reshape(-1)
        return labels, grown[grown]

    joined, start = keeping(joined, (first - 1, first))
    return jax.lax.while_loop(lambda state: jnp.any(state[0] != state[1]), joined, start)[1]


@prepared
def _fixed_system(problem: PressureProblem) -> FiniteVolumes:
    faces = list(_conductances(problem.grid, problem.kinds))
    if problem.solid is not None:
        faces = [np.where(closed, 0.0, face) for closed, face in zip(problem.closed_faces(), faces, strict=True)]
    return _assembled(problem.grid, problem.kinds, faces)


@prepared
def _conductances(grid: Grid, kinds: tuple[tuple[Kind, Kind], ...]) -> tuple[np.ndarray, ...]:
    """For each face its area over the distance between the values beside it, over the mean volume of a cell."""
    conductances = []
    for axis, (lower, upper) in enumerate(kinds):
        lines = [grid.widths(other) for other in range(grid.dimensions)]
        lines[axis] = 1 / grid.center_distances(axis, lower == "periodic")
        faces = functools.reduce(np.multiply.outer, lines) / _mean_volume(grid)
        for end, kind in ((0, lower), (-1, upper)):
            if kind != "periodic":
                faces[(slice(None),) * axis + (end,)] *= ENDS[kind].weight
        conductances.append(faces)
    return tuple(conductances)


def _assembled(grid: Grid, kinds: tuple[tuple[Kind, Kind], ...], faces: Sequence[Any]) -> FiniteVolumes:
    """The finite volumes with these weights of the faces, arrays of NumPy or of JAX."""
    numpy = np if isinstance(faces[0], np.ndarray) else jnp
    weights = []
    anchor = numpy.zeros(grid.cells, faces[0].dtype)
    for axis, (pair, face) in enumerate(zip(kinds, faces, strict=True)):
        if pair[0] == "periodic":
            weights.append(numpy.roll(face, -1, axis))
            continue
        first, inner, last = (
            face[(slice(None),) * axis + (part,)] for part in (slice(0, 1), slice(1, -1), slice(-1, None))
        )
        weights.append(numpy.concatenate([inner, numpy.zeros_like(last)], axis))
        behind = grid.cells[axis] - 1
        ends = [(first, (0, behind)), (last, (behind, 0))]
        for values, width in ends:
            anchor = anchor + numpy.pad(values, at_axis(axis, width, (0, 0), grid.dimensions))
    return FiniteVolumes(tuple(weights), anchor, relative_volumes(grid).astype(faces[0].dtype))


def _mean_volume(grid: Grid) -> float:
    return float(np.prod([length / count for length, count in zip(grid.size, grid.cells, strict=True)]))
