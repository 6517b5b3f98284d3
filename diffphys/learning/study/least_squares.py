r"""Corrections fitted to the reference by constrained least squares, for supervised training (Um et al. 2020, PRE).

Source and reference run beside each other. After each step of the source, with s what it has come to and r the
reference, both velocities, the correction is

$$c = \arg\min_c \tfrac12 \lVert W c - P (r - W s) \rVert^2 + \beta \lVert c - c_{\text{before}} \rVert^2 \qquad
\text{where asked with} \quad \operatorname{div} c = 0,$$

with W the linear interpolation from the source's faces to the reference's, P the reference's projection, and
$c_{\text{before}}$ the correction of the last step; then the source goes on from s + c. Nothing in this is trained. A
network then learns c from s, and no step of training runs a solver. A scalar may be corrected as well, at its own
points and without constraint, or left to what the source makes of it.

W is a product of one matrix for each axis, so that $(W^T W + 2 \beta)^{-1}$ is diagonal in the eigenvectors of small
matrices. The constraint has a multiplier in each cell, for which conjugate gradients solve, preconditioned by the
Laplacian.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field, Ghost, Grid, Neumann, Periodic
from diffphys.learning.corrected import with_parameters
from diffphys.learning.study.settings import StudySettings
from diffphys.learning.study.study import Fit, Frame, Study
from diffphys.learning.trajectories import Trajectories, load_trajectories, save_trajectories
from diffphys.linear import along_axis
from diffphys.operators import divergence
from diffphys.operators.interpolation import linear_interpolation_matrix
from diffphys.poisson import PressureProblem, direct
from diffphys.poisson.conjugate_gradients import preconditioned
from diffphys.poisson.iterations import euclidean_norm
from diffphys.runs import Run
from diffphys.stepping import rollout


class Component(NamedTuple):
    """W of one field, a matrix for each axis, and the eigenvectors of the products of its parts that count.

    Attributes:
        matrices: From the points of the coarse field along an axis to those of the fine one.
        counted: The same, with zeros in the rows that do not count.
        vectors: The eigenvectors of `counted.T @ counted`, as columns; where ends are closed those that vanish there.
        values: The eigenvalues of W^T W, an array with an axis for those of each axis.
    """

    matrices: tuple[np.ndarray, ...]
    counted: tuple[np.ndarray, ...]
    vectors: tuple[np.ndarray, ...]
    values: np.ndarray


def component(coarse: Field, fine: Field, margin: int, closed: bool = False) -> Component:
    """W for one field; where it is closed, faces on bounded ends are zero."""
    matrices, counted, vectors, values = [], [], [], []
    for axis in range(coarse.grid.dimensions):
        periodic = coarse.periodic[axis]
        xs, points = (np.asarray(one.coordinates()[axis], float).reshape(-1) for one in (coarse, fine))
        matrix = linear_interpolation_matrix(xs, points, coarse.grid.size[axis] if periodic else None)
        inside = np.ones(len(points))
        if not periodic:
            edges = coarse.grid.edges[axis]
            inside = np.where((points >= edges[margin]) & (points <= edges[-1 - margin]), 1.0, 0.0)
        matrices.append(matrix)
        counted.append(inside[:, None] * matrix)
        on_ends = closed and len(xs) == coarse.grid.cells[axis] + 1
        free = np.eye(len(xs))[:, 1:-1] if on_ends else np.eye(len(xs))
        found = np.linalg.eigh(free.T @ counted[-1].T @ counted[-1] @ free)
        values.append(found[0].clip(0.0))
        vectors.append(free @ found[1])
    product = functools.reduce(np.multiply.outer, values)
    return Component(tuple(matrices), tuple(counted), tuple(vectors), product)


def along_all(matrices: Sequence[np.ndarray], values: Array) -> Array:
    """The product with a matrix along each axis."""
    for axis, matrix in enumerate(matrices):
        values = along_axis(matrix, values, axis)
    return values


class Fitted(NamedTuple):
    """What fits corrections: see `fit_correction`."""

    components: tuple[Component, ...]
    weight: float
    problem: PressureProblem | None


def prepare(fit: Fit, coarse: Sequence[Field], fine: Sequence[Field]) -> Fitted:
    """All that does not change from step to step."""
    components = tuple(component(one, other, fit.margin, fit.closed) for one, other in zip(coarse, fine, strict=True))
    grid = coarse[0].grid
    problem = _pressures(grid, coarse[: grid.dimensions], fit.closed) if fit.divergence_free else None
    return Fitted(components, fit.weight, problem)


def _pressures(grid: Grid, velocity: Sequence[Field], closed: bool) -> PressureProblem:
    """div of its transpose: the Laplacian with slope zero at closed ends, and with values zero beyond all other bounded
    ends, for all faces there carry something.
    """
    end = Neumann() if closed else Ghost()
    ends = [(Periodic(), Periodic()) if part.periodic[axis] else (end, end) for axis, part in enumerate(velocity)]
    return PressureProblem.from_conditions(grid, tuple(ends))


def fit_correction(fitted: Fitted, lacking: Sequence[Array], before: Sequence[Field]) -> tuple[Array, ...]:
    """The correction for what the source lacks on the reference's points.

    Args:
        fitted: What was prepared.
        lacking: P (r - W s).
        before: The correction of the step before, as fields on the source's grid.
    """
    twice = 2 * fitted.weight

    def inverse(values: Sequence[Array]) -> tuple[Array, ...]:
        """(W^T W + 2 beta)^-1, of the first so many fields."""
        found = []
        for one, part in zip(fitted.components, values, strict=False):
            modes = along_all([vectors.T for vectors in one.vectors], part)
            found.append(along_all(one.vectors, modes / jnp.asarray(one.values + twice, part.dtype)))
        return tuple(found)

    wanted = [
        along_all([matrix.T for matrix in one.counted], part) + twice * field.values
        for one, part, field in zip(fitted.components, lacking, before, strict=True)
    ]
    free = inverse(wanted)
    if fitted.problem is None:
        return free
    axes = fitted.problem.grid.dimensions  # so many fields are the velocity
    velocity, scalars = free[:axes], free[axes:]

    def diverging(values: Sequence[Array]) -> Array:
        fields = [field.with_values(part) for field, part in zip(before[:axes], values, strict=True)]
        return divergence(fields).values

    transposed = jax.linear_transpose(diverging, list(velocity))
    solver = direct(fitted.problem)
    given = diverging(velocity)
    length = euclidean_norm(given)
    length = jnp.where(length > 0, length, 1)
    multiplier, _, converged = preconditioned(
        lambda one: diverging(inverse(transposed(one)[0])),
        lambda one: -solver.solve(one).pressure,
        given / length,
        1e-5 if given.dtype == jnp.float32 else 1e-11,
        300,
    )
    multiplier = jnp.where(converged, multiplier, jnp.nan)  # a wrong correction is never returned
    push = inverse(transposed(multiplier * length)[0])
    return (*(part - more for part, more in zip(velocity, push, strict=True)), *scalars)


def fitted_corrections(study: Study, settings: StudySettings, run: Run) -> Trajectories:
    """The data of the arm least-squares: what source and corrections together have come to, and with each frame, as
    "before " and its name, what the source alone has made of it.

    Raises:
        InputError: a correction is not finite.
    """
    fit = study.fit
    assert fit is not None, "run_study has refused the arm"
    cases = []
    with run.progress("fitted corrections", len(study.train_cases)) as advance:
        for label in study.train_cases:
            path = run.directory / "data" / f"least-squares-{study.case}-{label:.9g}.zarr"
            if not path.exists():
                run.leave_if_asked()
                frames = _of_case(study, settings, fit, label)
                if not all(bool(jnp.all(jnp.isfinite(part))) for part in frames.values()):
                    raise InputError(f"arms: corrections at {study.case} {label:g} do not stay finite.")
                save_trajectories(path, Trajectories(jax.tree.map(lambda leaf: leaf[None], frames)), study.grid)
            cases.append(load_trajectories(path)[0].frames)
            advance()
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *cases)
    if study.interval is not None:
        moments = study.interval * (settings.warmup / study.steps_per_frame + jnp.arange(settings.train_frames + 1.0))
        for name, times in (("time", moments[:-1]), ("before time", moments[1:])):
            joined[name] = jnp.broadcast_to(times, (len(study.train_cases), settings.train_frames))
    return Trajectories(joined, study.parameters_of(study.train_cases))


def _of_case(study: Study, settings: StudySettings, fit: Fit, label: float) -> Frame:
    numbers = jax.tree.map(jnp.asarray, study.parameters(label))
    reference, source = (with_parameters(step, numbers) for step in (study.reference, study.source))
    first, _ = rollout(reference, study.begin(reference), settings.warmup)
    frame = study.transfer(first)
    if study.interval is not None:
        frame = frame | {"time": jnp.asarray(study.interval * settings.warmup / study.steps_per_frame)}
    fine = fit.fine(first)
    coarse, names = study.fields(study.state(frame))[: len(fine)], study.names[: len(fine)]
    fitted = prepare(fit, coarse, fine)
    still = tuple(field.with_values(jnp.zeros_like(field.values)) for field in coarse)

    @eqx.filter_jit
    def together(reference: Any, source: Any, first: Any, frame: Frame) -> tuple[Frame, Frame]:
        def one(carry: tuple[Any, Frame, tuple[Array, ...]], _: None) -> tuple[Any, tuple[Frame, Frame]]:
            state, frame, last = carry
            state, _ = rollout(reference, state, study.steps_per_frame)
            alone = study.observe(source(study.state(frame)))
            target = fit.fine(state)
            raised = tuple(
                field.with_values(along_all(part.matrices, alone[name]))
                for part, field, name in zip(fitted.components, target, names, strict=True)
            )
            if fit.project is not None:
                raised = fit.project(reference, raised)
            lacking = [field.values - other.values for field, other in zip(target, raised, strict=True)]
            before = [field.with_values(values) for field, values in zip(still, last, strict=True)]
            correction = fit_correction(fitted, lacking, before)
            after = alone | {name: alone[name] + part for name, part in zip(names, correction, strict=True)}
            later = {} if study.interval is None else {"time": frame["time"] + study.interval}
            return (state, after | later, correction), (alone, after)

        begun = {name: frame[name] for name in study.names}
        clock = {} if study.interval is None else {"time": frame["time"]}
        start = (first, begun | clock, tuple(field.values for field in still))
        _, (alone, after) = jax.lax.scan(one, start, length=settings.train_frames - 1)
        frames = jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), begun, after)
        # Beside the last frame, which is only ever a target, stands what is never read.
        return frames, jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[-1:]]), alone)

    frames, alone = together(reference, source, first, frame)
    return frames | {f"before {name}": part for name, part in alone.items()}
