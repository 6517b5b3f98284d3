r"""Every operator, solver and step: its derivatives with respect to every leaf, proven by `dp.check_gradient`.

`EXAMPLES` has an entry for every public name of `operators`, `poisson` and `physics` that computes, and `NOT_COMPUTING`
says why the others have none; a test fails where a name is in neither. Besides the four facts of `check_gradient`:
cotangents scaled by 1e30 and 1e-30 keep their direction, and in float32 the gradient of a rollout agrees with
differences.
"""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffphys import operators, physics, poisson
from diffphys.errors import InputError
from diffphys.gradients import check_gradient
from diffphys.grids import (
    Box,
    Dirichlet,
    Field,
    Grid,
    Inflow,
    Neumann,
    Open,
    Outflow,
    Periodic,
    Side,
    Sphere,
    Wall,
    face_offset,
    parse_sides,
)
from diffphys.operators import SkewSymmetric
from diffphys.plots import Panel, panels_figure
from diffphys.runs import nearest, setting
from diffphys.stepping import PISO, ExponentialRungeKutta, ImplicitExplicit, RungeKutta, Splitting, SubSteps, rollout
from diffphys.verification.case import Check, Parts, verification


SOURCES = ("A. Griewank, A. Walther, Evaluating Derivatives, 2nd edition (2008), chapters 3 and 4",)

NOT_COMPUTING = {
    "FlowState": "a state",
    "Burnt": "a result",
    "Gas": "a part of ReactingFlow, moved with it",
    "Mixture": "a part of ReactingFlow, moved with it",
    "Advection": "a protocol",
    "FluxAdvection": "a protocol",
    "SemiLagrangian": "names semi_lagrangian",
    "CubicSemiLagrangian": "names cubic_semi_lagrangian",
    "MacCormack": "names maccormack",
    "SkewSymmetric": "names convection",
    "FlowInput": "an argument of IncompressibleFlow, moved with it",
    "Concentrations": "a state",
    "Arakawa": "names poisson_bracket",
    "Dealiased": "names poisson_bracket dealiased",
    "PlasmaBudget": "a result",
    "PlasmaState": "a state",
    "WaterState": "a state",
    "WaveState": "a state",
    "Held": "a part of IncompressibleFlow, moved with it",
    "PassiveScalar": "a part of a flow, moved with it",
    "PressureProblem": "known before the program runs",
    "PressureSolver": "a protocol",
    "Solution": "a result",
    "ConjugateGradientSteps": "a result",
    "Forces": "a result",
    "control_volume": "lengths of a grid, which is known before the program runs",
}

Example = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    names: tuple[str, ...] = setting(("all",), help="which examples, by their public names, or all")
    combinations: int = setting(
        26,
        help="combinations of sides of a flow: 26 have every pair on every axis, 676 are all",
        minimum=1,
        maximum=676,
    )
    seed: int = setting(0, help="of the random arguments and directions", minimum=0)

    def __post_init__(self):
        known = ["all", *EXAMPLES, *STEPS]
        for name in self.names:
            if name not in known:
                raise InputError(f'the setting "names" has no example "{name}": {nearest(name, known)}')


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = {}
    for name, make in EXAMPLES.items():
        if "all" in settings.names or name in settings.names:
            found[name] = parts(name.replace(" ", "-"), lambda make=make: _proof(*make(settings.seed), settings.seed))
    for name, make in STEPS.items():
        if "all" in settings.names or name in settings.names:
            for index, (x, y) in enumerate(combinations(settings.combinations)):
                title = f"{name} {index:03d} {_words(x)} by {_words(y)}"
                found[title] = parts(
                    f"{name}-{index:03d}",
                    lambda make=make, x=x, y=y: _proof(*make(settings.seed, (x, y)), settings.seed),
                )
    if "all" in settings.names:
        found["float32"] = parts(
            "float32", lambda: {"errors": {"in stages": float32_error("IncompressibleFlow in stages")}}
        )
    return found


def _proof(function: Callable, arguments: tuple, seed: int) -> dict[str, Any]:
    result = check_gradient(function, arguments, seed=seed, optimize=False, show=False)
    orders = [f.value for f in result.findings if f.test == "Taylor remainder" and f.status == "right"]
    return dict(
        passed=result.passed,
        verdict=str(result),
        leaves=len({finding.part for finding in result.findings} - {"all leaves together"}),
        worst_order=min([order for order in orders if order == order], default=np.nan),
        dot=max([f.value for f in result.findings if f.test == "dot product"], default=np.nan),
        scaling=scaling_error(function, arguments, seed),
    )


def scaling_error(function: Callable, arguments: tuple, seed: int) -> float:
    """How far the direction of a cotangent's image turns where the cotangent is scaled by 1e30 and by 1e-30."""
    moved, fixed = eqx.partition(arguments, eqx.is_inexact_array)

    @jax.jit
    def images(moved: Any, key: jax.Array) -> Any:
        def result(moved: Any) -> Any:
            return eqx.filter(function(*eqx.combine(moved, fixed)), eqx.is_inexact_array)

        out, pull = jax.vjp(result, moved)
        leaves, structure = jax.tree.flatten(out)
        keys = jax.random.split(key, len(leaves))
        random = [jax.random.normal(one, leaf.shape, leaf.dtype) for one, leaf in zip(keys, leaves, strict=True)]

        def image(scale: Any) -> Any:
            scaled = [leaf * scale.astype(leaf.dtype) for leaf in random]
            pulled = pull(jax.tree.unflatten(structure, scaled))[0]
            return jax.tree.map(lambda leaf: leaf / scale.astype(leaf.dtype), pulled)

        return jax.lax.map(image, jnp.asarray([1.0, 1e30, 1e-30]))

    worst = 0.0
    for leaf in jax.tree.leaves(images(moved, jax.random.key(seed))):
        size = float(jnp.max(jnp.abs(leaf[0]))) if leaf.size else 0.0
        if size > 0:
            worst = max(worst, float(jnp.max(jnp.abs(leaf - leaf[0]))) / size)
    return worst


# Operators and solvers ------------------------------------------------------------------------------------------------


def _domain(seed: int, stretched: bool = False) -> tuple[Field, tuple[Field, ...], Any]:
    """A centered field and a velocity with random values, unequal spacings and every kind of condition."""
    generator = np.random.default_rng(seed)
    grid = Grid((5, 4), (1.5, 2.0))
    if stretched:
        grid = Grid.from_edges([[0.0, 0.2, 0.5, 0.9, 1.2, 1.5], [0.0, 0.4, 1.0, 1.5, 2.0]])
    conditions = ((Dirichlet(0.3), Neumann(0.2)), (Periodic(), Periodic()))
    field = Field(jnp.asarray(generator.standard_normal(grid.cells)), grid, conditions=conditions)
    velocity = []
    for axis in range(2):
        offset = face_offset(grid, axis)
        values = 0.7 * generator.standard_normal(grid.shape(offset, (False, True)))
        sides = ((Dirichlet(0.1), Neumann(0.3)), (Periodic(), Periodic()))
        velocity.append(Field(jnp.asarray(values), grid, offset, sides))
    return field, tuple(velocity), generator


def _on_field(function: Callable[..., Any], *numbers: float, stretched: bool = False) -> Callable[[int], Example]:
    """The example of a function of a field and numbers."""

    def make(seed: int) -> Example:
        field, _, _ = _domain(seed, stretched)
        return lambda field, *numbers: function(field, *numbers), (field, *map(jnp.asarray, numbers))

    return make


def _on_both(function: Callable[..., Any], *numbers: float, stretched: bool = False) -> Callable[[int], Example]:
    """The example of a function of a field, a velocity and numbers."""

    def make(seed: int) -> Example:
        field, velocity, _ = _domain(seed, stretched)
        return lambda field, velocity, *numbers: function(field, velocity, *numbers), (
            field, velocity, *map(jnp.asarray, numbers),
        )  # fmt: skip

    return make


def _on_velocity(function: Callable[..., Any], stretched: bool = False) -> Callable[[int], Example]:
    def make(seed: int) -> Example:
        _, velocity, _ = _domain(seed, stretched)
        return lambda velocity: function(velocity), (velocity,)

    return make


def _sampled(seed: int) -> Example:
    field, _, _ = _domain(seed)
    points = (jnp.asarray([0.41, 0.77, 1.13]), jnp.asarray([0.33, 1.21, 1.77]))
    return lambda field, points: operators.sample(field, points), (field, points)


def _coarsened(seed: int) -> Example:
    values = jnp.asarray(np.random.default_rng(seed).standard_normal((4, 6)))
    return lambda values: operators.coarsen(Field(values, Grid((4, 6))), 2), (values,)


def _refined(seed: int) -> Example:
    values = jnp.asarray(np.random.default_rng(seed).standard_normal((3, 4)))
    return lambda values: operators.refine(Field(values, Grid((2, 4)), (0.0, 0.5)), 3), (values,)


def _problem(solid: bool, stretched: bool = False) -> Any:
    grid = Grid((6, 5), (1.5, 2.0))
    if stretched:
        grid = Grid.from_edges([[0.0, 0.2, 0.5, 0.9, 1.2, 1.4, 1.5], [0.0, 0.4, 1.0, 1.5, 1.8, 2.0]])
    conditions = ((Neumann(), Neumann()), (Periodic(), Periodic()))
    cells = np.zeros(grid.cells, bool)
    cells[2:4, 1:3] = True
    return poisson.PressureProblem.from_conditions(grid, conditions, cells if solid else None)


def _convected(order: int, stretched: bool = False) -> Callable[[int], Example]:
    def make(seed: int) -> Example:
        _, velocity, _ = _domain(seed, stretched)
        return lambda velocity, carrier: operators.convection(velocity, carrier, order=order), (velocity, velocity)

    return make


def _convected_without_sides(seed: int) -> Example:
    """The scheme that a domain without sides has for itself, in 3D."""
    grid, generator = Grid((4, 3, 5), (1.5, 1.0, 2.0)), np.random.default_rng(seed)
    pairs = ((Periodic(), Periodic()),) * 3
    velocity, carrier = (
        tuple(
            Field(jnp.asarray(generator.standard_normal(grid.cells)), grid, face_offset(grid, axis), pairs)
            for axis in range(3)
        )
        for _ in range(2)
    )
    return lambda velocity, carrier: operators.convection(velocity, carrier), (velocity, carrier)


def _transformed(seed: int) -> Example:
    """There and back with another place, so that a real number depends on real numbers; and convection."""
    waves = operators.Waves(Grid((6, 5), (1.5, 2.0)))
    values = jnp.asarray(np.random.default_rng(seed).standard_normal((6, 5)))
    kept, centers = jnp.asarray(waves.kept()), (0.5, 0.5)

    def image(values):
        coefficients = kept * waves.coefficients(values, (0.0, 0.5))
        x, y = (waves.values(part, centers) for part in waves.velocity([coefficients], values[0, :2]))
        products = [waves.coefficients(one, centers) for one in (x**2 - y**2, x * y)]
        (convected,) = waves.convected(products)
        (nearest,) = waves.amplitudes([coefficients, convected])
        slope = waves.slope_along([convected, coefficients])
        return [waves.values(one, centers) for one in (coefficients, convected, nearest, slope)]

    return image, (values,)


def _solver(
    make_solver: Callable[..., Any], solid: bool, stretched: bool = False, **settings: Any
) -> Callable[[int], Example]:
    def make(seed: int) -> Example:
        solver = make_solver(_problem(solid, stretched), **settings)
        rhs = jnp.asarray(np.random.default_rng(seed).standard_normal((6, 5)))
        return lambda rhs: solver.solve(rhs).pressure, (rhs,)

    return make


def _steps_from_a_guess(seed: int) -> Example:
    rhs, guess = jnp.asarray(np.random.default_rng(seed).standard_normal((2, 6, 5)))
    return lambda rhs, guess: poisson.conjugate_gradient_steps(_problem(True), rhs, guess, 4).pressure, (rhs, guess)


def _applied(seed: int) -> Example:
    pressure = jnp.asarray(np.random.default_rng(seed).standard_normal((6, 5)))
    return lambda pressure: poisson.apply(_problem(True), pressure), (pressure,)


def _variable(make_solver: Callable) -> Callable[[int], Example]:
    """The solution for coefficients on the faces, with respect to them and the right side."""

    def make(seed: int) -> Example:
        generator = np.random.default_rng(seed)
        grid = Grid((6, 5), (1.5, 2.0))
        conditions = ((Neumann(), Neumann()), (Periodic(), Periodic()))
        shapes = [grid.shape(face_offset(grid, axis), (False, True)) for axis in range(2)]
        coefficients = tuple(jnp.asarray(np.exp(0.5 * generator.standard_normal(shape))) for shape in shapes)
        rhs = jnp.asarray(generator.standard_normal(grid.cells))

        def solve(coefficients: Any, rhs: Any) -> Any:
            problem = poisson.VariableProblem.from_conditions(grid, conditions, coefficients)
            return make_solver(problem, tolerance=1e-14).solve(rhs).pressure

        return solve, (coefficients, rhs)

    return make


def _dealiased(seed: int) -> Example:
    random = np.random.default_rng(seed)
    fields = [Field(jnp.asarray(random.standard_normal((5, 4))), Grid((5, 4)), conditions=PERIODIC) for _ in range(2)]
    return lambda a, b: operators.poisson_bracket(a, b, operators.Dealiased()), tuple(fields)


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


def _projection_of_variable_density(seed: int) -> Example:
    """With respect to velocity, volumes, and the divergence that is asked for."""
    generator = np.random.default_rng(seed)
    flow = physics.IncompressibleFlow(Grid((6, 5), (1.5, 2.0)), 0.1, 0.1, {"x": Wall(), "y": Periodic()})
    start = flow.initial_state((0.0, 0.0)).velocity
    velocity = tuple(part.with_values(jnp.asarray(generator.standard_normal(part.shape))) for part in start)
    volumes = tuple(jnp.asarray(np.exp(0.5 * generator.standard_normal(part.shape))) for part in start)

    def project(velocity: Any, volumes: Any, target: Any) -> Any:
        solver = lambda problem: poisson.FictitiousDomain(problem, tolerance=1e-14)  # noqa: E731
        found, solution = poisson.variable_density_projection(
            velocity, volumes, ((Neumann(), Neumann()), (Periodic(), Periodic())), target, solver
        )
        return [part.values for part in found], solution.pressure

    return project, (velocity, volumes, jnp.asarray(generator.standard_normal((6, 5))))


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
    tight = lambda problem: poisson.FictitiousDomain(problem, tolerance=1e-14)  # noqa: E731
    step = physics.ReactingFlow(
        Grid((3, 3), (0.3, 0.3)),
        0.1,
        0.11,
        0.12,
        1e-3,
        sides,
        physics.Mixture(900.0, 0.05, 0.2),
        reaction=physics.OneStepReaction(),
        pressure_solver=tight,
        reaction_steps=1,
        **settings,
    )
    scale = np.array([1500.0, 0.04, 0.15])[:, None, None]
    # Where a velocity is zero a look-up has a kink.
    velocity = [speed + 0.1 * generator.standard_normal(shape) for speed, shape in ((1.0, (3, 3)), (3.0, (3, 4)))]
    state = step.initial_state(*(scale * generator.uniform(0.8, 1.2, (3, 3, 3))), velocity=velocity)
    return lambda step, state: (step(state), step.heat_release(state)), (step, state)


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


def _around_flow(wrap: Callable[[Any], Any]) -> Callable[[int], Example]:
    """The example of a step that is made of a flow."""

    def make(seed: int) -> Example:
        _, (flow, state, force) = _in_stages(seed, ((Periodic(), Periodic()), (Wall(), Wall())), solid=False)
        return lambda step, state, force: step(state, force), (wrap(flow), state, force)

    return make


PERIODIC = ((Periodic(), Periodic()),) * 2

EXAMPLES: dict[str, Callable[[int], Example]] = {
    "difference": _on_field(lambda field: operators.difference(field, 0)),
    "divergence": _on_velocity(operators.divergence),
    "divergence stretched": _on_velocity(operators.divergence, stretched=True),
    "gradient": _on_field(operators.gradient),
    "gradient stretched": _on_field(operators.gradient, stretched=True),
    "laplacian": _on_field(operators.laplacian),
    "laplacian stretched": _on_field(operators.laplacian, stretched=True),
    "interpolate": _on_field(lambda field: operators.interpolate(field, (0.0, 0.0))),
    "sample": _sampled,
    "coarsen": _coarsened,
    "refine": _refined,
    "explicit_diffusion": _on_field(operators.explicit_diffusion, 0.3, 0.07),
    "implicit_diffusion": _on_field(operators.implicit_diffusion, 0.3, 0.07),
    "crank_nicolson_diffusion": _on_field(operators.crank_nicolson_diffusion, 0.3, 0.07),
    "exact_diffusion": _on_field(operators.exact_diffusion, 0.3, 0.07),
    "stable_diffusion_step": _on_field(lambda field, number: operators.stable_diffusion_step(field.grid, number), 0.3),
    "semi_lagrangian": _on_both(operators.semi_lagrangian, 0.31),
    "semi_lagrangian stretched": _on_both(operators.semi_lagrangian, 0.31, stretched=True),
    "semi_lagrangian shifts": _on_both(
        lambda field, velocity, dt: operators.semi_lagrangian(field, velocity, dt, 3), 0.31
    ),
    "cubic_semi_lagrangian": _on_both(operators.cubic_semi_lagrangian, 0.31),
    "maccormack": _on_both(operators.maccormack, 0.31),
    "advection_rate": _on_both(lambda field, velocity: operators.advection_rate(field, velocity, "van_leer")),
    **{
        f"advect {scheme}": _on_both(
            lambda field, wind, dt, scheme=scheme: operators.advect(field, wind, dt, scheme), 0.11
        )
        for scheme in ("upwind", "van_leer", "central", "fourth_order")
    },
    "poisson_bracket": _on_field(
        lambda field: operators.poisson_bracket(field, field.with_values(jnp.sin(2 * field.values)))
    ),
    "poisson_bracket dealiased": _dealiased,
    "Waves": _transformed,
    "curl": _on_velocity(operators.curl),
    "curl stretched": _on_velocity(operators.curl, stretched=True),
    "convert": _on_field(lambda field: operators.convert(field, (0.0, 0.0))),
    "centers_to_faces": _on_field(lambda field: operators.centers_to_faces((field, field * 0.5))),
    "faces_to_centers": _on_velocity(operators.faces_to_centers),
    "convection": _convected(2),
    "convection stretched": _convected(2, stretched=True),
    "convection without sides": _convected_without_sides,
    "convection fourth order": _convected(4),
    "apply": _applied,
    "direct": _solver(poisson.direct, False),
    "direct stretched": _solver(poisson.direct, False, stretched=True),
    "FastDiagonalization": _solver(poisson.FastDiagonalization, False),
    "ObstacleCorrected": _solver(poisson.ObstacleCorrected, True),
    "ConjugateGradients": _solver(poisson.ConjugateGradients, True, tolerance=1e-14),
    "conjugate_gradient_steps": _steps_from_a_guess,
    "MultigridConjugateGradients": _solver(poisson.MultigridConjugateGradients, True, tolerance=1e-14),
    "VariableProblem": _variable(poisson.MultigridConjugateGradients),
    "FictitiousDomain": _variable(poisson.FictitiousDomain),
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
    "variable_density_projection": _projection_of_variable_density,
    "OneStepReaction": _reaction,
    "ReactingFlow": _reacting_flow,
    "ReactingFlow in fluxes": lambda seed: _reacting_flow(seed, advection=operators.Upwind()),
    "ReactingFlow momentum": lambda seed: _reacting_flow(seed, constraint="momentum"),
    "Wave": lambda seed: _wave(seed, Splitting()),
    "Wave Runge-Kutta": lambda seed: _wave(seed, RungeKutta(4)),
    "ShallowWater": _shallow_water,
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


# Flows with every kind of side ----------------------------------------------------------------------------------------


def combinations(count: int) -> list[tuple[tuple[Side, Side], tuple[Side, Side]]]:
    """Pairs of sides along x and along y. The first 26 have each of the 26 pairs once along each axis."""
    ends = [Wall(velocity=jnp.asarray([0.2])), Wall(slip=True), Inflow(0.3), Outflow(), Open()]
    pairs = [(Periodic(), Periodic()), *itertools.product(ends, ends)]
    order = [(index, (7 * index + shift) % 26) for shift in range(26) for index in range(26)]
    return [(pairs[x], pairs[y]) for x, y in order[:count]]


def _words(pair: tuple[Side, Side]) -> str:
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


STEPS: dict[str, Callable[..., Example]] = {
    "IncompressibleFlow": _incompressible,
    "IncompressibleFlow in stages": _in_stages,
}


# In single precision --------------------------------------------------------------------------------------------------


def float32_error(name: str, cells: int = 16, steps: int = 20) -> float:
    """The gradient of a rollout of Taylor-Green vortices in float32 against differences in float32.

    The derivative of the mean square of the final velocity along a smooth direction of the start, of viscosity and of
    dt; the largest relative difference of the three, each at its best step size. Only for a flow without kinks:
    differences in float32 need long steps, and semi-Lagrangian look-ups change cells on their way.
    """
    with jax.enable_x64(False):
        length = 2 * np.pi
        grid = Grid((cells, cells), (length, length))
        face, center = np.arange(cells) * length / cells, (np.arange(cells) + 0.5) * length / cells
        u = np.sin(face)[:, None] * np.cos(center)
        v = -np.cos(center)[:, None] * np.sin(face)
        flow = getattr(physics, name)(grid, 0.05, 0.05, Periodic())
        start = flow.initial_state([u, v])
        ones = np.ones((cells, cells))
        aside = (0.5 * np.cos(2 * center + 0.3) * ones, 0.4 * np.sin(center + 0.7)[:, None] * ones)

        def loss(flow: Any, state: Any) -> jax.Array:
            final, _ = rollout(flow, state, steps)
            return sum((jnp.mean(part.values**2) for part in final.velocity), jnp.zeros(()))

        def along(kind: str, size: Any) -> jax.Array:
            if kind == "start":
                parts = [
                    part.with_values(part.values + size * jnp.asarray(u0 + more, jnp.float32))
                    for part, u0, more in zip(start.velocity, (u, v), aside, strict=True)
                ]
                return loss(flow, eqx.tree_at(lambda state: state.velocity, start, tuple(parts)))
            moved = eqx.tree_at(lambda flow: getattr(flow, kind), flow, getattr(flow, kind) * (1 + size))
            return loss(moved, start)

        worst = 0.0
        for kind in ("start", "viscosity", "dt"):
            slope = float(jax.jit(jax.grad(lambda size, kind=kind: along(kind, size)))(jnp.float32(0.0)))
            value = jax.jit(lambda size, kind=kind: along(kind, size))
            errors = []
            for size in np.asarray([1.0, 0.5, 0.25, 0.125, 2.0**-4, 2.0**-5, 2.0**-6, 2.0**-8], np.float32):
                # Of fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)
                near, far = value(size) - value(-size), value(2 * size) - value(-2 * size)
                errors.append(abs((8 * float(near) - float(far)) / (12 * float(size)) - slope) / abs(slope))
            worst = max(worst, float(np.nanmin(errors)))
        return worst


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    proofs = {name: found for name, found in results.items() if name != "float32"}
    for group in sorted({name.split(" ")[0] for name in proofs}):
        found = [one for name, one in proofs.items() if name.split(" ")[0] == group]
        failed = sum(not one["passed"] for one in found)
        leaves = sum(one["leaves"] for one in found)
        meaning = f"{group}: failed proofs of {len(found)} ({leaves} leaves)"
        checks.append(Check(f"{group}_failed", float(failed), at_most=0, meaning=meaning))
    checks.append(
        Check(
            "scaled_cotangents",
            max(one["scaling"] for one in proofs.values()),
            at_most=1e-8,
            meaning="largest turn of a cotangent's image when scaled by 1e30 or 1e-30",
        )
    )
    for name, error in results.get("float32", {}).get("errors", {}).items():
        meaning = f"{name}, float32: gradient of a 20-step rollout from differences, relative"
        checks.append(Check(f"{name}_float32", error, at_most=1e-5, meaning=meaning))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Any]:
    proofs = [found for name, found in results.items() if name != "float32"]
    places = np.arange(1, 1 + len(proofs))
    dots = np.maximum(sorted(found["dot"] for found in proofs), 1e-20)
    orders = sorted(found["worst_order"] for found in proofs)
    return {
        "proofs": panels_figure(
            [
                Panel(
                    points={"each proof": (places, dots)},
                    title="dot-product test",
                    x="proofs, sorted",
                    y="relative difference",
                    logarithmic="y",
                ),
                Panel(
                    points={"each proof, its worst leaf": (places, orders)},
                    title="order of the Taylor remainder",
                    x="proofs, sorted",
                    y="order",
                ),
            ]
        )
    }


PROGRAM = verification(
    "adjoints",
    Settings,
    {"quick": {"names": ("laplacian", "FastDiagonalization", "Heat")}},
    measure,
    judge,
    draw,
    SOURCES,
)
