"""Cases that differ in the random numbers they begin with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


class Seeded(eqx.Module):
    """A step with the seed of what its case begins with: `parameters=lambda seed: {"seed": seed}` of a `Study`.

    Args:
        solver: The step.
        seed: Read only where a case begins.
    """

    solver: Any
    seed: Array = eqx.field(converter=jnp.asarray, default=0.0)

    def __call__(self, state: Any, *inputs: Any) -> Any:
        return self.solver(state, *inputs)

    @property
    def key(self) -> Array:
        """The key of this seed."""
        return jax.random.key(self.seed.astype(int))

    @property
    def dt(self) -> Array:
        """The solver's."""
        return self.solver.dt

    def courant_number(self, state: Any) -> Array:
        """The solver's."""
        return self.solver.courant_number(state)
