"""Flow by Fourier modes: exact solutions, order in time, what is kept, aliases, other flows, derivatives, refusals."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import Waves, centers_to_faces, convert
from diffphys.verification.convergence import advanced
from diffphys.verification.taylor_green import distance, on_faces


pytestmark = pytest.mark.usefixtures("float64")

TWO_PI = 2 * np.pi
PERIODIC = ((dp.Periodic(), dp.Periodic()),) * 2
STEPPINGS = [dp.RungeKutta(3), dp.ImplicitExplicit(3), dp.ExponentialRungeKutta(2), dp.ExponentialRungeKutta(4)]


def spectral(cells: tuple[int, ...], **settings: Any) -> dp.IncompressibleFlow:
    given: dict[str, Any] = dict(
        grid=dp.Grid(cells, (TWO_PI,) * len(cells)),
        viscosity=0.05,
        dt=0.02,
        sides=dp.Periodic(),
        advection=dp.Spectral(),
        stepping=dp.ExponentialRungeKutta(4),
    )
    return dp.IncompressibleFlow(**(given | settings))


def random_state(flow: dp.IncompressibleFlow, seed: int = 0) -> dp.FlowState:
    """Waves that the flow keeps, without divergence, of a spectrum that falls."""
    generator = np.random.default_rng(seed)
    velocity = [generator.standard_normal(flow.grid.cells) for _ in flow.grid.cells]
    smooth = dataclasses.replace(
        flow, viscosity=jnp.asarray(0.1), dt=jnp.asarray(0.5), forces=(), stepping=STEPPINGS[-1]
    )
    scalars = {name: generator.random(flow.grid.cells) for name in flow.scalars}
    state = jax.jit(lambda: smooth(smooth.initial_state(velocity, scalars)))()
    return dataclasses.replace(state, time=jnp.asarray(0.0))


def values(state: dp.FlowState) -> list[Any]:
    return [part.values for part in state.velocity]


@pytest.mark.parametrize("cells", [(16, 16), (12, 9), (8, 9, 10)])
def test_transforms_return_what_is_kept_and_their_transposes_are_transposes(cells):
    generator = np.random.default_rng(0)
    waves = Waves(dp.Grid(cells, (1.0, 2.0, 0.5)[: len(cells)]), 1.0)
    offset = (0.0, *(0.5,) * (len(cells) - 1))
    given = jnp.asarray(generator.standard_normal(cells))
    kept = waves.values(waves.filtered(waves.coefficients(given, offset)), offset)
    np.testing.assert_allclose(waves.values(waves.filtered(waves.coefficients(kept, offset)), offset), kept, atol=1e-14)
    spectrum = jnp.asarray(generator.standard_normal(waves.shape) + 1j * generator.standard_normal(waves.shape))
    for function, at in (
        (lambda x: waves.coefficients(x, offset), given),
        (lambda x: waves.values(x, offset), spectrum),
    ):
        image, pull = jax.vjp(function, at)
        cotangent = jnp.asarray(generator.standard_normal(image.shape)).astype(image.dtype) * (1 + 0.5j)
        cotangent = cotangent if jnp.iscomplexobj(image) else cotangent.real
        # JAX pairs complex numbers as Re(a b), without a conjugate.
        left, right = jnp.sum(cotangent * image).real, jnp.sum(pull(cotangent)[0] * at).real
        np.testing.assert_allclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("cells", [(10, 12), (8, 9, 10)])
def test_directions_are_orthonormal_and_at_right_angles_to_the_wave(cells):
    waves = Waves(dp.Grid(cells, (1.0, 2.0, 0.7)[: len(cells)]))
    directions = np.asarray([[np.broadcast_to(part, waves.shape) for part in one] for one in waves.solenoidal()])
    present = waves.kept() & (waves.squares() > 0)
    products = np.einsum("ia...,ja...->ij...", directions, directions)
    np.testing.assert_allclose(products, np.eye(len(directions))[(...,) + (None,) * len(cells)] * present, atol=1e-14)
    along = sum(k * directions[:, axis] for axis, k in enumerate(waves.vector()))
    np.testing.assert_allclose(along, 0, atol=1e-12)


@pytest.mark.parametrize("cells", [(10, 12), (8, 9, 10)])
def test_maps_of_each_wave_are_products_with_the_wave_and_its_directions(cells):
    """Against sums over axes in NumPy; and each transpose against the map."""
    waves = Waves(dp.Grid(cells, (1.0, 2.0, 0.7)[: len(cells)]))
    generator, axes = np.random.default_rng(0), range(len(cells))

    def random(count):
        values = generator.standard_normal((2, count, *waves.shape))
        return list(map(jnp.asarray, values[0] + 1j * values[1]))

    directions, wave = waves.solenoidal(), waves.vector()
    amplitudes, vector, products = random(len(directions)), random(len(cells)), random(len(waves.products))
    stress = {}
    for (a, b), product in zip(waves.products, products, strict=True):
        stress[a, b] = stress[b, a] = product
    forces = [-1j * sum(wave[b] * stress.get((a, b), 0.0) for b in axes) for a in axes]
    for function, given, expected in (
        (
            lambda given: waves.velocity(given, jnp.zeros(len(cells))),
            amplitudes,
            [sum(a * e[axis] for a, e in zip(amplitudes, directions, strict=True)) for axis in axes],
        ),
        (waves.amplitudes, vector, [sum(e[axis] * vector[axis] for axis in axes) for e in directions]),
        (lambda given: (waves.slope_along(given),), vector, [-1j * sum(wave[axis] * vector[axis] for axis in axes)]),
        (waves.convected, products, [sum(e[axis] * forces[axis] for axis in axes) for e in directions]),
    ):
        found, pull = jax.vjp(function, given)
        np.testing.assert_allclose(jnp.stack(found), jnp.stack(expected), atol=1e-12)
        cotangent = tuple(random(len(found)))
        left = sum(jnp.sum(one * other) for one, other in zip(cotangent, found, strict=True))
        right = sum(jnp.sum(one * other) for one, other in zip(pull(cotangent)[0], given, strict=True))
        np.testing.assert_allclose(left, right, rtol=1e-12)
    mean = jnp.asarray(generator.standard_normal(len(cells)))
    moving = [waves.values(part, (0.5,) * len(cells)) for part in waves.velocity(amplitudes, mean)]
    np.testing.assert_allclose([jnp.mean(part) for part in moving], mean, atol=1e-14)
    (pulled,) = jax.vjp(lambda mean: waves.velocity(amplitudes, mean), mean)[1](tuple(vector))
    np.testing.assert_allclose(pulled, [part[(0,) * part.ndim].real * np.prod(cells) for part in vector])


@pytest.mark.parametrize("cells", [(6, 8), pytest.param((6, 4, 5), marks=pytest.mark.slow)])
def test_a_rollout_in_modes_is_steps_one_by_one_with_few_transforms(cells):
    """Velocity, pressure, scalar and time, with forces that change from step to step; and the gradient."""
    flow = spectral(
        cells,
        scalars={"heat": dp.PassiveScalar(0.03)},
        forces=(dp.Buoyancy("heat", (0.2,) * len(cells)), dp.LinearDrag(0.1)),
        stepping=dp.ExponentialRungeKutta(2),
    )
    start = random_state(flow)
    pushes = dp.FlowInput(force=tuple(jnp.asarray([0.1, -0.4, 0.3]) * (1 + axis) for axis in range(len(cells))))

    @jax.jit
    def both(flow, start):
        current, frames = start, []
        for index in range(3):
            current = flow(current, jax.tree.map(lambda leaf, index=index: leaf[index], pushes))
            frames.append(current)
        together = dp.rollout(flow, start, 3, inputs=pushes, save_every=1, outcome=True)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *frames), together

    one_by_one, (final, frames, outcome) = both(flow, start)
    for found, expected in zip(jax.tree.leaves(frames), jax.tree.leaves(one_by_one), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-13)
    for found, expected in zip(jax.tree.leaves(final), jax.tree.leaves(frames), strict=True):
        np.testing.assert_allclose(found, expected[-1], atol=1e-14)
    np.testing.assert_allclose(outcome.steps, 3)

    plain = dataclasses.replace(flow, forces=(), scalars={})
    bare = dataclasses.replace(start, scalars={})
    program = str(jax.jit(lambda state: dp.rollout(plain, state, 5)[0].velocity).lower(bare).compile().as_text())
    a_stage, around = (4, 4) if len(cells) == 2 else (8, 6)
    assert program.count(" fft(") == 2 * a_stage + around

    def energy(viscosity, many):
        step = dataclasses.replace(plain, viscosity=viscosity)
        if many:
            end = dp.rollout(step, bare, 2, adjoint=dp.Detached())[0]
        else:
            end = step(jax.lax.stop_gradient(step(bare)))
        return sum(jnp.sum(part.values**2) for part in end.velocity) + jnp.sum(end.pressure.values**2)

    found, expected = jax.jit(lambda at: [jax.grad(energy)(at, many) for many in (True, False)])(plain.viscosity)
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_where_a_rollout_ends_at_once_the_state_is_as_it_was_given():
    """Also what the flow does not keep of it."""
    flow = spectral((8, 8))
    rough = random_state(flow)
    fastest = (-1.0) ** jnp.arange(8)
    rough = dataclasses.replace(rough, velocity=tuple(part.map(lambda one: one + fastest) for part in rough.velocity))
    for steps, stop in ((0, None), (2, lambda state: state.time >= 0)):
        found = dp.rollout(flow, rough, steps, stop=stop)[0]
        for one, other in zip(values(found), values(rough), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cells", [(12, 12), (8, 8, 9)])
def test_carried_taylor_green_vortices_are_exact_in_space(cells):
    """On a few cells nothing but the error in time is left, which vanishes with its order; the pressure of 2D, too."""
    flow = spectral(cells, stepping=dp.ExponentialRungeKutta(4))
    start = flow.initial_state(on_faces(flow.grid, 0.0, 0.05, 1.0))
    np.testing.assert_allclose(distance(values(start), on_faces(flow.grid, 0.0, 0.05, 1.0)), 0, atol=1e-14)
    run = jax.jit(lambda dt: advanced(dataclasses.replace(flow, dt=dt), start, 8))
    ends = [run(dt) for dt in (0.02, 0.01)]
    errors = [distance(values(end), on_faces(flow.grid, float(end.time), 0.05, 1.0)) for end in ends]
    assert errors[0] < 2e-6 and np.log2(errors[0] / errors[1]) > 4.8, errors  # of a fixed number of steps
    np.testing.assert_allclose(flow.divergence(ends[0]).values, 0, atol=1e-13)
    if len(cells) == 2:
        x, y = flow.grid.centers()
        resting = flow.initial_state(on_faces(flow.grid, 0.0, 0.05, 0.0))
        np.testing.assert_allclose(flow(resting).pressure.values, (jnp.cos(2 * x) + jnp.cos(2 * y)) / 4, atol=1e-13)


def test_vortices_at_rest_decay_exactly_over_a_step_of_any_length():
    flow = spectral((8, 8), dt=7.0, viscosity=0.3, stepping=dp.ExponentialRungeKutta(1), forces=(dp.LinearDrag(0.2),))
    start = flow.initial_state(on_faces(flow.grid, 0.0, 0.3, 0.0))
    decay = np.exp(-7 * (2 * 0.3 + 0.2))
    for one, other in zip(values(flow(start)), values(start), strict=True):
        np.testing.assert_allclose(one, decay * other, atol=1e-14)


@pytest.mark.parametrize("stepping", STEPPINGS, ids=str)
def test_order_in_time_with_every_kind_of_force_and_a_scalar(stepping):
    """Against the same equations with a much shorter step of the classical method."""
    settings = dict(
        viscosity=0.02,
        scalars={"heat": dp.PassiveScalar(0.03, dp.Sphere((3.0, 3.0), 1.0), 0.5)},
        forces=(
            dp.Buoyancy("heat", (0.0, 0.7)),
            dp.LinearDrag(0.3),
            dp.SinusoidalForce(0.5, 2),
            lambda scalars, velocity: [0.2 * velocity[1].values ** 2, 0.1],
        ),
    )
    flow = spectral((12, 12), stepping=stepping, **settings)
    start = random_state(flow)
    true = advanced(dataclasses.replace(flow, stepping=dp.RungeKutta(4), dt=jnp.asarray(0.4 / 160)), start, 160)
    run = jax.jit(
        lambda dt, steps: jax.lax.fori_loop(0, steps, lambda _, s: dataclasses.replace(flow, dt=dt)(s), start)
    )
    errors = []
    for steps in (8, 16):
        end = run(0.4 / steps, steps)
        found = [*values(end), end.scalars["heat"].values]
        errors.append(distance(found, [*values(true), true.scalars["heat"].values]))
    assert abs(np.log2(errors[0] / errors[1]) - stepping.order) < 0.3, errors


@pytest.mark.parametrize("cells", [(16, 16), (10, 10, 10)])
def test_without_viscosity_energy_is_kept_and_in_2d_enstrophy_and_not_with_aliases(cells):
    """The rates that the integrator sees change neither; the drift of a march is of the order of the method."""
    flow = spectral(cells, viscosity=0.0, stepping=dp.RungeKutta(4), dt=0.02)
    start = random_state(flow)

    def drift(flow, start):
        end = advanced(flow, start, 8)
        before, after = (np.asarray(_sums(flow, one)) for one in (start, end))
        return np.abs(after / before - 1)

    found, halved = drift(flow, start), drift(dataclasses.replace(flow, dt=jnp.asarray(0.01)), start)
    assert np.all(found < 1e-6) and np.all(found / halved > 25), (found, halved)  # 8 steps: of order 5 or 6
    aliased = dataclasses.replace(flow, advection=dp.Spectral(1.0))
    rough = [np.random.default_rng(1).standard_normal(cells) for _ in cells]
    assert np.all(drift(aliased, aliased.initial_state(rough)) > 1e-5)


def _sums(flow, state):
    """Energy; in 2D enstrophy as well."""
    waves = Waves(flow.grid)
    found = [waves.coefficients(part.values, part.offset) * jnp.asarray(waves.kept()) for part in state.velocity]
    energy = jnp.sum(jnp.stack([part.values**2 for part in state.velocity]))
    if flow.grid.dimensions == 3:
        return [energy]
    (x, y), (u, v) = waves.vector(), found
    return [energy, jnp.sum(waves.values(jnp.asarray(1j * (x * v - y * u)), (0.5, 0.5)) ** 2)]


def test_the_alias_of_a_product_is_removed():
    """cos(5 x) squared has a wave of number 10, which on 12 cells looks like number 2. With the rule nothing of it is
    seen: the wave of number 5 is not kept at all; without it a wave of number 2 appears that is not there.
    """
    grid = dp.Grid((12, 12), (TWO_PI, TWO_PI))
    (x, y), center = grid.centers(), (0.5, 0.5)
    for part, expected in ((2 / 3, 0.0), (1.0, 1.0)):
        waves = Waves(grid, part)
        kept = waves.values(waves.filtered(waves.coefficients(jnp.cos(5 * x) + 0 * y, center)), center)
        product = waves.filtered(waves.coefficients(kept**2, center))
        np.testing.assert_allclose(float(abs(product[2, 0]) / 144 * 4), expected, atol=1e-13)
    # The highest wave kept, number 3, makes number 6, an alias of -6, which is not kept: exact on all that is.
    waves = Waves(grid)
    assert waves.kept()[3, 0] and not waves.kept()[4, 0] and not waves.kept()[6, 0]


def test_finite_differences_converge_to_it_with_their_order_also_with_scalars_and_forces():
    """The same state is handed from one flow to the other, on each grid."""
    errors = []
    for cells in (16, 32):
        flow = spectral(
            (cells, cells),
            scalars={"heat": dp.PassiveScalar(0.05)},
            forces=(dp.Buoyancy("heat", (0.3, 0.5)), dp.SinusoidalForce(0.4, 1)),
        )
        x, y = flow.grid.centers()
        start = flow.initial_state(
            on_faces(flow.grid, 0.0, 0.05, 0.3), {"heat": jnp.cos(x) * jnp.sin(2 * y) + 0.2 * jnp.sin(x)}
        )
        other = dataclasses.replace(flow, advection=dp.SkewSymmetric(), stepping=dp.RungeKutta(4))
        one, two = (advanced(each, start, 10) for each in (flow, other))
        errors.append(
            [distance(values(one), values(two)), distance([one.scalars["heat"].values], [two.scalars["heat"].values])]
        )
    np.testing.assert_allclose(np.log2(np.divide(*errors)), 2, atol=0.15)


def test_a_state_goes_to_the_centers_and_back_without_a_loss():
    flow = spectral((12, 10))
    state = random_state(flow)
    centered = [convert(part, (0.5, 0.5)) for part in state.velocity]
    for one, other in zip(centers_to_faces(centered), state.velocity, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-14)
    again = flow.initial_state(centered)
    np.testing.assert_allclose(distance(values(again), values(state)), 0, atol=1e-14)


def test_a_scalar_keeps_its_amount_and_a_drag_is_the_same_force_as_its_function():
    flow = spectral((12, 12), scalars={"dye": dp.PassiveScalar(0.01)}, viscosity=0.01, forces=(dp.LinearDrag(0.5),))
    start = random_state(flow)
    named, plain = (advanced(one, start, 4) for one in (flow, dataclasses.replace(flow, forces=(_Drag(),))))
    np.testing.assert_allclose(named.scalars["dye"].values.sum(), start.scalars["dye"].values.sum(), rtol=1e-13)
    np.testing.assert_allclose(distance(values(named), values(plain)), 0, atol=1e-7)  # of fourth order both
    field = dp.FlowInput(force=tuple(-0.5 * part.values for part in start.velocity))
    pushed = dataclasses.replace(flow, forces=())(start, field)
    np.testing.assert_allclose(distance(values(pushed), values(flow(start))), 0, atol=1e-3)


class _Drag(dp.LinearDrag):
    """A drag of which the flow does not know that it is one."""

    def __init__(self):
        self.rate = jnp.asarray(0.5)


@pytest.mark.slow
def test_single_precision_batches_and_numbers_that_compile_nothing_anew():
    flow = spectral((8, 8))
    count = 0

    @jax.jit
    def step(flow, state):
        nonlocal count
        count += 1
        return flow(state)

    start = random_state(flow)
    one = step(flow, start)
    step(dataclasses.replace(flow, viscosity=jnp.asarray(0.2), dt=jnp.asarray(0.03)), start)
    assert count == 1
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), start)
    found = flow(single)
    assert all(part.values.dtype == jnp.float32 for part in found.velocity)
    np.testing.assert_allclose(distance(values(found), values(one)), 0, atol=1e-6)
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), start, one)
    both = jax.vmap(flow)(batch)
    np.testing.assert_allclose(both.velocity[0].values[0], one.velocity[0].values, atol=1e-14)


@pytest.mark.usefixtures("unchecked_types")
def test_what_makes_no_sense_is_refused_in_a_sentence():
    stretched = dp.Grid.from_edges([np.linspace(0, 1, 9) ** 2, np.linspace(0, 1, 9)])
    for words, settings in (
        ("Splitting", dict(stepping=dp.Splitting())),
        ("periodic ones are accepted with it", dict(sides=dict(x=dp.Periodic(), y=dp.Wall()))),
        ("there is a solid; None", dict(solid=dp.Sphere((3.0, 3.0), 1.0))),
        ("the grid is stretched", dict(grid=stretched)),
        ("the grid has one axis", dict(grid=dp.Grid((8,)))),
        ("at least 4 along each axis", dict(grid=dp.Grid((8, 2)))),
        ("PISO", dict(stepping=dp.PISO())),
        ("varies in space", dict(viscosity=jnp.full((8, 8), 0.1))),
        ("pressure_solver", dict(pressure_solver=dp.poisson.direct)),
        ("Held", dict(forces=(dp.Held(dp.Sphere((1.0, 1.0), 0.5), (1.0, None)),))),
        ("asks for Fourier modes, and .*; advection=Spectral", dict(advection=dp.SkewSymmetric())),
        ("with this viscosity", dict(stepping=dp.RungeKutta(2), dt=4.0)),
    ):
        with pytest.raises(dp.InputError, match=words):
            spectral((8, 8), **settings)
    for part in (0.0, 1.2, "some", np.nan):
        with pytest.raises(dp.InputError, match="Spectral"):
            dp.Spectral(part)  # pyright: ignore[reportArgumentType]
    with pytest.raises(dp.InputError, match="Waves: the grid is stretched"):
        Waves(stretched)
    with pytest.raises(dp.InputError, match="SinusoidalForce: waves is 1.5"):
        dp.SinusoidalForce(0.1, 1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(dp.InputError, match="LinearDrag: rate is -1.0"):
        dp.LinearDrag(-1.0)
