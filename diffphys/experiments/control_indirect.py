r"""Smoke is driven from the border, around obstacles, into one of three buckets.

Holl, Koltun, Thuerey, "Learning to control PDEs with differentiable physics" (ICLR 2020), indirect control: a block of
smoke of 11 x 11 in a domain of 128 x 128 has to be in a bucket 16 steps later, and velocities can be given only within
20 of the left and the right wall and 5 of the bottom, behind walls that form channels. A pressure solve in each step
makes of what is given there the motion of all of the fluid:

    v_k = P(what is given at the border),      div v_k = 0,      ds/dt + v . grad s = 0

P is the orthogonal projection onto velocities without divergence that do not cross a wall. As published, the fluid
between the borders has no momentum of its own: it starts at rest without viscosity, so that by Kelvin's theorem it
turns nowhere, and a flow without vorticity is known from what happens at its border.

- "plan" is trajectory optimization through the solver, one scene at a time;
- "policy" is a network that sees the smoke, the bucket and the time, and is trained through the solver;
- "hierarchy" is the predictor-corrector: its predictors plan where the center of the smoke is half-way, and half-way
  again, and an estimator of the control makes each step. The published predictors plan all of the smoke;
- "rule" has neither plan nor training: the least velocities at the border, by the Jacobian of one projection, that move
  the smoke's center straight to its bucket.

What can be given is the velocity at 16 x 16 places, interpolated to the faces at the border; published is one for
each face. The top is open, the other sides are walls that let the fluid slip. Published numbers of this task are not at
hand.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
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
from diffphys.errors import InputError
from diffphys.experiments.comparison import Arm, Budget, compare, duration, first_network, in_short, shown_on
from diffphys.experiments.comparison_figures import curves_figure
from diffphys.experiments.optimizers import gradient_arm
from diffphys.experiments.planned import blur_matrix, plan_each
from diffphys.grids import Box, Dirichlet, Field, Grid, Neumann, Open, Shape, Wall
from diffphys.nets import MLP
from diffphys.operators import SemiLagrangian, faces_to_centers
from diffphys.operators.interpolation import linear_interpolation_matrix
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Program, Run, replacing, setting


SIZE, STEPS, BLOCK = 128.0, 16, 11.0
SIDE, BOTTOM = 20.0, 5.0  # how far from the walls a velocity can be given
LEFT, RIGHT, LOW, HIGH = 34.0, 83.0, 18.0, 60.0  # where the lower left corner of the block may be at the beginning
FLOOR = 105.0  # of the buckets, which are as high as the block
BUCKETS = ((22.0, 50.0), (52.0, 80.0), (82.0, 110.0))
CORNERS = (30.0, 60.0, 94.0)  # the lower left corners of the blocks that are the targets
WALLS = (
    ((0.0, 60.0), (20.0, 64.0)),
    ((18.0, 14.0), (22.0, 52.0)),
    ((18.0, 72.0), (22.0, 106.0)),
    ((108.0, 14.0), (112.0, 106.0)),
    ((30.0, 4.0), (98.0, 8.0)),
    *(((x, 106.0), (x + 2.0, 116.0)) for x in (20.0, 50.0, 80.0, 110.0)),
)
NODES = 16  # places along each axis at which a velocity is given
SPEED = 10.0  # of the answer one of a network
CARRIES = SemiLagrangian()  # beside the walls its gathers are needed

ARMS = ("policy", "hierarchy")
SOURCES = ("P. Holl, V. Koltun, N. Thuerey: Learning to control PDEs with differentiable physics, ICLR 2020",)


@dataclass(frozen=True)
class Settings(Budget):
    """How the arms are trained; lengths are those of the published cells, of which the domain has 128 x 128."""

    arms: tuple[str, ...] = setting(
        ARMS, help="policy (closed loop) and hierarchy (predictor-corrector), trained through the solver", choices=ARMS
    )
    cells: int = setting(64, help="cells along each axis, 64 times a whole number (published: 128)", minimum=64)
    features: int = setting(128, help="neurons of each of the two hidden layers", minimum=1)
    batch: int = setting(8, help="scenes of an update (published: 16)", minimum=1)
    rate: float = setting(2e-3, help="Adam's rate at the beginning", above=0.0)
    half_life: int = setting(1000, help="updates after which the rate has halved", minimum=1)
    weight: float = setting(2.0, help="what a unit of mean effort costs beside the distance", minimum=0.0)
    scenes: int = setting(100, help="test scenes", minimum=1)
    planned: int = setting(6, help="test scenes for which trajectory optimization is made", minimum=1)
    iterations: int = setting(40, help="of the trajectory optimization of each of these", minimum=1)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"seconds": 150.0, "clock": "processor", "seeds": 1, "scenes": 20, "planned": 2, "batch": 4},
    "book": {"seconds": 180.0, "clock": "processor", "seeds": 3, "scenes": 24, "planned": 4, "batch": 4},
    "paper": {"cells": 128, "seconds": 28800.0, "seeds": 3, "batch": 16, "half_life": 8000, "planned": 20},
}


class Scene(NamedTuple):
    """A task.

    Attributes:
        corner: The lower left corner of the block at the beginning, (2,).
        target: The center of the block that is the target, (2,).
    """

    corner: Array
    target: Array


class Smoky(NamedTuple):
    """The fluid and the smoke in it.

    Attributes:
        flow: The fluid's velocity; its pressure is not kept.
        smoke: How much smoke there is, at the cell centers.
        effort: |v_k - v_(k-1)|^2 / 2 of the last step, the mean over the domain.
        step: Steps made.
    """

    flow: FlowState
    smoke: Field
    effort: Array
    step: Array


def obstacles() -> Shape:
    """All walls within the domain."""
    first, *others = (Box(lower, upper) for lower, upper in WALLS)
    for wall in others:
        first = first | wall
    return first


class Driven(eqx.Module):
    """A step whose control is the velocity at 16 x 16 places, (2, 16, 16), of which what is at the border acts."""

    flow: IncompressibleFlow
    cells: int = eqx.field(static=True)

    def __init__(self, cells: int):
        if cells < 64 or cells % 64:
            raise InputError(f"cells: must be a multiple of 64, so that walls are whole cells, but {cells} was given")
        self.cells = cells
        self.flow = IncompressibleFlow(
            Grid((cells, cells), (SIZE, SIZE)),
            viscosity=0.0,
            dt=1.0,
            sides=dict(x=Wall(slip=True), y=(Wall(slip=True), Open())),
            solid=obstacles(),
            advection=CARRIES,
        )

    def __call__(self, state: Smoky, control: Array) -> Smoky:
        velocity = self.driven(control)
        squares = [
            jnp.sum((new.values - old.values) ** 2) for new, old in zip(velocity, state.flow.velocity, strict=True)
        ]
        smoke = CARRIES.carry(state.smoke, velocity, 1.0, self.walls)
        flow = dataclasses.replace(state.flow, velocity=velocity)
        return Smoky(flow, smoke, sum(squares, jnp.zeros(())) / (2 * self.cells**2), state.step + 1)

    @property
    def grid(self) -> Grid:
        """The grid."""
        return self.flow.grid

    @property
    def walls(self) -> np.ndarray:
        """For each cell whether it is of a wall."""
        solid: Any = self.flow.solid
        return solid.cells

    def driven(self, control: Array) -> tuple[Field, ...]:
        """The velocity of all of the fluid that belongs to what is given."""
        return self.flow.project(self.given(control))[0]

    def given(self, control: Array) -> tuple[Field, ...]:
        """What is given on the faces, zero on those that are not at the border."""
        nodes, edges = (np.arange(NODES) + 0.5) * SIZE / NODES, np.linspace(0.0, SIZE, self.cells + 1)
        centers = (edges[1:] + edges[:-1]) / 2
        parts = []
        for axis, (part, values) in enumerate(zip(self.flow.initial_state().velocity, control, strict=True)):
            lines = [edges if axis == other else centers for other in (0, 1)]
            from_x, from_y = (linear_interpolation_matrix(nodes, line).astype(values.dtype) for line in lines)
            x, y = lines[0][:, None], lines[1][None]
            border = (x <= SIDE) | (x >= SIZE - SIDE) | (y <= BOTTOM)
            parts.append(part.with_values((from_x @ values @ from_y.T) * border))
        return tuple(parts)

    def start(self, corner: ArrayLike) -> Smoky:
        """The fluid at rest with a block of smoke in it."""
        ends = ((Neumann(0.0), Neumann(0.0)), (Neumann(0.0), Dirichlet(0.0)))  # what comes in from above brings none
        smoke = Field(self.block(corner), self.grid, (0.5, 0.5), ends)
        return Smoky(self.flow.initial_state(), smoke, jnp.zeros(()), jnp.zeros((), jnp.int32))

    def block(self, corner: ArrayLike | Sequence[float]) -> Array:
        """The share of each cell that a block covers whose lower left corner is given."""
        corner = jnp.asarray(corner)
        return self._covered(corner, corner + BLOCK)

    def bucket(self, target: Array) -> Array:
        """One in the cells that belong to the bucket of a target, also in part, else zero."""
        lower, upper = jnp.asarray(BUCKETS).T
        number = jnp.argmin(jnp.abs((lower + upper) / 2 - target[0]))
        covered = self._covered((lower[number], jnp.asarray(FLOOR)), (upper[number], jnp.asarray(FLOOR + BLOCK)))
        return jnp.ceil(covered)

    def _covered(self, lower: Any, upper: Any) -> Array:
        edges, width = np.linspace(0.0, SIZE, self.cells + 1), SIZE / self.cells
        along_x, along_y = (
            jnp.clip(jnp.minimum(edges[1:], high) - jnp.maximum(edges[:-1], low), 0.0) / width
            for low, high in zip(lower, upper, strict=True)
        )
        return along_x[:, None] * along_y[None]


def draw_scene(key: Array) -> Scene:
    """A block somewhere in the middle, and one of the buckets."""
    place, bucket = jax.random.split(key)
    lowest, highest = (jnp.asarray(pair, jnp.int32) for pair in ((LEFT, LOW), (RIGHT, HIGH)))
    corner = jax.random.randint(place, (2,), lowest, highest).astype(jnp.float32)
    left = jnp.asarray(CORNERS)[jax.random.randint(bucket, (), 0, len(CORNERS))]
    return Scene(corner, jnp.stack([left, jnp.asarray(FLOOR)]) + BLOCK / 2)


def draw_scenes(key: Array, count: int) -> Scene:
    """Several, with a leading axis."""
    return jax.vmap(draw_scene)(jax.random.split(key, count))


def center_of(smoke: Field) -> Array:
    """The center of gravity of the smoke, (2,)."""
    total = jnp.maximum(jnp.sum(smoke.values), 1e-3)
    return jnp.stack([jnp.sum(smoke.values * points) for points in smoke.coordinates()]) / total


SCALES = ((8.0, 4.0), (3.0, 1.0))
"""Widths of blurs and how much each counts; smoke that is farther away is felt through its center."""


def distance(step: Driven, smoke: Field, target: Array) -> Array:
    """Squares of the difference to the block at the target, cell by cell and on wider scales, over the block's area;
    of the way between both centers in tens; and of the share of smoke that was lost.

    Smoke is compared as if none was lost, as published, for else it would pay to lose it.
    """
    area, cell = BLOCK**2, (SIZE / step.cells) ** 2
    total = cell * jnp.sum(smoke.values)
    difference = smoke.values * area / jnp.maximum(total, 1.0) - step.block(target - BLOCK / 2)
    squares = jnp.sum(difference**2)
    for width, weight in SCALES:
        blur = blur_matrix(step.cells, width * step.cells / SIZE).astype(difference.dtype)
        squares = squares + weight * jnp.sum((blur @ difference @ blur.T) ** 2)
    away = jnp.sum((center_of(smoke) - target) ** 2) / 100
    return cell * squares / area + away + (total / area - 1) ** 2


def bucket_problem(step: Driven, target: Any, weight: float) -> ControlProblem:
    """Be in the bucket in the end, with little effort; a control is the velocity at 16 x 16 places."""
    return ControlProblem(
        step,
        STEPS,
        jnp.zeros((2, NODES, NODES)),
        running_cost=lambda state, control, target: weight * state.effort / STEPS,
        terminal_cost=lambda state, target: distance(step, state.smoke, target),
        target=target,
    )


def seen(state: Smoky) -> Array:
    """What networks see: the smoke on 16 x 16 blocks of cells, and its center."""
    values = state.smoke.values
    blocks = values.reshape(NODES, len(values) // NODES, NODES, len(values) // NODES)
    return jnp.concatenate([jnp.mean(blocks, (1, 3)).ravel(), _scaled(center_of(state.smoke))])


def _scaled(place: Array) -> Array:
    return 4 * place / SIZE - 2


def _velocities(network: MLP, *inputs: Array) -> Array:
    return SPEED * network(jnp.concatenate([jnp.atleast_1d(one) for one in inputs])).reshape(2, NODES, NODES)


class Policy(eqx.Module):
    """The velocities from the smoke, the target and the share of the time that is left."""

    network: MLP

    def __call__(self, state: Smoky, target: Array) -> Array:
        center = center_of(state.smoke)
        left = 1.0 - state.step / STEPS
        return _velocities(self.network, seen(state), _scaled(target), (target - center) / 32, 2 * left - 1)


class Predictor(eqx.Module):
    """Where the center of the smoke is half-way: the mean of both ends, and what a network adds."""

    network: MLP

    def __call__(self, left: Array, right: Array) -> Array:
        return (left + right) / 2 + 10 * self.network(jnp.concatenate([_scaled(left), _scaled(right)]))


class Estimator(eqx.Module):
    """The velocities that take the smoke's center to what is planned."""

    network: MLP

    def __call__(self, state: Smoky, planned: Array) -> Array:
        return _velocities(self.network, seen(state), _scaled(planned), (planned - center_of(state.smoke)) / 8)


class Straight(eqx.Module):
    """The rule: the least velocities at the border, in the sum of squares, by which the mean velocity of the smoke
    leads straight to the target in the time that is left.
    """

    step: Driven

    def __call__(self, state: Smoky, target: Array) -> Array:
        share = state.smoke.values / jnp.maximum(jnp.sum(state.smoke.values), 1e-3)

        def drift(control: Array) -> Array:
            parts = faces_to_centers(self.step.driven(control))
            return jnp.stack([jnp.sum(share * part.values) for part in parts])

        wanted = (target - center_of(state.smoke)) / (STEPS - state.step)
        nothing = jnp.zeros((2, NODES, NODES))
        effects = jax.jacrev(drift)(nothing).reshape(2, -1)  # the drift is linear
        gram = effects @ effects.T
        sharing = jnp.linalg.solve(gram + 1e-4 * jnp.trace(gram) * jnp.eye(2), wanted)
        return (sharing @ effects).reshape(nothing.shape)


Controller = Policy | PredictorCorrector | Straight


def make_controller(name: str, features: int, key: Array) -> Controller:
    """The networks of an arm."""
    hidden, outputs = (features, features), 2 * NODES**2

    def last_one_small(network: MLP) -> MLP:
        return eqx.tree_at(lambda one: one.layers[-1].weight, network, 0.3 * network.layers[-1].weight)

    if name == "policy":
        return Policy(last_one_small(MLP((NODES**2 + 7, *hidden, outputs), jax.nn.relu, key=key)))
    *keys, last = jax.random.split(key, STEPS.bit_length())
    predictors = [Predictor(last_one_small(MLP((4, 32, 32, 2), jnp.tanh, key=key))) for key in keys]
    estimator = Estimator(last_one_small(MLP((NODES**2 + 6, *hidden, outputs), jax.nn.relu, key=last)))
    return PredictorCorrector(predictors, estimator, observe=_observed_center)


def _observed_center(state: Smoky) -> Array:
    return center_of(state.smoke)


def steer(step: Driven, controller: Controller, scene: Scene, weight: float, refined: bool = False) -> Trajectory:
    """A scene under a controller."""
    problem, start = bucket_problem(step, scene.target, weight), step.start(scene.corner)
    if isinstance(controller, PredictorCorrector):
        return execute(controller, problem, start, refined=refined)
    return closed_loop(problem, controller, start)


def plan(step: Driven, scene: Scene, weight: float, iterations: int) -> Trajectory:
    """The same under the velocities that trajectory optimization finds for this scene alone, by L-BFGS from those of
    the rule.
    """
    problem, start = bucket_problem(step, scene.target, weight), step.start(scene.corner)
    ruled = closed_loop(problem, Straight(step), start).controls
    return simulate(problem, start, optimize_controls(problem, start, ruled, iterations=iterations).controls)


def measured(step: Driven, trajectories: Trajectory, scenes: Scene) -> dict[str, Array]:
    """The share of the smoke that is in the right bucket in the end, the relative error of its image, and the effort.

    The share is over the smoke that was released or is there, whichever is more: look-ups keep its amount only nearly.
    The error is sum |s_16 - target| / sum |s_0 - target|, as of shape transitions.
    """

    def of(trajectory: Trajectory, scene: Scene) -> tuple[Array, Array, Array]:
        smoke, first = trajectory.final.smoke.values, step.block(scene.corner)
        share = jnp.sum(smoke * step.bucket(scene.target)) / jnp.maximum(jnp.sum(smoke), jnp.sum(first))
        target = step.block(scene.target - BLOCK / 2)
        amount = jnp.sum(smoke) / jnp.sum(first)
        return share, jnp.sum(jnp.abs(smoke - target)) / jnp.sum(jnp.abs(first - target)), amount

    shares, errors, amounts = jax.vmap(of)(trajectories, scenes)
    return {
        "error": jnp.mean(errors),
        "share": jnp.mean(shares),
        "amount": jnp.mean(amounts),
        "effort": jnp.mean(trajectories.states.effort),
        "shares": shares,
    }


def arms_of(settings: Settings, step: Driven) -> dict[str, Arm]:
    """The arms, trained through the solver from the first update on."""
    rate = optax.exponential_decay(settings.rate, settings.half_life, 0.5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def batch(key: Array, count: Array) -> Scene:
        del count
        return draw_scenes(key, settings.batch)

    def loss(controller: Controller, scenes: Scene) -> Array:
        return jnp.mean(jax.vmap(lambda scene: steer(step, controller, scene, settings.weight).cost)(scenes))

    return {
        name: gradient_arm(partial(make_controller, name, settings.features), batch, loss, optimizer)
        for name in settings.arms
    }


def run(settings: Settings, run: Run) -> None:
    """Draw the test scenes, plan some of them one by one, train and test the arms."""
    step = Driven(settings.cells)
    scenes = draw_scenes(jax.random.key(10_000 + run.seed), settings.scenes)
    picture = jax.jit(lambda runs: _picture(step, runs))
    planned = plan_each(
        run,
        jax.tree.map(lambda leaf: leaf[: settings.planned], scenes),
        lambda scene: plan(step, scene, settings.weight, settings.iterations),
        measure=lambda runs, some: measured(step, runs, some),
        picture=picture,
        keep=("error", "share", "amount", "effort"),
    )

    def steered(controller: Controller, some: Scene, refined: bool = False) -> Trajectory:
        return jax.vmap(lambda scene: steer(step, controller, scene, 0.0, refined))(some)

    test = eqx.filter_jit(lambda one, refined=False: measured(step, steered(one, scenes, refined), scenes))
    show = eqx.filter_jit(lambda one: _picture(step, steered(one, shown)))
    shown = jax.tree.map(lambda leaf: leaf[:3], scenes)
    blocks = jax.vmap(lambda scene: step.block(scene.target - BLOCK / 2))(shown)
    rule = Straight(step)
    more: dict[str, Any] = {"trajectory_optimization": planned, "rule": test(rule)}
    arms = compare(
        run,
        arms_of(settings, step),
        dataclasses.replace(settings, arms=("all",)),
        measure=lambda controller: measured(step, steered(controller, scenes), scenes),
        more=more,
        answers=lambda controller: shown_on(step.grid, {"smoke": show(controller)["smoke"]}),
        truth=shown_on(step.grid, {"smoke": jnp.repeat(blocks[:, None], STEPS, 1)}),
    )
    metrics = run.read_metrics()
    pictures = {"rule": show(rule)}
    for name, arm in arms.items():
        controller = first_network(run, name, arm)
        pictures[name] = show(controller)
        if name == "hierarchy":
            metrics["refined"] = test(controller, True)
    run.save_checkpoint("shown", pictures)
    run.write_metrics(metrics)


def _picture(step: Driven, trajectories: Trajectory) -> dict[str, Array]:
    """Smoke, and the speed that is given at the border, at the cell centers, (scenes, steps, *cells)."""

    def speed(control: Array) -> Array:
        along_x, along_y = (part.values for part in faces_to_centers(step.given(control)))
        return jnp.sqrt(along_x**2 + along_y**2)

    given = jax.vmap(jax.vmap(speed))(trajectories.controls)
    return {"smoke": trajectories.states.smoke.values, "given": given}


def report(run: Run) -> Table:
    """Curves over time, the first test scene as pictures and animations, and the table."""
    settings, metrics = run.settings, run.read_metrics()
    arms = {name: metrics["arms"][name] for name in settings.arms if name in metrics["arms"]}
    missed = {
        name: {"curves": [curve | {"error": [1 - share for share in curve["share"]]} for curve in arm["curves"]]}
        for name, arm in arms.items()
    }
    run.save_figure("missed.png", curves_figure(missed, {}, "share of the smoke not in its bucket"))
    run.save_figure("curves.png", curves_figure(arms, {}, "relative error of the last image"))
    _draw_scene(run, list(arms))

    heads = ("arm", "share in the right bucket", "seeds", "relative error", "amount", "effort", "updates", "seconds")
    table = Table(*heads, title="control-indirect")

    def row(name: str, numbers: Mapping[str, Any], seeds: str, *rest: str) -> None:
        values = [in_short(float(np.mean(numbers[key]))) for key in ("error", "amount", "effort")]
        table.add_row(name, f"{100 * np.mean(numbers['share']):.1f} %", seeds, *values, *rest)

    planned = metrics["trajectory_optimization"]
    seconds = f"{np.median(planned['seconds']):.1f} each"
    name = f"trajectory optimization, {len(planned['share'])} scenes"
    row(name, planned, "", f"{settings.iterations} each", seconds)
    row("rule", metrics["rule"], "", "", "")
    for name, arm in arms.items():
        last = {key: [curve[key][-1] for curve in arm["curves"]] for key in ("share", "error", "amount", "effort")}
        seeds = ", ".join(f"{100 * share:.1f}" for share in last["share"])
        row(name, last, seeds, str(arm["updates"]), f"{arm['seconds']:.0f}")
        if name == "hierarchy" and "refined" in metrics:
            row("hierarchy, refined", metrics["refined"], "the first", "", "")
    table.caption = "Published numbers of this task are not at hand."
    return table


def _draw_scene(run: Run, names: list[str]) -> None:
    """Smoke and given speed of the first test scene; what is a wall stands gray."""
    step = Driven(run.settings.cells)
    blank = jnp.zeros((STEPS, run.settings.cells, run.settings.cells))
    several = jnp.zeros((min(3, run.settings.scenes), *blank.shape))
    kept = run.load_checkpoint("shown", {name: {"smoke": several, "given": several} for name in ["rule", *names]})
    found = {"plan": run.load_checkpoint("plans", {"smoke": blank, "given": blank})}
    found |= {name: jax.tree.map(lambda leaf: leaf[0], pair) for name, pair in kept.items()}
    times, some = np.arange(1, STEPS + 1), slice(3, None, 4)
    look: dict[str, Any] = {"at": "cells", "horizontal": 0}
    for key, label, limit in (("smoke", "smoke", 1.0), ("given", "speed given at the border", None)):
        rows = {name: np.where(step.walls, np.nan, np.asarray(pair[key])) for name, pair in found.items()}
        chosen = {name: row[some] for name, row in rows.items()}
        size = step.grid.size
        figure = plots.frames_figure(chosen, times[some], size, label=label, limit=limit, **look)
        run.save_figure(f"{key}.png", figure)
        with replacing(run.figure_path(f"{key}.gif")) as path:
            plots.write_animation(path, rows, times, size, label=label, limit=limit, frames_per_second=5, **look)


PROGRAM = Program("control-indirect", Settings, PRESETS, run, report, duration=duration, sources=SOURCES)
