"""A network steers a quantum particle in a box from its ground state to a superposition, by a field on its dipole.

Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep Learning" (ICLR 2022), quantum dipole.

    i psi_t = (-d^2/dx^2 + u(t) x) psi   on [0, 2],   psi = 0 at the walls,   14 interior points,

384 steps of Crank and Nicolson, (I + i dt/2 H) psi' = (I - i dt/2 H) psi, with dt = 0.05. The targets are f1 psi_2 + f2
psi_3 with real (f1, f2) on the unit circle, psi_n the eigenstates without field. The network sees the target and gives
all 384 fields at once; the loss is 1 - |<target, psi(T)>|^2. The outputs of the end-to-end map are the complex psi(T).
"""

from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.experiments.comparison import compare, duration, shown_over
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import HalfInverse, half_inverse_arms
from diffphys.nets import MLP
from diffphys.runs import Program, Run, setting


@dataclass(frozen=True)
class Settings(HalfInverse):
    """As published, save for the time, which was 5400 s on a GPU."""

    samples: int = setting(1024, help="targets for training, and as many for testing", minimum=256)
    steps: int = setting(384, help="time steps, each with its field", minimum=1)
    half_inverse_batch: int = setting(16, help="batch of half-inverse gradients and Gauss-Newton", minimum=1)
    half_inverse_rate: float = setting(0.5, help="eta of half-inverse gradients and Gauss-Newton", above=0.0)
    adam_batch: int = setting(256, help="batch of Adam", minimum=1)
    adam_rate: float = setting(5e-4, help="learning rate of Adam", above=0.0)
    truncation: float = setting(1e-5, help="relative truncation of singular values", minimum=0.0, maximum=0.5)


POINTS = 14
SPACING = 2.0 / (POINTS + 1)
DT = 0.05


def eigenstates() -> np.ndarray:
    """The eigenstates without field, lowest energy first, each a row of unit Euclidean norm; shape (14, 14)."""
    point, mode = np.meshgrid(np.arange(1, POINTS + 1), np.arange(1, POINTS + 1))
    return np.sqrt(2.0 / (POINTS + 1)) * np.sin(np.pi * mode * point / (POINTS + 1))


def simulate(fields: Array) -> Array:
    """psi(T) from the ground state under one field for each step; shape (steps,) -> (14,), complex."""
    kinetic = (2.0 * np.eye(POINTS) - np.eye(POINTS, k=1) - np.eye(POINTS, k=-1)) / SPACING**2
    positions = np.arange(1, POINTS + 1) * SPACING
    identity = np.eye(POINTS)

    # A step's intermediates are computed again for its derivative, so that the memory holds 384 states, not matrices.
    @jax.checkpoint
    def step(psi: Array, field: Array) -> tuple[Array, None]:
        half = 0.5j * DT * (kinetic + field * jnp.diag(jnp.asarray(positions)))
        return jnp.linalg.solve(identity + half, psi - half @ psi), None

    ground = jnp.asarray(eigenstates()[0], complex)
    return jax.lax.scan(step, ground, fields)[0]


def run(settings: Settings, run: Run) -> None:
    """Train all arms."""
    with jax.enable_x64(True):
        states = jnp.asarray(eigenstates())
        factors = jax.random.normal(jax.random.key(run.seed), (2, settings.samples, 2))
        factors = factors / jnp.linalg.norm(factors, axis=-1, keepdims=True)
        training, testing = factors @ states[1:3]

        def make_network(key: Array) -> MLP:
            return MLP((2 * POINTS, 20, 20, 20, settings.steps), jnp.tanh, key=key)

        def end_to_end(network: MLP, target: Array) -> Array:
            # The targets are real; the published network also sees their imaginary parts, which are zero.
            return simulate(network(jnp.concatenate([target, jnp.zeros_like(target)])))

        def loss(psi: Array, targets: Array) -> Array:
            return jnp.mean(1.0 - jnp.abs(jnp.sum(targets * psi, axis=1)) ** 2)

        def through_physics(network: MLP, targets: Array) -> Array:
            return loss(jax.vmap(lambda one: end_to_end(network, one))(targets), targets)

        def measure(network: MLP) -> dict[str, Array]:
            return {"error": through_physics(network, testing)}

        arms = half_inverse_arms(settings, make_network, training, end_to_end, loss)
        points = SPACING * np.arange(1, POINTS + 1)
        answer = eqx.filter_jit(lambda network: jnp.abs(jax.vmap(lambda one: end_to_end(network, one))(testing[:3])))
        compare(
            run,
            arms,
            settings,
            measure=measure,
            answers=lambda network: shown_over("x", points, {"probability": answer(network) ** 2}),
            truth=shown_over("x", points, {"probability": testing[:3] ** 2}),
        )


PROGRAM = Program(
    "quantum-dipole",
    Settings,
    {
        "demo": {"seconds": 50.0, "clock": "processor", "seeds": 1},
        "book": {"seconds": 40.0, "seeds": 2},
        "paper": {"seconds": 5400.0},
    },
    run,
    partial(show, label="test loss, 1 - fidelity"),
    duration=duration,
)
