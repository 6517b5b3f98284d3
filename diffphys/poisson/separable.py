"""Separable problems given by their one-dimensional matrices: `(shift + scale * (A_x + A_y + A_z)) x = rhs`.

Fast diagonalization (Lynch, Rice, Thomas 1964) for any one-dimensional operators that are symmetric in a weighted
scalar product: the pressure of the fourth-order scheme, and implicit diffusion at any place of a staggered grid.
`shift` and `scale` are traced, so that a viscosity or a time step has a gradient and changing it compiles nothing anew.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids.axes import at_axis
from diffphys.operators.eigenbasis import Line, analyzed, eigenbasis, synthesized


def solve_separable(lines: tuple[Line, ...], rhs: Array, shift: ArrayLike, scale: ArrayLike) -> Array:
    """The solution of `(shift + scale * laplacian) x = rhs`.

    Points on a boundary where the value is fixed at 0 are no unknowns: `x` is zero there, whatever `rhs` is. Modes for
    which the operator vanishes are left out, so that a pressure is found up to its constant.
    """
    shift, scale = jnp.asarray(shift, rhs.dtype), jnp.asarray(scale, rhs.dtype)
    spectra = [eigenbasis(line).values for line in lines]
    if any(values.size == 0 for values in spectra):  # one cell between two sides: all of its faces are fixed
        return jnp.zeros_like(rhs)
    coefficients = rhs
    for line in lines:
        coefficients = analyzed(line, coefficients)
    total = 0.0
    for axis, values in enumerate(spectra):
        total = total + values.reshape(at_axis(axis, -1, 1, rhs.ndim))
    size = max(float(np.abs(values).max()) for values in spectra)
    vanishes = np.abs(total) < 1e-11 * size
    factor = shift + scale * jnp.asarray(total, rhs.dtype)
    singular = vanishes & (shift == 0)
    coefficients = jnp.where(singular, 0.0, coefficients / jnp.where(singular, 1.0, factor))
    for line in lines:
        coefficients = synthesized(line, coefficients)
    return coefficients
