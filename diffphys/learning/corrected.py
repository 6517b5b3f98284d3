"""A solver that carries a network."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Field
from diffphys.grids.numbers import as_number, check_number, shown


class Normalization(eqx.Module):
    """Scales that bring a network's inputs and outputs to size one.

    Args:
        fields: One scale for each corrected field, in the field's units.
        parameters: One scale for each conditioning number.
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


def default_fields(state: Any) -> Sequence[Field]:
    """What is corrected of a state unless something else is asked for: its velocity, or every field in it."""
    if hasattr(state, "velocity"):
        return state.velocity
    fields = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Field))
    return tuple(field for field in fields if isinstance(field, Field))


def no_conditioning(_: Any) -> Sequence[Array]:
    """What a network is told of the solver unless something else is asked for: nothing."""
    return ()


class Corrected(eqx.Module):
    """A solver whose every step is corrected by a network: `s -> P(s) + C(P(s))` (Um et al. 2020), the solver first.

    The network sees the corrected fields as channels of one array (channels, *cells), each divided by its scale, and
    after them one constant channel for each conditioning number. Fields on faces enter with the faces that belong to
    the cells, so that a bounded axis leaves out its last face; that face gets no correction. The network's output is
    multiplied by the scales and added.

    Args:
        solver: A step, `step(state) -> state` or `step(state, input) -> state`.
        network: From an array (channels, *cells) to an array (corrected fields, *cells).
        normalization: The scales. Default: one.
        fields: From a state to the fields that are corrected. Default: `default_fields`.
        conditioning: From the solver to the numbers that the network is told, such as its viscosity. Default: none.
    """

    solver: Callable[..., Any]
    network: Callable[[Array], Array]
    normalization: Normalization | None = None
    fields: Callable[[Any], Sequence[Field]] = eqx.field(static=True, default=default_fields)
    conditioning: Callable[[Any], Sequence[Array]] = eqx.field(static=True, default=no_conditioning)

    def __call__(self, state: Any, *inputs: Any) -> Any:
        predicted = self.solver(state, *inputs)
        fields = tuple(self.fields(predicted))
        correction = self.correction(fields)
        corrected = {
            id(field): field.with_values(field.values + _at_place(part, field).astype(field.values.dtype))
            for field, part in zip(fields, correction, strict=True)
        }
        leaves, structure = jax.tree.flatten(predicted, is_leaf=lambda node: isinstance(node, Field))
        if not corrected.keys() <= {id(leaf) for leaf in leaves}:
            raise InputError(
                "Corrected: fields returns a field that is not part of the state; fields of the state are accepted."
            )
        return jax.tree.unflatten(structure, [corrected.get(id(leaf), leaf) for leaf in leaves])

    def correction(self, fields: Sequence[Field]) -> Array:
        """What is added to the fields, as an array (fields, *cells) in their units.

        Raises:
            InputError: if the network returns another shape.
        """
        if not fields:
            raise InputError("Corrected: fields selects no field of the state; at least one is accepted.")
        cells = fields[0].grid.cells
        field_scales, parameter_scales = self._scales(len(fields))
        channels = [
            _at_cells(field) / scale.astype(field.values.dtype)
            for field, scale in zip(fields, field_scales, strict=True)
        ]
        numbers = self.conditioning(self.solver)
        channels += [
            jnp.broadcast_to(number / scale, cells).astype(channels[0].dtype)
            for number, scale in zip(numbers, parameter_scales or [1.0] * len(numbers), strict=True)
        ]
        output = self.network(jnp.stack(channels))
        if output.shape != (len(fields), *cells):
            raise InputError(
                f"Corrected: the network returns an array of shape {output.shape}; {(len(fields), *cells)}, one "
                f"channel for each of "
                "the corrected fields, is accepted."
            )
        return output * jnp.stack(field_scales).reshape(-1, *[1] * len(cells)).astype(output.dtype)

    def _scales(self, count: int) -> tuple[list[Array], list[Array]]:
        if self.normalization is None:
            return [jnp.ones(())] * count, []
        if self.normalization.fields.shape[-1:] != (count,):
            raise InputError(
                f"Corrected: normalization has {self.normalization.fields.size} scales for fields; {count} are "
                f"accepted, one for each."
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
    """`step` with other values for some of its numbers: `with_parameters(flow, {"viscosity": 0.1})`; of a `Corrected`,
    its solver's.

    Raises:
        InputError: if the step has no number of that name.
    """
    if not isinstance(parameters, Mapping):
        raise InputError(f"with_parameters: parameters is {shown(parameters)}; a mapping from names is accepted.")
    if not parameters:
        return step
    if isinstance(step, (Corrected, Precomputed)):
        return dataclasses.replace(step, solver=with_parameters(step.solver, parameters))
    names = [field.name for field in dataclasses.fields(step)] if dataclasses.is_dataclass(step) else []
    if unknown := [name for name in parameters if name not in names]:
        raise InputError(f"with_parameters: {unknown[0]!r} was given; {type(step).__name__} has {names}.")
    return dataclasses.replace(step, **parameters)  # pyright: ignore[reportArgumentType]


def _at_cells(field: Field) -> Array:
    return field.values[tuple(slice(0, count) for count in field.grid.cells)]


def _at_place(values: Array, field: Field) -> Array:
    return jnp.pad(values, [(0, extent - count) for extent, count in zip(field.shape, values.shape, strict=True)])
