"""Diffusion: explicit, implicit, and exact.

The implicit and exact schemes are functions of the discrete Laplacian, evaluated in its eigenvectors (`eigenbasis`):
two matrix products per axis, without iterations, stable for every step. They are written as a change of the field,
`f' = f + dt g(dt A) (A f + b)`, where `b` holds the inhomogeneous conditions: a steady state stays what it is.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Field, Grid, Limit, center_offset, check_field
from diffphys.grids.grid import check_grid
from diffphys.grids.numbers import as_components, as_floating, check_numbers
from diffphys.linear import along_axis
from diffphys.operators.differences import difference, divergence, laplacian, second_difference
from diffphys.operators.eigenbasis import bases_of
from diffphys.operators.obstructed import check_closed


def explicit_diffusion(
    field: Field, diffusivity: ArrayLike, dt: ArrayLike, closed: Sequence[np.ndarray] | None = None
) -> Field:
    """One explicit Euler step of `df/dt = diffusivity * laplacian(f)`.

    First order in time, second in space; stable for `dt` up to `stable_diffusion_step`. Keeps the field's conditions.

    Args:
        field: The field; its conditions must define one ghost value at every end.
        diffusivity: Length squared per time.
        dt: Duration of the step.
        closed: For a centered field which faces of each axis nothing passes. Default: none.
    """
    check_field("explicit_diffusion", "field", field)
    check_numbers("explicit_diffusion", diffusivity=diffusivity, dt=dt)
    if closed is not None:
        check_field("explicit_diffusion", "field", field, offset=center_offset(field.grid))
        closed = as_components("explicit_diffusion", "closed", closed, field.grid.dimensions)
        slopes = [difference(field, axis) for axis in range(field.grid.dimensions)]
        for axis, (faces, slope) in enumerate(zip(closed, slopes, strict=True)):
            check_closed("explicit_diffusion", f"closed[{axis}]", faces, slope.shape)
        open_ = [jnp.asarray(~faces, field.values.dtype) for faces in closed]
        through = [slope.with_values(slope.values * part) for slope, part in zip(slopes, open_, strict=True)]
        change = divergence(through).values
        return field.with_values(field.values + jnp.asarray(dt * diffusivity, field.values.dtype) * change)
    return field.with_values(field.values + diffusion_rate(field, jnp.asarray(dt * diffusivity, field.values.dtype)))


def diffusion_rate(field: Field, diffusivity: Array) -> Array:
    """`diffusivity * laplacian(field)`, or with `dt * diffusivity` the change over an explicit step.

    Where cells are smaller than 1e-5 or larger than 1e5 a length goes from one factor to the other, as a power of two:
    the curvature alone may leave the range of single precision where the product does not.
    """
    unit = min(field.grid.units)
    if 1e-5 < unit < 1e5:
        return diffusivity * laplacian(field).values
    return (diffusivity / unit) * laplacian(field * jnp.asarray(unit, field.values.dtype)).values


def stable_diffusion_step(grid: Grid, diffusivity: ArrayLike) -> Array:
    """The longest stable explicit step: `dt = 1 / (2 diffusivity sum_a 1 / h_a^2)`, infinite without diffusion.

    From the eigenvalue `-4 sum_a 1 / h_a^2` of the fastest mode, which Euler's method keeps bounded up to there. Along
    a stretched axis that eigenvalue is bounded by Gershgorin's circles: twice the largest sum of the factors of the two
    neighbors, at centers and faces.
    """
    check_grid("stable_diffusion_step", grid)
    as_floating(diffusivity, "stable_diffusion_step: diffusivity")
    return 1.0 / (jnp.asarray(diffusivity) * _inverse_step(grid))


def _inverse_step(grid: Grid) -> float:
    """One over the longest stable step at a diffusivity of one."""
    return 2.0 * float(sum(_fastest_rate(grid, axis) for axis in range(grid.dimensions)))


def _fastest_rate(grid: Grid, axis: int) -> float:
    """`1 / h^2`, or what stands for it on a stretched axis: a fourth of a bound of the largest eigenvalue."""
    if grid.uniform[axis]:
        return 1.0 / grid.spacing_along(axis) ** 2  # pyright: ignore[reportReturnType]
    sums = [
        np.max(np.add(*second_difference(grid, axis, offset, periodic)))
        for offset in (0.0, 0.5)
        for periodic in (False, True)
    ]
    return float(max(sums)) / 2


def diffusion_number(grid: Grid, diffusivity: ArrayLike, dt: ArrayLike, real_axis: float = 2.0) -> Array:
    r"""`dt` over the longest step with which explicit diffusion is stable, beyond 1 where it is not.

    That is $2 \kappa \Delta t \sum_a h_a^{-2}$ for Euler's method, and zero for one that is stable for every step.

    Args:
        grid: The grid.
        diffusivity: Length squared per time; a number, or one for each cell.
        dt: Duration of a step.
        real_axis: How far the method's stability reaches on the negative real axis; 2 for Euler's.
    """
    check_grid("diffusion_number", grid)
    dt = as_floating(dt, "diffusion_number: dt")
    return dt / (1.0 / _inverse_step(grid)) * diffusivity * (2 / real_axis)


def diffusion_limit(
    grid: Grid, diffusivity: ArrayLike, dt: ArrayLike, real_axis: float = 2.0, given: str = "this diffusivity"
) -> Limit:
    """The bound on `dt` of explicit diffusion, for `limits` of a `Declared` system.

    Args:
        grid: The grid.
        diffusivity: Length squared per time; a number, or one for each cell, of which the largest counts.
        dt: Duration of a step.
        real_axis: How far the method's stability reaches on the negative real axis, as `RungeKutta(n).real_axis` says;
            infinite where diffusion is implicit, which has no bound.
        given: The diffusivity, for the message.
    """
    ratio = diffusion_number(grid, jnp.max(diffusivity), dt, real_axis)
    return Limit(ratio, f"{given} and spacing", "beyond which explicit diffusion is unstable")


def implicit_diffusion(field: Field, diffusivity: ArrayLike, dt: ArrayLike) -> Field:
    r"""One backward Euler step: the solution of $f' - dt\, \kappa \nabla^2 f' = f$.

    First order in time, second in space, stable for every step; never exceeds the extremes of the field and of the
    values fixed at its ends. Values on a side where a `Dirichlet` condition fixes them are set to it.

    Args:
        field: The field, at any place, with conditions at all ends.
        diffusivity: Length squared per time, $\kappa$.
        dt: Duration of the step.

    Raises:
        InputError: if a condition is unknown, or a number has a shape.
    """
    return _diffused("implicit_diffusion", field, diffusivity, dt, lambda z, values, _: 1 / (1 - z * values))


@jax.named_scope("diffusion")
def implicit_change(field: Field, diffusivity: ArrayLike, length: ArrayLike) -> Array:
    """What implicit diffusion over `length` changes: the `w` that solves `w = length * diffusivity * laplacian(f + w)`,
    as `stiff_change` of a system says it.

    Values that the conditions fix on the sides are changed to these.

    Args:
        field: The field, at any place, with conditions at all ends.
        diffusivity: Length squared per time.
        length: Duration of the implicit step.

    Raises:
        InputError: if a condition is unknown, or a number has a shape.
    """
    return implicit_diffusion(field, diffusivity, length).values - field.values


def crank_nicolson_diffusion(field: Field, diffusivity: ArrayLike, dt: ArrayLike) -> Field:
    r"""One step of the trapezoidal rule: $f' - \tfrac{dt}{2} \kappa \nabla^2 f' = f + \tfrac{dt}{2} \kappa \nabla^2 f$.

    Second order in time and space, stable for every step (Crank, Nicolson 1947). For steps far beyond
    `stable_diffusion_step` what is not smooth hardly decays, and changes its sign in every step.

    Args:
        field: The field, at any place, with conditions at all ends.
        diffusivity: Length squared per time, $\kappa$.
        dt: Duration of the step.

    Raises:
        InputError: if a condition is unknown, or a number has a shape.
    """
    return _diffused("crank_nicolson_diffusion", field, diffusivity, dt, lambda z, values, _: 1 / (1 - z * values / 2))


def exact_diffusion(field: Field, diffusivity: ArrayLike, dt: ArrayLike, *, spectral: bool = True) -> Field:
    r"""The solution of $\partial f / \partial t = \kappa \nabla^2 f$ after `dt`, exact in time: $e^{dt \kappa A}$.

    On a uniform axis the eigenvectors of the second difference are those of the second derivative, sines and cosines.
    With `spectral` each decays at its own rate $-\kappa k^2$ instead of the rate of the difference,
    $-\kappa \tfrac{4}{h^2} \sin^2 \tfrac{k h}{2}$: on periodic axes resolved data diffuse exactly, in space too. On
    stretched axes the rates are those of the difference.

    Args:
        field: The field, at any place, with conditions at all ends.
        diffusivity: Length squared per time, $\kappa$.
        dt: Duration of the step.
        spectral: Whether uniform axes use the rates of the derivative.

    Raises:
        InputError: if a condition is unknown, or a number has a shape.
    """

    def factor(z, values, exact):
        if not spectral:
            return _mean_exponential(z * values)
        numpy = np if isinstance(values, np.ndarray) else jnp  # beside ends with traced lengths
        ratio = numpy.where(values != 0, exact / numpy.where(values != 0, values, 1.0), 1.0)
        return _mean_exponential(z * exact) * ratio

    return _diffused("exact_diffusion", field, diffusivity, dt, factor)


def _diffused(owner: str, field: Field, diffusivity: ArrayLike, dt: ArrayLike, factor: Callable) -> Field:
    """`f + z g (A f + b)` with `z = dt diffusivity` and a function g of z and of the operator's eigenvalues."""
    check_field(owner, "field", field)
    check_numbers(owner, diffusivity=diffusivity, dt=dt)
    bases = bases_of(field)
    field = _with_fixed_values(field)
    z = jnp.asarray(dt * diffusivity, field.values.dtype)
    change = laplacian(field).values
    if any(basis.values.size == 0 for basis in bases):  # one cell between two sides: all of its faces are fixed
        return field
    values, exact = np.zeros(()), np.zeros(())
    for axis, basis in enumerate(bases):
        change = along_axis(basis.transform, change, axis)
        values = values + field.grid.along(axis, basis.values)
        exact = exact + field.grid.along(axis, basis.exact_values)
    change = z * change * factor(z, values, exact).astype(change.dtype)
    for axis, basis in enumerate(bases):
        change = along_axis(basis.inverse, change, axis)
    return field.with_values(field.values + change)


def _with_fixed_values(field: Field) -> Field:
    """The field with the values that its conditions give to points on its sides."""
    values = field.values
    for axis, pair in enumerate(field.conditions):
        if field.offset[axis] == 0.5:
            continue
        for end, condition in enumerate(pair):
            value = condition.value_on_side
            if value is not None:
                index = (slice(None),) * axis + ((slice(-1, None) if end else slice(0, 1)),)
                values = values.at[index].set(value.astype(values.dtype))
    return field.with_values(values)


def _mean_exponential(x: Array) -> Array:
    """`(e^x - 1) / x`, the mean of the exponential between 0 and x; by its series where the quotient loses digits."""
    small = jnp.abs(x) < 1e-2
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6 * (1 + x / 7)))))
    safe = jnp.where(small, 1.0, x)
    return jnp.where(small, series, jnp.expm1(safe) / safe)
