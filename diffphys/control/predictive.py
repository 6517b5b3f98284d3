"""Model-predictive control: in every step the controls of a horizon are optimized, and the first of them acts."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from diffphys.control.problem import ControlProblem
from diffphys.control.trajectory import Optimizer, optimize_controls
from diffphys.errors import InputError
from diffphys.grids.numbers import plain, shown, whole_number
from diffphys.stepping import Adjoint, Checkpointed


class ModelPredictive(eqx.Module):
    """A policy that plans: `closed_loop(problem, ModelPredictive(problem, horizon=10), state)`.

    In every step it optimizes the controls of the next `horizon` steps from the state at hand, with the terminal cost
    at the horizon's end, and applies the first. The next step starts from the rest of the plan, its last control twice
    (receding horizon with a warm start; Rawlings, Mayne, Diehl 2017). The plan is made with the problem it is given,
    which may be simpler than the one it acts on: another step, another grid.

    Args:
        problem: With what it plans; its target is the one of the loop that it acts in.
        horizon: Steps of a plan, at most those of the problem.
        optimizer: As for `optimize_controls`.
        iterations: Of the optimizer, in every step.
        adjoint: How gradients pass through a plan.

    Raises:
        InputError: for a horizon longer than the task, or numbers out of range.
    """

    problem: ControlProblem
    horizon: int = eqx.field(static=True, converter=plain)
    optimizer: Optimizer | None = eqx.field(static=True, default=None)
    iterations: int = eqx.field(static=True, converter=plain, default=20)
    adjoint: Adjoint = eqx.field(static=True, default=Checkpointed())

    def __check_init__(self):
        if not isinstance(self.problem, ControlProblem):
            raise InputError(f"ModelPredictive: problem is {shown(self.problem)}; a ControlProblem is accepted.")
        whole_number("ModelPredictive: iterations", self.iterations)
        if whole_number("ModelPredictive: horizon", self.horizon) > self.problem.steps:
            raise InputError(
                f"ModelPredictive: horizon is {self.horizon}; a whole number up to the task's {self.problem.steps} "
                "steps is accepted."
            )

    def initial_memory(self) -> Any:
        """The controls at rest, and the one before them."""
        return self.problem.at_rest(self.horizon), self.problem.control

    def __call__(self, state: Any, target: Any, memory: Any) -> tuple[Any, Any]:
        expected, previous = memory
        ahead = dataclasses.replace(self.problem, steps=self.horizon, target=target, control=previous)
        options: dict[str, Any] = {"optimizer": self.optimizer, "iterations": self.iterations, "adjoint": self.adjoint}
        plan = optimize_controls(ahead, state, expected, **options)
        control = jax.tree.map(lambda leaf: leaf[0], plan.controls)
        rest = jax.tree.map(lambda leaf: jnp.concatenate([leaf[1:], leaf[-1:]]), plan.controls)
        return control, (rest, control)
