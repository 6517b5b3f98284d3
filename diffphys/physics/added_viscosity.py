r"""What adds to the viscosity of a flow: models of turbulence, and sponges that calm it before an outflow.

Each is a function from the velocity, as fields, to a viscosity at the cell centers: an array with an entry for each
cell. A function of one's own, a network for example, is one, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.grids import Declared, Field, Grid, choice, quantity, within
from diffphys.grids.declared import Refusals, not_among
from diffphys.grids.ends import with_even_images
from diffphys.grids.numbers import concrete, magnitude, shown
from diffphys.operators import difference, interpolate


class Smagorinsky(Declared):
    r"""The eddy viscosity of Smagorinsky (1963), $\nu_t = (C_s \Delta)^2\, |S|$ with $|S| = \sqrt{2 S_{ij} S_{ij}}$.

    $S$ is the strain rate, $\Delta$ the filter width, the cube (in two dimensions the square) root of a cell's volume.
    In isotropic turbulence $C_s$ is between 0.1 and 0.2 (Lilly 1967). It acts in laminar shear, too, and next to walls
    it is too large; `DynamicSmagorinsky` finds its constant itself. (A constant $c$ in $\nu_t = c \Delta^2 |S|$, as
    some write it, is $C_s^2$.)

    Where nothing moves the derivative of $|S|$ is zero, as the mean over all directions is.

    Args:
        constant: $C_s$.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), added_viscosity=(dp.Smagorinsky(0.17),), stepping=dp.RungeKutta(3)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    constant: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))

    def __call__(self, velocity: Sequence[Field]) -> Array:
        """The eddy viscosity in each cell."""
        strain = strain_rate(velocity)
        width = filter_width(velocity[0].grid, velocity[0].values.dtype)
        return (self.constant.astype(width.dtype) * width) ** 2 * magnitude_of(strain)


class DynamicSmagorinsky(eqx.Module):
    r"""Smagorinsky's eddy viscosity with the constant that the flow itself has (Germano et al. 1991; Lilly 1992).

    A test filter, the mean over three cells along each axis with weights 1/4, 1/2, 1/4, has twice the width of a cell.
    Between both widths the stresses are known, $L_{ij} = \widehat{v_i v_j} - \hat v_i \hat v_j$; the model has there
    $-2 c\, \Delta^2 M_{ij}$ with $M_{ij} = 4 |\hat S| \hat S_{ij} - \widehat{|S| S_{ij}}$. Least squares over the whole
    domain give $c = C_s^2$,

    $$\nu_t = c\, \Delta^2 |S|, \qquad
    c = \max\Big(0, -\frac{\langle L_{ij} M_{ij} \Delta^2 \rangle}{2\, \langle M_{ij} M_{ij} \Delta^4 \rangle}\Big).$$

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), added_viscosity=(dp.DynamicSmagorinsky(),), stepping=dp.RungeKutta(3)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    def __call__(self, velocity: Sequence[Field]) -> Array:
        """The eddy viscosity in each cell."""
        grid = velocity[0].grid
        square = filter_width(grid, velocity[0].values.dtype) ** 2
        strain = strain_rate(velocity)
        size = magnitude_of(strain)
        return self.constant_of(velocity) * square * size

    def constant_of(self, velocity: Sequence[Field]) -> Array:
        """The $c = C_s^2$ of this velocity, one number."""
        grid, periodic = velocity[0].grid, velocity[0].periodic
        # It is the same for every unit of speed; of fourth powers some would leave the range of single precision.
        largest = jnp.max(jnp.stack([jnp.max(magnitude(part.values)) for part in velocity]))
        unit = jax.lax.stop_gradient(jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0))
        velocity = [part / unit for part in velocity]
        square = filter_width(grid, velocity[0].values.dtype) ** 2
        strain = strain_rate(velocity)
        size = magnitude_of(strain)
        at_centers = [interpolate(part, (0.5,) * grid.dimensions).values for part in velocity]

        def filtered(values: Array) -> Array:
            return over_three_cells(values, periodic)

        coarse = {pair: filtered(part) for pair, part in strain.items()}
        coarse_size = magnitude_of(coarse)
        volumes = jnp.asarray(grid.volumes() / grid.volumes().mean(), square.dtype)
        product = norm = jnp.zeros((), square.dtype)
        means = [filtered(part) for part in at_centers]
        trace = sum(filtered(part**2) - mean**2 for part, mean in zip(at_centers, means, strict=True))
        for (i, j), part in strain.items():
            stress = filtered(at_centers[i] * at_centers[j]) - means[i] * means[j]
            if i == j:  # the isotropic part belongs to the pressure
                stress = stress - trace / grid.dimensions
            model = square * (4 * coarse_size * coarse[i, j] - filtered(size * part))
            weight = volumes * (1.0 if i == j else 2.0)
            product, norm = product + jnp.sum(weight * stress * model), norm + jnp.sum(weight * model**2)
        moving = norm > 0
        constant = -product / (2 * jnp.where(moving, norm, 1.0))
        return jnp.where(moving, jnp.maximum(constant, 0), 0)


class Sponge(Declared):
    r"""A layer before a side in which the viscosity rises linearly from nothing to `largest`, so that vortices are gone
    before they meet the side.

    Args:
        axis: The axis, by its name.
        start: Where the layer begins; it ends at the side.
        largest: What is added at the side, length squared per time.
        lower: Whether it lies before the lower side of the axis, else before the upper one.

    Examples:
        >>> sponge = dp.Sponge("x", start=8.0, largest=0.1)
    """

    axis: str = eqx.field(static=True)
    start: Array = eqx.field(converter=quantity, metadata=within())
    largest: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0))
    lower: bool = eqx.field(static=True, metadata=choice(bool, words="True or False"), default=False)

    def __call__(self, velocity: Sequence[Field]) -> Array:
        """What is added in each cell."""
        grid = velocity[0].grid
        axis = grid.axis_names.index(self.axis)
        place = grid.centers()[axis].astype(velocity[0].values.dtype)
        end = grid.origin[axis] + (0.0 if self.lower else grid.size[axis])
        share = (place - self.start) / (end - self.start)
        return jnp.broadcast_to(self.largest * jnp.clip(share, 0, 1), grid.cells)

    def refused_by(self, flow: Any) -> Refusals:
        """What a flow refuses in it."""
        grid, start = flow.grid, concrete(self.start)
        yield from not_among("Sponge: axis", self.axis, grid.axis_names)
        axis = grid.axis_names.index(self.axis)
        first, last = grid.origin[axis], grid.origin[axis] + grid.size[axis]
        place = f"{start} on axis {self.axis}, which goes from {first:g} to {last:g}"
        yield start is not None and not first < start < last, f"Sponge: start is {place}; between is accepted."


AddedViscosity = Callable[[Sequence[Field]], Any]
"""From the velocity to an array with an entry for each cell."""


class _Function(eqx.Module):
    """A plain function of the velocity; static, so that another one is compiled anew."""

    function: Callable[[Sequence[Field]], Any] = eqx.field(static=True)

    def __call__(self, velocity: Sequence[Field]) -> Any:
        return self.function(velocity)


def as_added_viscosity(owner: str, parts: Any) -> tuple[Any, ...]:
    """What adds to the viscosity, as a user gives it: plain functions become static.

    Raises:
        InputError: for something that is none.
    """
    if not isinstance(parts, (tuple, list)) or not all(callable(part) for part in parts):
        words = "a tuple of Smagorinsky(...), DynamicSmagorinsky(), Sponge(...) or functions of the velocity"
        raise InputError(f"{owner}: added_viscosity is {shown(parts)}; {words} is accepted.")
    return tuple(part if isinstance(part, eqx.Module) else _Function(part) for part in parts)


def strain_rate(velocity: Sequence[Field]) -> dict[tuple[int, int], Array]:
    r"""$S_{ij} = \tfrac12 (\partial_i v_j + \partial_j v_i)$ at the cell centers for each $i \le j$, of second order.

    What is not on the diagonal is found at the edges of the cells, where its differences live, and is brought to the
    centers by their mean.
    """
    grid, strain = velocity[0].grid, {}
    for i in range(grid.dimensions):
        strain[i, i] = difference(velocity[i], i).values
        for j in range(i + 1, grid.dimensions):
            shear = difference(velocity[j], i).values + difference(velocity[i], j).values
            place = difference(velocity[j], i).with_values(shear / 2)
            strain[i, j] = interpolate(place, (0.5,) * grid.dimensions).values
    return strain


def magnitude_of(strain: dict[tuple[int, int], Array]) -> Array:
    r"""$\sqrt{2 S_{ij} S_{ij}}$, where it is zero with derivative zero."""
    square = sum((2.0 if i == j else 4.0) * part**2 for (i, j), part in strain.items())
    moving = square > 0
    return jnp.where(moving, jnp.sqrt(jnp.where(moving, square, 1.0)), 0.0)


def filter_width(grid: Grid, dtype: DTypeLike) -> Array:
    """The root of each cell's volume of which the cube, in two dimensions the square, is the volume."""
    return jnp.asarray(np.broadcast_to(grid.volumes() ** (1 / grid.dimensions), grid.cells), dtype)


def over_three_cells(values: Array, periodic: Sequence[bool]) -> Array:
    """The mean over three cells along each axis with weights 1/4, 1/2, 1/4; at a side over those within."""
    for axis, wraps in enumerate(periodic):
        padded = with_even_images(values, axis, (1, 1), periodic=wraps)
        count = values.shape[axis]
        before, behind = (jnp.take(padded, jnp.arange(s, s + count), axis) for s in (0, 2))
        values = values / 2 + (before + behind) / 4
    return values
