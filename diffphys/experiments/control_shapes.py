r"""A drop of marker in a fluid becomes another shape at another place, moved by a force on the fluid.

Holl, Koltun, Thuerey, "Learning to control PDEs with differentiable physics" (ICLR 2020), shape transitions, with the
numbers of "Physics-based Deep Learning" (Thuerey et al.): 64 x 64 cells, 16 steps, no viscosity.

    dv/dt + v . grad v = -grad p + F,      div v = 0,      dd/dt + v . grad d = 0

Networks plan the marker half-way, and half-way again, and an estimator of the control makes each step. As published it
gives a stream function, whose curl is the velocity of the next step, and nothing is solved: the force is what that
velocity differs by from the one that the fluid carries itself, `F = v_(t+1) - carried v_t`. The arm "pressure" pushes
the fluid instead, and a pressure keeps it free of divergence. The arm "chain" has no plans: its one network sees the
marker, the target and the time.

The published networks are U-Nets on the whole domain. Ours are multilayer perceptrons that see 32 x 32 cells around the
marker and around what is planned, and how far these are apart; they answer around what is planned. So a shape looks the
same wherever it is. A marker's place is its center of gravity; a plan's is the middle of the way, for what networks
plan may be of both signs, and then its center of gravity may lie anywhere. Before training a plan is the mean of both
shapes there, and a control the stream of a disk that is moved as far as the plan. The gradient goes through the solver
to each decision, as that of trajectory optimization does, and not on through how later decisions answer to what is
seen; of each scene's cost the logarithm is minimized, so that a few that fail do not decide all of it.

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
from diffphys.nets import MLP
from diffphys.operators import SemiLagrangian, curl
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Program, Run, replacing, setting


CELLS, STEPS, AREA = 64, 16, 124.0
MARGIN = 17  # from the walls to the nearest centers of shapes: their pictures have 32 x 32 cells, and a margin of one
GRID = Grid((CELLS, CELLS), (float(CELLS), float(CELLS)))
VIEW = 32  # cells along each axis of what networks see around a shape
IMPROVING = 0.05  # Adam's rate for stream functions that a network has decided
MOVED = 12.0  # radius of the disk of fluid that is moved with a shape before training
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
    features: int = setting(256, help="neurons of each of two hidden layers; half of them for plans", minimum=2)
    batch: int = setting(8, help="scenes of an update (published: 16)", minimum=1)
    rate: float = setting(5e-4, help="Adam's rate at the beginning", above=0.0)
    half_life: int = setting(1500, help="updates after which the rate has halved (published: 1000)", minimum=1)
    speeds: int = setting(3000, help="first updates, in which speed is priced in place of the force", minimum=0)
    weight: float = setting(1e-3, help="what a unit of mean force costs beside the distance", minimum=0.0)
    scenes: int = setting(100, help="test scenes", minimum=1)
    planned: int = setting(4, help="test scenes for which trajectory optimization is made", minimum=1)
    iterations: int = setting(300, help="of the trajectory optimization of each of these", minimum=1)
    few: int = setting(20, help="iterations of the one that begins with what a network has decided", minimum=1)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"seconds": 150.0, "clock": "processor", "seeds": 1, "scenes": 50, "planned": 1, "arms": ("hierarchy",)},
    "book": {"seconds": 1200.0, "clock": "processor", "seeds": 1},
    "long": {"seconds": 2400.0, "clock": "processor", "seeds": 1, "arms": ("hierarchy",)},
}


class Scene(NamedTuple):
    """A task: the marker's shape at the beginning and at the end, and shapes between, which are only to be looked at.

    Attributes:
        frames: A shape of the same area that moves evenly, (frames, cells, cells): 17 for all steps, or two.
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


def _curled(state: Marked, stream: Array) -> tuple[Field, ...]:
    """The velocity of a stream function at the corners within the domain."""
    ends = ((Dirichlet(0.0), Dirichlet(0.0)),) * 2
    turned: Any = curl(Field(jnp.pad(stream, 1), GRID, (0.0, 0.0), ends))
    return tuple(part.with_values(one.values) for part, one in zip(state.flow.velocity, turned, strict=True))


def streamed(state: Marked, stream: Array) -> Marked:
    """One step whose velocity is the curl of a stream function at the corners within the domain, as published."""
    return _streamed(state, stream, carried_velocity(state))


def streamed_by_speed(state: Marked, stream: Array) -> Marked:
    """The same, but what is spent is |v|^2 / 2, as if the fluid came to rest after each step.

    Its gradient takes half of the time: that of the force goes through the look-ups of the velocity's own transport.
    """
    return _streamed(state, stream, the_flow().initial_state().velocity)


def _streamed(state: Marked, stream: Array, carried: tuple[Field, ...]) -> Marked:
    velocity = _curled(state, stream)
    force = [one.values - two.values for one, two in zip(velocity, carried, strict=True)]
    return _moved(state, dataclasses.replace(state.flow, velocity=velocity), force)


def pushed(state: Marked, force: tuple[Array, Array]) -> Marked:
    """One step in which the fluid is carried, pushed by a force on the faces, and kept free of divergence."""
    return _moved(state, the_flow()(state.flow, list(force)), list(force))


def draw_scene(key: Array, count: int = STEPS + 1) -> Scene:
    """Two of the ten shapes at two places, with so many frames."""
    shapes, places = jax.random.split(key)
    first, second = jnp.asarray(OUTLINES, jnp.float32)[jax.random.randint(shapes, (2,), 0, len(OUTLINES))]
    start, end = jax.random.randint(places, (2, 2), MARGIN, CELLS - MARGIN + 1).astype(jnp.float32)
    points = [jnp.arange(CELLS)[:, None] + 0.5, jnp.arange(CELLS)[None] + 0.5]

    def frame(share: Array) -> Array:
        return star_shape(points, start + share * (end - start), first + share * (second - first), AREA)

    return Scene(jax.vmap(frame)(jnp.linspace(0.0, 1.0, count)))


def draw_scenes(key: Array, count: int, frames: int = STEPS + 1) -> Scene:
    """Several, with a leading axis."""
    return jax.vmap(lambda one: draw_scene(one, frames))(jax.random.split(key, count))


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
        terminal_cost=lambda state, target: distance(state.marker.values, target.image),
        target=seen(target),
    )


class Seen(NamedTuple):
    """A marker as networks look at it: one that is there, or one that is planned.

    Attributes:
        image: How much marker there is in each cell.
        corner: The first cell along each axis of the view of it, whole numbers, (2,).
    """

    image: Array
    corner: Array


def seen(image: Array) -> Seen:
    """A marker that is there: its center of gravity is in the middle of the view."""
    return Seen(image, corner_around(image))


def the_marker(state: Marked) -> Seen:
    """What is observed, without a gradient, as said at the top of this file."""
    return seen(jax.lax.stop_gradient(state.marker.values))


def corner_around(image: Array) -> Array:
    """The first cell along each axis of the view that has an image's center of gravity in its middle, (2,)."""
    total, places = jnp.maximum(jnp.sum(image), 1.0), jnp.arange(CELLS) + 0.5
    center = jnp.stack([jnp.sum(jnp.sum(image, axis) * places) for axis in (1, 0)]) / total
    corner = jnp.clip(jnp.round(center - VIEW / 2), 0, CELLS - VIEW)
    return jax.lax.stop_gradient(corner)


def viewed(image: Array, corner: Array) -> Array:
    """What is seen of an image."""
    return jax.lax.dynamic_slice(image, _index(corner), (VIEW, VIEW))


def put(pattern: Array, corner: Array, nodes: int = CELLS) -> Array:
    """A pattern in the place of a view, in an image that is zero beside it."""
    return jax.lax.dynamic_update_slice(jnp.zeros((nodes, nodes), pattern.dtype), pattern, _index(corner))


def _index(corner: Array) -> tuple[Array, Array]:
    return corner[0].astype(jnp.int32), corner[1].astype(jnp.int32)


def make_network(patterns: int, side: int, more: int, features: int, key: Array) -> MLP:
    """A network from two views and some more numbers to patterns of so many nodes along each side."""
    sizes = (2 * VIEW**2 + more, features, features, patterns * side**2)
    network = MLP(sizes, jax.nn.relu, key=key)
    small = jax.tree.map(lambda leaf: 0.1 * leaf, network.layers[-1])
    return eqx.tree_at(lambda one: one.layers[-1], network, small)


def _patterns(network: MLP, side: int, *seen: Array) -> Array:
    return network(jnp.concatenate([one.ravel() for one in seen])).reshape(-1, side, side)


def carrying_stream(way: Array, middle: Array) -> Array:
    """A stream function at the corners within the domain that moves a disk around `middle` by `way` in a step.

    Beside the disk it is that of a dipole, as around a cylinder that moves, and at the walls it is zero.
    """
    places = jnp.arange(1, CELLS)
    x, y = places[:, None] - middle[0], places[None] - middle[1]
    turning = (1 + ((x**2 + y**2) / MOVED**2) ** 6) ** (-1 / 6)
    near_walls = jnp.tanh(jnp.minimum(places, CELLS - places) / 3)
    return (way[0] * y - way[1] * x) * turning * near_walls[:, None] * near_walls


def _faded(pattern: Array) -> Array:
    """A pattern of the nodes of a view that becomes zero at its border."""
    places = jnp.arange(VIEW + 1)
    line = jnp.clip(jnp.minimum(places, VIEW - places) / 4, 0.0, 1.0).astype(pattern.dtype)
    return pattern * line[:, None] * line


def _stream(pattern: Array, way: Array, corner: Array) -> Array:
    """What moves the shape on by `way` into the view at `corner`, and what a network adds there."""
    added = put(_faded(pattern), corner, CELLS + 1)[1:-1, 1:-1]
    return carrying_stream(way, corner + VIEW / 2) + added


class Predictor(eqx.Module):
    """An observation predictor: from two markers to what is half-way, their mean and what a network adds."""

    network: MLP

    def __call__(self, left: Seen, right: Seen) -> Seen:
        views = viewed(*left), viewed(*right)
        (added,) = _patterns(self.network, VIEW, *views, (right.corner - left.corner) / 8)
        middle = jnp.floor((left.corner + right.corner) / 2)
        return Seen(put((views[0] + views[1]) / 2 + added, middle), middle)


class StreamEstimator(eqx.Module):
    """The stream function that takes the marker to what is planned."""

    network: MLP

    def __call__(self, state: Marked, planned: Seen) -> Array:
        (pattern,), way, corner = _answer(self.network, state, planned)
        return _stream(pattern, way, corner)


class PushEstimator(eqx.Module):
    """The force that does: what the velocity of a stream function differs by from the one that the fluid carries
    itself, and what a network adds, of which the pressure takes away a part.
    """

    network: MLP

    def __call__(self, state: Marked, planned: Seen) -> tuple[Array, Array]:
        (pattern, *added), way, corner = _answer(self.network, state, planned)
        wanted = _curled(state, _stream(pattern, way, corner))
        # Nothing is pushed through the walls, which are far from every view's inside.
        push_x, push_y = (put(_faded(one), corner, CELLS + 1) for one in added)
        carried = carried_velocity(state)
        force_x, force_y = (one.values - two.values for one, two in zip(wanted, carried, strict=True))
        return force_x + push_x[:, :-1], force_y + push_y[:-1]


def _answer(network: MLP, state: Marked, planned: Seen) -> tuple[Array, Array, Array]:
    """A network's patterns, the way to what is planned, and the corner of the view around that."""
    marker = the_marker(state)
    way = planned.corner - marker.corner
    return _patterns(network, VIEW + 1, viewed(*marker), viewed(*planned), way), way, planned.corner


class Chain(eqx.Module):
    """A policy without plans: it sees the marker, the target and the share of the time that is left."""

    network: MLP

    def __call__(self, state: Marked, target: Seen) -> Array:
        marker = the_marker(state)
        left = jnp.maximum(STEPS - state.step, 1)
        way = jnp.round((target.corner - marker.corner) / left)
        sight = viewed(*marker), viewed(*target), (target.corner - marker.corner) / 8, 1.0 / left[None]
        (pattern,) = _patterns(self.network, VIEW + 1, *sight)
        return _stream(pattern, way, marker.corner + way)


Controller = PredictorCorrector | Chain


def make_controller(name: str, features: int, key: Array) -> Controller:
    """The networks of an arm: OP_2 to OP_16 with an estimator, or the one of the chain."""
    side = VIEW + 1
    if name == "chain":
        return Chain(make_network(1, side, 3, features, key))
    *keys, last = jax.random.split(key, STEPS.bit_length())
    predictors = [Predictor(make_network(1, VIEW, 2, features // 2, key)) for key in keys]
    if name == "pressure":
        estimator: Any = PushEstimator(make_network(3, side, 2, features, last))
    else:
        estimator = StreamEstimator(make_network(1, side, 2, features, last))
    return PredictorCorrector(predictors, estimator, observe=the_marker)


def _with_pressure(controller: Controller) -> bool:
    return isinstance(controller, PredictorCorrector) and isinstance(controller.estimator, PushEstimator)


def steer(
    controller: Controller, scene: Scene, weight: float, refined: bool = False, speeds: bool = False
) -> Trajectory:
    """A scene under a controller; in the beginning of training, speed is priced."""
    problem = shape_problem(scene.target, weight, _with_pressure(controller))
    if speeds and problem.step is streamed:
        problem = dataclasses.replace(problem, step=streamed_by_speed)
    if isinstance(controller, Chain):
        return closed_loop(problem, controller, at_rest(scene.start))
    return execute(controller, problem, at_rest(scene.start), refined=refined)


def plan(
    scene: Scene, weight: float, iterations: int, controller: Controller | None = None, rate: float = 0.3
) -> Trajectory:
    """The same under the stream functions that trajectory optimization finds for this scene alone, from rest or from
    what a controller has decided.
    """
    problem, start = shape_problem(scene.target, weight), at_rest(scene.start)
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, iterations))
    first = None if controller is None else steer(controller, scene, 0.0).controls
    found = optimize_controls(problem, start, first, optimizer=optimizer, iterations=iterations)
    return simulate(problem, start, found.controls)


def measured(trajectories: Trajectory, scenes: Scene) -> dict[str, Array]:
    """The error as published, of all scenes and of each, and the mean force of a step."""
    states = trajectories.states
    axes = (-2, -1)
    missed = jnp.sum(jnp.abs(states.marker.values[:, -1] - scenes.target), axes)
    errors = missed / jnp.sum(jnp.abs(scenes.start - scenes.target), axes)
    return {"error": jnp.mean(errors), "force": jnp.mean(states.spent), "errors": errors}


def arms_of(settings: Settings) -> dict[str, Arm]:
    """The arms, trained through the solver from the first update on."""
    rate = optax.exponential_decay(settings.rate, settings.half_life, 0.5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def batch(key: Array, count: Array) -> tuple[Scene, Array]:
        return draw_scenes(key, settings.batch, 2), count < settings.speeds

    def loss(controller: Controller, samples: tuple[Scene, Array]) -> Array:
        scenes, beginning = samples

        def priced(speeds: bool) -> Array:
            costs = jax.vmap(lambda scene: steer(controller, scene, settings.weight, speeds=speeds).cost)(scenes)
            # Of each scene what it costs less in proportion, else a few that fail decide all of the gradient.
            return jnp.mean(jnp.log(costs))

        return jax.lax.cond(beginning, lambda: priced(True), lambda: priced(False))

    return {
        name: gradient_arm(partial(make_controller, name, settings.features), batch, loss, optimizer)
        for name in settings.arms
    }


def run(settings: Settings, run: Run) -> None:
    """Draw the test scenes, plan some of them one by one, train and test the arms."""
    scenes = jax.jit(draw_scenes, static_argnums=1)(jax.random.key(10_000 + run.seed), settings.scenes)
    shown = jax.tree.map(lambda leaf: leaf[:3], scenes)
    some = jax.tree.map(lambda leaf: leaf[: settings.planned], scenes)
    planning = partial(plan_each, run, some, measure=measured, picture=_picture, keep=("error", "force"))
    more: dict[str, Any] = {
        "trajectory_optimization": planning(lambda scene: plan(scene, settings.weight, settings.iterations)),
        "few_iterations": planning(lambda scene: plan(scene, settings.weight, settings.few), name="few"),
    }
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
        if name == "hierarchy":
            metrics["improved"] = planning(
                lambda scene, first=controller: plan(scene, settings.weight, settings.few, first, IMPROVING),
                name="improved",
            )
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

    def planned(label: str, found: dict[str, list[float]], iterations: int) -> None:
        table.add_row(
            f"{label}, {len(found['error'])} scenes",
            in_short(float(np.mean(found["error"]))),
            "",
            in_short(float(np.mean(found["force"]))),
            f"{iterations} each",
            f"{np.median(found['seconds']):.1f} each",
        )

    planned("trajectory optimization", metrics["trajectory_optimization"], run.settings.iterations)
    planned("the same, fewer iterations", metrics["few_iterations"], run.settings.few)
    if "improved" in metrics:
        planned("the same, from what the hierarchy decides", metrics["improved"], run.settings.few)
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
