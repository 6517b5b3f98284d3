"""A network in a solver: what it sees, where its correction goes, and what happens without it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import pytest

import diffphys as dp
from diffphys.errors import InputError
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
        for after, before in zip(*jax.jit(lambda: (corrected(state).velocity, flow(state).velocity))(), strict=True)
    ]
    assert jnp.allclose(difference[0][:-1], 2.0) and jnp.all(difference[0][-1] == 0)
    assert jnp.allclose(difference[1][:, :-1], -3.0) and jnp.all(difference[1][:, -1] == 0)


def test_the_network_sees_what_stands_beside_the_state_as_it_is():
    flow = channel()
    state = flow.initial_state()

    class Last(eqx.Module):
        def __call__(self, image):
            assert image.shape[0] == 3
            return jnp.stack([image[2], image[2]])

    corrected = dp.Corrected(flow, Last(), beside=lambda solver, after: [after.pressure + 10 * solver.dt])
    alone, after = jax.jit(lambda: (flow(state), corrected(state)))()
    added = after.velocity[0].values[:-1] - alone.velocity[0].values[:-1]
    assert jnp.allclose(added, alone.pressure.values + 1.0, atol=1e-6)
    wrong = dp.Corrected(flow, Last(), beside=lambda solver, after: [jnp.ones((3, 3))])
    with pytest.raises(InputError, match="cells"):
        wrong(state)


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


@pytest.mark.parametrize("state", [1.0, {"level": jnp.zeros(())}])
def test_a_state_without_cells_has_nothing_to_correct(state):
    halved = dp.Corrected(lambda state: jax.tree.map(lambda leaf: 0.5 * leaf, state), lambda image: image)
    with pytest.raises(dp.InputError, match="nothing to correct"):
        dp.rollout(halved, state, 3)


def test_scales_must_be_positive():
    with pytest.raises(dp.InputError, match="fields"):
        dp.Normalization(fields=(1.0, 0.0))


def test_published_scales_are_deviations_of_absolute_values():
    values = jnp.array([-1.0, 1.0, 3.0, -3.0])
    scales = dp.Normalization.of([values, 2 * values], [jnp.array([1.0, 3.0])])
    assert jnp.allclose(scales.fields, jnp.array([1.0, 2.0])) and jnp.allclose(scales.parameters, jnp.array([1.0]))


class Spectral(eqx.Module):
    """An exact step of diffusion for states (channels, points), with the attributes that an Exponax stepper has."""

    dt: float
    decay: jax.Array
    num_channels: int = eqx.field(static=True, default=2)

    def __call__(self, state):
        return jnp.fft.irfft(self.decay * jnp.fft.rfft(state), n=state.shape[-1])


def test_a_stepper_of_another_library_is_corrected_and_trained():
    points = 2 * jnp.pi * jnp.arange(16) / 16
    truth, source = (Spectral(0.1, jnp.exp(-rate * jnp.arange(9.0) ** 2)) for rate in (0.2, 0.1))
    start = jnp.stack([jnp.sin(points), jnp.cos(2 * points)])
    _, frames = dp.rollout(truth, start, 6, save_every=1)

    class Scale(eqx.Module):
        factors: jax.Array

        def __call__(self, image):
            assert image.shape == (2, 16)
            return self.factors[:, None] * image

    hybrid = dp.Corrected(source, Scale(jnp.zeros(2)), dp.Normalization(fields=(2.0, 3.0)))
    assert jnp.array_equal(hybrid(start), source(start))
    trained, _ = dp.train(
        hybrid, dp.Trajectories(frames[None]), updates=80, unroll=2, batch=4, optimizer=optax.adam(0.02)
    )
    # Each channel holds one mode, so the exact correction is a factor of each.
    exact = jnp.exp(-0.1 * jnp.array([1.0, 4.0])) - 1
    assert jnp.allclose(trained.network.factors, exact, atol=0.01)


def test_states_of_plain_arrays_are_corrected_each_array_a_channel():
    state = {"u": jnp.ones((4, 3)), "v": 2 * jnp.ones((4, 3)), "time": jnp.asarray(0.5), "count": jnp.arange(12)}

    def add(image):
        assert image.shape == (2, 4, 3)
        return jnp.stack([jnp.full((4, 3), 10.0), image[0]])

    after = dp.Corrected(lambda state: state | {"u": 3 * state["u"]}, add)(state)
    assert jnp.all(after["u"] == 13) and jnp.all(after["v"] == 5)
    assert after["time"] == 0.5 and jnp.array_equal(after["count"], state["count"])

    line = dp.Corrected(lambda state: state, lambda image: image.reshape(1, 4))
    assert jnp.array_equal(line(jnp.arange(4.0)), 2 * jnp.arange(4.0))
    plane = dp.Corrected(lambda state: state, lambda image: image, fields=lambda state: (state,))
    assert jnp.array_equal(plane(state["u"]), 2 * state["u"])
    with pytest.raises(dp.InputError, match=r"\(4, 3\) and \(5,\)"):
        dp.Corrected(lambda state: state, add)((jnp.ones((4, 3)), jnp.ones(5)))
    with pytest.raises(dp.InputError, match="the network returns an array of shape"):
        dp.Corrected(lambda state: state, lambda image: image[:1])(state["u"])


def test_the_velocity_of_a_wave_is_a_single_field():
    wave = dp.Wave(dp.Grid((4, 4), (1.0, 1.0)), 1.0, 0.01, ((dp.Periodic(), dp.Periodic()),) * 2)
    corrected = dp.Corrected(wave, lambda image: jnp.ones_like(image))
    state = corrected(wave.initial_state())
    assert jnp.all(state.velocity.values == 1) and jnp.all(state.displacement.values == 0)
