"""Half-inverse gradients against saturated neurons: a fit with one output a hundred times as stiff as the other.

"Physics-based Deep Learning" (Thuerey et al.), chapter on half-inverse gradients, after Schnell, Holl, Thuerey (ICLR
2022). A network with one hidden layer of seven tanh neurons has to reach

    y(x) = (sin 6 x, cos 9 x),      L = 1/2 (y1 - f1(x))^2 + 1/2 (y2 - lambda f2(x))^2,       x in [-1, 1]

With lambda = 1 every optimizer gets there. With lambda = 0.01 gradient-based ones hardly see the second output, and
Gauss-Newton, which inverts that fully, pushes the neurons into saturation, from where nothing leads back.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import xarray
from jax import Array
from rich.table import Table

from diffphys.experiments.comparison import Budget, compare, duration, shown_over
from diffphys.experiments.comparison_figures import show
from diffphys.experiments.optimizers import gradient_arm, half_inverse_arm
from diffphys.inversion import neuron_saturation
from diffphys.nets import MLP
from diffphys.runs import Program, Run, setting


# What the chapter says in words, at lambda = 0.01.
PUBLISHED = {"adam": {"final_error": 0.2}, "gauss-newton": {"final_error": 0.2}}


@dataclass(frozen=True)
class Settings(Budget):
    """Rates and batch are ours: the chapter does not print them."""

    stiffness: float = setting(0.01, help="lambda, the factor on the second output", above=0.0)
    samples: int = setting(256, help="points x of a batch, which is the whole data set", minimum=16)
    half_inverse_rate: float = setting(1.0, help="eta of half-inverse gradients", above=0.0)
    gauss_newton_rate: float = setting(1.0, help="eta of Gauss-Newton, of the summed loss", above=0.0)
    adam_rate: float = setting(1e-2, help="learning rate of Adam", above=0.0)
    descent_rate: float = setting(0.3, help="learning rate of gradient descent", above=0.0)
    truncation: float = setting(1e-6, help="relative truncation of singular values", minimum=0.0, maximum=0.5)


def make_network(key: Array) -> MLP:
    """1-7-2 with tanh."""
    return MLP((1, 7, 2), jnp.tanh, key=key)


def run(settings: Settings, run: Run) -> None:
    """Train all arms; every x is in every batch."""
    with jax.enable_x64(True):
        x = jnp.linspace(-1.0, 1.0, settings.samples)[:, None]
        scale = jnp.array([1.0, settings.stiffness])
        samples = (x, jnp.concatenate([jnp.sin(6 * x), jnp.cos(9 * x)], axis=1))

        def everything(key: Array, count: Array) -> Any:
            del key, count
            return samples

        def function(network: MLP, sample: tuple[Array, Array]) -> Array:
            return scale * network(sample[0])

        def mean_loss(outputs: Array, batch: tuple[Array, Array]) -> Array:
            return jnp.mean(0.5 * jnp.sum((outputs - batch[1]) ** 2, axis=1))

        def summed_loss(outputs: Array, batch: tuple[Array, Array]) -> Array:
            return jnp.sum(0.5 * (outputs - batch[1]) ** 2)

        def loss(network: MLP, batch: tuple[Array, Array]) -> Array:
            return mean_loss(jax.vmap(lambda one: function(network, one))(batch), batch)

        def measure(network: MLP) -> dict[str, Array]:
            outputs = jax.vmap(lambda one: function(network, one))(samples)
            parts = jnp.mean(0.5 * (outputs - samples[1]) ** 2, axis=0)
            seen = neuron_saturation(network, x)
            return {
                "error": jnp.sum(parts),
                "error_stiff_output": parts[1],
                "mean_absolute_activation": jnp.mean(jnp.abs(seen.mean[0])),
                "activation_deviation": jnp.mean(seen.deviation[0]),
                "saturated": seen.saturated,
            }

        # Gauss-Newton of the summed loss with a rate of one is the undamped method.
        half = dict(kappa=-0.5, learning_rate=settings.half_inverse_rate, truncation=settings.truncation)
        full = dict(kappa=-1.0, learning_rate=settings.gauss_newton_rate, truncation=settings.truncation)
        arms = {
            "half-inverse": half_inverse_arm(make_network, everything, function, mean_loss, **half),
            "gauss-newton": half_inverse_arm(make_network, everything, function, summed_loss, **full),
            "adam": gradient_arm(make_network, everything, loss, optax.adam(settings.adam_rate)),
            "gradient-descent": gradient_arm(make_network, everything, loss, optax.sgd(settings.descent_rate)),
        }
        answer = eqx.filter_jit(lambda network: jax.vmap(network)(x))

        def shown(outputs: Array) -> xarray.Dataset:
            return shown_over("x", x[:, 0], {"y1": outputs[None, :, 0], "y2": outputs[None, :, 1]})

        compare(
            run,
            arms,
            settings,
            measure=measure,
            published=PUBLISHED if settings.stiffness == 0.01 else {},
            answers=lambda network: shown(answer(network)),
            truth=shown(samples[1]),
        )


def report(run: Run) -> Table:
    """Curves, and the table with the neurons' state at the end."""
    columns = {"|mean activation|": "mean_absolute_activation", "deviation": "activation_deviation"}
    return show(run, label="loss", columns=columns)


PROGRAM = Program(
    "half-inverse-toy",
    Settings,
    {
        "demo": {"seconds": 12.0, "clock": "processor", "seeds": 2},
        "book": {"seconds": 8.0, "seeds": 3},
        "paper": {"seconds": 60.0, "seeds": 5},
    },
    run,
    report,
    duration=duration,
)
