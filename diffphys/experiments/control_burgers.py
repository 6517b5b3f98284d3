r"""Burgers' equation steered from one state to another with as little force as possible, every point a control.

Holl, Koltun, Thuerey, "Learning to control PDEs with differentiable physics" (ICLR 2020), with the task of
"Physics-based Deep Learning" (Thuerey et al.), chapter on reinforcement learning:

    u_t + u u_x = nu u_xx + F,      0 < x < 1,      32 cells, 32 steps of dt = 0.03, nu = 0.003

Two bumps of opposite sign run into each other while a constant force acts, which nobody is told: the state at the end
is the target, and the force that led there, the ground truth, is what others are compared with. Since every point is
controlled, the last step can close whatever gap is left; so every arm meets the target, and pays for it. One blow at
the end is no larger in the sum of |F|, the published measure, than a force that acts all the time; in the sum of
squares, which is what everybody minimizes, it is many times as large. So both are shown.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.control import (
    ControlProblem,
    Force,
    PredictorCorrector,
    closed_loop,
    execute,
    optimize_controls,
    simulate,
)
from diffphys.experiments.comparison import Arm, Budget, compare, duration, first_network, in_short
from diffphys.experiments.comparison_figures import curves_figure
from diffphys.experiments.optimizers import gradient_arm
from diffphys.experiments.reinforcement import ProximalPolicy, missing_extra, train_proximal_policy
from diffphys.grids import Grid, Neumann
from diffphys.nets import MLP
from diffphys.physics import Burgers
from diffphys.runs import Program, Run, setting
from diffphys.stepping import rollout


CELLS, STEPS, DT, VISCOSITY = 32, 32, 0.03, 0.003
POINTS = CELLS + 1  # the velocity stands on the faces of the cells, both ends included

# Total force over 100 test scenes, read off plots, over that of the ground truth: 59,500, 61,200 and 46,800.
PUBLISHED = {"hierarchy": {"final_error": 1.27}, "ppo": {"final_error": 1.31}}
ARMS = ("hierarchy", "policy", "ppo")
SOURCES = (
    "P. Holl, V. Koltun, N. Thuerey: Learning to control PDEs with differentiable physics, ICLR 2020",
    "N. Thuerey et al.: Physics-based Deep Learning, chapter on reinforcement learning",
)


@dataclass(frozen=True)
class Settings(Budget):
    """How the arms are trained; the task is the published one."""

    arms: tuple[str, ...] = setting(
        ("hierarchy", "policy"),
        help="hierarchy (predictor-corrector) and policy (closed loop), both trained through the solver; ppo "
        "(reinforcement learning, needs the extra rl)",
        choices=ARMS,
    )
    features: int = setting(128, help="neurons of each of the two hidden layers of every network", minimum=1)
    batch: int = setting(50, help="scenes of an update", minimum=1)
    rate: float = setting(2e-3, help="Adam's rate at the beginning", above=0.0)
    half_life: int = setting(1500, help="updates after which the rate has halved (published: 1000)", minimum=1)
    scenes: int = setting(100, help="test scenes", minimum=1)
    iterations: int = setting(30, help="of the trajectory optimization of each test scene", minimum=1)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"seconds": 60.0, "clock": "processor", "seeds": 1},
    "book": {"seconds": 120.0, "clock": "processor", "seeds": 3},
    "reinforcement": {"seconds": 400.0, "clock": "processor", "seeds": 1, "half_life": 5000, "arms": ARMS},
}


class Scene(NamedTuple):
    """A task: where it starts, the force that nobody is told, and where that led."""

    start: Array
    force: Array
    target: Array


class Steered(eqx.Module):
    """A step of Burgers' equation, and then `dt F`."""

    solver: Burgers

    def __call__(self, velocity: Array, force: Array) -> Array:
        return self.free(velocity) + self.solver.dt * force

    def free(self, velocity: Array) -> Array:
        """The step without a force."""
        (field,) = self.solver(self.solver.initial_state([velocity]))
        return field.values

    def force_to(self, velocity: Array, planned: Array) -> Array:
        """The force that leads to what is planned in one step, exactly."""
        return (planned - self.free(velocity)) / self.solver.dt


class Closing(NamedTuple):
    """The state of a step that closes the gap at the end, whatever the control there says.

    Attributes:
        velocity: Where it is.
        target: Where it has to be at the end.
        step: Steps made.
        force: What acted in the last of them.
    """

    velocity: Array
    target: Array
    step: Array
    force: Array


def steered_burgers() -> Steered:
    """The published task's step, open at both ends."""
    ends = ((Neumann(0.0), Neumann(0.0)),)
    return Steered(Burgers(Grid((CELLS,), (1.0,)), VISCOSITY, DT, ends, largest_courant=8))


def draw_scene(key: Array) -> Scene:
    """One task from the published distribution."""
    x = jnp.linspace(0.0, 1.0, POINTS)
    lower = jnp.asarray([0.2, 0.0, 0.05, 0.6, -3.0, 0.05, 0.4, -1.6, 0.1])
    upper = jnp.asarray([0.4, 3.0, 0.15, 0.8, 0.0, 0.15, 0.6, 1.6, 0.4])
    numbers = jax.random.uniform(key, (9,), minval=lower, maxval=upper)

    def bump(center: Array, height: Array, width: Array) -> Array:
        return height * jnp.exp(-0.5 * ((x - center) / width) ** 2)

    start, force = bump(*numbers[:3]) + bump(*numbers[3:6]), bump(*numbers[6:])
    forces = jnp.broadcast_to(force, (STEPS, POINTS))
    return Scene(start, force, rollout(steered_burgers(), start, STEPS, inputs=forces)[0])


def draw_scenes(key: Array, count: int) -> Scene:
    """Several, with a leading axis."""
    return jax.vmap(draw_scene)(jax.random.split(key, count))


def planned_problem(scene: Scene) -> ControlProblem:
    """Meet the target with little force; costs are squares of `dt F`."""
    return ControlProblem(
        steered_burgers(), STEPS, jnp.zeros(POINTS), target=scene.target, regularizers=(Force(DT**2),)
    )


def closing_problem(target: Array | None = None) -> ControlProblem:
    """The same, for controls that need not know how to meet the target: the last step closes the gap."""
    steered = steered_burgers()

    def step(state: Closing, force: Array) -> Closing:
        closing = steered.force_to(state.velocity, state.target)
        force = jnp.where(state.step == STEPS - 1, closing, force)
        return Closing(steered(state.velocity, force), state.target, state.step + 1, force)

    def spent(state: Closing, *_: Any) -> Array:
        return 0.5 * DT**2 * jnp.sum(state.force**2)

    return ControlProblem(step, STEPS, jnp.zeros(POINTS), running_cost=spent, target=target)


def closing_start(scene: Scene) -> Closing:
    """The state before the first step."""
    return Closing(scene.start, scene.target, jnp.zeros((), jnp.int32), jnp.zeros(POINTS))


class Predictor(eqx.Module):
    """An observation predictor: the mean of both ends, and what a network adds."""

    network: MLP

    def __call__(self, left: Array, right: Array) -> Array:
        return (left + right) / 2 + self.network(jnp.concatenate([left, right]))


class Policy(eqx.Module):
    """A force from the state, the target and the share of the time that is left."""

    network: MLP

    def __call__(self, state: Closing, target: Array) -> Array:
        return self.network(observed(state, target, 1.0 - state.step / STEPS))


def observed(state: Closing, target: Array, left: Array) -> Array:
    """What policies see, those of reinforcement learning as well."""
    return jnp.concatenate([state.velocity, target, jnp.atleast_1d(left)])


def make_predictors(features: int, key: Array) -> tuple[Predictor, ...]:
    """OP_2 to OP_32, each with a network of its own."""
    keys = jax.random.split(key, STEPS.bit_length() - 1)
    return tuple(Predictor(_network(2 * POINTS, features, key)) for key in keys)


def make_policy(features: int, key: Array) -> Policy:
    """A network of the size of one predictor."""
    return Policy(_network(2 * POINTS + 1, features, key))


def _network(inputs: int, features: int, key: Array) -> MLP:
    """Two hidden layers, and a last one that begins small."""
    network = MLP((inputs, features, features, POINTS), jax.nn.relu, key=key)
    return eqx.tree_at(lambda one: one.layers[-1].weight, network, 0.1 * network.layers[-1].weight)


def hierarchy_of(predictors: tuple[Predictor, ...]) -> PredictorCorrector:
    """The predictors with the force that follows from their plan, by the inverse of a step."""
    return PredictorCorrector(predictors, steered_burgers().force_to)


def steer(network: Any, scene: Scene, refined: bool = False) -> tuple[Array, Array, Array]:
    """The velocities, the forces and the cost of a scene under predictors or a policy."""
    if isinstance(network, Policy):
        run = closed_loop(closing_problem(scene.target), network, closing_start(scene))
        return run.states.velocity, run.states.force, run.cost
    run = execute(hierarchy_of(network), planned_problem(scene), scene.start, refined=refined)
    return run.states, run.controls, run.cost


def wait(scene: Scene) -> tuple[Array, Array, Array]:
    """The same where nothing acts before the last step, which then has to do it all."""
    problem = closing_problem(scene.target)
    run = simulate(problem, closing_start(scene), problem.at_rest())
    return run.states.velocity, run.states.force, run.cost


def plan(scene: Scene, iterations: int) -> tuple[Array, Array, Array]:
    """The same under the controls that trajectory optimization finds for this scene alone."""
    problem, start = closing_problem(scene.target), closing_start(scene)
    run = simulate(problem, start, optimize_controls(problem, start, iterations=iterations).controls)
    return run.states.velocity, run.states.force, run.cost


def measured(velocities: Array, forces: Array, scenes: Scene) -> dict[str, Array]:
    """The total force over the ground truth's, its squares, and how far the last states are from their targets."""
    totals = jnp.sum(jnp.abs(forces), (1, 2))
    true = STEPS * jnp.sum(jnp.abs(scenes.force), 1)
    return {
        "error": jnp.sum(totals) / jnp.sum(true),
        "squares": jnp.sum(forces**2) / (STEPS * jnp.sum(scenes.force**2)),
        "deviation": jnp.max(jnp.abs(velocities[:, -1] - scenes.target)),
        "totals": totals,
    }


def arms_of(settings: Settings) -> dict[str, Arm]:
    """The arms that are trained through the solver."""
    rate = optax.exponential_decay(settings.rate, settings.half_life, 0.5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b2=0.99))

    def batch(key: Array, count: Array) -> Scene:
        return draw_scenes(key, settings.batch)

    def loss(network: Any, scenes: Scene) -> Array:
        return jnp.mean(jax.vmap(lambda scene: steer(network, scene)[2])(scenes))

    makers = {"hierarchy": make_predictors, "policy": make_policy}
    return {
        name: gradient_arm(partial(make, settings.features), batch, loss, optimizer)
        for name, make in makers.items()
        if name in settings.arms
    }


def run(settings: Settings, run: Run) -> None:
    """Draw the test scenes, plan each of them, train and test the arms."""
    scenes = jax.jit(draw_scenes, static_argnums=1)(jax.random.key(10_000 + run.seed), settings.scenes)
    velocities, forces, _ = jax.jit(jax.vmap(wait))(scenes)
    waiting = measured(velocities, forces, scenes)
    velocities, forces, _ = jax.jit(jax.vmap(lambda scene: plan(scene, settings.iterations)))(scenes)
    planned = measured(velocities, forces, scenes)
    shown = {"plan": (velocities[0], forces[0])}
    run.save_frames("plan", shown_scenes(velocities[:3], forces[:3]))
    true = STEPS * jnp.sum(jnp.abs(scenes.force), 1)
    more = {"trajectory_optimization": planned, "waiting": waiting, "ground_truth": {"totals": true}}

    def measure(network: Any) -> dict[str, Array]:
        velocities, forces, _ = jax.vmap(lambda scene: steer(network, scene))(scenes)
        return measured(velocities, forces, scenes)

    run.write_metrics({"arms": {}, "paper": {"arms": PUBLISHED}, **more})
    through_solver = dataclasses.replace(settings, arms=("all",))
    few = jax.tree.map(lambda leaf: leaf[:3], scenes)
    steered = eqx.filter_jit(lambda network: jax.vmap(lambda scene: steer(network, scene))(few))
    arms = compare(
        run,
        arms_of(settings),
        through_solver,
        measure=measure,
        published=PUBLISHED,
        more=more,
        answers=lambda network: shown_scenes(*steered(network)[:2]),
    )
    metrics = run.read_metrics()
    for name, arm in arms.items():
        network = first_network(run, name, arm)
        velocities, forces, _ = jax.jit(lambda one, network=network: steer(network, one))(_first(scenes))
        shown[name] = (velocities, forces)
        if name == "hierarchy":
            velocities, forces, _ = jax.jit(jax.vmap(lambda one, network=network: steer(network, one, True)))(scenes)
            metrics["refined"] = measured(velocities, forces, scenes)
    if "ppo" in settings.arms:
        if sentence := missing_extra():
            metrics["left_out"] = {"ppo": sentence}
        else:
            metrics["arms"]["ppo"], shown["ppo"] = _reinforced(settings, run, scenes)
    run.save_checkpoint("shown", {"scene": _first(scenes), "arms": shown})
    run.write_metrics(metrics)


def shown_scenes(velocities: Array, forces: Array) -> xarray.Dataset:
    """Velocity and force of scenes, (scenes, steps, points), for `diffphys view`."""
    parts = {"velocity": velocities, "force": forces}
    lines = {"time": DT * np.arange(1, STEPS + 1), "x": np.linspace(0.0, 1.0, POINTS)}
    return xarray.Dataset({name: (("case", "time", "x"), np.asarray(part)) for name, part in parts.items()}, lines)


def _reinforced(settings: Settings, run: Run, scenes: Scene) -> tuple[dict[str, Any], tuple[Array, Array]]:
    """Train by reinforcement learning, with the published numbers, on the same task and the same observations."""

    def draw(key: Array) -> tuple[Closing, Array]:
        scene = draw_scene(key)
        return closing_start(scene), scene.target

    steps = jax.jit(jax.vmap(closing_problem().step))

    def measure(act: Any) -> dict[str, Array]:
        states, velocities, forces = jax.vmap(closing_start)(scenes), [], []
        for step in range(STEPS):  # the agent decides outside of compiled programs
            left = jnp.full(settings.scenes, 1.0 - step / STEPS)
            states = steps(states, act(np.asarray(jax.vmap(observed)(states, scenes.target, left))))
            velocities.append(states.velocity)
            forces.append(states.force)
        found = jnp.stack(velocities, 1), jnp.stack(forces, 1)
        seen["first"] = found[0][0], found[1][0]
        return measured(*found, scenes)

    seen: dict[str, tuple[Array, Array]] = {}
    published = ProximalPolicy(episodes=10, steps=320, epochs=10, batch=128, rate=1e-4)
    hidden = (settings.features, settings.features)
    # Its agents need bounds; ten is six times what the ground truth ever needs.
    problem = dataclasses.replace(closing_problem(jnp.zeros(POINTS)), lower=-10.0, upper=10.0)
    more: dict[str, Any] = {"observe": observed, "hidden": hidden}
    summary = train_proximal_policy(run, "ppo", problem, draw, published, settings, measure=measure, **more)
    return summary, seen["first"]


def _first(scenes: Scene) -> Scene:
    return jax.tree.map(lambda leaf: leaf[0], scenes)


def report(run: Run) -> Table:
    """Curves over time, the first test scene, forces by scene, and the table; "plan" is trajectory optimization."""
    metrics = run.read_metrics()
    arms = {name: metrics["arms"][name] for name in run.settings.arms if name in metrics["arms"]}
    label = "force over the ground truth's"
    run.save_figure("curves.png", curves_figure(arms, metrics["paper"]["arms"], label))
    squares = {
        name: {"curves": [curve | {"error": curve["squares"]} for curve in arm["curves"]]} for name, arm in arms.items()
    }
    run.save_figure("squares.png", curves_figure(squares, {}, "squared force over the ground truth's"))
    _draw_scene(run, ["plan", *arms])
    _draw_totals(run, metrics, arms)

    table = Table("arm", label, "published", "its squares", "deviation", "updates", "seconds", title="control-burgers")
    table.add_row("ground truth", "1", "1", "1", "0", "", "")

    def row(name: str, numbers: Mapping[str, Any], *rest: str) -> None:
        paper = metrics["paper"]["arms"].get(name, {}).get("final_error")
        known = "" if paper is None else f"{paper:.2f}"
        table.add_row(name, *map(in_short, [numbers["error"]]), known, *_rest(numbers), *rest)

    row("nothing until the last step", metrics["waiting"], "", "")
    row("trajectory optimization", metrics["trajectory_optimization"], f"{run.settings.iterations} each", "")
    for name, arm in arms.items():
        last = {
            key: np.median([curve[key][-1] for curve in arm["curves"]]) for key in ("error", "squares", "deviation")
        }
        row(name, last, str(arm["updates"]), f"{arm['seconds']:.0f}")
        if name == "hierarchy" and "refined" in metrics:
            row("hierarchy, refined", metrics["refined"], "the first network's", "")
    sentences = metrics.get("left_out", {}).values()
    table.caption = " ".join(sentences) or None
    return table


def _rest(numbers: Mapping[str, Any]) -> list[str]:
    return [in_short(numbers["squares"]), f"{numbers['deviation']:.1e}"]


def _draw_scene(run: Run, names: list[str]) -> None:
    """Velocity and force of the first test scene."""
    pair = (jnp.zeros((STEPS, POINTS)), jnp.zeros((STEPS, POINTS)))
    scene = Scene(*(jnp.zeros(POINTS) for _ in range(3)))
    kept = run.load_checkpoint("shown", {"scene": scene, "arms": {name: pair for name in names}})
    force = jnp.broadcast_to(kept["scene"].force, (STEPS, POINTS))
    _, velocities = rollout(steered_burgers(), kept["scene"].start, STEPS, inputs=force, save_every=1)
    times = DT * np.arange(1, STEPS + 1)
    flows = {"ground truth": velocities} | {name: kept["arms"][name][0] for name in names}
    forces = {"ground truth": force} | {name: kept["arms"][name][1] for name in names}
    run.save_figure("velocity.png", plots.space_time_figure(flows, times, 1.0))
    run.save_figure("force.png", plots.space_time_figure(forces, times, 1.0, label="force"))


def _draw_totals(run: Run, metrics: Mapping[str, Any], arms: Mapping[str, Any]) -> None:
    """The total force of each test scene, those that need least first."""
    true = np.asarray(metrics["ground_truth"]["totals"])
    order, places = np.argsort(true), np.arange(len(true))
    lines = {"plan": metrics["trajectory_optimization"]["totals"]}
    lines |= {name: arm["curves"][0]["totals"][-1] for name, arm in arms.items()}
    curves = {name: (places, np.asarray(totals, float)[order]) for name, totals in lines.items()}
    panel = plots.Panel(
        lines=curves, points={"ground truth": (places, true[order])}, x="test scene", y="total force, sum of |F|"
    )
    run.save_figure("totals.png", plots.panels_figure([panel], columns=1, height=3.4))


PROGRAM = Program("control-burgers", Settings, PRESETS, run, report, duration=duration, sources=SOURCES)
