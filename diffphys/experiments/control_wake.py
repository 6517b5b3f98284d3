r"""A cylinder in a stream turns about its axis so that its vortex street dies away.

J. Morton, F. D. Witherden, A. Jameson, M. J. Kochenderfer, "Deep dynamical modeling and control of unsteady fluid
flows" (NeurIPS 2018). Lengths are diameters D, speeds the stream's U:

    dv/dt + v . grad v = -grad p + laplacian(v) / Re,      div v = 0,      v = omega e_z x r on the cylinder

From Re 47 on vortices part from a cylinder at rest, alternately on either side. It may turn, |omega D / U| <= 0.42
(published: 0.1 where U is 0.236), and three ways to decide how are compared:

- "proportional", the law they compare with: omega is a multiple of the cross-stream velocity at one point of the wake;
- "predictive": model-predictive control straight through the solver, whose gradient finds the controls of a horizon. It
  makes the flow symmetric about the stream's axis, as it is where nothing sheds;
- "koopman", theirs: an autoencoder is trained on an excited wake so that its code follows a linear law; the law is
  identified anew in every step, and a quadratic program with bounds plans towards the code of the steady flow at Re 40.

The published flow is compressible (Mach 0.2) and unbounded. Ours is incompressible; the fluid passes freely through the
sides of a domain that is 12 diameters wide.
"""

import dataclasses
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
from diffphys.control import ControlProblem, Force, KoopmanPredictive, ModelPredictive, ridge_transition
from diffphys.control.closed_loop import PolicyStep, first_carry
from diffphys.control.koopman import predicted_codes
from diffphys.experiments.comparison import in_short
from diffphys.grids import Grid, Inflow, Open, Outflow, Sphere
from diffphys.nets import MLP
from diffphys.operators.interpolation import linear_interpolation_matrix
from diffphys.physics import FlowInput, FlowState, Immersed, IncompressibleFlow
from diffphys.runs import Program, Run, replacing, setting
from diffphys.stepping import RungeKutta, rollout


CYLINDER = Sphere((0.0, 0.0), 0.5)
LIMIT = 0.1 / 0.236  # of omega D / U, as published
STEADY_REYNOLDS = 40.0
LOW, HIGH = (-2.0, -3.0), (10.0, 3.0)  # what is observed, as published
POINTS = (48, 24)
DRAWN = (144, 72)
PROBE = 2.1
PIECE = 5  # controls between two looks at the clock
ARMS = ("proportional", "predictive", "koopman")
SOURCES = (
    "J. Morton, F. D. Witherden, A. Jameson, M. J. Kochenderfer: Deep dynamical modeling and control of unsteady fluid "
    "flows, NeurIPS 2018",
)


@dataclass(frozen=True)
class Settings:
    """Times are diameters over the stream's speed."""

    reynolds: tuple[float, ...] = setting((60.0,), help="Reynolds numbers U D / viscosity", above=0.0, maximum=150.0)
    arms: tuple[str, ...] = setting(ARMS, help="how the rotation is decided", choices=ARMS)
    cells: int = setting(8, help="cells along the diameter", minimum=4, maximum=64)
    dt: float = setting(0.05, help="of the solver's steps", above=0.0, maximum=0.2)
    hold: int = setting(10, help="steps for which a control acts", minimum=1)
    developed: float = setting(80.0, help="time after which the vortex street repeats itself", above=0.0)
    controlled: float = setting(60.0, help="time for which it is controlled", above=0.0)
    limit: float = setting(LIMIT, help="largest |omega D / U|", above=0.0)
    gain: float = setting(0.4, help="proportional: omega over the cross-stream velocity 2.1 diameters downstream")
    horizon: int = setting(8, help="predictive: controls of a plan", minimum=1)
    iterations: int = setting(2, help="predictive: gradients for each control", minimum=1)
    price: float = setting(1e-4, help="predictive: what omega^2 costs beside the mean square of asymmetry", minimum=0.0)
    code: int = setting(12, help="koopman: numbers of a code", minimum=2)
    plan: int = setting(16, help="koopman: controls of a plan", minimum=1)
    excited: float = setting(400.0, help="koopman: time of the excited wake that is learned from", above=0.0)
    updates: int = setting(400, help="koopman: updates of the autoencoder", minimum=1)
    sequence: int = setting(32, help="koopman: observations of a sequence", minimum=4)
    ridge: float = setting(10.0, help="koopman: ridge of the identification (published: 10)", above=0.0)
    effort: float = setting(0.45, help="koopman: the price of the largest rotation, in code variances", minimum=0.0)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {},
    "book": {"reynolds": (50.0, 60.0), "cells": 12, "developed": 120.0},
    "paper": {"reynolds": (50.0, 60.0, 75.0, 100.0), "cells": 20, "dt": 0.025, "hold": 20, "developed": 200.0}
    | {"controlled": 150.0, "horizon": 16, "iterations": 6, "updates": 20_000, "excited": 2000.0, "code": 16},
}


class Wake(NamedTuple):
    """The flow, and what it exerts on the cylinder at the end of a control: coefficients of drag and lift."""

    flow: FlowState
    force: Array


class Turned(eqx.Module):
    """A step for which the cylinder turns at one rate: several of the solver's steps."""

    flow: IncompressibleFlow
    hold: int = eqx.field(static=True)

    def __call__(self, wake: Wake, control: Array) -> Wake:
        acting = FlowInput(solid=Immersed(CYLINDER, rotation_rate=control[0]))
        flow, _ = rollout(lambda state: self.flow(state, acting), wake.flow, self.hold)
        return Wake(flow, 2 * self.flow.forces_on_solid(flow, acting).force)


def wake_grid(cells: int) -> Grid:
    """Cells of one size around the cylinder that grow outward, symmetric about the stream's axis."""
    size = 1 / cells

    def grown(start: float, end: float, factor: float) -> list[float]:
        places, width = [start], size
        while places[-1] < end:
            width *= factor
            places.append(places[-1] + width)
        return places[1:]

    before, after, beside = grown(1.0, 6.0, 1.07), grown(2.0, 14.0, 1.07), grown(1.0, 6.0, 1.12)
    narrow = np.linspace(-1.0, 2.0, 3 * cells + 1), np.linspace(-1.0, 1.0, 2 * cells + 1)
    along = np.concatenate([-np.array(before[::-1]), narrow[0], after])
    across = np.concatenate([-np.array(beside[::-1]), narrow[1], beside])
    return Grid.from_edges([along, across])


def wake_step(settings: Settings, reynolds: float) -> Turned:
    """The controlled step."""
    flow = IncompressibleFlow(
        wake_grid(settings.cells),
        viscosity=1 / reynolds,
        dt=settings.dt,
        sides=dict(x=(Inflow(1.0), Outflow()), y=Open()),
        solid=Immersed(CYLINDER),
        stepping=RungeKutta(2),
    )
    return Turned(flow, settings.hold)


def observed(wake: Wake) -> Array:
    """The velocity at the published window's points, (2, *POINTS), by linear interpolation."""
    lines = _lines(POINTS)
    return jnp.stack([_at(wake, axis, *lines) for axis in (0, 1)])


def _lines(counts: tuple[int, int]) -> list[np.ndarray]:
    """Evenly spaced points along both axes of the window."""
    return [
        low + (high - low) * (np.arange(count) + 0.5) / count
        for low, high, count in zip(LOW, HIGH, counts, strict=True)
    ]


def _at(wake: Wake, axis: int, along: np.ndarray, across: np.ndarray) -> Array:
    """One component of the velocity at all points of two lines."""
    part = wake.flow.velocity[axis]
    edges = part.grid.edges
    places = [line if axis == number else (line[1:] + line[:-1]) / 2 for number, line in enumerate(edges)]
    matrices = [linear_interpolation_matrix(*pair) for pair in zip(places, (along, across), strict=True)]
    from_x, from_y = (jnp.asarray(matrix, jnp.float32) for matrix in matrices)
    return from_x @ part.values @ from_y.T


def mirrored(observation: Array) -> Array:
    """The same on the other side of the stream's axis."""
    return observation[:, :, ::-1] * jnp.asarray([1.0, -1.0], observation.dtype)[:, None, None]


def asymmetry(wake: Wake, control: Any = None, target: Any = None) -> Array:
    """The mean square of what of the observed velocity is not symmetric about the stream's axis."""
    del control, target
    observation = observed(wake)
    return 2 * jnp.mean(((observation - mirrored(observation)) / 2) ** 2)


def behind(wake: Wake) -> Array:
    """The cross-stream velocity on the axis, 2.1 diameters downstream."""
    return _at(wake, 1, np.array([PROBE]), np.array([0.0]))[0, 0]


class Proportional(eqx.Module):
    """The law they compare with."""

    gain: Array

    def __call__(self, wake: Wake, target: Any) -> Array:
        return self.gain * behind(wake)[None]


class Autoencoder(eqx.Module):
    """From observations to a code and back: proper orthogonal modes, and what networks add to them.

    Attributes:
        modes: The modes with most energy, (code, observation), of length one.
        encoder: Adds to the code.
        decoder: Adds to what the modes make of it.
        transition: A_0, what becomes of the code in a step.
        control_matrix: B, what a control does to it.
        mean: Of the observations, (2, *POINTS).
        scale: Such that a code has as many numbers as squares on average, one number.
    """

    modes: Array
    encoder: MLP
    decoder: MLP
    transition: Array
    control_matrix: Array
    mean: Array
    scale: Array

    def scaled(self, observation: Array) -> Array:
        """The observation without mean, as it is learned."""
        return ((observation - self.mean) / self.scale).ravel()

    def encode(self, observation: Array) -> Array:
        """The code."""
        observation = self.scaled(observation)
        return self.modes @ observation + self.encoder(observation)

    def decode(self, code: Array) -> Array:
        """The scaled observation."""
        return code @ self.modes + self.decoder(code)


class Encoder(eqx.Module):
    """From a wake to its code."""

    network: Autoencoder

    def __call__(self, wake: Wake) -> Array:
        return self.network.encode(observed(wake))


def make_autoencoder(code: int, observations: Array, controls: Array, key: Array) -> Autoencoder:
    """A fresh one, whose networks still add little, for observations that follow each other.

    Args:
        code: Numbers of a code.
        observations: Shape (times, 2, *POINTS).
        controls: Those that lead from an observation to the next, (times, 1).
        key: A random key.
    """
    mean = (jnp.mean(observations, 0) + mirrored(jnp.mean(observations, 0))) / 2
    centered = (observations - mean).reshape(len(observations), -1)
    images = jax.vmap(mirrored)(observations - mean).reshape(centered.shape)
    scale = jnp.sqrt(jnp.sum(centered**2) / (code * len(centered)))
    modes = jnp.linalg.svd(jnp.concatenate([centered, images]), full_matrices=False)[2][:code]
    law = linear_law(centered @ modes.T / scale, images @ modes.T / scale, controls)
    size = modes.shape[1]
    shapes = ((size, 64, code), (code, 64, size))
    networks = [MLP(one, jnp.tanh, key=key) for one, key in zip(shapes, jax.random.split(key), strict=True)]
    encoder, decoder = (
        eqx.tree_at(lambda one: one.layers[-1], one, jax.tree.map(lambda leaf: 0.01 * leaf, one.layers[-1]))
        for one in networks
    )
    return Autoencoder(modes, encoder, decoder, *law, mean, scale)


def linear_law(codes: Array, images: Array, controls: Array) -> tuple[Array, Array]:
    """A and B of least squares, from codes that follow each other and those of their mirror images."""
    pairs = [(codes, controls), (images, -controls)]  # in a mirror the cylinder turns the other way
    seen = jnp.concatenate([jnp.concatenate(pair, 1)[:-1] for pair in pairs])
    both = jnp.linalg.lstsq(seen, jnp.concatenate([codes[1:], images[1:]]))[0].T
    return both[:, : codes.shape[1]], both[:, codes.shape[1] :]


def prediction_loss(network: Autoencoder, observations: Array, controls: Array, ridge: float) -> tuple[Array, Array]:
    """Squares of what is not reconstructed of a sequence, and of what its first half's linear law does not predict.

    Returns:
        The loss, and the part of it that is the prediction's; each over the squares of the observations.
    """
    codes = jax.vmap(network.encode)(observations)
    driven = controls @ network.control_matrix.T
    half = len(observations) // 2
    transition = ridge_transition(codes[: half + 1], driven[:half], ridge, network.transition)
    predicted = predicted_codes(transition, codes[0], driven[:-1])
    truth = jax.vmap(network.scaled)(observations)
    size = jnp.mean(jnp.sum(truth**2, 1))
    kept = jnp.mean(jnp.sum((jax.vmap(network.decode)(codes) - truth) ** 2, 1)) / size
    ahead = jnp.mean(jnp.sum((jax.vmap(network.decode)(predicted) - truth[1:]) ** 2, 1)) / size
    return kept + ahead, ahead


def excitation(count: int, limit: float, key: Array) -> np.ndarray:
    """Rotations drawn at random, each kept for three controls, (count, 1)."""
    levels = jax.random.uniform(key, (count // 3 + 1, 1), minval=-limit, maxval=limit)
    return np.repeat(np.asarray(levels), 3, axis=0)[:count]


def named_flows(settings: Settings) -> dict[str, float]:
    """The Reynolds numbers by the names of their flows in metrics and files."""
    return {f"re-{reynolds:g}": reynolds for reynolds in settings.reynolds}


def run(settings: Settings, run: Run) -> None:
    """For each Reynolds number: let the street develop, learn what has to be learned, control."""
    metrics: dict[str, Any] = {"reynolds": {}, "limit": settings.limit}
    for name, reynolds in named_flows(settings).items():
        step = wake_step(settings, reynolds)
        start, free = _street(settings, run, step, name)
        found, shown = {"none": _summary(settings, free, free)}, {"none": _vorticity(free.flow)}
        for arm in settings.arms:
            policy, target, learned = _decider(settings, run, arm, step, start, name)
            _, records = _followed(run, f"{name}-{arm}", the_problem(settings, step, target), policy, start)
            seconds = run.checkpoint_metadata(f"{name}-{arm}")["seconds"]
            found[arm] = _summary(settings, records, free) | {"seconds": seconds} | learned
            shown[arm] = _vorticity(records.flow)
            metrics["reynolds"][name] = found
            run.write_metrics(metrics)
        run.save_checkpoint(f"{name}-shown", shown)


def the_problem(settings: Settings, step: Turned, target: Any = None) -> ControlProblem:
    """Make the wake symmetric with little rotation."""
    return ControlProblem(
        step,
        _intervals(settings, settings.controlled),
        jnp.zeros(1),
        running_cost=asymmetry,
        target=target,
        regularizers=(Force(2 * settings.price),),
        lower=-settings.limit,
        upper=settings.limit,
    )


def _decider(
    settings: Settings, run: Run, arm: str, step: Turned, start: Wake, name: str
) -> tuple[Any, Any, dict[str, Any]]:
    """The policy of an arm, the target it is told, and what is known of what it has learned."""
    if arm == "proportional":
        return Proportional(jnp.asarray(settings.gain)), None, {}
    if arm == "predictive":
        problem = the_problem(settings, step)
        descent = optax.adam(0.2 * settings.limit, b1=0.8, b2=0.9)
        horizon = min(settings.horizon, problem.steps)
        return ModelPredictive(problem, horizon, optimizer=descent, iterations=settings.iterations), None, {}
    network, variance, error = _learned(settings, run, step, start, name)
    goal = jax.jit(lambda wake: network.encode(observed(wake)))(_steady(settings, run))
    policy = KoopmanPredictive(
        Encoder(network),
        network.transition,
        network.control_matrix,
        price=settings.effort * variance / settings.limit**2,
        lower=-settings.limit,
        upper=settings.limit,
        horizon=settings.plan,
        window=settings.sequence // 2 + 1,
        ridge=settings.ridge,
    )
    return policy, goal, {"prediction_error": error}


def _intervals(settings: Settings, time: float) -> int:
    """Controls in so much time, a multiple of a piece."""
    return PIECE * max(1, round(time / (settings.dt * settings.hold * PIECE)))


class Record(NamedTuple):
    """What is kept of each control: it, the forces, the asymmetry, and the flow."""

    control: Array
    force: Array
    asymmetry: Array
    flow: FlowState


class Following(eqx.Module):
    """A policy that plays given controls, one after the other, again and again, on top of the proportional law."""

    controls: Array
    gain: Array

    def initial_memory(self) -> Array:
        """The number of the next."""
        return jnp.zeros((), int)

    def __call__(self, wake: Wake, target: Any, memory: Array) -> tuple[Array, Array]:
        control = self.controls[memory] + self.gain * behind(wake)[None]
        return control, (memory + 1) % len(self.controls)


def _record(carry: Any) -> Record:
    wake, _, control, _ = carry
    return Record(control[0], wake.force, asymmetry(wake), wake.flow)


@eqx.filter_jit
def _piece(problem: ControlProblem, policy: Any, carry: Any) -> tuple[Any, Record]:
    return rollout(PolicyStep(problem, policy), carry, PIECE, save_every=1, save=_record)


def _followed(
    run: Run, name: str, problem: ControlProblem, policy: Any, wake: Wake, gains: np.ndarray | float = 0.0
) -> tuple[Wake, Record]:
    """The closed loop in pieces, under a policy or given controls; after each piece a signal is answered.

    To given controls a proportional law is added, whose gain may differ from piece to piece. Records are NumPy arrays
    with an axis of controls.
    """
    count, problem = problem.steps, dataclasses.replace(problem, steps=PIECE)
    given = policy if isinstance(policy, np.ndarray) else None

    def deciding(done: int) -> Any:
        if given is None:
            return policy
        gain = np.broadcast_to(gains, len(given))[done]
        return Following(jnp.asarray(given[done : done + PIECE], jnp.float32), jnp.asarray(gain, jnp.float32))

    carry = first_carry(problem, deciding(0), wake)
    blank = eqx.filter_eval_shape(_piece, problem, deciding(0), carry)[1]
    records = jax.tree.map(lambda leaf: np.zeros((count, *leaf.shape[1:]), leaf.dtype), blank)
    done, seconds, began = 0, 0.0, process_time()
    if run.has_checkpoint(name):
        carry, records = run.load_checkpoint(name, (carry, records))
        records = jax.tree.map(np.array, records)
        metadata = run.checkpoint_metadata(name)
        done, seconds = int(metadata["done"]), float(metadata["seconds"])
    with run.progress(name, total=count, done=done) as advance:
        while done < count:
            carry, piece = _piece(problem, deciding(done), carry)
            for whole, part in zip(jax.tree.leaves(records), jax.tree.leaves(piece), strict=True):
                whole[done : done + PIECE] = part
            done += PIECE
            if done == count or run.checkpoint_due():
                spent = seconds + process_time() - began
                run.save_checkpoint(name, (carry, records), {"done": done, "seconds": spent})
                run.leave_if_asked()
            for _ in range(PIECE):
                advance(note=f"lift {records.force[done - 1, 1]:+.3f}")
    return carry[0], records


def _street(settings: Settings, run: Run, step: Turned, name: str) -> tuple[Wake, Record]:
    """The developed vortex street, and it as it goes on by itself for the controlled time."""
    interval = settings.dt * settings.hold
    count = _intervals(settings, settings.developed)
    # Turned to and fro at the street's frequency for a while, it develops sooner.
    times = interval * np.arange(count)
    kick = np.where(times < min(20.0, settings.developed / 2), settings.limit * np.sin(0.26 * np.pi * times), 0.0)
    rest = Wake(step.flow.initial_state((1.0, 0.0)), jnp.zeros(2))
    problem = the_problem(settings, step)
    longer = dataclasses.replace(problem, steps=count)
    developed, _ = _followed(run, f"{name}-developing", longer, kick[:, None], rest)
    _, free = _followed(run, f"{name}-none", problem, np.zeros((problem.steps, 1)), developed)
    return developed, free


def _steady(settings: Settings, run: Run) -> Wake:
    """The flow at Re 40, where nothing sheds."""
    step = wake_step(settings, STEADY_REYNOLDS)
    count = _intervals(settings, settings.developed)
    rest = Wake(step.flow.initial_state((1.0, 0.0)), jnp.zeros(2))
    problem = dataclasses.replace(the_problem(settings, step), steps=count)
    return _followed(run, "steady", problem, np.zeros((count, 1)), rest)[0]


class Learning(NamedTuple):
    """The state of the autoencoder's training."""

    trainable: Any
    optimizer_state: Any
    count: Array


def _learned(settings: Settings, run: Run, step: Turned, start: Wake, name: str) -> tuple[Autoencoder, Array, float]:
    """The autoencoder, the variance of its codes, and the error of what it predicts of the last tenth of the data."""
    count = _intervals(settings, settings.excited)
    pushes = excitation(count, settings.limit, jax.random.key(run.seed))
    # Half of the time the street is also calmed: what is weak has to be seen, too.
    calmed = np.where(np.arange(count) // (8 * PIECE) % 2, settings.gain, 0.0)
    problem = dataclasses.replace(the_problem(settings, step), steps=count)
    _, records = _followed(run, f"{name}-excited", problem, pushes, start, calmed)
    states = Wake(records.flow, jnp.asarray(records.force))
    observations = jax.jit(jax.vmap(observed))(jax.tree.map(jnp.asarray, states))
    acted = jnp.asarray(records.control)[:, None]
    controls = jnp.concatenate([acted[1:], acted[:1]])  # a control leads to the next observation
    length = min(settings.sequence, count // 2)
    training = max(count - max(count // 10, length), length)

    key = jax.random.key(1000 + run.seed)
    fresh = make_autoencoder(settings.code, observations[:training], controls[:training], key)
    learned = jax.tree.map(eqx.is_inexact_array, fresh)
    learned = eqx.tree_at(lambda one: (one.modes, one.mean, one.scale), learned, (False, False, False))
    trainable, fixed = eqx.partition(fresh, learned)
    optimizer = optax.chain(
        optax.clip_by_global_norm(5.0),
        optax.adamw(optax.cosine_decay_schedule(1e-3, settings.updates), weight_decay=1e-4),
    )

    def loss(trainable: Any, begin: Array, mirror: Array | bool = False) -> tuple[Array, Array]:
        network = eqx.combine(trainable, fixed)
        seen, acted = (jax.lax.dynamic_slice_in_dim(one, begin, length) for one in (observations, controls))
        seen, acted = jnp.where(mirror, jax.vmap(mirrored)(seen), seen), jnp.where(mirror, -acted, acted)
        return prediction_loss(network, seen, acted, settings.ridge)

    def update(_: Any, now: Learning) -> Learning:
        places, mirrors = jax.random.split(jax.random.fold_in(jax.random.key(run.seed), now.count))
        begins = jax.random.randint(places, (4,), 0, training - length + 1)
        mirror = jax.random.bernoulli(mirrors, shape=(4,))

        def whole(trainable: Any) -> Array:
            return jnp.mean(jax.vmap(lambda *drawn: loss(trainable, *drawn)[0])(begins, mirror))

        gradient = jax.grad(whole)(now.trainable)
        changes, memory = optimizer.update(gradient, now.optimizer_state, now.trainable)
        return Learning(optax.apply_updates(now.trainable, changes), memory, now.count + 1)

    now = Learning(trainable, optimizer.init(trainable), jnp.zeros((), jnp.int32))
    if run.has_checkpoint(f"{name}-autoencoder"):
        now = run.load_checkpoint(f"{name}-autoencoder", now)
    several = jax.jit(lambda now, count: jax.lax.fori_loop(0, count, update, now))
    with run.progress("autoencoder", total=settings.updates, done=int(now.count)) as advance:
        while int(now.count) < settings.updates:
            part = min(50, settings.updates - int(now.count))
            now = jax.block_until_ready(several(now, part))
            for _ in range(part):
                advance()
            if int(now.count) == settings.updates or run.checkpoint_due():
                run.save_checkpoint(f"{name}-autoencoder", now)
                run.leave_if_asked()
    network = eqx.combine(now.trainable, fixed)
    encode = jax.jit(jax.vmap(network.encode))
    codes, images = encode(observations[:training]), encode(jax.vmap(mirrored)(observations[:training]))
    law = linear_law(codes, images, controls[:training])
    network = eqx.tree_at(lambda one: (one.transition, one.control_matrix), network, law)
    begins = jnp.arange(training, count - length + 1) if count - length >= training else jnp.asarray([count - length])
    errors = jax.jit(jax.vmap(lambda begin: loss(now.trainable, begin)[1]))(begins)
    return network, jnp.sum(jnp.var(codes, 0)), float(jnp.sqrt(jnp.mean(errors)))


def _summary(settings: Settings, found: Record, free: Record) -> dict[str, Any]:
    """Fluctuations over the last third of the time, over those of the cylinder at rest."""
    late = slice(-max(len(found.control) // 3, 1), None)

    def spread(one: Record) -> float:
        return float(np.std(one.force[late, 1]))

    times = settings.dt * settings.hold * (1 + np.arange(len(found.control)))
    return {
        "lift_fluctuation": spread(found),
        "lift_reduction": 1 - spread(found) / spread(free),
        "drag": float(np.mean(found.force[late, 0])),
        "asymmetry": float(np.mean(found.asymmetry[late]) / np.mean(free.asymmetry[late])),
        "largest_control": float(np.max(np.abs(found.control))),
        "late_control": float(np.sqrt(np.mean(found.control[late] ** 2))),
        "curves": {
            "time": times,
            "lift": found.force[:, 1],
            "drag": found.force[:, 0],
            "control": found.control,
            "asymmetry": found.asymmetry,
        },
    }


@jax.jit
def _vorticity(flow: FlowState) -> Array:
    """Of every second of several flows, in the window that is observed, (frames, *DRAWN)."""
    lines = _lines(DRAWN)
    spacing = [float(line[1] - line[0]) for line in lines]

    def single(flow: FlowState) -> Array:
        wake = Wake(flow, jnp.zeros(2))
        u, v = (_at(wake, axis, *lines) for axis in (0, 1))
        along_x: Any = jnp.gradient(v, spacing[0], axis=0)
        return along_x - jnp.gradient(u, spacing[1], axis=1)

    return jax.vmap(single)(jax.tree.map(lambda leaf: jnp.asarray(leaf)[1::2], flow))


def report(run: Run) -> Table:
    """Lift, drag and control over time, the wake before and after, an animation, and the table."""
    settings, metrics = run.settings, run.read_metrics()
    table = Table("Re", "arm", "lift fluctuation", "less by", "drag", "rotation, late", "largest", "seconds")
    table.title = "control-wake"
    size = [high - low for low, high in zip(LOW, HIGH, strict=True)]
    look: dict[str, Any] = {"at": "cells", "horizontal": 0, "limit": 3.0}
    look["solid"] = [(np.array([-LOW[0], -LOW[1]]), 0.5)]
    for name, reynolds in named_flows(settings).items():
        found = metrics["reynolds"][name]
        for arm, numbers in found.items():
            table.add_row(
                f"{reynolds:g}",
                "at rest" if arm == "none" else arm,
                in_short(numbers["lift_fluctuation"]),
                "" if arm == "none" else f"{100 * numbers['lift_reduction']:.1f} %",
                f"{numbers['drag']:.3f}",
                f"{numbers['late_control']:.3f}",
                f"{numbers['largest_control']:.3f}",
                f"{numbers['seconds']:.0f}" if "seconds" in numbers else "",
            )
        lines = {arm: {key: np.asarray(line) for key, line in one["curves"].items()} for arm, one in found.items()}
        panels = [
            plots.Panel(
                lines={_called(arm): (line["time"], line[key]) for arm, line in lines.items()},
                x="time, in D / U",
                y=label,
            )
            for key, label in (("lift", "lift coefficient"), ("drag", "drag coefficient"), ("control", "omega D / U"))
        ]
        run.save_figure(f"{name}-forces.png", plots.panels_figure(panels, columns=1, height=2.4))

        times = next(iter(lines.values()))["time"][1::2]
        blank = np.zeros((len(times), *DRAWN), np.float32)
        shown = run.load_checkpoint(f"{name}-shown", {arm: blank for arm in found})
        rows = {_called(arm): np.asarray(shown[arm]) for arm in found}
        some = [0, len(times) - 1]
        chosen = {arm: frames[some] for arm, frames in rows.items()}
        run.save_figure(f"{name}-wake.png", plots.frames_figure(chosen, times[some], size, **look))
        with replacing(run.figure_path(f"{name}-wake.gif")) as path:
            plots.write_animation(path, rows, times, size, columns=2, **look)
    limit = settings.limit
    table.caption = f"Lift fluctuation: deviation over the last third of the time. |omega D / U| at most {limit:.3f}."
    return table


def _called(arm: str) -> str:
    return "at rest" if arm == "none" else arm


def duration(run: Run) -> str:
    """How much is controlled, in words."""
    return f"{run.settings.controlled:g} D / U under each of {len(run.settings.arms)} laws"


PROGRAM = Program("control-wake", Settings, PRESETS, run, report, duration=duration, sources=SOURCES)
