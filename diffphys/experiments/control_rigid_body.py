r"""A rigid body is steered to targets in a flow that it stirs, by controllers that do not see the flow.

B. Ramos, F. Trost, N. Thuerey, "Control of Two-way Coupled Fluid Systems with Differentiable Solvers" (2022). Lengths,
speeds and times are the published ones, densities are over the fluid's: a disk of radius 5 and density 0.15 that moves
along two axes, and a box of 20 x 6 and density 0.3 that also turns. The control is a force, and a torque, between
bounds; the box has its thrusters aboard, so its force turns with it. What a controller sees are the body's motion,
where the target is, and what it saw and did in the last steps; the box's network sees both as from aboard.

Four ways to decide are compared on the six published tests:

- "network": trained through solver and body, by truncated backpropagation over 16 steps as published, for the box 48;
- "supervised": the same network, which imitates how a strong law flies along smooth paths to a target;
- "pid" with the published gains, and
- "loop-shaping", the published filters, their gain times (mass + added mass) over the mass.

Both classical laws begin anew at each target, as published.

The published solver adds the viscous term without the step's duration, so that its fluid is ten times as viscous as
stated, and it takes for the pressure what makes the velocity free of divergence, not divided by the duration, so that
the fluid pushes the body by a tenth of its force, in the stream by a twentieth. Ours is as viscous as stated, and
pushes by all of its force. The published stream of 3 carries the box away then; ours is slower by the root of twenty,
at the published Reynolds number of 3000. A box that has to turn so much more fluid with it turns by little within 16
steps: a torque then costs as much as it brings, and the network hardly turns the box.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import process_time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.control import PID, ControlProblem, Force, Jerk, PolicyProgress, TransferFunction, train_policy
from diffphys.control.closed_loop import PolicyStep, first_carry
from diffphys.control.training import first_progress
from diffphys.errors import InputError
from diffphys.experiments.comparison import in_short
from diffphys.grids import Box, Grid, Inflow, Open, Outflow
from diffphys.nets import MLP
from diffphys.operators import faces_to_centers
from diffphys.physics import (
    Buoyancy,
    IncompressibleFlow,
    PassiveScalar,
    RigidBody,
    RigidBodyFlow,
    RigidBodyInput,
    RigidBodyState,
)
from diffphys.runs import Program, Run, replacing, setting
from diffphys.stepping import RungeKutta, rollout


SIZE, STREAM_SIZE = 80.0, (175.0, 110.0)
DT, LENGTH, SPEED, STREAM = 0.1, 5.0, 1.0, 0.67
WIDTHS = {"disk": 10.0, "box": 20.0}  # of the Reynolds number
FARTHEST = 20.0  # way to the target that a network sees along an axis: there it was trained
WINDOW = 16  # steps through which a gradient passes, as published; for the box more
PIECE = 50  # steps between two looks at the clock
PROXIMITY = 0.1
ARMS = ("network", "supervised", "pid", "loop-shaping")
SOURCES = (
    "B. Ramos, F. Trost, N. Thuerey: Control of two-way coupled fluid systems with differentiable solvers, 2022, "
    "arXiv 2206.00342",
)


class Craft(NamedTuple):
    """A body that is steered.

    Attributes:
        body: The body.
        limits: The largest force along x and y, and torque.
        memory: Steps that its network remembers.
        hidden: Neurons of a hidden layer, as published.
        weights: Of the loss: position, speed, force, change of force, angle, rotation, torque, change of torque.
        gains: Of the PID, (proportional, derivative, integral), of position and angle.
        filters: Of the loop shaping, (numerator, denominator), the same.
        added: Fluid that it has to push aside, over the displaced one, about that of a cylinder or a plate.
    """

    body: RigidBody
    limits: tuple[float, ...]
    memory: int
    hidden: int
    weights: dict[str, float]
    gains: tuple[tuple[float, float, float], ...]
    filters: tuple[tuple[list[float], list[float]], ...]
    added: float


CRAFTS: dict[str, Callable[[], Craft]] = {
    "disk": lambda: Craft(
        RigidBody.disk(5.0, 0.15, turns=False),
        (11.78, 11.78),
        2,
        38,
        dict(place=15.0, speed=5.0, force=0.1, change=5.0),
        ((1.0, 8.0, 1e-3),) * 2,
        (([1.17009, -1.46942, 0.30598], [1.0, -1.23068, 0.26726]),) * 2,
        1.0,
    ),
    "box": lambda: Craft(
        RigidBody.box((20.0, 6.0), 0.3, moment=4000.0),
        (54.0, 54.0, 200.0),
        3,
        32,
        dict(place=5.0, speed=5.0, force=0.1, change=1.0, angle=30.0, rotation=0.05, torque=0.5, turn=1.0),
        ((2.0, 15.0, 1e-3),) * 2 + ((100.0, 1000.0, 1e-2),),
        (([5.928722, -11.7053436, 5.7775480], [1.0, -1.93593830, 0.93691030]),) * 2
        + (([215.484017, -425.440464, 209.990075], [1.0, -1.93591039, 0.93688212]),),
        1.5,
    ),
}


class Task(NamedTuple):
    """A published test.

    Attributes:
        craft: Which body.
        steps: Of the control, for each target.
        buoyancy: Of the smoke that enters at the bottom; None: there is none.
        stream: Whether the fluid comes in from the left.
        pushed: Whether there are disturbances.
        places: Targets, x, y and angle, one after the other in one flight; without any they are drawn, and each is
            flown to from rest in the middle.
    """

    craft: str
    steps: int = 1000
    buoyancy: float | None = None
    stream: bool = False
    pushed: bool = False
    places: tuple[tuple[float, float, float], ...] = ()


CORNERS = ((30.0, 30.0, 0.0), (50.0, 60.0, 0.0), (30.0, 60.0, 0.0), (50.0, 30.0, 0.0))
STREAM_START = (120.0, 50.0)
STREAM_CORNERS = (
    (75.0, 40.0, np.pi / 3),
    (75.0, 70.0, -np.pi / 3),
    (120.0, 40.0, 2 * np.pi / 3),
    (120.0, 70.0, -np.pi / 2),
)
# Smoke without weight shares its compiled program with smoke that has some.
TESTS = {
    "targets": Task("disk", 1000, 0.0),
    "buoyancy": Task("disk", 2000, 0.02, places=CORNERS),
    "turning": Task("box", 1000),
    "inflow": Task("box", 1000, 0.0, stream=True, places=STREAM_CORNERS),
    "inflow and buoyancy": Task("box", 1000, 0.04, stream=True, places=STREAM_CORNERS),
    "disturbances": Task("box", 5000, 0.04, stream=True, pushed=True, places=((*STREAM_START, 0.0),)),
}


@dataclass(frozen=True)
class Settings:
    """Everything else is as published."""

    tests: tuple[str, ...] = setting(tuple(TESTS), help="the published tests", choices=tuple(TESTS))
    arms: tuple[str, ...] = setting(ARMS, help="how the control is decided", choices=ARMS)
    cells: int = setting(
        80, help="cells along 80 lengths (published: 80); fewer than 40 do not carry bodies so light", minimum=40
    )
    episodes: int = setting(
        17, help="training episodes of the disk's network (published: 17; five times for the box)", minimum=1
    )
    steps: int = setting(
        960, help="steps of an episode, a multiple of 16 and of the window (published: 1000)", minimum=WINDOW
    )
    window: int = setting(
        48, help="steps through which a gradient passes for the box (published: 16, as for the disk)", minimum=1
    )
    rate: float = setting(0.01, help="AdamW's first rate, as published", above=0.0)
    flights: int = setting(100, help="paths that are imitated, as published", minimum=1)
    flown: int = setting(500, help="steps of each of these, as published", minimum=20)
    imitations: int = setting(20_000, help="updates of the supervised network (published: 150,001)", minimum=1)
    targets: int = setting(4, help="targets of each test but the last (published: 20, or 4 of 5 runs)", minimum=1)
    length: float = setting(1.0, help="of each section of a test, over the published one", above=0.0, maximum=1.0)
    stream: float = setting(
        STREAM,
        help="speed of the stream (published: 3, with a fluid that pushes 20 times too little)",
        above=0.0,
        maximum=3.0,
    )
    seeds: int = setting(1, help="networks that are trained, each with a seed of its own", minimum=1)

    def __post_init__(self):
        for window in (WINDOW, self.window):
            if self.steps % window:
                raise InputError(f"steps is {self.steps}; a multiple of {window} is accepted")


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"cells": 40, "episodes": 12, "steps": 480, "flights": 8, "flown": 400, "imitations": 2000}
    | {"targets": 2, "length": 0.4, "tests": ("targets", "buoyancy")},
    "book": {"cells": 40, "episodes": 11, "steps": 480, "flights": 12, "flown": 400, "imitations": 6000}
    | {"targets": 4},
    "paper": {"imitations": 150_000, "targets": 20, "stream": 3.0, "seeds": 3},
}


# The system -----------------------------------------------------------------------------------------------------------


def the_flow(cells: int, test: Task, stream: float) -> IncompressibleFlow:
    """The fluid: open all around, or a stream; smoke rises from a strip at the bottom, and what enters is clean."""
    viscosity, sides = SPEED * WIDTHS[test.craft] / 1000, Open(scalar=0.0)
    size, strip = (SIZE, SIZE), Box((10.0, 5.0), (70.0, 11.0))
    if test.stream:
        viscosity, size = stream * WIDTHS[test.craft] / 3000, STREAM_SIZE
        sides = dict(x=(Inflow(stream), Outflow(scalar=0.0)), y=Open(scalar=0.0))
        strip = Box((12.5, 19.0), (162.5, 25.0))
    counts = tuple(round(cells * length / SIZE) for length in size)
    scalars, forces = {}, ()
    if test.buoyancy is not None:
        scalars = {"smoke": PassiveScalar(viscosity, strip, 0.01)}
        forces = (Buoyancy("smoke", (0.0, test.buoyancy)),)
    return IncompressibleFlow(
        Grid(counts, size), viscosity, DT, sides, scalars=scalars, forces=forces, stepping=RungeKutta(3)
    )


class Steered(eqx.Module):
    """A step that takes a control between -1 and 1 in each entry: the force, and the torque, over their limits. The
    force on a body that turns is one from aboard: it turns with the body.

    Attributes:
        flow: Body and flow.
        limits: The largest force and torque.
        span: For how long the test goes on; its disturbances come at parts of it. Zero: there are none.
    """

    flow: RigidBodyFlow
    limits: Array
    span: Array

    def __call__(self, state: RigidBodyState, control: Array) -> RigidBodyState:
        acting = self.limits * control
        torque = acting[2] if self.limits.shape == (3,) else 0.0
        force = rotated(acting[:2], state.angle)  # the angle of a body that does not turn is zero
        return self.flow(state, RigidBodyInput(force + disturbance(state.flow.time, self.span), torque))


def disturbance(time: Array, span: Array) -> Array:
    """A force of 25 on the body: for 1 % of the test from 20 % of it on along y, for 20 % from 40 % along x, and for
    20 % from 70 % on in a direction that turns once.
    """
    part = time / jnp.where(span > 0, span, 1.0)
    blow = jnp.where((part >= 0.2) & (part < 0.21), 1.0, 0.0)
    steady = jnp.where((part >= 0.4) & (part < 0.6), 1.0, 0.0)
    turning = jnp.where((part >= 0.7) & (part < 0.9), 1.0, 0.0)
    angle = 2 * jnp.pi * (part - 0.7) / 0.2
    force = jnp.stack([steady + turning * jnp.cos(angle), blow + turning * jnp.sin(angle)])
    return jnp.where(span > 0, 25.0, 0.0) * force


def make_step(cells: int, test: Task, span: float = 0.0, stream: float = STREAM) -> Steered:
    """The controlled step of a test."""
    craft = CRAFTS[test.craft]()
    flow = RigidBodyFlow(the_flow(cells, test, stream), craft.body, tolerance=1e-4)
    return Steered(flow, jnp.asarray(craft.limits), jnp.asarray(span))


def placed(state: RigidBodyState) -> Array:
    """Position and angle, (3,)."""
    return jnp.append(state.position, state.angle)


def rotated(vector: Array, angle: Array) -> Array:
    """A vector in the plane, turned counterclockwise."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _wrapped(angle: Array) -> Array:
    """The angle between -pi and pi."""
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))


def the_problem(step: Steered, craft: Craft, steps: int, target: Any = None) -> ControlProblem:
    """Come near to the target and stay, with little force that changes little; the published loss, errors over 5 and
    pi, speeds over 1 and 1 / 20 (which of the two published forms of the damping by proximity: that of the code, with
    the fourth power).

    Raises:
        InputError: for a target that is not finite, or outside the domain.
    """
    if target is not None:
        check_target(step, target)
    weight, size = {"angle": 0.0, "rotation": 0.0, "torque": 0.0, "turn": 0.0} | craft.weights, len(craft.limits)

    def price(state: RigidBodyState, control: Array, target: Array) -> Array:
        del control
        square = jnp.sum((target[:2] - state.position) ** 2) / LENGTH**2
        total = weight["place"] * square
        total += weight["speed"] * jnp.sum(state.velocity**2) / SPEED**2 / (PROXIMITY * square**2 + 1)
        if size == 2:
            return total
        turned = (_wrapped(target[2] - state.angle) / jnp.pi) ** 2
        rate = (state.rotation_rate * WIDTHS["box"] / SPEED) ** 2
        return total + weight["angle"] * turned + weight["rotation"] * rate / (PROXIMITY * turned + 1)

    spent = 2 * jnp.asarray([weight["force"]] * 2 + [weight["torque"]])[:size]
    abrupt = 2 * jnp.asarray([weight["change"]] * 2 + [weight["turn"]])[:size]
    return ControlProblem(
        step,
        steps,
        jnp.zeros(size),
        running_cost=price,
        target=jnp.zeros(3) if target is None else target,
        regularizers=(Weighted(Force(1.0), spent), Weighted(Jerk(1.0), abrupt)),
        lower=-1.0,
        upper=1.0,
    )


def check_target(step: Steered, target: Any) -> None:
    """Refuse a target that is no place within the domain."""
    place, size = np.asarray(target, float), step.flow.grid.size
    if place.shape != (3,) or not np.all(np.isfinite(place)) or np.any(place[:2] < 0) or np.any(place[:2] > size):
        raise InputError(
            f"target is {place.tolist()}; x, y and angle, a place within the domain of {size[0]:g} x {size[1]:g}, are "
            "accepted."
        )


class Weighted(eqx.Module):
    """A regularizer of which every entry of the control has its own weight."""

    regularizer: Any
    weights: Array

    def __call__(self, control: Array, previous: Array) -> Array:
        root = jnp.sqrt(self.weights)
        return self.regularizer(root * control, root * previous)


# How the control is decided -------------------------------------------------------------------------------------------


class Pilot(eqx.Module):
    """The published controller: a network that sees the body's motion and the target, now and in the last steps, and
    its last controls; nothing of the flow.

    Args:
        size: Entries of a control, 2 or 3.
        memory: Steps that it remembers.
        hidden: Neurons of each of two hidden layers.
        key: A random key.
    """

    network: MLP
    size: int = eqx.field(static=True)
    memory: int = eqx.field(static=True)

    def __init__(self, size: int, memory: int, hidden: int, key: Array):
        self.size, self.memory = size, memory
        inputs = 2 * size * (memory + 1) + size * memory
        self.network = MLP((inputs, hidden, hidden, size), jax.nn.relu, key=key)

    def initial_memory(self) -> tuple[Array, Array]:
        """What was seen and done, the latest first."""
        return jnp.zeros((self.memory, 2 * self.size)), jnp.zeros((self.memory, self.size))

    def seen(self, state: RigidBodyState, target: Array) -> Array:
        """The motion and the way to the target, as from aboard, in units of their own."""
        velocity, way = (rotated(one, -state.angle) for one in (state.velocity, target[:2] - state.position))
        parts = [velocity / SPEED, jnp.clip(way, -FARTHEST, FARTHEST) / LENGTH]
        if self.size == 3:
            rate, turn = state.rotation_rate * WIDTHS["box"] / SPEED, _wrapped(target[2] - state.angle) / jnp.pi
            parts += [rate[None], turn[None]]
        return jnp.concatenate(parts)

    def decided(self, seen: Array, before: Array, done: Array) -> Array:
        """The control."""
        return jnp.tanh(self.network(jnp.concatenate([seen, before.ravel(), done.ravel()])))

    def __call__(self, state: RigidBodyState, target: Array, memory: Any) -> tuple[Array, Any]:
        before, done = memory
        seen = self.seen(state, target).astype(before.dtype)
        control = self.decided(seen, before, done)
        return control, (jnp.concatenate([seen[None], before])[:-1], jnp.concatenate([control[None], done])[:-1])


class Classical(eqx.Module):
    """A classical controller of the errors, its answer times a gain for each entry.

    Attributes:
        law: `PID` or `TransferFunction`.
        gains: One for each entry of the control.
    """

    law: Any
    gains: Array

    def initial_memory(self) -> Any:
        """That of the law."""
        return self.law.initial_memory()

    def __call__(self, state: RigidBodyState, target: Array, memory: Any) -> tuple[Array, Any]:
        here, size = placed(state), len(self.gains)
        way = jnp.append(target[:2] - here[:2], _wrapped(target[2] - here[2]))[:size]
        control, memory = self.law(jnp.zeros_like(way), way, memory)
        return aboard(self.gains * control, state.angle), memory


class Filters(eqx.Module):
    """A filter of its own for each entry of the error.

    Attributes:
        filters: The filters.
    """

    filters: tuple[TransferFunction, ...]

    def initial_memory(self) -> Any:
        """Those of all."""
        return tuple(one.initial_memory() for one in self.filters)

    def __call__(self, state: Array, target: Array, memory: Any) -> tuple[Array, Any]:
        answers = [one(*parts) for one, *parts in zip(self.filters, state, target, memory, strict=True)]
        return jnp.stack([control for control, _ in answers]), tuple(own for _, own in answers)


def aboard(control: Array, angle: Array) -> Array:
    """A control whose force is along the axes of the domain, as the body has to give it."""
    return jnp.concatenate([rotated(control[:2], -angle), control[2:]])


def classical(arm: str, craft: Craft) -> Classical:
    """The published PID, or the published filter with a gain that fits the body in its fluid."""
    limits = jnp.asarray(craft.limits)
    size = len(craft.limits)
    if arm == "pid":
        proportional, derivative, integral = (jnp.asarray(part) for part in zip(*craft.gains, strict=True))
        bound = jnp.asarray([20.0, 20.0, 0.5])[:size]
        law: Any = PID(proportional, integral, derivative, dt=DT, largest_integral=bound)
        return Classical(law, 1 / limits)
    body, law = craft.body, Filters(tuple(TransferFunction(*one) for one in craft.filters))
    gain = jnp.asarray([1 + craft.added * body.area / body.mass] * 2 + [1 + body.area_moment / body.moment])
    return Classical(law, gain[:size] / limits)


class Chosen(eqx.Module):
    """One of several policies, whose number is traced: all of them are one compiled program.

    Attributes:
        policies: The policies.
        index: Which.
    """

    policies: tuple[Any, ...]
    index: Array

    def initial_memory(self) -> Any:
        """Those of all."""
        return tuple(policy.initial_memory() for policy in self.policies)

    def __call__(self, state: RigidBodyState, target: Array, memory: Any) -> tuple[Array, Any]:
        answers = [policy(state, target, own) for policy, own in zip(self.policies, memory, strict=True)]
        controls = jnp.stack([jnp.clip(control, -1.0, 1.0) for control, _ in answers])
        return controls[self.index], tuple(own for _, own in answers)


# Learning -------------------------------------------------------------------------------------------------------------


class Draw(eqx.Module):
    """A body at rest in the middle of a fluid at rest, and a target in a zone around it.

    Attributes:
        start: The state.
        zone: Half of the zone's length, and the largest angle.
    """

    start: RigidBodyState
    zone: Array

    def __call__(self, key: Array) -> tuple[RigidBodyState, Array]:
        way = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0) * self.zone
        return self.start, jnp.append(self.start.position, 0.0) + way


def zone_of(episode: int, size: int) -> np.ndarray:
    """It grows by a third of the whole in each of the first episodes, as published."""
    grown = min((episode + 1) / 3, 1.0)
    return grown * np.array([20.0, 20.0, np.pi if size == 3 else 0.0])


def at_rest(step: Steered, test: Task) -> RigidBodyState:
    """The body at rest, in the fluid as it enters."""
    return step.flow.initial_state(STREAM_START if test.stream else (SIZE / 2, SIZE / 2))


def make_pilot(name: str, seed: int) -> Pilot:
    """A fresh network for a craft."""
    craft = CRAFTS[name]()
    return Pilot(len(craft.limits), craft.memory, craft.hidden, jax.random.key(seed))


def trained(settings: Settings, run: Run, name: str, seed: int) -> tuple[Pilot, float]:
    """The network trained through the solver, and the processor's seconds."""
    craft, step = CRAFTS[name](), make_step(settings.cells, Task(name))
    pilot, problem, start = make_pilot(name, seed), the_problem(step, craft, settings.steps), at_rest(step, Task(name))
    episodes = settings.episodes * (5 if name == "box" else 1)
    window = settings.window if name == "box" else WINDOW
    half = max(1, episodes * settings.steps // window // 5)
    optimizer = optax.adamw(optax.exponential_decay(settings.rate, half, 0.5))
    label, progress, costs, seconds = f"{name}-network-{seed}", first_progress(pilot, optimizer), [], 0.0
    if run.has_checkpoint(label):
        progress: PolicyProgress = run.load_checkpoint(label, progress)
        metadata = run.checkpoint_metadata(label)
        costs, seconds = list(metadata["costs"]), float(metadata["seconds"])
    with run.progress(label, total=episodes, done=len(costs)) as advance:
        while len(costs) < episodes:
            began, after = process_time(), []
            draw = Draw(start, jnp.asarray(zone_of(len(costs), len(craft.limits)), jnp.float32))
            _, new = train_policy(
                pilot,
                problem,
                draw,
                episodes=len(costs) + 1,
                window=window,
                optimizer=optimizer,
                seed=seed,
                resume=progress,
                after_episode=lambda one, _, after=after: after.append(one),
            )
            progress, costs, seconds = after[0], [*costs, float(new[0])], seconds + process_time() - began
            run.save_checkpoint(label, progress, {"costs": costs, "seconds": seconds})
            run.save_curve(f"training of the {name}", f"seed {seed}", {"episode": range(len(costs)), "cost": costs})
            advance(note=f"cost {costs[-1]:.3g}")
            run.leave_if_asked()
    refuse_lost("episodes", settings.episodes, np.isfinite(costs))
    return eqx.combine(progress.trainable, pilot), seconds


def refuse_lost(name: str, given: int, kept: Any) -> None:
    """Refuse to go on where nothing was learned from."""
    if not np.any(kept):
        raise InputError(f"{name} is {given}, and in all of them the body left the domain; more are accepted")


class Flown(NamedTuple):
    """A record to be imitated: what a network would have seen and done, over the steps of several flights, behind the
    empty memory with which each begins.
    """

    seen: Array | np.ndarray
    control: Array | np.ndarray


class Follower(eqx.Module):
    """Flies along a cubic path to the target, at rest at both ends, by a strong proportional and derivative law.

    The push along a cubic is largest at the start. One along a path that begins without, as a quintic, cannot be told
    from rest at a target, and a network that imitates it never starts.
    """

    start: Array
    inertia: Array
    limits: Array
    duration: Array

    def __call__(self, state: RigidBodyState, target: Array) -> Array:
        size = len(self.limits)
        part = jnp.clip(state.flow.time / self.duration, 0.0, 1.0)
        way = target - self.start
        wanted = self.start + way * part**2 * (3 - 2 * part)
        speed = way / self.duration * 6 * part * (1 - part)
        push = jnp.where(part < 1, way / self.duration**2 * 6 * (1 - 2 * part), 0.0)
        motion = jnp.append(state.velocity, state.rotation_rate)
        push = push + 0.25 * (wanted - placed(state)) + 0.8 * (speed - motion)
        return aboard((self.inertia * push)[:size] / self.limits, state.angle)


def recorded(settings: Settings, run: Run, name: str) -> Flown:
    """Flights along smooth paths to targets in the whole zone."""
    craft, step = CRAFTS[name](), make_step(settings.cells, Task(name))
    pilot, start = make_pilot(name, 0), at_rest(step, Task(name))
    size, body = len(craft.limits), craft.body
    inertia = jnp.asarray([body.mass + craft.added * body.area] * 2 + [body.moment + body.area_moment], jnp.float32)
    problem = the_problem(step, craft, settings.flown)
    follower = Follower(placed(start), inertia, step.limits, jnp.asarray(0.8 * settings.flown * DT))
    shape = (settings.flights, pilot.memory + 1 + settings.flown)
    flown = Flown(np.zeros((*shape, 2 * size), np.float32), np.zeros((*shape, size), np.float32))

    @eqx.filter_jit
    def fly(problem: ControlProblem, key: Array) -> Flown:
        target = Draw(start, jnp.asarray(zone_of(3, size), jnp.float32))(key)[1]
        problem = problem.with_target(target)

        def seen(carry: Any) -> Flown:
            return Flown(pilot.seen(carry[0], target), carry[2])

        first = first_carry(problem, follower, start)
        then = rollout(PolicyStep(problem, follower), first, settings.flown, save_every=1, save=seen)[1]
        empty = jax.tree.map(lambda part: jnp.zeros((pilot.memory, *part.shape[1:]), part.dtype), then)
        parts = zip(empty, seen(first), then, strict=True)
        return Flown(*(jnp.concatenate([before, now[None], after]) for before, now, after in parts))

    label, done = f"{name}-flights", 0
    if run.has_checkpoint(label):
        flown = jax.tree.map(np.array, run.load_checkpoint(label, flown))
        done = int(run.checkpoint_metadata(label)["done"])
    with run.progress(label, total=settings.flights, done=done) as advance:
        while done < settings.flights:
            one = fly(problem, jax.random.fold_in(jax.random.key(7), done))
            flown.seen[done], flown.control[done] = one.seen, one.control
            done += 1
            advance()
            if done == settings.flights or run.checkpoint_due():
                run.save_checkpoint(label, flown, {"done": done})
                run.leave_if_asked()
    whole = np.isfinite(flown.seen).all((1, 2)) & np.isfinite(flown.control).all((1, 2))
    refuse_lost("flights", settings.flights, whole)
    return Flown(flown.seen[whole], flown.control[whole])


def imitating(settings: Settings, run: Run, name: str, seed: int) -> tuple[Pilot, float]:
    """The network that imitates the recorded flights, and the processor's seconds."""
    began = process_time()
    flown = recorded(settings, run, name)
    pilot = make_pilot(name, 100 + seed)
    label = f"{name}-supervised-{seed}"
    if run.has_checkpoint(label):
        kept = run.load_checkpoint(label, eqx.filter(pilot, eqx.is_inexact_array))
        return eqx.combine(kept, pilot), float(run.checkpoint_metadata(label)["seconds"])
    m, (flights, steps) = pilot.memory, flown.control.shape[:2]
    trainable, static = eqx.partition(pilot, eqx.is_inexact_array)
    optimizer = optax.adamw(optax.exponential_decay(settings.rate, max(1, settings.imitations // 10), 0.5))
    seen, control = (jnp.asarray(part) for part in flown)

    def error(trainable: Any, flight: Array, at: Array) -> Array:
        own = eqx.combine(trainable, static)
        views = jax.lax.dynamic_slice_in_dim(seen[flight], at - m, m + 1)[::-1]
        # A record holds what a control has led to; the one that answers the view at `at` stands one later.
        acted = jax.lax.dynamic_slice_in_dim(control[flight], at - m + 1, m + 1)[::-1]
        return jnp.sum((own.decided(views[0], views[1:], acted[1:]) - acted[0]) ** 2)

    def update(count: Array, carry: Any) -> Any:
        trainable, memory = carry
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), count))
        which = jax.random.randint(keys[0], (15 * 16,), 0, flights)
        when = jax.random.randint(keys[1], (15 * 16,), m, steps - 1)
        slope = jax.grad(lambda one: jnp.mean(jax.vmap(lambda f, t: error(one, f, t))(which, when)))(trainable)
        changes, memory = optimizer.update(slope, memory, trainable)
        return optax.apply_updates(trainable, changes), memory

    many = jax.jit(lambda carry: jax.lax.fori_loop(0, settings.imitations, update, carry))
    trainable, _ = jax.block_until_ready(many((trainable, optimizer.init(trainable))))
    seconds = process_time() - began
    run.save_checkpoint(label, trainable, {"seconds": seconds})
    run.leave_if_asked()
    return eqx.combine(trainable, static), seconds


# The tests ------------------------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """What is kept of each step: place and angle, the control; and of some the vorticity."""

    place: Array | np.ndarray
    control: Array | np.ndarray


def drawn_targets(test: Task, count: int) -> np.ndarray:
    """The targets, (count, 3), the same for all arms: the published places in turn, or drawn within the zone."""
    if test.pushed:
        return np.asarray(test.places)
    if test.places:
        return np.asarray(test.places)[np.arange(count) % len(test.places)]
    zone = zone_of(3, len(CRAFTS[test.craft]().limits))
    return np.array([SIZE / 2, SIZE / 2, 0.0]) + np.random.default_rng(20).uniform(-1.0, 1.0, (count, 3)) * zone


@eqx.filter_jit
def _piece(problem: ControlProblem, policy: Any, carry: Any) -> tuple[Any, Record]:
    return rollout(
        PolicyStep(problem, policy), carry, PIECE, save_every=1, save=lambda carry: Record(placed(carry[0]), carry[2])
    )


def section_of(settings: Settings, test: Task) -> int:
    """Steps of the control for each target, a multiple of a piece."""
    return max(1, round(settings.length * test.steps / PIECE)) * PIECE


class Flight(NamedTuple):
    """A test on its way: what the loop carries, what is recorded of each step, and the vorticity of each piece."""

    carry: Any
    records: Record
    frames: np.ndarray


def policy_of(test: Task, arm: str, pilot: Pilot) -> Chosen:
    """How an arm decides; the network is one of those that learn."""
    laws = {name: classical(name, CRAFTS[test.craft]()) for name in ("pid", "loop-shaping")}
    return Chosen((pilot, *laws.values()), jnp.asarray([*laws].index(arm) + 1 if arm in laws else 0))


def before_flight(settings: Settings, test: Task, policy: Any) -> tuple[ControlProblem, Flight]:
    """The task of a test, and its flight before the first step."""
    count = section_of(settings, test) * len(drawn_targets(test, settings.targets))
    step = make_step(settings.cells, test, DT * count if test.pushed else 0.0, settings.stream)
    craft = CRAFTS[test.craft]()
    problem = the_problem(step, craft, PIECE)
    records = Record(np.full((count, 3), np.nan, np.float32), np.full((count, len(craft.limits)), np.nan, np.float32))
    frames = np.zeros((count // PIECE, *step.flow.grid.cells), np.float32)
    return problem, Flight(first_carry(problem, policy, at_rest(step, test)), records, frames)


def flown_test(settings: Settings, run: Run, label: str, test: Task, policy: Any) -> Record:
    """One target after the other; records with an axis of steps. At a new target a policy forgets what was before; the
    body goes on from where it is, unless it is lost or the targets are drawn.
    """
    section, targets = section_of(settings, test), drawn_targets(test, settings.targets)
    problem, flight = before_flight(settings, test, policy)
    step: Any = problem.step
    for target in targets:
        check_target(step, target)
    fresh = flight.carry
    count, done = len(flight.records.place), 0
    if run.has_checkpoint(label):
        flight = run.load_checkpoint(label, flight)
        done = int(run.checkpoint_metadata(label)["done"])
    carry, records, frames = flight.carry, jax.tree.map(np.array, flight.records), np.array(flight.frames)
    with run.progress(label, total=count, done=done) as advance:
        while done < count:
            target = jnp.asarray(targets[done // section], jnp.float32)
            if done % section == 0:
                goes_on = test.places and bool(jnp.all(jnp.isfinite(carry[0].velocity)))
                carry = (carry[0] if goes_on else fresh[0], *fresh[1:])
            carry, piece = _piece(problem.with_target(target), policy, carry)
            records.place[done : done + PIECE], records.control[done : done + PIECE] = piece
            frames[done // PIECE] = _vorticity(step.flow, carry[0])
            done += PIECE
            if done == count or run.checkpoint_due():
                run.save_checkpoint(label, Flight(carry, records, frames), {"done": done})
                run.leave_if_asked()
            for _ in range(PIECE):
                advance()
    return records


@eqx.filter_jit
def _vorticity(flow: RigidBodyFlow, state: RigidBodyState) -> Array:
    """At the cell centers, NaN within the body, which is drawn in gray."""
    along_x, along_y = (part.values for part in faces_to_centers(state.flow.velocity))
    hx, hy = flow.grid.spacing
    across: Any = jnp.gradient(along_y, hx, axis=0)
    curl = across - jnp.gradient(along_x, hy, axis=1)
    inside = flow.body.at(state.position, state.angle).contains(flow.grid.centers())
    return jnp.where(inside, jnp.nan, curl)


def measured(settings: Settings, test: Task, records: Record) -> dict[str, Any]:
    """The published measures.

    - steady_error: the mean distance to the target, and steady_angle that of the angle, once the first quarter of each
      section is left out;
    - effort: the mean of |u|, over its bounds;
    - variability: the mean change of u from step to step, over its bounds.

    A section in which the body leaves the domain counts in "lost" and nowhere else.
    """
    section, targets = section_of(settings, test), drawn_targets(test, settings.targets)
    place, control = (part.reshape(len(targets), section, -1) for part in records)
    way = targets[:, None] - place
    distance = np.hypot(way[..., 0], way[..., 1])
    turned = np.abs((way[..., 2] + np.pi) % (2 * np.pi) - np.pi)
    kept = np.isfinite(distance).all(1)

    def mean(values: np.ndarray) -> float:
        return float(np.mean(values[kept])) if kept.any() else float("nan")

    found = {
        "steady_error": mean(distance[:, section // 4 :]),
        "effort": mean(np.abs(control)),
        "variability": mean(np.abs(np.diff(control, axis=1))),
        "lost": int(np.sum(~kept)),
        "distance": distance.ravel()[::10],
    }
    return found | ({"steady_angle": mean(turned[:, section // 4 :])} if control.shape[2] == 3 else {})


def run(settings: Settings, run: Run) -> None:
    """Learn what has to be learned for each body, then fly all tests under each arm."""
    metrics: dict[str, Any] = {"tests": {}, "seconds": {}}
    makers = {"network": trained, "supervised": imitating}
    learned: dict[tuple[str, str, int], Pilot] = {}
    crafts = list(dict.fromkeys(TESTS[name].craft for name in settings.tests))
    for craft in crafts:
        for arm in (arm for arm in settings.arms if arm in makers):
            for seed in range(run.seed, run.seed + settings.seeds):
                pilot, seconds = makers[arm](settings, run, craft, seed)
                learned[craft, arm, seed] = pilot
                metrics["seconds"][f"{craft}, {arm}, seed {seed}"] = seconds
    for name in settings.tests:
        test, found = TESTS[name], {}
        for arm in settings.arms:
            seeds = range(run.seed, run.seed + settings.seeds) if arm in makers else (run.seed,)
            found[arm] = []
            for seed in seeds:
                pilot = learned.get((test.craft, arm, seed), make_pilot(test.craft, 0))
                policy = policy_of(test, arm, pilot)
                records = flown_test(settings, run, f"{name}-{arm}-{seed}", test, policy)
                found[arm].append(measured(settings, test, records))
        metrics["tests"][name] = found
        run.write_metrics(metrics)


MEASURES = {"steady_error": "error", "steady_angle": "angle", "effort": "effort", "variability": "variability"}


def report(run: Run) -> Table:
    """A table of all tests, the distance over time, and for each test an animation of the first two arms."""
    settings, metrics = run.settings, run.read_metrics()
    table = Table("test", "arm", *MEASURES.values(), "", title="control-rigid-body")
    for name, arms in metrics["tests"].items():
        test = TESTS[name]
        for arm, seeds in arms.items():
            cells = []
            for measure in MEASURES:
                numbers = [one[measure] for one in seeds if one.get(measure) is not None]
                spread = f" +- {np.std(numbers, ddof=1):.2g}" if len(numbers) > 1 else ""
                cells.append(in_short(float(np.mean(numbers))) + spread if numbers else "")
            lost = sum(one["lost"] for one in seeds)
            table.add_row(name, arm, *cells, f"{lost} lost" if lost else "")
        lines = {}
        for arm, seeds in arms.items():
            distance = np.asarray([np.nan if d is None else d for d in seeds[0]["distance"]], float)
            lines[arm] = (10 * DT * np.arange(len(distance)), distance)
        panel = plots.Panel(lines=lines, x="time", y="distance to the target", title=name)
        stem = name.replace(" ", "-")
        run.save_figure(f"{stem}-distance.png", plots.panels_figure([panel]))
        rows = {}
        for arm in list(arms)[:1] + list(arms)[2:3]:
            rows[arm] = _frames(settings, run, name, arm)
        count = len(next(iter(rows.values())))
        times, size = PIECE * DT * np.arange(1, count + 1), np.asarray(STREAM_SIZE if test.stream else (SIZE, SIZE))
        look: dict[str, Any] = dict(at="cells", horizontal=0, limit=0.5)
        some = np.linspace(0, count - 1, min(count, 4)).astype(int)
        chosen = {arm: frames[some] for arm, frames in rows.items()}
        run.save_figure(f"{stem}.png", plots.frames_figure(chosen, times[some], size, **look))
        with replacing(run.figure_path(f"{stem}.gif")) as path:
            plots.write_animation(path, rows, times, size, columns=2, **look)
    table.caption = (
        "Errors in lengths, a disk's radius is 5, and in radians, after a quarter of each section; effort and change "
        "from step to step as parts of the largest force. Lost: targets at which it has left the domain."
    )
    return table


def _frames(settings: Settings, run: Run, name: str, arm: str) -> np.ndarray:
    """The vorticity that was kept of a test."""
    test = TESTS[name]
    _, flight = before_flight(settings, test, policy_of(test, arm, make_pilot(test.craft, 0)))
    return np.asarray(run.load_checkpoint(f"{name}-{arm}-{run.seed}", flight).frames)


def duration(run: Run) -> str:
    """How much is flown, in words."""
    return f"{len(run.settings.tests)} tests under {len(run.settings.arms)} controllers"


PROGRAM = Program("control-rigid-body", Settings, PRESETS, run, report, duration=duration, sources=SOURCES)
