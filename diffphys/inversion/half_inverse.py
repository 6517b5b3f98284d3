r"""Half-inverse gradients, Gauss-Newton and the family between them, shaped like Optax transformations.

Gradient descent multiplies the outputs' gradient g by $J^T$, so a direction in which the outputs hardly react gets
hardly any update; Gauss-Newton multiplies by $J^{-1}$, so the same direction gets a huge one, which saturates neurons.
The half-inverse update is the geometric middle (Schnell, Holl, Thuerey, "Half-Inverse Gradients for Physical Deep
Learning", ICLR 2022),

$$\Delta\theta = -\eta\, J^{-1/2} g, \qquad J^{-1/2} = V S^{-1/2} U^T,$$

with J of the end-to-end map from the parameters, through the network and the physics, to all outputs of a mini-batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import shown
from diffphys.inversion.jacobian_power import LARGEST_JACOBIAN, Spectrum, check_options, check_samples, jacobian_power


class HalfInverseState(NamedTuple):
    """The state of `half_inverse_gradients`.

    Attributes:
        count: Updates made.
        skipped: How many of them were zero because the Jacobian was not finite.
        spectrum: What the engine saw in the last update.
    """

    count: Array
    skipped: Array
    spectrum: Spectrum


def value_and_output_gradient(
    loss: Callable[[Any, Any], Array], function: Callable[[Any, Any], Any], parameters: Any, samples: Any
) -> tuple[Array, Any]:
    """A loss of the outputs, and its derivative by the outputs: the g that the updates of this file take.

    Args:
        loss: From the outputs of all samples and the samples to a number, `loss(outputs, samples)`.
        function: From parameters and one sample to its outputs.
        parameters: Anything `function` takes.
        samples: Pytree of arrays with the batch as first axis.

    Raises:
        InputError: the loss is no number, or the samples have no batch axis that the function can be mapped over.
    """
    check_samples(samples)
    try:
        outputs = jax.vmap(lambda sample: function(parameters, sample))(samples)
    except InputError:
        raise
    except (TypeError, ValueError, IndexError) as error:
        shapes = [jnp.shape(leaf)[1:] for leaf in jax.tree.leaves(samples)]
        raise InputError(
            f"value_and_output_gradient: function fails for one sample, of shapes {shapes} (see above); samples with "
            "the batch as first axis are accepted."
        ) from error
    shape = jax.tree.map(jnp.shape, jax.eval_shape(loss, outputs, samples))
    if shape != ():
        raise InputError(f"value_and_output_gradient: loss returns {shown(shape)}; one number is accepted.")
    return jax.value_and_grad(loss)(outputs, samples)


def half_inverse_gradients(
    learning_rate: float | Callable[[Array], Array] = 1.0,
    *,
    kappa: float = -0.5,
    truncation: float | None = None,
    engine: str = "auto",
    iterations: int = 100,
    memory: int = LARGEST_JACOBIAN,
) -> optax.GradientTransformationExtraArgs:
    r"""The update $-\eta J^\kappa g$ as an Optax transformation.

    It differs from others in what goes in: not the gradient by the parameters but the one by the *outputs*, together
    with the function and the samples that J is taken of,

        loss, output_gradient = value_and_output_gradient(loss, function, parameters, samples)
        updates, state = optimizer.update(output_gradient, state, parameters, function=function, samples=samples)
        parameters = equinox.apply_updates(parameters, updates)

    What comes out is shaped like the parameters, so anything of Optax may follow in `optax.chain`. Where the Jacobian
    is not finite, the update is zero and `state.skipped` counts it (outside `jit` an InputError is raised instead).

    The scale of g matters for every kappa below 1 as it does for gradient descent: with the mean over b samples as
    loss, a learning rate of 1 is 2/b of a full Gauss-Newton step for kappa = -1.

    Args:
        learning_rate: eta, a number or an Optax schedule.
        kappa: 1 gradient descent, -1 Gauss-Newton, -1/2 half-inverse gradients.
        truncation: See `jacobian_power`; published are 1e-5 and 1e-6.
        engine: See `jacobian_power`.
        iterations: See `jacobian_power`.
        memory: See `jacobian_power`.

    Raises:
        InputError: an option is out of its range, or `update` is called without parameters, function or samples.
    """
    check_options(kappa, truncation, engine, iterations)

    def init(parameters: Any) -> HalfInverseState:
        leaves = jax.tree.leaves(eqx.filter(parameters, eqx.is_inexact_array))
        zero = jnp.zeros((), jnp.result_type(*leaves))
        count = jnp.zeros((), jnp.int32)
        seen = Spectrum(zero, zero, jnp.sum(jnp.zeros(1, bool)), jnp.array(True), zero)
        return HalfInverseState(count, count, seen)

    def update(
        output_gradient: Any,
        state: HalfInverseState,
        parameters: Any = None,
        *,
        function: Callable[[Any, Any], Any] | None = None,
        samples: Any = None,
        **_: Any,
    ) -> tuple[Any, HalfInverseState]:
        if parameters is None or function is None or samples is None:
            raise InputError(
                "half_inverse_gradients: update needs the parameters, function= and samples= besides the gradient."
            )
        direction, spectrum = jacobian_power(
            function,
            parameters,
            samples,
            output_gradient,
            kappa=kappa,
            truncation=truncation,
            engine=engine,
            iterations=iterations,
            memory=memory,
        )
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        step = jax.tree.map(lambda leaf: jnp.where(spectrum.finite, -rate * leaf, 0.0).astype(leaf.dtype), direction)
        skipped = state.skipped + ~spectrum.finite
        return step, HalfInverseState(state.count + 1, skipped, spectrum)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def gauss_newton(
    learning_rate: float | Callable[[Array], Array] = 1.0,
    *,
    truncation: float | None = None,
    engine: str = "auto",
    iterations: int = 100,
    memory: int = LARGEST_JACOBIAN,
) -> optax.GradientTransformationExtraArgs:
    r"""The update $-\eta J^+ g$ with the truncated pseudo-inverse: `half_inverse_gradients` with kappa = -1."""
    return half_inverse_gradients(
        learning_rate, kappa=-1.0, truncation=truncation, engine=engine, iterations=iterations, memory=memory
    )
