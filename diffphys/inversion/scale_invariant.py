r"""Scale-invariant training: the inverse of the simulator supplies the update, any optimizer trains the network.

For a simulator y = P(x), targets y* and a network x = f(input; theta), plain training differentiates
$L = \frac12 |P(f) - y^*|^2$ through P, so that the update in x has the units of 1/x and its size depends on the
Jacobian of P. Scale-invariant training (Holl, Koltun, Thuerey, "Scale-invariant Learning by Physics Inversion", NeurIPS
2022) instead moves x to where an inverse simulator says that the targets are met,

$$\tilde x = P^{-1}\big(y + \eta\,(y^* - y);\, x, y\big), \qquad y = P(x), \qquad
  \tilde L(\theta) = \tfrac12 |f(\cdot\,;\theta) - \tilde x|^2,$$

with $\tilde x$ held constant in the gradient of the proxy loss $\tilde L$. The proxy loss only carries the update: its
gradient by x is $x - \tilde x$, whatever the units and the scale of y are.

**An inverse simulator** is any function `inverse(target, x, y) -> x~` on one sample: the x~ near x with P(x~) = target,
where y = P(x) is known already. An exact inverse ignores x and y; one of a linear P needs only y, for
$\tilde x = x + P^{-1}(\text{target} - y)$; a local solver starts at x.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import Array

from diffphys.errors import InputError
from diffphys.grids.numbers import check_number, shown


Simulator = Callable[[Any], Any]
"""From one sample, a tree of arrays, to another."""

InverseSimulator = Callable[[Any, Any, Any], Any]
"""From a target, a sample and its simulation to a sample: see above."""


def half_squares(difference: Any) -> Array:
    """`1/2 sum |d|^2` over all entries of all arrays, real or complex."""
    terms = [0.5 * jnp.sum(jnp.real(leaf * jnp.conj(leaf))) for leaf in jax.tree.leaves(difference)]
    return sum(terms, jnp.zeros(()))


def absolute_values(difference: Any) -> Array:
    """`sum |d|` over all entries of all arrays: its gradient weights every entry alike, as the sine experiment does."""
    return sum((jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(difference)), jnp.zeros(()))


def scale_invariant_target(
    x: Any, target: Any, simulator: Simulator, inverse: InverseSimulator, *, eta: float = 1.0
) -> tuple[Any, Any]:
    """Where one physical update moves x, and the simulation of x: (x~, y), both constants for every gradient.

    Args:
        x: One sample of the simulator's input, any pytree of arrays.
        target: y*, of the same shapes as the simulator's output.
        simulator: P.
        inverse: P^-1 near x, see the top of this file.
        eta: How far towards the target in the space of y, above 0 and at most 1: as large as the inverse allows.

    Raises:
        InputError: eta is out of range, the target does not have the shapes of the output, or the inverse does not
            return the shapes of x.
    """
    if not 0.0 < eta <= 1.0:
        raise InputError(f"eta is {shown(eta)}; a number above 0 and at most 1 is accepted.")
    x = jax.lax.stop_gradient(x)
    y = simulator(x)
    check_same_shapes("target", target, "the simulator's output", y)
    goal = target if eta == 1.0 else jax.tree.map(lambda now, end: now + eta * (end - now), y, target)
    moved = inverse(goal, x, y)
    check_same_shapes("inverse: its result", moved, "the simulator's input", x)
    return jax.lax.stop_gradient(moved), jax.lax.stop_gradient(y)


def scale_invariant_loss(
    network: Callable[[Any], Any],
    inputs: Any,
    targets: Any,
    *,
    simulator: Simulator,
    inverse: InverseSimulator,
    eta: float = 1.0,
    distance: Callable[[Any], Array] = half_squares,
) -> tuple[Array, tuple[Any, Any]]:
    """The proxy loss of a batch, `mean over samples of distance(f(input) - x~)`, and (x, y) of all samples beside it.

        gradient, (x, y) = equinox.filter_grad(scale_invariant_loss, has_aux=True)(network, inputs, targets, ...)

    gives to any Optax optimizer what the gradient of an ordinary loss gives. Its value says nothing about progress:
    watch `y - targets` or, where x is known, the error of x.

    Args:
        network: From one input to one x, an Equinox module or any function; it may normalize over the mapped axis
            "batch".
        inputs: Pytree of arrays with the batch as first axis.
        targets: y* of every sample.
        simulator: P of one sample.
        inverse: P^-1 of one sample.
        eta: See `scale_invariant_target`.
        distance: From a difference in x to a number: `half_squares` (as in the paper's equations) or `absolute_values`.

    Raises:
        InputError: as `scale_invariant_target`, and for inputs and targets of different numbers or, where they are
            known, that are not finite.
    """
    check_same_batch(inputs=inputs, targets=targets)

    def single(one: Any, target: Any) -> tuple[Array, tuple[Any, Any]]:
        x = network(one)
        moved, y = scale_invariant_target(x, target, simulator, inverse, eta=eta)
        return distance(jax.tree.map(jnp.subtract, x, moved)), (jax.lax.stop_gradient(x), y)

    values, simulated = jax.vmap(single, axis_name="batch")(inputs, targets)
    return jnp.mean(values), simulated


def scale_invariant_update(
    network: Any,
    optimizer_state: Any,
    inputs: Any,
    targets: Any,
    *,
    optimizer: optax.GradientTransformation,
    simulator: Simulator,
    inverse: InverseSimulator,
    eta: float = 1.0,
    distance: Callable[[Any], Array] = half_squares,
) -> tuple[Any, Any, tuple[Any, Any]]:
    """One update of an Equinox network by the proxy loss and any Optax optimizer.

    Start with `optimizer.init(equinox.filter(network, equinox.is_inexact_array))`.

    Returns:
        The network, the optimizer's state, and (x, y) of all samples before the update.

    Raises:
        InputError: as `scale_invariant_loss`, and for what is no optimizer of Optax.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise InputError(f"scale_invariant_update: optimizer is {shown(optimizer)}; an optimizer of Optax is accepted.")

    def loss(module: Any) -> tuple[Array, tuple[Any, Any]]:
        return scale_invariant_loss(
            module, inputs, targets, simulator=simulator, inverse=inverse, eta=eta, distance=distance
        )

    gradient, simulated = eqx.filter_grad(loss, has_aux=True)(network)
    updates, state = optimizer.update(gradient, optimizer_state, eqx.filter(network, eqx.is_inexact_array))
    return eqx.apply_updates(network, updates), state, simulated


def check_same_batch(**given: Any) -> None:
    """Raise `InputError` unless all arrays of these pytrees have one first axis and are finite; traced values pass."""
    lengths = {name: {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)} for name, tree in given.items()}
    if len(set().union(*lengths.values())) > 1 or () in set().union(*lengths.values()):
        shapes = {name: [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for name, tree in given.items()}
        words = " and ".join(f"{name} shapes {one}" for name, one in shapes.items())
        raise InputError(f"{words}; arrays whose first axis is the batch are accepted.")
    for name, tree in given.items():
        for leaf in jax.tree.leaves(tree):
            if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
                check_number("scale_invariant_loss", name, leaf, scalar=False)


def check_same_shapes(name: str, given: Any, reference_name: str, reference: Any) -> None:
    """Raise `InputError` unless two pytrees have one structure and their arrays one shape each."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(given)]
    expected = [jnp.shape(leaf) for leaf in jax.tree.leaves(reference)]
    if shapes != expected or jax.tree.structure(given) != jax.tree.structure(reference):
        raise InputError(f"{name} has shapes {shapes}; those of {reference_name} are accepted, {expected}.")
