"""Incompressible flows of every kind, with respect to every number and to their state."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffphys import operators, physics
from diffphys.grids import Box, Grid, Inflow, Open, Outflow, Periodic, Side, Sphere, Wall, parse_sides
from diffphys.operators import SkewSymmetric
from diffphys.stepping import PISO, ExponentialRungeKutta, ImplicitExplicit, RungeKutta, SubSteps
from diffphys.verification.proven.example import PERIODIC, Example


def combinations(count: int) -> list[tuple[tuple[Side, Side], tuple[Side, Side]]]:
    """Pairs of sides along x and along y. The first 26 have each of the 26 pairs once along each axis."""
    ends = [Wall(velocity=jnp.asarray([0.2])), Wall(slip=True), Inflow(0.3), Outflow(), Open()]
    pairs = [(Periodic(), Periodic()), *itertools.product(ends, ends)]
    order = [(index, (7 * index + shift) % 26) for shift in range(26) for index in range(26)]
    return [(pairs[x], pairs[y]) for x, y in order[:count]]


def words_of(pair: tuple[Side, Side]) -> str:
    """The names of the sides at both ends of an axis."""
    names = ["slip" if isinstance(side, Wall) and side.slip else type(side).__name__.lower() for side in pair]
    return "-".join(names)


def _balanced(pairs: tuple) -> tuple:
    """Inflows that nothing drains would be refused: opposite sides then take the same amount out, or nothing enters."""
    drained = any(isinstance(side, (Outflow, Open)) for pair in pairs for side in pair)
    if drained:
        return pairs
    balanced = []
    for lower, upper in pairs:
        both = isinstance(lower, Inflow) and isinstance(upper, Inflow)
        sides = [
            Inflow((0.3 if end == 0 else -0.3) if both else 0.0) if isinstance(side, Inflow) else side
            for end, side in enumerate((lower, upper))
        ]
        balanced.append(tuple(sides))
    return tuple(balanced)


def _random_start(flow: Any, seed: int) -> Any:
    generator = np.random.default_rng(seed)
    like = flow.initial_state()
    velocity = [0.4 * generator.standard_normal(part.shape) for part in like.velocity]
    return flow.initial_state(velocity, {name: generator.random(flow.grid.cells) for name in flow.scalars})


def _forced(flow: Any, state: Any, seed: int) -> Example:
    generator = np.random.default_rng(seed + 1)
    force = tuple(jnp.asarray(0.1 * generator.standard_normal(part.shape)) for part in state.velocity)
    return lambda flow, state, force: flow(state, force), (flow, state, force)


def _incompressible(seed: int, pairs: tuple, solid: bool = True) -> Example:
    grid = Grid((6, 5), (1.8, 2.0))
    flow = physics.IncompressibleFlow(
        grid,
        viscosity=0.05,
        dt=0.11,
        sides=parse_sides(grid, _balanced(pairs)),
        solid=Box((0.7, 0.7), (1.1, 1.1)) if solid else None,
        forces=(physics.Held(Box((1.3, -0.1), (1.7, 0.9)), (None, 0.2)),),  # no edge on a face: its place would jump
        scalars={"dye": physics.PassiveScalar(0.02, Sphere((0.4, 1.2), 0.35), 0.7)},
    )
    return _forced(flow, _random_start(flow, seed), seed)


def _in_stages(seed: int, pairs: tuple, solid: bool = True, **settings: Any) -> Example:
    grid = Grid((6, 5), (1.8, 2.0))
    flow = physics.IncompressibleFlow(
        grid,
        viscosity=0.05,
        dt=0.11,
        sides=parse_sides(grid, _balanced(pairs)),
        solid=Box((0.7, 0.7), (1.1, 1.1)) if solid else None,
        scalars={"dye": physics.PassiveScalar(0.02, Sphere((0.4, 1.2), 0.35), 0.7)},
        **{"stepping": RungeKutta(2), **settings},
    )
    return _forced(flow, _random_start(flow, seed), seed)


def _in_modes(seed: int, stepping: Any) -> Example:
    """Fourier modes, with every kind of force."""
    forces = (physics.LinearDrag(0.3), physics.Buoyancy("dye", (0.3, 1.1)), physics.SinusoidalForce(0.4, 1))
    return _in_stages(seed, PERIODIC, solid=False, advection=operators.Spectral(), stepping=stepping, forces=forces)


class _Swelling(eqx.Module):
    """An inflow that changes in time, whose numbers are leaves."""

    mean: jax.Array = eqx.field(converter=jnp.asarray)
    frequency: jax.Array = eqx.field(converter=jnp.asarray)

    def __call__(self, time: jax.Array) -> jax.Array:
        return self.mean * (1 + 0.5 * jnp.sin(self.frequency * time + 0.3))


def _around_body(seed: int, function: Callable, sides: Any = None, **settings: Any) -> Example:
    """A body that turns and moves, with respect to its center, radius, motion and pivot besides flow and state."""
    body = physics.Immersed(Sphere((0.83, 0.91), 0.42), velocity=(0.3, -0.2), rotation_rate=0.7, pivot=(0.8, 0.9))
    flow = physics.IncompressibleFlow(
        Grid((6, 6), (1.8, 1.8)),
        viscosity=0.05,
        dt=0.02,
        sides=dict(x=(Inflow(1.0), Outflow()), y=Wall()) if sides is None else sides,
        solid=body,
        **{"stepping": RungeKutta(2), **settings},
    )
    return function, (flow, _random_start(flow, seed))


def _around_flow(wrap: Callable[[Any], Any]) -> Callable[[int], Example]:
    """The example of a step that is made of a flow."""

    def make(seed: int) -> Example:
        _, (flow, state, force) = _in_stages(seed, ((Periodic(), Periodic()), (Wall(), Wall())), solid=False)
        return lambda step, state, force: step(state, force), (wrap(flow), state, force)

    return make


EXAMPLES: dict[str, Callable[[int], Example]] = {
    "Buoyancy": _around_flow(
        lambda flow: dataclasses.replace(flow, forces=(*flow.forces, physics.Buoyancy("dye", (0.3, 1.1))))
    ),
    "LinearDrag": _around_flow(lambda flow: dataclasses.replace(flow, forces=(physics.LinearDrag(0.4),))),
    "SinusoidalForce": _around_flow(lambda flow: dataclasses.replace(flow, forces=(physics.SinusoidalForce(0.4, 1),))),
    "Spectral": lambda seed: _in_modes(seed, ExponentialRungeKutta(2)),
    "Spectral order 4": lambda seed: _in_modes(seed, ExponentialRungeKutta(4)),
    "Spectral explicit": lambda seed: _in_modes(seed, RungeKutta(3)),
    "Spectral implicit diffusion": lambda seed: _in_modes(seed, ImplicitExplicit(2)),
    "IncompressibleFlow implicit diffusion": lambda seed: _in_stages(
        seed, ((Inflow(0.3), Outflow()), (Wall(), Wall(velocity=jnp.asarray([0.2])))), stepping=ImplicitExplicit(2)
    ),
    "IncompressibleFlow implicit diffusion order 3": lambda seed: _in_stages(
        seed, ((Periodic(), Periodic()), (Wall(), Wall(slip=True))), solid=False, stepping=ImplicitExplicit(3)
    ),
    # Where nothing is at rest: there a look upstream has a kink.
    "Upwind": lambda seed: _in_stages(seed, PERIODIC, solid=False, advection=operators.Upwind()),
    "VanLeer": lambda seed: _in_stages(seed, PERIODIC, solid=False, advection=operators.VanLeer()),
    "IncompressibleFlow three stages": lambda seed: _in_stages(
        seed, ((Inflow(0.3), Outflow()), (Wall(), Wall(velocity=jnp.asarray([0.2])))), stepping=RungeKutta(3)
    ),
    "IncompressibleFlow four stages fourth order": lambda seed: _in_stages(
        seed,
        ((Periodic(), Periodic()), (Wall(), Wall(velocity=jnp.asarray([0.2])))),
        solid=False,
        advection=SkewSymmetric(4),
        stepping=RungeKutta(4),
    ),
    "IncompressibleFlow PISO": lambda seed: _in_stages(
        seed,
        ((Inflow(_Swelling(0.3, 1.7)), Outflow()), (Wall(), Wall(velocity=jnp.asarray([0.2])))),
        solid=False,
        stepping=PISO(tolerance=1e-14),
    ),
    "IncompressibleFlow PISO order 2": lambda seed: _in_stages(
        seed,
        ((Periodic(), Periodic()), (Wall(), Open())),
        solid=False,
        stepping=PISO(order=2, tolerance=1e-14),
    ),
    **{
        # Made when it is asked for, so that its numbers are those of double precision.
        name: lambda seed, make=make: _in_stages(
            seed, ((Inflow(0.3), Outflow()), (Wall(), Wall(slip=True))), solid=False, added_viscosity=(make(),)
        )
        for name, make in (
            ("Smagorinsky", lambda: physics.Smagorinsky(0.3)),
            ("DynamicSmagorinsky", physics.DynamicSmagorinsky),
            ("Sponge", lambda: physics.Sponge("x", 1.1, 0.2)),
        )
    },
    "IncompressibleFlow inflow in time": lambda seed: _in_stages(
        seed, ((Inflow(_Swelling(0.3, 1.7)), Outflow()), (Wall(), Wall(slip=True)))
    ),
    "Immersed": lambda seed: _around_body(seed, lambda flow, state: flow(state)),
    "Immersed between walls that slide": lambda seed: _around_body(
        seed, lambda flow, state: flow(state), dict(x=Periodic(), y=(Wall(), Wall(velocity=jnp.asarray([0.4]))))
    ),
    "Immersed in a closed box": lambda seed: _around_body(seed, lambda flow, state: flow(state), Wall(slip=True)),
    "Immersed implicit diffusion": lambda seed: _around_body(
        seed,
        lambda flow, state: flow(state),
        stepping=ImplicitExplicit(2),
        scalars={"dye": physics.PassiveScalar(0.02)},
    ),
    "Immersed forces": lambda seed: _around_body(seed, lambda flow, state: flow.forces_on_solid(state)),
    "SubSteps": _around_flow(lambda flow: SubSteps(flow, 0.1, 4)),
}

# Of a seed and the sides along x and y.
STEPS: dict[str, Callable[..., Example]] = {
    "IncompressibleFlow": _incompressible,
    "IncompressibleFlow in stages": _in_stages,
}
