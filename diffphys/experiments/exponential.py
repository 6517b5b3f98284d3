"""A network learns to invert the exponential, whose gradient vanishes where it is small.

Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion" (NeurIPS 2022), figure 2.

    y = exp(x),     x uniform in (-12, 0),     the network sees y* and answers x

The gradient of L = 1/2 (exp(x) - y*)^2 carries two factors exp(x): six orders of magnitude between the ends of the
interval. Newton's method divides by a curvature that may be zero or negative on the way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.experiments.comparison import Budget, compare, duration, shown_over
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm
from diffphys.inversion import scale_invariant_loss
from diffphys.nets import MLP
from diffphys.runs import Program, Run, setting


@dataclass(frozen=True)
class Settings(Budget):
    """As published; Adam with the same rate carries every inverse."""

    batch: int = setting(100, help="samples of an update, always new", minimum=1)
    smallest_x: float = setting(-12.0, help="x is uniform from here to 0", maximum=-0.1)
    adam_rate: float = setting(1e-3, help="learning rate of Adam", above=0.0)
    descent_rate: float = setting(1e-2, help="learning rate of gradient descent", above=0.0)
    newton_bound: float = setting(0.1, help="largest step of clipped Newton", above=0.0)
    newton_damping: float = setting(0.01, help="added to the curvature in damped Newton", above=0.0)


def make_network(key: Array) -> MLP:
    """1-16-64-16-1 with sigmoids: 2,177 parameters."""
    return MLP((1, 16, 64, 16, 1), jax.nn.sigmoid, key=key)


def inverses(settings: Settings) -> dict[str, Callable[[Array, Array, Array], Array]]:
    """Inverse simulators, good and bad."""

    def newton_step(target: Array, x: Array, damping: float = 0.0) -> Array:
        gradient = (jnp.exp(x) - target) * jnp.exp(x)
        curvature = 2.0 * jnp.exp(2.0 * x) - target * jnp.exp(x) + damping
        return -jnp.sign(gradient) * jnp.abs(gradient / jnp.where(curvature == 0.0, 1e-30, curvature))

    def clipped(target: Array, x: Array, y: Array) -> Array:
        del y
        return x + jnp.clip(newton_step(target, x), -settings.newton_bound, settings.newton_bound)

    return {
        "inverse": lambda target, x, y: jnp.log(target),
        # Knows only the direction: a step of length one, the same for every sample.
        "sign": lambda target, x, y: x + jnp.sign(jnp.log(target) - x),
        "newton": lambda target, x, y: x + newton_step(target, x),
        "newton-clipped": clipped,
        "newton-damped": lambda target, x, y: x + newton_step(target, x, settings.newton_damping),
    }


def run(settings: Settings, run: Run) -> None:
    """Train all arms on data without end."""

    def batch(key: Array, count: Array) -> Array:
        del count
        return jax.random.uniform(key, (settings.batch, 1), minval=settings.smallest_x, maxval=0.0)

    def adjoint(network: MLP, x: Array) -> Array:
        y = jnp.exp(x)
        return jnp.mean(0.5 * (jnp.exp(jax.vmap(network)(y)) - y) ** 2)

    def supervised(network: MLP, x: Array) -> Array:
        return jnp.mean(0.5 * (jax.vmap(network)(jnp.exp(x)) - x) ** 2)

    def by(inverse: Callable) -> Callable[[MLP, Array], Array]:
        def loss(network: MLP, x: Array) -> Array:
            y = jnp.exp(x)
            return scale_invariant_loss(network, y, y, simulator=jnp.exp, inverse=inverse)[0]

        return loss

    test = jnp.linspace(settings.smallest_x, 0.0, 1001)[:, None]

    def measure(network: MLP) -> dict[str, Array]:
        x = jax.vmap(network)(jnp.exp(test))
        return {"error": jnp.mean(jnp.abs(x - test)), "error_y": jnp.mean(jnp.abs(jnp.exp(x) - jnp.exp(test)))}

    adam = optax.adam(settings.adam_rate)
    arms = {name: gradient_arm(make_network, batch, by(inverse), adam) for name, inverse in inverses(settings).items()}
    arms["supervised"] = gradient_arm(make_network, batch, supervised, adam)
    arms["adam"] = gradient_arm(make_network, batch, adjoint, adam)
    arms["gradient-descent"] = gradient_arm(make_network, batch, adjoint, optax.sgd(settings.descent_rate))
    answer = eqx.filter_jit(lambda network: jax.vmap(network)(jnp.exp(test)).T)
    compare(
        run,
        arms,
        settings,
        measure=measure,
        answers=lambda network: shown_over("x*", test[:, 0], {"x": answer(network)}),
        truth=shown_over("x*", test[:, 0], {"x": test.T}),
    )


PROGRAM = Program(
    "exponential",
    Settings,
    {
        "demo": {"seconds": 5.0, "clock": "processor", "seeds": 2},
        "book": {"seconds": 8.0, "seeds": 3},
        "paper": {"seconds": 3600.0, "updates": 100_001, "seeds": 5},
    },
    run,
    partial(show, label="mean |x - x*|"),
    duration=duration,
)
