r"""A network guesses the pressure from which conjugate gradients start (Um et al. 2020, section on CG solvers).

    laplacian p = div u      on 64 x 64 unit cells between walls, u the velocity of smoke before its projection

The smoke rises by buoyancy in a closed box, from random waves of smoke and velocity, for sixteen steps of length one.
The divergences are multiplied by a factor with which conjugate gradients from zero need some 120 iterations until no
cell has a residual above 1e-3. Four losses of a guess p, half sums of e^2 over the cells:

    supervised           e = p - p*                         with the solution p*
    residual             e = div u - laplacian p
    unrolled             e = CG_k(p) - p                    with k iterations CG_k, and gradients through them
    unrolled-residual    e = div u - laplacian CG_k(p)

Compared is how many iterations each guess needs, beside the guess zero, conjugate gradients with multigrid, and the
direct solver.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import DTypeLike
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.comparison import Arm, Budget, compare, first_network, in_short, shown_on
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm
from diffphys.experiments.pressure_networks import PublishedNetwork, Pyramid
from diffphys.experiments.smooth_noise import random_waves
from diffphys.grids import Grid, Wall
from diffphys.operators import divergence
from diffphys.physics import Buoyancy, FlowState, IncompressibleFlow, PassiveScalar
from diffphys.poisson import (
    MultigridConjugateGradients,
    PressureProblem,
    Solution,
    apply,
    conjugate_gradient_steps,
    direct,
)
from diffphys.prepared import bytes_of
from diffphys.runs import Program, Run, alternate, replacing, setting
from diffphys.stepping import rollout


STRENGTH = 7.0  # of smoke and velocity: velocities of one to two cells per step
FRAMES = 16
TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
TARGET = 2  # the one by which guesses are compared, 1e-3
MOST = 400  # iterations that are looked at; from zero 1e-6 takes some 220
SHOWN = range(0, 145, 5)  # iterations in the animation: from zero 1e-3 takes some 120
# Mean iterations to each target in the data files of the paper's repository, tum-pbs/CG-Solver-in-the-Loop.
PUBLISHED = {
    "zero": (16.96, 78.48, 121.61, 161.57, 189.03, 212.86),
    "supervised": (1.67, 9.33, 52.16, 109.12, 155.37, 186.12),
    "residual": (0.00, 27.81, 79.03, 117.92, 155.74, 181.09),
    "unrolled": (0.03, 1.97, 29.59, 88.37, 133.59, 167.37),
}


@dataclass(frozen=True)
class Settings(Budget):
    """Settings of the experiment; losses, data and the number of unrolled iterations are the published ones."""

    seconds: float = setting(1e6, help="training time of each arm and seed, with compiling", above=0.0)
    updates: int = setting(1500, help="updates of each arm at most, over which the rate falls", minimum=1)
    seeds: int = setting(1, help="networks trained for each arm", minimum=1)
    cells: int = setting(64, help="cells along both axes, a power of two", minimum=8)
    scale: float = setting(3.5, help="factor on the data", above=0.0)
    unroll: int = setting(5, help="unrolled iterations of conjugate gradients, k", minimum=1, maximum=MOST)
    network: str = setting(
        "pyramid",
        help="pyramid: linear, learned smoothers on a pyramid of grids; published: a U-Net of 127,265 parameters",
        choices=("pyramid", "published"),
    )
    kernel_size: int = setting(5, help="odd length of the pyramid's kernels", minimum=3)
    passes: int = setting(2, help="how often the pyramid goes through all grids", minimum=1)
    rounds: int = setting(2, help="convolutions on each grid in a pass", minimum=1)
    rate: float = setting(5e-3, help="Adam's largest rate", above=0.0)
    decay: float = setting(0.02, help="the rate at the end over the largest", above=0.0, maximum=1.0)
    simulations: int = setting(8, help="simulations of an update, always new", minimum=1)
    kept: int = setting(1, help="divergences of each, evenly spread in time", choices=(1, 2, 4, 8, 16))
    tests: int = setting(100, help="divergences for testing, each of a simulation of its own", minimum=1)
    drift: int = setting(64, help="steps of the simulations that use the guess alone", minimum=1)

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        if self.cells & (self.cells - 1):
            raise InputError(f"cells is {self.cells}; a power of two is accepted.")
        if self.kernel_size % 2 == 0:
            raise InputError(f"kernel_size is {self.kernel_size}; an odd number is accepted.")


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"updates": 400, "clock": "processor", "tests": 40, "simulations": 2, "kept": 4},
    "book": {"updates": 2500, "clock": "processor", "seeds": 3},
    "paper": {
        "network": "published",
        "rate": 2e-4,
        "decay": 1.0,
        "updates": 300_000,
        "simulations": 8,
        "kept": 4,
    },
}


# Data -----------------------------------------------------------------------------------------------------------------


def smoke_flow(cells: int, pressure_solver: Callable[[PressureProblem], Any] | None = None) -> IncompressibleFlow:
    """Smoke that rises in a closed box of unit cells, with steps of length one."""
    return IncompressibleFlow(
        Grid((cells, cells), (float(cells),) * 2),
        viscosity=0.0,
        dt=1.0,
        sides=Wall(slip=True),
        scalars={"smoke": PassiveScalar()},
        forces=(Buoyancy("smoke", (0.0, 0.1)),),
        pressure_solver=pressure_solver,
    )


def random_smoke(flow: IncompressibleFlow, key: Array) -> FlowState:
    """Random waves of velocity, twice as strong as those of the smoke, of which the positive part is taken."""
    keys = jax.random.split(key, 3)
    waves = partial(random_waves, power=32.0)
    smoke = STRENGTH * jnp.maximum(waves(keys[0], flow.grid.cells), 0)
    at_rest = flow.initial_state().velocity
    velocity = [2 * STRENGTH * waves(one, part.shape) for one, part in zip(keys[1:], at_rest, strict=True)]
    return flow.initial_state(velocity, {"smoke": smoke})


def samples(flow: IncompressibleFlow, scale: float, key: Array) -> tuple[Array, Array]:
    """Divergences before the projection and the pressures that remove them, (frames, cells, cells), of a simulation."""
    problem = flow.pressure_problem()
    _, pressures = rollout(
        flow, random_smoke(flow, key), FRAMES, save_every=1, save=lambda state: state.pressure.values * scale
    )
    return jax.vmap(partial(apply, problem))(pressures), pressures


def divergences_for_tests(settings: Settings, seed: int) -> Array:
    """Divergences that no training sees, each from another simulation, at times from the first step to the last."""
    flow = smoke_flow(settings.cells)

    def of_simulation(number: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(seed + 1_000_000), number)
        return samples(flow, settings.scale, key)[0][number % FRAMES]

    return jax.lax.map(of_simulation, jnp.arange(settings.tests))


# Training -------------------------------------------------------------------------------------------------------------


def losses(problem: PressureProblem, steps: int) -> dict[str, Callable[[Array, Array, Array], Array]]:
    """For each arm what is to vanish, of a guess, the divergence, and the solution."""

    def after_steps(guess: Array, rhs: Array) -> Array:
        return conjugate_gradient_steps(problem, rhs, guess, steps).pressure

    return {
        "supervised": lambda guess, rhs, solution: guess - solution,
        "residual": lambda guess, rhs, solution: rhs - apply(problem, guess),
        "unrolled": lambda guess, rhs, solution: after_steps(guess, rhs) - guess,
        "unrolled-residual": lambda guess, rhs, solution: rhs - apply(problem, after_steps(guess, rhs)),
    }


def training_arms(settings: Settings) -> dict[str, Arm]:
    """The arms, which differ in their loss alone."""
    flow = smoke_flow(settings.cells)

    def make_network(key: Array) -> Any:
        if settings.network == "published":
            return PublishedNetwork(key)
        return Pyramid(settings.cells, settings.passes, settings.rounds, settings.kernel_size, key)

    def batch(key: Array, count: Array) -> tuple[Array, Array]:
        first, *keys = jax.random.split(key, 1 + settings.simulations)
        apart = FRAMES // settings.kept
        offset = jax.random.randint(first, (), 0, apart)
        found = jax.lax.map(partial(samples, flow, settings.scale), jnp.stack(keys))
        chosen = offset + apart * jnp.arange(settings.kept)
        return jax.tree.map(lambda part: part[:, chosen].reshape(-1, *flow.grid.cells), found)

    def loss_by(vanishing: Callable[[Array, Array, Array], Array]) -> Callable[[Any, Any], Array]:
        def loss(network: Any, samples: tuple[Array, Array]) -> Array:
            parts = jax.vmap(lambda rhs, solution: vanishing(network(rhs), rhs, solution))(*samples)
            return 0.5 * jnp.sum(parts**2)

        return loss

    schedule = optax.warmup_cosine_decay_schedule(
        settings.rate / 20,
        settings.rate,
        min(50, settings.updates // 4),
        settings.updates,
        settings.decay * settings.rate,
    )
    return {
        name: gradient_arm(make_network, batch, loss_by(vanishing), optax.adam(schedule))
        for name, vanishing in losses(flow.pressure_problem(), settings.unroll).items()
    }


# Testing --------------------------------------------------------------------------------------------------------------


def iterations_to(targets: Any, residuals: Array) -> Array:
    """The number of iterations after which the residual is first at most each target; all of them where it never is."""
    reached = residuals <= jnp.asarray(targets)[..., None]
    return jnp.where(reached.any(-1), jnp.argmax(reached, -1), residuals.shape[-1] - 1)


def residuals_from(
    problem: PressureProblem, guess: Any, rhs: Array, most: int, preconditioner: Any = None
) -> np.ndarray:
    """The largest residual before each iteration, in double precision, for several right sides."""
    guesses = np.asarray(jax.jit(jax.vmap(guess))(rhs))
    with jax.enable_x64(True):
        pairs = jnp.asarray(np.asarray(rhs), float), jnp.asarray(guesses, float)
        steps = jax.jit(
            lambda pairs: jax.lax.map(
                lambda pair: conjugate_gradient_steps(problem, pair[0], pair[1], most, preconditioner).residuals, pairs
            )
        )
        return np.asarray(steps(pairs))


def residuals_over_iterations(problem: PressureProblem, guess: Any, rhs: Array) -> Array:
    """The size of the residual in each cell after those iterations that the animation shows, (iterations, *cells)."""
    found = conjugate_gradient_steps(problem, rhs, guess(rhs), SHOWN[-1], save=jnp.abs)
    return found.residuals[np.asarray(SHOWN)]


class Guess(eqx.Module):
    """A pressure solver that takes the guess for the solution."""

    problem: PressureProblem
    network: Any

    def solve(self, rhs: Array) -> Solution:
        """The guess."""
        pressure = self.network(rhs)
        residual = jnp.max(jnp.abs(apply(self.problem, pressure) - rhs))
        zero = jnp.zeros((), rhs.dtype)
        return Solution(pressure, residual, jnp.zeros((), jnp.int32), jnp.asarray(True), zero)

    def prepared_bytes(self, dtype: DTypeLike = jnp.float32) -> int:
        """The size of the network, whatever the type of the values is."""
        return bytes_of(self.network)


def drift(settings: Settings, network: Any, seed: int) -> dict[str, list[float]]:
    """What becomes of a simulation whose pressures are guesses: the largest divergence that they leave, and the
    difference to the velocity with exact pressures, relative to it, after each step.
    """
    exact = smoke_flow(settings.cells)
    guessed = smoke_flow(settings.cells, lambda problem: Guess(problem, network))
    key = jax.random.key(seed + 2_000_000)

    def run_with(flow: IncompressibleFlow) -> tuple[Any, Array]:
        def saved(state: FlowState) -> tuple[Any, Array]:
            velocity = tuple(part.values for part in state.velocity)
            return velocity, jnp.max(jnp.abs(divergence(state.velocity).values))

        return rollout(flow, random_smoke(exact, key), settings.drift, save_every=1, save=saved)[1]

    (truth, _), (found, left) = (jax.jit(partial(run_with, flow))() for flow in (exact, guessed))
    squares = [
        sum(jnp.sum(part**2, (1, 2)) for part in parts)
        for parts in ([one - other for one, other in zip(found, truth, strict=True)], truth)
    ]
    relative = jnp.sqrt(squares[0] / squares[1])
    return {"divergence": np.asarray(left).tolist(), "difference": np.asarray(relative).tolist()}


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end; count iterations; time solvers; let simulations drift."""
    problem = smoke_flow(settings.cells).pressure_problem()
    rhs = jax.jit(partial(divergences_for_tests, settings))(run.seed)
    few = rhs[:16]

    def measure(network: Any) -> dict[str, Array]:
        def of(rhs: Array) -> Array:
            found = conjugate_gradient_steps(problem, rhs, network(rhs), 160)
            return iterations_to(TARGETS[TARGET], found.residuals)

        return {"error": jnp.mean(jax.lax.map(of, few).astype(float))}

    solver = direct(problem)
    solution = jax.jit(jax.vmap(lambda one: solver.solve(one).pressure))(rhs[:3])
    grid = problem.grid
    arms = compare(
        run,
        training_arms(settings),
        settings,
        measure=measure,
        answers=lambda network: shown_on(grid, {"pressure": jax.jit(jax.vmap(network))(rhs[:3])}),
        truth=shown_on(grid, {"pressure": solution, "divergence": rhs[:3]}),
        published={name: {"iterations": list(numbers)} for name, numbers in PUBLISHED.items()},
    )
    metrics = run.read_metrics()
    networks = {name: first_network(run, name, arm) for name, arm in arms.items()}
    guesses = {"zero": jnp.zeros_like, **networks}
    found = {name: residuals_from(problem, guess, rhs, MOST) for name, guess in guesses.items()}
    shown = {name: residuals_over_iterations(problem, guess, rhs[0])[None] for name, guess in guesses.items()}
    run.save_frames("residuals", shown_on(grid, shown, np.asarray(SHOWN, float)))
    run.leave_if_asked()
    with jax.enable_x64(True):
        cycle = MultigridConjugateGradients(problem).precondition
    found["multigrid"] = residuals_from(problem, jnp.zeros_like, rhs, 30, cycle)
    solvers = {name: told(residuals) for name, residuals in found.items()}
    times = solve_times(problem, guesses, solvers, rhs[0])
    solvers |= {"direct": {"iterations": [0.0] * len(TARGETS)}}
    for name, time in times.items():
        solvers[name]["milliseconds"] = time
    for name, network in networks.items():
        solvers[name]["drift"] = drift(settings, network, run.seed)
    run.write_metrics(metrics | {"seed": run.seed, "solvers": solvers, "tests": settings.tests})


def told(residuals: np.ndarray) -> dict[str, Any]:
    """Iterations to each target, mean and standard deviation over the tests, and mean residuals before iterations."""
    counts = np.asarray(jax.vmap(partial(iterations_to, TARGETS))(jnp.asarray(residuals)))
    return {
        "iterations": counts.mean(0).tolist(),
        "deviation": counts.std(0).tolist(),
        "largest": int(counts[:, TARGET].max()),
        "residuals": residuals.mean(0).tolist(),
    }


def solve_times(
    problem: PressureProblem, guesses: Mapping[str, Any], solvers: Mapping[str, Any], rhs: Array
) -> dict[str, float]:
    """Milliseconds until no cell has a residual above 1e-3, with as many iterations as are needed on average: of the
    fastest of many runs in turns, for the median on a busy machine tells of the machine.
    """

    def steps(name: str, guess: Any, preconditioner: Any = None) -> Callable[[Array], Array]:
        count = max(1, round(solvers[name]["iterations"][TARGET]))
        return lambda rhs: conjugate_gradient_steps(problem, rhs, guess(rhs), count, preconditioner).pressure

    cycle = MultigridConjugateGradients(problem).precondition
    programs = {name: steps(name, guess) for name, guess in guesses.items()}
    programs["multigrid"] = steps("multigrid", jnp.zeros_like, cycle)
    programs["direct"] = lambda rhs: direct(problem).solve(rhs).pressure
    compiled = {name: jax.jit(program) for name, program in programs.items()}
    times = alternate({name: lambda one=one: jax.block_until_ready(one(rhs)) for name, one in compiled.items()}, 3.0)
    return {name: 1e3 * fastest for name, (_, fastest) in times.items()}


# Report ---------------------------------------------------------------------------------------------------------------


def report(run: Run) -> Table:
    """Figures, and a table of the iterations to each target."""
    metrics = run.read_metrics()
    show(run, label="iterations to 1e-3")
    solvers = metrics["solvers"]
    iterated = {name: one for name, one in solvers.items() if "residuals" in one}
    digits = range(1, 1 + len(TARGETS))
    panels = [
        plots.Panel(
            marked={name: (digits, one["iterations"]) for name, one in iterated.items()},
            points={f"{name}, published": (digits, numbers) for name, numbers in PUBLISHED.items()},
            title="until no cell has a residual above $10^{-n}$",
            x="n",
            y="mean iterations",
        ),
        plots.Panel(
            lines={name: _until_exact(one["residuals"]) for name, one in iterated.items()},
            title="largest residual after iterations",
            x="iterations",
            y="mean over the tests",
            logarithmic="y",
        ),
    ]
    run.save_figure("iterations.png", plots.panels_figure(panels, height=4.2))
    drifts = {name: one["drift"] for name, one in solvers.items() if "drift" in one}
    panels = [
        plots.Panel(
            lines={name: (range(1, 1 + len(one[key])), one[key]) for name, one in drifts.items()},
            title=title,
            x="steps with guessed pressures alone",
            logarithmic="y",
        )
        for key, title in (("divergence", "largest divergence left"), ("difference", "relative error of the velocity"))
    ]
    run.save_figure("drift.png", plots.panels_figure(panels, height=3.0))
    draw_iterations(run, ["zero", *drifts])

    table = Table(title="Pressure guess: iterations until no cell has a residual above")
    table.add_column("from")
    for heading in (
        *(f"{target:.0e}" for target in TARGETS),
        "deviation at 1e-03",
        "published at 1e-03",
        "ms to 1e-03",
    ):
        table.add_column(heading, justify="right")
    for name, one in solvers.items():
        spread = f"{one['deviation'][TARGET]:.1f}" if "deviation" in one else ""
        known = f"{PUBLISHED[name][TARGET]:.1f}" if name in PUBLISHED else ""
        counts = (f"{count:.1f}" for count in one["iterations"])
        table.add_row(name, *counts, spread, known, in_short(one["milliseconds"]))
    return table


def draw_iterations(run: Run, names: Iterable[str]) -> None:
    """An animation of one residual while conjugate gradients iterate, from zero and from each guess: the largest in
    each square of 4 x 4 cells, in powers of ten above 1e-3. Where a panel is empty, the iterations may end.
    """
    data, count = run.read_frames("residuals").isel(case=0).transpose("time", "x", "y"), run.settings.cells // 4
    squares = {name: data[name].values.reshape(-1, count, 4, count, 4).max((2, 4)) for name in names}
    above = {name: np.log10(np.maximum(square / TARGETS[TARGET], 1.0)) for name, square in squares.items()}
    with replacing(run.figure_path("iterations.gif")) as path:
        plots.write_animation(
            path,
            above,
            data["time"].values,
            (run.settings.cells,) * 2,
            label="powers of ten above $10^{-3}$",
            horizontal=0,
            at="cells",
            limit=2.0,
            clock="iterations",
            frames_per_second=6,
        )


def _until_exact(residuals: list[float]) -> tuple[range, list[float]]:
    """The curve until 1e-7, where single precision ends."""
    count = next((index + 1 for index, one in enumerate(residuals) if one < 1e-7), len(residuals))
    return range(count), residuals[:count]


PROGRAM = Program("pressure-guess", Settings, PRESETS, run, report)
