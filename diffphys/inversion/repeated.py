"""An inverse simulator used several times, and told what else is known of x."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from diffphys.grids.numbers import plain, whole_number
from diffphys.inversion.scale_invariant import Simulator


def unchanged(x: Any) -> Any:
    """x."""
    return x


class RepeatedInverse(eqx.Module):
    """`x <- project(inverse(target, x, P(x)))`, several times from x on.

    An approximate inverse leaves something, of which it leaves less when asked again. Between two times x may be moved
    to the nearest one that is possible at all, which brings back what the simulator has forgotten: a temperature that
    is known to be nowhere negative, say, determines waves far shorter than those that can be seen (Papoulis 1975,
    Gerchberg 1974). Without a projection an inverse that divides by small numbers may diverge: use `check_inverse`.

    Args:
        simulator: P.
        inverse: An inverse simulator, `inverse(target, x, y)`.
        steps: How many times.
        project: From any x to one that is possible.

    Raises:
        InputError: steps is not a whole number of at least 1.
    """

    simulator: Simulator
    inverse: Callable[[Any, Any, Any], Any]
    steps: int = eqx.field(static=True, converter=plain)
    project: Callable[[Any], Any] = unchanged

    def __check_init__(self):
        whole_number("RepeatedInverse: steps", self.steps)

    def __call__(self, target: Any, x: Any, y: Any) -> Any:
        """The last x; y = P(x) spares the first simulation."""

        def step(_: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
            moved = self.project(self.inverse(target, *now))
            return moved, self.simulator(moved)

        x, y = jax.lax.fori_loop(0, self.steps - 1, step, (x, y))
        return self.project(self.inverse(target, x, y))
