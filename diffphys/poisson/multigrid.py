r"""Conjugate gradients preconditioned by geometric multigrid: the solver for variable coefficients and large grids.

**Levels.** From level to level every second cell of an axis is kept. A cell between two kept ones takes its correction
from both, in the ratio in which the operator couples it to them, so that corrections bend where the coefficients jump
and do not leak through closed faces (Alcouffe, Brandt, Dendy, Painter 1981; Dendy 1982). With that interpolation P the
coarser operator is `P^T S P`, symmetric again, of at most 3^d points; axes are coarsened one after the other, which
makes the formulas those of one dimension. Axes along which the cells are wide, and therefore coupled weakly, wait until
the others have caught up (semi-coarsening).

**Smoothing.** Polynomials of the scaled operator: Chebyshev's of the fourth kind, which need no bound from below and
give the best known bound for a cycle (Lottes 2023), with each cell scaled by the sum of the absolute values of its row.
The spectrum then lies in [0, 1] whatever the coefficients are, and nothing has to be estimated. The same polynomial
before and after the correction keeps the cycle symmetric and positive, as conjugate gradients ask of a preconditioner.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.devices import keeping
from diffphys.grids.numbers import plain, whole_number
from diffphys.poisson.conjugate_gradients import preconditioned
from diffphys.poisson.finite_volumes import FiniteVolumes, Problem, bytes_of_finite_volumes, finite_volumes
from diffphys.poisson.iterations import IterativeSolver
from diffphys.poisson.problem import PressureProblem
from diffphys.prepared import bytes_of, prepared


class Stencil(NamedTuple):
    """A sparse operator on the cells of a grid, as an array of NumPy or JAX.

    At bounded ends the entries of neighbors that do not exist are zero, so that every shift may wrap around.

    Attributes:
        steps: The steps to the neighbors that a cell is coupled to; the first one is no step.
        entries: (steps, *cells), for each step the entry of each cell's row that belongs to this neighbor.
    """

    steps: tuple[tuple[int, ...], ...]
    entries: Any

    @property
    def cells(self) -> tuple[int, ...]:
        """The cells along each axis."""
        return self.entries.shape[1:]

    @property
    def diagonal(self) -> Any:
        """The entry of each cell's row that belongs to itself."""
        return self.entries[0]


class MultigridConjugateGradients(IterativeSolver):
    """Conjugate gradients with a multigrid cycle as preconditioner, matrix-free, for any problem.

    The number of iterations does not grow with the grid. Derivatives as with `ConjugateGradients`; adjoint solves are
    preconditioned, too.

    Args:
        problem: The problem, of any kind.
        tolerance: Largest residual relative to the right side (both in the Euclidean norm, each cell counted by its
            volume). Default: 1e-5 in float32, 1e-10 in float64.
        largest_iterations: After how many iterations to give up.
        smoothing: Degree of the smoothing polynomial on the finest level of grids without stretched axes; with
            anisotropic cells it grows, and from the third level on it is larger by four. Default: 2, for a
            `VariableProblem` 5, which takes about as long and needs two thirds of the iterations where every face has
            another coefficient.
        throw: Whether not converging raises an error when the program runs, instead of only showing in the solution.
        keep: Whether the pressure is the last iterate where it did not converge; else it is NaN there.
    """

    problem: Problem
    tolerance: float | None = eqx.field(static=True, default=None)
    largest_iterations: int = eqx.field(static=True, converter=plain, default=100)
    smoothing: int | None = eqx.field(static=True, converter=plain, default=None)
    throw: bool = eqx.field(static=True, default=False)
    keep: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if self.smoothing is not None:
            whole_number("MultigridConjugateGradients: smoothing", self.smoothing)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: the finite volumes and,
        unless coefficients are traced, all coarser levels.
        """
        size = bytes_of_finite_volumes(self.problem, dtype)
        if isinstance(self.problem, PressureProblem):
            size += bytes_of(_fixed_levels(self.problem, np.dtype(dtype).name, self.smoothing or 2))
        return size

    def precondition(self, residual: Array) -> Array:
        """One multigrid cycle from zero: from a residual times the volumes of the cells to an approximation of the
        error, up to a factor; linear, symmetric and positive.

        Args:
            residual: `V (A pressure - rhs)`, an array at the cell centers.
        """
        return cycle(self._levels(finite_volumes(self.problem, residual.dtype), residual.dtype), residual)

    def _iterated(self, system: FiniteVolumes, given: Array, tolerance: float) -> tuple[Array, Array, Array]:
        levels = self._levels(system, given.dtype)
        return preconditioned(
            levels[0].apply, lambda residual: cycle(levels, residual), given, tolerance, self.largest_iterations
        )

    def _levels(self, system: FiniteVolumes, dtype: DTypeLike) -> tuple["Level", ...]:
        if isinstance(self.problem, PressureProblem):
            return _fixed_levels(self.problem, str(np.dtype(dtype)), self.smoothing or 2)
        return make_levels(system, self.problem, self.smoothing or 5)


class Interpolation(NamedTuple):
    """How cells between kept ones are interpolated along one axis: `left` and `right` shares of the two kept cells."""

    axis: int
    count: int
    left: Any
    right: Any


class Level(NamedTuple):
    """One level of the hierarchy.

    Attributes:
        stencil: The operator.
        inverse: One over the sum of the absolute values of each row.
        periodic: For each axis whether it wraps around.
        degree: Degree of the smoothing polynomial.
        interpolations: The steps to the next level; empty on the last.
        solution: The (pseudo-)inverse matrix of the last level, else None.
    """

    stencil: Stencil
    inverse: Any
    periodic: tuple[bool, ...]
    degree: int
    interpolations: tuple[Interpolation, ...]
    solution: Any

    def apply(self, values: Array) -> Array:
        """The operator's product with `values`."""
        # The neighbors' values are written down once: fused into what follows, each would be padded anew.
        padded = jax.lax.optimization_barrier(_with_neighbors(values, self.periodic))
        parts = []
        for index, step in enumerate(self.stencil.steps):
            start = [1 + along for along in step]
            stop = [first + count for first, count in zip(start, values.shape, strict=True)]
            parts.append(self.stencil.entries[index] * jax.lax.slice(padded, start, stop))
        return functools.reduce(jnp.add, parts)


def cycle(levels: Sequence[Level], residual: Array, visits: int = 1) -> Array:
    """One W-cycle from zero: an approximation of `S^-1 residual`, linear, symmetric and positive.

    The finest level corrects itself once by the next one, every other level twice. On these levels, which together have
    a third of the cells, this costs little; a V-cycle needs up to twice the iterations where coefficients jump
    everywhere, since an error made on a coarse level is met there again only in the next iteration.

    Args:
        levels: The hierarchy, from this level on.
        residual: The right side.
        visits: How often this level corrects itself.
    """
    level, *coarser = levels
    if not coarser:
        return jnp.matmul(level.solution, residual.reshape(-1), precision="highest").reshape(residual.shape)

    def corrected(values: Array) -> Array:
        remainder = residual - level.apply(values)
        for interpolation in level.interpolations:
            remainder = _restricted(interpolation, remainder)
        correction = cycle(coarser, remainder, visits=2)
        for interpolation in reversed(level.interpolations):
            correction = _prolonged(interpolation, correction)
        return _smoothed(level, residual, values + correction)

    values = _smoothed(level, residual, None)
    if visits == 1 or len(coarser) == 1:
        return corrected(values)
    corrected, values = keeping(corrected, values)
    return jax.lax.fori_loop(0, visits, lambda _, values: corrected(values), values)


def _smoothed(level: Level, given: Array, values: Array | None) -> Array:
    """Chebyshev iteration of the fourth kind: the error is multiplied by `W_k(1 - 2 x) / (2 k + 1)` of `x = D^-1 S`."""
    residual = given if values is None else given - level.apply(values)
    change = 4 / 3 * level.inverse * residual
    values = change if values is None else values + change

    def further(carry: tuple[Array, Array, Array], step: Array) -> tuple[Array, Array, Array]:
        values, residual, change = carry
        step = step.astype(change.dtype)
        residual = residual - level.apply(change)
        change = (2 * step - 3) / (2 * step + 1) * change + (8 * step - 4) / (2 * step + 1) * level.inverse * residual
        return values + change, residual, change

    # A loop, so that each level is compiled once and not for every step.
    further, carry = keeping(further, (values, residual, change), jnp.asarray(2))
    return jax.lax.fori_loop(2, level.degree + 1, lambda step, carry: further(carry, step), carry)[0]


def _prolonged(interpolation: Interpolation, coarse: Array) -> Array:
    axis, count, left, right = interpolation
    between = left * coarse + right * jnp.roll(coarse, -1, axis)
    values = jnp.stack([coarse, between], axis + 1)
    shape = [2 * extent if a == axis else extent for a, extent in enumerate(coarse.shape)]
    return jax.lax.slice_in_dim(values.reshape(shape), 0, count, axis=axis)


def _restricted(interpolation: Interpolation, fine: Array) -> Array:
    axis, _, left, right = interpolation
    between = _between(fine, axis)
    return _kept(fine, axis) + left * between + jnp.roll(right * between, 1, axis)


def make_levels(system: FiniteVolumes, problem: Problem, smoothing: int) -> tuple[Level, ...]:
    """The hierarchy for finite volumes: of NumPy arrays if its arrays are of NumPy, else of JAX."""
    grid = problem.grid
    periodic = tuple(pair[0] == "periodic" for pair in problem.kinds)
    stencil = _stencil(system)
    # How strongly cells are coupled along each axis, for constant coefficients: known before the program runs.
    couplings = [1 / grid.widths(axis) ** 2 for axis in range(grid.dimensions)]
    levels = []
    while np.prod(stencil.cells) > 40:
        here, cells = stencil, stencil.cells
        longer = [axis for axis, count in enumerate(cells) if count > 1]
        strongest = max(couplings[axis].max() for axis in longer)
        axes = [axis for axis in longer if couplings[axis].max() > 0.35 * strongest]
        largest = max(couplings[axis].max() for axis in longer)
        smallest = min(couplings[axis].min() for axis in axes)
        # Seen from a level whose cells hold several thin layers, these conduct along themselves like their mean and
        # across like their harmonic mean: coarse levels meet anisotropy that the grid does not have.
        deepened = smoothing + 4 * (len(levels) >= 2)
        degree = max(deepened, int(np.ceil(0.5 * np.sqrt(largest / smallest))))
        interpolations = []
        for axis in axes:
            stencil, interpolation = _coarsened(stencil, axis)
            interpolations.append(interpolation)
            couplings[axis] = couplings[axis][::2] / 4
        levels.append(Level(here, _inverse_row_sums(here), periodic, degree, tuple(interpolations), None))
    levels.append(Level(stencil, None, periodic, 0, (), _inverse_matrix(stencil)))
    return tuple(levels)


@prepared
def _fixed_levels(problem: PressureProblem, dtype: str, smoothing: int) -> tuple[Level, ...]:
    system = finite_volumes(problem, "float64")
    unit = system.largest_weight()
    scaled = FiniteVolumes(tuple(weights / unit for weights in system.weights), system.anchor / unit, system.volumes)
    levels = make_levels(scaled, problem, smoothing)
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if isinstance(leaf, np.ndarray) else leaf, levels)


def _stencil(system: FiniteVolumes) -> Stencil:
    numpy = _library(system.anchor)
    dimensions = system.anchor.ndim
    steps, entries = [(0,) * dimensions], [system.diagonal()]
    for axis, weights in enumerate(system.weights):
        for along, part in ((1, weights), (-1, numpy.roll(weights, 1, axis))):
            steps.append(tuple(along * (other == axis) for other in range(dimensions)))
            entries.append(-part)
    return Stencil(tuple(steps), numpy.stack(entries))


def _coarsened(stencil: Stencil, axis: int) -> tuple[Stencil, Interpolation]:
    """The operator `P^T S P` on every second cell along `axis`, and the interpolation P.

    With K kept cells `2 I` and the cells `2 I + 1` between them, P gives the latter `left[I] u[I] + right[I] u[I + 1]`.
    Of a row's steps along the other axes only the sum counts for the two shares.
    """
    numpy = _library(stencil.entries)
    count = stencil.cells[axis]
    sides = sorted({_replaced(step, axis, 0) for step in stencil.steps}, key=np.any)  # no step comes first
    number = {step: index for index, step in enumerate(stencil.steps)}
    zero = numpy.zeros_like(stencil.diagonal)
    # (-1, 0 or 1 along the axis, sides, *cells), separately for the rows of the kept cells and of those between.
    entries = numpy.stack(
        [
            numpy.stack([stencil.entries[number[step]] if step in number else zero for step in row])
            for row in ([_replaced(side, axis, along) for side in sides] for along in (-1, 0, 1))
        ]
    )
    kept, between = _written_down((_kept(entries, axis + 2), _between(entries, axis + 2)))

    before, here, behind = between.sum(1)
    before, behind = numpy.maximum(-before, 0), numpy.maximum(-behind, 0)
    total = numpy.maximum(here, before + behind)
    # A cell that is coupled to its neighbors along the other axes only takes nothing from the kept ones.
    coupled = total > 100 * np.finfo(total.dtype).eps * between[1, 0]
    shares = numpy.where(coupled, numpy.stack([before, behind]) / numpy.where(coupled, total, 1), 0)
    shares = _written_down(shares)
    left, right = shares

    # P in the rows that a step along the other axes leads to, seen from the cells before (there) and behind (past).
    there = numpy.stack([_shifted(shares, (0, *side)) for side in sides], 1)
    there, past = _written_down((there, numpy.roll(there, 1, axis + 2)))
    # Rows of S P of the cells between: to the kept cell before and to the one behind.
    reach = between[::2] + between[1] * there
    reach, carried = _written_down((reach, numpy.roll(right * reach, 1, axis + 2)))
    # On a periodic axis of odd length the last kept cell and the first one touch, with no cell between them.
    touching = np.zeros([2] + [kept.shape[a + 2] if a == axis else 1 for a in range(len(stencil.cells))])
    if count % 2:
        np.moveaxis(touching, axis + 1, 1)[(0, 1), (0, -1)] = 1.0
    touching = touching.astype(entries.dtype)
    low = kept[0] * (past[0] + touching[0]) + carried[0]
    middle = kept[1] + kept[0] * past[1] + kept[2] * there[0] + left * reach[0] + carried[1]
    high = kept[2] * (there[1] + touching[1]) + left * reach[1]
    steps = [_replaced(side, axis, along) for along in (0, -1, 1) for side in sides]
    coarse = Stencil(tuple(steps), _written_down(numpy.concatenate([middle, low, high])))
    return coarse, Interpolation(axis, count, left, right)


def _inverse_row_sums(stencil: Stencil) -> Any:
    numpy = _library(stencil.entries)
    total = numpy.abs(stencil.entries).sum(0)
    return numpy.where(total > 0, 1 / numpy.where(total > 0, total, 1), 0)


def _inverse_matrix(stencil: Stencil) -> Any:
    """The pseudo-inverse of the operator of the last level as a matrix: the null space, whatever it is, gives zero."""
    numpy = _library(stencil.entries)
    cells = stencil.cells
    size = int(np.prod(cells))
    unit = np.eye(size).reshape(*cells, size)
    neighbors = np.stack([_shifted(unit, step) for step in stencil.steps]).astype(stencil.entries.dtype)
    matrix = (stencil.entries[..., None] * neighbors).sum(0).reshape(size, size)
    values, vectors = numpy.linalg.eigh(matrix)
    positive = values > size * np.finfo(matrix.dtype).eps * numpy.max(numpy.abs(values))
    return (vectors * numpy.where(positive, 1 / numpy.where(positive, values, 1), 0)) @ vectors.T


def _with_neighbors(values: Array, periodic: tuple[bool, ...]) -> Array:
    """`values` with one more layer at each end of each axis: from the other end where it is periodic, else zero."""
    bounded = [(0, 0) if wraps else (1, 1) for wraps in periodic]
    values = jnp.pad(values, bounded)
    for axis, wraps in enumerate(periodic):
        if wraps:
            last, first = (jax.lax.slice_in_dim(values, *ends, axis=axis) for ends in ((-1, None), (0, 1)))
            values = jnp.concatenate([last, values, first], axis)
    return values


def _kept(values: Any, axis: int) -> Any:
    return values[(slice(None),) * axis + (slice(0, None, 2),)]


def _between(values: Any, axis: int) -> Any:
    """The cells between the kept ones; behind the last kept cell of an odd number a zero."""
    numpy = _library(values)
    between = values[(slice(None),) * axis + (slice(1, None, 2),)]
    if values.shape[axis] % 2:
        between = numpy.pad(between, [(0, int(other == axis)) for other in range(values.ndim)])
    return between


def _shifted(values: Any, step: tuple[int, ...]) -> Any:
    """The values of the neighbors one step away."""
    numpy = _library(values)
    for axis, along in enumerate(step):
        if along:
            values = numpy.roll(values, -along, axis)
    return values


def _replaced(step: tuple[int, ...], axis: int, along: int) -> tuple[int, ...]:
    return (*step[:axis], along, *step[axis + 1 :])


def _written_down(values: Any) -> Any:
    """`values` as they are, but not fused into what follows: compiling long fused chains of shifts takes minutes."""
    return values if isinstance(jax.tree.leaves(values)[0], np.ndarray) else jax.lax.optimization_barrier(values)


def _library(values: Any) -> Any:
    return np if isinstance(values, np.ndarray) else jnp
