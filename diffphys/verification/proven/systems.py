"""Systems that are no incompressible flows, with respect to every number and to their state."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from diffphys import operators, physics
from diffphys.grids import Dirichlet, Grid, Inflow, Neumann, Open, Outflow, Periodic, Wall
from diffphys.stepping import ImplicitExplicit, RungeKutta, Splitting
from diffphys.verification.proven.example import TIGHT, Example


def _heat(seed: int, **settings: Any) -> Example:
    conditions = ((Dirichlet(0.5), Neumann(0.1)), (Periodic(), Periodic()))
    heat = physics.Heat(Grid((5, 4), (1.5, 2.0)), 0.3, 0.05, conditions, **settings)
    state = heat.initial_state(np.random.default_rng(seed).standard_normal((5, 4)))
    return lambda heat, state: heat(state), (heat, state)


def _burgers(seed: int, **settings: Any) -> Example:
    conditions = ((Dirichlet(0.5), Neumann(0.1)), (Periodic(), Periodic()))
    step = physics.Burgers(Grid((5, 4)), 0.1, 0.3, conditions, **settings)
    generator = np.random.default_rng(seed)
    shapes = [part.shape for part in step.initial_state([0.0, 0.0])]
    state = step.initial_state([0.5 * generator.standard_normal(shape) for shape in shapes])
    return lambda step, state: step(state), (step, state)


def _gray_scott(seed: int, stepping: Any) -> Example:
    generator = np.random.default_rng(seed)
    conditions = ((Dirichlet(0.5), Neumann(0.1)), (Periodic(), Periodic()))
    feed, kill, u, v = generator.random((4, 5, 4))
    step = physics.GrayScott(Grid((5, 4), (1.5, 2.0)), 0.3, 0.1, feed, kill, 0.04, conditions, stepping)
    return lambda step, state: step(state), (step, step.initial_state(u, v))


def _hasegawa_wakatani(seed: int, **settings: Any) -> Example:
    generator = np.random.default_rng(seed)
    step = physics.HasegawaWakatani(Grid((5, 4), (8.0, 6.0)), 0.05, 0.8, 1.1, 2e-3, 2.5, **settings)
    state = step.initial_state(*generator.standard_normal((2, 5, 4)))
    return lambda step, state: (step(state), step.budget(state), step.potential(state)), (step, state)


def _reaction(seed: int) -> Example:
    """Fractions of a lean and a rich gas and their rate, with respect to every number."""
    reaction, gas = physics.OneStepReaction(), physics.Gas()
    arguments = (jnp.array([1100.0, 1600.0]), jnp.array([0.04, 0.08]), jnp.array([0.22, 0.2]))

    def burn(reaction: Any, gas: Any, duration: Any, *mixture: Any) -> Any:
        return reaction.after(duration, gas, *mixture, steps=3), reaction.rate(gas, *mixture)

    return burn, (reaction, gas, jnp.asarray(1e-3), *arguments)


def _reacting_flow(seed: int, **settings: Any) -> Example:
    """A step and the heat that is released, with respect to every number, to what enters, and to the state."""
    generator = np.random.default_rng(seed)
    sides = {"x": Periodic(), "y": (Inflow(3.0, tangential=1.0), Outflow())}
    step = physics.ReactingFlow(
        Grid((3, 3), (0.3, 0.3)),
        0.1,
        0.11,
        0.12,
        1e-3,
        sides,
        physics.Mixture(900.0, 0.05, 0.2),
        reaction=physics.OneStepReaction(),
        pressure_solver=TIGHT,
        reaction_steps=1,
        **settings,
    )
    scale = np.array([1500.0, 0.04, 0.15])[:, None, None]
    # Where a velocity is zero a look-up has a kink.
    velocity = [speed + 0.1 * generator.standard_normal(shape) for speed, shape in ((1.0, (3, 3)), (3.0, (3, 4)))]
    state = step.initial_state(*(scale * generator.uniform(0.8, 1.2, (3, 3, 3))), velocity=velocity)
    return lambda step, state: (step(state), step.heat_release(state)), (step, state)


def _rigid_body(seed: int, body: physics.RigidBody, **sides: Any) -> Example:
    """A step with respect to every number of flow and body, the control and the state."""
    generator = np.random.default_rng(seed)
    dye = {"dye": physics.PassiveScalar(0.02)}
    flow = physics.IncompressibleFlow(Grid((6, 6), (1.8, 1.8)), 0.05, 0.05, sides, scalars=dye, stepping=RungeKutta(2))
    step = physics.RigidBodyFlow(flow, body, (0.3, -0.7), tolerance=1e-14)
    velocity = [0.4 * generator.standard_normal(part.shape) for part in flow.initial_state().velocity]
    fluid = flow.initial_state(velocity, {"dye": generator.random((6, 6))})
    state = step.initial_state((0.93, 0.87), 0.2, (0.3, -0.2), 0.7, fluid)
    given = physics.RigidBodyInput(jnp.array([0.2, 0.1]), jnp.asarray(0.05))
    return lambda step, state, given: (step(state, given), step.momentum(state)), (step, state, given)


def _wave(seed: int, stepping: Any) -> Example:
    generator = np.random.default_rng(seed)
    conditions = ((Dirichlet(0.5), Neumann(0.1)), (Periodic(), Periodic()))
    speed, damping = 0.5 + generator.random((2, 5, 4))
    step = physics.Wave(Grid((5, 4), (1.5, 2.0)), speed, 0.1, conditions, damping, stepping)
    state = step.initial_state(*generator.standard_normal((2, 5, 4)))
    return lambda step, state: (step(state), step.energy(state)), (step, state)


def _shallow_water(seed: int) -> Example:
    generator = np.random.default_rng(seed)
    bottom, coriolis = 0.3 * generator.random((5, 4)), generator.random((5, 4))
    sides = dict(x=(Wall(), Open()), y=Periodic())
    step = physics.ShallowWater(Grid((5, 4), (1.5, 2.0)), 0.02, sides, bottom, 9.0, coriolis)
    velocity = 0.3 * generator.standard_normal((2, 5, 4))
    state = step.initial_state(1 + 0.2 * generator.random((5, 4)), tuple(velocity))
    return lambda step, state: (step(state), step.courant_number(state)), (step, state)


EXAMPLES: dict[str, Callable[[int], Example]] = {
    "Heat": _heat,
    "Heat Runge-Kutta": lambda seed: _heat(seed, stepping=RungeKutta(4)),
    "Heat implicit": lambda seed: _heat(seed, stepping=ImplicitExplicit(2)),
    "Burgers": _burgers,
    "Burgers Runge-Kutta": lambda seed: _burgers(seed, stepping=RungeKutta(3)),
    "Burgers implicit diffusion": lambda seed: _burgers(seed, stepping=ImplicitExplicit(3)),
    "GrayScott": lambda seed: _gray_scott(seed, RungeKutta(2)),
    "GrayScott implicit diffusion": lambda seed: _gray_scott(seed, ImplicitExplicit(2)),
    "HasegawaWakatani": lambda seed: _hasegawa_wakatani(seed),
    "HasegawaWakatani dealiased": lambda seed: _hasegawa_wakatani(seed, bracket=operators.Dealiased()),
    "HasegawaWakatani modified implicit exchange": lambda seed: _hasegawa_wakatani(
        seed, modified=True, stepping=ImplicitExplicit(3)
    ),
    "OneStepReaction": _reaction,
    "ReactingFlow": _reacting_flow,
    "ReactingFlow in fluxes": lambda seed: _reacting_flow(seed, advection=operators.Upwind()),
    "ReactingFlow momentum": lambda seed: _reacting_flow(seed, constraint="momentum"),
    "RigidBodyFlow": lambda seed: _rigid_body(
        seed, physics.RigidBody.disk(0.41, 0.3), x=(Inflow(0.5), Outflow()), y=Wall()
    ),
    "RigidBodyFlow periodic": lambda seed: _rigid_body(
        seed, physics.RigidBody.box((0.9, 0.5), 3.0), x=Periodic(), y=Periodic()
    ),
    "Wave": lambda seed: _wave(seed, Splitting()),
    "Wave Runge-Kutta": lambda seed: _wave(seed, RungeKutta(4)),
    "ShallowWater": _shallow_water,
}
