"""The parts of a state have the names that it gives them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids.named import grid_of, leading_axes, named_fields, named_parts


GRID = dp.Grid((4, 3))
FIELD = dp.Field(jnp.arange(12.0).reshape(4, 3), GRID)


class Pair(NamedTuple):
    first: dp.Field
    second: tuple[dp.Field, ...]


def test_a_flow_has_velocity_pressure_scalars_and_time_by_name():
    flow = dp.IncompressibleFlow(GRID, 0.1, 0.1, dp.Wall(), scalars={"smoke": dp.PassiveScalar(0.0)})
    state = flow.initial_state()
    assert list(named_parts(state)) == ["velocity", "pressure", "smoke", "time", "time_remainder"]
    assert list(named_fields(state)) == ["velocity_x", "velocity_y", "pressure", "smoke"]
    assert named_fields(state)["velocity_y"] is state.velocity[1]


def test_names_come_from_keys_attributes_and_places():
    assert list(named_fields(FIELD)) == ["value"]
    assert list(named_fields((FIELD, FIELD))) == ["velocity_x", "velocity_y"]
    assert list(named_fields(Pair(FIELD, (FIELD, FIELD)))) == ["first", "second_x", "second_y"]
    assert list(named_fields({"a": FIELD, "b": {"c": FIELD}})) == ["a", "c"]
    assert list(named_fields([FIELD, FIELD, FIELD])) == ["part_0", "part_1", "part_2"]
    # A key alone is the name only where nothing else has it.
    assert list(named_fields({"a": {"u": FIELD}, "b": {"u": FIELD}})) == ["a_u", "b_u"]


def test_frames_have_one_leading_axis_and_cases_two():
    frames = jax.vmap(lambda factor: FIELD * factor)(jnp.arange(5.0))
    assert leading_axes("test", FIELD) == () and leading_axes("test", frames) == (5,)
    assert leading_axes("test", jax.tree.map(lambda leaf: leaf[None], frames)) == (1, 5)
    with pytest.raises(dp.InputError, match="leading axes"):
        leading_axes("test", {"a": FIELD, "b": frames})


def test_a_state_without_fields_or_with_two_grids_is_one_sentence():
    assert grid_of("test", FIELD) == GRID
    other = dp.Field(np.zeros((2, 2)), dp.Grid((2, 2)))
    for given, said in (({"a": jnp.zeros(3)}, "no Field"), (None, "no Field"), ({"a": FIELD, "b": other}, "one grid")):
        with pytest.raises(dp.InputError, match=said):
            grid_of("test", given)
