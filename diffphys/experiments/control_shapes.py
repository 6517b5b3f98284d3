r"""A drop of marker in a fluid becomes another shape at another place, moved by a force on the fluid.

Holl, Koltun, Thuerey, "Learning to control PDEs with differentiable physics" (ICLR 2020), shape transitions, with the
numbers of "Physics-based Deep Learning" (Thuerey et al.): 64 x 64 cells, 16 steps, no viscosity.

    dv/dt + v . grad v = -grad p + F,      div v = 0,      dd/dt + v . grad d = 0

Networks plan the marker half-way, and half-way again, and an estimator of the control makes each step. As published it
gives a stream function, whose curl is the velocity of the next step, and nothing is solved: the force is what that
velocity differs by from the one that the fluid carries itself, `F = v_(t+1) - carried v_t`. The arm "pressure" pushes
the fluid instead, and a pressure keeps it free of divergence. The arm "chain" has no plans: its one network sees the
marker, the target and the time.

The published shapes are not at hand; ours are drawn in `star_shapes`. Nobody has made the targets by a force, so that
there is no force of a ground truth: forces stand beside those of trajectory optimization, which sees one task at a
time.
"""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.control import (
    ControlProblem,
    PredictorCorrector,
    Trajectory,
    closed_loop,
    execute,
    optimize_controls,
    simulate,
)
from diffphys.experiments.comparison import Arm, Budget, compare, duration, first_network, in_short, shown_on
from diffphys.experiments.comparison_figures import curves_figure
from diffphys.experiments.optimizers import gradient_arm
from diffphys.experiments.planned import blur_matrix, plan_each
from diffphys.experiments.star_shapes import OUTLINES, star_shape
from diffphys.grids import Dirichlet, Field, Grid, Neumann, Wall
from diffphys.nets import Convolution
from diffphys.operators import SemiLagrangian, curl
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Program, Run, replacing, setting


CELLS, STEPS, AREA = 64, 16, 124.0
MARGIN = 17  # from the walls to the nearest centers of shapes: their pictures have 32 x 32 cells, and a margin of one
GRID = Grid((CELLS, CELLS), (float(CELLS), float(CELLS)))
PART = 4  # steps of the tasks that training begins with
FOLD, ROUNDS, HEADS = 4, 2, 8  # of the networks
BLOCKS = CELLS // FOLD
CARRIES = SemiLagrangian()  # as published; its gathers serve any Courant number

# The mean over 100 tests of sum |d_16 - target| / sum |d_0 - target|.
PUBLISHED = {"hierarchy": {"final_error": 0.0545}}
ARMS = ("hierarchy", "chain", "pressure")
SOURCES = (
    "P. Holl, V. Koltun, N. Thuerey: Learning to control PDEs with differentiable physics, ICLR 2020",
    "N. Thuerey et al.: Physics-based Deep Learning, chapter on incompressible fluids and control",
)


@dataclass(frozen=True)
class Settings(Budget):
    """How the arms are trained; the task is the published one."""

    arms: tuple[str, ...] = setting(
        ARMS,
        help="hierarchy (as published), chain (one network, no plans), pressure (the hierarchy with a pressure solve)",
        choices=ARMS,
    )
    features: int = setting(32, help="channels of every network, a multiple of eight", minimum=HEADS)
    batch: int = setting(8, help="scenes of an update (published: 16)", minimum=1)
    rate: float = setting(1e-3, help="Adam's rate at the beginning", above=0.0)
    half_life: int = setting(1500, help="updates after which the rate has halved (published: 1000)", minimum=1)
    pretraining: int = setting(300, help="first updates, on four steps and on single plans", minimum=0)
    weight: float = setting(1e-3, help="what a unit of mean force costs beside the distance", minimum=0.0)
    scenes: int = setting(100, help="test scenes", minimum=1)
    planned: int = setting(4, help="test scenes for which trajectory optimization is made", minimum=1)
    iterations: int = setting(300, help="of the trajectory optimization of each of these", minimum=1)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"seconds": 180.0, "clock": "processor", "seeds": 1, "scenes": 20, "planned": 2, "arms": ("hierarchy",)},
    "book": {"seconds": 2400.0, "clock": "processor", "seeds": 1, "pretraining": 1500, "half_life": 2000}
    | {"planned": 10},
    "long": {"seconds": 28800.0, "clock": "processor", "seeds": 1, "pretraining": 3000, "half_life": 8000}
    | {"arms": ("hierarchy", "pressure"), "planned": 10},
}


class Scene(NamedTuple):
    """A task: the marker's shape at the beginning and at the end, and shapes between, which are for pretraining only.

    Attributes:
        frames: A shape of the same area for each of the frames 0 to 16 that moves evenly, (17, cells, cells).
    """

    frames: Array

    @property
    def start(self) -> Array:
        """The first shape."""
        return self.frames[..., 0, :, :]

    @property
    def target(self) -> Array:
        """The last shape."""
        return self.frames[..., -1, :, :]


class Marked(NamedTuple):
    """The fluid and the marker in it.

    Attributes:
        flow: The fluid's velocity and pressure.
        marker: How much marker there is, at the cell centers.
        spent: |F|^2 / 2 of the last step, summed over all faces.
        step: Steps made.
    """

    flow: FlowState
    marker: Field
    spent: Array
    step: Array


def the_flow() -> IncompressibleFlow:
    """The fluid, between walls that let it slip."""
    return IncompressibleFlow(GRID, viscosity=0.0, dt=1.0, sides=Wall(slip=True), advection=CARRIES)


def at_rest(marker: Array) -> Marked:
    """The fluid at rest with a marker in it."""
    slopes = ((Neumann(0.0), Neumann(0.0)),) * 2
    field = Field(marker, GRID, (0.5, 0.5), slopes)
    return Marked(the_flow().initial_state(), field, jnp.zeros(()), jnp.zeros((), jnp.int32))


def carried_velocity(state: Marked) -> tuple[Field, ...]:
    """The velocity that the fluid would have one step later if nothing pushed it."""
    velocity = state.flow.velocity
    return tuple(CARRIES.carry(part, velocity, 1.0) for part in velocity)


def _moved(state: Marked, flow: FlowState, force: list[Array]) -> Marked:
    spent = 0.5 * sum((jnp.sum(part**2) for part in force), jnp.zeros(()))
    return Marked(flow, CARRIES.carry(state.marker, flow.velocity, 1.0), spent, state.step + 1)


def streamed(state: Marked, stream: Array) -> Marked:
    """One step whose velocity is the curl of a stream function at the corners within the domain, as published."""
    ends = ((Dirichlet(0.0), Dirichlet(0.0)),) * 2
    turned: Any = curl(Field(jnp.pad(stream, 1), GRID, (0.0, 0.0), ends))
    velocity = tuple(part.with_values(one.values) for part, one in zip(state.flow.velocity, turned, strict=True))
    force = [one.values - two.values for one, two in zip(velocity, carried_velocity(state), strict=True)]
    return _moved(state, dataclasses.replace(state.flow, velocity=velocity), force)


def pushed(state: Marked, force: tuple[Array, Array]) -> Marked:
    """One step in which the fluid is carried, pushed by a force on the faces, and kept free of divergence."""
    return _moved(state, the_flow()(state.flow, list(force)), list(force))


def draw_scene(key: Array) -> Scene:
    """Two of the ten shapes at two places."""
    shapes, places = jax.random.split(key)
    first, second = jnp.asarray(OUTLINES, jnp.float32)[jax.random.randint(shapes, (2,), 0, len(OUTLINES))]
    start, end = jax.random.randint(places, (2, 2), MARGIN, CELLS - MARGIN + 1).astype(jnp.float32)
    points = [jnp.arange(CELLS)[:, None] + 0.5, jnp.arange(CELLS)[None] + 0.5]

    def frame(share: Array) -> Array:
        return star_shape(points, start + share * (end - start), first + share * (second - first), AREA)

    return Scene(jax.vmap(frame)(jnp.arange(STEPS + 1) / STEPS))


def draw_scenes(key: Array, count: int) -> Scene:
    """Several, with a leading axis."""
    return jax.vmap(draw_scene)(jax.random.split(key, count))


SCALES = ((12.0, 30.0), (4.0, 3.0), (1.5, 1.0))
"""Widths of blurs, in cells, and how much each counts; a shape that is far away is felt through the widest."""


def distance(marker: Array, target: Array) -> Array:
    """Squares of the difference, cell by cell and on wider and wider scales."""
    difference = marker - target
    total = jnp.sum(difference**2)
    for width, weight in SCALES:
        blur = blur_matrix(CELLS, width).astype(marker.dtype)
        total = total + weight * jnp.sum((blur @ difference @ blur.T) ** 2)
    return total


def shape_problem(target: Array, weight: float, pressure: bool = False, steps: int = STEPS) -> ControlProblem:
    """Meet the target with little force; a control is a stream function, or with a pressure solve a force."""
    faces = (jnp.zeros((CELLS + 1, CELLS)), jnp.zeros((CELLS, CELLS + 1)))
    return ControlProblem(
        pushed if pressure else streamed,
        steps,
        faces if pressure else jnp.zeros((CELLS - 1, CELLS - 1)),
        running_cost=lambda state, control, target: weight * state.spent / STEPS,
        terminal_cost=lambda state, target: distance(state.marker.values, target),
        target=target,
    )


class Folded(eqx.Module):
    """A network that sees blocks of 4 x 4 cells as channels; (images, *cells) both ways.

    Two rounds of: a convolution over three blocks along each axis, sums along whole rows and columns of blocks with
    learned weights, eight sets of them, and another convolution. So it sees all of the domain, in less than half of
    the time of a U-Net on blocks of 2 x 2 cells, and compiles in a third.
    """

    first: Convolution
    near: tuple[Convolution, ...]
    far: Array
    last: Convolution

    def __init__(self, inputs: int, outputs: int, features: int, key: Array):
        first, last, far, *near = jax.random.split(key, 3 + 2 * ROUNDS)
        self.first = Convolution(FOLD**2 * inputs, features, kernel_size=1, key=first)
        self.near = tuple(Convolution(features, features, key=one) for one in near)
        self.far = jax.random.normal(far, (ROUNDS, 2, HEADS, BLOCKS, BLOCKS)) / BLOCKS**0.5
        self.last = Convolution(features, FOLD**2 * outputs, kernel_size=1, scale=0.1, key=last)

    def __call__(self, *images: Array) -> Array:
        """The answers to images, with a leading axis."""
        blocks = jnp.stack(images).reshape(len(images), BLOCKS, FOLD, BLOCKS, FOLD)
        hidden = self.first(blocks.transpose(0, 2, 4, 1, 3).reshape(-1, BLOCKS, BLOCKS))
        for number, (along_x, along_y) in enumerate(self.far):
            spread = jax.nn.relu(self.near[2 * number](hidden)).reshape(HEADS, -1, BLOCKS, BLOCKS)
            spread = jnp.einsum("hxX,hcXY->hcxY", along_x, spread)
            spread = jnp.einsum("hyY,hcxY->hcxy", along_y, spread)
            hidden = hidden + spread.reshape(hidden.shape)
            hidden = hidden + self.near[2 * number + 1](jax.nn.relu(hidden))
        blocks = self.last(jax.nn.relu(hidden)).reshape(-1, FOLD, FOLD, BLOCKS, BLOCKS)
        return blocks.transpose(0, 3, 1, 4, 2).reshape(-1, CELLS, CELLS)


class Predictor(eqx.Module):
    """An observation predictor: from two markers to what is half-way."""

    network: Folded

    def __call__(self, left: Array, right: Array) -> Array:
        return self.network(left, right)[0]


class StreamEstimator(eqx.Module):
    """The stream function that takes the marker to what is planned."""

    network: Folded

    def __call__(self, state: Marked, planned: Array) -> Array:
        return _stream(self.network(state.marker.values, planned))


class PushEstimator(eqx.Module):
    """The force that does: what the wanted velocity differs by from the one that the fluid carries itself."""

    network: Folded

    def __call__(self, state: Marked, planned: Array) -> tuple[Array, Array]:
        along_x, along_y = (part.values for part in carried_velocity(state))
        wanted = 3.0 * self.network(state.marker.values, planned, along_x[1:], along_y[:, 1:])
        # Nothing moves through the walls.
        force_x = jnp.pad((wanted[0] - along_x[1:])[:-1], ((1, 1), (0, 0)))
        force_y = jnp.pad((wanted[1] - along_y[:, 1:])[:, :-1], ((0, 0), (1, 1)))
        return force_x, force_y


class Chain(eqx.Module):
    """A policy without plans: it sees the marker, the target and the share of the time that is left."""

    network: Folded

    def __call__(self, state: Marked, target: Array) -> Array:
        left = jnp.full((CELLS, CELLS), 1.0 - state.step / STEPS)
        return _stream(self.network(state.marker.values, target, left))


def _stream(answer: Array) -> Array:
    return 10.0 * answer[0, 1:, 1:]  # so that an answer of one is a speed of the order of one


Controller = PredictorCorrector | Chain


def make_controller(name: str, features: int, key: Array) -> Controller:
    """The networks of an arm: OP_2 to OP_16 with an estimator, or the one of the chain."""
    if name == "chain":
        return Chain(Folded(3, 1, features, key))
    *keys, last = jax.random.split(key, STEPS.bit_length())
    predictors = [Predictor(Folded(2, 1, features, key)) for key in keys]
    if name == "pressure":
        estimator: Any = PushEstimator(Folded(4, 2, features, last))
    else:
        estimator = StreamEstimator(Folded(2, 1, features, last))
    return PredictorCorrector(predictors, estimator, observe=the_marker)


def the_marker(state: Marked) -> Array:
    """What is observed."""
    return state.marker.values


def _with_pressure(controller: Controller) -> bool:
    return isinstance(controller, PredictorCorrector) and isinstance(controller.estimator, PushEstimator)


def steer(controller: Controller, scene: Scene, weight: float, refined: bool = False) -> Trajectory:
    """A scene under a controller."""
    problem = shape_problem(scene.target, weight, _with_pressure(controller))
    if isinstance(controller, Chain):
        return closed_loop(problem, controller, at_rest(scene.start))
    return execute(controller, problem, at_rest(scene.start), refined=refined)


def plan(scene: Scene, weight: float, iterations: int) -> Trajectory:
    """The same under the stream functions that trajectory optimization finds for this scene alone."""
    problem, start = shape_problem(scene.target, weight), at_rest(scene.start)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.3, iterations))
    found = optimize_controls(problem, start, optimizer=optimizer, iterations=iterations)
    return simulate(problem, start, found.controls)


def part_cost(controller: Controller, scene: Scene, key: Array, weight: float) -> Array:
    """What training begins with: four steps between shapes that move evenly, and how far plans are from these shapes.

    The marker is blurred as it is after some steps.
    """
    interval, blurred, width, *choices = jax.random.split(key, 3 + STEPS.bit_length() - 1)
    begin = PART * jax.random.randint(interval, (), 0, STEPS // PART)
    blur = blur_matrix(CELLS, jax.random.uniform(width, minval=0.3, maxval=1.5))
    marker = scene.frames[begin]
    marker = jnp.where(jax.random.bernoulli(blurred), blur @ marker @ blur.T, marker)
    state, target = at_rest(marker)._replace(step=jnp.asarray(STEPS - PART)), scene.frames[begin + PART]
    problem = shape_problem(target, weight, _with_pressure(controller), PART)
    if isinstance(controller, Chain):
        return closed_loop(problem, controller, state).cost
    part = PredictorCorrector(controller.predictors[: PART.bit_length() - 1], controller.estimator, the_marker)
    cost = execute(part, problem, state).cost
    for level, (predictor, choice) in enumerate(zip(controller.predictors, choices, strict=True), start=1):
        span = 2**level
        left = span * jax.random.randint(choice, (), 0, STEPS // span)
        planned = predictor(scene.frames[left], scene.frames[left + span])
        cost = cost + 0.5 * jnp.sum((planned - scene.frames[left + span // 2]) ** 2)
    return cost


def measured(trajectories: Trajectory, scenes: Scene) -> dict[str, Array]:
    """The error as published, of all scenes and of each, and the mean force of a step."""
    states = trajectories.states
    axes = (-2, -1)
    missed = jnp.sum(jnp.abs(states.marker.values[:, -1] - scenes.target), axes)
    errors = missed / jnp.sum(jnp.abs(scenes.start - scenes.target), axes)
    return {"error": jnp.mean(errors), "force": jnp.mean(states.spent), "errors": errors}


def arms_of(settings: Settings) -> dict[str, Arm]:
    """The arms, all trained through the solver after a beginning on single plans and steps."""
    rate = optax.exponential_decay(settings.rate, settings.half_life, 0.5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def batch(key: Array, count: Array) -> tuple[Scene, Array, Array]:
        scenes, parts = jax.random.split(key)
        return (
            draw_scenes(scenes, settings.batch),
            jax.random.split(parts, settings.batch),
            count < settings.pretraining,
        )

    def loss(controller: Controller, samples: tuple[Scene, Array, Array]) -> Array:
        scenes, keys, beginning = samples

        def parts() -> Array:
            return jax.vmap(lambda scene, key: part_cost(controller, scene, key, settings.weight))(scenes, keys)

        def wholes() -> Array:
            return jax.vmap(lambda scene: steer(controller, scene, settings.weight).cost)(scenes)

        return jnp.mean(jax.lax.cond(beginning, parts, wholes))

    return {
        name: gradient_arm(partial(make_controller, name, settings.features), batch, loss, optimizer)
        for name in settings.arms
    }


def run(settings: Settings, run: Run) -> None:
    """Draw the test scenes, plan some of them one by one, train and test the arms."""
    scenes = jax.jit(draw_scenes, static_argnums=1)(jax.random.key(10_000 + run.seed), settings.scenes)
    shown = jax.tree.map(lambda leaf: leaf[:3], scenes)
    planned = plan_each(
        run,
        jax.tree.map(lambda leaf: leaf[: settings.planned], scenes),
        lambda scene: plan(scene, settings.weight, settings.iterations),
        measure=measured,
        picture=_picture,
        keep=("error", "force"),
    )
    more: dict[str, Any] = {"trajectory_optimization": planned}
    steered = eqx.filter_jit(lambda controller, scenes: jax.vmap(lambda one: steer(controller, one, 0.0))(scenes))
    refined = eqx.filter_jit(lambda controller, scenes: jax.vmap(lambda one: steer(controller, one, 0.0, True))(scenes))
    arms = compare(
        run,
        arms_of(settings),
        dataclasses.replace(settings, arms=("all",)),
        measure=lambda controller: measured(steered(controller, scenes), scenes),
        published=PUBLISHED,
        more=more,
        answers=lambda controller: shown_on(GRID, {"marker": steered(controller, shown).states.marker.values}),
        truth=shown_on(GRID, {"marker": shown.frames[:, 1:]}),
    )
    metrics = run.read_metrics() | {"refined": {}}
    pictures = {}
    for name, arm in arms.items():
        controller = first_network(run, name, arm)
        pictures[name] = _picture(steered(controller, shown))
        if name != "chain":
            metrics["refined"][name] = measured(refined(controller, scenes), scenes)
    run.save_checkpoint("shown", {"frames": shown.frames, "arms": pictures})
    run.write_metrics(metrics)


@jax.jit
def _picture(trajectory: Trajectory) -> dict[str, Array]:
    """Marker and size of the force at the cell centers, (scenes, steps, *cells)."""

    def pushed_by(start: Marked, states: Marked) -> Array:
        # Before the first step the fluid is at rest.
        earlier = jax.tree.map(lambda leaf, one: jnp.concatenate([one[None], leaf[:-1]]), states, start)
        force = [
            one.values - two.values
            for one, two in zip(states.flow.velocity, jax.vmap(carried_velocity)(earlier), strict=True)
        ]
        along_x, along_y = (force[0][:, 1:] + force[0][:, :-1]) / 2, (force[1][..., 1:] + force[1][..., :-1]) / 2
        return jnp.sqrt(along_x**2 + along_y**2)

    marker = trajectory.states.marker.values
    rest = at_rest(jnp.zeros((CELLS, CELLS), marker.dtype))
    return {"marker": marker, "force": jax.vmap(lambda states: pushed_by(rest, states))(trajectory.states)}


def report(run: Run) -> Table:
    """Curves over time, the first test scene as pictures and animation, and the table."""
    metrics = run.read_metrics()
    arms = {name: metrics["arms"][name] for name in run.settings.arms if name in metrics["arms"]}
    run.save_figure("curves.png", curves_figure(arms, metrics["paper"]["arms"], "relative error of the last marker"))
    _draw_scene(run, list(arms))

    heads = ("arm", "relative error", "published", "mean force", "updates", "seconds")
    table = Table(*heads, title="control-shapes")
    planned = metrics["trajectory_optimization"]
    table.add_row(
        f"trajectory optimization, {len(planned['error'])} scenes",
        in_short(float(np.mean(planned["error"]))),
        "",
        in_short(float(np.mean(planned["force"]))),
        f"{run.settings.iterations} each",
        f"{np.median(planned['seconds']):.1f} each",
    )
    for name, arm in arms.items():
        known = metrics["paper"]["arms"].get(name, {}).get("final_error")
        force = float(np.median([curve["force"][-1] for curve in arm["curves"]]))
        numbers = [in_short(arm["final_error"]), "" if known is None else f"{known:.4f}", in_short(force)]
        table.add_row(name, *numbers, str(arm["updates"]), f"{arm['seconds']:.0f}")
        if name in metrics.get("refined", {}):
            refined = metrics["refined"][name]
            table.add_row(f"{name}, refined", in_short(refined["error"]), "", in_short(refined["force"]), "", "")
    return table


def _draw_scene(run: Run, names: list[str]) -> None:
    """Marker and force of the first test scene: the shape that moves evenly, which no arm is shown, stands on top."""
    frames = jnp.zeros((STEPS, CELLS, CELLS))
    several = jnp.zeros((min(3, run.settings.scenes), STEPS, CELLS, CELLS))
    picture = {"marker": frames, "force": frames}
    like = {"frames": jnp.zeros((len(several), STEPS + 1, CELLS, CELLS))}
    kept: Any = run.load_checkpoint(
        "shown", like | {"arms": {name: {"marker": several, "force": several} for name in names}}
    )
    plans = run.load_checkpoint("plans", picture)
    rows = {"evenly moved": kept["frames"][0, 1:], "plan": plans["marker"]}
    rows |= {name: kept["arms"][name]["marker"][0] for name in names}
    times, some = np.arange(1, STEPS + 1), slice(3, None, 4)
    look: dict[str, Any] = {"at": "cells", "horizontal": 0}
    size = GRID.size
    chosen = {name: row[some] for name, row in rows.items()}
    run.save_figure("marker.png", plots.frames_figure(chosen, times[some], size, label="marker", limit=1.0, **look))
    forces = {"plan": plans["force"]} | {name: kept["arms"][name]["force"][0] for name in names}
    chosen = {name: row[some] for name, row in forces.items()}
    run.save_figure("force.png", plots.frames_figure(chosen, times[some], size, label="size of the force", **look))
    with replacing(run.figure_path("marker.gif")) as path:
        plots.write_animation(path, rows, times, size, label="marker", frames_per_second=5, **look)


PROGRAM = Program("control-shapes", Settings, PRESETS, run, report, duration=duration, sources=SOURCES)
