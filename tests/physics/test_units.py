"""In other units of length and time the same flow comes out, in single precision.

Lengths times L, speeds times U, so times L / U, viscosities L U, kinematic pressures U^2, forces U^2 L^(d - 1). L and U
are powers of two: round-off then knows nothing of them, and what differs is an absolute number somewhere in the code,
or a square that has left the range of the numbers.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import diffphys as dp
from diffphys import operators, poisson
from diffphys.physics import PassiveScalar
from diffphys.poisson import VariableProblem
from diffphys.poisson.problem import PressureProblem


CELLS = (10, 8)
NUMBERS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 12, 12)), jnp.float32)


def grid_of(length: float, stretched: bool = False, cells=CELLS) -> dp.Grid:
    size = [2.0 * length, 1.5 * length, 1.0 * length][: len(cells)]
    grid = dp.Grid(cells, size, [-0.25 * length, 0.5 * length, 0.0][: len(cells)])
    if not stretched:
        return grid
    places = np.linspace(0.0, 1.0, cells[0] + 1)
    return grid.with_edges(0, (-0.25 + 2 * places + 0.03 * np.sin(2 * np.pi * places)) * length)


def periodic(_):
    return dp.Periodic()


def channel(speed):
    return {"x": (dp.Inflow(speed), dp.Outflow()), "y": dp.Wall()}


def cavity(speed):
    return {"x": dp.Wall(), "y": (dp.Wall(), dp.Wall(speed))}


def ball(length, _):
    return dp.Sphere((0.6 * length, 1.2 * length), 0.3 * length)


def immersed(length, _):
    return dp.Immersed(ball(length, _))


def moving(length, speed):
    box = dp.Box((0.3 * length, 0.9 * length), (0.9 * length, 1.4 * length))
    place = (0.6 * length, 1.2 * length)
    return dp.Immersed(box.rotated(0.3, place), (0.2 * speed, 0.1 * speed), 0.5 * speed / length, place)


def smoke(length, speed):
    source = dp.Sphere((0.2 * length, 1.0 * length), 0.2 * length)
    return {"smoke": PassiveScalar(0.01 * length * speed, source, speed / length)}


def driven(speed):
    """What is given at sides: slopes, pressures, lengths; in time, too."""
    swelling = dp.Inflow(lambda time: speed * (1 + 0.1 * jnp.sin(time / time.dtype.type(1e30))), tangential=0.1 * speed)
    return {"x": (swelling, dp.Outflow(0.2 * speed**2)), "y": dp.Wall(0.3 * speed)}


def forced(length, speed):
    """Every kind of force."""
    push = speed**2 / length
    return (
        dp.Buoyancy("smoke", (0.3 * push, push)),
        dp.LinearDrag(0.4 * speed / length),
        dp.SinusoidalForce(0.5 * push, 1),
        lambda scalars, velocity: [
            0.1 * push * jnp.ones_like(velocity[0].values),
            0.2 * push * jnp.cos(velocity[1].coordinates()[1] / length),
        ],
        (0.1 * push, 0.2 * push),
    )


def eddies(length, speed):
    return (
        dp.Smagorinsky(0.2),
        dp.DynamicSmagorinsky(),
        dp.Sponge("x", 1.2 * length, 0.01 * length * speed),
        lambda velocity: 0.01 * length * jnp.abs(operators.interpolate(velocity[0], (0.5, 0.5)).values),
    )


def flow(sides, solid=None, scalars=None, stretched=False, acting=None, added=None, **options):
    """Two steps of a flow from random velocities, the forces on its obstacle, and a gradient."""

    def measure(length, speed):
        grid = grid_of(length, stretched)
        system = dp.IncompressibleFlow(
            grid,
            0.01 * length * speed,
            0.02 * length / speed,
            sides(speed),
            solid=solid and solid(length, speed),
            scalars=scalars and scalars(length, speed),
            forces=acting(length, speed) if acting else (),
            added_viscosity=added(length, speed) if added else (),
            **options,
        )

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def run(viscosity, system, start):
            system = eqx.tree_at(lambda one: one.viscosity, system, viscosity)
            final, _ = dp.rollout(system, start, steps=2)
            around = system.solid is not None and not isinstance(system.stepping, dp.Splitting)
            total = sum(jnp.sum(component.values) for component in final.velocity) / speed
            return total, (final, system.forces_on_solid(final) if around else (), system.courant_number(final))

        start = system.initial_state()
        disturbed = [
            part.values + 0.3 * speed * numbers[: part.shape[0], : part.shape[1]]
            for part, numbers in zip(start.velocity, NUMBERS, strict=False)
        ]
        start = system.initial_state(disturbed, {name: 0.5 + 0.1 * NUMBERS[2, :10, :8] for name in system.scalars})
        (_, (final, forces, courant)), slope = run(system.viscosity, system, start)
        found = [(component.values, speed) for component in final.velocity]
        found += [(final.pressure.values, speed**2), (courant, 1.0)]
        found += [(scalar.values, 1.0) for scalar in final.scalars.values()]
        found += [(forces.force, speed**2 * length), (forces.torque, speed**2 * length**2)] if forces else []
        return [*found, (slope, 1 / (length * speed))]

    return measure


def heat(length, speed):
    grid = grid_of(length)
    walls = ((dp.Dirichlet(speed), dp.Neumann(0.2 * speed / length)),) * 2
    system = dp.Heat(grid, 0.01 * length * speed, 0.02 * length / speed, walls)
    final, _ = dp.rollout(system, dp.Field(speed * NUMBERS[0, :10, :8], grid, conditions=walls), 3)
    return [(final.values, speed)]


def burgers(length, speed):
    grid = grid_of(length)
    walls = ((dp.Dirichlet(0.0), dp.Dirichlet(0.0)),) * 2
    system = dp.Burgers(grid, 0.01 * length * speed, 0.02 * length / speed, walls)
    final, _ = dp.rollout(system, system.initial_state([speed * NUMBERS[0, :11, :8], speed * NUMBERS[1, :10, :9]]), 3)
    return [(part.values, speed) for part in final]


def burgers_in(stepping):
    def measure(length, speed):
        grid = grid_of(length)
        ends = ((dp.Dirichlet(0.3 * speed), dp.Neumann(0.2 * speed / length)), (dp.Periodic(), dp.Periodic()))
        system = dp.Burgers(grid, 0.01 * length * speed, 0.02 * length / speed, ends, stepping=stepping)
        start = system.initial_state([speed * NUMBERS[0, :11, :8], speed * NUMBERS[1, :10, :8]])
        return of_rollout(system, start, [speed, speed], "viscosity", 1 / (length * speed))

    return measure


def of_rollout(system, start, scales, name, slope_scale):
    """Three steps, and the gradient of the sum of what comes out by a number of the system."""

    @jax.jit
    def run(number, system, start):
        system = eqx.tree_at(lambda one: getattr(one, name), system, number)
        final, _ = dp.rollout(system, start, 3)
        fields = jax.tree.leaves(final, is_leaf=lambda leaf: isinstance(leaf, dp.Field))
        found = [field.values for field in fields]
        return sum(jnp.sum(values) / scale for values, scale in zip(found, scales, strict=True)), found

    (_, found), slope = jax.value_and_grad(run, has_aux=True)(getattr(system, name), system, start)
    return [*zip(found, scales, strict=True), (slope, slope_scale)]


def heat_in(stepping):
    def measure(length, speed):
        walls = ((dp.Dirichlet(speed), dp.Neumann(0.2 * speed / length)),) * 2
        system = dp.Heat(grid_of(length), 0.01 * length * speed, 0.02 * length / speed, walls, stepping)
        return of_rollout(
            system, system.initial_state(speed * NUMBERS[0, :10, :8]), [speed], "diffusivity", 1 / (length * speed)
        )

    return measure


def wave(stepping):
    def measure(length, speed):
        ends = ((dp.Dirichlet(0.2 * length), dp.Neumann(0.1)), (dp.Periodic(), dp.Periodic()))
        system = dp.Wave(grid_of(length), speed, 0.02 * length / speed, ends, 0.3 * speed / length, stepping)
        start = system.initial_state(length * NUMBERS[0, :10, :8], speed * NUMBERS[1, :10, :8])
        return of_rollout(system, start, [length, speed], "damping", length / speed)

    return measure


def shallow_water(length, speed):
    sides = {"x": dp.Wall(), "y": dp.Open()}
    bottom, turning = 0.1 * length * jnp.abs(NUMBERS[2, :10, :8]), 0.5 * speed / length
    system = dp.ShallowWater(
        grid_of(length), 0.01 * length / speed, sides, bottom, speed**2 / length, turning, 1e-6 * length
    )
    start = system.initial_state(
        length * (1 + 0.1 * NUMBERS[0, :10, :8]), (0.1 * speed * NUMBERS[1, :10, :8], 0.2 * speed)
    )
    return of_rollout(system, start, [length, length * speed, length * speed], "coriolis", length / speed)


def gray_scott(stepping):
    """Its reaction has a rate of one, so that only lengths have a unit."""

    def measure(length, _):
        ends = ((dp.Dirichlet(0.5), dp.Neumann(0.1 / length)), (dp.Periodic(), dp.Periodic()))
        spread = 0.02 * length**2
        system = dp.GrayScott(grid_of(length), spread, spread / 2, 0.3, 0.6, 0.1, ends, stepping)
        start = system.initial_state(jnp.abs(NUMBERS[0, :10, :8]), jnp.abs(NUMBERS[1, :10, :8]))
        return of_rollout(system, start, [1.0, 1.0], "substrate_diffusivity", 1 / length**2)

    return measure


def calculus(length, speed):
    """Operators, fractions, diffusion and advection, on a grid that is stretched along one axis."""
    grid = grid_of(length, stretched=True)
    sides = ((dp.Dirichlet(0.3 * speed), dp.Neumann(0.2 * speed / length)), (dp.Periodic(), dp.Periodic()))
    field = dp.Field(speed * NUMBERS[0, :10, :8], grid, conditions=sides)
    carried = [
        dp.Field(speed * NUMBERS[1, :11, :8], grid, (0.0, 0.5), sides),
        dp.Field(speed * NUMBERS[2, :10, :8], grid, (0.5, 0.0), sides),
    ]
    dt, coefficient = 0.05 * length / speed, 0.1 * length * speed
    shape = moving(length, speed).shape
    found = [
        (operators.laplacian(field).values, speed / length**2),
        *[(part.values, speed / length) for part in operators.gradient(field)],
        (operators.divergence(carried).values, speed / length),
        (operators.curl(carried).values, speed / length),  # pyright: ignore[reportAttributeAccessIssue]
        *[(part.values, speed**2 / length) for part in operators.convection(carried)],
        *[(part.values, speed) for part in operators.faces_to_centers(carried)],
        (operators.stable_diffusion_step(grid, coefficient), length / speed),
        (shape.volume_fractions(grid), 1.0),
        (shape.apertures(grid, 0), 1.0),
        (shape.coverage(grid), 1.0),
    ]
    for diffusion in ("explicit", "implicit", "crank_nicolson", "exact"):
        found.append((getattr(operators, f"{diffusion}_diffusion")(field, coefficient, dt).values, speed))
    for scheme in (operators.semi_lagrangian, operators.cubic_semi_lagrangian, operators.maccormack):
        found.append((scheme(field, carried, dt).values, speed))
    return [*found, (operators.advect(field, carried, dt, "van_leer").values, speed)]


def fractions_in_space(length, _):
    grid = grid_of(length, cells=(4, 3, 4))
    shape = dp.Sphere((0.6 * length, 1.2 * length, 0.4 * length), 0.4 * length)
    return [(shape.volume_fractions(grid), 1.0), (shape.apertures(grid, 1), 1.0)]


def solvers(length, speed):
    """Pressures of all solvers, with closed faces and with coefficients, and their gradients."""
    grid = grid_of(length)
    walls = ((dp.Neumann(0.0), dp.Dirichlet(0.0)), (dp.Neumann(0.0), dp.Neumann(0.0)))
    rhs = speed / length * NUMBERS[0, :10, :8]
    with jax.ensure_compile_time_eval():
        solid = np.asarray(ball(length, speed).contains(grid.centers()))
    fixed = PressureProblem.from_conditions(grid, walls, solid)
    open_faces: list = [jnp.abs(NUMBERS[1, :11, :8]) / 4 + 0.1, jnp.abs(NUMBERS[2, :10, :9]) / 4 + 0.1]
    variable = VariableProblem.from_conditions(grid, walls, open_faces)
    found = [(poisson.direct(fixed).solve(rhs).pressure, speed * length)]
    for solver in (poisson.ConjugateGradients, poisson.MultigridConjugateGradients, poisson.FictitiousDomain):
        for problem in (fixed, variable):
            solution, pull = jax.vjp(lambda rhs: solver(problem).solve(rhs).pressure, rhs)  # noqa: B023
            found += [(solution, speed * length), (pull(NUMBERS[3, :10, :8])[0], length**2)]
    return found


def compiled(function):
    """The measurement as one program; the scales stay in double precision."""

    def measure(length, speed):
        scales = []

        def values():
            found = function(length, speed)
            scales.extend(scale for _, scale in found)
            return [values for values, _ in found]

        return list(zip(jax.jit(values)(), scales, strict=True))

    return measure


QUICK = {
    "heat": heat,
    "burgers": burgers,
    "calculus": compiled(calculus),
    "fractions in space": compiled(fractions_in_space),
    "solvers": compiled(solvers),
    "immersed": flow(channel, immersed, stepping=dp.RungeKutta(2)),
}
STAGES, IMPLICIT = dp.RungeKutta(3), dp.ImplicitExplicit(3)
MORE = QUICK | {
    "immersed, smoke": flow(channel, immersed, smoke, stepping=STAGES),
    "stretched": flow(cavity, stretched=True, stepping=STAGES),
    "splitting": flow(periodic),
    "splitting around a ball": flow(channel, ball, smoke),
    "splitting, shifts": flow(channel, ball, advection=dp.SemiLagrangian(2)),
    "splitting, stretched": flow(cavity, stretched=True),
    "splitting, multigrid": flow(channel, ball, pressure_solver=poisson.MultigridConjugateGradients),
    "cubic": flow(channel, ball, smoke, advection=dp.CubicSemiLagrangian(limited=True)),
    "van Leer, stretched": flow(channel, None, smoke, stretched=True, advection=dp.VanLeer(), stepping=STAGES),
    "periodic": flow(periodic, scalars=smoke, stepping=STAGES),
    "order 4": flow(cavity, advection=dp.SkewSymmetric(4), stepping=STAGES),
    "ball": flow(channel, ball, smoke, stepping=STAGES),
    "ball, stretched": flow(channel, ball, stretched=True, stepping=STAGES),
    "implicit": flow(cavity, stepping=IMPLICIT),
    "implicit around a ball": flow(channel, ball, smoke, stepping=IMPLICIT),
    "implicit, immersed": flow(channel, immersed, smoke, stepping=IMPLICIT),
    "order 4 around a ball": flow(channel, ball, smoke, advection=dp.SkewSymmetric(4), stepping=dp.RungeKutta(2)),
    "van Leer, immersed": flow(channel, immersed, smoke, advection=dp.VanLeer(), stepping=dp.RungeKutta(2)),
    "MacCormack": flow(channel, ball, smoke, advection=dp.MacCormack()),
    "upwind, split": flow(channel, ball, smoke, advection=dp.Upwind()),
    "driven": flow(driven, scalars=smoke, acting=forced, stepping=dp.RungeKutta(2)),
    "forced, split": flow(periodic, scalars=smoke, acting=forced),
    "eddies": flow(channel, added=eddies, stepping=dp.RungeKutta(2)),
    "PISO": flow(channel, ball, stepping=dp.PISO()),
    "PISO, stretched": flow(driven, scalars=smoke, stretched=True, stepping=dp.PISO(order=2)),
    "PISO, eddies": flow(channel, added=eddies, stepping=dp.PISO()),
    "modes": flow(
        periodic, scalars=smoke, acting=forced, advection=dp.Spectral(), stepping=dp.ExponentialRungeKutta(2)
    ),
    "modes, implicit": flow(periodic, advection=dp.Spectral(), stepping=IMPLICIT),
    "Burgers, stages": burgers_in(dp.RungeKutta(3)),
    "Burgers, implicit": burgers_in(IMPLICIT),
    "heat, stages": heat_in(dp.RungeKutta(2)),
    "heat, implicit": heat_in(IMPLICIT),
    "wave": wave(dp.Splitting()),
    "wave, stages": wave(dp.RungeKutta(4)),
    "shallow water": shallow_water,
    "Gray-Scott": gray_scott(dp.RungeKutta(2)),
    "Gray-Scott, implicit": gray_scott(IMPLICIT),
    "moving box": flow(cavity, moving, stepping=STAGES),
    "immersed, multigrid": flow(
        channel, immersed, pressure_solver=poisson.MultigridConjugateGradients, stepping=STAGES
    ),
}
REFERENCES: dict = {}


def check_scaling(name: str, length: float, speed: float) -> None:
    """The scaled result to round-off, wherever single precision holds it."""
    measured = MORE[name]
    if name not in REFERENCES:
        REFERENCES[name] = [np.asarray(values, np.float64) for values, _ in measured(1.0, 1.0)]
    for index, (expected, (values, scale)) in enumerate(zip(REFERENCES[name], measured(length, speed), strict=True)):
        largest = np.max(np.abs(expected))
        if not 1e-31 < largest * scale < 1e37:  # with what is a millionth of it the number has no place there
            continue
        error = np.max(np.abs(np.asarray(values, np.float64) / scale - expected)) / largest
        assert error < 2e-5, (name, index, error)


@pytest.mark.parametrize(
    ("name", "length", "speed"),
    [
        pytest.param(name, unit, unit, marks=pytest.mark.slow if name == "immersed" else ())  # its solver is in solvers
        for unit in (2.0**-40, 2.0**40)
        for name in QUICK
    ],
)
def test_the_scaled_problem_has_the_scaled_solution(name, length, speed):
    check_scaling(name, length, speed)


@pytest.mark.parametrize("name", ["heat", "burgers"])
def test_what_spreads_in_small_cells_does_so_at_high_speeds(name):
    """Where the curvature alone, speed over length squared, leaves single precision."""
    check_scaling(name, 2.0**-40, 2.0**40)


QUICK_CORNERS = ("wave", "periodic")


@pytest.mark.parametrize("name", [n if n in QUICK_CORNERS else pytest.param(n, marks=pytest.mark.slow) for n in MORE])
def test_small_lengths_at_large_speeds_and_large_ones_at_small(name):
    """Where accelerations are 1e36 and 1e-36."""
    if name != "calculus":  # whose results these are
        check_scaling(name, 2.0**-40, 2.0**40)
        check_scaling(name, 2.0**40, 2.0**-40)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.sampled_from(sorted(MORE)), st.integers(-40, 40), st.integers(-40, 40))
def test_the_scaled_problem_has_the_scaled_solution_many(name, length, speed):
    check_scaling(name, 2.0**length, 2.0**speed)


@pytest.mark.slow
def test_a_solve_that_does_not_converge_gives_no_number():
    """Neither a velocity nor a gradient, and rollout tells when; a solver that throws raises."""
    grid = grid_of(1.0)

    def made(**options):
        return dp.IncompressibleFlow(
            grid,
            0.01,
            0.02,
            channel(1.0),
            solid=ball(1.0, 1.0),
            pressure_solver=lambda problem: poisson.ConjugateGradients(problem, **options),
        )

    start = made().initial_state([1.0 + 0.3 * NUMBERS[0, :11, :8], 0.3 * NUMBERS[1, :10, :9]])
    _, _, outcome = dp.rollout(made(), start, 1, outcome=True)
    assert int(outcome.first_not_finite) < 0
    _, _, outcome = dp.rollout(made(largest_iterations=1), start, 1, outcome=True)
    assert int(outcome.first_not_finite) == 0
    problem = VariableProblem.from_conditions(
        grid, ((dp.Neumann(0.0), dp.Dirichlet(0.0)), (dp.Neumann(0.0), dp.Neumann(0.0))), [0.5, 1.0]
    )

    def solve(rhs, throw=False):
        return poisson.ConjugateGradients(problem, largest_iterations=2, throw=throw).solve(rhs)

    one, pull = jax.vjp(lambda rhs: solve(rhs).pressure, NUMBERS[0, :10, :8])
    assert bool(jnp.all(jnp.isfinite(one))) and not bool(solve(NUMBERS[0, :10, :8]).converged)  # as before
    assert bool(jnp.all(jnp.isnan(pull(NUMBERS[1, :10, :8])[0])))
    with pytest.raises(Exception, match="no convergence"):
        jax.block_until_ready(jax.jit(lambda rhs: solve(rhs, True).pressure)(NUMBERS[0, :10, :8]))
