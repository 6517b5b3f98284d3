"""A network steers two masses on nonlinear springs back to where they started.

Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep Learning" (ICLR 2022), first experiment.

    x' = v,    v_i' = -x_i + (x_{i+1} - x_i)^3 + (x_{i-1} - x_i)^3 + 3 u(t) [last mass]

(missing neighbors dropped), 96 Runge-Kutta steps of dt = 0.125 with u constant in each. All settings are those of the
published code, which is also why its Gauss-Newton is damped: the loss is a mean over the batch of b samples, so a rate
of 1 makes 2 / b of a Gauss-Newton step.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from diffphys.experiments.comparison import compare, duration
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.linear_chain import mean_loss, runge_kutta, steered_cases
from diffphys.experiments.optimizers import HalfInverse, half_inverse_arms
from diffphys.nets import MLP
from diffphys.runs import Program, Run, setting


@dataclass(frozen=True)
class Settings(HalfInverse):
    """As published, save for the time, which was 3600 s on a GPU."""

    samples: int = setting(4096, help="states for training, and as many for testing", minimum=512)
    steps: int = setting(96, help="Runge-Kutta steps, each with its control", minimum=1)
    dt: float = setting(0.125, help="duration of a step", above=0.0)


def advance(state: Array, control: Array, dt: float) -> Array:
    """The state (x1, x2, v1, v2) after one step."""

    def derivative(state: Array, control: Array) -> Array:
        x, v = state[:2], state[2:]
        force = -x + (x[::-1] - x) ** 3 + jnp.stack([jnp.zeros_like(control), 3.0 * control])
        return jnp.concatenate([v, force])

    return runge_kutta(derivative, state, control, dt)


def simulate(controls: Array, state: Array, dt: float) -> Array:
    """The state after one step for each control."""
    return jax.lax.scan(lambda state, control: (advance(state, control, dt), None), state, controls)[0]


def run(settings: Settings, run: Run) -> None:
    """Train all arms."""
    with jax.enable_x64(True):
        training, testing = jax.random.uniform(jax.random.key(run.seed), (2, settings.samples, 4))

        def make_network(key: Array) -> MLP:
            return MLP((4, 20, 20, 20, settings.steps), jax.nn.relu, key=key)

        def end_to_end(network: MLP, start: Array) -> Array:
            return simulate(network(start), start, settings.dt)

        def through_physics(network: MLP, starts: Array) -> Array:
            return mean_loss(jax.vmap(lambda start: end_to_end(network, start))(starts), starts)

        def measure(network: MLP) -> dict[str, Array]:
            return {"error": through_physics(network, testing)}

        arms = half_inverse_arms(settings, make_network, training, end_to_end, mean_loss)
        shown = steered_cases(advance, testing[:3], settings.steps, settings.dt)
        compare(run, arms, settings, measure=measure, answers=shown)


PROGRAM = Program(
    "oscillators",
    Settings,
    {
        "demo": {"seconds": 30.0, "clock": "processor", "seeds": 1},
        "book": {"seconds": 30.0, "seeds": 2},
        "paper": {"seconds": 3600.0},
    },
    run,
    partial(show, label="test loss"),
    duration=duration,
)
