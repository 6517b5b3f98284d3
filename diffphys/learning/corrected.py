"""A solver that carries a network."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.numbers import as_floating, as_number, check_number, shown


class Normalization(eqx.Module):
    """Scales that bring a network's inputs and outputs to size one.

    Args:
        fields: One scale for each corrected field, in the field's units.
        parameters: One scale for each conditioning number.

    Examples:
        >>> scales = dp.Normalization.of([jnp.array([[0.0, 2.0], [0.0, 2.0]])])
        >>> scales.fields.tolist()
        [1.0]
    """

    fields: Array = eqx.field(converter=as_number)
    parameters: Array = eqx.field(converter=as_number, default=())

    def __check_init__(self):
        check_number("Normalization", "fields", self.fields, above=0.0, scalar=False)
        check_number("Normalization", "parameters", self.parameters, above=0.0, scalar=False)

    @staticmethod
    def of(fields: Sequence[Array], parameters: Sequence[Array] = ()) -> "Normalization":
        """The published scales: the standard deviation of the *absolute value* of each field over all training frames,
        and that of each conditioning number over the training cases (Um et al. 2020).
        """
        scales = [jnp.std(jnp.abs(values)) for values in fields]
        return Normalization(
            jnp.stack(scales), jnp.stack([jnp.std(values) for values in parameters]) if parameters else ()
        )


def default_fields(state: Any) -> Sequence[Any]:
    """What is corrected of a state unless something else is asked for: its velocity, or every field in it, or where
    there is no field every array of floating numbers, save single numbers.
    """
    if hasattr(state, "velocity"):
        return (state.velocity,) if isinstance(state.velocity, (Field, Array, np.ndarray)) else state.velocity
    leaves = jax.tree.leaves(state, is_leaf=_is_field)
    fields = tuple(leaf for leaf in leaves if _is_field(leaf))
    return fields or tuple(leaf for leaf in leaves if _has_cells(leaf))


def _has_cells(leaf: Any) -> bool:
    return isinstance(leaf, (Array, np.ndarray)) and leaf.ndim > 0 and jnp.issubdtype(leaf.dtype, jnp.inexact)


def no_conditioning(_: Any) -> Sequence[Array]:
    """What a network is told of the solver unless something else is asked for: nothing."""
    return ()


def nothing_beside(solver: Any, predicted: Any) -> Sequence[Field | Array]:
    """What a network sees beside the corrected fields unless something else is asked for: nothing."""
    return ()


def as_it_is(state: Any) -> Any:
    """What is done with a corrected state unless something else is asked for: nothing."""
    return state


class Corrected(eqx.Module):
    """A solver whose every step is corrected by a network: `s -> P(s) + C(P(s))` (Um et al. 2020), the solver first.

    The network sees the corrected fields as channels of one array (channels, *cells), each divided by its scale, after
    them one constant channel for each conditioning number, and last whatever stands beside. Fields on faces enter with
    the faces that belong to the cells, so that a bounded axis leaves out its last face; that face gets no correction.
    The network's output is multiplied by the scales and added.

    States of plain arrays are accepted, too: each array in a state is one channel, all of one shape, the cells. A state
    that is itself one array is what the network sees, (channels, *cells), as the states of Exponax are; of one axis
    it is a single channel.

    Args:
        solver: A step, `step(state) -> state` or `step(state, input) -> state`.
        network: From an array (channels, *cells) to an array (corrected fields, *cells).
        normalization: The scales. Default: one.
        fields: From a state to the fields that are corrected. Default: `default_fields`.
        conditioning: From the solver to the numbers that the network is told, such as its viscosity. Default: none.
        beside: From the solver and the state that it leads to, to further fields that the network sees, such as the
            force of the step, in units in which they are of size one; they come last. Default: none.
        kept: From a corrected state to the state that the step returns, such as one whose fractions are kept between
            zero and one. Default: the corrected state itself.

    Examples:
        >>> ring = dp.Heat(dp.Grid((16,), (1.0,)), 0.01, 0.01, ((dp.Periodic(), dp.Periodic()),))
        >>> network = dp.nets.ResNet(1, 1, axes=1, features=8, blocks=1, key=jax.random.key(0))
        >>> hybrid = dp.Corrected(ring, network)
        >>> final, _ = dp.rollout(hybrid, ring.initial_state(1.0), 3)
    """

    solver: Callable[..., Any]
    network: Callable[[Array], Array]
    normalization: Normalization | None = None
    fields: Callable[[Any], Sequence[Field | Array]] = eqx.field(static=True, default=default_fields)
    conditioning: Callable[[Any], Sequence[Array]] = eqx.field(static=True, default=no_conditioning)
    beside: Callable[[Any, Any], Sequence[Field | Array]] = eqx.field(static=True, default=nothing_beside)
    kept: Callable[[Any], Any] = eqx.field(static=True, default=as_it_is)

    def __check_init__(self):
        if any(kind.__module__.startswith("torch.") for kind in type(self.network).__mro__):
            raise InputError(
                "Corrected: network is a module of PyTorch; a function of JAX arrays is accepted (dp.to_torch brings "
                "the solver to PyTorch, where such a network is trained through it)."
            )

    def __call__(self, state: Any, *inputs: Any) -> Any:
        predicted = self.solver(state, *inputs)
        further = self.beside(self.solver, predicted)
        if self.fields is default_fields and isinstance(predicted, (Array, np.ndarray)) and predicted.ndim:
            channels = predicted if predicted.ndim > 1 else predicted[None]
            correction = self.correction(tuple(channels), further).reshape(predicted.shape)
            return self.kept(predicted + correction.astype(predicted.dtype))
        fields = tuple(self.fields(predicted))
        correction = self.correction(fields, further)
        corrected = {id(field): _added(field, part) for field, part in zip(fields, correction, strict=True)}
        leaves, structure = jax.tree.flatten(predicted, is_leaf=_is_field)
        if not corrected.keys() <= {id(leaf) for leaf in leaves}:
            raise InputError(
                "Corrected: fields returns a field that is not part of the state; fields of the state are accepted."
            )
        return self.kept(jax.tree.unflatten(structure, [corrected.get(id(leaf), leaf) for leaf in leaves]))

    def correction(self, fields: Sequence[Field | Array], further: Sequence[Field | Array] = ()) -> Array:
        """What is added to the fields, as an array (fields, *cells) in their units.

        Args:
            fields: What is corrected.
            further: What the network sees besides, as `beside` gives it.

        Raises:
            InputError: if the fields have no common cells, or the network returns another shape.
        """
        if not fields:
            raise InputError(
                "Corrected: the state has nothing to correct; a Field in it, or an array with an axis of cells, is "
                "accepted (`fields` picks which; in Trajectories the axes of cases and frames come before)."
            )
        cells = _cells(fields[0])
        if others := [_cells(field) for field in (*fields, *further) if _cells(field) != cells]:
            raise InputError(
                f"Corrected: fields have {cells} and {others[0]} cells; equal ones are accepted (fields= picks them)."
            )
        field_scales, parameter_scales = self._scales(len(fields))
        channels = [
            values / scale.astype(values.dtype)
            for values, scale in zip(map(_at_cells, fields), field_scales, strict=True)
        ]
        numbers = self.conditioning(self.solver)
        channels += [
            jnp.broadcast_to(number / scale, cells).astype(channels[0].dtype)
            for number, scale in zip(numbers, parameter_scales or [1.0] * len(numbers), strict=True)
        ]
        channels += [_at_cells(field).astype(channels[0].dtype) for field in further]
        with jax.named_scope("network"):
            output = self.network(jnp.stack(channels))
        if output.shape != (len(fields), *cells):
            raise InputError(
                f"Corrected: the network returns an array of shape {output.shape}; {(len(fields), *cells)}, one "
                "channel for each of the corrected fields, is accepted."
            )
        return output * jnp.stack(field_scales).reshape(-1, *[1] * len(cells)).astype(output.dtype)

    def _scales(self, count: int) -> tuple[list[Array], list[Array]]:
        if self.normalization is None:
            return [jnp.ones(())] * count, []
        if self.normalization.fields.shape[-1:] != (count,):
            raise InputError(
                f"Corrected: normalization has {self.normalization.fields.size} scales for fields; {count} are "
                "accepted, one for each."
            )
        return list(self.normalization.fields), list(self.normalization.parameters)


class Precomputed(eqx.Module):
    """A solver whose step was made before: it leaves the state as it is, and tells its numbers.

    In the place of a `Corrected`'s solver it leaves the correction alone, for supervised training.
    """

    solver: Any

    def __call__(self, state: Any) -> Any:
        return state


def with_parameters(step: Any, parameters: Mapping[str, Array]) -> Any:
    """`step` with other values for some of its numbers: `with_parameters(flow, {"viscosity": 0.1})`; of a solver with a
    `network`, as a `Corrected` is, the solver's.

    Raises:
        InputError: if the step has no number of that name.
    """
    if not isinstance(parameters, Mapping):
        raise InputError(f"with_parameters: parameters is {shown(parameters)}; a mapping from names is accepted.")
    if not parameters:
        return step
    if isinstance(step, Precomputed) or (hasattr(step, "solver") and hasattr(step, "network")):
        return dataclasses.replace(step, solver=with_parameters(step.solver, parameters))
    names = [field.name for field in dataclasses.fields(step)] if dataclasses.is_dataclass(step) else []
    if unknown := [name for name in parameters if name not in names]:
        raise InputError(f"with_parameters: {unknown[0]!r} was given; {type(step).__name__} has {names}.")
    return dataclasses.replace(step, **parameters)  # pyright: ignore[reportArgumentType]


def _is_field(node: Any) -> bool:
    return isinstance(node, Field)


def _cells(field: Field | Array) -> tuple[int, ...]:
    return field.grid.cells if isinstance(field, Field) else jnp.shape(field)


def _at_cells(field: Field | Array) -> Array:
    if not isinstance(field, Field):
        return as_floating(field, "Corrected: the state")
    return field.values[tuple(slice(0, count) for count in field.grid.cells)]


def _added(field: Field | Array, part: Array) -> Field | Array:
    """The field with a correction at its cells; faces that belong to no cell stay."""
    if not isinstance(field, Field):
        return field + part.astype(field.dtype)
    part = jnp.pad(part, [(0, extent - count) for extent, count in zip(field.shape, part.shape, strict=True)])
    return field.with_values(field.values + part.astype(field.values.dtype))
