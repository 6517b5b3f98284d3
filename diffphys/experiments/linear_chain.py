"""A network that steers a chain of two coupled oscillators back to where they started.

"Physics-based Deep Learning" (Thuerey et al.), notebook on half-inverse gradients, after Schnell, Holl, Thuerey,
"Half-Inverse Gradients for Physical Deep Learning" (ICLR 2022).

    x' = v,    v_i' = -x_i + c (x_{i+1} - x_i) + c (x_{i-1} - x_i) + u(t) [last mass],      c = 0.2

(missing neighbors dropped), 24 Runge-Kutta steps of dt = 0.5 with u constant in each. The network sees the state to
return to, which is also the start, and gives all 24 controls at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import xarray
from jax import Array

from diffphys.experiments.comparison import Arm, Budget, compare, duration, median_after, shown_over
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm, half_inverse_arm, in_fixed_order
from diffphys.inversion import GaussNewton, scale_invariant_loss
from diffphys.nets import MLP
from diffphys.runs import Program, Run, setting
from diffphys.stepping import RungeKutta


STEPS, DT = 24, 0.5

# Half-inverse gradients: printed after epochs 1 to 4 of 128 updates; the rest read off a plot after 100 s.
PUBLISHED = {
    "half-inverse": {
        "final_error": 2e-8,
        "seconds": 100.0,
        "errors_after_epochs": [5.444e-5, 1.0644e-5, 3.1635e-6, 1.1858e-6],
        "seconds_after_epochs": [28.07, 31.39, 34.69, 37.99],
    },
    "adam": {"final_error": 5e-5, "seconds": 100.0},
    "scale-invariant": {"final_error": 8e-5, "seconds": 100.0},
}


@dataclass(frozen=True)
class Settings(Budget):
    """The notebook's settings, save where said."""

    samples: int = setting(4096, help="states for training, and as many for testing", minimum=256)
    half_inverse_batch: int = setting(32, help="batch of half-inverse gradients and Gauss-Newton", minimum=1)
    half_inverse_rate: float = setting(2.0, help="eta of both (published: 1)", above=0.0)
    batch: int = setting(256, help="batch of the other arms", minimum=1)
    truncation: float = setting(1e-7, help="relative truncation (published: 1e-10)", minimum=0.0, maximum=0.5)
    double_precision: bool = setting(True, help="64 bits, so that the Gram matrix resolves the truncation")


def advance(state: Array, control: Array, dt: float, coupling: float = 0.2) -> Array:
    """The state (x1, x2, v1, v2) after one step of duration dt."""

    def acceleration(x: Array, control: Array) -> Array:
        return -x + coupling * (x[::-1] - x) + jnp.stack([jnp.zeros(()), control])

    def derivative(state: Array, control: Array) -> Array:
        return jnp.concatenate([state[2:], acceleration(state[:2], control)])

    return runge_kutta(derivative, state, control, dt)


def chain(controls: Array, state: Array, *, steps: int, dt: float, coupling: float = 0.2) -> Array:
    """The state after `steps` steps of duration dt, with one control each."""

    def step(state: Array, control: Array) -> tuple[Array, None]:
        return advance(state, control, dt, coupling), None

    return jax.lax.scan(step, state, controls, length=steps)[0]


def runge_kutta(derivative: Callable[[Array, Array], Array], state: Array, control: Array, dt: float) -> Array:
    """One step of the classical method of fourth order, with the control held."""
    system = SimpleNamespace(rate=lambda time, state, control: derivative(state, control))
    return RungeKutta(4).advance(system, state, dt, input=control).state


def make_network(key: Array) -> MLP:
    """4-20-20-20-24 with tanh: 1,444 parameters."""
    return MLP((4, 20, 20, 20, 24), jnp.tanh, key=key)


def simulate(controls: Array, start: Array) -> Array:
    """The simulator of this experiment: 24 controls and the start to the state at the end."""
    return chain(controls, start, steps=STEPS, dt=DT)


def end_to_end(network: MLP, start: Array) -> Array:
    """Network and physics."""
    return simulate(network(start), start)


def mean_loss(ends: Array, starts: Array) -> Array:
    """The sum of four squares, the mean over the samples."""
    return jnp.mean(jnp.sum((ends - starts) ** 2, axis=1))


def arms_of(settings: Settings, training: Array) -> dict[str, Arm]:
    """All optimizers."""
    few, many = in_fixed_order(training, settings.half_inverse_batch), in_fixed_order(training, settings.batch)
    options = dict(learning_rate=settings.half_inverse_rate, truncation=settings.truncation)

    def through_physics(network: MLP, starts: Array) -> Array:
        return mean_loss(jax.vmap(lambda start: end_to_end(network, start))(starts), starts)

    def by_inverse(network: MLP, starts: Array) -> Array:
        # The start belongs to the simulator, so each sample has its own: the batch is taken here, one sample at a time.
        def single(start: Array) -> Array:
            def simulator(controls: Array) -> Array:
                return simulate(controls, start)

            inverse = GaussNewton(simulator, truncation=1e-5)
            one = start[None]
            return scale_invariant_loss(network, one, one, simulator=simulator, inverse=inverse)[0]

        return jnp.mean(jax.vmap(single)(starts))

    return {
        "half-inverse": half_inverse_arm(make_network, few, end_to_end, mean_loss, kappa=-0.5, **options),
        "gauss-newton": half_inverse_arm(make_network, few, end_to_end, mean_loss, kappa=-1.0, **options),
        "scale-invariant": gradient_arm(make_network, many, by_inverse, optax.adam(1e-3)),
        "adam": gradient_arm(make_network, many, through_physics, optax.adam(1e-3)),
        "gradient-descent": gradient_arm(make_network, many, through_physics, optax.sgd(1e-2)),
    }


def run(settings: Settings, run: Run) -> None:
    """Train all arms."""
    with jax.enable_x64(settings.double_precision):
        training, testing = jax.random.uniform(jax.random.key(run.seed), (2, settings.samples, 4))

        def measure(network: MLP) -> dict[str, Array]:
            return {"error": mean_loss(jax.vmap(lambda start: end_to_end(network, start))(testing), testing)}

        epoch = settings.samples // settings.half_inverse_batch
        epochs = [epoch * number for number in (1, 2, 3, 4)]
        trained = compare(
            run,
            arms_of(settings, training),
            settings,
            measure=measure,
            published=PUBLISHED,
            points=epochs,
            answers=steered_cases(advance, testing[:3], STEPS, DT),
        )
        if "half-inverse" in trained:
            _note_epochs(run, epochs)


def steered_cases(
    advance: Callable[[Array, Array, float], Array], starts: Array, steps: int, dt: float
) -> Callable[[MLP], xarray.Dataset]:
    """From a network to its controls and where both masses are after each step, for `diffphys view`."""

    @eqx.filter_jit
    def answer(network: MLP) -> dict[str, Array]:
        def step(state: Array, control: Array) -> tuple[Array, Array]:
            state = advance(state, control, dt)
            return state, state

        def case(start: Array) -> dict[str, Array]:
            controls = network(start)
            places = jax.lax.scan(step, start, controls)[1]
            return {"control": controls, "first place": places[:, 0], "last place": places[:, 1]}

        return jax.vmap(case)(starts)

    return lambda network: shown_over("moment", dt * jnp.arange(1, steps + 1), answer(network))


def _note_epochs(run: Run, epochs: list[int]) -> None:
    """Add error and seconds of half-inverse gradients after epochs 1 to 4, the median of the seeds, as published."""
    metrics = run.read_metrics()
    arm = metrics["arms"]["half-inverse"]
    arm["errors_after_epochs"] = [median_after(arm, "error", count) for count in epochs]
    arm["seconds_after_epochs"] = [median_after(arm, "seconds", count) for count in epochs]
    run.write_metrics(metrics)


PROGRAM = Program(
    "linear-chain",
    Settings,
    {
        "demo": {"seconds": 15.0, "clock": "processor", "seeds": 2},
        "book": {"seconds": 15.0},
        "paper": {"seconds": 100.0, "seeds": 5},
    },
    run,
    partial(show, label="test loss"),
    duration=duration,
)
