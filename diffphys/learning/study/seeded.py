"""Cases that differ in the random numbers they begin with."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array


def seeded_cases(settings: Any) -> dict[str, Any]:
    """What a `Study` says of cases that are seeds, those of the settings `train_seeds` and `test_seeds`."""
    return {
        "case": "seeds",
        "train_cases": tuple(map(float, settings.train_seeds)),
        "test_cases": tuple(map(float, settings.test_seeds)),
        "label": "seed {:g}".format,
    }


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
