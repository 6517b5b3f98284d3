r"""PISO: pressure-implicit with splitting of operators (Issa 1986), for a momentum equation with a constraint.

An implicit step of an incompressible flow is a linear problem for the velocity $v$ and, times the duration, the
pressure $q$,

$$M v + G q = r, \qquad D v = 0, \qquad M = A - N,$$

with a diagonal matrix $A$ that dominates the rest $N$. From an estimate $q_0$, the pressure of the step before or
zero, the predictor solves $M v_0 = r - G q_0$, and each of the correctors $k = 1, 2, \dots$ takes a velocity without
divergence from it:

$$w = A^{-1} (r + N v_{k-1} - G q_{k-1}), \qquad D A^{-1} G\, c = D w, \qquad v_k = w - A^{-1} G c, \qquad
q_k = q_{k-1} + c.$$

Each corrector multiplies the error by $A^{-1} N$, which is proportional to the duration.
"""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.errors import InputError
from diffphys.grids.numbers import as_whole, shown, whole_number
from diffphys.stepping.integrators import Advanced, State, Time, clock, duration


@runtime_checkable
class Linearized(Protocol):
    """An implicit step as PISO sees it, of a system that is linear once the carrier is known.

    All of its functions are of the constrained part of the state, a tree of arrays, and of the multiplier, an array.

    Attributes:
        known: The right side `r`.
    """

    known: Any

    def solve(self, known: Any, tolerance: float | None, largest_iterations: int) -> tuple[Any, Any]:
        """The solution of `M v = known`, and a report."""
        ...

    def balanced(self, known: Any, value: Any) -> Any:
        """`(known + N value) / A`."""
        ...

    def push(self, multiplier: Array) -> Any:
        """`G multiplier`."""
        ...

    def multiplier_of(self, value: Any) -> tuple[Array, Any]:
        """The `c` that solves `D (G c) / A = D value`, and a report."""
        ...

    def corrected(self, value: Any, multiplier: Array) -> Any:
        """`value - (G multiplier) / A`, which satisfies the constraint."""
        ...

    def completed(self, value: Any) -> State:
        """The state with this constrained part."""
        ...


class PISOReport(NamedTuple):
    """What the solvers of a step by PISO report.

    Attributes:
        momentum: Of the last predictor, as the system gives it: iterations and residuals.
        pressure: Of the correctors of that solve, with a leading axis.
    """

    momentum: Any
    pressure: Any


LEFT_OUT = ("coefficients", "momentum", "pressure")


@dataclasses.dataclass(frozen=True)
class PISO:
    r"""A predictor with implicit momentum, then correctors that find the pressure.

    The equation is linearized about a known velocity $w$, which carries: $B(w)\, v$ is convection by $w$ and diffusion
    with the viscosity that $w$ has. With `order=1`, $w = v^n$ and the step is that of Euler, implicit:

    $$v^{n+1} + \Delta t\, \big(B(v^n)\, v^{n+1} + G p^{n+1}\big) = v^n + \Delta t\, f(v^n).$$

    With `order=2` such a step of half the duration gives $w \approx v(t + \Delta t / 2)$, and the trapezoidal rule
    about it the result, with the pressure at half time:

    $$v^{n+1} + \tfrac{\Delta t}2 B(w)\, v^{n+1} + \Delta t\, G p^{n+1/2}
    = v^n - \tfrac{\Delta t}2 B(w)\, v^n + \Delta t\, f(w).$$

    It is a method of one step: nothing is remembered but the pressure, and a start needs nothing special. Steady states
    are those of the equations, whatever the duration, if the predictor has the old pressure. Both need no bound for
    diffusion; the correctors need Courant numbers of a few at most. What decays fast is gone after a step of order 1,
    while with order 2 it changes its sign in each.

    Args:
        correctors: How many; 2 in the method as published.
        order: 1 or 2, in time.
        old_pressure: Whether the predictor has the pressure of the state; else none, so that a step depends on the
            velocity alone, and only two correctors or more keep the second order.
        without_gradient: What derivatives leave out, none of it by default: "coefficients" (those of the matrix, as in
            List, Chen, Thuerey 2022), "momentum" (the solution of the predictor), "pressure" (the solutions for the
            pressure; both as in Franz et al. 2025). The step itself is the same.
        tolerance: Of the momentum solves: the largest residual relative to that of the start of the step. Default: 1e-5
            in float32, 1e-10 in float64. Where it is not met, the result is NaN.
        largest_iterations: After how many iterations of a momentum solve to give up.

    Raises:
        InputError: for arguments out of range.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), stepping=dp.PISO(correctors=2))
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    correctors: int = 2
    order: int = 1
    old_pressure: bool = True
    without_gradient: tuple[str, ...] = ()
    tolerance: float | None = None
    largest_iterations: int = 200
    real_axis = float("inf")

    def __post_init__(self):
        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        keep("correctors", whole_number("PISO: correctors", self.correctors))
        keep("largest_iterations", whole_number("PISO: largest_iterations", self.largest_iterations))
        if as_whole(self.order) not in (1, 2):
            raise InputError(f"PISO: order is {shown(self.order)}; 1 or 2 is accepted.")
        keep("order", as_whole(self.order))
        if not isinstance(self.old_pressure, bool):
            raise InputError(f"PISO: old_pressure is {shown(self.old_pressure)}; True or False is accepted.")
        given = self.without_gradient
        if not isinstance(given, (tuple, list)) or any(one not in LEFT_OUT for one in given):
            raise InputError(f"PISO: without_gradient is {shown(given)}; a tuple of some of {LEFT_OUT} is accepted.")
        keep("without_gradient", tuple(given))
        if self.tolerance is not None and not (isinstance(self.tolerance, float) and 0 < self.tolerance < 1):
            raise InputError(f"PISO: tolerance is {shown(self.tolerance)}; a number between 0 and 1 is accepted.")

    def advance(
        self, system: Any, state: State, dt: ArrayLike, time: Time = 0.0, input: Any = None, multiplier: Any = None
    ) -> Advanced:
        """The state after a step of duration `dt` from `time`."""
        if not hasattr(system, "linearized"):
            raise InputError(
                f"PISO: {type(system).__name__} has no linearized; a system with a momentum equation is accepted."
            )
        dt, after = duration(dt), clock(time)
        frozen = "coefficients" in self.without_gradient
        start, old = after(0.0), multiplier if self.old_pressure else None
        if self.order == 1:
            return self._solved(system.linearized((start, start, after(dt)), state, state, dt, 1.0, input, frozen), old)
        half = dt / 2
        euler = system.linearized((start, start, after(half)), state, state, half, 1.0, input, frozen)
        middle = self._solved(euler, None if old is None else old / 2)
        whole = system.linearized((start, after(half), after(dt)), state, middle.state, dt, 0.5, input, frozen)
        return self._solved(whole, 2 * middle.multiplier if self.old_pressure else None)

    def _solved(self, equation: Linearized, multiplier: Array | None) -> Advanced:
        """The solution of one linear problem."""
        known = equation.known
        if multiplier is not None:
            known = _difference(known, equation.push(multiplier))
        value, momentum = equation.solve(known, self.tolerance, self.largest_iterations)
        if "momentum" in self.without_gradient:
            value = jax.lax.stop_gradient(value)

        total, reports = multiplier, []
        for _ in range(self.correctors):
            value = equation.balanced(known, value)
            change, report = equation.multiplier_of(value)
            if "pressure" in self.without_gradient:
                change = jax.lax.stop_gradient(change)
            value = equation.corrected(value, change)
            known = _difference(known, equation.push(change))
            total = change if total is None else total + change
            reports.append(report)
        pressure = jax.tree.map(lambda *parts: jnp.stack(parts), *reports)
        return Advanced(equation.completed(value), total, PISOReport(momentum, pressure))


def _difference(first: Any, second: Any) -> Any:
    return jax.tree.map(lambda one, other: one - other, first, second)
