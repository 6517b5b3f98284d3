"""A network in a solver: what it sees, where its correction goes, and what happens without it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import diffphys as dp
from diffphys.learning import with_parameters
from diffphys.learning.corrected import default_fields


def channel(cells=(8, 12)) -> dp.IncompressibleFlow:
    return dp.IncompressibleFlow(
        dp.Grid(cells, (8.0, 12.0)),
        viscosity=0.01,
        dt=0.1,
        sides={"x": dp.Wall(), "y": (dp.Inflow(1.0), dp.Outflow())},
    )


class Recorder(eqx.Module):
    """Adds a constant for each output channel and checks what it is given."""

    constants: jax.Array
    channels: int = eqx.field(static=True)

    def __call__(self, image):
        assert image.shape[0] == self.channels
        return jnp.broadcast_to(self.constants[:, None, None], (len(self.constants), *image.shape[1:]))


@pytest.mark.slow
def test_without_a_correction_it_is_the_solver():
    flow = channel()
    state = flow.initial_state()
    corrected = dp.Corrected(flow, Recorder(jnp.zeros(2), 2))
    for one, other in zip(jax.tree.leaves(flow(state)), jax.tree.leaves(corrected(state)), strict=True):
        assert jnp.array_equal(one, other)


def test_the_correction_is_scaled_and_lands_on_the_faces_that_belong_to_cells():
    flow = channel()
    state = flow.initial_state()
    scales = dp.Normalization(fields=(2.0, 3.0), parameters=(0.1,))
    corrected = dp.Corrected(
        flow, Recorder(jnp.array([1.0, -1.0]), 3), scales, conditioning=lambda solver: (solver.viscosity,)
    )
    difference = [
        after.values - before.values
        for after, before in zip(corrected(state).velocity, flow(state).velocity, strict=True)
    ]
    assert jnp.allclose(difference[0][:-1], 2.0) and jnp.all(difference[0][-1] == 0)
    assert jnp.allclose(difference[1][:, :-1], -3.0) and jnp.all(difference[1][:, -1] == 0)


def test_the_network_sees_normalized_fields_and_numbers():
    flow = channel()
    seen = []

    def network(image):
        seen.append(image)
        return jnp.zeros((2, *image.shape[1:]))

    scales = dp.Normalization(fields=(2.0, 4.0), parameters=(0.1,))
    dp.Corrected(flow, network, scales, conditioning=lambda solver: (solver.viscosity,))(flow.initial_state())
    predicted = flow(flow.initial_state())
    assert jnp.allclose(seen[0][0], predicted.velocity[0].values[:-1] / 2)
    assert jnp.allclose(seen[0][1], predicted.velocity[1].values[:, :-1] / 4)
    assert jnp.allclose(seen[0][2], 0.1)


def test_fields_of_any_state_are_found():
    grid = dp.Grid((6,))
    heat = dp.Heat(grid, 0.1, 0.1, ((dp.Dirichlet(0.0), dp.Dirichlet(0.0)),))
    corrected = dp.Corrected(heat, lambda image: 0 * image + 1)
    state = heat.initial_state(1.0)
    assert jnp.allclose(corrected(state).values, heat(state).values + 1)
    assert len(default_fields({"a": state, "b": (state, jnp.ones(3))})) == 2


def test_parameters_reach_the_solver_within():
    corrected = dp.Corrected(channel(), Recorder(jnp.zeros(2), 2))
    assert float(with_parameters(corrected, {"viscosity": jnp.asarray(0.25)}).solver.viscosity) == 0.25
    with pytest.raises(dp.InputError, match="viscosty"):
        with_parameters(corrected, {"viscosty": jnp.asarray(0.5)})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"network": lambda image: image[:1]}, "network"),
        ({"normalization": dp.Normalization(fields=(1.0, 1.0, 1.0))}, "normalization"),
        ({"fields": lambda state: ()}, "fields"),
        ({"fields": lambda state: [field * 1.0 for field in state.velocity]}, "fields"),
    ],
)
def test_what_does_not_fit_is_refused(changes, word):
    flow = channel()
    with pytest.raises(dp.InputError, match=word):
        dp.Corrected(**({"solver": flow, "network": lambda image: image[:2]} | changes))(flow.initial_state())


def test_scales_must_be_positive():
    with pytest.raises(dp.InputError, match="fields"):
        dp.Normalization(fields=(1.0, 0.0))


def test_published_scales_are_deviations_of_absolute_values():
    values = jnp.array([-1.0, 1.0, 3.0, -3.0])
    scales = dp.Normalization.of([values, 2 * values], [jnp.array([1.0, 3.0])])
    assert jnp.allclose(scales.fields, jnp.array([1.0, 2.0])) and jnp.allclose(scales.parameters, jnp.array([1.0]))
