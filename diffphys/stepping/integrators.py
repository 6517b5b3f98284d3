r"""Integrators: a method as a value, for every system that can say how fast its state changes.

A system is $y' = f(t, y) + g(t, y)$, where $g$ is stiff and may be missing, perhaps with a constraint that $y$ has to
satisfy at every time. An integrator knows nothing else of it (`System`), so that a new system is its right side, and a
new method is its coefficients.

With $P_t$ the projection onto the states that satisfy the constraint at time $t$, an explicit Runge-Kutta method with
coefficients $a_{ij}, b_j, c_i$ is

$$Y_i = P_{t + c_i \Delta t}\Big(y^n + \Delta t \sum_{j < i} a_{ij} F(Y_j)\Big), \qquad
y^{n+1} = P_{t + \Delta t}\Big(y^n + \Delta t \sum_j b_j F(Y_j)\Big), \qquad F = f + g.$$

Where the projection is $P_t y = P y + q_t$ with one linear part $P$ at all times, as for an incompressible flow
whatever moves at its sides, this is the method applied to the ordinary differential equation on the constraint and
keeps its order there (Hairer, Lubich, Roche 1989; Sanderse, Koren 2012). Where $P$ itself changes, as on a curved
constraint or with a body that moves through the grid, the order is kept if $F$ already leads along the constraint and
with its motion; what $F$ does against it is projected in another direction from stage to stage, and leaves the first
order. The multiplier of the last projection, divided by $\Delta t$, is the constraint's force to first order.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.devices import are_several, beside, keeping
from diffphys.errors import InputError
from diffphys.grids.field import is_field, values_of, with_values_of
from diffphys.grids.numbers import as_number, as_whole, shown, times
from diffphys.stepping.phi import phi
from diffphys.stepping.tableaus import ADDITIVE, EXPLICIT, EXPONENTIAL, Combination, square


State = Any
"""A pytree of arrays and fields. Of a field its values change; its grid, place and conditions stay."""


Time = ArrayLike | Callable[[Array], Array]
"""The time of a state; or a function from a duration to the moment so long after it, which may know more digits."""


class System(Protocol):
    """What an integrator may ask of a system. `rate` alone will do, or `stiff_rate` where all of it may decay fast. No
    protocol can say that the rest is optional: methods take any object, and name in a sentence what they miss.

    - `stiff_rate(time, state, input)`: a further part of the right side, linear or not, that may decay fast. It is
      added to `rate` by explicit methods and taken implicitly by `ImplicitExplicit`.
    - `stiff_change(time, state, length, input)`: what that part alone changes over `length` by an implicit step: the
      `w` that solves `w = length * stiff_rate(time, state + w, input)`, on the constraint where there is one.
    - `stiff_diagonal(state, input)`: where that part is `lambda * state`, entry by entry, the numbers lambda: of the
      state's structure, each broadcasting to its entries, the same at all times. `ExponentialRungeKutta` asks for it.
    - `constrain(time, state, input)`: the nearest state that satisfies the constraint at this time, and the multiplier
      that brought it there (for an incompressible flow the pressure times the duration).
    - `linearized(times, state, about, dt, weight, input, frozen)`: for `PISO`, the implicit step from a state, between
      two times, linear about another state: see `piso.Linearized`. The part `weight` of what is linear is taken at the
      end, the rest at the start; where `frozen`, derivatives take its coefficients for constants.
    - `parts`: for `Splitting`, functions `part(time, state, dt, input) -> state` that are made one after the other,
      with the time at the end of the step.
    """

    def rate(self, time: Array, state: State, input: Any) -> State:
        """The time derivative of the state, of its structure (for a field a field or an array)."""
        ...


class Advanced(NamedTuple):
    """What an integrator returns.

    Attributes:
        state: The state one step later.
        multiplier: What the last projection returned besides the state; None where there is no constraint.
        report: What the method's iterative solvers say of themselves; None for a method that has none.
    """

    state: State
    multiplier: Any
    report: Any = None


@runtime_checkable
class Integrator(Protocol):
    """A method of integration in time."""

    @property
    def order(self) -> int:
        """The order in time of what it integrates."""
        ...

    @property
    def real_axis(self) -> float:
        """How far stability reaches on the negative real axis; infinite where the stiff part is taken implicitly."""
        ...

    def advance(
        self, system: Any, state: State, dt: ArrayLike, time: Time = 0.0, input: Any = None, multiplier: Any = None
    ) -> Advanced:
        """The state after a step of duration `dt` from `time`.

        Args:
            system: What the method asks.
            state: The state.
            dt: The duration.
            time: Of the state.
            input: What acts in this step.
            multiplier: What the step before returned, for methods that begin from it; the others leave it alone.
        """
        ...


@dataclasses.dataclass(frozen=True)
class RungeKutta:
    """An explicit Runge-Kutta method, the constraint satisfied in every stage.

    Args:
        order: 1 (Euler), 2 (Heun), 3 (Shu, Osher 1988) or 4 (Kutta), which is the number of its stages as well.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), stepping=dp.RungeKutta(3))
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    order: int = 3

    def __post_init__(self):
        object.__setattr__(self, "order", _known_order("RungeKutta", self.order, tuple(EXPLICIT)))

    @property
    def real_axis(self) -> float:
        """How far stability reaches on the negative real axis: `dt` times the fastest decay may be so large."""
        return EXPLICIT[self.order].real_axis

    @property
    def imaginary_axis(self) -> float:
        """How far stability reaches on the imaginary axis: `dt` times the fastest angular frequency may be so large."""
        return EXPLICIT[self.order].imaginary_axis

    def advance(
        self, system: Any, state: State, dt: ArrayLike, time: Time = 0.0, input: Any = None, multiplier: Any = None
    ) -> Advanced:
        """The state after a step of duration `dt` from `time`."""
        method, (start, rebuilt), dt = EXPLICIT[self.order], _arrays(state), duration(dt)
        after, rates = clock(time), []
        stage, moment = start, after(0.0)
        for index, row in enumerate(method.a):
            if index:
                moment = after(method.c[index] * dt)
                stage = _constrained(system, moment, rebuilt(_added(start, dt, row, rates)), input).state
                stage = values_of(stage)
            rates.append(_whole_rate(system, moment, rebuilt(stage), input))
        return _constrained(system, after(dt), rebuilt(_added(start, dt, method.b, rates)), input)


@dataclasses.dataclass(frozen=True)
class ImplicitExplicit:
    r"""A pair of Runge-Kutta methods, the stiff part of the right side taken implicitly.

    $$Y_i - \Delta t\, \gamma\, P g(Y_i) = P_{t + c_i \Delta t}\Big(y^n + \Delta t \sum_{j < i} \big(a_{ij} f(Y_j)
    + \tilde a_{ij}\, P g(Y_j)\big)\Big)$$

    What the stiff part does in a stage is kept as the change that solved it, over $\gamma \Delta t$: evaluated anew
    from the stage it would bring back the round-off that the implicit solve has smoothed.

    Args:
        order: 2 (Ascher, Ruuth, Spiteri 1997), 3 or 4 (Kennedy, Carpenter 2003); with one stage more than that, for
            order 4 with two.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), stepping=dp.ImplicitExplicit(2))
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    order: int = 3
    real_axis = float("inf")

    def __post_init__(self):
        object.__setattr__(self, "order", _known_order("ImplicitExplicit", self.order, tuple(ADDITIVE)))

    def advance(
        self, system: Any, state: State, dt: ArrayLike, time: Time = 0.0, input: Any = None, multiplier: Any = None
    ) -> Advanced:
        """The state after a step of duration `dt` from `time`."""
        for name in ("stiff_rate", "stiff_change"):
            if not hasattr(system, name):
                raise InputError(
                    f"ImplicitExplicit: {type(system).__name__} has no {name}; a system whose stiff part can be solved "
                    "for is accepted."
                )
        method, (start, rebuilt), dt = ADDITIVE[self.order], _arrays(state), duration(dt)
        length, count, after = method.gamma * dt, len(method.c), clock(time)

        def rates_of(stage: list[Array], moment: Any) -> tuple[list[Array], list[Array]]:
            at = rebuilt(stage)
            rate = _change(system, "rate", moment, at, input) if hasattr(system, "rate") else _zeros(stage)
            return rate, _change(system, "stiff_rate", moment, at, input)

        def advance(carry: Any, coefficients: Any) -> Any:
            _, rates, changes, stiff = carry
            index, row, implicit_row, weight, c = coefficients
            moment = after(c * dt)
            known = _combined(_combined(start, dt, row, rates), dt, implicit_row, changes)
            known = values_of(_constrained(system, moment, rebuilt(known), input).state)
            change = _change(system, "stiff_change", moment, rebuilt(known), length, input)
            stage = [one + more for one, more in zip(known, change, strict=True)]
            rate, more = rates_of(stage, moment)
            return (
                stage,
                [all.at[index].set(one) for all, one in zip(rates, rate, strict=True)],
                [all.at[index].set(one / length.astype(one.dtype)) for all, one in zip(changes, change, strict=True)],
                [sum + weight.astype(one.dtype) * one for sum, one in zip(stiff, more, strict=True)],
            )

        def first_of_all(first: list[Array]) -> list[Array]:
            return [beside(jnp.zeros_like(one, shape=(count, *one.shape)), one).at[0].set(one) for one in first]

        rate, stiff = rates_of(start, after(0.0))
        explicit, implicit = square(method.explicit), square(method.implicit)
        carry = (start, first_of_all(rate), first_of_all(stiff), [float(implicit[-1, 0]) * one for one in stiff])
        coefficients = (explicit, implicit - np.diag(np.diag(implicit)), implicit[-1], np.asarray(method.c))
        after_first = jax.tree.map(lambda line: jnp.asarray(line[1:], dt.dtype), coefficients)
        following = (jnp.arange(1, count), *after_first)
        advance, carry = keeping(advance, carry, jax.tree.map(lambda line: line[0], following))
        # A loop, so that a stage, in which an iterative solver may stand, is compiled once and not for each.
        carry, _ = jax.lax.scan(lambda carry, given: (advance(carry, given), None), carry, following)
        stage, rates, _, stiff = carry

        multiplier = None
        if hasattr(system, "constrain"):
            total = _combined(start, dt, jnp.asarray(method.b, dt.dtype), rates)
            total = [one + dt.astype(one.dtype) * more for one, more in zip(total, stiff, strict=True)]
            multiplier = _constrained(system, after(dt), rebuilt(total), input).multiplier
        # The last implicit stage has the weights of the result; the explicit weights may differ from their last row.
        rest = np.asarray(method.b) - explicit[-1]
        if rest.any():
            stage = _combined(stage, dt, jnp.asarray(rest, dt.dtype), rates)
            stage = values_of(_constrained(system, after(dt), rebuilt(stage), input).state)
        return Advanced(rebuilt(stage), multiplier)


@dataclasses.dataclass(frozen=True)
class ExponentialRungeKutta:
    r"""An exponential Runge-Kutta method: the stiff part, diagonal and linear, exactly, the rest in stages.

    With $y' = f(t, y) + \lambda y$ and $z = \lambda \Delta t$ the method of second order is

    $$Y = e^z y^n + \Delta t\, \varphi_1(z) f(y^n), \qquad
    y^{n+1} = Y + \Delta t\, \varphi_2(z) \big(f(Y) - f(y^n)\big).$$

    Without $f$ a step of any length is exact, and what is steady under $f$ and $\lambda$ together stays steady. The
    functions $\varphi_k$ and the other orders: `stepping.phi` and `stepping.tableaus`.

    Args:
        order: 1 (exponential Euler), 2, 3 or 4 (ETD2RK to ETD4RK of Cox, Matthews 2002), the number of its stages.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), advection=dp.Spectral(), stepping=dp.ExponentialRungeKutta(2)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    order: int = 2
    real_axis = float("inf")

    def __post_init__(self):
        object.__setattr__(self, "order", _known_order("ExponentialRungeKutta", self.order, tuple(EXPONENTIAL)))

    def advance(
        self, system: Any, state: State, dt: ArrayLike, time: Time = 0.0, input: Any = None, multiplier: Any = None
    ) -> Advanced:
        """The state after a step of duration `dt` from `time`."""
        if not hasattr(system, "stiff_diagonal"):
            raise InputError(
                f"ExponentialRungeKutta: {type(system).__name__} has no stiff_diagonal; a system whose stiff part is "
                "diagonal, as that of a flow in Fourier space, is accepted."
            )
        method, (start, rebuilt), dt = EXPONENTIAL[self.order], _arrays(state), duration(dt)
        diagonal = jax.tree.leaves(system.stiff_diagonal(state, input))
        powers = [one * dt.astype(one.dtype) for one in diagonal]  # z
        combinations = [one for row in (*method.a, method.b) for one in row]
        highest = {c: 0 for c in (*method.c, 1.0) if c}
        for k, c in (key for one in combinations for key in one):
            highest[c] = max(highest[c], k)
        functions = {c: [phi(c * z, most) for z in powers] for c, most in highest.items()}

        def weighted(combination: Combination, leaf: int) -> Array:
            terms = [weight * functions[c][leaf][k] for (k, c), weight in combination.items()]
            return dt.astype(diagonal[leaf].dtype) * sum(terms[1:], terms[0])

        def reached(c: float, row: Sequence[Combination]) -> list[Array]:
            """The state after `c * dt` with these weights of the rates."""
            found = [times(functions[c][leaf][0], one) for leaf, one in enumerate(start)]
            for combination, rate in zip(row, rates, strict=False):
                if combination:
                    found = [one + times(weighted(combination, leaf), rate[leaf]) for leaf, one in enumerate(found)]
            return [one.astype(given.dtype) for one, given in zip(found, start, strict=True)]

        after, rates = clock(time), []
        stage, moment = start, after(0.0)
        for index, row in enumerate(method.a):
            if index:
                moment = after(method.c[index] * dt)
                stage = values_of(_constrained(system, moment, rebuilt(reached(method.c[index], row)), input).state)
            rates.append(_change(system, "rate", moment, rebuilt(stage), input))
        return _constrained(system, after(dt), rebuilt(reached(1.0, method.b)), input)


@dataclasses.dataclass(frozen=True)
class Splitting:
    """Each part of the system by itself, one after the other, and the constraint at the end: of first order in time
    (Godunov 1959; for flows Chorin 1968 and Stam 1999), and of second where a system makes half of each part in one
    order and the other half in reverse (Strang 1968). A system names its parts, which may be of any kind: exact,
    implicit, or not the step of a rate at all.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(grid, 1e-3, 0.01, dp.Periodic(), stepping=dp.Splitting())
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    order = 1
    real_axis = 2.0

    def advance(
        self, system: Any, state: State, dt: ArrayLike, time: Time = 0.0, input: Any = None, multiplier: Any = None
    ) -> Advanced:
        """The state after a step of duration `dt` from `time`."""
        if not hasattr(system, "parts"):
            raise InputError(
                f"Splitting: {type(system).__name__} has no parts; a system that can be split is accepted."
            )
        dt = duration(dt)
        end = clock(time)(dt)
        for part in system.parts:
            state = part(end, state, dt, input)
        return _constrained(system, end, state, input)


def clock(time: Time) -> Callable[[Any], Any]:
    """From a duration to the moment so long after the time of a state."""
    return time if callable(time) else lambda duration: time + duration


def duration(dt: ArrayLike) -> Array:
    """A number of another kind becomes one of the default type; an array keeps its own."""
    return dt if isinstance(dt, Array) else as_number(dt, "dt")


def _known_order(owner: str, order: Any, known: Sequence[int]) -> int:
    whole = as_whole(order)
    if whole is None or whole not in known:
        raise InputError(f"{owner}: order is {shown(order)}; one of {', '.join(map(str, known))} is accepted.")
    return whole


def _arrays(state: State) -> tuple[list[Array], Callable[[list[Array]], State]]:
    """The arrays that change, and the way back to a state."""
    values = values_of(state)
    for one in values:
        if not jnp.issubdtype(one.dtype, jnp.inexact):
            raise InputError(
                f"advance: the state holds values of type {one.dtype}, which have no rate; real or complex numbers are "
                "accepted."
            )

    return values, lambda values: with_values_of(state, values)


def _zeros(values: list[Array]) -> list[Array]:
    return [jnp.zeros_like(one) for one in values]


def _whole_rate(system: Any, time: Any, state: State, input: Any) -> list[Array]:
    """`rate` and `stiff_rate` together; a system may have only one of the two."""
    names = [name for name in ("rate", "stiff_rate") if hasattr(system, name)]
    if not names:
        raise InputError(
            f"RungeKutta: {type(system).__name__} has no rate; a system that can say how fast its state changes is "
            "accepted."
        )
    parts = [_change(system, name, time, state, input) for name in names]
    return parts[0] if len(parts) == 1 else [one + other for one, other in zip(*parts, strict=True)]


def _change(system: Any, name: str, time: Any, state: State, *more: Any) -> list[Array]:
    """What a method of the system returns: an array for each of the state's, at its place and of its type."""
    given = getattr(system, name)(time, state, *more)
    found, expected = (jax.tree.leaves(one, is_leaf=is_field) for one in (given, state))
    if len(found) != len(expected) or not all(map(_fits, found, expected)):
        raise InputError(
            f"{type(system).__name__}: {name} returns {_words(found)}; the state's own, {_words(expected)}, are "
            "accepted."
        )
    return [one.astype(other.dtype) for one, other in zip(values_of(given), values_of(state), strict=True)]


def _fits(rate: Any, leaf: Any) -> bool:
    """Whether the one may be a rate of the other: of its shape, and at its place where both know theirs."""
    if is_field(rate) and is_field(leaf) and rate.offset != leaf.offset:
        return False
    return _shape(rate) == _shape(leaf)


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(leaf.shape) if is_field(leaf) else np.shape(leaf)


def _words(leaves: Sequence[Any]) -> str:
    """Shapes, and of fields the offsets, in words."""
    parts = [f"{_shape(one)} at offset {one.offset}" if is_field(one) else f"{_shape(one)}" for one in leaves]
    return f"values of shape {' and '.join(parts)}" if parts else "nothing"


def _constrained(system: Any, time: Any, state: State, input: Any) -> Advanced:
    if not hasattr(system, "constrain"):
        return Advanced(state, None)
    return Advanced(*system.constrain(time, state, input))


def _added(start: list[Array], dt: Array, weights: Sequence[float], rates: Sequence[list[Array]]) -> list[Array]:
    """`start + dt * sum_j weights[j] * rates[j]`, weights of zero left out."""
    used = [(weight, rate) for weight, rate in zip(weights, rates, strict=False) if weight]
    total = [
        sum(weight * part for (weight, _), part in zip(used, parts, strict=True))
        for parts in zip(*(r for _, r in used), strict=True)
    ]
    return [values + dt.astype(values.dtype) * rate for values, rate in zip(start, total, strict=True)]


def _combined(start: list[Array], dt: Array, weights: Array, rates: list[Array]) -> list[Array]:
    """`start + dt * sum_j weights[j] * rates[j]`, the rates of all stages along a leading axis."""
    return [
        values + _weighted_sum((dt * weights).astype(values.dtype), all)
        for values, all in zip(start, rates, strict=True)
    ]


def _weighted_sum(weights: Array, all: Array) -> Array:
    if are_several(all):  # JAX (0.10.2) cannot transpose a product whose batch is explicitly spread over devices
        return jnp.sum(weights.reshape(-1, *[1] * (all.ndim - 1)) * all, 0)
    return jnp.tensordot(weights, all, 1)
