"""The capacitance-matrix method (see `capacitance`) for an obstacle that is an argument of the program."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from diffphys.errors import InputError
from diffphys.linear import along_axis
from diffphys.poisson.capacitance import prepared_surface
from diffphys.poisson.diagonalization import FastDiagonalization, direct_solution
from diffphys.poisson.problem import PressureProblem, Solution, relative_volumes, right_side, without_null_space


class ClosedFaces(NamedTuple):
    """The faces that an obstacle closes, with room for more: faces between a cell and itself, whose factor is zero,
    fill the room.

    Attributes:
        below, above: Flat index, within the grid, of the cells below and above each face.
        factors: As of `capacitance.Surface`.
        correction: The pseudo-inverse there, (faces, faces).
    """

    below: Any
    above: Any
    factors: Any
    correction: Any


class CorrectedAround(eqx.Module):
    """The solution of `ObstacleCorrected` around faces that are an argument of the program: obstacles with room for as
    many faces take one program, and `jax.vmap` takes several together. It costs two direct solutions, over all cells.

    What of a right side no pressure can balance, in regions that the obstacle cuts off, is not taken away: it stays in
    the residual, and the pressure there has any level.

    Args:
        problem: The problem without the obstacle.
        faces: Its closed faces.
    """

    problem: PressureProblem = eqx.field(static=True)
    faces: ClosedFaces

    @jax.named_scope("pressure_solve")
    def solve(self, rhs: Array) -> Solution:
        """Solve `A pressure = rhs` for an array at the cell centers."""
        separable = FastDiagonalization(self.problem)
        rhs, imbalance = without_null_space(self.problem, right_side(self.problem, rhs))
        coefficients = separable.scaled(separable.transform(rhs))
        slopes = self._slopes(separable.inverse(coefficients))  # G_C A_0^+ rhs, scaled
        source = self._outflow(along_axis(self.faces.correction, slopes, 0), rhs)  # D_C q
        pressure = separable.inverse(coefficients + separable.scaled(separable.transform(source)))
        pressure, _ = without_null_space(self.problem, pressure)
        blocked = self._outflow(self._slopes(pressure), rhs)
        return direct_solution(self.problem, pressure, rhs + blocked, imbalance)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """How many bytes a compiled program holds of what is prepared for values of this type: by the direct solution,
        and the volumes of stretched cells. The faces are an argument of the program, and no part of it.
        """
        volumes = relative_volumes(self.problem.grid).size
        return FastDiagonalization(self.problem).prepared_bytes(dtype) + np.dtype(dtype).itemsize * volumes

    def _slopes(self, values: Array) -> Array:
        """The gradients that the closed faces would feel, scaled by their factors."""
        flat = values.reshape(-1)
        return (flat[self.faces.above] - flat[self.faces.below]) * self.faces.factors.astype(values.dtype)

    def _outflow(self, slopes: Array, like: Array) -> Array:
        """What leaves each cell through its closed faces, where they feel these scaled gradients."""
        flux = slopes * self.faces.factors.astype(like.dtype)
        flat = jnp.zeros(like.size, like.dtype).at[self.faces.below].add(flux).at[self.faces.above].add(-flux)
        return flat.reshape(like.shape) / jnp.asarray(relative_volumes(self.problem.grid), like.dtype)


def closed_faces(problem: PressureProblem, room: int) -> ClosedFaces:
    """The closed faces of a problem, with room for so many.

    Raises:
        InputError: the obstacle closes more faces, or does not vary along an axis.
    """
    found = prepared_surface(problem)
    if len(found.axes) < problem.grid.dimensions:
        raise InputError(
            "closed_faces: the obstacle reaches from side to side; one that varies along all axes is accepted."
        )
    count = len(found.below)
    if count > room:
        raise InputError(f"closed_faces: the obstacle closes {count} faces; room for {count} or more is accepted.")
    box = tuple(last - first for first, last in zip(found.start, found.stop, strict=True))
    rest = room - count

    def in_grid(flat: np.ndarray) -> np.ndarray:
        places = [index + first for index, first in zip(np.unravel_index(flat, box), found.start, strict=True)]
        return np.pad(np.asarray(np.ravel_multi_index(tuple(places), problem.grid.cells), np.int32), (0, rest))

    return ClosedFaces(
        in_grid(found.below),
        in_grid(found.above),
        np.pad(found.factors, (0, rest)),
        np.pad(found.corrections[0], (0, rest)),
    )
