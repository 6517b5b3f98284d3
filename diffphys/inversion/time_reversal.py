"""Inverse simulators of flows that can run backwards."""

from collections.abc import Callable
from typing import Any

import equinox as eqx

from diffphys.grids.numbers import plain, whole_number
from diffphys.stepping import rollout


class TimeReversal(eqx.Module):
    """The state before `steps` steps of a reversible system: reverse the target, step as often, reverse again.

        P^-1(y) = R P(R y),      R the reversal, R R = identity

    This is exact for a system and a scheme that are symmetric in time, such as leapfrog for oscillators with R turning
    the velocities around; for an inviscid flow it is exact up to the scheme's dissipation. Nothing is solved, and no
    derivative is taken. Measure with `check_inverse` how well it inverts.

    Args:
        step: The simulation's step, state -> state.
        steps: How many of them the simulator makes.
        reverse: R, state -> state: changes the sign of velocities.

    Raises:
        InputError: steps is not a whole number of at least 1.
    """

    step: Callable[[Any], Any]
    steps: int = eqx.field(static=True, converter=plain)
    reverse: Callable[[Any], Any]

    def __check_init__(self):
        whole_number("TimeReversal: steps", self.steps)

    def __call__(self, target: Any, x: Any = None, y: Any = None) -> Any:
        """The state from which the simulator reaches the target; x and y are not needed."""
        del x, y
        return self.reverse(rollout(self.step, self.reverse(target), self.steps)[0])

    def path(self, target: Any, save: Callable[[Any], Any]) -> Any:
        """What `save` keeps of the states on the way back, reversed as they are: from `steps` - 1 steps after the start
        to the start itself, with a leading axis of length `steps`.
        """
        return rollout(self.step, self.reverse(target), self.steps, save_every=1, save=save)[1]
